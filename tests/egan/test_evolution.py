"""The loop: who survives, in which order things happen, and on how many processes."""

import copy
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from egan.catalogue import catalogue
from egan.data import data_sets, has_option
from egan.environment import slope_kernel
from egan.evolution import evolve
from egan.losses import mutations
from egan.networks import networks
from egan.perturbations import perturbations
from egan.presets import presets
from egan.recombination import crossovers
from populations.choice import choices
from populations.executors import executors


def last(state, world, until):
    return list(evolve(state, world, until))[-1]


def same(left, right):
    """Bit for bit."""
    for one, other in zip(left.population, right.population, strict=True):
        assert torch.equal(one.weights, other.weights)
        assert one.number == other.number
        if one.average is not None:
            assert torch.equal(one.average, other.average)
        torch.testing.assert_close(one.moments, other.moments, rtol=0, atol=0)
        torch.testing.assert_close(one.buffers, other.buffers, rtol=0, atol=0)
    assert torch.equal(left.environment.weights, right.environment.weights)


def explode(logits):
    """A loss without a finite gradient."""
    return logits.mean() * math.inf


def explode_too(logits):
    """Another loss without a finite gradient."""
    return logits.sum() * math.inf


NAMES = [
    ("data", each, {})
    for each in data_sets
    if "digits" not in each and each != "hub" and not has_option(each, "data_dir")
] + [
    ("data", "digits", {"networks": {"name": "convolutional"}}),
    ("data", "stacked-digits", {"networks": {"name": "convolutional"}}),
    *[("networks.name", each, {"data": "digits"}) for each in networks],
    *[
        ("variation.mutations", [each, "vanilla" if each == "minimax" else "minimax"], {})
        for each in mutations
    ],
    *[("variation.mutations", [each, "minimax"], {}) for each in perturbations],
    *[("population.crossover", each, {}) for each in crossovers],
    *[("variation.choice", each, {}) for each in choices],
    *[("preset", each, {}) for each in presets],
    *[
        ("population.selection", each, {"population": {"mu": 2}})
        for each in catalogue()["selections"]
    ],
    *[("fitness.quality", each, {}) for each in catalogue()["qualities"]],
    *[
        ("fitness.diversity", each, {"population": {"mu": 2}})
        for each in catalogue()["diversities"]
    ],
    *[("fitness.combination", each, {}) for each in catalogue()["combinations"]],
    *[("environment.objective", each, {}) for each in catalogue()["objectives"]],
    *[("environment.penalties", {each: 0.1}, {}) for each in catalogue()["penalties"]],
    *[("game", each, {"data": "digits"}) for each in catalogue()["games"]],
]  # fmt: skip


def nested(name, value):
    group, _, leaf = name.rpartition(".")
    return {group: {leaf: value}} if group else {leaf: value}


@pytest.mark.parametrize(("name", "value", "more"), NAMES, ids=str)
def test_every_registered_name_runs_a_short_job(make, name, value, more):
    layers = [nested(name, value), more]
    if name == "preset" and value.startswith("released"):
        layers.append({"fitness": {"samples": 64}})
    world, state = make(*layers)
    end, happened = last(state, world, 2)
    assert end.generation == 2
    assert len(end.population) == world.plan.mu
    assert happened.learning["taken"] == 1.0
    assert not torch.equal(end.population[0].weights, state.population[0].weights)
    assert not torch.equal(end.environment.weights, state.environment.weights)


def test_the_fittest_children_survive_and_no_parent_does(make):
    world, state = make({"population": {"mu": 2}})
    for after, happened in evolve(state, world, 4):
        totals = sorted((child.total for child in happened.offspring), reverse=True)
        assert len(totals) == 6
        assert [one.total for one in after.population] == totals[:2]
        assert all(one.mutation != "initial" for one in after.population)


def test_gamma_changes_who_survives(make):
    chosen = []
    for gamma in (0.0, 50.0):
        world, state = make({"fitness": {"gamma": gamma}})
        chosen.append([happened.survivors[0].mutation for _, happened in evolve(state, world, 12)])
    assert chosen[0] != chosen[1]


def test_gamma_weighs_diversity_against_quality(make):
    world, state = make({"fitness": {"gamma": 50.0}})
    for _, happened in evolve(state, world, 6):
        most_diverse = max(happened.offspring, key=lambda child: child.fitness.values[1])
        assert happened.survivors[0].number == most_diverse.number


@pytest.mark.parametrize("selection", catalogue()["selections"])
def test_a_diverged_child_is_never_selected(make, selection):
    world, state = make(
        {"variation": {"mutations": [explode, "heuristic"]}, "population": {"selection": selection}}
    )
    for after, happened in evolve(state, world, 3):
        assert [child.mutation for child in happened.survivors] == ["heuristic"]
        assert bool(torch.isfinite(after.population[0].weights).all())


def test_the_lines_that_are_left_share_the_places(make):
    bred = []

    def explode_second(logits):
        """A loss without a finite gradient for the second of two parents."""
        bred.append(1)
        return logits.mean() * (1.0 if len(bred) == 1 else math.inf)

    world, state = make({"variation": {"mutations": [explode_second]}, "population": {"mu": 2}})
    end, happened = last(state, world, 1)
    one, other = end.population
    assert one.number == other.number
    assert torch.equal(one.weights, other.weights)
    assert happened.learning["taken"] == 1.0


@pytest.mark.parametrize("moments", ["inherited", "mutation"])
def test_moments_that_overflow_die_with_their_child(make, moments):
    def steep(logits):
        """A loss whose gradient's square overflows while the step stays finite."""
        return logits.mean() * 1e25

    world, state = make({"variation": {"mutations": [steep, "heuristic"], "moments": moments}})
    for end, happened in evolve(state, world, 3):  # noqa: B007
        (survivor,) = happened.survivors
        assert survivor.mutation == "heuristic"
    assert len(end.population[0].moments) == 1
    assert next(iter(end.population[0].moments.values()))["step"] == 3


def test_with_no_finite_child_the_parents_stay(make):
    world, state = make({"variation": {"mutations": [explode, explode_too]}})
    end, happened = last(state, world, 3)
    assert happened.survivors == []
    assert end.barren == 3
    assert end.population is state.population


def test_a_lone_loss_is_not_judged(make):
    world, state = make({"preset": "gradient-only"})
    _, happened = last(state, world, 2)
    assert not world.operators.judged
    assert not happened.survivors[0].fitness.valid


def test_random_selection_does_not_pay_for_judging(make):
    world, _ = make({"population": {"selection": "random"}})
    assert not world.operators.judged


@pytest.mark.parametrize("first", ["environment", "generators"])
def test_who_goes_first_sees_the_other_unchanged(make, first):
    world, state = make({"first": first, "variation": {"mutations": ["heuristic"]}})
    end, _ = last(state, world, 1)
    parents = state.population if first == "environment" else end.population
    environment, _ = world.adapt(state.environment, parents, 0)
    assert torch.equal(environment.weights, end.environment.weights)
    met = environment if first == "environment" else state.environment
    (child,) = world.breed(state, met).children
    assert torch.equal(child.weights, end.population[0].weights)


def test_the_environment_learns_from_the_judged_samples(make):
    world, state = make(
        {"environment": {"fakes": "judged", "batch": 16, "steps": 2},
         "fitness": {"samples": 32}}
    )  # fmt: skip
    _, happened = last(state, world, 1)
    evidence = happened.survivors[0].evidence
    assert evidence.samples.shape == (32, 2)
    fakes = world._fakes(happened.survivors, [evidence], 0, 1)
    assert torch.equal(fakes, evidence.samples[16:])


@pytest.mark.parametrize("first", ["generators", "environment"])
def test_children_may_be_judged_on_the_batch_that_is_trained_on_next(make, first):
    world, _ = make({"fitness": {"real": "training"}, "first": first})
    judging = world._judging_real(5)
    assert torch.equal(judging, world._real("real", 16, 5 if first == "generators" else 6))
    world, _ = make({"first": first})
    assert not torch.equal(world._judging_real(5), judging)


def test_evidence_is_gone_after_their_generation(make):
    world, state = make({"environment": {"fakes": "judged"}})
    end, happened = last(state, world, 1)
    assert happened.survivors[0].evidence is not None
    assert end.population[0].evidence is None


@pytest.mark.parametrize("first", ["environment", "generators"])
def test_data_that_draw_as_they_like_draw_anew_in_every_generation_and_by_key(make, first):
    class Loose:
        """Samples from the global generators, whatever generator is given."""

        def __init__(self, data):
            self.shape, self.name, self.drawn = data.shape, data.name, []

        def draw(self, count, generator):
            self.drawn.append(torch.randn(count, 2) + np.random.rand())
            return self.drawn[-1]

    found = []
    for ambient in (0, 1):
        torch.manual_seed(ambient)
        world, state = make({"first": first})
        world = replace(world, data=Loose(world.data))
        for _ in evolve(state, world, 4):
            pass
        found.append([float(each.sum()) for each in world.data.drawn])
    assert found[0] == found[1]
    assert len(set(found[0])) >= 4


def test_a_penalty_without_a_gradient_leaves_a_known_step_as_it_is(make):
    ends = []
    for penalties in ([], [(1.0, lambda step: torch.zeros(()))]):
        environment = {"fakes": "judged", "penalties": {"r1": 0.0, "r2": 0.0}}
        world, state = make({"fitness": {"real": "training"}, "environment": environment})
        assert world.plan.halves
        assert world.knows_real_half
        world = replace(world, penalties=penalties)
        ends.append(next(evolve(state, world, 1))[0].environment.weights)
    torch.testing.assert_close(*ends)


def test_lazy_penalties_are_due_by_the_number_of_the_step_over_the_whole_run(make):
    world, _ = make({"environment": {"steps": 2, "lazy": 3}})
    steps = [(generation, step) for generation in range(4) for step in range(2)]
    due = [bool(world.rules(*each).penalties) for each in steps]
    assert due == [True, False, False] * 2 + [True, False]
    assert world.rules(0, 0).penalties == [(3 * weight, each) for weight, each in world.penalties]
    plain, _ = make({"environment": {"steps": 2}})
    assert all(plain.rules(*each).penalties == plain.penalties for each in steps)


def test_over_an_interval_lazy_penalties_weigh_what_eager_ones_do(make):
    settings = {"environment": {"penalties": {"r1": 0.3, "r2": 0.0}}}
    world, state = make(settings)
    lazy, _ = make(settings, {"environment": {"lazy": 4}})
    game, real = world.plan.game, world._real("real", 16, 0)
    fake = world._fakes(state.population, [None], 0, 0)

    def gradient(rules):
        game.discriminator.load(state.environment.weights, state.environment.buffers)
        found, *_ = slope_kernel(
            game, rules.objective, rules.penalties, False, False, real, fake, torch.zeros(3)
        )
        return found.gradient

    eager = gradient(world.rules(0, 0))
    assert eager.abs().max() > 0
    applied = torch.stack([gradient(lazy.rules(generation, 0)) for generation in range(4)])
    torch.testing.assert_close(applied.mean(0), eager)
    assert not applied[1:].any()


def test_the_log_has_the_penalty_that_was_applied(make):
    settings = {"environment": {"lazy": 3}, "variation": {"lr": 1e-12}}
    world, state = make(settings, {"environment": {"lr": 1e-12}})
    plain, _ = make({"environment": {"lr": 1e-12}, "variation": {"lr": 1e-12}})
    rows = [
        [happened.learning["penalty"] for _, happened in evolve(state, each, 4)]
        for each in (world, plain)
    ]
    assert rows[0] == pytest.approx([3 * rows[1][0], 0, 0, 3 * rows[1][3]], rel=1e-4)


def test_the_discriminator_is_clipped_from_the_start_and_stays_so(make):
    _, unbound = make()
    world, state = make({"environment": {"clip": 0.02}})
    first = state.environment.weights
    assert torch.equal(first, unbound.environment.weights.clamp(-0.02, 0.02))
    for after, _ in evolve(state, world, 3):
        assert after.environment.weights.abs().max() <= 0.02
    assert not torch.equal(after.environment.weights, first)


def test_the_environments_batch_is_made_of_equal_parts_of_all_parents(make):
    world, state = make({"population": {"mu": 4}})
    fakes = world._fakes(state.population, [None] * 4, 0, 0)
    assert len(fakes) == 16
    changed = copy.copy(state.population)
    changed[2] = copy.copy(changed[2])
    changed[2].weights = changed[2].weights + 1.0
    other = world._fakes(changed, [None] * 4, 0, 0)
    differs = (fakes != other).any(dim=1)
    assert differs.tolist() == [False] * 8 + [True] * 4 + [False] * 4


def test_the_average_follows_the_lineage(make):
    world, state = make({"population": {"average": 0.5}, "variation": {"mutations": ["heuristic"]}})
    for before, (after, _) in zip([state], evolve(state, world, 1), strict=False):
        parent, child = before.population[0], after.population[0]
        expected = 0.1 * parent.average + 0.9 * child.weights  # young: decay 1 / 10
        torch.testing.assert_close(child.average, expected)
    world, state = make({"population": {"average": 0.0}})
    assert last(state, world, 1)[0].population[0].average is None


def test_learning_rates_fall_to_their_final_share_at_the_horizon(make):
    world, state = make({"lr_final": 0.1, "horizon": 4, "generations": 8})
    steps = []
    for end, happened in evolve(state, world, 8):  # noqa: B007
        steps.append(world._lr(1.0, len(steps)))
    assert steps == pytest.approx([1.0, 0.775, 0.55, 0.325, 0.1, 0.1, 0.1, 0.1])


def test_identical_parents_are_copies_and_independent_ones_are_not(make):
    for initial, equal in (("identical", True), ("independent", False)):
        _, state = make({"population": {"mu": 2, "initial": initial}})
        one, other = state.population
        assert torch.equal(one.weights, other.weights) is equal
        assert one.weights.data_ptr() != other.weights.data_ptr()


def noisy():
    """A generator with dropout, which knows only the global random numbers."""
    layers = [torch.nn.Linear(8, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2)]
    return torch.nn.Sequential(*layers)


def noisy_critic():
    """A discriminator with dropout."""
    layers = [torch.nn.Linear(2, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)]
    return torch.nn.Sequential(*layers)


@pytest.mark.parametrize("selection", catalogue()["selections"])
def test_a_run_is_a_function_of_its_seed_alone(make, selection):
    ends = []
    settings = {
        "population": {"mu": 2, "selection": selection},
        "networks": {"generator": noisy, "discriminator": noisy_critic},
    }
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        random.seed(noise)
        world, state = make({"seed": seed}, settings)
        ends.append(last(state, world, 4)[0])
    same(ends[0], ends[1])
    assert not torch.equal(ends[0].population[0].weights, ends[2].population[0].weights)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("executor", [name for name in executors if name != "serial"])
def test_serial_equals_processes_at_any_number_of_workers(make, executor, workers):
    settings = {
        "population": {"mu": 3},
        "environment": {"batch": 18},
        "networks": {"name": "pacgan"},
        "generations": 3,
    }
    world, state = make(settings)
    expected = last(state, world, 3)[0]
    world, state = make(settings, {"execution": {"executor": executor, "workers": workers}})
    same(last(state, world, 3)[0], expected)
