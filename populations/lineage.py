"""Who descends from whom, by which mutation: numbers and names only."""

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


def birth(number: int, mu: int, most: int) -> int:
    """The generation of the child that has that number; -1 of the first generation's parents.

    Args:
        number: the individual's.
        mu: parents.
        most: children that could be born in a generation.
    """
    return (number - mu) // most


def shares(names: Iterable[str], mutations: Iterable[str]) -> dict[str, float]:
    """The share of each mutation among `names`; all zero where `names` has none of them."""
    known = list(mutations)
    counts = Counter(name for name in names if name in known)
    total = sum(counts.values()) or 1
    return {name: counts[name] / total for name in known}


def pedigree(individuals: Iterable[Individual]) -> list[dict[str, int | str | float]]:
    """One row an individual: number, parent, mutation, total fitness."""
    return [
        {"number": one.number, "parent": one.parent, "mutation": one.mutation, "fitness": one.total}
        for one in individuals
    ]


def between(survivors: Iterable[Individual], children: Iterable[Individual]) -> list[Individual]:
    """Children that do not survive, and by way of which survivors descend from their parents.

    There are some where children have children in the same generation: crossovers, chains.
    """
    born, kept = {one.number: one for one in children}, {one.number: one for one in survivors}
    found: set[int] = set()
    for one in kept.values():
        number = one.parent
        while number in born:
            found.add(number)
            number = born[number].parent
    return [born[number] for number in sorted(found - set(kept))]
