"""Sides doubled and halved under the filter [1, 3, 3, 1]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d


class Binomial(nn.Module):
    """The filter [1, 3, 3, 1] / 8 along both sides of every map.

    Args:
        padding: zeros at each border; or, where it doubles, pixels that are cut off there.
        stride: pixels from one place of the filter to the next.
        doubles: whether it spreads each pixel, with a stride of 2, instead of gathering pixels.
    """

    def __init__(self, padding: int, stride: int = 1, doubles: bool = False) -> None:
        super().__init__()
        self.padding, self.stride, self.doubles = padding, stride, doubles

    def forward(self, maps: Tensor) -> Tensor:
        """Filtered maps, (n, c, ...)."""
        # Computed where the maps are: a copy to a GPU would wait for it, a buffer would be state.
        places = torch.arange(4, dtype=maps.dtype, device=maps.device)
        taps = (3.25 - (places - 1.5).square()) / (4 if self.doubles else 8)
        channels = maps.shape[1]
        weight = torch.outer(taps, taps).expand(channels, 1, 4, 4)
        move = conv_transpose2d if self.doubles else conv2d
        return move(maps, weight, None, self.stride, self.padding, groups=channels)


def double() -> Binomial:
    """A layer that doubles a side."""
    return Binomial(1, 2, doubles=True)


def halve() -> Binomial:
    """A layer that halves a side."""
    return Binomial(1, 2)


def smooth(padding: int) -> Binomial:
    """The filter alone: with 1 or 2 zeros at each border a side shrinks or grows by 1."""
    return Binomial(padding)
