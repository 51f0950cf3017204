"""Losses against slow formulas, stated derivatives, and the ends of their range."""

import math

import pytest
import torch

from egan.losses import mutations, objectives

LOGITS = [-6.0, -2.5, -1.0, -0.3, 0.0, 0.4, 1.0, 2.0, 5.5]
EXTREMES = [-1e4, -1e3, -100.0, -20.0, -1e-8, 0.0, 1e-8, 20.0, 100.0, 1e3, 1e4]


def sigma(s):
    return 1 / (1 + math.exp(-s))


# The loss of one sample, and its derivative as the docstring states it.
FORMULAS = {
    "minimax": (lambda s: 0.5 * math.log(1 - sigma(s)), lambda s: -sigma(s) / 2),
    "heuristic": (lambda s: -0.5 * math.log(sigma(s)), lambda s: -(1 - sigma(s)) / 2),
    "least-squares": (
        lambda s: (sigma(s) - 1) ** 2,
        lambda s: -2 * sigma(s) * (1 - sigma(s)) ** 2,
    ),
    "vanilla": (lambda s: math.log(1 - sigma(s)), lambda s: -sigma(s)),
    "non-saturating": (lambda s: -math.log(sigma(s)), lambda s: -(1 - sigma(s))),
    "least-squares-logit": (lambda s: (s - 1) ** 2, lambda s: 2 * (s - 1)),
}
HALVES = {
    ("minimax", "real"): (lambda s: -math.log(sigma(s)), lambda s: -(1 - sigma(s))),
    ("minimax", "fake"): (lambda s: -math.log(1 - sigma(s)), sigma),
    ("least-squares-logit", "real"): (lambda s: (s - 1) ** 2, lambda s: 2 * (s - 1)),
    ("least-squares-logit", "fake"): (lambda s: s**2, lambda s: 2 * s),
}

LOSSES = {f"mutation {name}": loss for name, loss in mutations.items()} | {
    f"{name} {half}": getattr(objective, half)
    for name, objective in objectives.items()
    for half in ("real", "fake")
}
WITH_FORMULA = {f"mutation {name}": each for name, each in FORMULAS.items()} | {
    f"{name} {half}": each for (name, half), each in HALVES.items()
}


def slopes(loss, logits):
    """The derivative of the loss times the number of samples: of each sample's own term."""
    logits = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits), logits)
    return gradient * logits.numel()


@pytest.mark.parametrize("name", WITH_FORMULA)
def test_a_loss_is_the_mean_of_its_formula_over_the_samples(name):
    slow = math.fsum(WITH_FORMULA[name][0](s) for s in LOGITS) / len(LOGITS)
    assert LOSSES[name](torch.tensor(LOGITS, dtype=torch.float64)).item() == pytest.approx(
        slow, rel=1e-12
    )


@pytest.mark.parametrize("name", WITH_FORMULA)
def test_the_derivative_is_the_one_stated(name):
    found = slopes(LOSSES[name], torch.tensor(LOGITS, dtype=torch.float64)).tolist()
    assert found == pytest.approx([WITH_FORMULA[name][1](s) for s in LOGITS], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", LOSSES)
def test_the_derivative_is_that_of_the_value(name):
    logits, step = torch.tensor(LOGITS, dtype=torch.float64), 1e-5
    for place, slope in enumerate(slopes(LOSSES[name], logits)):
        shift = torch.zeros_like(logits)
        shift[place] = step
        rise = LOSSES[name](logits + shift) - LOSSES[name](logits - shift)
        assert (rise / (2 * step) * len(logits)).item() == pytest.approx(slope.item(), abs=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_a_scalar_whatever_the_shape_of_the_logits(name):
    logits = torch.tensor(LOGITS)
    flat = LOSSES[name](logits)
    assert flat.shape == ()
    torch.testing.assert_close(LOSSES[name](logits[:, None]), flat)
    torch.testing.assert_close(LOSSES[name](logits.view(3, 3, 1)), flat)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_no_loss_or_gradient_overflows(name, kind):
    for logit in EXTREMES:
        logits = torch.full((4,), logit, dtype=kind)
        assert torch.isfinite(LOSSES[name](logits))
        assert torch.isfinite(slopes(LOSSES[name], logits)).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_leaves_its_logits_unchanged(name):
    logits = torch.tensor(LOGITS)
    LOSSES[name](logits)
    assert logits.tolist() == torch.tensor(LOGITS).tolist()


@pytest.mark.parametrize("name", mutations)
def test_every_mutation_pulls_rejected_fakes_towards_acceptance(name):
    assert (slopes(mutations[name], torch.tensor([-4.0, -1.0, 0.0, 0.5])) < 0).all()


@pytest.mark.parametrize("name", objectives)
def test_every_objective_tells_real_from_fake(name):
    objective = objectives[name]
    assert (slopes(objective.real, torch.tensor([-4.0, -1.0, 0.0, 0.5])) < 0).all()
    assert (slopes(objective.fake, torch.tensor([0.5, 1.0, 4.0])) > 0).all()


@pytest.mark.parametrize(
    ("halved", "whole"), [("minimax", "vanilla"), ("heuristic", "non-saturating")]
)
def test_the_papers_mutations_are_half_of_the_released_ones(halved, whole):
    logits = torch.tensor(LOGITS, dtype=torch.float64)
    assert 2 * mutations[halved](logits) == mutations[whole](logits)
    assert torch.equal(2 * slopes(mutations[halved], logits), slopes(mutations[whole], logits))


def test_where_the_discriminator_rejects_least_squares_vanishes_on_probabilities_only():
    rejected = torch.full((3,), -20.0).double()
    steep = slopes(mutations["heuristic"], rejected).abs().min()
    assert slopes(mutations["least-squares"], rejected).abs().max() < 1e-8 * steep
    assert slopes(mutations["minimax"], rejected).abs().max() < 1e-8 * steep
    assert slopes(mutations["least-squares-logit"], rejected).tolist() == [-42.0] * 3


def test_only_least_squares_on_logits_pushes_accepted_fakes_back():
    accepted = torch.tensor([3.0])
    pushed = {name for name, loss in mutations.items() if slopes(loss, accepted).item() > 0}
    assert "least-squares-logit" in pushed
    assert pushed.isdisjoint({"minimax", "heuristic", "least-squares", "vanilla", "non-saturating"})
