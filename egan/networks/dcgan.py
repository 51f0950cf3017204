"""Published DCGANs of square images, whose strided convolutions halve a side, rounding up.

The originals are TensorFlow's, whose padding puts the odd pixel at the end; PyTorch's puts it at
the beginning, in both networks, so that these are the originals for images turned by 180 degrees.
Weights begin as there: normal with deviation 0.02 (those of plain convolutions cut off at two
deviations), biases at 0.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from egan.networks.sides import check

Pair = tuple[nn.Module, nn.Module]


def dcgan(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> Pair:
    """DCGAN with 5x5 kernels and batch norm, 64 base channels each: stacked MNIST as by VEEGAN.

    Radford et al. (2016) in the code of Kim that Lin et al. (2018), PacGAN, use for the setting of
    Srivastava et al. (2017): 512, 256, 128, 64 maps in the generator and as many, rising, in the
    discriminator, whose first layer has no batch norm. The noise is uniform, 100-dimensional there.

    Args:
        shape: (channels, side, side) of one image in [-1, 1].
        noise: dimensions of the noise.
        width: base channels of both networks.
        depth: must be None.

    Raises:
        UsageError: the data are not such images, or a depth is given.
    """
    check("dcgan", shape, depth)
    base = width or 64
    maps = [base, 2 * base, 4 * base, 8 * base]
    sides = _sides(shape[1], len(maps))
    generator = nn.Sequential(
        *_rising(noise, maps[::-1], sides[:-1], 5),
        _up(base, shape[0], sides[-2], sides[-1], 5),
        nn.Tanh(),
    )
    discriminator = _falling(shape[0], maps, sides, 5, 0.2, normed=maps[1:])
    return _initialised(generator), _initialised(discriminator)


def unrolled_half(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> Pair:
    """The unrolled GAN's small networks for stacked MNIST, the discriminator half as wide.

    Metz et al. (2017), section 3.3.1, in the code of Lin et al. (2018), PacGAN: 64, 32, 16, 8 maps
    in the generator and 4, 8, 16 in the discriminator, 3x3 kernels, batch norm everywhere but at
    the ends. The noise is normal, 256-dimensional there.

    Args:
        shape: (channels, side, side) of one image in [-1, 1].
        noise: dimensions of the noise.
        width: channels of the generator's finest maps, 8 unless told.
        depth: must be None.

    Raises:
        UsageError: the data are not such images, or a depth is given.
    """
    return _unrolled("unrolled-1/2", 2, shape, noise, width or 8, depth)


def unrolled_quarter(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> Pair:
    """The unrolled GAN's small networks for stacked MNIST, the discriminator a quarter as wide.

    As `unrolled_half`, with 2, 4, 8 maps in the discriminator.
    """
    return _unrolled("unrolled-1/4", 4, shape, noise, width or 8, depth)


def _unrolled(
    name: str, share: int, shape: tuple[int, ...], noise: int, width: int, depth: int | None
) -> Pair:
    check(name, shape, depth)
    narrow = max(1, width // share)
    maps = [narrow, 2 * narrow, 4 * narrow]
    sides = _sides(shape[1], len(maps))
    generator = nn.Sequential(
        *_rising(noise, [8 * width, 4 * width, 2 * width, width], sides, 3),
        nn.Conv2d(width, shape[0], 3, padding=1),
        nn.Tanh(),
    )
    discriminator = _falling(shape[0], maps, sides, 3, 0.3, normed=maps)
    return _initialised(generator), _initialised(discriminator)


def _sides(side: int, steps: int) -> list[int]:
    """The sides of the maps, the coarsest first: (2, 4, 7, 14, 28) of 28 in four steps."""
    sides = [side]
    for _ in range(steps):
        sides.append((sides[-1] + 1) // 2)
    return sides[::-1]


def _up(inputs: int, outputs: int, small: int, large: int, kernel: int) -> nn.Module:
    """From maps of one side to those of twice the side, or one less."""
    odd = large - (2 * small - 1)
    return nn.ConvTranspose2d(inputs, outputs, kernel, 2, kernel // 2, output_padding=odd)


def _rising(noise: int, maps: list[int], sides: list[int], kernel: int) -> list[nn.Module]:
    coarsest = (maps[0], sides[0], sides[0])
    layers: list[nn.Module] = [
        nn.Linear(noise, maps[0] * sides[0] ** 2), nn.Unflatten(1, coarsest),
        nn.BatchNorm2d(maps[0]), nn.ReLU(),
    ]  # fmt: skip
    for (inputs, outputs), (small, large) in zip(pairwise(maps), pairwise(sides), strict=True):
        layers += [
            _up(inputs, outputs, small, large, kernel), nn.BatchNorm2d(outputs), nn.ReLU(),
        ]  # fmt: skip
    return layers


def _falling(
    channels: int, maps: list[int], sides: list[int], kernel: int, slope: float, normed: list[int]
) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise([channels, *maps]):
        layers.append(nn.Conv2d(inputs, outputs, kernel, 2, kernel // 2))
        layers += [nn.BatchNorm2d(outputs)] * (outputs in normed)
        layers.append(nn.LeakyReLU(slope))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(maps[-1] * sides[0] ** 2, 1))


def _initialised(module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.04, b=0.04)
        elif isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=0.02)
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            nn.init.zeros_(layer.get_parameter("bias"))
    return module
