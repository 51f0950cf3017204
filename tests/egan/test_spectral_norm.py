"""A generator's spectral norms follow its weights, wherever these come from."""

from dataclasses import replace

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import parametrizations

import egan
from egan.engines import engines
from egan.environment import settled
from egan.evolution import evolve
from egan.networks import Flat, make_pair
from egan.recombination import Mating, recombine
from populations.individual import Individual
from populations.randomness import generator as keyed

norm = parametrizations.spectral_norm


def maker(batch_norm=False):
    """A function that makes a generator of points, whose layers all have a spectral norm."""

    def make():
        inner = [nn.BatchNorm1d(6)] * batch_norm
        return nn.Sequential(norm(nn.Linear(4, 6)), *inner, nn.Tanh(), norm(nn.Linear(6, 2)))

    return make


def settings(mutations=("minimax", "heuristic"), batch_norm=False, **more):
    return {
        "networks": {"generator": maker(batch_norm), "noise_dimension": 4},
        "population": {"average": 0.0, **more.pop("population", {})},
        "variation": {"mutations": list(mutations), "batch": 16, "lr": 0.05, "strength": 0.1},
        "lr_final": 1.0,
        **more,
    }


def largest(flat, weights, buffers):
    """The largest singular value of each layer as the network uses it."""
    flat.load(weights, buffers)
    return torch.stack([
        torch.linalg.matrix_norm(each.weight.detach().flatten(1), 2)
        for each in flat.module.modules() if isinstance(each, nn.Linear | nn.Conv2d)
    ])  # fmt: skip


def vectors(buffers):
    return {name: each for name, each in buffers.items() if name.endswith(("_u", "_v"))}


ENGINES = [name for name in engines if name != "batched"]  # which has no spectral norms


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mutations", [
    ["minimax", "heuristic"], ["noise"], ["heuristic+noise", "noise"]
], ids=str)  # fmt: skip
def test_norms_hold_the_largest_singular_value_near_one_through_a_run(make, engine, mutations):
    world, state = make(settings(mutations, execution={"engine": engine}))
    flat, first = world.plan.game.generator, state.population[0]
    *_, (state, _) = evolve(state, world, 40)
    (one,) = state.population
    stale = largest(flat, one.weights, first.buffers)
    assert float((stale.abs() - 1).abs().max()) > 0.3  # which is what a standing norm would give
    # A step of the weights behind, or of none.
    assert float((largest(flat, one.weights, one.buffers) - 1).abs().max()) < 0.1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_perturbed_childs_norms_are_one_iteration_at_its_own_weights(make, engine):
    world, state = make(settings(["noise"], execution={"engine": engine}))
    (parent,) = state.population
    (child,) = world.breed(state, world.settle(state.environment)).children
    expected = settled(world.plan.game.generator, child.weights, parent.buffers)[1]
    assert not torch.equal(child.weights, parent.weights)
    torch.testing.assert_close(child.buffers, expected, rtol=0, atol=0)
    assert not any(torch.equal(child.buffers[name], each) for name, each in parent.buffers.items())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_surviving_parents_norms_stand_still_and_its_childrens_move(make, engine):
    compete = {"population": {"parents": "compete", "mu": 1, "selection": "best"}}
    world, state = make(settings(**compete, execution={"engine": engine}))
    (parent,) = state.population
    before = {name: each.clone() for name, each in parent.buffers.items()}
    litter = world.breed(state, world.settle(state.environment))
    (again,) = litter.again
    torch.testing.assert_close(again.buffers, before, rtol=0, atol=0)
    torch.testing.assert_close(parent.buffers, before, rtol=0, atol=0)
    for child in litter.children:
        expected = settled(world.plan.game.generator, parent.weights, before)[1]
        torch.testing.assert_close(child.buffers, expected, rtol=0, atol=0)


def test_a_crossover_of_ones_own_gives_weights_that_the_norms_follow(make):
    world, state = make(settings())
    (parent,) = state.population
    other = replace(parent, weights=3 * parent.weights.flip(0), number=7)
    environment = world.settle(state.environment)
    mating = Mating(world.plan.game, environment, torch.zeros(4, 4), 0.1, (0.5, 0.9), "inherited")

    def mean(fitter, other, mating):
        return 0.5 * (fitter.weights + other.weights)

    child = recombine(mean, "mean", parent, other, mating, 9)
    expected = settled(world.plan.game.generator, child.weights, parent.buffers)[1]
    torch.testing.assert_close(child.buffers, expected, rtol=0, atol=0)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_under_an_average_the_norms_are_iterated_until_they_fit(make, batch_norm):
    world, state = make(settings(batch_norm=batch_norm, population={"average": 0.9}))
    *_, (state, _) = evolve(state, world, 3)
    one, flat = state.population[0], world.sampler.game.generator
    away = torch.randn(one.weights.shape, generator=keyed(0, 0, "away"))
    one = replace(one, average=one.average + 0.2 * away)
    assert float((largest(flat, one.average, one.buffers) - 1).abs().max()) > 0.02
    world.sampler.load(one)
    weights, buffers = flat.state()
    assert torch.equal(weights, one.average)
    found = largest(flat, weights, buffers)
    torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=1e-3)
    # They stand still from here on, whoever samples.
    samples = world.sampler.sample(64)
    torch.testing.assert_close(world.sampler.sample(64), samples, rtol=0, atol=0)
    flat.train()
    flat.module(world.plan.game.draw(8, keyed(0, 0, "more")))
    torch.testing.assert_close(vectors(flat.buffers()), vectors(buffers), rtol=0, atol=0)
    world.sampler.load(one)
    torch.testing.assert_close(world.sampler.sample(64), samples, rtol=0, atol=0)


def test_statistics_under_an_average_are_those_of_the_settled_norms(make):
    world, state = make(settings(batch_norm=True, population={"average": 0.9}))
    *_, (state, _) = evolve(state, world, 3)
    flat = world.sampler.load(state.population[0]).game.generator
    first, statistics = flat.module[0], flat.module[1]
    noise = world.plan.game.draw(1024, keyed(0, 0, "statistics"))
    made = torch.stack([first(part).detach() for part in noise.split(256)])
    torch.testing.assert_close(statistics.running_mean, made.mean((0, 1)))
    torch.testing.assert_close(statistics.running_var, made.var(1).mean(0))
    assert statistics.momentum == nn.BatchNorm1d(1).momentum


def test_an_individual_without_an_average_samples_with_the_norms_that_it_was_judged_by(make):
    world, state = make(settings())
    *_, (state, _) = evolve(state, world, 3)
    (one,) = state.population
    world.sampler.load(one)
    torch.testing.assert_close(world.sampler.game.generator.buffers(), one.buffers, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "average"), [("sagan", 0.9), ("biggan", 0.0), ("biggan", 0.9)])
def test_a_run_leaves_a_file_that_makes_its_samples(small, tmp_path, name, average):
    records = {**small["records"], "features": "random", "final_samples": 16, "pictures": 1}
    own = {
        **small,
        "records": records,
        "networks": {"name": name, "width": 4},
        "population": {"average": average},
    }
    run = egan.evolve("digits", config=own, generations=3, run=tmp_path / "r")
    bare, _ = make_pair(run.config, (1, 8, 8))
    path = egan.export(tmp_path / "r")
    bare.load_state_dict(safetensors.torch.load_file(path))
    noise = torch.randn(6, run.config.networks.noise_dimension, generator=keyed(0, 0, "noise"))
    with torch.no_grad():
        made = bare.eval()(noise)
    torch.testing.assert_close(made, run.generator.generate(noise), rtol=0, atol=1e-6)
    torch.testing.assert_close(made, egan.load(tmp_path / "r").generate(noise), rtol=0, atol=1e-6)
    if average:
        flat = Flat(bare)
        found = largest(flat, *flat.state())
        torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=0.02)


def test_norms_are_an_individuals_own(make):
    world, state = make(settings(population={"mu": 2}, environment={"batch": 16}))
    *_, (state, happened) = evolve(state, world, 2)
    held = [
        each.data_ptr() for one in (*happened.offspring, *state.population)
        if isinstance(one, Individual) for each in vectors(one.buffers).values()
    ]  # fmt: skip
    survivors = sum(len(vectors(one.buffers)) for one in state.population)
    assert len(set(held)) == len(held) - survivors  # who survives is one of the offspring
