"""Calibration: what a study found beside what was published of the same experiment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scipy.stats import sem

from egan.study.protocols import Figure, protocol_of
from egan.study.records import Cell, Study
from egan.study.statistics import difference
from egan.study.tables import settled, table

Row = dict[str, Any]


def published_rows(study: Study, cells: Sequence[Cell]) -> list[Row]:
    """One row an arm and score of which something was published; none without a protocol.

    Returns:
        Of each `data`, `arm`, `score`; `mean`, `error` (standard, nan of fewer than two runs),
        `runs` and `generations`, of the study's final scores, `lost`, runs that ended early;
        `published` and `published_error`; `difference` of the means, `low` and `high`, its interval
        by both errors (95 %), nan where there is none.
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
    own = [cell for cell in cells if (cell["data"], cell["arm"]) == (data, arm)]
    values = [settled(cell, "final", score) for cell in own if cell["final"]]
    mean, error = figure
    ours = sum(values) / len(values) if values else math.nan
    several = len(values) > 1 and math.isfinite(ours)
    low, high = math.nan, math.nan
    if several and error is not None:
        _, low, high = difference(values, mean, error, runs)
    return {
        "data": data, "arm": arm, "score": score, "runs": len(values),
        "lost": len(own) - len(values),
        "generations": max((cell["generations"] for cell in own), default=0),
        "mean": ours, "error": float(sem(values)) if several else math.nan,
        "published": mean, "published_error": error, "difference": ours - mean,
        "low": low, "high": high,
    }  # fmt: skip


def calibration(study: Study, cells: Sequence[Cell]) -> str:
    """The rows in Markdown; empty without any."""
    rows = shown_rows(study, cells)
    if not rows:
        return ""
    source = protocol_of(study.protocol).source
    return f"### Beside {source}\n\n{table(head(study), rows)}"


def head(study: Study) -> list[str]:
    """The columns' heads."""
    length = f"{protocol_of(study.protocol).generations:,} generations"
    return [
        "data", "arm", "score", "runs", "generations", "mean ± s.e.", f"published ({length})",
        "difference [95 %]", "holds 0",
    ]  # fmt: skip


def shown_rows(study: Study, cells: Sequence[Cell]) -> list[list[str]]:
    """The rows as texts."""
    return [_shown(row) for row in published_rows(study, cells)]


def _shown(row: Row) -> list[str]:
    interval, holds = "", ""
    if not math.isnan(row["low"]):
        interval = f" [{row['low']:.3g}, {row['high']:.3g}]"
        holds = "yes" if row["low"] <= 0 <= row["high"] else "no"
    elif math.isinf(row["difference"]):
        holds = "no"
    lost = f" ({row['lost']} more ended early)" if row["lost"] else ""
    gap = "" if math.isnan(row["difference"]) else f"{row['difference']:+.3g}{interval}"
    return [
        row["data"], row["arm"], row["score"], f"{row['runs']}{lost}", f"{row['generations']:,}",
        _with_error(row["mean"], row["error"]),
        _with_error(row["published"], row["published_error"]),
        gap, holds,
    ]  # fmt: skip


def _with_error(mean: float, error: float | None) -> str:
    if math.isnan(mean):
        return ""
    known = error is not None and not math.isnan(error)
    return f"{mean:.3g} ± {error:.2g}" if known else f"{mean:.3g}"
