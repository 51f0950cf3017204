"""The discriminator's steps."""

import copy
import math

import pytest
import torch
from torch import nn

from egan.cost import Counter
from egan.environment import Batch, Environment, Rules, half, learn, settle
from egan.games import Unconditional
from egan.losses import objectives
from egan.networks import Flat
from egan.optimizer import fresh_moments
from egan.penalties import penalties


def scene(module):
    torch.manual_seed(0)
    game = Unconditional(Flat(nn.Linear(3, 2).double()), Flat(module.double()), "normal", 3)
    weights, buffers = game.discriminator.state()
    real, fake = torch.randn(2, 9, 2, dtype=torch.float64).unbind()
    return game, Environment(weights, buffers, fresh_moments(weights)), real, fake


def layers():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1))


@pytest.mark.parametrize("objective", objectives)
def test_a_step_is_adam_on_objective_and_penalties(objective):
    module = layers()
    expected = copy.deepcopy(module).double()
    game, environment, real, fake = scene(module)
    rules = Rules(objectives[objective], [(0.3, penalties["r1"]), (0.7, penalties["r2"])], 0.01,
                  (0.5, 0.9))  # fmt: skip
    adam = torch.optim.Adam(expected.parameters(), lr=0.01, betas=(0.5, 0.9))
    for _ in range(3):
        environment, row = learn(game, environment, Batch(real, fake), rules)
        adam.zero_grad()
        one, other, whole = expected(real), expected(fake), objectives[objective].whole
        loss = objectives[objective].real(one) + objectives[objective].fake(other)
        loss = whole(real=one, fake=other) if whole else loss
        penalty = 0.0
        for weight, batch in ((0.3, real), (0.7, fake)):
            for each in batch:
                sample = each.clone().requires_grad_()
                (slope,) = torch.autograd.grad(expected(sample), sample, create_graph=True)
                penalty = penalty + weight / 2 * slope.square().sum() / len(batch)
        (loss + penalty).backward()
        adam.step()
        assert row["loss"] == pytest.approx(float(loss.detach()), rel=1e-12)
        assert row["penalty"] == pytest.approx(float(penalty.detach()), rel=1e-12)
    vector = nn.utils.parameters_to_vector(expected.parameters())
    # A relativistic objective does not see the last bias: Adam turns a zero's rounding into a step.
    seen = slice(-1 if objectives[objective].whole else None)
    torch.testing.assert_close(environment.weights[seen], vector[seen], rtol=0, atol=1e-12)


def test_a_step_that_is_not_finite_is_not_taken():
    game, environment, real, fake = scene(layers())
    real[0, 0] = math.nan
    rules = Rules(objectives["minimax"], [], 0.01, (0.5, 0.9))
    after, row = learn(game, environment, Batch(real, fake), rules)
    assert row["taken"] == 0.0
    assert torch.equal(after.weights, environment.weights)
    assert after.moments["step"] == 0


@pytest.mark.parametrize("known", ["real", "fake", "both"])
@pytest.mark.parametrize("names", [[], ["r1", "r2"]])
def test_a_step_on_known_halves_is_the_step_that_computes_them(known, names):
    game, environment, real, fake = scene(layers())
    objective = objectives["minimax"]
    rules = Rules(objective, [(0.3, penalties[name]) for name in names], 0.01, (0.5, 0.9))
    halves = {
        "real_half": half(game, environment, real, objective.real),
        "fake_half": half(game, environment, fake, objective.fake),
    }
    given = {name: each for name, each in halves.items() if known in (*name.split("_"), "both")}
    assert len(given) == (2 if known == "both" else 1)
    expected, row = learn(game, environment, Batch(real, fake), rules)
    found, other = learn(game, environment, Batch(real, fake, **given), rules)
    torch.testing.assert_close(found.weights, expected.weights, rtol=0, atol=1e-12)
    assert other == pytest.approx(row, rel=1e-12)


def test_known_halves_are_not_computed_again():
    game, environment, real, fake = scene(layers())
    objective = objectives["minimax"]
    halves = [
        half(game, environment, real, objective.real),
        half(game, environment, fake, objective.fake),
    ]
    rules = Rules(objective, [], 0.01, (0.5, 0.9))
    with Counter() as counter:
        learn(game, environment, Batch(real, fake, *halves), rules)
    assert counter.total == 0


def test_batch_norm_statistics_go_on_from_the_known_half():
    module = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1))
    game, environment, real, fake = scene(module)
    objective = objectives["minimax"]
    rules = Rules(objective, [], 0.01, (0.5, 0.9))
    expected, _ = learn(game, environment, Batch(real, fake), rules)
    known = half(game, environment, real, objective.real)
    found, _ = learn(game, environment, Batch(real, fake, known), rules)
    torch.testing.assert_close(found.buffers, expected.buffers)
    torch.testing.assert_close(found.weights, expected.weights, rtol=0, atol=1e-12)


def test_batch_norm_statistics_advance_in_a_step_and_not_in_evaluation():
    module = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1))
    game, environment, real, fake = scene(module)
    before = copy.deepcopy(environment.buffers)
    half(game, environment, real, objectives["minimax"].real)
    torch.testing.assert_close(environment.buffers, before, rtol=0, atol=0)
    rules = Rules(objectives["minimax"], [], 0.01, (0.5, 0.9))
    after, _ = learn(game, environment, Batch(real, fake), rules)
    assert int(after.buffers["1.num_batches_tracked"]) == 2  # the real pass and the fake one
    torch.testing.assert_close(environment.buffers, before, rtol=0, atol=0)


def test_settling_iterates_spectral_norm_once():
    module = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(2, 6)), nn.Linear(6, 1)
    )
    game, environment, _, _ = scene(module)
    settled = settle(game.discriminator, environment)
    weight, v = module[0].parametrizations.weight.original, "0.parametrizations.weight.0._v"
    u = weight @ environment.buffers[v]
    u = u / u.norm()
    torch.testing.assert_close(settled.buffers["0.parametrizations.weight.0._u"], u)
    assert not torch.equal(settled.buffers[v], environment.buffers[v])


def test_settling_leaves_other_networks_alone():
    game, environment, _, _ = scene(layers())
    assert settle(game.discriminator, environment) is environment
