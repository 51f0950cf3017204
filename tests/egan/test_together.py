"""Several runs in step: each is what it would be alone."""

import pytest
import torch

import egan
from egan.evolution import evolve
from egan.presets import configure
from egan.snapshot import start
from egan.together import evolve_together, make_worlds
from populations.errors import RunError, UsageError

SEEDS = (0, 3, 5)
BATCHED = {"execution": {"engine": "batched"}}


@pytest.mark.parametrize("more", [
    {},
    {"first": "environment", "population": {"mu": 2}},
    {"networks": {"name": "toy"}, "environment": {"fakes": "judged"},
     "fitness": {"real": "training"}},
    {"environment": {"fakes": "bred", "penalties": {"r1": 0.0, "r2": 0.0}},
     "fitness": {"real": "training", "gamma": 0.0}},
    {"environment": {"hall": 2}},
])  # fmt: skip
def test_each_run_is_what_it_is_alone(small, more):
    config = configure(small, BATCHED, more)
    worlds = make_worlds(config, SEEDS)
    ends = list(evolve_together([start(world) for world in worlds], worlds, 3))[-1]
    for world, (state, happened) in zip(worlds, ends, strict=True):
        alone, also = list(evolve(start(world), world, 3))[-1]
        assert state.generation == 3
        assert [one.number for one in state.population] == [one.number for one in alone.population]
        for left, right in zip(alone.population, state.population, strict=True):
            torch.testing.assert_close(right.weights, left.weights, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(right.average, left.average, rtol=1e-3, atol=1e-4)
        found, expected = state.environment.weights, alone.environment.weights
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
        assert happened.learning == pytest.approx(also.learning, rel=1e-3, abs=1e-4)
    weights = [state.population[0].weights for state, _ in ends]
    assert not torch.allclose(weights[0], weights[1], atol=1e-2)


def test_networks_that_cannot_be_batched_are_refused():
    config = configure({"data": "digits", "networks": {"name": "convolutional"}})
    with pytest.raises(UsageError, match="the engine 'batched' is not for this run"):
        make_worlds(config, SEEDS)


def test_another_engine_is_refused_instead_of_ignored(small):
    with pytest.raises(UsageError) as error:
        make_worlds(configure(small, {"execution": {"engine": "compiled"}}), SEEDS)
    assert str(error.value) == (
        "execution.engine is 'compiled': seeds in step are bred by 'batched'."
    )


def test_several_seeds_from_python(small):
    runs = egan.evolve_seeds([4, 2], torch.randn(64, 2), config=small, generations=3, **BATCHED)
    assert [run.config.seed for run in runs] == [4, 2]
    assert [run.config.execution.engine for run in runs] == ["batched"] * 2
    assert [run.state.generation for run in runs] == [3, 3]
    assert runs[0].sample(5).shape == (5, 2)
    assert not torch.allclose(runs[0].sample(5), runs[1].sample(5), atol=1e-3)
    assert egan.evolve_seeds([], config=small, **BATCHED) == []


def test_a_run_without_finite_children_ends_all(small):
    def explode(logits):
        """A loss without a finite gradient."""
        return logits.mean() * float("inf")

    settings = {"variation": {"mutations": [explode]}, "population": {"patience": 2}}
    with pytest.raises(RunError, match="no child has been finite for 2 generations"):
        egan.evolve_seeds([0, 1], config=small, **settings, **BATCHED)
