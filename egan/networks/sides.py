"""Which square images a pair takes, and how the sides of its maps follow."""

from __future__ import annotations

import math
from collections.abc import Callable

from populations.errors import UsageError

FLAT = 32  # up to this side maps may be equally many at all sides


def check(
    name: str,
    shape: tuple[int, ...],
    depth: int | None,
    sides: str = "",
    fits: Callable[[int], bool] = lambda side: True,
) -> None:
    """Refuse data that are no square images, sides that do not fit, and any depth.

    Args:
        name: of a published network.
        shape: of one sample.
        depth: as given.
        sides: which sides fit, to go on with after "images (channels, side, side)".
        fits: whether a side does.

    Raises:
        UsageError: the sentence says what the network needs.
    """
    square = len(shape) == 3 and shape[1] == shape[2]
    if not (square and fits(shape[1])):
        raise UsageError(
            f"the network {name} needs images (channels, side, side){sides}, and the data have the "
            f"shape {shape}: use networks.name = {'dcgan' if square else 'mlp'!r}."
        )
    if depth is not None:
        raise UsageError(f"networks.depth is not for {name}: its depth is the published one.")


def halved(side: int, least: int) -> tuple[int, int]:
    """The side of the coarsest map, `least` or more, and how often it is doubled."""
    steps = 0
    while side % 2 == 0 and side // 2 >= least:
        side, steps = side // 2, steps + 1
    return side, steps


def narrowed(width: int, side: int) -> int:
    """Maps of that side: as many as the width up to 32x32, half as many at each doubling above."""
    return max(1, width // 2 ** max(0, math.ceil(math.log2(side / FLAT))))
