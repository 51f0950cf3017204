"""`study.html`: a whole study on one page that needs nothing but a browser."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from egan.findings import BETTER, titled
from egan.pages import Cell as Place
from egan.pages import Choice, Figure, Section, Table, View, Views, embedded, write_page
from egan.pages.charts import Line, Strip, areas, axis, lines, scatter, strips
from egan.palette import COLOURS, REAL
from egan.pictures import Plane, plane, sheet
from egan.scores import reference, score_of
from egan.scores.distances import ENOUGH
from egan.study.calibration import head, shown_rows
from egan.study.comparison import Comparison, distances, limits
from egan.study.protocols import protocol_of
from egan.study.records import Cell, Folder, Study
from egan.study.tables import COVERED, Row, facts

SHOWN = 36  # images of one run


class Column(NamedTuple):
    """A column of the table.

    Attributes:
        meaning: of its heading.
        place: what it says of a row.
        modes: whether modes must be known for it.
    """

    meaning: str
    place: Callable[[Row], Place]
    modes: bool = False


def write_study(
    folder: Folder, study: Study, found: Sequence[Comparison], cells: Sequence[Cell]
) -> Path:
    """Write the page into the study's directory.

    Args:
        folder: where the study lies.
        study: what was compared.
        found: its parts, data set by data set.
        cells: finished ones.

    Returns:
        The file, `study.html`.
    """
    path = folder.path / "study.html"
    sections = [
        Section(
            "Results",
            _how_to_read(study),
            [*(table(each) for each in found), *_published(study, cells)],
        ),
        *(_section(each) for each in found),
    ]
    write_page(
        path, f"Study: {', '.join(each.name for each in found)}", asked(study, cells), sections
    )
    return path


def asked(study: Study, cells: Sequence[Cell]) -> dict[str, str]:
    """What is asked, of how many runs, at which budget, and what else the study notes of itself."""
    names: dict[str, list[str]] = {each.primary: [] for each in study.data}
    for each in study.data:
        names[each.primary].append(each.name)
    goals = [f"{score} on {' and '.join(sets)}" for score, sets in names.items()]
    return {
        "question": f"Which of {len(study.arms)} arms has the best {', and '.join(goals)}, "
        "if every run has the same budget?",
        **facts(study, cells),
    }


def _published(study: Study, cells: Sequence[Cell]) -> list[Table]:
    """What was found beside what was published of the same experiment, if anything was."""
    rows = [[Place(text, text) for text in row] for row in shown_rows(study, cells)]
    heads = {
        name: f"Of {protocol_of(study.protocol).source}." if name.startswith("published") else name
        for name in (head(study) if rows else ())
    }
    return [Table("Beside what was published", heads, rows)] if rows else []


def _how_to_read(study: Study) -> list[str]:
    return [
        "A click on the head of a column sorts by it; its meaning shows under the mouse. "
        f"Tests are against {study.arms[0].name}. A run that ended early counts as the worst of "
        "all; a curve has a gap where half of the seeds have no score."
    ]


def table(comparison: Comparison) -> Table:
    """All arms on a data set, the best first."""
    better, count = BETTER[score_of(comparison.primary).better], comparison.about.samples
    if comparison.primary == "energy-distance":
        count = min(count, ENOUGH)
    caption = f"{comparison.name}: {comparison.primary} of {count:,} samples ({better})"
    known = comparison.modes is not None
    shown = {name: each for name, each in COLUMNS.items() if known or not each.modes}
    rows = [
        [each.place(comparison.rows[arm]) for each in shown.values()] for arm in comparison.ranked
    ]
    return Table(caption, {name: each.meaning for name, each in shown.items()}, rows)


def _number(name: str, form: str) -> Callable[[Row], Place]:
    """What a column of plain numbers says; infinite scores and times come last."""
    lacking = "never" if name == "full_share" else "none"

    def place(row: Row) -> Place:
        value = row[name]
        if value is None or math.isnan(value):
            return Place("–", None)
        return Place(form.format(value), value) if math.isfinite(value) else Place(lacking, None)

    return place


def _seeds(row: Row) -> Place:
    failed = f" ({row['failed']} lost)" if row["failed"] else ""
    return Place(f"{row['seeds']}{failed}", row["seeds"])


def _median(row: Row) -> Place:
    middle, *ends = (_number(name, "{:.3g}")(row) for name in ("median", "low", "high"))
    if middle.value is None or math.isnan(row["low"]):
        return middle
    return Place(f"{middle.text} [{ends[0].text}, {ends[1].text}]", middle.value)


COLUMNS = {
    "arm": Column("What was trained.", lambda row: Place(row["arm"], row["arm"])),
    "seeds": Column("Runs, each with a seed of its own; lost: it ended early.", _seeds),
    "final, median [95 %]": Column(
        "The primary score of the last generator: median over seeds, and its bootstrap interval; "
        "none: as a lost run has.", _median,
    ),
    "best, median": Column(
        "The primary score of the best look's generator, judged on fresh samples.",
        _number("best_median", "{:.3g}"),
    ),
    "A12": Column(
        "Vargha and Delaney's effect size: the probability that a run of this arm ends better than "
        "one of the first arm; 0.5 is chance.", _number("a12", "{:.2f}"),
    ),
    "p": Column(
        "Mann and Whitney's test of the final scores against the first arm, after Holm's "
        "correction.", _number("p", "{:.2g}"),
    ),
    "p, paired": Column(
        "Wilcoxon's test over equal seeds, likewise.", _number("p_paired", "{:.2g}")
    ),
    "collapsed, final": Column(
        f"Share of seeds that cover fewer than {COVERED:.0%} of the modes in the end.",
        _number("collapsed_final", "{:.0%}"), modes=True,
    ),
    "collapsed, at every look": Column(
        "Share of seeds that cover so few even at the look that found most.",
        _number("collapsed_best", "{:.0%}"), modes=True,
    ),
    "all modes after": Column(
        "Share of the budget until a look finds all modes covered: median over seeds.",
        _number("full_share", "{:.0%}"), modes=True,
    ),
    "alarms": Column(
        "Falls of coverage or diversity that a run saw without labels: mean over seeds.",
        _number("alarms", "{:.2g}"),
    ),
    "generations": Column("Of a run.", _number("generations", "{:,.0f}")),
    "generator steps": Column(
        "Optimiser steps of generators in a run, all children's.",
        _number("generator_steps", "{:,.0f}"),
    ),
    "GFLOP": Column(
        "Counted floating-point operations of a run, looks left out, in thousand millions.",
        lambda row: Place(f"{row['flops'] / 1e9:,.0f}", row["flops"]),
    ),
    "CPU s": Column("CPU seconds of a run.", _number("cpu_seconds", "{:,.1f}")),
    "s": Column("Seconds of a run by the clock.", _number("seconds", "{:,.1f}")),
}  # fmt: skip


def _section(comparison: Comparison) -> Section:
    shown = [curves, finals, success, samples, selection]
    blocks = [block for make in shown if (block := make(comparison)) is not None]
    return Section(comparison.name, [], blocks)


def curves(comparison: Comparison) -> Choice:
    """Every score over the share of the budget, medians over seeds with their intervals."""
    found = {
        name: None
        for cells in comparison.cells.values()
        for cell in cells
        for look in cell["looks"]
        for name in look["scores"]
    }
    names = sorted(found, key=lambda name: name != comparison.primary)
    return Choice(
        "Scores over the budget: median over seeds and its 95 % interval",
        {(name,): View(_curves(comparison, name)) for name in names},
        {"score": names},
    )


def _curves(comparison: Comparison, score: str) -> Figure:
    bands, drawn = comparison.bands(score), []
    ends = limits(np.concatenate([np.ravel(band) for band in bands.values()]), score)
    for arm in comparison.ranked:
        middle, low, high = bands[arm]
        band = (np.clip(low, *ends), np.clip(high, *ends))
        drawn.append(Line(arm, comparison.shares, middle, comparison.arm_styles[arm], band))
    up = axis(titled(score, "<br>"), log=distances(score), uirevision=score)
    return lines(drawn, _budget(), up)


def _budget() -> dict[str, Any]:
    return axis("share of the budget", percent=True, hoverformat=".0%")


def finals(comparison: Comparison) -> Choice:
    """Final scores, every seed a point."""
    drawn = [_strip(comparison, arm) for arm in comparison.ranked]
    log, ends = distances(comparison.primary), comparison.limits
    across = axis(titled(comparison.primary), log=log, ends=ends)
    return Choice(
        "Final scores: every seed a point, the median a stroke, its 95 % interval a bar",
        {(): View(strips(drawn, across, comparison.real))},
    )


def _strip(comparison: Comparison, arm: str) -> Strip:
    values, row = comparison.finals(arm), comparison.rows[arm]
    low, high = np.clip([row["low"], row["high"]], *comparison.limits)
    return Strip(
        name=arm,
        values=np.clip(values, *comparison.limits),
        lost=~np.isfinite(values),
        labels=[_label(cell, comparison.primary) for cell in comparison.cells[arm]],
        middle=row["median"],
        ends=(float(low), float(high)),
        style=comparison.arm_styles[arm],
    )


def _label(cell: Cell, score: str) -> str:
    value = (cell["final"] or {}).get(score)
    return f"seed {cell['seed']}: {'ended early' if value is None else f'{value:.4g}'}"


def success(comparison: Comparison) -> Choice | None:
    """The share of seeds that cover all modes, or have ever done so."""
    if comparison.modes is None:
        return None
    views: Views = {
        ("at that look",): View(_success(comparison, ever=False)),
        ("then or before",): View(_success(comparison, ever=True)),
    }
    caption = f"Seeds that cover all {comparison.modes:g} modes"
    return Choice(caption, views, {"when": [when for (when,) in views]})


def _success(comparison: Comparison, ever: bool) -> Figure:
    curves = comparison.successes(ever)
    drawn = [
        Line(arm, comparison.shares, curves[arm], comparison.arm_styles[arm], steps=ever)
        for arm in comparison.ranked
    ]
    return lines(drawn, _budget(), axis("share of seeds", percent=True, range=[-0.03, 1.03]))


def samples(comparison: Comparison) -> Choice:
    """Samples of the final generator of any arm and seed, beside or over real ones."""
    cells = [cell for ours in comparison.cells.values() for cell in ours]
    seeds = [str(seed) for seed in sorted({cell["seed"] for cell in cells})]
    first = comparison.ranked[0]
    start = (first, str(comparison.median_cell(first)["seed"]))
    controls = {"arm": comparison.ranked, "seed": seeds}
    if len(comparison.data.shape) == 3:
        views = {_key(cell): _view(comparison, cell, _picture) for cell in cells}
        real = _picture(reference(comparison.data, SHOWN)).image
        return Choice("Samples beside real ones (left)", views, controls, start, beside=real)
    shown = plane(comparison.data)
    views = {_key(cell): _view(comparison, cell, partial(_points, shown)) for cell in cells}
    base = scatter(shown.real, shown.window, REAL, "real")
    return Choice("Samples over real ones", views, controls, start, base)


def _key(cell: Cell) -> tuple[str, ...]:
    return cell["arm"], str(cell["seed"])


def _view(comparison: Comparison, cell: Cell, show: Callable[[torch.Tensor], View]) -> View:
    found = comparison.samples(cell)
    note = f"seed {cell['seed']} of {cell['arm']}: {_verdict(cell)}"
    return View(note=note) if found is None else show(torch.from_numpy(found))._replace(note=note)


def _verdict(cell: Cell) -> str:
    if cell["error"]:
        return f"ended early, {cell['error']}"
    known = {name: value for name, value in cell["final"].items() if value is not None}
    return ", ".join(f"{name} {value:.4g}" for name, value in known.items())


def _picture(images: torch.Tensor) -> View:
    pixels = np.round(sheet(images[:SHOWN]) * 255).astype(np.uint8)
    return View(image=embedded(Image.fromarray(pixels).convert("RGB")))


def _points(shown: Plane, points: torch.Tensor) -> View:
    figure = scatter(shown.project(points), shown.window, COLOURS[0], "generated")
    return View({"data": figure["data"]})


def selection(comparison: Comparison) -> Choice | None:
    """By whom survivors were made, arm by arm."""
    shares, drawn = comparison.selections(), comparison.operator_styles
    if not shares:
        return None
    views: Views = {
        (arm,): View(areas(comparison.shares, found, drawn, _budget()))
        for arm, found in shares.items()
    }
    return Choice("Who made the survivors: means over seeds", views, {"arm": list(shares)})
