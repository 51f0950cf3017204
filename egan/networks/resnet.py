"""Residual networks of square images, their discriminators under spectral norm."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

from torch import Tensor, nn

from egan.networks.discriminators import norm_spectrally
from egan.networks.sides import check, halved

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
Norm = Callable[[int], nn.Module]
# By the image's side, in multiples of the width: the maps of the generator's blocks, the coarsest
# first, and of the discriminator's: of those that halve the side, then of those that do not.
LARGE = {
    48: ((8, 4, 2, 1), (1, 2, 4, 8), (16,)),
    64: ((16, 8, 4, 2, 1), (1, 2, 4, 8, 16), ()),
    128: ((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16), (16,)),
}
SIDES = " whose side is a multiple of 4 from 8 to 32, or 48, 64 or 128"


def sngan(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> tuple[nn.Module, nn.Module]:
    """SNGAN's residual networks: batch norm in the generator, spectral norm in the discriminator.

    Miyato et al. (2018), appendix B: Table 4 for 32x32 (256 maps in all blocks of the generator,
    128 in those of the discriminator), Table 5 for 48x48, Table 6 for 128x128; 64x64 from the
    authors' code. Weights begin uniform after Glorot and Bengio (2010), with gain sqrt(2) in the
    3x3 convolutions of the blocks and 1 elsewhere, biases at 0, as in that code. The noise is
    normal, 128-dimensional there.

    Args:
        shape: (channels, side, side) of one image in [-1, 1]; the side is 48, 64 or 128, or a
            multiple of 4 from 8 to 32. Up to 32 the generator doubles maps of 4x4 to 7x7 as often
            as it takes (28 is 7 doubled twice), and the discriminator stays that of 32x32.
        noise: dimensions of the noise.
        width: maps of the discriminator's first block, 128 unless told up to 32x32, where the
            generator has twice as many; 64 unless told above, in both networks' finest blocks.
        depth: must be None.

    Raises:
        UsageError: the data are not such images, or a depth is given.
    """
    rising, falling, plain = numbers_of_maps("sngan", shape, width, depth)
    discriminator = discriminator_of(shape[0], falling, plain)
    norm_spectrally(discriminator)
    return generator_of(shape, noise, rising), discriminator


def numbers_of_maps(
    name: str, shape: tuple[int, ...], width: int | None, depth: int | None
) -> tuple[list[int], list[int], list[int]]:
    """Maps of SNGAN's blocks, the parts of `LARGE` times the width; see `sngan`.

    Raises:
        UsageError: a network of that name does not fit the data, or a depth is given.
    """
    check(name, shape, depth, SIDES, _fits)
    side = shape[1]
    small = ((2,) * (halved(side, 4)[1] + 1), (1, 1), (1, 1))
    width = width or (64 if side in LARGE else 128)
    rising, falling, plain = ([width * each for each in part] for part in LARGE.get(side, small))
    return rising, falling, plain


class Residual(nn.Module):
    """The sum of two ways through a block (He et al., 2016)."""

    def __init__(self, residual: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.residual, self.shortcut = residual, shortcut

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the shape that both ways give."""
        summed: Tensor = self.residual(maps) + self.shortcut(maps)
        return summed


class SumPool(nn.Module):
    """The sum over all pixels, (n, c, h, w) to (n, c)."""

    def forward(self, maps: Tensor) -> Tensor:
        """A number for each map."""
        return maps.sum((2, 3))


def _fits(side: int) -> bool:
    return side in LARGE or (8 <= side <= 32 and side % 4 == 0)


def batch_norm(maps: int) -> nn.BatchNorm2d:
    """A batch norm as SNGAN has it."""
    return nn.BatchNorm2d(maps, eps=2e-5)


def generator_of(
    shape: tuple[int, ...], noise: int, maps: Sequence[int], norms: Sequence[Norm] = ()
) -> nn.Sequential:
    """A generator of residual blocks, each of which doubles the side.

    Args:
        shape: of one image.
        noise: dimensions of what it reads.
        maps: before the first block and after each.
        norms: of each block, which make one for so many maps, two in a block; none: batch norms.
    """
    norms = norms or [batch_norm] * (len(maps) - 1)
    base = shape[1] // 2 ** (len(maps) - 1)
    return nn.Sequential(
        _glorot(nn.Linear(noise, maps[0] * base**2)),
        nn.Unflatten(1, (maps[0], base, base)),
        *[_up(*numbers, norm) for numbers, norm in zip(pairwise(maps), norms, strict=True)],
        batch_norm(maps[-1]),
        nn.ReLU(),
        _glorot(nn.Conv2d(maps[-1], shape[0], 3, padding=1)),
        nn.Tanh(),
    )


def discriminator_of(
    channels: int, falling: Sequence[int], plain: Sequence[int], wide: bool = False
) -> nn.Sequential:
    """A discriminator of residual blocks, and the sum of their last maps.

    Args:
        channels: of the images.
        falling: maps of the blocks that halve the side.
        plain: maps of the others, which come after them.
        wide: whether a block has as many maps in its middle as at its end; else as at its start.
    """
    last = [falling[-1], *plain]
    return nn.Sequential(
        _first(channels, falling[0]),
        *[_down(inputs, outputs, wide) for inputs, outputs in pairwise(falling)],
        *[_plain(inputs, outputs, wide) for inputs, outputs in pairwise(last)],
        nn.ReLU(),
        SumPool(),
        _glorot(nn.Linear(last[-1], 1)),
    )


# Shortcuts resample where it is cheapest: 1x1 convolutions commute with it.


def _up(inputs: int, outputs: int, norm: Norm) -> Residual:
    residual = nn.Sequential(
        norm(inputs), nn.ReLU(), nn.Upsample(scale_factor=2), _kernel(inputs, outputs),
        norm(outputs), nn.ReLU(), _kernel(outputs, outputs),
    )  # fmt: skip
    return Residual(
        residual, nn.Sequential(_pointwise(inputs, outputs), nn.Upsample(scale_factor=2))
    )


def _first(inputs: int, outputs: int) -> Residual:
    """The block that reads the image, which no ReLU may clip."""
    residual = nn.Sequential(
        _kernel(inputs, outputs), nn.ReLU(), _kernel(outputs, outputs), nn.AvgPool2d(2)
    )
    return Residual(residual, nn.Sequential(nn.AvgPool2d(2), _pointwise(inputs, outputs)))


def _down(inputs: int, outputs: int, wide: bool) -> Residual:
    residual = nn.Sequential(*_twice(inputs, outputs, wide), nn.AvgPool2d(2))
    return Residual(residual, nn.Sequential(nn.AvgPool2d(2), _pointwise(inputs, outputs)))


def _plain(inputs: int, outputs: int, wide: bool) -> Residual:
    residual = nn.Sequential(*_twice(inputs, outputs, wide))
    return Residual(residual, nn.Identity() if inputs == outputs else _pointwise(inputs, outputs))


def _twice(inputs: int, outputs: int, wide: bool) -> list[nn.Module]:
    middle = outputs if wide else inputs
    return [nn.ReLU(), _kernel(inputs, middle), nn.ReLU(), _kernel(middle, outputs)]


def _kernel(inputs: int, outputs: int) -> nn.Conv2d:
    return _glorot(nn.Conv2d(inputs, outputs, 3, padding=1), math.sqrt(2))


def _pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    return _glorot(nn.Conv2d(inputs, outputs, 1))


def _glorot(layer: Layer, gain: float = 1.0) -> Layer:
    nn.init.xavier_uniform_(layer.weight, gain)
    nn.init.zeros_(layer.get_parameter("bias"))
    return layer
