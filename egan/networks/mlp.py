"""Multilayer perceptrons for data of any shape: each is flattened on the way in and out."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

Pair = tuple[nn.Module, nn.Module]


def mlp(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> Pair:
    """MLPs with LeakyReLU(0.2), 128 wide and 2 hidden layers deep unless told: the default.

    Args:
        shape: of one sample.
        noise: dimensions of the noise.
        width: hidden units of a layer.
        depth: hidden layers.
    """
    sizes = [width or 128] * (depth or 2)
    return (
        nn.Sequential(*_layers([noise, *sizes], _leaky), *_head(sizes[-1], shape)),
        nn.Sequential(
            nn.Flatten(), *_layers([math.prod(shape), *sizes], _leaky), nn.Linear(sizes[-1], 1)
        ),
    )


def toy(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> Pair:
    """The paper's toy pair: ReLU MLPs, 512 wide, 3 hidden layers deep.

    Wang et al. (2018) take it from Gulrajani et al. (2017).
    """
    sizes = [width or 512] * (depth or 3)
    return (
        nn.Sequential(*_layers([noise, *sizes], nn.ReLU), *_head(sizes[-1], shape)),
        nn.Sequential(
            nn.Flatten(), *_layers([math.prod(shape), *sizes], nn.ReLU), nn.Linear(sizes[-1], 1)
        ),
    )


def toy_theano(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> Pair:
    """The Theano release's toy pair: `toy` with batch norm on the discriminator's second layer."""
    generator, discriminator = toy(shape, noise, width, depth)
    layers = list(discriminator)  # type: ignore[call-overload]
    layers.insert(min(4, len(layers) - 2), nn.BatchNorm1d(width or 512))
    return generator, nn.Sequential(*layers)


def pacgan(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> Pair:
    """PacGAN's pair: batch-norm ReLU generator (4 x 400), maxout-5 discriminator (3 x 200).

    Lin et al. (2018), appendix; `width` is the generator's, the discriminator has half of it.
    """
    wide, deep = width or 400, depth or 4
    narrow = max(1, wide // 2)
    generator = [noise, *[wide] * deep]
    discriminator = [math.prod(shape), *[narrow] * max(1, deep - 1)]
    hidden = [
        layer
        for inputs, outputs in pairwise(generator)
        for layer in (nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU())
    ]
    maxouts = [Maxout(inputs, outputs, 5) for inputs, outputs in pairwise(discriminator)]
    return (
        nn.Sequential(*hidden, *_head(wide, shape)),
        nn.Sequential(nn.Flatten(), *maxouts, nn.Linear(narrow, 1)),
    )


class Maxout(nn.Module):
    """The largest of several linear maps, unit by unit (Goodfellow et al., 2013).

    Shapes: (n, inputs) to (n, outputs).
    """

    def __init__(self, inputs: int, outputs: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(inputs, outputs * pieces)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.linear(x)
        return torch.amax(maps.view(len(x), -1, self.pieces), dim=2)


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2)


def _layers(sizes: list[int], activation: type[nn.Module] | object) -> list[nn.Module]:
    assert callable(activation)
    return [
        layer
        for inputs, outputs in pairwise(sizes)
        for layer in (nn.Linear(inputs, outputs), activation())
    ]


def _head(width: int, shape: tuple[int, ...]) -> list[nn.Module]:
    linear = nn.Linear(width, math.prod(shape))
    return [linear] if len(shape) == 1 else [linear, nn.Tanh(), nn.Unflatten(1, shape)]
