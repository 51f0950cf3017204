"""The hall of fame: which discriminators it keeps, and how they judge."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from egan.cost import Counter, generation_flops
from egan.engines import engines
from egan.environment import past
from egan.evolution import advance, evolve, meet
from egan.snapshot import freeze, revive
from populations.archive import generations
from populations.errors import RunError, UsageError
from populations.randomness import generator as keyed


def critic(kind):
    middle = {"batch norm": [nn.BatchNorm1d(7)], "dropout": [nn.Dropout(0.5)]}.get(kind, [])
    wide = nn.Linear(7, 7)
    if kind == "spectral norm":
        wide = nn.utils.parametrizations.spectral_norm(wide)
    return nn.Sequential(nn.Linear(2, 7), *middle, nn.Tanh(), wide, nn.Tanh(), nn.Linear(7, 1))


def doubled(kind):
    """Networks in double precision, whose discriminator keeps what the kind names."""
    makes = {
        "generator": lambda: nn.Sequential(
            nn.Linear(4, 7), nn.LeakyReLU(0.2), nn.Linear(7, 2)
        ).double(),
        "discriminator": lambda: critic(kind).double(),
    }
    return {"networks": {**makes, "noise_dimension": 4}, "environment": {"hall": 3}}


def after(make, count, *layers):
    """A world, and its state after so many generations."""
    world, state = make(*layers)
    return world, list(evolve(state, world, count))[-1][0]


@torch.no_grad()
def by_hand(module, judge, samples):
    """Logits of a copy of a network with a judge's weights and buffers, made the obvious way."""
    module = copy.deepcopy(module)
    nn.utils.vector_to_parameters(judge.weights, module.parameters())
    for name, buffer in module.named_buffers():
        buffer.copy_(judge.buffers[name])
    return module(samples)


@pytest.mark.parametrize("engine", engines)
@pytest.mark.parametrize("kind", ["plain", "batch norm", "spectral norm"])
@pytest.mark.parametrize("selection", ["best", "lexicase"])
def test_quality_is_the_mean_under_todays_discriminator_and_each_kept_one(
    make, engine, kind, selection
):
    layers = [doubled(kind), {"population": {"selection": selection, "mu": 2}}]
    world, state = after(make, 5, *layers)
    if engine == "batched" and kind == "spectral norm":
        pytest.skip("a stack has no spectral norms")
    world, _ = make(*layers, {"execution": {"engine": engine}})
    today = world.settle(state.environment)
    assert len(state.hall) == 2
    before = copy.deepcopy(state.hall)
    children = world.breed(state, today).children
    torch.testing.assert_close([vars(one) for one in state.hall], [vars(one) for one in before],
                               rtol=0, atol=0)  # fmt: skip
    game, plan = world.plan.game, world.plan
    noise = game.draw(plan.samples, keyed(plan.seed, state.generation, "judging noise"))
    for child in children:
        samples = by_hand(game.generator.module, child, noise)
        looks = [
            by_hand(game.discriminator.module, judge, samples).sigmoid().flatten()
            for judge in (today, *state.hall)
        ]
        expected = sum(float(each.mean()) for each in looks) / 3
        assert child.fitness.values[0] == pytest.approx(expected, rel=1e-9)
        assert abs(expected - float(looks[0].mean())) > 1e-3
        groups = sum(looks).view(8, 2).mean(1) / 3 if selection == "lexicase" else torch.zeros(0)
        assert child.cases == pytest.approx(groups.tolist(), rel=1e-9)


@pytest.mark.parametrize("engine", ["shared", "compiled"])
@pytest.mark.parametrize("shared_noise", [True, False])
def test_what_past_discriminators_draw_is_the_same_in_every_engine(make, engine, shared_noise):
    layers = [doubled("dropout"), {"fitness": {"shared_noise": shared_noise, "gamma": 0.0}}]
    world, state = after(make, 3, *layers, {"execution": {"engine": "reference"}})
    other, _ = make(*layers, {"execution": {"engine": engine}})
    assert len(state.hall) == 3
    for one, two in zip(*(each.breed(state, state.environment).children for each in (world, other)),
                        strict=True):  # fmt: skip
        assert two.fitness.values == pytest.approx(one.fitness.values, rel=1e-9)


def test_diversity_is_judged_by_todays_discriminator_alone(make):
    world, state = after(make, 3, doubled("plain"))
    judged, alone = (
        world.breed(replace(state, hall=hall), state.environment).children
        for hall in (state.hall, [])
    )
    for one, two in zip(judged, alone, strict=True):
        assert one.fitness.values[1] == two.fitness.values[1]
        assert one.fitness.values[0] != two.fitness.values[0]


def test_who_fools_todays_discriminator_and_no_past_one_does_not_survive(make):
    settings = {"fitness": {"gamma": 0.0, "quality": "logit"}}
    world, state = make(settings, {"environment": {"hall": 2}})
    game, today = world.plan.game, state.environment
    game.discriminator.load(today.weights, today.buffers)
    last = game.discriminator.module[-1]
    with torch.no_grad():
        last.weight.neg_()
        last.bias.neg_()
    opposite = replace(past(today), weights=game.discriminator.vector.clone())
    found = {}
    for name, hall in (("today", []), ("both", [opposite, opposite])):
        litter = world.breed(replace(state, hall=hall), today)
        found[name] = {one.number: one.total for one in litter.children}, world.select(litter, 0)
    totals, (fooling,) = found["today"]
    survivor = found["both"][1][0].number
    assert fooling.number == max(totals, key=totals.__getitem__)
    assert survivor == min(totals, key=totals.__getitem__)


@pytest.mark.parametrize("first", ["generators", "environment"])
@pytest.mark.parametrize("hall", [1, 3])
def test_kept_are_the_discriminators_that_generations_spread_over_the_run_met(make, first, hall):
    world, state = make({"first": first, "environment": {"hall": hall}},
                        {"networks": {"spectral_norm": True}})  # fmt: skip
    met = {}
    for done in range(1, 10):
        met[done] = meet(state, world)[0]
        state, _ = advance(state, world)
        kept = generations(state.hall, done, hall)
        assert len(kept) <= hall
        assert kept[-1] + kept[0] > done
        for generation, one in zip(kept, state.hall, strict=True):
            assert torch.equal(one.weights, met[generation].weights)
            torch.testing.assert_close(one.buffers, met[generation].buffers, rtol=0, atol=0)
            assert (one.moments, one.averages) == ({}, None)
            assert not torch.equal(one.weights, meet(state, world)[0].weights)


@pytest.mark.parametrize("settings", [
    {"preset": "gradient-only"}, {"population": {"selection": "random"}},
])  # fmt: skip
def test_where_nobody_is_judged_no_discriminators_are_kept(make, settings):
    _, state = after(make, 3, settings, {"environment": {"hall": 3}})
    assert state.hall == []


def test_a_checkpoint_holds_the_hall_and_older_ones_go_on_without(make):
    world, state = after(make, 3, {"environment": {"hall": 2}})
    saved = freeze(state, None)
    again, _ = revive(saved, world)
    for one, other in zip(state.hall, again.hall, strict=True):
        torch.testing.assert_close(vars(one), vars(other), rtol=0, atol=0)
    del saved["hall"]
    assert revive(saved, world)[0].hall == []
    ends = [advance(each, world)[0] for each in (state, again)]
    assert torch.equal(ends[0].population[0].weights, ends[1].population[0].weights)
    saved["hall"] = [{**vars(state.hall[0]), "weights": torch.zeros(3)}]
    with pytest.raises(RunError, match="networks of other sizes"):
        revive(saved, world)


def test_past_discriminators_are_counted_as_often_as_they_judge_on_average(make):
    counts = {}
    for hall in (0, 2):
        world, state = make({"generations": 6, "environment": {"hall": hall, "lazy": 2}})
        counts[hall] = generation_flops(state, world)
    with Counter() as forward, torch.no_grad():
        world.plan.game.logits(torch.zeros(16, 2))
    kept = (0 + 1 + 2 + 1 + 2 + 2) / 6  # after 0, 1, ... 5 generations
    assert counts[2] - counts[0] == pytest.approx(3 * kept * forward.total, abs=1)


@pytest.mark.parametrize(("settings", "says"), [
    ({"fitness": {"race": 0.9}}, "fitness.race judges by today's discriminator alone"),
    ({"fitness": {"quality": "none"}}, "fitness.quality is 'none': environment.hall must be 0"),
    ({"environment": {"hall": -1}}, "environment.hall is -1"),
])  # fmt: skip
def test_what_cannot_be_judged_by_past_discriminators_is_refused(make, settings, says):
    with pytest.raises(UsageError, match=says):
        make({"environment": {"hall": 2}}, settings)
