"""Revival: what comes back after a collapse, when, and how often at most."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import egan
import egan.revival
from egan.cost import Counter, generation_flops
from egan.directory import Directory
from egan.evolution import advance, evolve
from egan.findings import paragraph
from egan.monitor import row_of
from egan.revival import SAMPLES, covered, real_samples, revived
from egan.run import run_in
from egan.snapshot import freeze, revive
from egan.state import State
from populations import checkpoint
from populations.errors import UsageError
from populations.randomness import generator as keyed

EVERY = 2
REVIVAL = {"population": {"revival": 0.5, "revival_every": EVERY}}
DATA = 0.2 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0))


def same(left, right):
    """Bit for bit, populations and environments."""
    for one, other in zip(left.population, right.population, strict=True):
        for name in ("weights", "buffers", "moments", "average", "number"):
            values = getattr(one, name), getattr(other, name)
            torch.testing.assert_close(*values, rtol=0, atol=0)
    torch.testing.assert_close(
        vars(left.environment), vars(right.environment), rtol=0, atol=0, allow_subclasses=False
    )


@pytest.fixture
def measured(monkeypatch):
    """A function that decides what is measured after each generation, and counts measurements."""
    asked = []

    def decide(values):
        def found(individual, world, generation):
            asked.append(generation)
            return values[generation]

        monkeypatch.setattr(egan.revival, "covered", found)
        return asked

    return decide


class Doom:
    """A mutation that is harmless until it destroys every generator."""

    near = False

    def __call__(self, layers, strength):
        if self.near:
            return [torch.zeros_like(each) for each in layers]
        return [each + 1e-3 * torch.randn_like(each) for each in layers]


def test_a_destroyed_population_comes_back_once_with_the_discriminator_that_it_met(make):
    doom = Doom()
    settings = {"variation": {"mutations": [doom]}, "population": {"mu": 2}}
    world, state = make(REVIVAL, settings, {"generations": 40, "lr_final": 0.1}, source=DATA)
    passed = {}
    for state, _ in evolve(state, world, 4):  # noqa: B020
        passed[state.generation] = state
    kept = passed[state.refuge.generation]
    doom.near = True
    state, _ = advance(state, world)
    assert not state.population[0].weights.any()
    lost = state
    state, _ = advance(state, world)
    assert state.revivals == [(6, kept.generation)]
    assert state.generation == 6
    same(state, kept)
    assert not torch.equal(state.environment.weights, lost.environment.weights)

    doom.near = False
    again, _ = advance(state, world)
    by_hand, _ = advance(State(6, kept.population, kept.environment), world)
    same(again, by_hand)
    before, _ = advance(kept, world)
    assert not torch.equal(again.population[0].weights, before.population[0].weights)
    assert not torch.equal(again.environment.weights, before.environment.weights)

    doom.near = True
    state = list(evolve(state, world, 40))[-1][0]
    assert state.revivals == [(6, kept.generation)]
    assert state.barren == 0


@pytest.mark.parametrize(("values", "revivals", "refuge"), [
    ([0.5, 0.8, 0.4, 0.5], [], 4),  # half of the best is no collapse
    ([0.5, 0.8, 0.39, 0.79], [(6, 4)], 4),
    ([0.5, 0.8, 0.39, 0.8], [(6, 4)], 8),  # who covers as much takes its place
    ([0.8, 0.3, 0.39, 0.16, 0.14, 0.08], [(4, 2), (10, 2)], 2),  # asked less each time
    ([0.8, 0.0, 0.0, 0.0], [(4, 2)], 2),  # nothing falls below nothing
    ([0.8, 0.3, 0.9, 0.44], [(4, 2), (8, 6)], 6),
    ([0.4, 0.4], [], 4),  # of equals, the later one
    ([0.09, 0.0, 0.08, 0.1], [], 8),  # nothing was learned that could be lost
])  # fmt: skip
def test_what_comes_back_and_when(make, measured, values, revivals, refuge):
    asked = measured(dict(zip(range(EVERY, 99, EVERY), values, strict=False)))
    world, state = make(REVIVAL)
    passed, origin = {}, {}
    for state, _ in evolve(state, world, EVERY * len(values)):  # noqa: B020
        passed[state.generation] = state
        origin = dict(state.revivals)
        if state.generation in origin:
            same(state, passed[origin[state.generation]])
    assert state.revivals == revivals
    assert state.refuge.generation == refuge
    same(state.refuge, passed[refuge])
    assert asked == [*range(EVERY, state.generation + 1, EVERY)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_however_a_refuge_is_lost_it_comes_back_a_bounded_number_of_times(make, share):
    """Each time as much is left as may be for it to come back once more."""
    world, state = make({"population": {"revival": share, "revival_every": 1}})
    state, grid = replace(state, generation=1), 1.0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(egan.revival, "covered", lambda *arguments: grid)
        state = revived(state, world)
        for _ in range(3 * SAMPLES):
            state = replace(state, generation=state.generation + 1)
            limit = state.refuge.limit
            grid = max(0, math.ceil(limit * SAMPLES) - 1) / SAMPLES
            state = revived(state, world)
    assert 1 < len(state.revivals) <= 1 + math.log(SAMPLES) / math.log(1 / share)
    assert {origin for _, origin in state.revivals} == {1}
    assert state.refuge.limit == 0


def test_without_a_collapse_nothing_changes(make, measured):
    ends, rows = [], []
    measured(dict.fromkeys(range(20), 0.3))
    for layers in ([REVIVAL], []):
        world, state = make(*layers, {"population": {"mu": 2}})
        for state, happened in evolve(state, world, 8):  # noqa: B020
            rows.append(row_of(state, happened, world.operators.names(), [], 0.0))
        ends.append(state)
    same(*ends)
    assert rows[:8] == rows[8:]
    assert ends[0].refuge.generation == 8
    assert ends[1].refuge is None


def test_where_populations_are_not_revived_nothing_is_measured(make, measured):
    asked = measured({})
    world, state = make({"population": {"revival_every": 1}})
    assert [state.refuge for state, _ in evolve(state, world, 3)] == [None] * 3
    assert asked == []


def test_coverage_is_measured_as_it_is_defined_on_samples_of_the_generation(make):
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(8, 9), nn.BatchNorm1d(9), nn.Linear(9, 2))

        def forward(self, noise):
            return self.net(noise)

    once = 20 * DATA[:40]
    twice = torch.cat([once] * 2)  # a neighbourhood of equal samples would be a point
    world, state = make(REVIVAL, {"networks": {"generator": Normed}}, source=twice)
    one = state.population[0]
    buffers = {name: each.clone() for name, each in one.buffers.items()}
    found = covered(one, world, 7)
    torch.testing.assert_close(one.buffers, buffers, rtol=0, atol=0)
    real = real_samples(world, 7)
    assert sorted(map(tuple, real.tolist())) == sorted(map(tuple, once.tolist()))
    module = Normed()
    nn.utils.vector_to_parameters(one.weights, module.parameters())
    noise = torch.randn(SAMPLES, 8, generator=keyed(0, 7, "revival noise"))
    fake = module(noise).tolist()
    hits = 0
    for point in real.tolist():
        radius = sorted(math.dist(point, other) for other in real.tolist())[5]
        hits += min(math.dist(point, each) for each in fake) <= radius
    assert 0 < hits < 40
    assert found == pytest.approx(hits / 40)
    assert covered(one, world, 8) != found or covered(one, world, 9) != found
    assert covered(replace(one, weights=one.weights * math.nan), world, 7) == 0


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_run_that_goes_on_from_a_checkpoint_is_revived_as_one_that_was_not_stopped(
    make, measured, executor
):
    measured({2: 0.8, 4: 0.1, 6: 0.9, 8: 0.1, 10: 0.2})
    world, state = make(REVIVAL)
    other, _ = make(REVIVAL, {"execution": {"executor": executor, "workers": 1}})
    states = [state, *(state for state, _ in evolve(state, world, 10))]
    assert states[-1].revivals == [(4, 2), (8, 6)]
    for stop in (1, 3, 4, 7, 8):
        again, _ = revive(freeze(states[stop], None), other)
        again = list(evolve(again, other, 10))[-1][0]
        same(again, states[-1])
        same(again.refuge, states[-1].refuge)
        assert again.revivals == states[-1].revivals


def test_a_run_on_disk_tells_of_its_revivals_and_may_be_stopped_anywhere(small, measured, tmp_path):
    measured({2: 0.8, 4: 0.1, 6: 0.9, 8: 0.1, 10: 0.2, 12: 0.3})
    settings = egan.settings.merge(small, REVIVAL)
    whole, parts = Directory(tmp_path / "whole"), Directory(tmp_path / "parts")
    outcome = run_in(whole, settings)
    for stop in (3, 4, 9):
        run_in(
            parts, settings, on_generation=lambda state, row, stop=stop: state.generation >= stop
        )
    run_in(parts, {})
    logs = [
        [{**json.loads(line), "seconds": 0} for line in each.log.read_text().splitlines()]
        for each in (whole, parts)
    ]
    assert logs[0] == logs[1]
    assert {row["generation"]: row["revived"] for row in logs[0] if "revived" in row} == {
        4: 2,
        8: 6,
    }
    files = [each.weights("final").read_bytes() for each in (whole, parts)]
    assert files[0] == files[1]
    assert "Revivals of a collapsed population: 2." in paragraph(whole, outcome.world.data)


def test_checkpoints_of_versions_without_revival_go_on(make):
    world, state = make(REVIVAL)
    saved = freeze(state, None)
    del saved["refuge"], saved["revivals"]
    again, _ = revive(saved, world)
    assert (again.refuge, again.revivals) == (None, [])


def test_a_checkpoint_keeps_a_refuge_that_is_the_present_only_once(make, measured, tmp_path):
    measured({2: 0.8})
    sizes = []
    for layers in ([REVIVAL], []):
        world, state = make(*layers, {"networks": {"width": 64}})
        state = list(evolve(state, world, 2))[-1][0]
        sizes.append(checkpoint.save(tmp_path, 2, freeze(state, None)).stat().st_size)
    assert sizes[0] < 1.1 * sizes[1]


def test_seeds_in_step_are_revived_each_for_itself(small, measured):
    measured({2: 0.8, 4: 0.1, 6: 0.2})
    settings = egan.settings.merge(small, REVIVAL)
    runs = egan.evolve_seeds([0, 1], config=settings, generations=6, execution={"engine": "auto"})
    assert [run.state.revivals for run in runs] == [[(4, 2)]] * 2
    weights = [run.state.refuge.population[0].weights for run in runs]
    assert not torch.equal(*weights)


def test_an_archive_takes_who_came_back(make, measured):
    measured({2: 0.8, 4: 0.1})
    world, state = make(REVIVAL, {"population": {"mixture": 9}})
    states = [state for state, _ in evolve(state, world, 4)]
    numbers = [state.population[0].number for state in states]
    assert [one.number for one in states[-1].archive] == numbers
    assert numbers[3] == numbers[1]


def test_what_is_measured_counts_at_its_share(make):
    counts = []
    for every in (None, 1, 4):
        settings = {"population": {"revival": 0.5, "revival_every": every}} if every else {}
        world, state = make(settings)
        counts.append(generation_flops(state, world))
    game = world.plan.game
    with Counter() as forward, torch.no_grad():
        game.generate(game.draw(SAMPLES, keyed(0, 0, "any")))
    assert [count - counts[0] for count in counts[1:]] == [forward.total, forward.total // 4]


def test_data_without_neighbourhoods_are_refused(make):
    few = torch.randn(5, 2).repeat(100, 1)
    with pytest.raises(UsageError) as error:
        make(REVIVAL, source=few)
    assert str(error.value) == (
        "population.revival measures how many neighbourhoods of 5 real samples are covered: the "
        "data must have more than 5 different samples, and have 5."
    )
    make(source=few)
