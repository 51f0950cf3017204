"""Traits: what may be shared is found by trying the networks, and never by trust."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from egan.breeding import breed
from egan.engines import engines
from egan.games import Unconditional
from egan.networks import Flat, Tape
from egan.scene import Member, Scene
from egan.traits import find_traits


def game_of(generator=None, discriminator=None):
    torch.manual_seed(0)
    generator = generator or nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    discriminator = discriminator or nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    return Unconditional(Flat(generator), Flat(discriminator), "normal", 4)


def traits_of(shape=(2,), **networks):
    return find_traits(game_of(**networks), shape)


def test_plain_perceptrons_share_everything():
    traits = traits_of()
    assert traits.own_logits
    assert traits.generator_tape
    assert traits.discriminator_tape
    assert traits.stackable
    assert traits.repeatable


class Minibatch(nn.Module):
    """Lets samples see their batch, at a weight that starts at zero."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.share = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.linear(x) + self.share * x.std(dim=0).mean()


class Detached(nn.Module):
    """Lets samples see their batch where autograd does not look."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, x):
        return self.linear(x - x.mean(dim=0).detach())


@pytest.mark.parametrize("discriminator", [
    nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)),
    nn.Linear(2, 3),
    Minibatch(),
    Detached(),
], ids=["batch norm", "three logits", "hidden by a zero", "detached"])  # fmt: skip
def test_logits_that_are_not_the_samples_own_are_found_out(discriminator):
    assert not traits_of(discriminator=discriminator).own_logits


def test_dropout_is_found_out():
    traits = traits_of(discriminator=nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 1)))
    assert not traits.repeatable
    assert not traits.own_logits


class Twice(nn.Module):
    """Uses a layer two times."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, z):
        return self.two(self.one(self.one(z)))


class Constant(nn.Module):
    """Adds a parameter that belongs to no layer."""

    def __init__(self):
        super().__init__()
        self.linear, self.shift = nn.Linear(4, 2), nn.Parameter(torch.zeros(2))

    def forward(self, z):
        return self.linear(z) + self.shift


class Named(nn.Module):
    """Calls a layer by keyword."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, z):
        return self.linear(input=z)


def frozen():
    layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    layers[0].weight.requires_grad_(False)
    return layers


def in_place():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2), nn.Hardtanh(inplace=True))


@pytest.mark.parametrize("make", [
    Twice, Constant, Named, frozen, in_place,
    lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2)),
    lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 8)), nn.Linear(8, 2)),
    lambda: nn.Sequential(nn.Unflatten(1, (4, 1)), nn.Conv1d(4, 2, 1, padding_mode="circular"),
                          nn.Flatten()),
], ids=["twice", "bare parameter", "keyword", "frozen", "in place", "layer norm", "spectral norm",
        "circular padding"])  # fmt: skip
def test_a_generator_that_a_tape_would_get_wrong_has_none(make):
    assert not traits_of(generator=make()).generator_tape


class Flattening(nn.Sequential):
    """A Sequential with a way of its own."""

    def forward(self, x):
        return super().forward(x.flatten(1))


@pytest.mark.parametrize(("network", "module", "shape"), [
    ("generator", frozen(), (2,)),
    ("generator", in_place(), (2,)),
    ("discriminator", Flattening(nn.Linear(4, 1)), (1, 2, 2)),
    ("discriminator", nn.Sequential(nn.Linear(2, 1), nn.Flatten()), (5, 2)),
    ("discriminator", nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 1)), (2,)),
    ("discriminator", nn.Sequential(nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(6, 1)), (3, 2)),
], ids=str)  # fmt: skip
def test_a_network_of_another_kind_is_not_an_error(network, module, shape):
    game = game_of(**{network: module})
    before = getattr(game, network).state()
    find_traits(game, shape)
    torch.testing.assert_close(getattr(game, network).state(), before, rtol=0, atol=0)


def test_a_layer_used_twice_in_a_sequential_may_be_stacked():
    relu = nn.ReLU()
    layers = [nn.Linear(4, 8), relu, nn.Linear(8, 8), relu, nn.Linear(8, 2)]
    assert traits_of(generator=nn.Sequential(*layers)).stackable


def test_a_network_that_changes_its_way_is_computed_without_the_tape(make):
    """In its trial it took all its layers; now it takes one less."""

    class Fickle(nn.Module):
        short = False

        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, z):
            return self.two(z if Fickle.short else self.one(z))

    world, state = make({"networks": {"generator": Fickle}})
    assert world.plan.traits.generator_tape
    Fickle.short = True
    plan = replace(world.plan, gamma=0.0)
    scene = Scene(state.environment, None, None, 0, 0.01)
    (shared,), (slow,) = (
        breed(engines[name], [Member(state.population[0], 0, plan, scene)])
        for name in ("shared", "reference")
    )
    for one, other in zip(shared.children, slow.children, strict=True):
        torch.testing.assert_close(one.weights, other.weights)


def test_a_tape_is_of_one_pass():
    network = Flat(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    with Tape(network) as tape:
        network.module(torch.ones(5, 4))
    network.module(torch.ones(5, 4))
    assert len(tape.layers) == 2
    assert tape.complete()
