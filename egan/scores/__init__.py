"""Judges that selection does not see: a name for each, and which data it can judge."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from egan.data import Data, Mixture, Stacked, Table
from egan.scores import classes, distributions, manifolds, modes, perceptual
from egan.scores.distances import energy_distance
from egan.scores.features import (
    AUTO,
    feature_networks,
    learned_by,
    look,
    memory_of,
    names_of,
    network_of,
    reference_of,
)
from egan.scores.perceptual import distance_of, distances
from populations.errors import UsageError
from populations.randomness import generator as keyed
from populations.registry import spell

SAMPLES, STACKED_SAMPLES = 10_000, 26_000
LOOK_SAMPLES, SAMPLES_PER_MODE = 2_000, 10
FLOOR_DRAWS = 3  # pairs of real samples that a floor is averaged over


class Score(NamedTuple):
    """A judge.

    Attributes:
        function: of samples and what `needs` says.
        needs: "real" samples of the same number, the "mixture", known "modes" (of a mixture, or of
            stacked images), "labels" (of a table, or of what is stacked); "nothing" but images
            large enough; a distance of "pairs" of these; or the "features" of images, or "logits"
            too, in the place of samples, and those of the data; or of all the data, which must have
            samples that are "unseen" too.
        better: whether "higher" or "lower" values are better, or those near the 1 of "real" data.
    """

    function: Callable[..., float]
    needs: Literal[
        "real", "mixture", "modes", "labels", "nothing", "pairs", "features", "logits", "unseen"
    ]
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
    "frechet-distance": Score(distributions.frechet_distance, "features", "lower"),
    "kernel-distance": Score(distributions.kernel_distance, "features", "lower"),
    "inception-score": Score(distributions.inception_score, "logits", "higher"),
    "precision": Score(manifolds.precision, "features", "higher"),
    "recall": Score(manifolds.recall, "features", "higher"),
    "density": Score(manifolds.density, "features", "real"),
    "coverage": Score(manifolds.coverage, "features", "higher"),
    "authenticity": Score(manifolds.authenticity, "unseen", "higher"),
    "ms-ssim": Score(distributions.ms_ssim, "nothing", "lower"),
    "perceptual-diversity": Score(perceptual.perceptual_diversity, "pairs", "higher"),
}

__all__ = [
    "AUTO", "Score", "accuracy", "applicable", "distances", "energy_distance", "evaluate",
    "feature_networks", "floors", "full_cover", "look_samples_of", "named", "note", "primary_of",
    "reference", "samples_of", "score_of", "scores",
]  # fmt: skip


def score_of(name: str) -> Score:
    """The score of a name, which may go on with that of what sees images: `precision/random`."""
    return scores[name.partition("/")[0]]


def applicable(data: Data, features: Any = AUTO, distance: Any = None) -> list[str]:
    """The names of the scores that can judge these data.

    Args:
        data: to be judged.
        features: the feature network that sees images; see `features.network_of`.
        distance: by which the diversity of images is judged too; see `perceptual.distance_of`.

    Raises:
        UsageError: there is no such network or distance, or the data are no images for it.
    """
    kinds = _kinds(data, features)
    names = [name for name, score in scores.items() if score.needs in kinds]
    names += [] if distance is None else _by_pairs(data, distance)
    if not isinstance(data, Table) or not _is_image(data):
        return names
    network = network_of(data, features)
    kinds = {"features"}
    kinds |= {"logits"} if network.classifies else set()
    kinds |= {"unseen"} if data.unseen else set()
    seen = [name for name, score in scores.items() if score.needs in kinds]
    return [*names, *names_of(seen, network)]


def _by_pairs(data: Data, distance: Any) -> list[str]:
    if not _is_image(data):
        raise UsageError(
            f"the distance {spell(distance)!r} compares images, and {data.name} are none: use no "
            "records.distance."
        )
    distance_of(distance)
    return [f"{name}/{spell(distance)}" for name, each in scores.items() if each.needs == "pairs"]


def _kinds(data: Data, features: Any) -> set[str]:
    kinds = {"real"}
    kinds |= {"mixture", "modes"} if isinstance(data, Mixture) else set()
    kinds |= {"modes", "labels"} if isinstance(data, Stacked) else set()
    kinds |= {"labels"} if isinstance(data, Table) and learned_by(data, features) else set()
    kinds |= {"nothing"} if _is_image(data) and distributions.scales(data.shape[1:]) > 1 else set()
    return kinds


def _is_image(data: Data) -> bool:
    return len(data.shape) == 3


def named(name: str, names: Sequence[str]) -> str | None:
    """Which of the names is meant: by a score's name alone that by the feature network in use."""
    return next((each for each in names if name in (each, each.partition("/")[0])), None)


def primary_of(data: Data) -> str:
    """The score by which methods are compared on these data."""
    if isinstance(data, Table) and _is_image(data):
        return names_of(["frechet-distance"], network_of(data))[0]
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


def accuracy(data: Data, features: Any = AUTO) -> float | None:
    """Of the classifier through which scores see the data; None where they see without one.

    It is trained now unless the cache has it.

    Args:
        data: to be judged.
        features: the feature network that sees images.

    Raises:
        UsageError: it is too bad to count modes.
    """
    if isinstance(data, Stacked):
        return classes.judge_of(data).accuracy
    judge = learned_by(data, features) if isinstance(data, Table) else None
    return judge.accuracy if judge else None


def note(data: Data) -> str:
    """What whoever reads scores on these data must know; empty: nothing."""
    own: str = getattr(data.table if isinstance(data, Stacked) else data, "note", "")
    return own


def reference(data: Data, count: int, index: int = 0) -> Tensor:
    """Real samples to compare with, the same for every run on these data."""
    return data.draw(count, keyed(0, 0, "reference", index))


def evaluate(
    samples: Tensor,
    data: Data,
    names: Sequence[str] | None = None,
    real: Tensor | None = None,
    features: Any = AUTO,
    distance: Any = None,
) -> dict[str, float]:
    """Every score of samples that can judge these data.

    Args:
        samples: (n, *shape), float32, on the CPU.
        data: what they should look like.
        names: which scores, as `applicable` names them, or without what sees images; default: all
            that apply.
        real: real samples; default: as many as there are samples.
        features: the feature network, where a name tells none.
        distance: of pairs of images, likewise.

    Raises:
        UsageError: there is no such network or distance, or it cannot see these data.
    """
    names = applicable(data, features, distance) if names is None else names
    if not bool(torch.isfinite(samples).all()):
        return dict.fromkeys(names, float("nan"))
    real = reference(data, len(samples)) if real is None else real
    return {name: _value(name, samples, data, real, features, distance) for name in names}


def _value(
    name: str, samples: Tensor, data: Any, real: Tensor, features: Any, distance: Any
) -> float:
    score, by = score_of(name), name.partition("/")[2]
    if score.needs in ("features", "logits", "unseen"):
        sees = network_of(data, _meant(by, features))
        known = memory_of if score.needs == "unseen" else reference_of
        return score.function(look(samples, sees), known(data, sees))
    if score.needs == "pairs":
        return score.function(samples, distance_of(_meant(by, distance)))
    if score.needs == "nothing":
        return score.function(samples)
    return score.function(samples, real if score.needs == "real" else data)


def _meant(told: str, given: Any) -> Any:
    """What sees images: as a score's name tells, unless that is what was given."""
    return told if told and told != spell(given) else given


def floors(data: Data, count: int, features: Any = AUTO, distance: Any = None) -> dict[str, float]:
    """What real data score at that number of samples: the floor or ceiling beside each score.

    They are the unseen ones where the data come with such.
    """
    fresh = data.unseen if isinstance(data, Table) and data.unseen else data
    rows = [
        evaluate(
            reference(fresh, count, 2 * draw + 1), data, real=reference(data, count, 2 * draw),
            features=features, distance=distance,
        )
        for draw in range(FLOOR_DRAWS)
    ]  # fmt: skip
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
