"""Figures of a study, as wide as a column of print: one PNG a data set and question."""

from __future__ import annotations

import gc
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
    StrMethodFormatter,
)
from sklearn.isotonic import isotonic_regression

from egan.findings import titled
from egan.palette import COLOURS, REAL, Style
from egan.pictures import Plane, plane, sheet
from egan.scores import reference
from egan.study.comparison import Comparison, distances, limits
from egan.study.records import plain
from egan.study.tables import Row
from populations.checkpoint import write_whole

COLUMN = 3.4  # inches
DPI = 200
PRINT: dict[Any, Any] = {
    "font.size": 7, "axes.titlesize": 7, "axes.linewidth": 0.6, "axes.spines.top": False,
    "axes.spines.right": False, "lines.linewidth": 1.1, "xtick.major.width": 0.6,
    "ytick.major.width": 0.6, "ytick.minor.width": 0.4, "legend.frameon": False,
}  # fmt: skip
STROKES = {"solid": "solid", "dash": "dashed", "dot": "dotted", "dashdot": "dashdot"}
LINE = 0.125  # inches between two lines of text
AROUND = 0.75  # inches above and below axes, at most
COLUMNS = 3  # of panels of samples
IN_TITLE = 17  # letters in a line above one
IN_PANEL = 36  # images in one


def write_figures(found: Iterable[Comparison], folder: Path) -> list[Path]:
    """Draw the `figures` of every data set that have something to show, as `DATA-FIGURE.png`.

    Args:
        found: what the study compares, data set by data set.
        folder: where to; made where it is missing.

    Returns:
        The files, data set by data set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [path for comparison in found for path in _write(comparison, folder)]


def _write(comparison: Comparison, folder: Path) -> list[Path]:
    drawn = []
    with matplotlib.rc_context(PRINT):
        for name, draw in figures.items():
            figure = draw(comparison)
            if figure is not None:
                path = folder / f"{plain(comparison.name)}-{name}.png"
                write_whole(path, partial(figure.savefig, format="png", dpi=DPI))
                drawn.append(path)
    gc.collect(1)  # figures are cycles, and hold megabytes until a full collection
    return drawn


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(COLUMN, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def scores_over_budget(comparison: Comparison) -> Figure:
    """The primary score over the share of the budget: median over seeds, its interval a band."""
    score, bands = comparison.primary, comparison.bands(comparison.primary)
    ends = limits(np.concatenate([np.ravel(band) for band in bands.values()]), score)
    figure, axes = _over_budget(comparison)
    axes.set_ylim(*ends)
    _scale(axes, "y", score, ends)
    axes.set_ylabel(titled(score, "\n"))
    for arm, style in comparison.arm_styles.items():
        middle, low, high = (np.clip(each, *ends) for each in bands[arm])
        alive = np.where(np.isfinite(bands[arm][0]), middle, math.nan)
        axes.fill_between(comparison.shares, low, high, color=style.colour, alpha=0.15, linewidth=0)
        _line(axes, comparison.shares, alive, style)
    last = {arm: float(np.clip(band[0][-1], *ends)) for arm, band in bands.items()}
    _label(figure, axes, last, comparison.arm_styles)
    return figure


def success(comparison: Comparison) -> Figure | None:
    """The share of seeds that cover all modes over the share of the budget."""
    curves = comparison.successes()
    if not curves:
        return None
    figure, axes = _over_budget(comparison)
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel(f"seeds that cover\nall {comparison.modes:g} modes")
    for arm, style in comparison.arm_styles.items():
        _line(axes, comparison.shares, curves[arm], style)
    last = {arm: float(curve[-1]) for arm, curve in curves.items()}
    _label(figure, axes, last, comparison.arm_styles)
    return figure


def _over_budget(comparison: Comparison) -> tuple[Figure, Axes]:
    figure = _figure(max(2.3, AROUND + LINE * len(comparison.cells)))
    axes = figure.add_subplot()
    axes.set_xlim(comparison.shares[0] if comparison.looks > 1 else 0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("share of the budget")
    axes.set_title(_safe(comparison.name), loc="left", fontweight="bold")
    return figure, axes


def _scale(axes: Axes, name: str, score: str, ends: tuple[float, float]) -> None:
    """A logarithmic axis for distances: a few numbers at it, however many decades it has."""
    if not distances(score):
        return
    axes.set(**{f"{name}scale": "log"})
    axis, decades = getattr(axes, f"{name}axis"), math.log10(ends[1] / ends[0])
    axis.set_minor_formatter(NullFormatter())
    if decades < 1.5:
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if decades > 0.7 else MaxNLocator(4))


def _line(axes: Axes, x: np.ndarray, y: np.ndarray, style: Style, **how: Any) -> None:
    marker = "o" if len(x) == 1 else None
    axes.plot(x, y, color=style.colour, linestyle=STROKES[style.dash], marker=marker, **how)


def _label(
    figure: Figure, axes: Axes, ends: Mapping[str, float], drawn: Mapping[str, Style]
) -> None:
    """Name lines where they end, one below the other."""
    at = {arm: _share(axes, (1, value))[1] for arm, value in ends.items()}
    names = sorted(at, key=lambda arm: at[arm])
    gap = LINE / (figure.get_figheight() - AROUND)
    for arm, place in zip(names, _spread([at[arm] for arm in names], gap), strict=True):
        colour = drawn[arm].colour
        axes.annotate(
            _safe(arm), (1, at[arm]), (1.05, place), xycoords="axes fraction", va="center",
            color=colour, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0,
                        "shrinkB": 0, "relpos": (0, 0.5)},
        )  # fmt: skip


def _share(axes: Axes, point: tuple[float, float]) -> tuple[float, float]:
    """A point as shares of the axes' width and height."""
    x, y = (axes.transScale + axes.transLimits).transform(point)
    return float(x), float(y)


def _spread(places: Sequence[float], gap: float) -> np.ndarray:
    """Rising places in [0, 1] moved apart by a gap, as little as possible (least squares)."""
    steps = gap * np.arange(len(places))
    room = max(0.0, 1 - float(steps[-1]))
    return np.asarray(isotonic_regression(np.subtract(places, steps), y_min=0, y_max=room)) + steps


def final_scores(comparison: Comparison) -> Figure:
    """Final scores: every seed a dot, the median a stroke, its interval a bar; best arm on top."""
    ranked = comparison.ranked
    figure = _figure(0.75 + 0.2 * len(ranked))
    axes = figure.add_subplot()
    axes.set_xlim(*comparison.limits)
    _scale(axes, "x", comparison.primary, comparison.limits)
    axes.set_xlabel(titled(comparison.primary, "\n"))
    axes.set_yticks(range(len(ranked)), [_safe(arm) for arm in ranked])
    axes.set_ylim(len(ranked) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    _mark_real(axes, comparison.real)
    for place, arm in enumerate(ranked):
        _strip(axes, place, comparison, arm)
        _interval(axes, place, comparison.rows[arm])
    _head(figure, comparison)
    return figure


def _mark_real(axes: Axes, score: float) -> None:
    """A line where real data lie, its name on the side that has room."""
    axes.axvline(score, color=REAL, linewidth=1, zorder=0)
    side = "right" if _share(axes, (score, 0))[0] > 0.5 else "left"
    axes.annotate(
        "real data", (score, 1), (0, 2), xycoords=("data", "axes fraction"),
        textcoords="offset points", ha=side, va="bottom", color="0.4",
    )  # fmt: skip


def _strip(axes: Axes, place: int, comparison: Comparison, arm: str) -> None:
    """A dot a seed; a seed has the same height in all arms, and a cross at the edge diverged."""
    values = comparison.finals(arm)
    heights = place + np.linspace(-0.25, 0.25, len(values))
    colour, lost = comparison.arm_styles[arm].colour, ~np.isfinite(values)
    x = np.clip(values, *comparison.limits)
    axes.scatter(x[~lost], heights[~lost], s=5, color=colour, alpha=0.6, linewidths=0)
    axes.scatter(
        x[lost], heights[lost], s=8, marker="x", color=colour, linewidths=0.7, clip_on=False
    )


def _interval(axes: Axes, place: int, row: Row) -> None:
    if math.isfinite(row["median"]):
        ends = np.clip([row["low"], row["high"]], *axes.get_xlim())
        axes.plot(ends, [place, place], color="black", linewidth=0.9)
        axes.plot([row["median"]] * 2, [place - 0.3, place + 0.3], color="black", linewidth=1.4)


def samples(comparison: Comparison) -> Figure:
    """Real samples, and those of the run of each arm whose final score is the median."""
    real, show = _panels(comparison)
    shown: dict[str, np.ndarray | None] = {"real data": real}
    for arm in comparison.ranked:
        shown[arm] = comparison.samples(comparison.median_cell(arm))
    rows = math.ceil(len(shown) / COLUMNS)
    figure = _figure(rows * (COLUMN / COLUMNS + 0.15) + 0.2)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, (name, found) in zip(panels, shown.items(), strict=False):
        axes.set_title("\n".join(textwrap.wrap(_safe(name), IN_TITLE)), pad=2)
        if found is None:
            axes.text(0.5, 0.5, "diverged", ha="center", transform=axes.transAxes, color="0.4")
        else:
            show(axes, torch.from_numpy(found))
    _head(figure, comparison)
    return figure


def _panels(comparison: Comparison) -> tuple[np.ndarray, Callable[[Axes, torch.Tensor], None]]:
    """What the first panel shows, and what draws samples: as images, or as points over real ones.

    Real points lie under all others, so that the first panel needs none over them.
    """
    data = comparison.data
    if len(data.shape) == 3:
        return reference(data, IN_PANEL).numpy(), _draw_images
    return np.empty((0, *data.shape), np.float32), partial(_draw_points, plane(data))


def _draw_images(axes: Axes, images: torch.Tensor) -> None:
    axes.imshow(sheet(images[:IN_PANEL]), cmap="gray", vmin=0, vmax=1, interpolation="antialiased")


def _draw_points(shown: Plane, axes: Axes, points: torch.Tensor) -> None:
    axes.scatter(shown.real[:, 0], shown.real[:, 1], s=1.5, color=REAL, linewidths=0)
    made = shown.project(points)
    axes.scatter(made[:, 0], made[:, 1], s=1.5, color=COLOURS[0], linewidths=0)
    axes.set(xlim=shown.window[0], ylim=shown.window[1], aspect="equal")


def selection(comparison: Comparison) -> Figure | None:
    """By whom survivors were made over the share of the budget, arm by arm."""
    shares, drawn = comparison.selections(), comparison.operator_styles
    if not shares:
        return None
    columns = min(2, len(shares))
    rows = math.ceil(len(shares) / columns)
    figure = _figure(rows * 1.05 + 0.5 + math.ceil(len(drawn) / 3) * LINE)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for place, (axes, arm) in enumerate(zip(panels, shares, strict=False)):
        _areas(axes, comparison.shares, shares[arm], drawn)
        axes.set_title(_safe(arm), pad=2)
        if place + columns >= len(shares):  # nothing below
            axes.tick_params(axis="x", labelbottom=True)
            axes.set_xlabel("share of the budget")
    for axes in panels[len(shares) :]:
        axes.remove()
    figure.supylabel("share of survivors", fontsize=PRINT["font.size"])
    handles = [Patch(facecolor=style.fill, label=_safe(name)) for name, style in drawn.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, handlelength=1)
    _head(figure, comparison)
    return figure


def _areas(
    axes: Axes, x: np.ndarray, shares: Mapping[str, np.ndarray], colours: Mapping[str, Style]
) -> None:
    axes.stackplot(x, *shares.values(), colors=[colours[name].fill for name in shares], linewidth=0)
    axes.set(xlim=(x[0] if len(x) > 1 else 0, 1), ylim=(0, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _head(figure: Figure, comparison: Comparison) -> None:
    name = _safe(comparison.name)
    figure.suptitle(name, x=0.01, ha="left", fontsize=PRINT["font.size"], fontweight="bold")


def _safe(name: str) -> str:
    """A name without what Matplotlib reads as mathematics."""
    return name.replace("$", r"\$")


figures: dict[str, Callable[[Comparison], Figure | None]] = {
    "scores": scores_over_budget,
    "final": final_scores,
    "success": success,
    "samples": samples,
    "selection": selection,
}
