"""Diagnostics: each figure beside another way to it, and a run that does not know of them."""

import itertools
import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

import egan
import egan.diagnostics
import egan.run
from egan.diagnostics import (
    MORE,
    age,
    agreement,
    correlations,
    diagnose,
    diversities,
    judged_again,
    merits,
    outputs,
    siblings,
    tau,
)
from egan.directory import Directory
from egan.evolution import evolve, meet
from egan.fitness import combinations
from egan.run import run_in
from egan.settings import merge
from egan.snapshot import freeze, start
from populations.individual import Individual

EACH = {"records": {"diagnostics_every": 1}}
FIGURES = {
    "cosine", "step-ratio", "agreement", "tau-energy-distance", "tau-modes", "tau-coverage", "age",
    "output-diversity", "weight-diversity",
}  # fmt: skip


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Fewer samples, for tests that do not ask for more."""
    monkeypatch.setattr(egan.diagnostics, "SAMPLES", 64)


class Shift(nn.Module):
    """Noise moved by its weights: two generators differ by the distance of these."""

    def __init__(self, dimensions):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(dimensions))

    def forward(self, noise):
        return noise + self.shift


class Point(nn.Module):
    """The same sample for every noise: nothing about it is random."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.randn(2))

    def forward(self, noise):
        return self.place.expand(len(noise), 2)


def individual(number, *weights, parent=-1, total=math.nan):
    one = Individual(torch.tensor(weights), number=number, parent=parent)
    if not math.isnan(total):
        one.judged(total, 0.0, 0.0)
    return one


def rows(path):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    lines = (path / "log.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def happened(state, world):
    """What a generation needs to be looked at: its environment and its children."""
    environment, _ = meet(state, world)
    return environment, world.breed(state, environment)


# Siblings.


def test_siblings_steps_have_the_cosines_and_lengths_that_were_made():
    parents = [individual(0, 1.0, 1.0, 1.0), individual(1, 0.0, 5.0, 0.0)]
    children = [
        individual(2, 2.0, 1.0, 1.0, parent=0),
        individual(3, 1.0, 3.0, 1.0, parent=0),
        individual(4, 4.0, 1.0, 1.0, parent=0),
        individual(5, 0.0, 6.0, 0.0, parent=1),
        individual(6, 0.0, 3.0, 0.0, parent=1),
        individual(7, math.nan, 3.0, 0.0, parent=1),
    ]
    found = siblings(parents, children)
    assert found["cosine"] == pytest.approx((0 + 1 + 0 - 1) / 4)  # over pairs, not over parents
    assert found["step-ratio"] == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_the_step_to_a_childs_child_is_that_from_the_population():
    parents = [individual(3, 1.0, 0.0)]
    children = [individual(4, 2.0, 0.0, parent=3), individual(5, 1.0, 1.0, parent=4)]
    assert siblings(parents, children) == {"cosine": 0.0, "step-ratio": 1.0}


def test_steps_without_a_direction_and_children_without_siblings_are_left_out():
    parents = [individual(0, 1.0, 0.0), individual(1, 0.0, 0.0)]
    still = individual(2, 1.0, 0.0, parent=0)
    moved = [individual(number, 2.0, 0.0, parent=0) for number in (3, 4)]
    alone = individual(5, 7.0, 7.0, parent=1)
    assert siblings(parents, [still, *moved, alone]) == {"cosine": 1.0, "step-ratio": 0.0}
    for few_children in ([], [alone], [still, alone]):
        assert all(math.isnan(each) for each in siblings(parents, few_children).values())


@pytest.mark.parametrize("changes", [{}, {"first": "environment"}, {"population": {"mu": 2}}],
                         ids=str)  # fmt: skip
def test_siblings_are_the_children_that_the_run_itself_has(make, changes):
    world, state = make(changes)
    for reached, generation in evolve(state, world, 3):
        before = {one.number: one.weights.double().numpy() for one in state.population}
        steps = [
            (child.parent, child.weights.double().numpy() - before[child.parent])
            for child in generation.offspring
        ]
        cosines = [
            one @ other / np.linalg.norm(one) / np.linalg.norm(other)
            for (parent, one), (same, other) in itertools.combinations(steps, 2)
            if parent == same
        ]
        assert len(cosines) == 3 * world.plan.mu
        assert diagnose(state, world)["cosine"] == pytest.approx(np.mean(cosines), abs=1e-9)
        state = reached


# Agreement.


def certain(logits):
    """A quality by which nothing random decides between points."""
    return logits.mean()


def turned(logits):
    """A quality that changes sign on more samples than a generation of these tests judges."""
    return logits.mean() if len(logits) <= 16 else -logits.mean()


def endless(fake):
    """A loss without a finite gradient."""
    return fake.mean() * math.nan


def boundless(fake):
    """Another."""
    return fake.mean() * math.inf


def contrary(logits):
    """A quality by which parents are mostly fitter than their children."""
    return -logits.mean()


POINTS = {"networks": {"generator": Point}, "fitness": {"gamma": 0.0}}


@pytest.mark.parametrize("mu", [1, 4])
def test_survivors_agree_where_nothing_is_random_and_not_where_more_samples_say_the_opposite(
    make, mu
):
    for quality, expected in ((certain, 1.0), (turned, 0.0)):
        settings = {"population": {"mu": mu}, "fitness": {"quality": quality}}
        world, state = make(POINTS, settings)
        for now, _ in evolve(state, world, 4):
            assert diagnose(now, world)["agreement"] == expected


def test_of_several_survivors_the_share_in_common_counts(make):
    settings = {
        "population": {"mu": 2, "crossover": "layer-swap"},
        "variation": {"mutations": ["heuristic"]},
        "fitness": {"quality": turned, "gamma": 0.0},
    }
    world, state = make(settings)
    environment, litter = happened(state, world)
    assert len(litter.pool) == 3
    # The best two of three, and the worst two, share the one in the middle.
    assert agreement(state, world, environment, litter) == 0.5


def test_survivors_that_survive_twice_count_twice(make):
    world, state = make(POINTS, {"population": {"mu": 4, "selection": "tournament"},
                                 "fitness": {"quality": turned}})  # fmt: skip
    environment, litter = happened(state, world)
    survivors = world.select(litter, 0)
    copies = judged_again(state, world, environment, litter.children, 17)
    chosen = world.select(replace(litter, pool=copies), 0)
    first, second = ([one.number for one in found] for found in (survivors, chosen))
    common = sum(min(first.count(number), second.count(number)) for number in set(first))
    assert agreement(state, world, environment, litter) == common / 4


@pytest.mark.parametrize(
    "changes",
    [
        {"population": {"selection": "random"}},
        {"variation": {"mutations": ["heuristic"]}},
        {"population": {"selection": "chain"}},
        {"variation": {"mutations": [endless, boundless]}},
    ],
    ids=["random", "an only child", "a chain", "nobody finite"],
)
def test_agreement_is_undefined_where_nothing_was_selected_by_judging_alone(make, changes):
    world, state = make(changes)
    assert math.isnan(diagnose(state, world)["agreement"])


def test_more_samples_means_sixteen_times_as_many_fakes_and_real_ones(make):
    sizes = []

    def variety(fake, real):
        sizes.append((len(fake), len(real)))
        return fake.mean() - real.mean()

    judging = {"diversity": variety, "gamma": 1.0, "samples": 32, "real": "training"}
    world, state = make({"fitness": judging})
    sizes.clear()
    diagnose(state, world)
    assert Counter(sizes) == {(32, 16): 3, (32 * MORE, 32 * MORE): 3}


@pytest.mark.parametrize("engine", ["reference", "shared", "batched"])
def test_again_is_on_other_noise_and_with_enough_samples_the_expectation(make, engine):
    world, state = make({"execution": {"engine": engine}, "fitness": {"gamma": 0.0}})
    environment, litter = happened(state, world)
    before = [child.total for child in litter.children]
    found = judged_again(state, world, environment, litter.children, 20_000)
    assert [child.total for child in litter.children] == before
    assert [one.number for one in found] == [child.number for child in litter.children]
    game, noise = (
        world.plan.game,
        torch.randn(20_000, 8, generator=torch.Generator().manual_seed(1)),
    )
    for one in found:
        game.generator.load(one.weights, one.buffers)
        game.discriminator.load(environment.weights, environment.buffers)
        with torch.no_grad():
            chances = game.logits(game.generate(noise)).sigmoid().double()
        error = float(chances.std()) / math.sqrt(20_000)
        assert abs(one.total - float(chances.mean())) < 6 * error
        assert one.judged_on == 20_000
    same_size = [judged_again(state, world, environment, litter.children, 16, draw=draw)
                 for draw in (0, 0, 1)]  # fmt: skip
    totals = [[one.total for one in each] for each in same_size]
    assert totals[0] == totals[1]
    assert len({totals[0][0], totals[2][0], before[0]}) == 3


def test_again_on_shared_noise_equals_are_equal_and_on_fresh_noise_they_are_not(make):
    world, state = make()
    environment, litter = happened(state, world)
    twins = [replace(litter.children[0], number=number) for number in (90, 91)]
    for shared, count in ((True, 1), (False, 2)):
        found = judged_again(state, world, environment, twins, 64, shared=shared)
        assert len({one.total for one in found}) == count


def test_again_totals_are_combined_as_the_runs_are(make):
    world, state = make({"fitness": {"combination": "ranks", "gamma": 0.3}})
    environment, litter = happened(state, world)
    found = judged_again(state, world, environment, litter.children, 64)
    quality, diversity = zip(*(one.fitness.values for one in found), strict=True)
    assert [one.total for one in found] == combinations["ranks"](quality, diversity, 0.3)


def test_again_children_that_a_race_gave_up_are_judged_in_full(make):
    world, state = make({"fitness": {"race": 0.6, "samples": 64}, "variation": {"lr": 0.1}})
    environment, litter = happened(state, world)
    assert not all(child.fitness.valid for child in litter.children)
    found = judged_again(state, world, environment, litter.children, 128)
    assert [one.judged_on for one in found] == [128] * 3
    assert all(one.fitness.valid for one in found)


# Rank correlations.


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1),
        ([1, 2, 3], [3, 2, 1], -1),
        ([1, 2, 3], [1, 3, 2], 1 / 3),
        ([1, 2, 3], [1, 1, 2], 2 / math.sqrt(3 * 2)),  # tau-b: 2 of 3 pairs, one tied on a side
        ([1, 2, 3], [5, 5, 5], math.nan),
        ([1], [1], math.nan),
        ([], [], math.nan),
    ],
)
def test_tau_is_kendalls(left, right, expected):
    assert tau(left, right) == pytest.approx(expected, nan_ok=True)


@pytest.fixture
def shifting(make):
    """A world whose generators move the data, N(0, 1), by their weight."""
    data = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    networks = {"generator": lambda: Shift(1), "noise_dimension": 1}
    return make({"networks": networks}, source=data)[0]


def test_merits_fall_with_the_distance_to_the_data(shifting, monkeypatch):
    monkeypatch.setattr(egan.diagnostics, "SAMPLES", 1000)
    shifts = [0.0, 1.0, 3.0, -8.0]
    found = merits(shifting, [individual(0, shift) for shift in shifts], 5)
    assert set(found) == {"energy-distance", "coverage"}
    random = np.random.default_rng(0)
    draws = random.normal(size=(2, 20_000))
    expected = [-(scipy.stats.energy_distance(draws[0] + s, draws[1]) ** 2) for s in shifts]
    assert found["energy-distance"] == pytest.approx(expected, rel=0.1, abs=0.02)
    assert found["coverage"][0] > 0.9 > found["coverage"][1] > found["coverage"][2]
    assert found["coverage"][3] == 0.0
    again = [merits(shifting, [individual(0, 0.0)], 5, draw) for draw in (0, 1)]
    assert again[0]["energy-distance"][0] == found["energy-distance"][0]
    assert again[1]["energy-distance"] != again[0]["energy-distance"]


def test_modes_are_counted_where_the_data_know_them(make):
    world, _ = make({"networks": {"generator": Point}})
    centre = individual(0, *world.data.centres[2].tolist())
    assert merits(world, [centre, individual(1, 9.0, 9.0)], 0)["modes"] == [1.0, 0.0]


@pytest.mark.parametrize("sign", [1, -1])
def test_fitness_that_follows_the_data_correlates_and_its_opposite_does_the_contrary(
    shifting, sign
):
    children = [
        individual(n, shift, total=-sign * shift) for n, shift in enumerate([3.0, 1.0, 9.0])
    ]
    unfit = individual(3, 0.0)  # given up, or not finite
    found = correlations(shifting, [*children, unfit], 0)
    assert found["tau-energy-distance"] == sign


def test_correlations_are_undefined_where_nobody_is_judged(shifting):
    found = correlations(shifting, [individual(0, 1.0), individual(1, 2.0)], 0)
    assert set(found) == {"tau-energy-distance", "tau-coverage"}
    assert all(map(math.isnan, found.values()))


def test_samples_are_made_in_batches_as_in_breeding(make, monkeypatch):
    world, state = make({"networks": {"name": "pacgan"}, "variation": {"batch": 24}})
    monkeypatch.setattr(egan.diagnostics, "SAMPLES", 50)
    sizes, generate = [], world.plan.game.generate
    monkeypatch.setattr(world.plan.game, "generate",
                        lambda noise: (sizes.append(len(noise)), generate(noise))[1])  # fmt: skip
    assert len(outputs(world, state.population[0], 0)) == 72
    assert sizes == [24] * 3


# The population.


def test_ages_count_generations_from_birth(make):
    plan = make({"population": {"mu": 2}})[0].plan
    born = [plan.number(4, 0), plan.number(2, 5)]
    assert age(plan, [individual(born[0]), individual(born[1])], 4) == (0 + 2) / 2
    assert age(plan, [individual(0), individual(1)], 0) == 1  # one generation old


@pytest.mark.parametrize(
    "population",
    [
        {"mu": 2, "parents": "compete"},
        {"mu": 1, "parents": "compete", "crossover": "layer-swap", "crossovers": 2},
        {"mu": 4, "parents": "compete", "selection": "tournament"},
    ],
    ids=str,
)
def test_ages_are_those_that_the_log_shows(small, population):
    settings = {"population": population, "fitness": {"quality": contrary, "gamma": 0.0}}
    logged = []
    egan.evolve(config=merge(small, EACH, settings),
                on_generation=lambda state, row: logged.append(row))  # fmt: skip
    first, ages = dict.fromkeys(range(population["mu"]), 0), []
    for row in logged:
        for one in row["population"]:
            first.setdefault(one["number"], row["generation"])
        lived = [row["generation"] - first[one["number"]] for one in row["population"]]
        assert row["diagnostics"]["age"] == pytest.approx(sum(lived) / len(lived))
        ages.append(row["diagnostics"]["age"])
    assert max(ages) >= 1
    assert len(set(ages)) > 2


def test_parents_whose_children_are_never_finite_grow_old(make):
    world, state = make({"variation": {"mutations": [endless]}})
    for now, _ in evolve(state, world, 3):
        assert diagnose(now, world)["age"] == now.generation + 1


def test_diversities_are_distances_of_outputs_and_of_weights(make):
    world, _ = make({"networks": {"generator": lambda: Shift(2), "noise_dimension": 2}})
    two = [individual(0, 0.0, 0.0), individual(1, 3.0, 4.0)]
    found = diversities(world, two, 0)
    assert found == pytest.approx({"output-diversity": 5.0, "weight-diversity": 5 / 2.5}, rel=1e-5)
    three = diversities(world, [*two, individual(2, 3.0, 0.0)], 0)
    assert three["output-diversity"] == pytest.approx((5 + 3 + 4) / 3, rel=1e-5)
    assert three["weight-diversity"] == pytest.approx(4 / ((0 + 5 + 3) / 3))
    assert all(map(math.isnan, diversities(world, two[:1], 0).values()))


# What a run makes of them.

KINDS = {
    "default": {},
    "several": {"population": {"mu": 2, "selection": "tournament", "parents": "compete"}},
    "environment first": {"first": "environment", "environment": {"steps": 2}},
    "batch norm": {"networks": {"name": "pacgan", "width": 8}},
    "own moments": {"variation": {"moments": "mutation", "steps": 2}},
    "spectral norm": {
        "networks": {"spectral_norm": True, "discriminators": 2},
        "environment": {"penalties": {"lecam": 0.3, "consistency": 1.0}, "lazy": 3, "noise": 0.1},
    },
    "crossover": {"population": {"crossover": "distillation"}, "fitness": {"race": 0.9}},
    "reused": {"environment": {"fakes": "judged"}, "fitness": {"real": "training"}},
    "chosen": {"variation": {"choice": "ucb", "adaptation": 0.2, "mutations": ["rsgan", "noise"]}},
    "lexicase": {"population": {"selection": "lexicase"}, "fitness": {"shared_noise": False}},
    "chain": {"population": {"selection": "chain"}},
    "batched": {"execution": {"engine": "batched"}},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_does_not_know_that_it_is_diagnosed(small, kind):
    ends, logs = [], ([], [])
    for changes, log in zip(({}, EACH), logs, strict=True):
        run = egan.evolve(config=merge(small, KINDS[kind], changes),
                          on_generation=lambda state, row, log=log: log.append(row))  # fmt: skip
        ends.append(freeze(run.state, None))
    figures = [row.pop("diagnostics") for row in logs[1]]
    assert [set(each) for each in figures] == [FIGURES] * 12
    assert not any("diagnostics" in row for row in logs[0])
    plain, diagnosed = ([repr({**row, "seconds": 0}) for row in log] for log in logs)
    assert diagnosed == plain
    names = [(end.pop("history"), [one.pop("mutation") for one in end["population"]])
             for end in ends]  # fmt: skip
    assert names[0] == names[1]
    torch.testing.assert_close(*ends, rtol=0, atol=0, equal_nan=True)


def test_global_generators_and_the_state_are_left_alone(make):
    world, state = make({"population": {"mu": 2}})
    weights = state.population[0].weights.clone(), state.environment.weights.clone()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = diagnose(state, world)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(state.population[0].weights, weights[0])
    assert torch.equal(state.environment.weights, weights[1])
    assert repr(diagnose(state, world)) == repr(first)


def test_in_processes_they_are_what_they_are_in_this_one(make):
    settings = {"population": {"mu": 2}, "networks": {"name": "pacgan", "width": 8}}
    found = [
        diagnose(state, world)
        for world, state in (
            make(settings, {"execution": {"executor": executor, "workers": 2}})
            for executor in ("serial", "processes")
        )
    ]
    assert not any(map(math.isnan, (found[0]["agreement"], found[0]["output-diversity"])))
    assert repr(found[0]) == repr(found[1])


def test_nothing_is_compiled_for_them(make, monkeypatch):
    from egan import kernels

    world, state = make({"execution": {"engine": "compiled"}})
    state = list(evolve(state, world, 1))[-1][0]
    monkeypatch.setattr(kernels, "built", lambda graph, inputs: pytest.fail("compiled"))
    assert diagnose(state, world)["agreement"] in (0.0, 1.0)


def test_they_come_at_their_interval_and_without_one_not_at_all(small, tmp_path, monkeypatch):
    spaced = merge(small, {"records": {"diagnostics_every": 5}})
    run_in(Directory(tmp_path / "spaced"), spaced)
    with_figures = [row["generation"] for row in rows(tmp_path / "spaced") if "diagnostics" in row]
    assert with_figures == [5, 10]
    for module in (egan.run, egan.cost):
        monkeypatch.setattr(module, "diagnose", lambda *given: pytest.fail("diagnosed"))
    run_in(Directory(tmp_path / "plain"), small)
    assert not any("diagnostics" in row for row in rows(tmp_path / "plain"))


def test_a_row_has_the_figures_of_the_state_before_it_and_nulls_where_there_are_none(
    small, tmp_path
):
    found = {}
    run = egan.evolve(
        config=merge(small, EACH),
        run=tmp_path,
        on_generation=lambda state, row: found.update({state.generation: row}),
    )
    logged = {row["generation"]: row["diagnostics"] for row in rows(tmp_path)}
    assert logged[1]["output-diversity"] is None
    assert math.isnan(found[1]["diagnostics"]["output-diversity"])
    expected = diagnose(start(run.world), run.world)
    known = {name: value for name, value in expected.items() if not math.isnan(value)}
    assert {name: value for name, value in logged[1].items() if value is not None} == known
    assert logged[12] != logged[1]


def test_tensorboard_shows_those_that_are_defined(small, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_in(Directory(tmp_path), merge(small, {"records": {"diagnostics_every": 3}}))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = {tag for tag in events.Tags()["scalars"] if tag.startswith("diagnostics/")}
    assert "diagnostics/output-diversity" not in tags
    cosines = events.Scalars("diagnostics/cosine")
    log = {row["generation"]: row for row in rows(tmp_path)}
    assert [event.step for event in cosines] == [3, 6, 9, 12]
    assert cosines[1].value == pytest.approx(log[6]["diagnostics"]["cosine"], rel=1e-6)


def test_stopped_and_resumed_they_equal_those_of_a_run_never_stopped(small, tmp_path):
    settings = merge(small, {"population": {"mu": 2}, "records": {"diagnostics_every": 2}})
    run_in(Directory(tmp_path / "whole"), settings)
    for stop in (1, 6, 12):
        run_in(Directory(tmp_path / "parts"), settings,
               on_generation=lambda state, row, stop=stop: state.generation >= stop)  # fmt: skip
    whole, parts = (
        [(row["generation"], row.get("diagnostics")) for row in rows(tmp_path / which)]
        for which in ("whole", "parts")
    )
    assert whole == parts
    assert sum(figures is not None for _, figures in whole) == 6
