"""A small convolutional pair for images whose sides are multiples of 4."""

from __future__ import annotations

from torch import nn

from populations.errors import UsageError


def convolutional(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> tuple[nn.Module, nn.Module]:
    """Two strided convolutions down, two transposed ones up, 32 base channels unless told.

    Args:
        shape: (channels, height, width) of one image in [-1, 1]; the sides are multiples of 4.
        noise: dimensions of the noise.
        width: base channels.
        depth: not used; the number of layers is fixed.

    Raises:
        UsageError: the data are not such images.
    """
    if len(shape) != 3 or shape[1] % 4 or shape[2] % 4:
        raise UsageError(
            f"the network convolutional needs images (channels, height, width) whose sides are "
            f"multiples of 4, and the data have the shape {shape}: use networks.name = 'mlp'."
        )
    base, (channels, height, breadth) = width or 32, shape
    low = (2 * base, height // 4, breadth // 4)
    units = low[0] * low[1] * low[2]
    generator = nn.Sequential(
        nn.Linear(noise, units),
        nn.LeakyReLU(0.2),
        nn.Unflatten(1, low),
        nn.ConvTranspose2d(2 * base, base, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(base, channels, 4, 2, 1),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(channels, base, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(base, 2 * base, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(units, 1),
    )
    return generator, discriminator
