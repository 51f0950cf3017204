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
from egan.penalties import Step, penalties


def scene(module):
    torch.manual_seed(0)
    game = Unconditional(Flat(nn.Linear(3, 2).double()), Flat(module.double()), "normal", 3)
    weights, buffers = game.discriminator.state()
    real, fake = torch.randn(2, 9, 2, dtype=torch.float64).unbind()
    return game, Environment(weights, buffers, fresh_moments(weights)), real, fake


def layers():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1))


def steep(module):
    """The same with a steeper last layer: one-sided penalties begin at a slope of 1."""
    with torch.no_grad():
        module[-1].weight.mul_(30)
    return module


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


@pytest.mark.parametrize("penalty", penalties)
def test_a_step_follows_the_gradient_of_the_objective_and_of_every_penalty(penalty):
    module = steep(layers())
    game, environment, real, fake = scene(module)
    rules = Rules(objectives["minimax"], [(0.3, penalties[penalty])], 0.01, (0.5, 0.9))
    torch.manual_seed(3)
    after, row = learn(game, environment, Batch(real, fake), rules)
    torch.manual_seed(3)
    shown = real.clone().requires_grad_(), fake.clone().requires_grad_()
    step = Step(*shown, module, [module[0].weight, module[2].weight])
    loss, value = objectives["minimax"].real(module(real)), 0.3 * penalties[penalty](step)
    loss = loss + objectives["minimax"].fake(module(fake))
    expected = torch.autograd.grad(loss + value, list(module.parameters()))
    torch.testing.assert_close(
        after.moments["mean"] / 0.5, nn.utils.parameters_to_vector(expected), rtol=0, atol=1e-12
    )
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-12)
    assert row["penalty"] == pytest.approx(value.item(), rel=1e-12)
    assert row["penalty"] > 0


@pytest.mark.parametrize("names", [[], ["lecam"]])
def test_a_step_that_is_not_finite_is_not_taken(names):
    game, environment, real, fake = scene(layers())
    rules = Rules(objectives["minimax"], [(1.0, penalties[name]) for name in names], 0.01,
                  (0.5, 0.9))  # fmt: skip
    environment, _ = learn(game, environment, Batch(real, fake), rules)
    real[0, 0] = math.nan
    after, row = learn(game, environment, Batch(real, fake), rules)
    assert row["taken"] == 0.0
    assert after is environment
    assert after.moments["step"] == 1


def test_averages_of_logits_move_where_a_penalty_reads_them_and_stay_elsewhere():
    module = layers()
    game, environment, real, fake = scene(module)
    plain = Rules(objectives["minimax"], [(1.0, penalties["r1"])], 0.01, (0.5, 0.9))
    lecam = Rules(objectives["minimax"], [(1.0, penalties["lecam"])], 0.01, (0.5, 0.9))
    environment, _ = learn(game, environment, Batch(real, fake), plain)
    assert environment.averages is None
    sums, known = torch.zeros(2, dtype=torch.float64), 0.0
    for _ in range(2):
        game.discriminator.load(environment.weights, environment.buffers)
        now = torch.stack([module(real).mean(), module(fake).mean()]).detach()
        sums, known = 0.99 * sums + 0.01 * now, 0.99 * known + 0.01
        environment, _ = learn(game, environment, Batch(real, fake), lecam)
        torch.testing.assert_close(environment.averages, torch.cat([sums, sums.new([known])]))
        environment, _ = learn(game, environment, Batch(real, fake), plain)
    torch.testing.assert_close(environment.averages[2].item(), known)


@pytest.mark.parametrize("objective", ["minimax", "rasgan"])
@pytest.mark.parametrize("known", [(), ("real",), ("real", "fake")])
def test_a_step_cuts_the_weights_to_their_bound(objective, known):
    game, environment, real, fake = scene(layers())
    chosen = objectives[objective]
    batch = Batch(real, fake, *[
        half(game, environment, each, term) if name in known and not chosen.whole else None
        for name, each, term in (("real", real, chosen.real), ("fake", fake, chosen.fake))
    ])  # fmt: skip
    free, _ = learn(game, environment, batch, Rules(chosen, [], 0.3, (0.5, 0.9)))
    bound, row = learn(game, environment, batch, Rules(chosen, [], 0.3, (0.5, 0.9), 0.25))
    assert free.weights.abs().max() > 0.25
    assert torch.equal(bound.weights, free.weights.clamp(-0.25, 0.25))
    assert (bound.weights.abs() < 0.25).any()
    assert torch.equal(bound.moments["mean"], free.moments["mean"])
    assert row["taken"] == 1.0


def test_a_bound_does_not_make_an_infinite_weight_a_finite_one():
    game, environment, real, fake = scene(layers())
    rules = Rules(objectives["minimax"], [], 1.5e308, (0.5, 0.9), 0.25)
    after, row = learn(game, environment, Batch(real, fake), rules)
    assert row["taken"] == 0.0
    assert after is environment


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


@pytest.mark.parametrize("penalty", penalties)
def test_the_points_of_penalties_move_no_batch_norm_statistics(penalty):
    module = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1))
    game, environment, real, fake = scene(steep(module))
    chosen = objectives["minimax"]
    free, _ = learn(game, environment, Batch(real, fake), Rules(chosen, [], 0.01, (0.5, 0.9)))
    rules = Rules(chosen, [(1.0, penalties[penalty])], 0.01, (0.5, 0.9))
    after, row = learn(game, environment, Batch(real, fake), rules)
    assert row["taken"] == 1.0
    torch.testing.assert_close(after.buffers, free.buffers, rtol=0, atol=0)
    assert not torch.equal(after.weights, free.weights)


def test_settling_iterates_spectral_norm_once():
    module = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(2, 6)), nn.Linear(6, 1)
    )
    game, environment, _, _ = scene(module)
    environment.averages = torch.ones(3)
    settled = settle(game.discriminator, environment)
    assert settled.averages is environment.averages
    weight, v = module[0].parametrizations.weight.original, "0.parametrizations.weight.0._v"
    u = weight @ environment.buffers[v]
    u = u / u.norm()
    torch.testing.assert_close(settled.buffers["0.parametrizations.weight.0._u"], u)
    assert not torch.equal(settled.buffers[v], environment.buffers[v])


def test_settling_leaves_other_networks_alone():
    game, environment, _, _ = scene(layers())
    assert settle(game.discriminator, environment) is environment
