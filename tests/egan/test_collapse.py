"""Collapse: when there is an alarm, how often at most, and what it changes."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import egan
import egan.cli
import egan.collapse
from egan.collapse import RETURNS, RISK, measured, threshold, watched
from egan.cost import Counter, generation_flops
from egan.directory import Directory
from egan.evolution import advance, evolve
from egan.findings import paragraph
from egan.generator import Generator, exported
from egan.monitor import alarm, read_log, row_of
from egan.neighbourhoods import SAMPLES, Estimate, measure
from egan.run import run_in
from egan.snapshot import freeze, revive
from egan.state import State
from populations import checkpoint
from populations.errors import UsageError
from populations.randomness import generator as keyed

EVERY = 2
WATCH = {"population": {"collapse_every": EVERY, "collapse": 0.5}}
REVIVE = {"population": {**WATCH["population"], "on_collapse": "revive"}}
STOP = {"population": {**WATCH["population"], "on_collapse": "stop"}}
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


def figures(coverage, diversity=1.0, error=0.01):
    return {"coverage": Estimate(coverage, error), "diversity": Estimate(diversity, error)}


@pytest.fixture
def told(monkeypatch):
    """A function that decides what is measured after each generation, and counts measurements."""
    asked = []

    def decide(values):
        def found(individual, world, generation):
            asked.append(generation)
            value = values[generation]
            return value if isinstance(value, dict) else figures(value)

        monkeypatch.setattr(egan.collapse, "measured", found)
        return asked

    return decide


def along(values):
    """One value a measurement."""
    return dict(zip(range(EVERY, 99, EVERY), values, strict=False))


class Doom:
    """A mutation that is harmless until it destroys every generator."""

    near = False

    def __call__(self, layers, strength):
        if self.near:
            return [torch.zeros_like(each) for each in layers]
        return [each + 1e-3 * torch.randn_like(each) for each in layers]


def test_a_destroyed_population_raises_one_alarm_and_the_best_before_it_is_kept(make):
    doom = Doom()
    settings = {"variation": {"mutations": [doom]}, "generations": 40}
    world, state = make(WATCH, settings, source=DATA)
    passed, alarms = {}, []
    for state, happened in evolve(state, world, 40):  # noqa: B020
        passed[state.generation] = state
        alarms += [state.generation] if happened.watch.get("alarm") else []
        doom.near = state.generation >= 12
    (gone,) = alarms
    assert 12 < gone < 40
    assert state.alarms == [(gone, state.refuge.generation)]
    assert state.refuge.generation <= 12
    same(state.refuge, passed[state.refuge.generation])
    assert not state.population[0].weights.any()  # a warning changes nothing


def test_a_destroyed_population_comes_back_with_the_discriminator_that_it_met(make):
    doom = Doom()
    settings = {"variation": {"mutations": [doom]}, "population": {"mu": 2, "average": 0.0}}
    world, state = make(REVIVE, settings, {"generations": 40, "lr_final": 0.1}, source=DATA)
    passed = {}
    for state, _ in evolve(state, world, 4):  # noqa: B020
        passed[state.generation] = state
    kept = passed[state.refuge.generation]
    doom.near = True
    state, _ = advance(state, world)
    assert not state.population[0].weights.any()
    lost = state
    state, _ = advance(state, world)
    assert state.alarms == [(6, kept.generation)]
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
    returns = [(when, kept.generation) for when in (6, 8, 10, 12)]
    assert state.alarms == returns  # the last one only said that it is lost
    assert len(returns) == RETURNS + 1
    assert not state.population[0].weights.any()
    assert state.barren == 0


@pytest.mark.parametrize(("values", "alarms", "refuge"), [
    ([0.5, 0.8, 0.41, 0.5], [], 4),  # half of the best is no collapse
    ([0.5, 0.8, 0.39, 0.5], [(6, 4)], 4),
    ([0.5, 0.8, 0.3, 0.31, 0.29, 0.3, 0.33], [(6, 4)], 4),  # one collapse, one alarm
    ([0.8, 0.3, 0.6, 0.75, 0.3, 0.3], [(4, 2), (10, 2)], 2),  # it came back and fell again
    ([0.8, 0.3, 0.9, 0.3], [(4, 2), (8, 6)], 6),
    ([0.8, 0.3, 0.39, 0.3, 0.08], [(4, 2)], 2),  # the alarm stands until half is back
    ([0.8, 0.3, 0.4, 0.3, 0.3], [(4, 2), (8, 2)], 2),
    ([0.8, figures(0.8, 0.4), figures(0.9, 0.4), 0.7], [(4, 2)], 2),  # no refuge in a collapse
    ([0.4, 0.4], [], 4),  # of equals, the later one
    ([0.09, 0.0, 0.08, 0.1], [], 8),  # nothing was learned that could be lost
    ([0.8, figures(0.1, error=0.15)], [], 2),  # noise may do that: z is 3.4
    ([0.8, figures(0.1, error=0.14)], [(4, 2)], 2),
    ([figures(0.8, error=0.15), 0.1], [], 2),
    ([figures(0.8, error=0.14), figures(0.1, error=0.14)], [(4, 2)], 2),
    ([0.8, figures(0.8, 0.4)], [(4, 2)], 2),  # diversity counts as coverage does
    ([figures(0.8, 0.6), figures(0.8, 1.0), figures(0.9, 0.4)], [(6, 4)], 4),
    ([figures(0.05, 1.0), figures(0.2, 0.3), 0.3], [], 6),  # wide, before anything was learned
])  # fmt: skip
def test_when_there_is_an_alarm(make, told, values, alarms, refuge):
    asked = told(along(values))
    world, state = make(WATCH)
    passed, rows = {}, {}
    for state, happened in evolve(state, world, EVERY * len(values)):  # noqa: B020
        passed[state.generation] = state
        rows[state.generation] = happened.watch
    assert state.alarms == alarms
    assert state.refuge.generation == refuge
    same(state.refuge, passed[refuge])
    assert asked == [*range(EVERY, state.generation + 1, EVERY)]
    assert [when for when, row in rows.items() if row] == asked
    assert [when for when, row in rows.items() if row.get("alarm")] == [when for when, _ in alarms]


def test_a_row_has_what_was_measured_and_what_it_was_compared_with(make, told):
    told(along([figures(0.5, 0.9), figures(0.8, 0.7, 0.02), 0.1]))
    world, state = make(WATCH)
    rows = [
        row_of(state, happened, world.operators.names(), [], 0.0)
        for state, happened in evolve(state, world, 6)
    ]
    assert [row["generation"] for row in rows if "watch" in row] == [2, 4, 6]
    assert rows[3]["watch"] == {
        "coverage": 0.8, "coverage-error": 0.02, "coverage-peak": 0.5,
        "diversity": 0.7, "diversity-error": 0.02, "diversity-peak": 0.9, "alarm": 0,
    }  # fmt: skip
    assert [alarm(row) for row in rows[:5]] == [""] * 5
    assert alarm(rows[5]) == (
        "Alarm of a collapse at generation 6: coverage 0.10 after 0.80, diversity 1.00 after 0.90."
    )


@pytest.mark.parametrize("count", [2, 20, 100])
def test_runs_that_only_fluctuate_seldom_raise_an_alarm_however_long_they_last(make, count):
    settings = {"collapse": 1.0, "collapse_every": 1}
    world, _ = make({"generations": count, "population": settings})
    noise = np.random.default_rng(0).normal(size=(2, 400_000 // count, count))
    highest = np.maximum.accumulate(noise, axis=2)
    fell = (highest - noise > threshold(world.config) * math.sqrt(2)).any(axis=(0, 2)).mean()
    # At two measurements the chance is RISK itself; in longer runs pairs are not independent.
    assert RISK / 5 < fell < 1.1 * RISK


@pytest.mark.parametrize(("values", "alarms"), [
    ([0.8, 0.3, 0.7, 0.3, 0.3], [(4, 2), (8, 2), (10, 2)]),
    ([0.8, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], [(when, 2) for when in (4, 6, 8, 10)]),
    ([0.8, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1], [(4, 2), *((when, 6) for when in (8, 10, 12, 14))]),
])  # fmt: skip
def test_what_comes_back_and_how_often(make, told, values, alarms):
    told(along(values))
    world, state = make(REVIVE, {"generations": 14})
    passed, back = {}, []
    for state, happened in evolve(state, world, EVERY * len(values)):  # noqa: B020
        passed[state.generation] = state
        if "revived" in happened.watch:
            back.append((state.generation, happened.watch["revived"]))
            same(state, passed[happened.watch["revived"]])
    assert state.alarms == alarms
    seen = [origin for _, origin in alarms]
    assert back == [
        pair for place, pair in enumerate(alarms) if seen[:place].count(pair[1]) < RETURNS
    ]


def test_a_healthy_run_of_the_default_preset_raises_no_alarm():
    settings = {"generations": 300, "execution": {"engine": "shared"}}
    run = egan.evolve(**settings, population={"collapse_every": 20})
    assert run.state.alarms == []
    assert run.state.refuge.coverage > 0.1  # there was something to lose
    assert run.state.peaks["diversity"].value > 0.9


@pytest.mark.parametrize("settings", [WATCH, STOP, REVIVE])
def test_without_a_collapse_nothing_changes(make, settings):
    ends = []
    for layers in ([settings], [{"population": {"collapse_every": 0}}]):
        world, state = make(*layers, {"population": {"mu": 2}}, source=DATA)
        rows = []
        for state, happened in evolve(state, world, 8):  # noqa: B020
            rows.append(row_of(state, happened, world.operators.names(), [], 0.0))
        ends.append((state, [{**row, "watch": None} for row in rows], rows))
    same(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]
    assert ["watch" in row for row in ends[0][2]] == [False, True] * 4
    assert not any("watch" in row for row in ends[1][2])


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 9), nn.BatchNorm1d(9), nn.Linear(9, 2))

    def forward(self, noise):
        return self.net(noise)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_what_is_measured_are_samples_as_they_would_be_exported(make, average):
    world, state = make(
        {"networks": {"generator": Normed}, "population": {"average": average}}, source=DATA
    )
    state = list(evolve(state, world, 5))[-1][0]
    one, before = state.population[0], world.plan.game.generator.state()
    buffers = {name: each.clone() for name, each in one.buffers.items()}
    found = measured(one, world, 7)
    torch.testing.assert_close(world.plan.game.generator.state(), before, rtol=0, atol=0)
    torch.testing.assert_close(one.buffers, buffers, rtol=0, atol=0)
    assert world.plan.game.generator.module.training
    other, _ = make({"networks": {"generator": Normed}}, source=DATA)
    module = Generator(other.plan.game).load(one)
    means = [module.sample(SAMPLES, seed).mean(0) for seed in range(3)]
    assert (torch.stack(means).std(0) < 0.1).all()
    own = [measure(module.sample(SAMPLES, seed), world.aside) for seed in range(3)]
    for name, each in found.items():
        assert min(abs(each.value - made[name].value) for made in own) < 5 * each.error + 1e-6
    assert measured(one, world, 7) == found
    assert measured(one, world, 8) != found
    lost = replace(one, weights=one.weights * math.nan, average=None)
    assert measured(lost, world, 7)["coverage"] == (0, 0)


@pytest.mark.parametrize("executor", ["serial", "processes"])
@pytest.mark.parametrize("settings", [WATCH, REVIVE])
def test_a_run_that_goes_on_from_a_checkpoint_is_as_one_that_was_not_stopped(
    make, told, settings, executor
):
    told({2: 0.8, 4: 0.1, 6: 0.9, 8: 0.1, 10: 0.2})
    world, state = make(settings)
    other, _ = make(settings, {"execution": {"executor": executor, "workers": 1}})
    states = [state, *(state for state, _ in evolve(state, world, 10))]
    alarms = [(4, 2), (8, 6), *([(10, 6)] if settings is REVIVE else [])]
    assert states[-1].alarms == alarms
    for stop in (1, 3, 4, 7, 8):
        again, _ = revive(freeze(states[stop], None), other)
        again = list(evolve(again, other, 10))[-1][0]
        same(again, states[-1])
        same(again.refuge, states[-1].refuge)
        for name in ("alarms", "peaks", "collapsed"):
            assert getattr(again, name) == getattr(states[-1], name)


VALUES = {2: 0.8, 4: 0.1, 6: 0.9, 8: 0.1, 10: 0.2, 12: 0.3}


def logged(directory):
    return [{**row, "seconds": 0} for row in read_log(directory.log)]


@pytest.mark.parametrize(("settings", "undone"), [(WATCH, ""), (REVIVE, " (4 undone)")])
def test_a_run_on_disk_tells_of_collapses_and_may_be_stopped_anywhere(
    small, told, tmp_path, caplog, settings, undone
):
    told(VALUES)
    settings = egan.settings.merge(small, settings)
    whole, parts = Directory(tmp_path / "whole"), Directory(tmp_path / "parts")
    outcome = run_in(whole, settings)
    said = [each.getMessage() for each in caplog.records if each.name == "egan.alarms"]
    rows = [row for row in logged(whole) if alarm(row)]
    assert said == [alarm(row) for row in rows]
    for stop in (3, 4, 9):
        run_in(
            parts, settings, on_generation=lambda state, row, stop=stop: state.generation >= stop
        )
    run_in(parts, {})
    assert logged(whole) == logged(parts)
    for which in ("final", "refuge"):
        assert whole.weights(which).read_bytes() == parts.weights(which).read_bytes()
    expected = [4, 8, 10, 12] if undone else [4, 8]
    assert [row["generation"] for row in rows] == expected
    assert {row["generation"]: row["watch"].get("revived") for row in rows} == (
        {4: 2, 8: 6, 10: 6, 12: 6} if undone else {4: None, 8: None}
    )
    shown = ", ".join(map(str, expected))
    assert paragraph(whole, outcome.world.data).endswith(
        f"There was an alarm of a collapse at generation {shown}{undone}. "
        "The generator that covered most "
        "of the data, that of generation 6, is kept: --which refuge."
    )


def test_the_best_before_a_collapse_is_exported_and_sampled(small, told, tmp_path):
    told(VALUES)
    seen = {}
    run_in(Directory(tmp_path), egan.settings.merge(small, WATCH),
           on_generation=lambda state, row: seen.update({state.generation: state}))  # fmt: skip
    assert exported(Directory(tmp_path), "refuge").generation == 6
    found = egan.load(tmp_path, "refuge").sample(9, seed=1)
    world, _ = egan.run.run_in_memory(egan.presets.configure(small, {"generations": 1}))
    assert torch.equal(found, world.sampler.load(seen[6].population[0]).sample(9, seed=1))
    assert not torch.equal(found, egan.load(tmp_path).sample(9, seed=1))


def test_a_run_that_shall_stop_at_a_collapse_does_and_goes_on_when_told(
    small, told, tmp_path, capsys
):
    told(VALUES)
    settings = egan.settings.merge(small, STOP)
    stopped, warned = Directory(tmp_path / "stopped"), Directory(tmp_path / "warned")
    ends = [run_in(stopped, settings).done for _ in range(3)]
    assert ends == [4, 8, 12]
    run_in(warned, egan.settings.merge(small, WATCH))
    assert stopped.weights("final").read_bytes() == warned.weights("final").read_bytes()
    assert logged(stopped) == logged(warned)
    assert egan.evolve(config=settings).state.generation == 4


def test_the_command_line_says_that_a_run_stopped_at_a_collapse(told, tmp_path, capsys):
    told(VALUES)
    words = ["--generations", "12", "--networks.width", "8", "--population.collapse-every", "2",
             "--population.on-collapse", "stop", "--execution.engine", "shared"]  # fmt: skip
    run = str(tmp_path / "run")
    assert egan.cli.main(["evolve", "--run", run, *words]) == 1
    printed = capsys.readouterr()
    assert f"Stopped after generation 4, saved. To go on: egan resume {run}" in printed.out
    assert f"egan sample {run} --which refuge" in printed.out
    assert egan.cli.main(["sample", run, "--which", "refuge", "-n", "3"]) == 0


def test_the_board_and_the_bar_show_what_was_measured(small, told, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told(VALUES)
    run_in(Directory(tmp_path), egan.settings.merge(small, WATCH))
    events = EventAccumulator(str(tmp_path)).Reload()
    shown = {
        name: [(each.step, round(each.value, 6)) for each in events.Scalars(f"watch/{name}")]
        for name in ("coverage", "alarm")
    }
    assert shown["coverage"] == list(VALUES.items())
    assert shown["alarm"] == [(2, 0), (4, 1), (6, 0), (8, 1), (10, 0), (12, 0)]
    bar = egan.monitor.Bar(0, 12, shown=False)
    for row in read_log(Directory(tmp_path).log):
        bar.show(row)
    assert "coverage 0.30" in bar._text(row)


def test_checkpoints_of_versions_that_did_not_look_for_collapses_go_on(make):
    world, state = make(WATCH)
    saved = freeze(state, None)
    del saved["refuge"], saved["peaks"], saved["collapsed"], saved["alarms"]
    again, _ = revive(saved, world)
    assert (again.refuge, again.peaks, again.collapsed, again.alarms) == (None, {}, False, [])


@pytest.mark.parametrize(("old", "now"), [
    ({"revival": 0.0, "revival_every": 7}, ("warn", 100)),
    ({"revival": 0.3, "revival_every": 4}, ("revive", 4)),
])  # fmt: skip
def test_a_run_whose_settings_had_other_names_goes_on(small, tmp_path, old, now):
    directory = Directory(tmp_path)
    given = {} if now[0] == "warn" else {"population": {"collapse": 0.3, "on_collapse": now[0],
                                                        "collapse_every": now[1]}}  # fmt: skip
    run_in(directory, egan.settings.merge(small, given), on_generation=lambda *both: True)
    stored = json.loads(directory.config.read_text())
    for name in ("collapse", "collapse_every", "on_collapse"):
        del stored["population"][name]
    stored["population"] |= old
    directory.config.write_text(json.dumps(stored))
    outcome = run_in(directory, {})
    population = outcome.config.population
    assert (population.on_collapse, population.collapse_every) == now
    assert outcome.finished


def test_a_checkpoint_keeps_a_refuge_that_is_the_present_only_once(make, told, tmp_path):
    told({2: 0.8})
    sizes = []
    for every in (EVERY, 0):
        world, state = make({"population": {"collapse_every": every}, "networks": {"width": 64}})
        state = list(evolve(state, world, 2))[-1][0]
        sizes.append(checkpoint.save(tmp_path, 2, freeze(state, None)).stat().st_size)
    assert sizes[0] < 1.1 * sizes[1]


def test_seeds_in_step_collapse_each_for_itself(small, told):
    told({2: 0.8, 4: 0.1, 6: 0.2})
    settings = egan.settings.merge(small, REVIVE)
    runs = egan.evolve_seeds([0, 1], config=settings, generations=6, execution={"engine": "auto"})
    assert [run.state.alarms for run in runs] == [[(4, 2), (6, 2)]] * 2
    weights = [run.state.refuge.population[0].weights for run in runs]
    assert not torch.equal(*weights)


def test_an_archive_takes_who_came_back(make, told):
    told({2: 0.8, 4: 0.1})
    world, state = make(REVIVE, {"population": {"mixture": 9}})
    states = [state for state, _ in evolve(state, world, 4)]
    numbers = [state.population[0].number for state in states]
    assert [one.number for one in states[-1].archive] == numbers
    assert numbers[3] == numbers[1]


def test_what_is_measured_counts_at_its_share_where_it_may_change_the_run(make):
    counts = []
    for answer, every in (("warn", 1), ("revive", 1), ("stop", 4)):
        world, state = make({"population": {"on_collapse": answer, "collapse_every": every}})
        counts.append(generation_flops(state, world))
    game = world.plan.game
    with Counter() as forward, torch.no_grad():
        game.generate(game.draw(SAMPLES, keyed(0, 0, "any")))
    both = 2 * 2 * SAMPLES**2 * (2 + 2)  # distances of fakes to real samples, and to fakes
    whole = forward.total + both
    assert [count - counts[0] for count in counts[1:]] == [whole, whole // 4]


def test_data_without_neighbourhoods_are_not_watched_or_refused(make):
    few = torch.randn(20, 2).repeat(25, 1)
    with pytest.raises(UsageError) as error:
        make(REVIVE, source=few)
    assert str(error.value) == (
        "population.on_collapse is 'revive', which reads how many neighbourhoods of 20 real "
        "samples are covered: the data must have more than 20 different samples."
    )
    world, state = make({"population": {"collapse_every": 1}}, source=few)
    assert watched(replace(state, generation=1), world)[1] == {}


def test_who_shall_answer_must_look_and_seeds_in_step_cannot_stop_one_by_one(make, small):
    with pytest.raises(UsageError, match="collapse_every must be above 0"):
        make({"population": {"on_collapse": "stop", "collapse_every": 0}})
    with pytest.raises(UsageError, match="must be 'warn' or 'revive'"):
        egan.evolve_seeds([0], config=STOP)
