"""The networks that the cost benchmarks measure."""

from __future__ import annotations

from torch import nn


def convolutional32(channels: int, norm: bool) -> tuple[nn.Module, nn.Module]:
    """The 32x32 pair of the released PyTorch code (DCGAN; 100 dimensions of noise).

    Args:
        channels: of the generator's finest and the discriminator's first maps.
        norm: whether the discriminator has batch norm; the generator has none, as released.
    """
    up: list[nn.Module] = [nn.Unflatten(1, (100, 1, 1))]
    up += [nn.ConvTranspose2d(100, 8 * channels, 4), nn.ReLU()]
    for wide in (8, 4, 2):
        up += [nn.ConvTranspose2d(wide * channels, wide * channels // 2, 4, 2, 1), nn.ReLU()]
    up += [nn.ConvTranspose2d(channels, 3, 3, 1, 1), nn.Tanh()]
    down: list[nn.Module] = [nn.Conv2d(3, channels, 3, 1, 1), nn.LeakyReLU(0.2)]
    for wide in (1, 2, 4):
        down.append(nn.Conv2d(wide * channels, 2 * wide * channels, 4, 2, 1, bias=not norm))
        down += [nn.BatchNorm2d(2 * wide * channels)] if norm else []
        down.append(nn.LeakyReLU(0.2))
    down += [nn.Flatten(), nn.Linear(8 * channels * 16, 1)]
    return nn.Sequential(*up), nn.Sequential(*down)
