"""Losses against slow formulas, stated derivatives, and the ends of their range."""

import functools
import math

import pytest
import torch

from egan.losses import mutations, objectives, reads, smoothed, value

LOGITS = [-6.0, -2.5, -1.1, -0.3, 0.0, 0.4, 0.9, 2.0, 5.5]
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
    "lsgan": (lambda s: (s - 1) ** 2 / 2, lambda s: s - 1),
    "wasserstein": (lambda s: -s, lambda s: -1),
    "hinge": (lambda s: -s, lambda s: -1),
    "reverse-kl": (lambda s: -s, lambda s: -1),
    "forward-kl": (lambda s: -math.exp(s), lambda s: -math.exp(s)),
    "f-pearson": (
        lambda s: -(s**2 / 4 + s) if s > -2 else 1.0,
        lambda s: -(s / 2 + 1) if s > -2 else 0.0,
    ),
    "f-neyman": (lambda s: 2 * math.exp(-s / 2), lambda s: -math.exp(-s / 2)),
    "f-total-variation": (
        lambda s: -math.tanh(s) / 2,
        lambda s: -(1 - math.tanh(s) ** 2) / 2,
    ),
}
HALVES = {
    ("minimax", "real"): (lambda s: -math.log(sigma(s)), lambda s: -(1 - sigma(s))),
    ("minimax", "fake"): (lambda s: -math.log(1 - sigma(s)), sigma),
    ("least-squares-logit", "real"): (lambda s: (s - 1) ** 2, lambda s: 2 * (s - 1)),
    ("least-squares-logit", "fake"): (lambda s: s**2, lambda s: 2 * s),
    ("lsgan", "real"): (lambda s: (s - 1) ** 2 / 2, lambda s: s - 1),
    ("lsgan", "fake"): (lambda s: s**2 / 2, lambda s: s),
    ("wasserstein", "real"): (lambda s: -s, lambda s: -1),
    ("wasserstein", "fake"): (lambda s: s, lambda s: 1),
    ("hinge", "real"): (lambda s: max(0, 1 - s), lambda s: -1 if s < 1 else 0),
    ("hinge", "fake"): (lambda s: max(0, 1 + s), lambda s: 1 if s > -1 else 0),
    ("f-total-variation", "real"): (
        lambda s: -math.tanh(s) / 2,
        lambda s: -(1 - math.tanh(s) ** 2) / 2,
    ),
    ("f-total-variation", "fake"): (
        lambda s: math.tanh(s) / 2,
        lambda s: (1 - math.tanh(s) ** 2) / 2,
    ),
}
# f-GAN (Nowozin et al., 2016), Table 6: the output of a logit, and the conjugate of that.
DIVERGENCES = {
    "f-kl": (lambda v: v, lambda t: math.exp(t - 1)),
    "f-reverse-kl": (lambda v: -math.exp(-v), lambda t: -1 - math.log(-t)),
    "f-pearson": (lambda v: max(v, -2), lambda t: t**2 / 4 + t),
    "f-hellinger": (lambda v: 1 - math.exp(-v), lambda t: t / (1 - t)),
    "f-neyman": (lambda v: 1 - math.exp(-v), lambda t: 2 - 2 * math.sqrt(1 - t)),
    "f-total-variation": (lambda v: math.tanh(v) / 2, lambda t: t),
    "minimax": (
        lambda v: math.log(2) - math.log(1 + math.exp(-v)),
        lambda t: -math.log(2 - math.exp(t)),
    ),
}
# A relativistic mutation of one fake s and one real r, where the other samples' means are fm, rm.
PAIRED = {
    "rsgan": lambda s, r, fm, rm: math.log(1 + math.exp(r - s)),
    "rasgan": lambda s, r, fm, rm: (
        (math.log(1 + math.exp(r - fm)) + math.log(1 + math.exp(rm - s))) / 2
    ),
    "ralsgan": lambda s, r, fm, rm: ((r - fm + 1) ** 2 + (s - rm - 1) ** 2) / 2,
    "rahinge": lambda s, r, fm, rm: (max(0, 1 + r - fm) + max(0, 1 - s + rm)) / 2,
}
REAL = [1.5, -0.7, 3.1, 0.2, 2.2, -1.4, 0.9, 4.0, -3.3]

LOSSES = {
    f"mutation {name}": loss for name, loss in mutations.items() if reads(loss) == ("fake",)
} | {
    f"{name} {half}": getattr(objective, half)
    for name, objective in objectives.items()
    if not objective.whole
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
    if "fake" not in reads(mutations[name]):
        pytest.skip("it reads no logits")
    pull = slopes(beside(mutations[name], torch.zeros(4)), torch.tensor([-1.9, -1.0, 0.0, 0.5]))
    assert (pull < 0).all()


@pytest.mark.parametrize("name", objectives)
def test_every_objective_tells_real_from_fake(name):
    objective, zeros = objectives[name], torch.zeros(4)
    if objective.whole:
        real = lambda logits: objective.whole(real=logits, fake=zeros)  # noqa: E731
        fake = lambda logits: objective.whole(real=zeros, fake=logits)  # noqa: E731
    else:
        real, fake = objective.real, objective.fake
    assert (slopes(real, torch.tensor([-4.0, -1.0, 0.0, 0.5])) < 0).all()
    assert (slopes(fake, torch.tensor([0.5, 0.9, 1.0, 4.0])) > 0).all()


def beside(loss, real):
    """A mutation as a function of the logits of fakes alone."""
    return lambda fake: value(loss, {"fake": fake, "real": real.to(fake)})


@pytest.mark.parametrize("name", DIVERGENCES)
def test_an_f_gan_objective_is_its_variational_bound(name):
    output, conjugate = DIVERGENCES[name]
    objective, logits = objectives[name], torch.tensor(LOGITS, dtype=torch.float64)
    bound = -math.fsum(output(s) for s in LOGITS) + math.fsum(conjugate(output(s)) for s in LOGITS)
    found = (objective.real(logits) + objective.fake(logits)).item()
    if name == "f-pearson":  # real samples below -2 are not cut off
        bound += math.fsum(max(s, -2) - s for s in LOGITS)
    constants = {"minimax": -2 * math.log(2), "f-hellinger": -1, "f-reverse-kl": -1,
                 "f-neyman": 1}  # fmt: skip
    assert found + constants.get(name, 0) == pytest.approx(bound / len(LOGITS), rel=1e-10)


@pytest.mark.parametrize(
    ("mutation", "objective"),
    [("forward-kl", "f-kl"), ("forward-kl", "f-hellinger"), ("reverse-kl", "f-reverse-kl"),
     ("f-pearson", "f-pearson"), ("f-neyman", "f-neyman"),
     ("f-total-variation", "f-total-variation"), ("vanilla", "minimax"),
     ("wasserstein", "wasserstein")],
)  # fmt: skip
def test_the_mutation_of_an_objective_climbs_what_its_fake_half_descends(mutation, objective):
    logits = torch.tensor(LOGITS, dtype=torch.float64)
    up, down = slopes(mutations[mutation], logits), slopes(objectives[objective].fake, logits)
    scale = math.e if objective == "f-kl" else 1
    torch.testing.assert_close(up, -scale * down)


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("side", ["mutation", "objective"])
def test_a_relativistic_loss_is_its_formula_and_the_discriminators_the_mirror_image(name, side):
    fake, real = (LOGITS, REAL) if side == "mutation" else (REAL, LOGITS)
    means = math.fsum(fake) / len(fake), math.fsum(real) / len(real)
    slow = math.fsum(PAIRED[name](s, r, *means) for s, r in zip(fake, real, strict=True))
    one, other = torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(REAL, dtype=torch.float64)
    loss = mutations[name] if side == "mutation" else objectives[name].whole
    assert loss(fake=one, real=other).item() == pytest.approx(slow / len(fake), rel=1e-12)


@pytest.mark.parametrize("name", PAIRED)
def test_the_derivative_of_a_relativistic_loss_is_that_of_its_value(name):
    loss = beside(mutations[name], torch.tensor(REAL).double())
    logits, step = torch.tensor(LOGITS, dtype=torch.float64), 1e-6
    for place, slope in enumerate(slopes(loss, logits)):
        shift = torch.zeros_like(logits)
        shift[place] = step
        rise = loss(logits + shift) - loss(logits - shift)
        assert (rise / (2 * step) * len(logits)).item() == pytest.approx(slope.item(), abs=1e-6)


def test_the_derivative_of_rasgan_reads_every_real_sample_and_the_mean_of_fakes():
    # A wrong one, seen in public code, takes the mean of the fakes for a constant.
    fake, real = torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(REAL, dtype=torch.float64)
    expected = -0.5 * ((real.mean() - fake).sigmoid() + (real - fake.mean()).sigmoid().mean())
    torch.testing.assert_close(slopes(beside(mutations["rasgan"], real), fake), expected)


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_no_relativistic_loss_or_gradient_overflows(name, kind):
    for fake in EXTREMES:
        for real in EXTREMES:
            loss = beside(mutations[name], torch.full((4,), real))
            logits = torch.full((4,), fake, dtype=kind)
            assert torch.isfinite(loss(logits))
            assert torch.isfinite(slopes(loss, logits)).all()


SEPARABLE = [name for name, objective in objectives.items() if not objective.whole]


@pytest.mark.parametrize("name", SEPARABLE)
def test_a_smoothed_objective_takes_a_share_of_the_real_label_away_and_nothing_else(name):
    objective = objectives[name]
    logits = torch.tensor(LOGITS, dtype=torch.float64)
    found = smoothed(objective, 0.1)
    expected = 0.9 * objective.real(logits).item() + 0.1 * objective.fake(logits).item()
    assert found.real(logits).item() == pytest.approx(expected, rel=1e-14)
    assert found.fake is objective.fake
    assert found.whole is None
    assert found.text == f"{objective.text}, smoothed by 0.1"
    assert smoothed(objective, 0.0) is objective


def test_smoothed_minimax_is_the_cross_entropy_with_the_target_that_is_left():
    logits = torch.tensor(LOGITS, dtype=torch.float64)
    target = torch.full_like(logits, 0.75)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    found = smoothed(objectives["minimax"], 0.25).real(logits)
    assert found.item() == pytest.approx(expected.item(), rel=1e-14)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("ratio", [1.0, 0.2, 7.0])
def test_the_best_smoothed_minimax_discriminator_takes_its_share_off_the_real_density(share, ratio):
    """Salimans et al. (2016), section 3.4; on equal densities it is (1 - share) / 2."""
    objective = smoothed(objectives["minimax"], share)
    best = (1 - share) * ratio / (ratio + 1)
    logit = torch.tensor([math.log(best / (1 - best))], dtype=torch.float64, requires_grad=True)
    risk = ratio * objective.real(logit) + objective.fake(logit)
    (slope,) = torch.autograd.grad(risk, logit, create_graph=True)
    assert slope.item() == pytest.approx(0, abs=1e-14)
    assert torch.autograd.grad(slope, logit)[0].item() > 0


@pytest.mark.parametrize("name", [name for name in objectives if name not in SEPARABLE])
def test_an_objective_that_is_no_sum_is_not_smoothed(name):
    with pytest.raises(ValueError, match="no sum of a real and a fake half"):
        smoothed(objectives[name], 0.1)
    assert smoothed(objectives[name], 0.0) is objectives[name]


def test_rsgan_needs_as_many_real_samples_as_fakes():
    with pytest.raises(ValueError, match="3 and 4 samples cannot be paired"):
        mutations["rsgan"](fake=torch.zeros(4, 1), real=torch.zeros(3, 1))


def test_feature_matching_compares_means_of_features_not_samples():
    one = torch.tensor([[0.0, 2.0], [4.0, 0.0]])
    other = torch.tensor([[1.0, 3.0], [2.0, 1.0], [0.0, 2.0]])
    loss = mutations["feature-matching"]
    assert loss(fake_features=one, real_features=other).item() == (2 - 1) ** 2 + (1 - 2) ** 2
    assert loss(fake_features=one, real_features=one[[1, 0]]).item() == 0


def test_forward_kl_weighs_like_the_density_ratio_and_ends_in_a_tangent():
    logits = torch.tensor([2.0, 9.0, 11.0, 500.0]).double()
    found = slopes(mutations["forward-kl"], logits)
    expected = [-math.exp(2), -math.exp(9), -math.exp(10), -math.exp(10)]
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("loss", "names"),
    [(lambda fake: fake.mean(), ("fake",)), (lambda x: x.mean(), ("fake",)),
     (lambda real: real.mean(), ("real",)), (lambda fake, real: fake.mean(), ("fake", "real")),
     (lambda real, fake: fake.mean(), ("real", "fake")), (torch.mean, ("fake",)),
     (lambda fake, scale=2.0: scale * fake.mean(), ("fake",)),
     (lambda fake_features: fake_features.mean(), ("fake_features",))],
)  # fmt: skip
def test_the_names_of_its_arguments_say_what_a_loss_reads(loss, names):
    assert reads(loss) == names


class Module(torch.nn.Module):
    """A loss as a module."""

    def forward(self, fake, real):
        return (real.mean() - fake).mean()


def test_losses_of_every_make_are_read():
    @functools.wraps(torch.mean)
    def decorated(*given, **options):
        return torch.mean(*given, **options)

    assert reads(Module()) == ("fake", "real")
    assert reads(decorated) == ("fake",)
    assert reads(lambda *given: given[0].mean()) == ("fake",)
    assert reads(lambda fake, *rest, **options: fake.mean()) == ("fake",)
    assert reads(lambda fake, real=None: fake.mean()) == ("fake", "real")
    seen = {"fake": torch.ones(2), "real": torch.zeros(2)}
    assert value(Module(), seen).item() == -1


@pytest.mark.parametrize(
    ("loss", "words"),
    [(lambda real_logits: real_logits.mean(), "cannot read 'real_logits'"),
     (lambda fake, real, /: fake.mean(), "leave out its '/'")],
)  # fmt: skip
def test_a_loss_that_could_not_be_called_is_refused(loss, words):
    with pytest.raises(ValueError, match=words):
        reads(loss)


def test_a_loss_that_asks_for_what_is_not_there_is_told_what_is():
    with pytest.raises(ValueError, match="cannot read 'labels': name its arguments fake, real, "):
        reads(lambda fake, labels: fake.mean())


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
    pushed = {
        name
        for name, loss in mutations.items()
        if reads(loss) == ("fake",) and slopes(loss, accepted).item() > 0
    }
    assert pushed == {"least-squares-logit", "lsgan"}
