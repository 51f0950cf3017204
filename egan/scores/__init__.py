"""Judges that selection does not see: a name for each, and which data it can judge."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from egan.data import Data, Mixture, Stacked, Table
from egan.scores import classes, modes
from egan.scores.distances import energy_distance
from populations.randomness import generator as keyed

SAMPLES, STACKED_SAMPLES = 10_000, 26_000
LOOK_SAMPLES, SAMPLES_PER_MODE = 2_000, 10
FLOOR_DRAWS = 3  # pairs of real samples that a floor is averaged over


class Score(NamedTuple):
    """A judge.

    Attributes:
        function: of samples and what `needs` says.
        needs: "real" samples of the same number, the "mixture", known "modes" (of a mixture, or of
            stacked images), or "labels" (of a table, or of what is stacked).
        better: whether "higher" or "lower" values are better, or those near the 1 of "real" data.
    """

    function: Callable[[Tensor, Any], float]
    needs: Literal["real", "mixture", "modes", "labels"]
    better: Literal["higher", "lower", "real"]

    def merit(self, score: float) -> float:
        """A number that is the higher the better; no score at all is the worst."""
        if math.isnan(score):
            return -math.inf
        return {"higher": score, "lower": -score, "real": -abs(score - 1)}[self.better]


scores: dict[str, Score] = {
    "modes": Score(modes.modes_covered, "modes", "higher"),
    "modes-lenient": Score(modes.modes_lenient, "mixture", "higher"),
    "high-quality": Score(modes.high_quality, "mixture", "higher"),
    "high-quality-box": Score(modes.high_quality_box, "mixture", "higher"),
    "reverse-kl": Score(modes.reverse_kl, "modes", "lower"),
    "reverse-kl-all": Score(modes.reverse_kl_all, "mixture", "lower"),
    "total-variation": Score(modes.total_variation, "modes", "lower"),
    "deviation-ratio": Score(modes.deviation_ratio, "mixture", "real"),
    "energy-distance": Score(energy_distance, "real", "lower"),
    "confidence": Score(classes.confidence, "labels", "higher"),
    "class-entropy": Score(classes.class_entropy, "labels", "higher"),
    "classes": Score(classes.classes_covered, "labels", "higher"),
}

__all__ = [
    "Score", "accuracy", "applicable", "energy_distance", "evaluate", "floors", "full_cover",
    "look_samples_of", "primary_of", "reference", "samples_of", "scores",
]  # fmt: skip


def applicable(data: Data) -> list[str]:
    """The names of the scores that can judge these data."""
    kinds = {"real"}
    kinds |= {"mixture", "modes"} if isinstance(data, Mixture) else set()
    kinds |= {"modes", "labels"} if isinstance(data, Stacked) else set()
    kinds |= {"labels"} if isinstance(data, Table) and data.labels is not None else set()
    return [name for name, score in scores.items() if score.needs in kinds]


def primary_of(data: Data) -> str:
    """The score by which methods are compared on these data."""
    return "reverse-kl" if isinstance(data, Stacked) else "energy-distance"


def samples_of(data: Data) -> int:
    """Samples on which methods are compared; of stacked images as many as published."""
    return STACKED_SAMPLES if isinstance(data, Stacked) else SAMPLES


def look_samples_of(data: Data) -> int:
    """Samples on which a run is judged along its way: enough for real ones to cover all modes.

    The number depends on nothing but the data, since a divergence of few samples is too large.
    """
    return max(LOOK_SAMPLES, int(SAMPLES_PER_MODE * (full_cover(data) or 0)))


def full_cover(data: Data) -> float | None:
    """All modes, as the score `modes` counts them; None where nobody can count."""
    return float(len(data.weights)) if isinstance(data, Mixture | Stacked) else None


def accuracy(data: Data) -> float | None:
    """Of the classifier through which scores see the data; None where they see without one.

    It is trained now unless the cache has it.

    Raises:
        UsageError: it is too bad to judge.
    """
    if isinstance(data, Stacked) or (isinstance(data, Table) and data.labels is not None):
        return classes.judge_of(data).accuracy
    return None


def reference(data: Data, count: int, index: int = 0) -> Tensor:
    """Real samples to compare with, the same for every run on these data."""
    return data.draw(count, keyed(0, 0, "reference", index))


def evaluate(
    samples: Tensor, data: Data, names: list[str] | None = None, real: Tensor | None = None
) -> dict[str, float]:
    """Every score of samples that can judge these data.

    Args:
        samples: (n, *shape), float32, on the CPU.
        data: what they should look like.
        names: which scores; default: all that apply.
        real: real samples; default: as many as there are samples.
    """
    if not bool(torch.isfinite(samples).all()):
        return {name: float("nan") for name in names or applicable(data)}
    real = reference(data, len(samples)) if real is None else real
    return {
        name: scores[name].function(samples, real if scores[name].needs == "real" else data)
        for name in names or applicable(data)
    }


def floors(data: Data, count: int) -> dict[str, float]:
    """What real data score at that number of samples: the floor or ceiling beside each score."""
    rows = [
        evaluate(reference(data, count, 2 * draw + 1), data, real=reference(data, count, 2 * draw))
        for draw in range(FLOOR_DRAWS)
    ]
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
