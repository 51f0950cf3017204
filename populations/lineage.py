"""Who descends from whom, by which mutation: integers and names only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from populations.individual import Individual


def child_number(generation: int, place: int, mu: int, most: int) -> int:
    """A number for a child that no other child of the run has.

    The first generation's parents have the numbers 0 to mu - 1.

    Args:
        generation: in which it is born.
        place: among all children that could be born in it, from 0.
        mu: parents.
        most: children that could be born in a generation.
    """
    return mu + generation * most + place


def shares(names: Iterable[str], mutations: Iterable[str]) -> dict[str, float]:
    """The share of each mutation among `names`; all zero where `names` has none of them."""
    known = list(mutations)
    counts = Counter(name for name in names if name in known)
    total = sum(counts.values()) or 1
    return {name: counts[name] / total for name in known}


def pedigree(population: Iterable[Individual]) -> list[dict[str, int | str]]:
    """One row an individual: number, parent, mutation."""
    return [
        {"number": one.number, "parent": one.parent, "mutation": one.mutation} for one in population
    ]
