"""Charts of pages, as plain data that plotly draws: lines with bands, areas, strips, scatters."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from egan.ancestry import Node
from egan.pages import Figure
from egan.palette import REAL, Style, faint

Axis = dict[str, Any]
LAYOUT: dict[str, Any] = {
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#222"},
    "margin": {"l": 80, "r": 20, "t": 40, "b": 50},
    "hoverlabel": {"namelength": -1},
    "legend": {"uirevision": "kept", "traceorder": "normal"},
}
ABOVE = {"orientation": "h", "y": 1, "yanchor": "bottom"}
GRID = {
    "gridcolor": "#EEE", "zeroline": False, "linecolor": "#888", "ticks": "outside",
    "automargin": True,
}  # fmt: skip


class Line(NamedTuple):
    """A line.

    Attributes:
        name: in the legend.
        x: (n,).
        y: (n,); where it is not finite there is a gap.
        style: of the line.
        band: lower and upper end of an interval around it, (n,) each.
        steps: whether a value holds until the next one.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    style: Style
    band: tuple[np.ndarray, np.ndarray] | None = None
    steps: bool = False


class Strip(NamedTuple):
    """Values of one arm, and what is said of them all.

    Attributes:
        name: of the arm.
        values: shown as points, (n,).
        lost: which of them lie at the edge because the run has no value, (n,).
        labels: of the points.
        middle: the median; not finite: none.
        ends: of its interval.
        style: of the points.
    """

    name: str
    values: np.ndarray
    lost: np.ndarray
    labels: Sequence[str]
    middle: float
    ends: tuple[float, float]
    style: Style


def axis(
    title: str,
    log: bool = False,
    percent: bool = False,
    ends: tuple[float, float] | None = None,
    **settings: Any,
) -> Axis:
    """An axis, of a range where its `ends` are given; a logarithmic one has few numbers.

    The range reaches a little beyond, or what lies at an end would not be drawn.
    """
    found: Axis = {"title": {"text": title, "standoff": 10}, **GRID, **settings}
    found |= {"type": "log", "tickformat": "~g", "nticks": 4} if log else {}
    if ends:
        low, high = (math.log10(end) if log else end for end in ends)
        beyond = 0.005 * (high - low)
        found["range"] = [low - beyond, high + beyond]
    return found | ({"tickformat": ".0%"} if percent else {})


def lines(drawn: Sequence[Line], x: Axis, y: Axis, **layout: Any) -> Figure:
    """Lines, each with its band; a click in the legend takes both away."""
    return {
        "data": [trace for line in drawn for trace in [*_band(line), _line(line)]],
        "layout": {**LAYOUT, "hovermode": "x unified", "xaxis": x, "yaxis": y, **layout},
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        **_trace(line, line.y),
        **({"mode": "markers", "cliponaxis": False} if len(line.x) == 1 else {"mode": "lines"}),
        "line": {"color": line.style.colour, "dash": line.style.dash, "width": 2,
                 **({"shape": "hv"} if line.steps else {})},
        "name": html.escape(line.name),
        "hovertemplate": "%{y:.4g}",
    }  # fmt: skip


def _band(line: Line) -> list[dict[str, Any]]:
    if line.band is None:
        return []
    hidden = {"mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    area = {"fill": "tonexty", "fillcolor": faint(line.style.colour, 0.15)}
    low, high = line.band
    return [{**_trace(line, low), **hidden}, {**_trace(line, high), **hidden, **area}]


def _trace(line: Line, y: np.ndarray) -> dict[str, Any]:
    return {
        "type": "scatter", "x": packed(line.x), "y": packed(y),
        "legendgroup": html.escape(line.name),
    }  # fmt: skip


def packed(values: Any) -> np.ndarray:
    """Numbers as charts hold them: float32, a gap where they are not finite."""
    found = np.asarray(values, dtype=np.float32)
    return np.where(np.isfinite(found), found, np.float32(math.nan))


def areas(
    x: np.ndarray, shares: Mapping[str, np.ndarray], styles: Mapping[str, Style], across: Axis
) -> Figure:
    """Shares of a whole, one upon the other, in the order of their names."""
    traces = [
        {
            "type": "scatter", "mode": "lines", "x": packed(x), "y": packed(values),
            "stackgroup": "all", "line": {"width": 0}, "fillcolor": styles[name].fill,
            "name": html.escape(name), "hovertemplate": "%{y:.1%}",
        }
        for name, values in shares.items()
    ]  # fmt: skip
    up = axis("share of survivors", percent=True, range=[0, 1])
    return {
        "data": traces,
        "layout": {**LAYOUT, "hovermode": "x unified", "xaxis": across, "yaxis": up},
    }


def strips(drawn: Sequence[Strip], x: Axis, real: float) -> Figure:
    """A row of points for each, the first on top: its median a stroke, its interval a bar."""
    names = [html.escape(each.name) for each in drawn]
    rows = axis(
        "", tickvals=list(range(len(drawn))), ticktext=names, range=[len(drawn) - 0.5, -0.5],
    )  # fmt: skip
    marks = [_median(place, each) for place, each in enumerate(drawn) if math.isfinite(each.middle)]
    middle = np.median(np.concatenate([each.values for each in drawn]))
    line = {"type": "line", "x0": real, "x1": real, "y0": 0, "y1": 1, "yref": "paper",
            "layer": "below", "line": {"color": REAL, "width": 2},
            "label": {"text": "real data", "textposition": "end", "textangle": 0,
                      "yanchor": "bottom", "xanchor": "left" if real < middle else "right"},
            }  # fmt: skip
    return {
        "data": [*(_points(place, each) for place, each in enumerate(drawn)), *marks],
        "layout": {
            **LAYOUT, "xaxis": x, "yaxis": rows, "showlegend": False, "hovermode": "closest",
            "shapes": [line] if math.isfinite(real) else [],
        },
    }  # fmt: skip


def _points(place: int, strip: Strip) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "markers", "x": packed(strip.values), "cliponaxis": False,
        "y": packed(place + np.linspace(-0.25, 0.25, len(strip.values))),
        "marker": {"color": strip.style.colour, "opacity": 0.7, "size": 7,
                   "symbol": ["x-thin-open" if lost else "circle" for lost in strip.lost]},
        "text": [html.escape(label) for label in strip.labels],
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _median(place: int, strip: Strip) -> dict[str, Any]:
    low, high = strip.ends
    return {
        "type": "scatter", "mode": "markers", "x": [strip.middle], "y": [place],
        "marker": {"symbol": "line-ns", "size": 20, "line": {"color": "black", "width": 3}},
        "error_x": {"type": "data", "symmetric": False, "array": [high - strip.middle],
                    "arrayminus": [strip.middle - low], "color": "black", "thickness": 1.5,
                    "width": 0},
        "hovertemplate": "median %{x:.4g}<extra></extra>",
    }  # fmt: skip


def scatter(points: np.ndarray, window: np.ndarray, colour: str, name: str) -> Figure:
    """Points, (n, 2), in a square window: its ends along x and y, (2, 2)."""
    across, up = ([float(end) for end in ends] for ends in window)
    return {
        "data": [
            {
                "type": "scatter", "mode": "markers", "x": packed(points[:, 0]),
                "y": packed(points[:, 1]), "name": name, "hoverinfo": "x+y",
                "marker": {"color": colour, "size": 4, "opacity": 0.7},
            }
        ],
        "layout": {
            **LAYOUT, "hovermode": "closest", "meta": "square",
            "xaxis": axis("", range=across, constrain="domain"),
            "yaxis": axis("", range=up, scaleanchor="x", constrain="domain"),
            "legend": ABOVE,
        },
    }  # fmt: skip


def genealogy(
    nodes: Sequence[Node], made: Sequence[str], styles: Mapping[str, Style], across: Axis
) -> Figure:
    """Individuals over time, joined to their ancestors; lines that led to the last are dark.

    Args:
        nodes: individuals at moments.
        made: by which operator each was made.
        styles: of the operators.
        across: the axis of time.
    """
    lanes = max(node.lane for node in nodes) - min(node.lane for node in nodes)
    edges = [_edges(nodes, lasting) for lasting in (False, True)]
    points = [
        _individuals(
            [node for node, one in zip(nodes, made, strict=True) if one == name], name, style
        )
        for name, style in styles.items()
        if name in made
    ]
    up = {"visible": False, "range": [-lanes / 2 - 1, lanes / 2 + 1]}
    return {
        "data": [*edges, *points],
        "layout": {
            **LAYOUT, "hovermode": "closest", "xaxis": across, "yaxis": up,
            "height": min(700, 200 + 25 * lanes), "legend": ABOVE,
        },
    }  # fmt: skip


def _edges(nodes: Sequence[Node], lasting: bool) -> dict[str, Any]:
    joined = [
        (nodes[node.ancestor], node)
        for node in nodes
        if node.ancestor is not None and node.lasting == lasting
    ]
    x = [value for one, other in joined for value in (one.generation, other.generation, None)]
    y = [value for one, other in joined for value in (one.lane, other.lane, None)]
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": y, "hoverinfo": "skip",
        "name": "leads to the last" if lasting else "died out",
        "line": {"color": "#333333" if lasting else "#CCCCCC", "width": 2 if lasting else 1},
    }  # fmt: skip


def _individuals(nodes: Sequence[Node], name: str, style: Style) -> dict[str, Any]:
    places = np.array([(node.generation, node.lane) for node in nodes])
    return {
        "type": "scatter", "mode": "markers", "cliponaxis": False, "name": html.escape(name),
        "x": packed(places[:, 0]), "y": packed(places[:, 1]),
        "marker": {"color": style.fill, "size": 6}, "text": [str(node.number) for node in nodes],
        "hovertemplate": "individual %{text}, generation %{x:,}",
    }  # fmt: skip
