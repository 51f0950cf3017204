"""Networks fit the data, have the sizes of their sources, and compute in one flat vector."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from egan.config import Config, Environment, Networks
from egan.games import Unconditional
from egan.networks import Flat, make_pair, networks
from egan.networks.mlp import Maxout
from populations.errors import UsageError
from populations.randomness import generator, seeded

SHAPES = [(2,), (64,), (1, 8, 8), (3, 32, 32)]
POINTS_TOO = {"mlp", "toy", "toy-theano", "pacgan"}
NORMED = {"sagan", "biggan"}  # whose generator has spectral norms of its own
UNBOUNDED = {"r3gan", "stylegan2"}  # whose generators end without tanh, as published
SPECTRAL = {"parametrized": parametrizations.spectral_norm, "legacy": nn.utils.spectral_norm}


def pair(name="mlp", shape=(2,), seed=0, index=0, **settings):
    return make_pair(Config(seed=seed, networks=Networks(name=name, **settings)), shape, index)


def noise(count, size, role="noise"):
    return torch.randn(count, size, generator=generator(0, 0, role))


def weights_of(module):
    return torch.cat([each.detach().reshape(-1) for each in module.parameters()])


def sizes(module):
    """Inputs and outputs of every linear layer."""
    layers = [each for each in module.modules() if isinstance(each, nn.Linear)]
    return [(each.in_features, each.out_features) for each in layers]


def kinds(module):
    return [type(each).__name__ for each in module]


def small(width=16):
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))


@pytest.mark.parametrize("name", networks)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_pair_maps_noise_to_data_and_data_to_one_logit_each(name, shape):
    if len(shape) == 1 and name not in POINTS_TOO:
        with pytest.raises(UsageError, match=f"the network {name} needs images"):
            pair(name, shape)
        return
    generate, discriminate = pair(name, shape, noise_dimension=5, width=12)
    samples = generate(noise(6, 5))
    assert samples.shape == (6, *shape)
    assert discriminate(samples).shape == (6, 1)
    assert samples.std() > 0
    if len(shape) == 3 and name not in UNBOUNDED:
        assert samples.abs().max() <= 1


@pytest.mark.parametrize("name", networks)
def test_every_parameter_of_a_pair_takes_part(name):
    shape = (1, 8, 8)
    generate, discriminate = pair(name, shape, width=12)
    flat = Flat(generate), Flat(discriminate)
    logits = flat[1].module(flat[0].module(noise(32, 8)))
    for each in flat:
        gradient = each.gradient(logits.square().sum(), keep=True)
        assert gradient.shape == each.vector.shape
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).any()


@pytest.mark.parametrize(
    ("shape", "other"),
    [((2,), "mlp"), ((1, 8, 4), "mlp"), ((1, 7, 7), "dcgan"), ((1, 2, 2), "dcgan")],
)
def test_convolutions_refuse_what_they_cannot_halve_and_name_what_can(shape, other):
    with pytest.raises(UsageError) as error:
        pair("convolutional", shape)
    assert str(error.value) == (
        "the network convolutional needs images (channels, side, side) with an even side of at "
        f"least 4, and the data have the shape {shape}: use networks.name = {other!r}."
    )
    assert pair(other, shape)


def test_convolutions_refuse_a_depth_since_the_image_decides_it():
    with pytest.raises(UsageError, match=r"networks\.depth is not for convolutional"):
        pair("convolutional", (1, 8, 8), depth=2)


@pytest.mark.parametrize(("side", "base"), [(4, 2), (8, 2), (32, 2), (6, 3), (28, 7)])
def test_convolutions_halve_an_image_down_to_a_side_of_two_or_an_odd_one(side, base):
    generate, discriminate = pair("convolutional", (3, side, side), width=6)
    steps = int(math.log2(side // base))
    convolutions = [each for each in discriminate if isinstance(each, nn.Conv2d)]
    channels = [12 * 2**step for step in range(steps)]
    assert [each.out_channels for each in convolutions] == channels
    assert sizes(discriminate) == [(channels[-1] * base**2, 1)]
    assert generate[-2].in_channels == 6
    assert generate(noise(2, 8)).shape == (2, 3, side, side)


# Layer by layer, weights and biases of the released networks for 28x28 images in three channels;
# batch norm has a scale and a shift for each map.
DCGAN = (
    [(100 * 2048, 2048), (512, 512), (25 * 512 * 256, 256), (256, 256), (25 * 256 * 128, 128),
     (128, 128), (25 * 128 * 64, 64), (64, 64), (25 * 64 * 3, 3)],
    [(25 * 3 * 64, 64), (25 * 64 * 128, 128), (128, 128), (25 * 128 * 256, 256), (256, 256),
     (25 * 256 * 512, 512), (512, 512), (2048, 1)],
    (4_514_819, 4_310_401),
)  # fmt: skip
SMALL_GENERATOR = [
    (256 * 1024, 1024), (64, 64), (9 * 64 * 32, 32), (32, 32), (9 * 32 * 16, 16), (16, 16),
    (9 * 16 * 8, 8), (8, 8), (9 * 8 * 3, 3),
]  # fmt: skip
QUARTER = (
    SMALL_GENERATOR,
    [(9 * 3 * 2, 2), (2, 2), (9 * 2 * 4, 4), (4, 4), (9 * 4 * 8, 8), (8, 8), (128, 1)],
    (287_875, 585),
)
HALF = (
    SMALL_GENERATOR,
    [(9 * 3 * 4, 4), (4, 4), (9 * 4 * 8, 8), (8, 8), (9 * 8 * 16, 16), (16, 16), (256, 1)],
    (287_875, 1_889),
)


@pytest.mark.parametrize(
    ("name", "noise_dimension", "published"),
    [("dcgan", 100, DCGAN), ("unrolled-1/4", 256, QUARTER), ("unrolled-1/2", 256, HALF)],
)
def test_the_published_pairs_have_the_parameters_of_their_sources(name, noise_dimension, published):
    *layers, counts = published
    modules = pair(name, (3, 28, 28), noise_dimension=noise_dimension)
    for module, expected, count in zip(modules, layers, counts, strict=True):
        found = [each.numel() for each in module.parameters()]
        assert found == [number for layer in expected for number in layer]
        assert sum(found) == count
    assert discriminator_of_packs(name).in_channels == 12


def discriminator_of_packs(name):
    """The first layer of a discriminator that sees four samples side by side."""
    config = Config(networks=Networks(name=name), environment=Environment(packing=4, batch=8))
    _, module = make_pair(config, (3, 28, 28))
    return next(each for each in module.modules() if isinstance(each, nn.Conv2d))


@pytest.mark.parametrize(
    ("name", "sides"),
    [("dcgan", [2, 4, 7, 14, 28]), ("unrolled-1/4", [4, 7, 14, 28]),
     ("unrolled-1/2", [4, 7, 14, 28])],
)  # fmt: skip
def test_the_maps_of_the_published_pairs_have_the_sides_of_their_sources(name, sides):
    seen = {"rising": [], "falling": []}
    generate, discriminate = pair(name, (3, 28, 28), width=4)
    for module, where in ((generate, "rising"), (discriminate, "falling")):
        for each in module:
            if isinstance(each, nn.Conv2d | nn.ConvTranspose2d) and each.stride == (2, 2):
                each.register_forward_hook(
                    lambda layer, read, made, where=where: seen[where].append(made.shape[-1])
                )
    discriminate(generate(noise(2, 8)))
    assert seen == {"rising": sides[1:], "falling": sides[-2::-1]}


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", [28, 14, 7, 4])
def test_strided_convolutions_pad_as_tensorflow_does_turned_by_180_degrees(kernel, side):
    # TensorFlow's SAME: the output has ceil(side / 2), and of an odd total of padding the end has
    # one pixel more.
    total = 2 * (math.ceil(side / 2) - 1) + kernel - side
    images, weight = noise(2, 3 * side * side), noise(4, 3 * kernel * kernel, "weight")
    images, weight = images.view(2, 3, side, side), weight.view(4, 3, kernel, kernel)
    one, two = total // 2, total - total // 2
    theirs = torch.conv2d(nn.functional.pad(images, (one, two, one, two)), weight, stride=2)
    turned = torch.conv2d(
        images.rot90(2, (2, 3)), weight.rot90(2, (2, 3)), stride=2, padding=kernel // 2
    )
    torch.testing.assert_close(turned.rot90(2, (2, 3)), theirs)


@pytest.mark.parametrize("name", ["dcgan", "unrolled-1/2", "unrolled-1/4"])
def test_the_published_pairs_begin_with_the_weights_of_their_sources(name):
    for module in pair(name, (3, 28, 28)):
        for layer in module:
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                assert not layer.bias.any()
                cut = isinstance(layer, nn.Conv2d)  # a normal cut off at 2 deviations has 0.88
                assert not cut or layer.weight.abs().max().item() <= 0.04
                if layer.weight.numel() > 1000:
                    expected = 0.02 * (0.8796 if cut else 1)
                    assert layer.weight.std().item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", ["dcgan", "unrolled-1/2", "unrolled-1/4"])
def test_the_published_pairs_refuse_a_depth(name):
    with pytest.raises(UsageError, match=f"networks.depth is not for {name}: its depth is the pub"):
        pair(name, (3, 28, 28), depth=3)


def test_toy_has_the_papers_sizes():
    generate, discriminate = pair("toy", noise_dimension=2)
    hidden = [(512, 512), (512, 512)]
    assert sizes(generate) == [(2, 512), *hidden, (512, 2)]
    assert sizes(discriminate) == [(2, 512), *hidden, (512, 1)]
    assert kinds(generate) == ["Linear", "ReLU"] * 3 + ["Linear"]
    assert kinds(discriminate) == ["Flatten"] + ["Linear", "ReLU"] * 3 + ["Linear"]


def test_toy_theano_normalises_the_discriminators_second_layer():
    generate, discriminate = pair("toy-theano", noise_dimension=2)
    assert sizes(generate) == sizes(pair("toy", noise_dimension=2)[0])
    assert kinds(discriminate) == [
        "Flatten",
        *["Linear", "ReLU"],
        *["Linear", "BatchNorm1d", "ReLU"],
        *["Linear", "ReLU"],
        "Linear",
    ]
    assert "BatchNorm1d" not in kinds(generate)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_toy_theano_works_at_any_depth(depth):
    generate, discriminate = pair("toy-theano", width=6, depth=depth)
    assert kinds(discriminate).count("BatchNorm1d") == 1
    assert discriminate(generate(noise(4, 8))).shape == (4, 1)


def test_pacgan_has_its_sizes():
    generate, discriminate = pair("pacgan", noise_dimension=2)
    assert sizes(generate) == [(2, 400), *[(400, 400)] * 3, (400, 2)]
    assert kinds(generate) == ["Linear", "BatchNorm1d", "ReLU"] * 4 + ["Linear"]
    assert kinds(discriminate) == ["Flatten", "Maxout", "Maxout", "Maxout", "Linear"]
    assert sizes(discriminate) == [(2, 1000), (200, 1000), (200, 1000), (200, 1)]
    assert {each.pieces for each in discriminate if isinstance(each, Maxout)} == {5}
    biased = [each.bias is not None for each in generate if isinstance(each, nn.Linear)]
    assert biased == [False] * 4 + [True]
    assert {each.momentum for each in generate if isinstance(each, nn.BatchNorm1d)} == {0.05}


def test_the_default_pair_has_two_hidden_layers_of_128():
    generate, discriminate = pair()
    assert sizes(generate) == [(8, 128), (128, 128), (128, 2)]
    assert sizes(discriminate) == [(2, 128), (128, 128), (128, 1)]
    assert kinds(generate) == ["Linear", "ReLU"] * 2 + ["Linear"]
    assert kinds(discriminate) == ["Flatten"] + ["Linear", "ReLU"] * 2 + ["Linear"]


@pytest.mark.parametrize("name", ["mlp", "toy", "toy-theano"])
def test_width_and_depth_are_those_asked_for(name):
    generate, discriminate = pair(name, width=7, depth=4)
    assert sizes(generate) == [(8, 7), (7, 7), (7, 7), (7, 7), (7, 2)]
    assert sizes(discriminate) == [(2, 7), (7, 7), (7, 7), (7, 7), (7, 1)]


def test_maxout_is_the_largest_of_its_pieces():
    layer = Maxout(3, 2, 4)
    points = noise(5, 3)
    weight, bias = layer.linear.weight.tolist(), layer.linear.bias.tolist()
    for point, found in zip(points.tolist(), layer(points).tolist(), strict=True):
        maps = [
            math.fsum(w * x for w, x in zip(row, point, strict=True)) + shift
            for row, shift in zip(weight, bias, strict=True)
        ]
        slow = [max(maps[unit * 4 : unit * 4 + 4]) for unit in range(2)]
        assert found == pytest.approx(slow, abs=1e-6)


@pytest.mark.parametrize("name", networks)
def test_a_pair_is_a_function_of_seed_and_index(name):
    def both(seed, index):
        modules = pair(name, (1, 8, 8), seed, index, width=8)
        return torch.cat([weights_of(each) for each in modules])

    first = both(1, 2)
    assert torch.equal(first, both(1, 2))
    assert not torch.equal(first, both(2, 2))
    assert not torch.equal(first, both(1, 3))


@pytest.mark.parametrize("name", networks)
def test_making_a_pair_leaves_the_global_generators_alone(name):
    before = torch.get_rng_state()
    pair(name, (1, 8, 8), width=8)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", networks)
def test_without_views_a_pair_is_what_its_function_makes(name):
    shape = (1, 8, 8)
    with seeded(3, 0, "initial weights", 2):
        expected = networks[name](shape, 8, 6, None)
    for one, other in zip(pair(name, shape, 3, 2, width=6), expected, strict=True):
        left, right = one.state_dict(), other.state_dict()
        assert list(left) == list(right)
        assert all(torch.equal(left[key], right[key]) for key in left)


def shown(shape, packing, **settings):
    """A pair whose discriminator is shown packs."""
    environment = Environment(packing=packing)
    return make_pair(Config(networks=Networks(**settings), environment=environment), shape)


@pytest.mark.parametrize("name", networks)
def test_a_packed_pair_makes_samples_and_judges_packs(name):
    shape = (3, 8, 8)
    generate, discriminate = shown(shape, 4, name=name, width=6)
    plain, single = pair(name, shape, width=6)
    assert torch.equal(weights_of(generate), weights_of(plain))
    samples = generate(noise(8, 8))
    assert samples.shape == (8, *shape)
    assert discriminate(samples).shape == (2, 1)
    first, narrow = (
        next(each for each in module.parameters() if each.dim() > 1)
        for module in (discriminate, single)
    )
    assert first[0].numel() == 4 * narrow[0].numel()


def test_points_are_packed_coordinate_by_coordinate():
    assert sizes(shown((2,), 4)[1]) == [(8, 128), (128, 128), (128, 1)]


@pytest.mark.parametrize("name", networks)
def test_a_spectral_norm_is_on_every_layer_of_the_discriminator_and_on_no_other(name):
    modules = pair(name, (1, 8, 8), width=6, spectral_norm=True)
    for module, normed in zip(modules, (name in NORMED, True), strict=True):
        layers = [each for each in module.modules() if hasattr(each, "weight")]
        weighted = [each for each in layers if isinstance(each, nn.Linear | nn.Conv2d)]
        assert weighted or not normed
        for each in layers:
            expected = normed and each in weighted
            assert parametrize.is_parametrized(each, "weight") == expected


@pytest.mark.parametrize("kind", ["parametrized", "legacy"])
def test_layers_that_have_a_spectral_norm_keep_it_alone(kind):
    def critic():
        return nn.Sequential(SPECTRAL[kind](nn.Linear(2, 5)), nn.ReLU(), nn.Linear(5, 1))

    module = pair(discriminator=critic, spectral_norm=True)[1]
    names = [name for name, _ in module.named_buffers()]
    assert len([name for name in names if name.startswith("0.")]) == 2
    assert len([name for name in names if name.startswith("2.")]) == 2


def test_an_initial_deviation_is_that_of_the_weights_under_a_spectral_norm():
    module = pair("toy", width=200, initial_deviation=0.02, spectral_norm=True)[1]
    raw = module[3].parametrizations.weight.original
    assert raw.std().item() == pytest.approx(0.02, rel=0.05)


def test_discriminators_begin_with_weights_of_their_own_by_their_own_keys():
    two, three = (pair(discriminators=count, seed=1)[1] for count in (2, 3))
    assert [len(two), len(three)] == [2, 3]
    assert torch.equal(weights_of(three[0]), weights_of(pair(seed=1)[1]))
    assert torch.equal(weights_of(three[1]), weights_of(two[1]))
    for one, other in itertools.combinations(three, 2):
        assert not torch.equal(weights_of(one), weights_of(other))
    assert not torch.equal(weights_of(three[1]), weights_of(pair(discriminators=2, seed=2)[1][1]))


def test_an_initial_deviation_and_a_spectral_norm_are_every_discriminators():
    settings = {"width": 90, "initial_deviation": 0.1, "spectral_norm": True}
    for each in pair("toy", discriminators=3, **settings)[1]:
        assert each[3].parametrizations.weight.original.std().item() == pytest.approx(0.1, rel=0.1)


def test_ones_own_discriminators_are_a_copy_reset_or_made_anew():
    own = small_critic()
    made = pair(discriminator=own, discriminators=3)[1]
    assert torch.equal(weights_of(made[0]), weights_of(own))
    for first, second in ([own, made[1]], [made[1], made[2]], pair(
        discriminator=small_critic, discriminators=2)[1]):  # fmt: skip
        assert not torch.equal(first[0].weight, second[0].weight)


def small_critic():
    return nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1))


@pytest.mark.parametrize("again", [True, False])
def test_discriminators_that_would_stay_equal_are_refused(again):
    one = nn.Linear(2, 1)
    own = (lambda: one) if again else parametrizations.spectral_norm(one)  # which nothing resets
    with pytest.raises(UsageError, match="the discriminator's copies have equal weights"):
        pair(discriminator=own, discriminators=2)


def test_an_initial_deviation_spreads_weights_and_clears_biases():
    for module in pair("toy-theano", width=200, initial_deviation=0.02):
        for name, each in module.named_parameters():
            if each.dim() > 1:
                assert each.std().item() == pytest.approx(0.02, rel=0.2)
                assert abs(each.mean().item()) < 0.005
            elif name.endswith("bias"):
                assert not each.any()
    batch_norm = pair("toy-theano", width=9, initial_deviation=0.02)[1][4]
    assert batch_norm.weight.tolist() == [1.0] * 9


def test_without_an_initial_deviation_biases_are_pytorchs():
    assert pair()[0][0].bias.any()


def test_ones_own_networks_take_the_pairs_place_one_by_one():
    own = nn.Sequential(nn.Linear(8, 2))
    generate, discriminate = pair(generator=own)
    assert sizes(generate) == [(8, 2)]
    assert sizes(discriminate) == sizes(pair()[1])
    generate, discriminate = pair(discriminator=lambda: nn.Linear(2, 1))
    assert sizes(generate) == sizes(pair()[0])
    assert sizes(discriminate) == [(2, 1)]


def test_ones_own_module_is_copied_and_stays_as_it_is():
    own = nn.Linear(8, 2)
    before = weights_of(own)
    generate, _ = pair(generator=own, initial_deviation=0.5)
    Flat(generate).vector.zero_()
    assert torch.equal(weights_of(own), before)


def test_a_function_may_give_the_same_module_at_every_call():
    own = nn.Linear(8, 2)
    first, second = (Flat(pair(generator=lambda: own)[0]) for _ in range(2))
    first.vector.zero_()
    assert not weights_of(first.module).any()
    assert torch.equal(weights_of(second.module), weights_of(own))


def test_a_function_that_builds_ones_own_network_is_seeded_by_index():
    def build():
        return nn.Linear(8, 2)

    first, again, other = (pair(generator=build, index=index)[0] for index in (0, 0, 1))
    assert torch.equal(weights_of(first), weights_of(again))
    assert not torch.equal(weights_of(first), weights_of(other))


@pytest.mark.parametrize("settings", [
    {"discriminators": 2}, {"spectral_norm": True}, {"initial_deviation": 0.1},
], ids=str)  # fmt: skip
def test_lazy_layers_are_refused_whatever_is_to_be_done_with_them(settings):
    with pytest.raises(UsageError, match="the network LazyLinear has lazy layers: give sizes"):
        pair(discriminator=lambda: nn.LazyLinear(1), **settings)


def test_what_makes_no_module_is_refused():
    with pytest.raises(UsageError, match=r"makes 5: it must be a torch\.nn\.Module\."):
        pair(generator=lambda: 5)
    with pytest.raises(UsageError, match="unknown network 'mpl': did you mean 'mlp'"):
        pair("mpl")


def test_parameters_are_views_of_the_vector():
    module = small()
    before = weights_of(module)
    flat = Flat(module)
    assert torch.equal(flat.vector, before)
    flat.vector.copy_(torch.arange(len(flat.vector)))
    assert torch.equal(weights_of(module), torch.arange(len(flat.vector)).float())
    storage = flat.vector.untyped_storage().data_ptr()
    assert {each.untyped_storage().data_ptr() for each in module.parameters()} == {storage}
    with torch.no_grad():
        module[2].bias[1] = -7.0
    assert flat.vector[-1] == -7.0


def test_a_flat_network_computes_what_the_network_did():
    module, points = small(), noise(4, 3)
    before = module(points)
    assert torch.equal(Flat(module).module(points), before)


def test_weights_and_buffers_make_a_round_trip():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    flat = Flat(module)
    module(noise(9, 3))
    weights, buffers = flat.state()
    output = module.eval()(noise(5, 3, "test"))
    module.train()(noise(9, 3, "others") * 5)
    flat.vector.normal_()
    assert not torch.allclose(module.eval()(noise(5, 3, "test")), output)
    flat.load(weights, buffers)
    assert torch.equal(module.eval()(noise(5, 3, "test")), output)
    assert set(buffers) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_a_state_is_a_copy_and_so_is_what_is_loaded():
    flat = Flat(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    weights, buffers = flat.state()
    kept = weights.clone(), buffers["1.running_mean"].clone()
    flat.load(weights, buffers)
    flat.vector.add_(1)
    flat.module(noise(9, 3))
    assert torch.equal(weights, kept[0])
    assert torch.equal(buffers["1.running_mean"], kept[1])


def test_networks_without_buffers_have_none_to_copy():
    assert Flat(small()).state()[1] == {}


def test_the_gradient_is_autograds_parameter_by_parameter():
    module, points = small(), noise(7, 3)
    output = module(points).square().mean()
    slow = torch.autograd.grad(output, list(module.parameters()), retain_graph=True)
    flat = Flat(module)
    found = flat.gradient(flat.module(points).square().mean())
    assert torch.equal(found, torch.cat([each.reshape(-1) for each in slow]))
    assert all(each.grad is None for each in module.parameters())


def test_a_cotangent_weighs_the_entries_of_the_output():
    flat, points = Flat(small()), noise(7, 3)
    cotangent = noise(7, 2, "cotangent")
    found = flat.gradient(flat.module(points), cotangent)
    slow = flat.gradient((flat.module(points) * cotangent).sum())
    torch.testing.assert_close(found, slow)


def test_the_graph_is_kept_where_it_is_asked_for_only():
    flat = Flat(small())
    output = flat.module(noise(7, 3)).sum()
    first = flat.gradient(output, keep=True)
    assert torch.equal(flat.gradient(output), first)
    with pytest.raises(RuntimeError, match="second time"):
        flat.gradient(output)


def test_parameters_that_are_not_used_have_a_gradient_of_zero():
    module = nn.ModuleDict({"unused": nn.Linear(2, 2), "used": nn.Linear(3, 1)})
    flat = Flat(module)
    gradient = flat.gradient(module["used"](torch.ones(1, 3)).sum())
    assert gradient.tolist() == [0.0] * 6 + [1.0] * 4


def test_frozen_parameters_are_no_part_of_the_vector():
    module = small()
    module[0].weight.requires_grad_(False)
    before = module[0].weight.clone()
    flat = Flat(module)
    flat.vector.zero_()
    assert len(flat.vector) == 16 + 16 * 2 + 2
    assert torch.equal(module[0].weight, before)


def test_shared_parameters_are_counted_once():
    layer = nn.Linear(3, 3)
    assert len(Flat(nn.Sequential(layer, nn.Tanh(), layer)).vector) == 12


def test_a_network_without_parameters_cannot_be_trained():
    with pytest.raises(UsageError, match="the network Tanh has no parameters to train"):
        Flat(nn.Tanh())


def test_parameters_of_several_types_are_refused():
    with pytest.raises(UsageError, match="the parameters of Sequential are of several types"):
        Flat(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double()))


def spectral(kind, **options):
    """A flat network with two spectral norms, freshly off their fixed points."""
    norm = SPECTRAL[kind]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        module = nn.Sequential(
            norm(nn.Linear(6, 9), **options), nn.Tanh(), norm(nn.Linear(9, 4), **options)
        )
        flat = Flat(module)
        flat.vector.normal_()
    return flat


def weight_of(flat):
    """The first layer's weight as the network uses it."""
    flat.module(torch.zeros(1, 6))
    return flat.module[0].weight.detach()


@pytest.mark.parametrize("kind", SPECTRAL)
def test_forward_passes_do_not_move_spectral_norms(kind):
    flat = spectral(kind)
    before = flat.buffers()
    first = flat.module(noise(3, 6))
    assert torch.equal(flat.module(noise(3, 6)), first)
    flat.gradient(flat.module(noise(3, 6)).sum())
    after = flat.buffers()
    assert flat.iterates
    assert before
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("kind", SPECTRAL)
def test_iterating_moves_every_spectral_norm_and_then_it_stands_again(kind):
    flat = spectral(kind)
    before = flat.buffers()
    flat.iterate()
    after = flat.buffers()
    assert len(before) == 4  # two vectors for each of two layers
    assert not any(torch.equal(after[name], before[name]) for name in before)
    flat.module(noise(3, 6))
    assert all(torch.equal(flat.buffers()[name], after[name]) for name in after)


@pytest.mark.parametrize("kind", SPECTRAL)
def test_iterating_leads_to_a_largest_singular_value_of_one(kind):
    flat = spectral(kind)
    weights = flat.vector.clone()
    far = abs(torch.linalg.matrix_norm(weight_of(flat), 2).item() - 1)
    for _ in range(200):
        flat.iterate()
    assert far > 0.01
    assert torch.linalg.matrix_norm(weight_of(flat), 2).item() == pytest.approx(1, abs=1e-3)
    assert torch.equal(flat.vector, weights)


def first_layer(flat, raw):
    """The raw weight and the two vectors of the first layer's spectral norm."""
    own = {name: each for name, each in flat.buffers().items() if name.startswith("0.")}
    u, v = (next(own[name] for name in own if name.endswith(end)) for end in ("_u", "_v"))
    return flat.module.get_parameter(raw).detach(), u, v


def unit(vector):
    return vector / vector.norm()


def test_iterating_takes_one_power_iteration_at_a_time():
    # PyTorch's two kinds take the two halves of an iteration in opposite orders.
    legacy = spectral("legacy")
    weight, u, _ = first_layer(legacy, "0.weight_orig")
    legacy.iterate()
    _, new_u, new_v = first_layer(legacy, "0.weight_orig")
    torch.testing.assert_close(new_v, unit(weight.T @ u))
    torch.testing.assert_close(new_u, unit(weight @ new_v))

    newer = spectral("parametrized")
    weight, _, v = first_layer(newer, "0.parametrizations.weight.original")
    newer.iterate()
    _, new_u, new_v = first_layer(newer, "0.parametrizations.weight.original")
    torch.testing.assert_close(new_u, unit(weight @ v))
    torch.testing.assert_close(new_v, unit(weight.T @ new_u))


@pytest.mark.parametrize("kind", SPECTRAL)
def test_spectral_norms_make_a_round_trip_through_a_state(kind):
    flat = spectral(kind)
    weights, buffers = flat.state()
    first = flat.module(noise(3, 6))
    flat.iterate()
    flat.vector.normal_()
    flat.load(weights, buffers)
    assert torch.equal(flat.module(noise(3, 6)), first)


@pytest.mark.parametrize("kind", SPECTRAL)
def test_the_gradient_goes_through_a_spectral_norm(kind):
    flat, points, step = spectral(kind), noise(5, 6).double(), 1e-6
    flat = Flat(flat.module.double())
    gradient = flat.gradient(flat.module(points).square().sum())
    for place in (0, 10, len(flat.vector) - 1):
        values = []
        for shift in (step, -2 * step):
            flat.vector[place] += shift
            values.append(flat.module(points).square().sum().item())
        flat.vector[place] += step
        slope = (values[0] - values[1]) / (2 * step)
        assert gradient[place].item() == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_freezing_spectral_norms_leaves_the_rest_in_training():
    module = nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(3, 8)), nn.BatchNorm1d(8), nn.Dropout(0.5)
    )
    flat = Flat(module.eval())
    flat.iterate()
    assert module[1].training
    assert module[2].training
    flat.module(noise(9, 3))
    assert module[1].num_batches_tracked == 1


def test_a_network_without_spectral_norms_has_nothing_to_iterate():
    flat = Flat(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    before = flat.state()
    flat.iterate()
    assert not flat.iterates
    assert torch.equal(flat.vector, before[0])
    assert torch.equal(flat.buffers()["1.running_mean"], before[1]["1.running_mean"])


class Backwards(nn.Module):
    """A discriminator whose last layer is made first, with a weight of its own besides."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(5, 1), nn.Linear(2, 5)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.head(self.body(self.scale * x).relu())


@pytest.mark.parametrize("normed", [False, True])
def test_features_are_what_the_last_layer_reads_whatever_the_order_of_making(normed):
    module = Backwards()
    if normed:
        nn.utils.parametrizations.spectral_norm(module.head)
    game = Unconditional(Flat(nn.Linear(3, 2)), Flat(module), "normal", 3)
    x = torch.randn(4, 2)
    torch.testing.assert_close(game.features(x), module.body(x).relu())


@pytest.mark.parametrize("module", [nn.Linear(2, 1), nn.Sequential(nn.Flatten(), nn.Linear(2, 1))])
def test_a_discriminator_of_one_layer_has_no_features(module):
    game = Unconditional(Flat(nn.Linear(3, 2)), Flat(module), "normal", 3)
    with pytest.raises(UsageError, match="one layer only, and so no features to match"):
        game.features(torch.randn(4, 2))
