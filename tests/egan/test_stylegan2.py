"""StyleGAN2 computes what its paper says, and its samples are functions of noise alone."""

import copy
import json
import math

import onnxruntime
import pytest
import safetensors
import torch
from torch import nn
from torch.nn import functional

import egan
from egan.config import Config, Networks
from egan.data import Table
from egan.engines import engines
from egan.evolution import evolve
from egan.games import Unconditional
from egan.networks import Flat, conditions, make_pair, networks
from egan.networks.conditions import UnitNoise, tell
from egan.networks.resampling import smooth
from egan.networks.stylegan2 import Equalised, MinibatchDeviation, Modulated, PixelNoise
from egan.penalties import Step, r1
from egan.settings import merge
from egan.traits import find_traits
from populations.randomness import generator, seeded


def draw(*shape, role="noise"):
    return torch.randn(shape, generator=generator(0, 0, role), dtype=torch.float64)


def pair(shape=(2, 8, 8), noise=5, width=6, depth=2, seed=0, **settings):
    config = Config(seed=seed, networks=Networks(
        name="stylegan2", noise_dimension=noise, width=width, depth=depth, **settings
    ))  # fmt: skip
    return make_pair(config, shape)


def lived(**settings):
    """A pair in double precision whose weights are all away from where they began."""
    modules = pair(**settings)
    with torch.no_grad(), seeded(0, 0, "lived"):
        for each in (each for module in modules for each in module.double().parameters()):
            each.add_(0.3 * torch.randn_like(each))
    return modules


def layers(module, *kinds):
    return [each for each in module.modules() if isinstance(each, kinds)]


# Noise of pixels.


@pytest.mark.parametrize("dimensions", [8, 16, 512])
@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_noise_of_pixels_is_as_good_as_normal_and_uncorrelated(dimensions, kind):
    noise = draw(3000, dimensions)
    if kind == "uniform":
        noise = 2 * torch.special.ndtr(noise) - 1
    drawn = PixelNoise(12, dimensions, 3).double().drawn(noise)
    assert drawn.shape == (3000, 1, 12, 12)
    values = drawn.flatten(1)
    error = 1 / math.sqrt(3000)
    assert values.mean(0).abs().max() < 4.5 * error
    assert (values.var(0) - 1).abs().max() < 4.5 * math.sqrt(2) * error
    among_pixels = torch.corrcoef(values.T) - torch.eye(144)
    assert among_pixels.abs().max() < 5.5 * error
    assert among_pixels.square().mean().sqrt() == pytest.approx(error, rel=0.1)
    among_samples = torch.corrcoef(values[:300]) - torch.eye(300)
    assert among_samples.square().mean().sqrt() == pytest.approx(1 / 12, rel=0.1)
    assert values.pow(4).mean() == pytest.approx(3 - 1.5 / 4, abs=0.1)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_noise_of_pixels_has_unit_variance_whatever_the_noise(dimensions):
    values = PixelNoise(16, dimensions, 3).double().drawn(draw(2000, dimensions)).flatten(1)
    assert abs(values.mean()) < 0.05
    assert values.var() == pytest.approx(1, abs=0.05)
    among_pixels = torch.corrcoef(values.T) - torch.eye(256)
    assert among_pixels.square().mean().sqrt() < 0.2


def test_every_layer_has_noise_of_its_own_and_every_generator_the_same():
    one, other = (layers(pair(seed=seed)[0], PixelNoise) for seed in (0, 1))
    noise = draw(500, 5).float()
    assert [each.rows.shape[1] for each in one] == [4, 8, 8]
    for left, right in zip(one, other, strict=True):
        assert torch.equal(left.drawn(noise), right.drawn(noise))
    two, three = (each.drawn(noise).flatten(1) for each in one[1:])
    assert abs((two * three).mean()) < 0.03
    assert [each.strength.tolist() for each in one] == [[0.0]] * 3


def test_a_sample_is_a_function_of_its_noise_alone():
    generate, _ = lived()
    noise = draw(6, 5)
    torch.manual_seed(0)
    samples = generate(noise)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    torch.testing.assert_close(torch.cat([generate(each[None]) for each in noise]), samples)
    assert torch.equal(torch.get_rng_state(), before)
    for each in layers(generate, PixelNoise):
        nn.init.zeros_(each.strength)
    assert (generate(noise) - samples).abs().mean() > 0.05


# Layers.


def zeros_between(maps):
    """Every pixel followed by a zero, along both sides."""
    wide = torch.zeros(*maps.shape[:2], 2 * maps.shape[2], 2 * maps.shape[3], dtype=maps.dtype)
    wide[:, :, ::2, ::2] = maps
    return wide


def filtered(maps, before, after):
    """[1, 3, 3, 1] / 8 along both sides, with zeros before the first and after the last pixel."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=maps.dtype) / 8
    padded = functional.pad(maps, (before, after) * 2)
    for dimension in (2, 3):
        places = padded.unfold(dimension, 4, 1)
        padded = (places * taps).sum(-1)
    return padded


@pytest.mark.parametrize("padding", [1, 2])
def test_smoothing_pads_alike_on_all_sides(padding):
    maps = draw(2, 3, 7, 7)
    torch.testing.assert_close(smooth(padding)(maps), filtered(maps, padding, padding))


def modulated(layer, maps, style):
    """Eq. 1 and 3 of the paper with weights of each sample's own; a kernel that doubles is turned.

    A transposed convolution with a stride is one of pixels with zeros between them, by the kernel
    turned by 180 degrees.
    """
    affine = layer.affine.layer
    made = []
    for each, values in zip(maps, style, strict=True):
        scales = 1 + values @ affine.weight.T / math.sqrt(affine.in_features) + affine.bias
        weight = layer.weight * scales[:, None, None]
        weight = weight / math.sqrt(weight[0].numel())
        if not layer.image:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if layer.smooth is None:
            found = functional.conv2d(each[None], weight, padding=weight.shape[-1] // 2)
        else:
            spread = functional.pad(zeros_between(each[None]), (2, 1) * 2)
            found = functional.conv2d(spread, weight.flip((2, 3)))
            found = 4 * filtered(found, 1, 1)
        made.append(found[0] + layer.bias[:, None, None])
    return torch.stack(made)


@pytest.mark.parametrize(("kernel", "image", "doubles"), [
    (3, False, False), (3, False, True), (1, True, False)
])  # fmt: skip
def test_scaled_channels_are_weights_of_each_samples_own(kernel, image, doubles):
    with seeded(0, 0, "modulated"):
        layer = Modulated((4, 5, 6, kernel), image, doubles).double()
        nn.init.normal_(layer.bias)
        nn.init.normal_(layer.affine.layer.bias)
    maps, style = draw(3, 5, 8, 8), draw(3, 4, role="style")
    expected = modulated(layer, maps, style)
    found = layer(maps, style)
    assert found.shape == (3, 6, *[16 if doubles else 8] * 2)
    torch.testing.assert_close(found, expected)
    weighed = draw(*found.shape, role="weights")
    for one, two in zip(
        *(torch.autograd.grad((each * weighed).sum(), list(layer.parameters()))
          for each in (found, expected)), strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(one, two)


def test_demodulated_outputs_have_unit_variance_whatever_the_style():
    with seeded(0, 0, "modulated"):
        layer = Modulated((16, 32, 64, 3)).double().requires_grad_(False)
    maps = draw(64, 32, 8, 8)
    for strength in (1.0, 10.0):
        inner = layer(maps, strength * draw(64, 16, role="style"))[:, :, 1:-1, 1:-1]
        assert inner.var() == pytest.approx(1, rel=0.03)
        assert inner.var((0, 2, 3)).max() < 1.2


@pytest.mark.parametrize("layer", [nn.Linear(40, 50), nn.Conv2d(10, 40, 3)])
@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_weights_are_as_large_in_every_layer_and_scaled_while_they_compute(layer, rate):
    equal = Equalised(copy.deepcopy(layer), rate=rate)
    weight = equal.layer.weight
    assert weight.std().item() == pytest.approx(1 / rate, rel=0.1)
    assert not equal.layer.bias.any()
    inputs = draw(200, *weight.shape[1:]).float()
    made = equal(inputs)
    assert made.std().item() == pytest.approx(1, rel=0.1)
    nn.init.ones_(equal.layer.bias)
    torch.testing.assert_close(equal(inputs), made + rate)


def test_a_step_of_adam_moves_all_layers_alike_and_the_mapping_a_hundredth_as_far():
    shares = []
    for size, rate in ((20, 1.0), (500, 1.0), (500, 0.01)):
        with seeded(0, 0, "equalised"):
            equal = Equalised(nn.Linear(size, 30), rate=rate)
            equal.layer.weight.grad = torch.randn_like(equal.layer.weight)
        inputs = draw(16, size).float()
        before = equal(inputs).detach()
        optimizer = torch.optim.Adam(equal.parameters(), 0.01, (0.0, 0.99))
        optimizer.step()
        shares.append(((equal(inputs) - before).norm() / before.norm()).item())
    assert shares == pytest.approx([0.01, 0.01, 0.0001], rel=0.2)


def test_all_parameters_but_strengths_and_biases_begin_normal():
    for module in pair(width=24, noise=24):
        for name, each in module.named_parameters():
            if name.endswith(("bias", "strength")):
                assert not each.any()
            else:
                expected = 100 if name.startswith("mapping") else 1
                error = 4 / math.sqrt(2 * each.numel())
                assert each.std().item() == pytest.approx(expected, rel=error)


@pytest.mark.parametrize(("count", "group"), [(12, 4), (4, 4), (6, 2), (2, 2), (5, 1), (1, 1)])
def test_a_group_of_the_minibatch_is_four_samples_or_as_many_as_divide_it(count, group):
    maps = draw(count, 3, 2, 2)
    found = MinibatchDeviation()(maps)
    assert torch.equal(found[:, :3], maps)
    step = count // group
    for index in range(count):
        members = maps[index % step :: step]
        assert len(members) == group
        expected = (members.var(0, correction=0) + 1e-8).sqrt().mean()
        assert torch.allclose(found[index, 3], expected)


# Networks.


def leaky(x):
    return math.sqrt(2) * torch.where(x > 0, x, 0.2 * x)


def equalised(x, layer, **more):
    scale = 1 / math.sqrt(layer.weight[0].numel())
    if isinstance(layer, nn.Linear):
        return scale * x @ layer.weight.T + layer.bias
    return functional.conv2d(x, scale * layer.weight, layer.bias, **more)


def test_the_generator_computes_as_the_paper_writes_it():
    generate, _ = lived()
    noise = draw(3, 5)
    style = noise / noise.square().mean(1, keepdim=True).sqrt()
    for each in layers(generate.mapping, nn.Linear):
        scale = 1 / math.sqrt(each.in_features)
        style = leaky(0.01 * (scale * style @ each.weight.T + each.bias))
    assert style.shape == (3, 6)
    maps, image = generate.constant.expand(3, -1, -1, -1), 0
    assert [len(stage.layers) for stage in generate.stages] == [1, 2]
    for stage in generate.stages:
        for each in stage.layers:
            maps = modulated(each.convolution, maps, style)
            maps = leaky(maps + each.noise.strength * each.noise.drawn(noise))
        if torch.is_tensor(image):
            image = 4 * filtered(zeros_between(image), 2, 1)
        image = image + modulated(stage.image, maps, style)
    torch.testing.assert_close(generate(noise), image)
    assert image.shape == (3, 2, 8, 8)


def test_the_discriminator_computes_as_the_paper_writes_it():
    _, discriminate = lived(shape=(2, 16, 16))
    images = draw(8, 2, 16, 16)
    first, *inner, last, hidden, out = layers(discriminate, nn.Conv2d, nn.Linear)
    maps = leaky(equalised(images, first))
    assert len(inner) == 2 * 3
    for one, two, short in zip(*[iter(inner)] * 3, strict=True):
        deep = filtered(leaky(equalised(maps, one, padding=1)), 2, 2)
        deep = leaky(equalised(deep, two, stride=2))
        assert short.bias is None
        maps = (deep + equalised(filtered(maps, 1, 1)[:, :, ::2, ::2], short)) / math.sqrt(2)
    groups = maps.view(4, 2, *maps.shape[1:])
    deviation = (groups - groups.mean(0)).square().mean(0).add(1e-8).sqrt().mean((1, 2, 3))
    deviation = deviation.repeat(4).view(8, 1, 1, 1).expand(8, 1, 4, 4)
    maps = leaky(equalised(torch.cat([maps, deviation], 1), last, padding=1))
    expected = equalised(leaky(equalised(maps.flatten(1), hidden)), out)
    torch.testing.assert_close(discriminate(images), expected)


@pytest.mark.parametrize(("side", "maps"), [
    (32, [8, 8, 8, 8]), (28, [8, 8, 8]), (64, [8, 8, 8, 8, 4]), (128, [8, 8, 8, 8, 4, 2]), (4, [8]),
])  # fmt: skip
def test_maps_are_as_many_up_to_32x32_and_halved_above(side, maps):
    generate, discriminate = pair((3, side, side), width=8)
    assert [stage.image.weight.shape[1] for stage in generate.stages] == maps
    reads = [each.in_channels for each in layers(discriminate, nn.Conv2d)]
    blocks = [each for count in maps[:0:-1] for each in [count] * 3]
    assert reads == [3, *blocks, 9]


def test_depth_is_the_number_of_mapping_layers_of_which_there_are_eight():
    for depth, expected in ((3, 3), (None, 8)):
        linear = layers(pair(depth=depth)[0].mapping, nn.Linear)
        assert [each.in_features for each in linear] == [5, *[6] * (expected - 1)]


def test_signals_neither_vanish_nor_grow_though_filters_take_some_of_them():
    generate, discriminate = pair((3, 32, 32), noise=64, width=32, depth=8)
    seen = []
    for module in (generate, discriminate):
        for each in module.modules():
            if type(each).__name__ == "Leaky":
                each.register_forward_hook(lambda layer, read, made: seen.append(made))
    noise = draw(32, 64).float()
    generate(noise)
    discriminate(draw(32, 3, 32, 32).float())
    assert len(seen) == 8 + 7 + 1 + 3 + 2
    assert all(0.05 < each.square().mean() < 3 for each in seen)


# Classes.


def test_noise_and_class_are_scaled_apart():
    noise, classes = 3 * draw(6, 4), torch.eye(3, dtype=torch.float64).repeat(2, 1)
    layer = nn.Sequential(UnitNoise())
    alone = layer(noise)
    assert torch.allclose(alone.square().mean(1), torch.ones(6, dtype=torch.float64))
    assert torch.allclose(alone / alone[:, :1], noise / noise[:, :1])
    found = tell(layer, 3)(torch.cat([noise, classes], 1))
    assert torch.equal(found[:, :4], alone)
    assert torch.allclose(found[:, 4:], math.sqrt(3) * classes)


def labelled(count=48):
    """Images whose brightness says the class."""
    labels = torch.arange(count) % 3
    images = (0.6 * (labels - 1)).view(-1, 1, 1, 1) + 0.05 * draw(count, 1, 8, 8).float()
    return Table("levels", images.clamp(-1, 1), labels)


TINY = {
    "networks": {"name": "stylegan2", "width": 4, "depth": 2, "noise_dimension": 5},
    "variation": {"batch": 8, "lr": 2e-3}, "fitness": {"samples": 8},
    "environment": {"batch": 8, "lr": 2e-3},
    "execution": {"engine": "shared"},
    "records": {"score_samples": 16, "final_samples": 16, "features": "random"},
}  # fmt: skip


@pytest.mark.parametrize("condition", conditions)
def test_both_networks_are_told_of_classes_under_every_condition(condition):
    own = {"game": "conditional", "networks": {"condition": condition}}
    run = egan.evolve(labelled(), config=merge(TINY, own), generations=2)
    (scaled,) = layers(run.generator.module, UnitNoise)
    assert scaled.classes == 3
    noise = torch.cat([draw(1, 5).float().expand(3, 5), torch.eye(3)], 1)
    one, two, three = run.generator.generate(noise)
    assert min((one - two).abs().mean(), (two - three).abs().mean()) > 1e-2


# Evolution.


def test_logits_depend_on_the_group_and_samples_on_their_noise_alone():
    for shape in ((1, 4, 4), (1, 8, 8)):
        game = Unconditional(*map(Flat, pair(shape)), "normal", 5)
        traits = find_traits(game, shape)
        assert not traits.own_logits
        assert not traits.stackable
        assert traits.repeatable


def test_a_penalty_on_slopes_has_the_derivative_of_finite_differences():
    _, discriminate = lived(shape=(1, 8, 8), width=3)
    flat = Flat(discriminate)
    real = draw(4, 1, 8, 8).requires_grad_()

    def penalty():
        return r1(Step(real, real, flat.module))

    gradient = flat.gradient(penalty())
    way = draw(len(gradient), role="way")
    found = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            flat.vector.add_(step * way)
        found.append(penalty().item())
        with torch.no_grad():
            flat.vector.sub_(step * way)
    expected = (found[0] - found[1]) / 2e-6
    assert float(gradient @ way) == pytest.approx(expected, rel=1e-5)


def double(place):
    return networks["stylegan2"]((1, 8, 8), 4, 3, 2)[place].double()


LAZY = {"environment": {"penalties": {"r1": 0.1, "r2": 0.1}, "lazy": 2}}
UNROLLED = {"variation": {"unrolled": 2, "mutations": ["non-saturating", "rasgan"]}}


@pytest.mark.parametrize(("engine", "more"), [
    *[(name, LAZY) for name in engines if name != "reference"], ("shared", UNROLLED)
])  # fmt: skip
def test_engines_agree_over_generations(make, engine, more):
    own = {"generator": lambda: double(0), "discriminator": lambda: double(1)}
    settings = merge(TINY, {"data": "digits", "variation": {"mutations": ["heuristic"]}}, more)
    settings["networks"] = {**own, "noise_dimension": 4}
    if engine == "batched":
        with pytest.raises(egan.UsageError, match="these networks are others"):
            make(settings, {"execution": {"engine": engine}})
        return
    reached = []
    for each in ("reference", engine):
        world, state = make(settings, {"execution": {"engine": each}})
        reached.append(list(evolve(state, world, 2))[-1][0])
    one, two = reached
    for left, right in zip(one.population, two.population, strict=True):
        torch.testing.assert_close(right.weights, left.weights, rtol=0, atol=1e-7)
        torch.testing.assert_close(right.buffers, left.buffers, rtol=0, atol=0)
    torch.testing.assert_close(two.environment.weights, one.environment.weights, rtol=0, atol=1e-7)


def test_a_killed_run_is_the_run_left_alone_and_processes_are_serial(tmp_path):
    config = merge(TINY, {"population": {"average": 0.9}, "records": {"checkpoint_every": 2}})
    whole = egan.evolve(labelled(), config=config, generations=3, run=tmp_path / "whole")
    egan.evolve(
        labelled(), config=config, generations=3, run=tmp_path / "cut",
        on_generation=lambda state, row: state.generation == 2,
    )  # fmt: skip
    again = egan.evolve(labelled(), config=config, generations=3, run=tmp_path / "cut")
    apart = merge(config, {"execution": {"executor": "processes", "workers": 2}})
    other = egan.evolve(labelled(), config=apart, generations=3)
    for each in (again, other, egan.load(tmp_path / "whole")):
        assert torch.equal(each.sample(6), whole.sample(6))


def test_exports_hold_the_noise_of_pixels(tmp_path):
    egan.evolve(labelled(), config=TINY, generations=1, run=tmp_path / "r")
    path = egan.export(tmp_path / "r", "safetensors")
    with safetensors.safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        assert json.loads(file.metadata()["egan"])["noise_dimension"] == 5
    bare = pair((1, 8, 8), width=4)[0]
    for name, each in bare.named_buffers():
        assert torch.equal(tensors[name], each)
    assert len(list(bare.buffers())) == 3 * 3


@pytest.mark.parametrize("form", ["onnx", "torch-export"])
def test_a_conditional_generator_is_exported_with_its_classes(tmp_path, form):
    config = merge(TINY, {"game": "conditional"})
    run = egan.evolve(labelled(), config=config, generations=2, run=tmp_path / "r")
    path = egan.export(tmp_path / "r", form)
    for count in (1, 5):
        noise = torch.cat([draw(count, 5).float(), torch.eye(3)[torch.arange(count) % 3]], 1)
        if form == "onnx":
            session = onnxruntime.InferenceSession(path)
            made = torch.from_numpy(session.run(["samples"], {"noise": noise.numpy()})[0])
        else:
            made = torch.export.load(path).module()(noise)
        torch.testing.assert_close(made, run.generator.generate(noise), rtol=0, atol=1e-4)
