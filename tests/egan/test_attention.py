"""Self-attention, and the two published pairs that have it: SAGAN and BigGAN."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

from egan.config import Config, Networks
from egan.networks import Flat, make_pair, networks
from egan.networks.attention import Attention
from egan.networks.biggan import CodedNorm
from egan.networks.conditions import Heads
from egan.networks.resnet import Residual
from egan.settings import build
from populations.errors import UsageError
from populations.randomness import generator, seeded

PAIRS = ["sagan", "biggan"]


def pair(name, shape=(3, 32, 32), **settings):
    return make_pair(Config(networks=Networks(name=name, **settings)), shape)


def told(shape=(2, 16, 16), classes=3, **networks):
    """BigGAN in a conditional game."""
    settings = {"name": "biggan", "width": 2, "noise_dimension": 7, "classes": classes,
                "conditional_norm": True, **networks}  # fmt: skip
    return make_pair(build(Config, {"game": "conditional", "networks": settings}), shape)


def draw(*shape, role="noise"):
    return torch.randn(shape, generator=generator(0, 0, role))


def layers(module, *kinds):
    return [each for each in module.modules() if isinstance(each, kinds)]


def raw(layer):
    """A layer's weight before its spectral norm."""
    return layer.parametrizations.weight.original if hasattr(layer, "parametrizations") \
        else layer.weight  # fmt: skip


def lived(*modules):
    """Modules in double precision whose weights are all away from where they began."""
    with torch.no_grad(), seeded(0, 0, "lived"):
        for each in (each for module in modules for each in module.double().parameters()):
            each.add_(0.3 * torch.randn_like(each))
    return [Flat(module) and module for module in modules]  # spectral norms stand still


# Attention.


def test_attention_begins_as_the_identity():
    maps = draw(2, 16, 6, 6)
    layer = Attention(16)
    assert torch.equal(layer(maps), maps)
    assert layer.gamma.item() == 0
    assert [tuple(each.weight.shape[:2]) for each in layers(layer, nn.Conv2d)] == [
        (2, 16), (2, 16), (8, 16), (16, 8)
    ]  # fmt: skip
    assert all(each.bias is None for each in layers(layer, nn.Conv2d))
    (slope,) = torch.autograd.grad(layer(maps).square().sum(), layer.gamma)
    assert slope.abs() > 1e-3  # so that it learns


@pytest.mark.parametrize("count", [3, 16])
def test_every_pixel_takes_from_all_others_by_the_softmax_of_products(count):
    (layer,) = lived(Attention(count))
    maps = draw(2, count, 4, 6).double()

    @torch.no_grad()
    def at(convolution, pixels):
        return pixels @ convolution.weight[:, :, 0, 0].T

    for image, found in zip(maps, layer(maps), strict=True):
        pixels = image.flatten(1).T
        largest = [
            each.T.reshape(-1, 2, 2, 3, 2).amax((2, 4)).flatten(1).T
            for each in (at(layer.g, pixels), at(layer.h, pixels))
        ]
        for place, query in enumerate(at(layer.f, pixels)):
            weights = [float((query * key).sum().exp()) for key in largest[0]]
            mixed = torch.tensor(weights).double() @ largest[1] / sum(weights)
            expected = pixels[place] + layer.gamma * (layer.v.weight[:, :, 0, 0] @ mixed)
            torch.testing.assert_close(found.flatten(1)[:, place], expected)


def test_attention_can_be_differentiated_twice():
    (layer,) = lived(Attention(8))
    maps = draw(1, 8, 2, 2).double().requires_grad_()
    assert torch.autograd.gradgradcheck(layer, maps)


@pytest.mark.parametrize(("name", "side", "maps"), [
    ("sagan", 32, [(4, 16), (2, 16)]), ("sagan", 48, [(4, 24), (2, 24)]),
    ("sagan", 64, [(4, 32), (2, 32)]), ("sagan", 128, [(4, 64), (2, 64)]),
    ("sagan", 28, [(4, 14), (2, 14)]), ("sagan", 8, [(4, 4), (2, 4)]),
    ("biggan", 32, [(8, 16), (8, 16)]), ("biggan", 64, [(8, 32), (2, 32)]),
    ("biggan", 128, [(4, 64), (2, 64)]),
])  # fmt: skip
def test_attention_is_where_maps_have_half_of_the_images_side(name, side, maps):
    seen = []
    modules = pair(name, (1, side, side), width=2)
    for module in modules:
        (layer,) = layers(module, Attention)
        layer.register_forward_hook(lambda _, read, made: seen.append(tuple(made.shape[1:3])))
    modules[1](modules[0](draw(2, 8)))
    assert seen == maps


# Sizes and first weights.


def test_sagan_has_the_81_5_million_parameters_that_brock_et_al_count(monkeypatch):
    """Their Table 1, first row: 1,000 classes in every block's norms and in a projection."""
    monkeypatch.setattr(parametrizations, "spectral_norm", lambda layer: layer)
    with torch.device("meta"):
        plain = networks["sagan"]((3, 128, 128), 128, None, None)
    scales = sum(
        2 * norm.num_features
        for block in layers(plain[0], Residual) for norm in layers(block, nn.BatchNorm2d)
    )  # fmt: skip
    counts = [sum(each.numel() for each in module.parameters()) for module in plain]
    assert [counts[0] + 999 * scales, counts[1] + 1000 * 1024] == [42_017_412, 39_448_258]


def test_biggan_has_the_parameters_of_its_source(monkeypatch):
    """As compare_gan (Google), whose test says that they are the original's, counts them."""
    monkeypatch.setattr(parametrizations, "spectral_norm", lambda layer: layer)
    with torch.device("meta"):
        plain = networks["biggan"]((3, 128, 128), 120, 96, None, classes=1000)
    counts = [sum(each.numel() for each in module.parameters()) for module in plain]
    assert [counts[0], counts[1] + 1000 * 1536] == [70_433_988, 87_982_370]


def test_weights_of_sagan_begin_uniform_after_glorot():
    for module in pair("sagan", noise_dimension=64, width=32):
        for layer in layers(module, nn.Conv2d, nn.Linear):
            weight = raw(layer)
            reads = weight[0].numel() + len(weight) * weight[0, 0].numel()
            bound = (6 / reads) ** 0.5
            assert 0.8 * bound < weight.abs().max().item() <= bound
            assert layer.bias is None or not layer.bias.any()


def test_weights_of_biggan_begin_orthogonal():
    modules = told(width=8, noise_dimension=64)
    classes = [each.embedding for each in layers(modules[1], Heads)]  # as spread as the layer
    matrices = [
        raw(each) for module in modules for each in layers(module, nn.Conv2d, nn.Linear)
        if each not in classes
    ]  # fmt: skip
    assert len(matrices) > 25
    for each in [*matrices, modules[0].embedding]:
        rows = each.detach().flatten(1)
        rows = rows if len(rows) <= rows.shape[1] else rows.T
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), rtol=0, atol=1e-5)
    for each in (each for module in modules for each in layers(module, nn.Conv2d, nn.Linear)):
        assert each.bias is None or not each.bias.any()


@pytest.mark.parametrize("name", PAIRS)
def test_all_layers_of_both_networks_have_a_spectral_norm(name):
    for module in pair(name, width=4):
        weighted = layers(module, nn.Conv2d, nn.Linear)
        assert all(parametrize.is_parametrized(each, "weight") for each in weighted)
        assert Flat(module).iterates
    assert not parametrize.is_parametrized(told()[0])  # the embedding has none


# Computing as published.


def normed(x, eps):
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


def weighed(x, layer):
    return functional.conv2d(x, layer.weight, layer.bias, padding=layer.weight.shape[-1] // 2)


def doubled(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def meaned(x):
    return functional.avg_pool2d(x, 2)


@pytest.mark.parametrize("classes", [0, 3])
def test_biggan_generates_as_its_authors_write_it(classes):
    shape = (2, 16, 16)
    generate = told(shape)[0] if classes else pair("biggan", shape, width=2, noise_dimension=7)[0]
    (generate,) = lived(generate)
    for each in layers(generate, nn.BatchNorm2d)[-1:]:
        nn.init.ones_(each.weight)
        nn.init.zeros_(each.bias)
    noise, places = draw(4, 7).double(), torch.tensor([2, 0, 1, 2])
    zs = [noise[:, :3], noise[:, 3:5], noise[:, 5:]]  # equal parts, what is left in the first
    known = [generate.embedding[places]] if classes else []
    ys = [torch.cat([*known, z], 1) for z in zs[1:]]
    first, last = generate.generator[0], layers(generate, nn.Conv2d)[-1]
    x = (zs[0] @ first.weight.T + first.bias).view(4, 8, 4, 4)
    for number, (block, y) in enumerate(zip(layers(generate, Residual), ys, strict=True)):
        one, two, short = layers(block, nn.Conv2d)
        gains = [
            [(one + y @ part.weight.T)[:, :, None, None] for one, part in parts]
            for parts in ([(1, each.scale), (0, each.shift)] for each in layers(block, CodedNorm))
        ]
        x = layers(generate, Attention)[0](x) if number == 1 else x
        h = doubled((gains[0][0] * normed(x, 1e-5) + gains[0][1]).relu())
        h = (gains[1][0] * normed(weighed(h, one), 1e-5) + gains[1][1]).relu()
        x = weighed(h, two) + weighed(doubled(x), short)
    expected = weighed(normed(x, 2e-5).relu(), last).tanh()
    asked = functional.one_hot(places, 3).double()
    found = generate(torch.cat([noise, asked], 1) if classes else noise)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", PAIRS)
def test_blocks_of_both_discriminators_are_wide_as_their_authors_write_them(name):
    _, discriminate = lived(*pair(name, (2, 64, 64), width=3))
    images = draw(2, 2, 64, 64).double()
    first, *others = layers(discriminate, Residual)
    one, two, short = layers(first, nn.Conv2d)
    x = meaned(weighed(weighed(images, one).relu(), two)) + weighed(meaned(images), short)
    x = layers(discriminate, Attention)[0](x)
    for block in others:
        one, two, *short = layers(block, nn.Conv2d)
        assert one.out_channels == two.out_channels
        h = weighed(weighed(x.relu(), one).relu(), two)
        x = h + weighed(x, short[0])
        x = meaned(x) if name == "sagan" or block is not others[-1] else x
    assert x.shape == ((2, 48, 2, 2) if name == "sagan" else (2, 48, 4, 4))
    linear = discriminate[-1]
    expected = x.relu().sum((2, 3)) @ linear.weight.T + linear.bias
    torch.testing.assert_close(discriminate(images), expected)


# What BigGAN's generator is told.


def test_each_part_of_the_noise_reaches_its_own_block_and_those_after_it():
    generate = Flat(pair("biggan", width=2, noise_dimension=9)[0]).module
    blocks = layers(generate, Residual)
    assert generate.sizes == [3, 2, 2, 2]
    before = traced(generate, blocks, draw(4, 9))
    for part, places in enumerate([range(3), range(3, 5), range(5, 7), range(7, 9)]):
        noise = draw(4, 9)
        noise[:, list(places)] += 1
        changed = [
            not torch.equal(one, two)
            for one, two in zip(before, traced(generate, blocks, noise), strict=True)
        ]
        assert changed == [number >= part - 1 for number in range(3)]


def traced(module, blocks, noise):
    made = []
    hooks = [each.register_forward_hook(lambda _, read, out: made.append(out)) for each in blocks]
    with torch.no_grad():
        module(noise)
    for each in hooks:
        each.remove()
    return made


def test_all_norms_of_the_blocks_read_one_embedding_of_the_class():
    generate, _ = told()
    assert generate.embedding.shape == (3, 128)
    norms = layers(generate, CodedNorm)
    assert [each.scale.in_features for each in norms] == [130] * 4
    assert len(layers(generate, nn.BatchNorm2d)) == 5  # that before the last layer knows no class
    noise = draw(1, 7).expand(3, 7)
    samples = generate(torch.cat([noise, torch.eye(3)], 1))
    assert (samples[0] - samples[1]).abs().max() > 1e-3
    assert all(each.told is None for each in norms)
    with torch.no_grad():
        generate.embedding.copy_(generate.embedding[:1].expand(3, -1))
    same = generate(torch.cat([noise, torch.eye(3)], 1))
    torch.testing.assert_close(same[0], same[1], rtol=0, atol=1e-6)


def test_without_conditional_norms_the_class_is_noise_like_any_other():
    generate, _ = told(conditional_norm=False)
    assert generate.embedding is None
    assert generate.sizes == [4, 3, 3]
    assert generate(torch.cat([draw(3, 7), torch.eye(3)], 1)).shape == (3, 2, 16, 16)


def test_a_generator_of_ones_own_beside_biggans_discriminator_is_told_as_ever():
    own = nn.Sequential(
        nn.Linear(7, 8), nn.BatchNorm1d(8), nn.Linear(8, 512), nn.Unflatten(1, (2, 16, 16))
    )
    generate, _ = told(generator=own)
    assert type(generate).__name__ == "WithConditionalNorms"


def test_noise_of_fewer_dimensions_than_parts_is_refused():
    with pytest.raises(UsageError) as error:
        pair("biggan", (3, 128, 128), noise_dimension=5)
    assert str(error.value) == (
        "the network biggan parts its noise into 6 for these images: networks.noise_dimension must "
        "be at least 6."
    )


def test_filters_are_the_weights_of_layers_before_their_spectral_norm():
    generate, _ = told()
    flat = Flat(generate)
    found = {id(each) for each in flat.filters()}
    assert found == {id(raw(each)) for each in layers(generate, nn.Linear, nn.Conv2d)}
    assert id(generate.embedding) not in found
    legacy = nn.utils.spectral_norm(nn.Linear(3, 1))
    plain = Flat(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), legacy))
    assert [tuple(each.shape) for each in plain.filters()] == [(3, 2), (1, 3)]
    assert len(Flat(nn.Linear(2, 3)).filters()) == 1
