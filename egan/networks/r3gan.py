"""R3GAN: residual networks without any norm, one the other's mirror image."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

from torch import nn

from egan.networks.resampling import double, halve
from egan.networks.resnet import Residual
from egan.networks.sides import check, halved, narrowed

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
Stage = Callable[[int], list[Residual]]
SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))
GROUP = 16  # channels of a group


def r3gan(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> tuple[nn.Module, nn.Module]:
    """R3GAN: grouped residual blocks without norms, zero at the beginning, resampled smoothly.

    Huang et al. (2024), section 4, config E, as in the released code, unconditional: blocks of 1x1,
    3x3 in groups of 16, and 1x1 convolutions, the middle ones twice as wide; bilinear resampling
    ([1, 3, 3, 1], padded with zeros) between stages; learned maps, 4x4, that the noise mixes and
    that the discriminator ends with. Of the L blocks of a network the last convolution begins at 0,
    the others normal with deviation sqrt(2 / 1.04) L^(-1/4) / sqrt(inputs) (Fixup: Zhang et al.,
    2019). The noise is normal, 64-dimensional there. As there the generator ends without tanh.

    Args:
        shape: (channels, side, side) of one image in [-1, 1]; the side is 4, 5, 6 or 7 doubled
            once or more (28 is 7 doubled twice), which is the side of the learned maps.
        noise: dimensions of the noise.
        width: maps of a stage up to 32x32, 128 unless told, 768 in the paper's networks for
            CIFAR-10; half as many for 64x64, as in those for FFHQ, a quarter for 128x128.
        depth: blocks of each stage, 2 unless told.

    Raises:
        UsageError: the data are not such images.
    """
    check("r3gan", shape, None, " whose side is 4, 5, 6 or 7 doubled once or more", _fits)
    base, steps = halved(shape[1], 4)
    maps = [narrowed(width or 128, base * 2**step) for step in range(steps + 1)]
    blocks = depth or 2
    gain = GAIN * (blocks * len(maps)) ** -0.25

    def stage(maps: int) -> list[Residual]:
        return [_block(maps, gain) for _ in range(blocks)]

    return (
        _generator(shape[0], noise, base, maps, stage),
        _discriminator(shape[0], base, maps[::-1], stage),
    )


def _fits(side: int) -> bool:
    return side >= 8 and halved(side, 4)[0] < 8


def _generator(
    channels: int, noise: int, base: int, maps: list[int], stage: Stage
) -> nn.Sequential:
    basis = nn.ConvTranspose2d(maps[0], maps[0], base, groups=maps[0], bias=False)
    nn.init.normal_(basis.weight)
    layers: list[nn.Module] = [
        _scaled(nn.Linear(noise, maps[0], bias=False)), nn.Unflatten(1, (maps[0], 1, 1)), basis,
        *stage(maps[0]),
    ]  # fmt: skip
    for inputs, outputs in pairwise(maps):
        layers += [*_between(inputs, outputs), double(), *stage(outputs)]
    return nn.Sequential(*layers, _pointwise(maps[-1], channels))


def _discriminator(channels: int, base: int, maps: list[int], stage: Stage) -> nn.Sequential:
    layers: list[nn.Module] = [_pointwise(channels, maps[0]), *stage(maps[0])]
    for inputs, outputs in pairwise(maps):
        layers += [halve(), *_between(inputs, outputs), *stage(outputs)]
    basis = nn.Conv2d(maps[-1], maps[-1], base, groups=maps[-1], bias=False)
    return nn.Sequential(
        *layers, _scaled(basis), nn.Flatten(), _scaled(nn.Linear(maps[-1], 1, bias=False))
    )


def _block(maps: int, gain: float) -> Residual:
    wide = 2 * maps
    grouped = nn.Conv2d(wide, wide, 3, padding=1, groups=wide // math.gcd(GROUP, wide))
    residual = nn.Sequential(
        _scaled(nn.Conv2d(maps, wide, 1), gain), nn.LeakyReLU(SLOPE), _scaled(grouped, gain),
        nn.LeakyReLU(SLOPE), _scaled(nn.Conv2d(wide, maps, 1, bias=False), 0.0),
    )  # fmt: skip
    return Residual(residual, nn.Identity())


def _between(inputs: int, outputs: int) -> list[nn.Module]:
    return [] if inputs == outputs else [_pointwise(inputs, outputs)]


def _pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    return _scaled(nn.Conv2d(inputs, outputs, 1, bias=False))


def _scaled(layer: Layer, gain: float = 1.0) -> Layer:
    """The layer with new weights, normal with deviation gain / sqrt(inputs), and biases at 0."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
