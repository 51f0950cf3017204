"""Selections: who survives. Each takes the children that may survive and says which do.

They return references and may name a child twice (tournaments do); nothing mutates a survivor.
Children without a valid fitness are sorted out before (see `select`), since DEAP's comparisons do
not order NaN.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from deap import tools

from populations.individual import Individual, is_finite
from populations.registry import lookup

Population = list[Individual]


def best(children: Sequence[Individual], count: int) -> Population:
    """The highest total fitness (truncation; the paper's)."""
    return tools.selBest(children, count, fit_attr="total")


def tournament(children: Sequence[Individual], count: int) -> Population:
    """Winners of tournaments of two, drawn with replacement."""
    return tools.selTournament(children, count, tournsize=2, fit_attr="total")


def nsga2(children: Sequence[Individual], count: int) -> Population:
    """Pareto fronts over (quality, diversity), then crowding distance (Deb et al., 2002)."""
    return tools.selNSGA2(children, count)


def at_random(children: Sequence[Individual], count: int) -> Population:
    """Uniform without replacement, fitness unread: the control."""
    return random.sample(children, count)


class Selection(NamedTuple):
    """A way to choose survivors, and whether it reads the fitness (otherwise none is computed)."""

    choose: Callable[[Sequence[Individual], int], Population]
    reads_fitness: bool = True


selections: dict[str, Selection] = {
    "best": Selection(best),
    "tournament": Selection(tournament),
    "nsga2": Selection(nsga2),
    "random": Selection(at_random, reads_fitness=False),
}


def resolve(name: Any) -> Selection:
    """The selection of that name; a bare callable is taken to read the fitness."""
    found = lookup("selection", name, selections)
    return found if isinstance(found, Selection) else Selection(found)


def select(
    selection: Selection, children: Sequence[Individual], count: int, judged: bool
) -> Population:
    """At most `count` survivors among the children whose weights and fitness are finite.

    With fewer fit children than `count` all of them survive; with none the list is empty.
    """
    fit = [child for child in children if is_finite(child) and (child.fitness.valid or not judged)]
    return list(fit) if len(fit) <= count else selection.choose(fit, count)
