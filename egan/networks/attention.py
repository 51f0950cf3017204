"""Self-attention, by which every pixel of a map reads all others, and SAGAN."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from egan.networks.discriminators import norm_spectrally
from egan.networks.resnet import discriminator_of, generator_of, numbers_of_maps


class Attention(nn.Module):
    """Maps, and beside them what each pixel finds at others, which begins at 0.

    Zhang et al. (2019), Eqs. 1 to 3, as in the authors' code: f and g have an eighth of the maps, h
    has half of them (the paper: an eighth), g and h are halved on either side by max pooling, and
    1x1 convolutions without biases lead to them and back. Maps that are fewer than eight still have
    one of each.

    Attributes:
        gamma: weight of what is found, gamma in Eq. 3.
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        few, half = max(1, maps // 8), max(1, maps // 2)
        self.f, self.g = _pointwise(maps, few), _pointwise(maps, few)
        self.h, self.v = _pointwise(maps, half), _pointwise(half, maps)
        self.pool = nn.MaxPool2d(2)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same shape, (n, c, h, w), with h and w >= 2."""
        asked, offered, held = (
            each.flatten(2)
            for each in (self.f(maps), self.pool(self.g(maps)), self.pool(self.h(maps)))
        )
        # Not PyTorch's fused attention, which cannot be differentiated twice.
        shares = torch.softmax(asked.transpose(1, 2) @ offered, dim=2)
        found = held @ shares.transpose(1, 2)
        return maps + self.gamma * self.v(found.unflatten(2, maps.shape[2:]))


def _pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def sagan(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> tuple[nn.Module, nn.Module]:
    """SAGAN: SNGAN's residual networks with self-attention, and spectral norm in both.

    Zhang et al. (2019), section 4, in the authors' code: the maps of SNGAN's tables, in blocks
    whose middle is as wide as their end; attention on maps of half the image's side (64x64 for
    128x128, which gave the scores that the paper reports). Weights begin uniform after Glorot and
    Bengio (2010), biases at 0. The noise is normal, 128-dimensional there.

    Args:
        shape: (channels, side, side) of one image in [-1, 1]; sides as of `sngan`.
        noise: dimensions of the noise.
        width: as of `sngan`.
        depth: must be None.

    Raises:
        UsageError: the data are not such images, or a depth is given.
    """
    rising, falling, plain = numbers_of_maps("sagan", shape, width, depth)
    pair = generator_of(shape, noise, rising), discriminator_of(shape[0], falling, plain, wide=True)
    attend(*pair, rising, falling)
    for each in pair:
        initialise(each, nn.init.xavier_uniform_)
        norm_spectrally(each)
    return pair


def attend(
    generator: nn.Sequential, discriminator: nn.Sequential, rising: list[int], falling: list[int]
) -> None:
    """Put attention where maps have half of the image's side.

    That is before a generator's last block, of as many as it has, and behind the discriminator's
    first; see `resnet.generator_of` and `resnet.discriminator_of`.
    """
    generator.insert(len(rising), Attention(rising[-2]))
    discriminator.insert(1, Attention(falling[0]))


def initialise(module: nn.Module, weigh: Callable[[Tensor], Tensor]) -> None:
    """Give every linear and convolutional layer new weights, and biases of 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            weigh(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
