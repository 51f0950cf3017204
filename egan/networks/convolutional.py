"""A small convolutional pair for square images with an even side."""

from __future__ import annotations

from torch import nn

from egan.networks.sides import check, halved
from populations.errors import UsageError


def convolutional(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> tuple[nn.Module, nn.Module]:
    """Small convolutional pair for images with an even side: nearest-neighbour up-sampling.

    Both networks work on maps whose side doubles from 2, or the image's largest odd factor, up to
    the image's; the channels halve each time.

    Args:
        shape: (channels, side, side) of one image in [-1, 1]; the side is even, >= 4.
        noise: dimensions of the noise.
        width: channels of the generator's finest maps, 16 unless told; the discriminator has twice
            as many.
        depth: must be None, since the image's side decides it.

    Raises:
        UsageError: the data are not such images, or a depth is given.
    """
    check("convolutional", shape, None, " with an even side of at least 4", _halves)
    if depth is not None:
        raise UsageError("networks.depth is not for convolutional: the image's side decides it.")
    base, steps = halved(shape[1], 2)
    return (
        _generator(shape[0], noise, width or 16, base, steps),
        _discriminator(shape[0], 2 * (width or 16), base, steps),
    )


def _halves(side: int) -> bool:
    return side >= 4 and side % 2 == 0


def _generator(channels: int, noise: int, width: int, base: int, steps: int) -> nn.Sequential:
    maps = width * 2**steps
    layers: list[nn.Module] = [
        nn.Linear(noise, maps * base**2),
        nn.Unflatten(1, (maps, base, base)),
        nn.ReLU(),
    ]
    for _ in range(steps):
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(maps, maps // 2, 3, padding=1), nn.ReLU()]
        maps //= 2
    return nn.Sequential(*layers, nn.Conv2d(maps, channels, 3, padding=1), nn.Tanh())


def _discriminator(channels: int, width: int, base: int, steps: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs, outputs = channels, width
    for _ in range(steps):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(0.2)]
        inputs, outputs = outputs, 2 * outputs
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * base**2, 1))
