"""A small convolutional pair for square images whose side is a power of 2."""

from __future__ import annotations

import math

from torch import nn

from populations.errors import UsageError

BASE = 2  # side of the coarsest map


def convolutional(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> tuple[nn.Module, nn.Module]:
    """Small convolutional pair for images with sides 4, 8, 16, ...: nearest-neighbour up-sampling.

    Both networks work on maps of side 2, 4, ... up to the image's; the channels halve each time.

    Args:
        shape: (channels, side, side) of one image in [-1, 1]; the side is a power of 2, >= 4.
        noise: dimensions of the noise.
        width: channels of the generator's finest maps, 16 unless told; the discriminator has twice
            as many.
        depth: must be None, since the image's side decides it.

    Raises:
        UsageError: the data are not such images, or a depth is given.
    """
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] < 4 or shape[1] & (shape[1] - 1):
        raise UsageError(
            f"the network convolutional needs images (channels, side, side) with a side of 4, 8, "
            f"16, ..., and the data have the shape {shape}: use networks.name = 'mlp'."
        )
    if depth is not None:
        raise UsageError("networks.depth is not for convolutional: the image's side decides it.")
    steps = int(math.log2(shape[1] // BASE))
    return (
        _generator(shape[0], noise, width or 16, steps),
        _discriminator(shape[0], 2 * (width or 16), steps),
    )


def _generator(channels: int, noise: int, width: int, steps: int) -> nn.Sequential:
    maps = width * 2**steps
    layers: list[nn.Module] = [
        nn.Linear(noise, maps * BASE**2),
        nn.Unflatten(1, (maps, BASE, BASE)),
        nn.ReLU(),
    ]
    for _ in range(steps):
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(maps, maps // 2, 3, padding=1), nn.ReLU()]
        maps //= 2
    return nn.Sequential(*layers, nn.Conv2d(maps, channels, 3, padding=1), nn.Tanh())


def _discriminator(channels: int, width: int, steps: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs, outputs = channels, width
    for _ in range(steps):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(0.2)]
        inputs, outputs = outputs, 2 * outputs
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * BASE**2, 1))
