"""An archive: what earlier generations left, spread evenly over a run however long it gets.

Which generations it holds is a function of the generation reached alone: the multiples of a power
of two, the smallest of which there are not too many.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from populations.individual import Individual

Kept = TypeVar("Kept")


def stride(generation: int, size: int) -> int:
    """Generations between those kept: the least power of two with at most `size` multiples.

    Args:
        generation: how many are done.
        size: that may be kept, >= 0; of 0 none ever is.
    """
    return 1 << (generation // (size + 1)).bit_length()


def archived(archive: list[Kept], latest: Kept, generation: int, size: int) -> list[Kept]:
    """The archive after a generation; what was given stays as it is.

    Args:
        archive: after the generation before, oldest first.
        latest: what this generation leaves.
        generation: how many are done, >= 1.
        size: that may be kept.
    """
    step = stride(generation, size)
    kept = archive[1::2] if step > stride(generation - 1, size) else archive
    return kept if generation % step else [*kept, latest]


def generations(archive: list[Kept], generation: int, size: int) -> list[int]:
    """Which generation left each of an archive: how many were done."""
    step = stride(generation, size)
    return [step * (place + 1) for place in range(len(archive))]


def remembered(individual: Individual) -> Individual:
    """What is kept of an individual: what it is sampled with, and its ancestry; no moments."""
    weights = individual.weights if individual.average is None else individual.average
    return replace(individual, weights=weights, moments={}, evidence=None)
