"""Colours that readers with any kind of colour vision tell apart, and strokes for more lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
"""Okabe and Ito (2008), without their yellow, which white paper swallows; black is softened."""
DASHES = ("solid", "dash", "dot", "dashdot")
REAL = "#B8B8B8"  # real data: in the background, without a colour


class Style(NamedTuple):
    """How something is drawn.

    Attributes:
        colour: of its line, "#RRGGBB".
        dash: of its line, of `DASHES`.
        fill: of its area: the colour, the paler the later in the palette's rounds.
    """

    colour: str
    dash: str
    fill: str


def styles(names: Iterable[str]) -> dict[str, Style]:
    """A style for each name, in their order; no two of the first 28 are alike."""
    return {name: _style(place) for place, name in enumerate(names)}


def _style(place: int) -> Style:
    turn, place = divmod(place, len(COLOURS))
    colour = COLOURS[place]
    return Style(colour, DASHES[turn % len(DASHES)], _paler(colour, 0.7**turn))


def _paler(colour: str, share: float) -> str:
    """A share of the colour on white."""
    parts = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - share * (255 - part)):02X}" for part in parts)


def faint(colour: str, opacity: float) -> str:
    """The colour as CSS writes it with an opacity."""
    parts = ", ".join(str(int(colour[start : start + 2], 16)) for start in (1, 3, 5))
    return f"rgba({parts}, {opacity:g})"
