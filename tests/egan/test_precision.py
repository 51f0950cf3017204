"""Mixed precision, and weights that lie channel by channel: the same training, rounded."""

import pytest
import torch
from torch import nn

from egan.engines import engines
from egan.engines.judging import judging_precision
from egan.evolution import evolve
from egan.presets import configure
from populations.errors import UsageError

FEWER = {"bfloat16": torch.bfloat16, "float16": torch.float16}
SETTINGS = {
    "variation": {"mutations": ["minimax", "heuristic", "least-squares"]},
    "fitness": {"gamma": 0.1},
    "environment": {"penalties": {"r1": 0.1, "r2": 0.1}},
}


def images(name, width=4, **more):
    """Settings of a pair for digits."""
    return {**SETTINGS, "data": "digits",
            "networks": {"name": name, "width": width, "noise_dimension": 6, **more}}  # fmt: skip


class Told(nn.Module):
    """A layer that notes in which precision its inputs come."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.found = layer, []

    def forward(self, x):
        made = self.layer(x)
        self.found.append(made.dtype)
        return made


def alike(one, other, least):
    """Whether two vectors point the same way."""
    assert float(torch.cosine_similarity(one, other, dim=0)) > least


def first(make, *layers):
    """What one generation makes: its children, and the environment afterwards."""
    world, state = make(*layers)
    after, happened = next(evolve(state, world, 1))
    return happened.offspring, after.environment


ACGAN = {**images("dcgan-4x4", condition="auxiliary-classifier"), "game": "conditional"}


@pytest.mark.parametrize(("precision", "engine", "settings"), [
    *[("bfloat16", engine, SETTINGS) for engine in engines],
    *[("bfloat16", "shared", images(name)) for name in ("convolutional", "dcgan-4x4", "r3gan")],
    ("bfloat16", "reference", images("dcgan-4x4")), ("bfloat16", "compiled", images("sngan")),
    ("bfloat16", "shared", {**images("sngan"), "game": "conditional"}),
    ("float16", "shared", images("convolutional")), ("float16", "shared", ACGAN),
], ids=str)  # fmt: skip
def test_networks_train_in_fewer_bits_and_everything_else_keeps_its_own(
    make, precision, engine, settings
):
    settings = {**settings, "execution": {"engine": engine}}
    children, environment = first(make, settings)
    fewer, rounded = first(make, settings, {"execution": {"precision": precision}})
    for left, right in zip(children, fewer, strict=True):
        one, two = (each.moments["inherited"]["mean"] for each in (left, right))
        assert two.dtype == right.weights.dtype == torch.float32
        assert not torch.equal(one, two)
        alike(one, two, 0.99)
        assert right.fitness.values == pytest.approx(left.fitness.values, rel=0.05, abs=0.05)
        assert all(each.dtype != FEWER[precision] for each in right.buffers.values())
    alike(environment.moments["mean"], rounded.moments["mean"], 0.99)
    assert not torch.equal(environment.moments["mean"], rounded.moments["mean"])


def test_layers_compute_in_the_precision_of_training_of_judging_and_of_samples(make):
    networks = {"generator": Told(nn.Linear(4, 2)), "noise_dimension": 4}
    world, state = make(
        {"networks": networks, "fitness": {"precision": "float16"}},
        {"execution": {"precision": "bfloat16", "engine": "reference"}},
    )
    found = world.plan.game.generator.module.found
    found.clear()
    next(evolve(state, world, 1))
    count = len(world.plan.names)
    # A pass for each mutation and one for the discriminator's fakes train; each child is judged.
    assert found.count(torch.bfloat16) == count + 1
    assert found.count(torch.float16) == count
    sampler = world.sampler.load(state.population[0])
    sampler.sample(3)
    assert sampler.module.found == [torch.float32]
    with judging_precision(world.plan):
        assert world.plan.game.precision == torch.float16
    assert world.plan.game.precision == torch.bfloat16


@pytest.mark.parametrize("engine", ["reference", "shared", "batched"])
def test_judging_follows_training_unless_told_otherwise(make, engine):
    training = {"precision": "bfloat16", "engine": engine}
    world, state = make({"execution": training})
    other, _ = make({"execution": training}, {"fitness": {"precision": "float32"}})
    rounded = world.breed(state, state.environment).children
    exact = other.breed(state, state.environment).children
    for left, right in zip(rounded, exact, strict=True):
        assert torch.equal(left.weights, right.weights)
        assert left.fitness.values != right.fitness.values
        assert right.fitness.values == pytest.approx(left.fitness.values, rel=0.05, abs=0.05)


def test_individuals_that_follow_each_other_in_one_memory_each_use_their_own_weights(make):
    """Autocast by default keeps the weights that it has rounded."""
    world, _ = make({"execution": {"precision": "bfloat16"}})
    game, noise = world.plan.game, torch.randn(5, 8)
    weights, buffers = game.generator.state()
    with game.computing():
        game.generator.load(weights, buffers)
        before = game.generate(noise)
        game.generator.load(2 * weights, buffers)
        after = game.generate(noise)
    assert not torch.equal(before, after)


@pytest.mark.parametrize("engine", ["reference", "shared", "compiled"])
def test_derivatives_too_small_for_16_bits_are_not_lost(make, engine):
    def faint(logits):
        """A loss of which each sample's part is below the least that 16 bits hold."""
        return 2.0**-14 * logits.mean()

    layers = {"variation": {"mutations": [faint]}}, {"execution": {"engine": engine}}
    (expected,), _ = first(make, *layers)
    (found,), _ = first(make, *layers, {"execution": {"precision": "float16"}})
    alike(expected.moments["inherited"]["mean"], found.moments["inherited"]["mean"], 0.99)


@pytest.mark.parametrize(("engine", "name"), [
    ("reference", "convolutional"), ("compiled", "sngan"),
    *[("shared", name) for name in ("convolutional", "dcgan-4x4", "sngan", "r3gan", "mlp")],
])  # fmt: skip
def test_weights_that_lie_channel_by_channel_are_the_same_weights(make, engine, name):
    layers = images(name), {"execution": {"engine": engine}}
    perturbing = {"variation": {"mutations": ["heuristic", "noise"], "gradient_noise": 0.1}}
    expected, environment = first(make, *layers, perturbing)
    found, other = first(make, *layers, perturbing, {"execution": {"channels_last": True}})
    one, _ = make(*layers)
    two, _ = make(*layers, {"execution": {"channels_last": True}})
    plain, last = (each.plan.game for each in (one, two))
    assert any(not each.is_contiguous() for each in last.generator.parameters) is (name != "mlp")
    assert all(each.is_contiguous() for each in plain.generator.parameters)
    for left, right in zip(expected, found, strict=True):
        same(plain.generator, left.moments["inherited"]["mean"],
             last.generator, right.moments["inherited"]["mean"])  # fmt: skip
        assert right.fitness.values == pytest.approx(left.fitness.values, rel=1e-2, abs=1e-3)
    same(plain.discriminator, environment.moments["mean"],
         last.discriminator, other.moments["mean"])  # fmt: skip


def same(network, vector, other, also):
    """Whether two vectors of weights are, each as its own network lays it out."""
    pairs = zip(network.views(vector).values(), other.views(also).values(), strict=True)
    scale = float(vector.abs().max())
    for left, right in pairs:
        assert torch.allclose(left, right, rtol=1e-3, atol=1e-3 * scale)


def test_the_batched_engine_does_not_compute_in_float16(make):
    for layers in ({"execution": {"precision": "float16"}}, {"fitness": {"precision": "float16"}}):
        with pytest.raises(UsageError, match="it computes in float32 or bfloat16"):
            make({"execution": {"engine": "batched"}}, layers)


def test_precision_is_one_of_three():
    with pytest.raises(UsageError, match=r"execution\.precision is 'half': it must be 'float32'"):
        configure({"execution": {"precision": "half"}})
