"""Behaviours: landmarks of the data, the shares of samples near them, novelty, elites."""

from collections import deque
from dataclasses import replace

import pytest
import torch

from egan.behaviours import behaviour, find_landmarks
from egan.data import make_data
from egan.directory import Directory
from egan.engines import engines
from egan.evolution import evolve
from egan.fitness import novelty
from egan.run import run_in
from egan.settings import merge
from egan.snapshot import freeze, revive
from populations.archive import generations
from populations.errors import UsageError
from populations.selection import selections

SEARCH = {"fitness": {"quality": "none", "diversity": "novelty", "gamma": 1.0, "landmarks": 8}}
ELITES = {
    "population": {"mu": 4, "parents": "compete", "selection": "map-elites"},
    "fitness": {"landmarks": 4},
}


def same(layers, strength):
    """A perturbation that changes nothing."""
    return list(layers)


def bigger(layers, strength):
    """A perturbation that scatters samples."""
    return [2 * each for each in layers]


def after(make, generations, *layers):
    world, state = make(*layers)
    return world, *deque(evolve(state, world, generations), maxlen=1)[0]


def few_points():
    return torch.arange(5.0).repeat(8)[:, None]


def farthest(behaviour, past):
    """A diversity that forgets that there may be no past."""
    return (behaviour - past).abs().sum(dim=1).mean()


def nearest(behaviour, past):
    """Likewise, and it raises."""
    return (behaviour - past).abs().sum(dim=1).min()


def own(behaviour, past):
    """A diversity of one's own."""
    return (behaviour - past).abs().sum()


def test_as_many_landmarks_as_modes_lie_one_on_each():
    ring = make_data("ring", {})
    landmarks = find_landmarks(ring, 8, 0)
    distances = torch.cdist(ring.centres, landmarks)
    assert float(distances.min(dim=1).values.max()) < 0.02
    assert sorted(distances.argmin(dim=1).tolist()) == list(range(8))


def test_landmarks_have_the_shape_of_samples_and_are_keyed_on_the_seed():
    digits = make_data("digits", {})
    one, again, other = (find_landmarks(digits, 3, seed) for seed in (0, 0, 1))
    assert one.shape == (3, *digits.shape)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_more_landmarks_than_different_samples_are_one_sentence(make):
    with pytest.raises(UsageError, match="landmarks is 8, and only 5 of 2000 samples"):
        make(SEARCH, source=few_points())


def test_behaviour_is_the_share_of_samples_to_which_each_landmark_is_nearest():
    landmarks = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 9.0]])
    samples = torch.tensor([[0.1, 0.0], [-3.0, 1.0], [2.1, 0.0], [0.0, 4.0], [0.0, 5.0]])
    assert behaviour(samples, landmarks).tolist() == pytest.approx([0.6, 0.2, 0.2])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_samples_that_are_not_finite_have_no_behaviour(bad):
    samples = torch.tensor([[0.0], [bad]])
    assert behaviour(samples, torch.tensor([[0.0], [1.0]])).isnan().all()


def test_novelty_is_the_mean_distance_to_the_fifteen_nearest_behaviours():
    past = torch.zeros(20, 2, dtype=torch.float64)
    past[:, 0] = torch.linspace(0, 1, 20)
    past[:, 1] = 1 - past[:, 0]
    found = novelty(torch.tensor([0.0, 1.0], dtype=torch.float64), past)
    assert float(found) == pytest.approx(sum(range(15)) / 15 / 19)
    assert float(novelty(past[0], past[:3])) == pytest.approx(1 / 19)
    assert float(novelty(past[0], past[:0])) == 0


def test_novelty_is_measured_from_parents_and_the_fittest_of_generations_over_the_run(make):
    world, first = make(SEARCH, {"fitness": {"archive": 3}, "population": {"mu": 2}})
    assert len(world.scene(first, first.environment).past) == 0
    states = [after for after, _ in evolve(first, world, 11)]
    fittest = {each.generation: each.population[0].behaviour for each in states}
    state = states[-1]
    kept = generations(state.behaviours, 11, 3)
    assert state.behaviours == [fittest[each] for each in kept]
    past = world.scene(state, world.settle(state.environment)).past
    known = [*state.behaviours, *(one.behaviour for one in state.population)]
    expected = list(dict.fromkeys(known))
    torch.testing.assert_close(past, torch.tensor(expected))
    (one, *_) = world.breed(state, world.settle(state.environment)).children
    distances = (past - torch.tensor(one.behaviour)).abs().sum(dim=1) / 2
    assert one.total == pytest.approx(float(distances.mean()), rel=1e-5)


def test_novelty_search_goes_where_nobody_was_whatever_the_discriminator_says(make):
    settings = {"variation": {"mutations": [same, bigger]}}
    world, state = make(settings, SEARCH)
    winners = [each.survivors[0].mutation for _, each in evolve(state, world, 4)][1:]
    assert winners == [f"{__name__}:bigger"] * 3


def test_elites_hold_every_cell_in_which_a_child_is_born_and_truncation_loses_some(make):
    def cells(individuals):
        return {max(range(4), key=one.behaviour.__getitem__) for one in individuals}

    world, first = make({"generations": 40}, ELITES)
    lost = {}
    for name in ("map-elites", "best"):
        operators = replace(world.operators, selection=selections[name])
        happened = [each for _, each in evolve(first, replace(world, operators=operators), 40)]
        lost[name] = [cells(each.offspring) - cells(each.survivors) for each in happened]
    assert not any(lost["map-elites"])
    assert any(lost["best"])


@pytest.mark.parametrize(("diversity", "says"), [
    (farthest, "is nan: at first there is no past"),
    (nearest, "cannot judge 16 fakes beside 16 real samples: IndexError|RuntimeError"),
])  # fmt: skip
def test_a_diversity_that_needs_a_past_is_one_sentence_before_the_start(make, diversity, says):
    with pytest.raises(UsageError, match=says):
        make({"fitness": {"diversity": diversity}})


def test_a_diversity_of_ones_own_reads_behaviours(make):
    _, state, _ = after(make, 3, {"fitness": {"diversity": own, "quality": "none"}})
    assert state.population[0].total > 0


def test_a_behaviour_that_was_twice_is_in_the_past_once(make):
    settings = {"population": {"mu": 2, "parents": "compete"}}
    world, state, _ = after(make, 12, SEARCH, settings)
    past = world.scene(state, world.settle(state.environment)).past
    assert len(past.unique(dim=0)) == len(past)


@pytest.mark.parametrize("settings", [SEARCH, ELITES])
def test_networks_in_double_precision_have_behaviours(make, settings):
    pair = {
        "generator": lambda: torch.nn.Linear(8, 2).double(),
        "discriminator": lambda: torch.nn.Linear(2, 1).double(),
    }
    _, state, _ = after(make, 2, settings, {"networks": pair})
    assert sum(state.population[0].behaviour) == pytest.approx(1.0)


@pytest.mark.parametrize("settings", [
    {"population": {"selection": "random"}}, {"variation": {"mutations": ["heuristic"]}},
    {"fitness": {"gamma": 0.0, "quality": "logit"}},
])  # fmt: skip
def test_where_nobody_reads_behaviours_no_landmarks_are_wanted(make, settings):
    world, _ = make(SEARCH, settings, {"fitness": {"landmarks": 64}}, source=few_points())
    assert world.plan.landmarks is None


@pytest.mark.parametrize("engine", [name for name in engines if name != "compiled"])
def test_without_readers_there_are_no_landmarks_and_no_behaviours(make, engine):
    world, state, _ = after(make, 2, {"execution": {"engine": engine}})
    assert world.plan.landmarks is None
    assert state.population[0].behaviour == ()
    assert state.behaviours == []


def test_a_checkpoint_holds_behaviours_and_older_ones_go_on_without(make):
    world, state, _ = after(make, 5, SEARCH)
    saved = freeze(state, None)
    again, _ = revive(saved, world)
    assert again.behaviours == state.behaviours != []
    assert again.population[0].behaviour == state.population[0].behaviour
    del saved["behaviours"]
    del saved["population"][0]["behaviour"]
    older, _ = revive(saved, world)
    assert (older.behaviours, older.population[0].behaviour) == ([], ())


def test_who_starts_from_another_run_leaves_its_landmarks_behind(make, small, tmp_path):
    run_in(Directory(tmp_path), merge(small, SEARCH))
    world, first = make(SEARCH, {"init_from": str(tmp_path), "fitness": {"landmarks": 5}})
    assert first.population[0].behaviour == ()
    (state, _), *_ = evolve(first, world, 2)
    assert len(state.population[0].behaviour) == 5
