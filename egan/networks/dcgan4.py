"""DCGANs with 4x4 kernels, which halve and double a side exactly, down to maps of 4x4.

Weights begin normal with deviation 0.02, biases at 0.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from egan.networks.sides import check, halved

Pair = tuple[nn.Module, nn.Module]


def dcgan_4x4(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> Pair:
    """DCGAN with 4x4 kernels and batch norm, no biases: that of PyTorch's tutorial.

    Radford et al. (2016), their 64x64 networks half as wide, in the code of PyTorch's example
    `dcgan`: 512, 256, 128, 64 maps from 4x4 on, and as many, rising, in the discriminator, which
    ends in a logit here. Scales of batch norm begin normal around 1 with deviation 0.02. The noise
    is normal, 100-dimensional there.

    Args:
        shape: (channels, side, side) of one image in [-1, 1]; the side is 8, 16, 32, 64, 128, ...
        noise: dimensions of the noise.
        width: maps of the finest layer, 64 unless told; they double each time the side halves.
        depth: must be None.

    Raises:
        UsageError: the data are not such images, or a depth is given.
    """
    maps = _maps("dcgan-4x4", shape, width or 64, depth)
    generator = nn.Sequential(
        nn.Unflatten(1, (noise, 1, 1)),
        *_up(nn.ConvTranspose2d(noise, maps[-1], 4, bias=False), True),
        *_rising(maps, True),
        nn.ConvTranspose2d(maps[0], shape[0], 4, 2, 1, bias=False),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(shape[0], maps[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2), *_falling(maps),
        nn.Conv2d(maps[-1], 1, 4, bias=False), nn.Flatten(),
    )  # fmt: skip
    return _initialised(generator, 0.02), _initialised(discriminator, 0.02)


def released(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> Pair:
    """E-GAN's own pair for CIFAR-10, in the authors' Theano code: no batch norm in the generator.

    Wang et al. (2018), their `build_generator_32` and `build_discriminator_32`: 512, 256, 128 maps
    in the generator, 128, 256, 512 in the discriminator, batch norm on its last two. The noise is
    uniform, 100-dimensional there. For sides other than 32 the numbers of maps follow the same
    rule; the authors' networks for 64x64 and 128x128 are others.

    Args:
        shape: (channels, side, side) of one image in [-1, 1]; the side is 8, 16, 32, 64, 128, ...
        noise: dimensions of the noise.
        width: maps of the finest layer, 128 unless told; they double each time the side halves.
        depth: must be None.

    Raises:
        UsageError: the data are not such images, or a depth is given.
    """
    maps = _maps("released", shape, width or 128, depth)
    generator = nn.Sequential(
        nn.Linear(noise, maps[-1] * 16), nn.Unflatten(1, (maps[-1], 4, 4)), nn.ReLU(),
        *_rising(maps, False), nn.ConvTranspose2d(maps[0], shape[0], 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(shape[0], maps[0], 4, 2, 1), nn.LeakyReLU(0.2), *_falling(maps, 1e-4),
        nn.Flatten(), nn.Linear(maps[-1] * 16, 1),
    )  # fmt: skip
    return _initialised(generator), _initialised(discriminator)


def released_pytorch(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> Pair:
    """E-GAN's pair for CIFAR-10 in the authors' PyTorch script: a 3x3 layer more in each network.

    Their `DCGAN_cifar10` with `--ngf 128 --ndf 128 --g_norm none --d_norm batch`. Where `released`
    halves the image at once, a 3x3 convolution keeps its side here, so that the maps are 1024, 512,
    256, 128, and as many, rising, in the discriminator, with batch norm on its last three. Scales
    of batch norm begin normal around 1 with deviation 0.02. The noise is uniform, 100-dimensional.

    Args:
        shape: (channels, side, side) of one image in [-1, 1]; the side is 8, 16, 32, 64, 128, ...
        noise: dimensions of the noise.
        width: maps of the finest layer, 128 unless told; they double each time the side halves.
        depth: must be None.

    Raises:
        UsageError: the data are not such images, or a depth is given.
    """
    maps = _maps("released-pytorch", shape, width or 128, depth, more=1)
    generator = nn.Sequential(
        nn.Unflatten(1, (noise, 1, 1)), *_up(nn.ConvTranspose2d(noise, maps[-1], 4), False),
        *_rising(maps, False), nn.ConvTranspose2d(maps[0], shape[0], 3, padding=1), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(shape[0], maps[0], 3, padding=1, bias=False), nn.LeakyReLU(0.2), *_falling(maps),
        nn.Flatten(), nn.Linear(maps[-1] * 16, 1),
    )  # fmt: skip
    return _initialised(generator), _initialised(discriminator, 0.02)


def _maps(
    name: str, shape: tuple[int, ...], width: int, depth: int | None, more: int = 0
) -> list[int]:
    """Numbers of maps, the finest layer's first: one for each halving of the side, and `more`."""
    check(name, shape, depth, " whose side is a power of two, 8 or more", _fits)
    return [width * 2**step for step in range(halved(shape[1], 4)[1] + more)]


def _fits(side: int) -> bool:
    return side >= 8 and halved(side, 4)[0] == 4


def _rising(maps: list[int], normed: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(maps[::-1]):
        layers += _up(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=not normed), normed)
    return layers


def _up(layer: nn.ConvTranspose2d, normed: bool) -> list[nn.Module]:
    return [layer, *[nn.BatchNorm2d(layer.out_channels)] * normed, nn.ReLU()]


def _falling(maps: list[int], eps: float = 1e-5) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(maps):
        layers.append(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False))
        layers += [nn.BatchNorm2d(outputs, eps), nn.LeakyReLU(0.2)]
    return layers


def _initialised(module: nn.Module, scales: float = 0.0) -> nn.Module:
    """The module with new weights; `scales` is the deviation of batch norm's scales around 1."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, scales)
    return module
