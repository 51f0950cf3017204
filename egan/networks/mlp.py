"""Multilayer perceptrons for data of any shape: each is flattened on the way in and out."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

Pair = tuple[nn.Sequential, nn.Sequential]


def mlp(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> Pair:
    """MLPs with ReLU, 128 wide and 2 hidden layers deep unless told: the default.

    Args:
        shape: of one sample.
        noise: dimensions of the noise.
        width: hidden units of a layer.
        depth: hidden layers.
    """
    generator, discriminator = _relu_pair(shape, noise, [width or 128] * (depth or 2))
    with torch.no_grad():
        # Wider first biases spread the first layer's kinks over the data; grids need that.
        discriminator.get_parameter("1.bias").mul_(2)
    return generator, discriminator


def toy(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> Pair:
    """The paper's toy pair: ReLU MLPs, 512 wide, 3 hidden layers deep.

    Wang et al. (2018) take it from Gulrajani et al. (2017).
    """
    return _relu_pair(shape, noise, [width or 512] * (depth or 3))


def toy_theano(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> Pair:
    """The Theano release's toy pair: `toy` with batch norm on the discriminator's second layer."""
    generator, discriminator = toy(shape, noise, width, depth)
    second = min(4, len(discriminator) - 2)
    discriminator.insert(second, nn.BatchNorm1d(width or 512))
    return generator, discriminator


def pacgan(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> Pair:
    """PacGAN's pair: batch-norm ReLU generator (4 x 400), maxout-5 discriminator (3 x 200).

    Lin et al. (2018), appendix; `width` is the generator's, the discriminator has half of it. Batch
    norm is as in their code: no biases before it, its running statistics decay by 0.95.
    """
    wide, deep = width or 400, depth or 4
    narrow = max(1, wide // 2)
    generator = [noise, *[wide] * deep]
    discriminator = [math.prod(shape), *[narrow] * max(1, deep - 1)]
    hidden = [
        layer
        for inputs, outputs in pairwise(generator)
        for layer in (
            nn.Linear(inputs, outputs, bias=False),
            nn.BatchNorm1d(outputs, eps=1e-4, momentum=0.05),
            nn.ReLU(),
        )
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
        """Each unit's largest map."""
        maps: Tensor = self.linear(x)
        return torch.amax(maps.view(len(x), -1, self.pieces), dim=2)


def _relu_pair(
    shape: tuple[int, ...], noise: int, sizes: list[int]
) -> tuple[nn.Sequential, nn.Sequential]:
    return (
        nn.Sequential(*_layers([noise, *sizes]), *_head(sizes[-1], shape)),
        nn.Sequential(nn.Flatten(), *_layers([math.prod(shape), *sizes]), nn.Linear(sizes[-1], 1)),
    )


def _layers(sizes: list[int]) -> list[nn.Module]:
    return [
        layer
        for inputs, outputs in pairwise(sizes)
        for layer in (nn.Linear(inputs, outputs), nn.ReLU())
    ]


def _head(width: int, shape: tuple[int, ...]) -> list[nn.Module]:
    linear = nn.Linear(width, math.prod(shape))
    return [linear] if len(shape) == 1 else [linear, nn.Tanh(), nn.Unflatten(1, shape)]
