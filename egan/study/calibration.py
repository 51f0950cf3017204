"""Calibration: what a study found beside what was published of the same experiment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scipy.stats import sem

from egan.study.protocols import Figure, protocol_of
from egan.study.records import Cell, Study
from egan.study.statistics import difference
from egan.study.tables import table, value

Row = dict[str, Any]


def published_rows(study: Study, cells: Sequence[Cell]) -> list[Row]:
    """One row an arm and score of which something was published; none without a protocol.

    Returns:
        Of each `data`, `arm`, `score`; `mean`, `error` (standard, nan of fewer than two runs),
        `runs` and `generations`, of the study's final scores; `published` and `published_error`;
        `difference` of the means, `low` and `high`, its interval by both errors (95 %), nan where
        there is none.
    """
    if not study.protocol:
        return []
    protocol = protocol_of(study.protocol)
    return [
        _row(cells, data.name, arm.name, score, figure, protocol.runs)
        for data in study.data
        if data.source in protocol.data
        for arm in study.arms
        for score, figure in protocol.published.get(arm.name, {}).items()
    ]


def _row(cells: Sequence[Cell], data: str, arm: str, score: str, figure: Figure, runs: int) -> Row:
    own = [cell for cell in cells if (cell["data"], cell["arm"]) == (data, arm) and cell["final"]]
    values = [value(cell, "final", score) for cell in own]
    mean, error = figure
    middle, low, high = math.nan, math.nan, math.nan
    if values:
        middle = sum(values) / len(values) - mean
    if len(values) > 1 and error is not None:
        middle, low, high = difference(values, mean, error, runs)
    return {
        "data": data, "arm": arm, "score": score, "runs": len(values),
        "generations": max((cell["generations"] for cell in own), default=0),
        "mean": middle + mean, "error": float(sem(values)) if len(values) > 1 else math.nan,
        "published": mean, "published_error": error, "difference": middle, "low": low, "high": high,
    }  # fmt: skip


def calibration(study: Study, cells: Sequence[Cell]) -> str:
    """The rows in Markdown; empty without any."""
    rows = published_rows(study, cells)
    if not rows:
        return ""
    protocol = protocol_of(study.protocol)
    length = f"{protocol.generations:,} generations, {protocol.runs} runs"
    head = [
        "data", "arm", "score", "runs", "generations", "mean ± s.e.", f"published ({length})",
        "difference [95 %]", "holds 0",
    ]  # fmt: skip
    return f"### Beside {protocol.source}\n\n{table(head, map(_shown, rows))}"


def _shown(row: Row) -> list[str]:
    interval, holds = "", ""
    if not math.isnan(row["low"]):
        interval = f" [{row['low']:.3g}, {row['high']:.3g}]"
        holds = "yes" if row["low"] <= 0 <= row["high"] else "no"
    return [
        row["data"], row["arm"], row["score"], str(row["runs"]), f"{row['generations']:,}",
        _with_error(row["mean"], row["error"]),
        _with_error(row["published"], row["published_error"]),
        f"{row['difference']:+.3g}{interval}", holds,
    ]  # fmt: skip


def _with_error(mean: float, error: float | None) -> str:
    known = error is not None and not math.isnan(error)
    return f"{mean:.3g} ± {error:.2g}" if known else f"{mean:.3g}"
