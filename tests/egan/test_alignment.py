"""Hidden units are aligned: copies in another order are put back, and functions stay."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm

from egan.config import Config, Networks
from egan.networks import Flat, make_pair, networks
from egan.networks.alignment import align, refuses, wiring
from egan.networks.mlp import Maxout
from populations.errors import UsageError

NOISE = 8
WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
NOT_PLAIN = ("sngan", "sagan", "biggan", "r3gan", "stylegan2")
SEQUENTIAL = [name for name in networks if name not in NOT_PLAIN]


def registered(name):
    return lambda: make_pair(Config(networks=Networks(name=name, width=6)), (1, 8, 8))[0]


def transposed():
    return nn.Sequential(
        nn.Linear(NOISE, 5 * 4, bias=False), nn.BatchNorm1d(20), nn.Unflatten(1, (5, 2, 2)),
        nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(5, 4, 4, 2, 1), nn.BatchNorm2d(4)),
        nn.LeakyReLU(), nn.Conv2d(4, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(48, 2),
    )  # fmt: skip


def maxout():
    return nn.Sequential(Maxout(NOISE, 6, 3), nn.Dropout(0.0), Maxout(6, 5, 2), nn.Linear(5, 2))


GENERATORS = {**{name: registered(name) for name in SEQUENTIAL}, "transposed": transposed,
              "maxout": maxout}  # fmt: skip


def regrouped():
    """Six maps become four: only halves of them can move."""
    return nn.Sequential(
        nn.Linear(NOISE, 24), nn.Unflatten(1, (6, 2, 2)), nn.Conv2d(6, 6, 1), nn.ReLU(),
        nn.Flatten(), nn.Unflatten(1, (4, 3, 2)), nn.Conv2d(4, 2, 1),
    )  # fmt: skip


def lived(make, seed, deviation=0.3):
    """A network with weights and statistics of its own."""
    torch.manual_seed(seed)
    module = make().double()
    with torch.no_grad():
        for each in module.parameters():
            each.add_(deviation * torch.randn_like(each))
    for _ in range(3):
        module(torch.randn(16, NOISE, dtype=torch.float64))
    return module


def state(module):
    return Flat(copy.deepcopy(module)).state()


def answers(module, weights, buffers):
    """What a network makes of the same noise, in training and in evaluation mode."""
    flat = Flat(copy.deepcopy(module))
    noise = torch.linspace(-2, 2, 16 * NOISE, dtype=torch.float64).sin().view(16, NOISE)
    with torch.no_grad():
        flat.load(weights, buffers)
        trained = flat.module(noise)
        flat.load(weights, buffers)
        return trained, flat.module.eval()(noise)


def leaves(module):
    """Layers in order, with how many entries of what they make belong to one unit."""
    for each in module:
        if isinstance(each, nn.Sequential):
            yield from leaves(each)
        elif isinstance(each, Maxout):
            yield each.linear, each.pieces
        else:
            yield each, 1


def hidden(module):
    """Each hidden layer: itself, its units, those between it and the next layer, the next layer."""
    layers = list(leaves(module))
    places = [place for place, (each, _) in enumerate(layers) if isinstance(each, WEIGHTED)]
    for place, following in itertools.pairwise(places):
        own, pieces = layers[place]
        between = [each for each, _ in layers[place + 1 : following]]
        units = (own.out_features if isinstance(own, nn.Linear) else own.out_channels) // pieces
        for each in between:
            if isinstance(each, nn.Unflatten):
                units = each.unflattened_size[0]
        yield own, units, between, layers[following][0]


def take(tensor, dimension, order):
    block = tensor.shape[dimension] // len(order)
    index = (order[:, None] * block + torch.arange(block)).flatten()
    tensor.data.copy_(tensor.data.index_select(dimension, index))


def reorder(layer, order):
    """Give a hidden layer's units another order, and let those who read them follow."""
    own, _, between, following = layer
    take(own.weight, 1 if isinstance(own, nn.ConvTranspose2d) else 0, order)
    if own.bias is not None:
        take(own.bias, 0, order)
    for each in between:
        if isinstance(each, NORMS):
            for part in (each.weight, each.bias, each.running_mean, each.running_var):
                take(part, 0, order)
    take(following.weight, 0 if isinstance(following, nn.ConvTranspose2d) else 1, order)


def shuffled(module):
    """The same function with the units of every hidden layer in another order."""
    other = copy.deepcopy(module)
    for layer in hidden(other):
        order = torch.randperm(layer[1])
        while torch.equal(order, torch.arange(layer[1])):
            order = torch.randperm(layer[1])
        reorder(layer, order)
    return other


@pytest.mark.parametrize("name", GENERATORS)
def test_a_copy_in_another_order_is_put_back(name):
    module = lived(GENERATORS[name], 1)
    other = shuffled(module)
    torch.testing.assert_close(answers(other, *state(other)), answers(module, *state(module)))
    assert not torch.allclose(state(other)[0], state(module)[0])
    torch.testing.assert_close(
        align(Flat(module), state(module), state(other)), state(module), rtol=0, atol=0
    )


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_a_copy_is_put_back_at_the_pairs_own_width(name):
    module = make_pair(Config(networks=Networks(name=name)), (1, 8, 8))[0]
    found = align(Flat(module), state(module), state(shuffled(module)))
    torch.testing.assert_close(found, state(module), rtol=0, atol=0)


def test_a_copy_is_put_back_where_hidden_layers_outweigh_what_they_read():
    module = lived(lambda: make_pair(Config(networks=Networks(width=16, depth=3)), (2,))[0], 1)
    with torch.no_grad():
        module[2].weight.mul_(30)
        module[4].weight.mul_(30)
    found = align(Flat(module), state(module), state(shuffled(module)))
    assert torch.equal(found[0], state(module)[0])


@pytest.mark.parametrize("name", [*GENERATORS, "regrouped"])
def test_another_network_comes_closer_and_computes_what_it_did(name):
    make = GENERATORS.get(name, regrouped)
    one, other = lived(make, 1), lived(make, 2)
    found = align(Flat(one), state(one), state(other))
    torch.testing.assert_close(answers(other, *found), answers(other, *state(other)))
    fixed = state(one)[0]
    assert (found[0] - fixed).norm() < (state(other)[0] - fixed).norm() - 1e-3


@pytest.mark.parametrize("name", GENERATORS)
def test_siblings_stay_as_they_are(name):
    module = lived(GENERATORS[name], 1)
    weights, buffers = state(module)
    torch.manual_seed(3)
    sibling = weights + 1e-3 * torch.randn_like(weights)
    found, _ = align(Flat(module), (weights, buffers), (sibling, buffers))
    assert torch.equal(found, sibling)


def distances(module, fixed, layer):
    """How far a network is from weights, for each order of a hidden layer's units."""
    for order in itertools.permutations(range(layer[1])):
        other = copy.deepcopy(module)
        same = next(each for each, known in zip(hidden(other), hidden(module), strict=True)
                    if known[0] is layer[0])  # fmt: skip
        reorder(same, torch.tensor(order))
        yield (nn.utils.parameters_to_vector(other.parameters()) - fixed).norm().item()


def shallow():
    return nn.Sequential(nn.Linear(NOISE, 5), nn.ReLU(), nn.Linear(5, 2))


def test_one_hidden_layer_is_in_the_best_of_all_orders():
    one, other = lived(shallow, 1), lived(shallow, 2)
    fixed = state(one)[0]
    (layer,) = hidden(other)
    every = sorted(distances(other, fixed, layer))
    found = align(Flat(one), state(one), state(other))[0]
    assert (found - fixed).norm().item() == pytest.approx(every[0], rel=1e-12)
    assert every[0] < 0.999 * every[1]


def deep():
    return nn.Sequential(
        nn.Linear(NOISE, 4 * 4), nn.Unflatten(1, (4, 2, 2)), nn.BatchNorm2d(4), nn.ReLU(),
        nn.ConvTranspose2d(4, 4, 2), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(27, 2),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_no_layers_order_can_be_bettered_while_the_others_stay(seed):
    one, other = lived(deep, seed), lived(deep, seed + 10)
    fixed = state(one)[0]
    flat = Flat(other)
    flat.load(*align(Flat(one), state(one), state(other)))
    reached = (flat.vector - fixed).norm().item()
    for layer in hidden(flat.module):
        assert reached <= min(distances(flat.module, fixed, layer)) + 1e-12


def test_networks_without_a_best_order_are_aligned_too():
    module = shallow()
    flat = Flat(module)
    for value in (0.0, 0.5, -1e-30):
        same = torch.full_like(flat.vector, value)
        assert torch.equal(align(flat, (same, {}), (same, {}))[0], same)


def test_a_state_is_given_in_memory_of_its_own():
    one, other = lived(transposed, 1), lived(transposed, 2)
    given = [state(one), state(other)]
    before = copy.deepcopy(given)
    network = Flat(one)
    weights, buffers = align(network, *given)
    torch.testing.assert_close(given, before, rtol=0, atol=0)
    assert torch.equal(network.vector, state(one)[0])
    theirs = [each for vector, named in given for each in (vector, *named.values())]
    every = [weights, *buffers.values(), *theirs]
    assert len({each.untyped_storage().data_ptr() for each in every}) == len(every)


def test_units_that_become_one_map_move_together():
    assert wiring(Flat(registered("convolutional")())).units == [1, 24, 12, 6, 1]
    assert wiring(Flat(regrouped())).units == [1, 6, 2, 1]


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(NOISE, 2)

    def forward(self, x):
        return self.linear(x)


def frozen():
    module = shallow()
    module[0].bias.requires_grad_(False)
    return module


def shared(tied):
    layer, other = nn.Linear(NOISE, NOISE), nn.Linear(NOISE, NOISE)
    other.weight = layer.weight
    return nn.Sequential(layer, nn.ReLU(), other if tied else layer, nn.Linear(NOISE, 2))


def hooked():
    return nn.Sequential(spectral_norm(nn.Linear(NOISE, 4)), nn.Linear(4, 2))


def maps(*layers):
    return nn.Sequential(nn.Linear(NOISE, 16), nn.Unflatten(1, (4, 2, 2)), *layers)


@pytest.mark.parametrize(("module", "found"), [
    (Own(), "Own"),
    (nn.Sequential(nn.Linear(NOISE, 4), nn.LayerNorm(4), nn.Linear(4, 2)), "LayerNorm"),
    (nn.Sequential(parametrizations.spectral_norm(nn.Linear(NOISE, 4))), "ParametrizedLinear"),
    (hooked(), "hooks"),
    (frozen(), "frozen or shared parameters"),
    (shared(tied=True), "frozen or shared parameters"),
    (shared(tied=False), "frozen or shared parameters"),
    (maps(nn.Conv2d(4, 4, 1, groups=2)), "convolutions in groups"),
    (registered("sngan")(), "Residual"),
    (registered("r3gan")(), "convolutions in groups"),
    (registered("stylegan2")(), "StyleGenerator"),
    (maps(nn.Linear(2, 3), nn.Flatten(), nn.Linear(24, 2)), "Linear on maps"),
    (maps(nn.Flatten(2), nn.Flatten(), nn.Linear(16, 2)), "Flatten of some dimensions"),
    (maps(nn.Unflatten(1, (2, 2))), "Unflatten of a map"),
])  # fmt: skip
def test_other_networks_are_refused_with_what_they_have(module, found):
    network = Flat(module)
    expected = (
        "units are aligned in a Sequential of plain layers (Linear, Maxout, Conv2d, "
        "ConvTranspose2d, BatchNorm1d, BatchNorm2d, Flatten, Unflatten, Upsample, Dropout and "
        f"elementwise ones), and this network has {found}"
    )
    assert refuses(network) == expected
    with pytest.raises(UsageError) as error:
        align(network, network.state(), network.state())
    assert str(error.value) == f"{expected}."
