"""Published pairs for images have the sizes, the layers and the first weights of their sources."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

from egan.config import Config, Networks
from egan.evolution import evolve
from egan.networks import Flat, make_pair, networks
from egan.networks.resnet import Residual
from populations.errors import UsageError
from populations.randomness import generator, seeded

# The sides that a pair takes, and some that it does not; what it says of them.
POWERS = ([8, 16, 32, 64], [4, 28, 48], "whose side is a power of two, 8 or more")
SNGAN = ([8, 12, 28, 32, 48, 64, 128], [4, 6, 30, 36, 96],
         "whose side is a multiple of 4 from 8 to 32, or 48, 64 or 128")  # fmt: skip
SIDES = {
    "dcgan-4x4": POWERS,
    "released": POWERS,
    "released-pytorch": POWERS,
    "sngan": SNGAN,
    "sagan": SNGAN,
    "biggan": ([8, 12, 28, 32, 64, 128], [4, 6, 30, 36, 48, 96],
               "whose side is a multiple of 4 from 8 to 32, or 64 or 128"),
    "r3gan": ([8, 10, 14, 28, 32, 48, 64, 128], [4, 7, 9, 18, 66],
              "whose side is 4, 5, 6 or 7 doubled once or more"),
    "stylegan2": ([4, 7, 8, 28, 32, 64], [3, 9, 18, 36, 66],
                  "whose side is 4, 5, 6 or 7, or one of these doubled once or more"),
}  # fmt: skip


def pair(name, shape=(3, 32, 32), **settings):
    return make_pair(Config(networks=Networks(name=name, **settings)), shape)


def draw(*shape, role="noise"):
    return torch.randn(shape, generator=generator(0, 0, role))


def sizes(name, side, noise, width):
    """Numbers of parameters, without memory for them; spectral norm has none."""
    with torch.device("meta"):
        modules = networks[name]((3, side, side), noise, width, None)
    return tuple(sum(each.numel() for each in module.parameters()) for module in modules)


def convolution(kernel, inputs, outputs):
    """Weights and biases."""
    return kernel**2 * inputs * outputs + outputs


# Theano's pair: deconvolutions with biases; convolutions before batch norm have none.
RELEASED = (
    (100 * 8192 + 8192)
    + convolution(4, 512, 256) + convolution(4, 256, 128) + convolution(4, 128, 3),
    convolution(4, 3, 128) + (16 * 128 * 256 + 2 * 256) + (16 * 256 * 512 + 2 * 512) + (8192 + 1),
)  # fmt: skip
RELEASED_PYTORCH = (
    convolution(4, 100, 1024) + convolution(4, 1024, 512) + convolution(4, 512, 256)
    + convolution(4, 256, 128) + convolution(3, 128, 3),
    9 * 3 * 128 + (16 * 128 * 256 + 2 * 256) + (16 * 256 * 512 + 2 * 512)
    + (16 * 512 * 1024 + 2 * 1024) + (16 * 1024 + 1),
)  # fmt: skip


def r3gan_block(maps):
    """1x1 to twice as many, 3x3 in groups of 16, back; a bias before either activation."""
    return maps * 2 * maps + 9 * 16 * 2 * maps + 2 * maps * maps + 2 * 2 * maps


WIDE, HALF = 8 * r3gan_block(768), 2 * r3gan_block(384)
# Three matrices an eighth, an eighth and a half as wide as the maps, one back, and gamma.
ATTENDED = (4_276_739 + 256 * (32 + 32 + 128 + 128) + 1, 1_053_825 + 128 * (16 + 16 + 64 + 64) + 1)
R3GAN_32 = (64 * 768 + 16 * 768 + WIDE + 3 * 768, 3 * 768 + WIDE + 16 * 768 + 768)
R3GAN_64 = (
    64 * 768 + 16 * 768 + WIDE + 768 * 384 + HALF + 3 * 384,
    3 * 384 + HALF + 384 * 768 + WIDE + 16 * 768 + 768,
)


@pytest.mark.parametrize(("name", "side", "noise", "width", "published"), [
    ("dcgan-4x4", 64, 100, None, (3_576_704, 2_765_568)),  # printed for PyTorch's by many
    ("released", 32, 100, None, RELEASED),
    ("released-pytorch", 32, 100, None, RELEASED_PYTORCH),
    # Those of the networks in torch-mimicry 0.1.16 (Lee and Town, 2020).
    ("sngan", 32, 128, None, (4_276_739, 1_053_825)),
    ("sngan", 48, 128, None, (4_878_083, 10_141_441)),
    ("sngan", 64, 128, None, (12_220_675, 10_141_441)),
    ("sngan", 128, 128, None, (32_150_787, 29_017_857)),
    ("sagan", 32, 128, None, ATTENDED),
    # From the block and the settings for CIFAR-10 and FFHQ-64 of the released code.
    ("r3gan", 32, 64, 768, R3GAN_32),
    ("r3gan", 64, 64, 768, R3GAN_64),
    # Sums over the layers that the authors' code prints of its config for 256x256 (paper256).
    ("stylegan2", 256, 512, 512, (24_767_458, 24_001_089)),
])  # fmt: skip
def test_a_pair_has_as_many_parameters_as_its_source(
    monkeypatch, name, side, noise, width, published
):
    monkeypatch.setattr(parametrizations, "spectral_norm", lambda layer: layer)
    assert sizes(name, side, noise, width) == published


@pytest.mark.parametrize(("name", "side"), [
    (name, side) for name, (taken, _, _) in SIDES.items() for side in taken
])  # fmt: skip
def test_a_pair_fits_every_side_that_it_takes(name, side):
    generate, discriminate = pair(name, (2, side, side), noise_dimension=6, width=2)
    samples = generate(draw(2, 6))
    assert samples.shape == (2, 2, side, side)
    assert discriminate(samples).shape == (2, 1)


@pytest.mark.parametrize(("name", "shape"), [
    *[(name, (3, side, side)) for name, (_, refused, _) in SIDES.items() for side in refused],
    *[(name, shape) for name in SIDES for shape in [(2,), (3, 32, 16)]],
])  # fmt: skip
def test_other_data_are_refused_with_what_a_pair_needs(name, shape):
    other = "dcgan" if len(set(shape[1:])) == 1 else "mlp"
    with pytest.raises(UsageError) as error:
        pair(name, shape)
    assert str(error.value) == (
        f"the network {name} needs images (channels, side, side) {SIDES[name][2]}, and the data "
        f"have the shape {shape}: use networks.name = '{other}'."
    )
    pair(other, shape, width=2)  # which takes them


@pytest.mark.parametrize("name", [name for name in SIDES if name not in ("r3gan", "stylegan2")])
def test_a_published_depth_cannot_be_changed(name):
    with pytest.raises(UsageError, match=f"networks.depth is not for {name}: its depth is the pub"):
        pair(name, depth=3)


def traced(module, inputs, *kinds):
    """Maps and side that each layer of some kinds makes, in order."""
    seen = []
    for each in module.modules():
        if isinstance(each, kinds):
            each.register_forward_hook(
                lambda layer, read, made: seen.append((made.shape[1], made.shape[-1]))
            )
    module(inputs)
    return seen


@pytest.mark.parametrize(("name", "side", "rising", "falling"), [
    ("dcgan-4x4", 64, [(16, 4), (8, 8), (4, 16), (2, 32), (3, 64)],
     [(2, 32), (4, 16), (8, 8), (16, 4), (1, 1)]),
    ("dcgan-4x4", 32, [(8, 4), (4, 8), (2, 16), (3, 32)], [(2, 16), (4, 8), (8, 4), (1, 1)]),
    ("released", 32, [(4, 8), (2, 16), (3, 32)], [(2, 16), (4, 8), (8, 4)]),
    ("released-pytorch", 32, [(16, 4), (8, 8), (4, 16), (2, 32), (3, 32)],
     [(2, 32), (4, 16), (8, 8), (16, 4)]),
])  # fmt: skip
def test_maps_of_the_dcgans_are_as_many_and_as_large_as_published(name, side, rising, falling):
    generate, discriminate = pair(name, (3, side, side), width=2)
    assert traced(generate, draw(2, 8), nn.ConvTranspose2d) == rising
    assert traced(discriminate, draw(2, 3, side, side), nn.Conv2d) == falling


@pytest.mark.parametrize(("side", "rising", "falling"), [
    (28, [(4, 14), (4, 28)], [(2, 14), (2, 7), (2, 7), (2, 7)]),
    (32, [(4, 8), (4, 16), (4, 32)], [(2, 16), (2, 8), (2, 8), (2, 8)]),
    (48, [(8, 12), (4, 24), (2, 48)], [(2, 24), (4, 12), (8, 6), (16, 3), (32, 3)]),
    (64, [(16, 8), (8, 16), (4, 32), (2, 64)], [(2, 32), (4, 16), (8, 8), (16, 4), (32, 2)]),
    (128, [(32, 8), (16, 16), (8, 32), (4, 64), (2, 128)],
     [(2, 64), (4, 32), (8, 16), (16, 8), (32, 4), (32, 4)]),
])  # fmt: skip
def test_blocks_of_sngan_make_the_maps_of_its_tables(side, rising, falling):
    generate, discriminate = pair("sngan", (3, side, side), width=2)
    assert traced(generate, draw(2, 8), Residual) == rising
    assert traced(discriminate, draw(2, 3, side, side), Residual) == falling


@pytest.mark.parametrize(("side", "depth", "stages"), [
    (32, None, [(8, 4), (8, 8), (8, 16), (8, 32)]), (28, None, [(8, 7), (8, 14), (8, 28)]),
    (128, 1, [(8, 4), (8, 8), (8, 16), (8, 32), (4, 64), (2, 128)]),
])  # fmt: skip
def test_stages_of_r3gan_mirror_each_other_and_narrow_above_32x32(side, depth, stages):
    modules = pair("r3gan", (3, side, side), width=8, depth=depth)
    blocks = [each for each in stages for _ in range(depth or 2)]
    for module, inputs, expected in zip(
        modules, (draw(2, 8), draw(2, 3, side, side)), (blocks, blocks[::-1]), strict=True
    ):
        assert traced(module, inputs, Residual) == expected


def test_groups_of_r3gan_have_16_channels_wherever_they_can():
    for width, channels in ((8, 16), (24, 16), (6, 4), (1, 2)):
        for module in pair("r3gan", (1, 8, 8), width=width):
            (groups,) = {each.in_channels // each.groups for each in module.modules()
                         if isinstance(each, nn.Conv2d) and each.kernel_size == (3, 3)}  # fmt: skip
            assert groups == channels


def layers(module, *kinds):
    return [each for each in module.modules() if isinstance(each, kinds)]


@pytest.mark.parametrize(("name", "scales"), [
    ("dcgan-4x4", 0.02), ("released", 0.0), ("released-pytorch", 0.02)
])  # fmt: skip
def test_weights_of_the_dcgans_begin_as_published(name, scales):
    for module in pair(name, noise_dimension=100, width=64):
        for layer in layers(module, nn.Conv2d, nn.ConvTranspose2d, nn.Linear):
            expected = pytest.approx(0.02, rel=4 / math.sqrt(2 * layer.weight.numel()))
            assert layer.weight.std().item() == expected
            assert layer.bias is None or not layer.bias.any()
        for norm in layers(module, nn.BatchNorm2d):
            assert norm.weight.mean().item() == pytest.approx(1, abs=0.02)
            assert norm.weight.std().item() == pytest.approx(scales, rel=0.4)
            assert not norm.bias.any()


@pytest.mark.parametrize(("name", "biased", "normed", "eps"), [
    ("dcgan-4x4", (0, 0), (3, 2), 1e-5), ("released", (4, 2), (0, 2), 1e-4),
    ("released-pytorch", (5, 1), (0, 3), 1e-5),
])  # fmt: skip
def test_biases_and_batch_norms_of_the_dcgans_are_where_they_were(name, biased, normed, eps):
    for module, biases, norms in zip(pair(name, width=2), biased, normed, strict=True):
        weighted = layers(module, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
        assert sum(each.bias is not None for each in weighted) == biases
        assert [each.eps for each in layers(module, nn.BatchNorm2d)] == [eps] * norms


@pytest.mark.parametrize(("name", "rising", "falling"), [
    ("dcgan-4x4", "Unflatten " + 3 * "ConvTranspose2d BatchNorm2d ReLU " + "ConvTranspose2d Tanh",
     "Conv2d LeakyReLU " + 2 * "Conv2d BatchNorm2d LeakyReLU " + "Conv2d Flatten"),
    ("released", "Linear Unflatten ReLU " + 2 * "ConvTranspose2d ReLU " + "ConvTranspose2d Tanh",
     "Conv2d LeakyReLU " + 2 * "Conv2d BatchNorm2d LeakyReLU " + "Flatten Linear"),
    ("released-pytorch", "Unflatten " + 4 * "ConvTranspose2d ReLU " + "ConvTranspose2d Tanh",
     "Conv2d LeakyReLU " + 3 * "Conv2d BatchNorm2d LeakyReLU " + "Flatten Linear"),
])  # fmt: skip
def test_layers_of_the_dcgans_come_in_the_published_order(name, rising, falling):
    generate, discriminate = pair(name, width=2)
    assert [type(each).__name__ for each in generate] == rising.split()
    assert [type(each).__name__ for each in discriminate] == falling.split()
    assert {each.negative_slope for each in layers(discriminate, nn.LeakyReLU)} == {0.2}


def test_weights_of_sngan_begin_as_in_the_authors_code():
    for module in pair("sngan", noise_dimension=128, width=32):
        strong = {each for block in layers(module, Residual) for each in layers(block, nn.Conv2d)
                  if each.kernel_size == (3, 3)}  # fmt: skip
        for layer in layers(module, nn.Conv2d, nn.Linear):
            held = getattr(layer, "parametrizations", None)
            weight = held.weight.original if held else layer.weight
            reads = weight[0].numel() + len(weight) * weight[0, 0].numel()
            bound = math.sqrt((2 if layer in strong else 1) * 6 / reads)
            assert 0.8 * bound < weight.abs().max().item() <= bound
            assert not layer.bias.any()


def test_spectral_norm_is_on_every_layer_of_sngans_discriminator_without_being_asked_for():
    generate, discriminate = pair("sngan", width=4)
    weighted = layers(discriminate, nn.Conv2d, nn.Linear)
    assert len(weighted) == 2 * 4 + 2 + 1
    assert all(parametrize.is_parametrized(each, "weight") for each in weighted)
    assert Flat(discriminate).iterates
    assert not Flat(generate).iterates


def test_weights_of_r3gan_begin_with_fixups_deviations():
    gain = math.sqrt(2 / 1.04) * 8**-0.25  # eight blocks
    for module in pair("r3gan", noise_dimension=64, width=64):
        inner = [each for block in layers(module, Residual) for each in layers(block, nn.Conv2d)]
        zeros, scaled = inner[2::3], [*inner[::3], *inner[1::3]]
        assert len(zeros) == 8
        assert not any(each.weight.any() for each in zeros)
        for layer in layers(module, nn.Conv2d, nn.Linear, nn.ConvTranspose2d):
            reads = 1 if isinstance(layer, nn.ConvTranspose2d) else layer.weight[0].numel()
            expected = (gain if layer in scaled else 1) / math.sqrt(reads)
            error = 4 / math.sqrt(2 * layer.weight.numel())
            assert layer in zeros or layer.weight.std().item() == pytest.approx(expected, rel=error)
            assert layer.bias is None or not layer.bias.any()


def test_r3gan_begins_as_two_linear_maps():
    generate, discriminate = pair("r3gan", noise_dimension=5, width=8)
    for module, inputs in ((generate, draw(2, 5)), (discriminate, draw(2, 3, 32, 32))):
        summed = module(inputs).sum(0)
        torch.testing.assert_close(module(inputs.sum(0, keepdim=True))[0], summed)
        assert summed.abs().min() > 1e-6


def lived(name, **settings):
    """A pair in double precision whose weights are all away from zero."""
    modules = pair(name, **settings)
    with torch.no_grad(), seeded(0, 0, "lived"):
        for each in (each for module in modules for each in module.double().parameters()):
            each.add_(0.3 * torch.randn_like(each))
    return modules


def normed(x):
    """Batch norm with scale 1 and shift 0."""
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + 2e-5).sqrt()


def weighed(x, layer):
    return functional.conv2d(x, layer.weight, layer.bias, padding=layer.weight.shape[-1] // 2)


def doubled(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def meaned(x):
    return x.unflatten(3, (-1, 2)).mean(4).unflatten(2, (-1, 2)).mean(3)


def test_sngan_generates_as_the_authors_write_it():
    generate, _ = lived("sngan", shape=(2, 16, 16), noise_dimension=5, width=3)
    for each in layers(generate, nn.BatchNorm2d):
        nn.init.ones_(each.weight)
        nn.init.zeros_(each.bias)
    noise = draw(4, 5).double()
    first, *inner, last = layers(generate, nn.Linear, nn.Conv2d)
    x = (noise @ first.weight.T + first.bias).view(4, 6, 4, 4)
    for start in (0, 3):
        one, two, short = inner[start : start + 3]
        residual = weighed(normed(weighed(doubled(normed(x).relu()), one)).relu(), two)
        x = residual + weighed(doubled(x), short)
    expected = weighed(normed(x).relu(), last).tanh()
    torch.testing.assert_close(generate(noise), expected)


def test_sngan_discriminates_as_the_authors_write_it():
    _, discriminate = lived("sngan", shape=(2, 16, 16), width=3)
    discriminate.eval()  # the spectral norms stand still
    images = draw(4, 2, 16, 16).double()
    first, second, *plain = layers(discriminate, Residual)
    one, two, short = layers(first, nn.Conv2d)
    x = meaned(weighed(weighed(images, one).relu(), two)) + weighed(meaned(images), short)
    one, two, short = layers(second, nn.Conv2d)
    x = meaned(weighed(weighed(x.relu(), one).relu(), two) + weighed(x, short))
    for block in plain:
        one, two = layers(block, nn.Conv2d)
        x = x + weighed(weighed(x.relu(), one).relu(), two)
    linear = discriminate[-1]
    expected = x.relu().sum((2, 3)) @ linear.weight.T + linear.bias
    torch.testing.assert_close(discriminate(images), expected)


def bottleneck(x, one, two, three):
    """A block of r3gan on 12 maps, whose 24 in the middle are in three groups."""
    y = functional.leaky_relu(weighed(x, one), 0.2)
    groups = zip(y.chunk(3, 1), two.weight.chunk(3), strict=True)
    y = torch.cat([functional.conv2d(each, part, padding=1) for each, part in groups], 1)
    return x + weighed(functional.leaky_relu(y + two.bias.view(-1, 1, 1), 0.2), three)


def test_r3gan_computes_as_the_authors_write_it():
    generate, discriminate = lived("r3gan", shape=(2, 8, 8), noise_dimension=5, width=12, depth=1)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]).double()
    smooth = {"weight": (torch.outer(taps, taps) / 64).expand(12, 1, 4, 4), "stride": 2,
              "padding": 1, "groups": 12}  # fmt: skip
    kinds = nn.Linear, nn.Conv2d, nn.ConvTranspose2d

    noise = draw(4, 5).double()
    linear, basis, *inner, head = layers(generate, *kinds)
    x = (noise @ linear.weight.T)[:, :, None, None] * basis.weight[:, 0]
    x = 4 * functional.conv_transpose2d(bottleneck(x, *inner[:3]), **smooth)
    torch.testing.assert_close(generate(noise), weighed(bottleneck(x, *inner[3:]), head))

    images = draw(4, 2, 8, 8).double()
    head, *inner, basis, linear = layers(discriminate, *kinds)
    x = functional.conv2d(bottleneck(weighed(images, head), *inner[:3]), **smooth)
    x = (bottleneck(x, *inner[3:]) * basis.weight[:, 0]).sum((2, 3))
    torch.testing.assert_close(discriminate(images), x @ linear.weight.T)


@pytest.mark.parametrize("name", SIDES)
def test_a_generation_on_colour_images_moves_both_networks(make, name):
    settings = {"networks": {"name": name, "width": 2}, "population": {"average": 0.0}}
    world, state = make(settings, source=draw(64, 3, 32, 32).clamp(-1, 1))
    after, happened = next(evolve(state, world, 1))
    assert happened.learning["taken"] == 1.0
    assert not torch.equal(after.population[0].weights, state.population[0].weights)
    assert not torch.equal(after.environment.weights, state.environment.weights)


def test_convolutional_names_the_pair_that_takes_an_odd_side():
    with pytest.raises(UsageError, match=r"use networks\.name = 'dcgan'"):
        networks["convolutional"]((3, 31, 31), 8)
