"""Kernels: compiled, they make what they make as they are written."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from egan import kernels
from egan.cost import generation_flops
from egan.evolution import evolve
from egan.snapshot import start
from populations.errors import UsageError

COMPILED = {"execution": {"engine": "compiled"}}
SAMPLES = torch.linspace(-1, 1, 128).view(64, 2)


class Normed(nn.Module):
    """A discriminator with batch norm."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x):
        return self.layers(x)


class Undecided(nn.Module):
    """A generator whose way depends on values."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x):
        return self.first(x) if x.sum() > 0 else self.second(x)


def generator():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


def pair(discriminator):
    return {"networks": {
        "generator": generator(), "discriminator": discriminator, "noise_dimension": 8,
    }}  # fmt: skip


def heights(game, weight, samples):
    """A kernel: the discriminator's logits times a weight, and its buffers."""
    return weight * game.logits(samples).detach(), game.discriminator.buffers()


@pytest.mark.slow
@pytest.mark.inductor
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_generations_are_those_of_the_shared_engine(make, precision):
    layers = {"fitness": {"precision": precision, "samples": 32}}
    found = {}
    for engine in ("shared", "compiled"):
        world, state = make(layers, {"execution": {"engine": engine}})
        found[engine] = [each for each, _ in evolve(state, world, 2)][-1]
    shared, compiled = found["shared"], found["compiled"]
    tolerance = 1e-5 if precision == "float32" else 1e-2
    assert compiled.population[0].mutation == shared.population[0].mutation
    assert compiled.population[0].total == pytest.approx(shared.population[0].total, rel=tolerance)
    torch.testing.assert_close(
        compiled.environment.weights, shared.environment.weights, rtol=0, atol=1e-5
    )


def test_a_kernel_leaves_networks_and_what_it_was_given_as_they_were(make):
    world, state = make(pair(Normed()), COMPILED)
    game, environment = world.plan.game, state.environment
    before = game.discriminator.state(), environment.weights.clone()
    given = {name: each.clone() for name, each in environment.buffers.items()}
    own = environment.weights + 1, environment.buffers
    logits, buffers = kernels.run(game, heights, (2.0,), (SAMPLES,), discriminator=own)
    with kernels.as_written(game):
        expected = kernels.run(game, heights, (2.0,), (SAMPLES,), discriminator=own)
        game.discriminator.load(*before[0])
    torch.testing.assert_close((logits, buffers), expected)
    assert not torch.equal(buffers["layers.1.running_mean"], given["layers.1.running_mean"])
    after = game.discriminator.state()
    torch.testing.assert_close(after, before[0], rtol=0, atol=0)
    torch.testing.assert_close(environment.buffers, given, rtol=0, atol=0)
    assert all(isinstance(each, nn.Parameter) for each in game.discriminator.module.parameters())


def test_a_kernel_is_compiled_once_for_each_shape_and_each_fixed_object(make, monkeypatch):
    world, state = make(COMPILED)
    game = world.plan.game
    built = []
    monkeypatch.setattr(kernels, "built", lambda graph, device: built.append(graph) or graph)
    own = state.environment.weights, state.environment.buffers
    one, other = 2.0, 3.0
    counts = []
    for weight, samples in (
        (one, SAMPLES), (one, SAMPLES - 1), (other, SAMPLES), (one, SAMPLES[:5]), (one, SAMPLES),
    ):  # fmt: skip
        made, _ = kernels.run(game, heights, (weight,), (samples,), discriminator=own)
        game.discriminator.load(*own)
        torch.testing.assert_close(made, weight * game.logits(samples).detach())
        counts.append(len(built))
    assert counts == [1, 1, 2, 3, 3]


def test_what_networks_draw_at_random_is_drawn_anew_by_the_same_keys(make):
    def noisy():
        torch.manual_seed(0)
        body = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))
        return pair(body)

    found = {}
    for engine in ("shared", "compiled"):
        world, state = make(noisy(), {"execution": {"engine": engine}})
        found[engine] = [
            [child.total for child in happened.offspring] for _, happened in evolve(state, world, 3)
        ]
    for one, other in zip(found["shared"], found["compiled"], strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert len({value for row in found["compiled"] for value in row}) == 9


def test_networks_that_go_by_values_are_refused_before_any_work(make):
    layers = pair(nn.Linear(2, 1))
    layers["networks"]["generator"] = Undecided()
    with pytest.raises(UsageError) as error:
        make(layers, COMPILED)
    assert str(error.value).startswith(
        "the engine 'compiled' is not for this run: the networks' operations cannot be listed: "
    )


def test_a_machine_without_a_compiler_is_refused_before_any_work(make, monkeypatch):
    def fail(graph, device):
        raise RuntimeError("no working C++ compiler")

    monkeypatch.setattr(kernels, "built", fail)
    with pytest.raises(UsageError) as error:
        make(COMPILED)
    assert str(error.value) == (
        "the engine 'compiled' is not for this run: PyTorch's Inductor does not work here: "
        "RuntimeError (no working C++ compiler)."
    )


def test_networks_whose_listed_operations_make_something_else_are_refused(make, monkeypatch):
    monkeypatch.setattr(kernels, "_close", lambda one, other: False)
    with pytest.raises(UsageError, match="does not give what the networks give"):
        make(COMPILED)


def test_a_compiled_generation_is_counted_as_a_shared_one(make):
    counts = []
    for engine in ("shared", "compiled"):
        world, state = make({"execution": {"engine": engine}})
        counts.append(generation_flops(state, world))
        assert (world.plan.game.compiled is None) == (engine == "shared")
    assert counts[0] == counts[1] > 0


@pytest.mark.inductor
def test_replays_on_a_gpu_share_no_memory_and_begin_a_step(monkeypatch):
    memory, begun, asked = torch.zeros(3), [], {}

    def compile_(graph, dynamic, options):
        asked.update(options)
        return lambda x: (memory.copy_(x),)  # as a CUDA graph does

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(
        torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(memory.clone())
    )
    replay = kernels.built(None, "cuda")
    first, second = replay(torch.ones(3)), replay(torch.full((3,), 2.0))
    assert [first[0].tolist(), second[0].tolist()] == [[1.0] * 3, [2.0] * 3]
    assert len(begun) == 2
    assert asked == {"fallback_random": True, "triton.cudagraphs": True}


def test_a_penalty_of_the_users_own_is_compiled_as_well(make):
    found = []
    for engine in ("shared", "compiled"):
        world, _ = make({"execution": {"engine": engine}})
        steep = [(0.5, lambda step: functional.softplus(step.fake_logits).square().mean())]
        world = replace(world, penalties=steep)
        state = [each for each, _ in evolve(start(world), world, 3)][-1]
        found.append(state.environment.weights)
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)
