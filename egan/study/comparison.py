"""What a reader compares: the cells of one data set by arm, and their curves over the budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from egan.data import Data, make_data
from egan.palette import Style, styles
from egan.scores import evaluate, full_cover, reference, score_of
from egan.study.records import Cell, DataSet, Folder, Study
from egan.study.statistics import median_interval
from egan.study.tables import Row, lost, merits, settled, summary

Band = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Median, and the lower and upper end of its interval."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The part of a study that is about one data set.

    Attributes:
        about: the data set, as the study has it.
        data: real ones.
        looks: times that a run is judged.
        cells: of each arm, by seed; the arms in the study's order.
        rows: of each arm, of the table (`tables.summary`).
        folder: where the final samples lie.
    """

    about: DataSet
    data: Data
    looks: int
    cells: dict[str, list[Cell]]
    rows: dict[str, Row]
    folder: Folder

    @property
    def name(self) -> str:
        """The data set's, as it was written."""
        return self.about.name

    @property
    def primary(self) -> str:
        """The score by which arms are compared."""
        return self.about.primary

    @property
    def shares(self) -> np.ndarray:
        """Of the budget, at which runs are judged, (looks,)."""
        return np.arange(1, self.looks + 1) / self.looks

    @property
    def ranked(self) -> list[str]:
        """The arms, the best median of the final primary score first."""
        score = score_of(self.primary)
        return sorted(self.cells, key=lambda arm: -score.merit(self.rows[arm]["median"]))

    @property
    def modes(self) -> float | None:
        """How many there are to cover; None where nobody can count them."""
        return full_cover(self.data)

    @cached_property
    def real(self) -> float:
        """The primary score of real samples, as many as the final ones."""
        samples, other = (reference(self.data, self.about.samples, index) for index in (1, 0))
        return evaluate(samples, self.data, [self.primary], real=other)[self.primary]

    def finals(self, arm: str) -> np.ndarray:
        """The final primary scores of an arm, (seeds,); of a run without one the worst."""
        return np.array([settled(cell, "final", self.primary) for cell in self.cells[arm]])

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of an axis that holds all final scores and that of real data."""
        values = [self.finals(arm) for arm in self.cells]
        return limits(np.concatenate([*values, [self.real]]), self.primary)

    @property
    def arm_styles(self) -> dict[str, Style]:
        """How the arms are drawn."""
        return styles(self.cells)

    def bands(self, score: str) -> dict[str, Band]:
        """Of each arm, the median of a score at each look and its interval, (looks,) each."""
        return {
            arm: intervals(at_looks(cells, score, self.looks)) for arm, cells in self.cells.items()
        }

    def successes(self, ever: bool = False) -> dict[str, np.ndarray]:
        """Of each arm, the share of seeds that cover all modes, (looks,); none without modes.

        Args:
            ever: count those too that have covered them at an earlier look.
        """
        if self.modes is None:
            return {}
        return {
            arm: successes(cells, self.modes, self.looks, ever) for arm, cells in self.cells.items()
        }

    def selections(self) -> dict[str, dict[str, np.ndarray]]:
        """Of each arm with several operators, best first, the shares of survivors these made."""
        shares = {arm: selections(self.cells[arm], self.looks) for arm in self.ranked}
        return {arm: found for arm, found in shares.items() if len(found) > 1}

    @property
    def operator_styles(self) -> dict[str, Style]:
        """How those operators are drawn."""
        shares = self.selections()
        return styles(dict.fromkeys(name for arm in shares for name in shares[arm]))

    def median_cell(self, arm: str) -> Cell:
        """The cell of an arm whose final score is the median."""
        return median_cell(self.cells[arm], self.about)

    def samples(self, cell: Cell) -> np.ndarray | None:
        """Of a cell's final generator, (n, *shape), float32; None where it left none."""
        path = self.folder.samples(self.name, cell["arm"], cell["seed"])
        return np.load(path) if path.is_file() else None


def comparisons(folder: Folder, study: Study, cells: Sequence[Cell]) -> list[Comparison]:
    """A study data set by data set; arms and data sets without a finished cell are left out.

    Args:
        folder: where it lies.
        study: what was compared.
        cells: finished ones.

    Raises:
        UsageError: the data cannot be made.
    """
    rows = summary(study, cells)
    found = (_comparison(folder, study, each, cells, rows) for each in study.data)
    return [each for each in found if each.cells]


def _comparison(
    folder: Folder, study: Study, data: DataSet, cells: Sequence[Cell], rows: Sequence[Row]
) -> Comparison:
    ours = sorted(
        (cell for cell in cells if cell["data"] == data.name), key=lambda cell: cell["seed"]
    )
    by_arm = {arm.name: [cell for cell in ours if cell["arm"] == arm.name] for arm in study.arms}
    return Comparison(
        about=data,
        data=make_data(data.source, data.options),
        looks=study.looks,
        cells={arm: found for arm, found in by_arm.items() if found},
        rows={row["arm"]: row for row in rows if row["data"] == data.name},
        folder=folder,
    )


def distances(score: str) -> bool:
    """Whether a score is a distance to the data: 0 is perfect, and orders of magnitude count."""
    return score_of(score).better == "lower"


def limits(values: np.ndarray, score: str) -> tuple[float, float]:
    """Ends of an axis, logarithmic for distances, that holds all finite values of a score."""
    known = values[np.isfinite(values) & ((values > 0) | (not distances(score)))]
    if not len(known):
        return 0.1, 1.0
    low, high = float(known.min()), float(known.max())
    if distances(score):
        return low / 1.25, high * 1.25
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def at_looks(cells: Sequence[Cell], score: str, looks: int) -> np.ndarray:
    """A score of each cell at each look, (cells, looks); where there is none, the worst."""
    values = np.full((len(cells), looks), lost(score))
    for place, cell in enumerate(cells):
        for look in cell["looks"]:
            value = look["scores"].get(score)
            if value is not None:
                values[place, index(look, looks)] = value
    return values


def index(look: Mapping[str, Any], looks: int) -> int:
    """Which of the looks it is, from 0."""
    return min(looks, max(1, round(look["share"] * looks))) - 1


def intervals(values: np.ndarray) -> Band:
    """Median of each column and its interval; infinities count as the numbers they are."""
    middle, low, high = np.array([median_interval(column) for column in values.T]).T
    return middle, low, high


def successes(cells: Sequence[Cell], modes: float, looks: int, ever: bool) -> np.ndarray:
    """The share of cells that cover all modes at each look, or have ever done so, (looks,)."""
    covers = at_looks(cells, "modes", looks) >= modes
    if ever:
        covers = np.maximum.accumulate(covers, axis=1)
    return np.asarray(covers.mean(axis=0))


def selections(cells: Sequence[Cell], looks: int) -> dict[str, np.ndarray]:
    """By operator the share of survivors that it made before each look, (looks,), mean over cells.

    Cells that stopped before a look are left out of its mean; nan where all had.
    """
    names = dict.fromkeys(
        name for cell in cells for look in cell["looks"] for name in look["selection"]
    )
    found = {name: np.full((len(cells), looks), math.nan) for name in names}
    for place, cell in enumerate(cells):
        for look in cell["looks"]:
            for name in names:
                found[name][place, index(look, looks)] = look["selection"].get(name, 0.0)
    return {name: _means(values) for name, values in found.items()}


def _means(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    count = known.sum(axis=0)
    sums = np.where(known, values, 0).sum(axis=0)
    return np.divide(sums, count, out=np.full(len(count), math.nan), where=count > 0)


def median_cell(cells: Sequence[Cell], data: DataSet) -> Cell:
    """The cell whose final primary score is the median; of two in the middle the worse one."""
    worth = merits(data, cells)
    order = sorted(range(len(cells)), key=lambda place: -worth[place])
    return cells[order[len(cells) // 2]]
