"""Selections: who survives. Each takes the children that may survive and says which do.

They return references and may name a child twice (tournaments do); nothing mutates a survivor.
Children without a valid fitness are sorted out before (see `select`), since DEAP's comparisons do
not order NaN. DEAP's selections by several numbers, or by numbers other than the fitness, are given
light stand-ins for the children.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from deap import tools

from populations.individual import Individual, is_finite
from populations.ranking import mid_ranks
from populations.registry import lookup

Population = list[Individual]
PRESSURE = 1.5  # of linear ranking; at 2, its highest, it would choose as tournaments of two do


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


def lexicase(children: Sequence[Individual], count: int) -> Population:
    """Group by group of samples in random order, who is near the best (epsilon-lexicase).

    La Cava et al. (2016), automatic and dynamic: near is within the median absolute deviation of
    those still in. It keeps specialists, who are best on few groups and poor on average. A child
    that was judged on no groups (`Individual.cases`) has its total as its only case.
    """
    cases = [child.cases or (child.total,) for child in children]
    return _through(tools.selAutomaticEpsilonLexicase, children, cases, count)


def roulette(children: Sequence[Individual], count: int) -> Population:
    """In proportion to the total fitness above the worst total, drawn with replacement.

    Window scaling (Grefenstette, 1986): totals may be negative and have no zero of their own. The
    worst is never drawn, unless all are equal: then the draw is uniform.
    """
    worst = min(child.total for child in children)
    above = [child.total - worst for child in children]
    return _spin(children, above if any(above) else [1.0] * len(above), count)


def rank(children: Sequence[Individual], count: int) -> Population:
    """In proportion to a linear function of the rank by total fitness, drawn with replacement.

    Linear ranking (Baker, 1985): of n children the best is drawn with probability 1.5 / n, the
    worst with 0.5 / n; equals share their ranks. The scale of the fitness plays no part.
    """
    ranks = mid_ranks([child.total for child in children])
    return _spin(children, [2 - PRESSURE + 2 * (PRESSURE - 1) * each for each in ranks], count)


def elites(children: Sequence[Individual], count: int) -> Population:
    """The fittest of each cell of behaviours, and then the fittest of the others (MAP-Elites).

    Mouret and Clune (2015). The cell of a child is the largest entry of its behaviour; of more
    cells than `count` those of the fittest are kept. The population is the archive: where parents
    compete, an elite is judged again in every generation, until a child of its cell is fitter.
    """
    ranked = best(children, len(children))
    cells = [_cell(child) for child in ranked]
    order = sorted(range(len(ranked)), key=lambda place: cells[place] in cells[:place])
    return [ranked[place] for place in order[:count]]


def _cell(child: Individual) -> int:
    """The place of the largest entry of the child's behaviour; -1 where nobody looked."""
    return max(range(len(child.behaviour)), key=child.behaviour.__getitem__, default=-1)


def chained(children: Sequence[Individual], count: int) -> Population:
    """Each parent's last accepted child: one mutation after the other, accepted if fitter.

    What the aliased lists of the authors' Theano code make of a generation of one parent: the first
    child is accepted as it is, and each one accepted is the parent of the next.
    """
    return list(children[:count])


class Marks(NamedTuple):
    """What DEAP reads of a fitness: numbers, and their signs."""

    values: tuple[float, ...]
    weights: tuple[float, ...]


class StandIn(NamedTuple):
    """A child with other marks than its fitness."""

    fitness: Marks
    child: Individual


def _spin(children: Sequence[Individual], shares: Sequence[float], count: int) -> Population:
    return _through(tools.selRoulette, children, [(each,) for each in shares], count)


def _through(
    choose: Callable[[list[StandIn], int], list[StandIn]],
    children: Sequence[Individual],
    values: Sequence[tuple[float, ...]],
    count: int,
) -> Population:
    """The children that a selection of DEAP's chooses by these values, all maximised."""
    marks = [Marks(each, (1.0,) * len(each)) for each in values]
    chosen = choose(list(map(StandIn, marks, children)), count)
    return [one.child for one in chosen]


class Selection(NamedTuple):
    """A way to choose survivors, and what must be known of the children for it.

    Attributes:
        choose: of children, how many.
        reads_fitness: otherwise none is computed.
        needs: beside the total fitness: "diversity" as an objective of its own, or the "cases" or
            the "behaviour" of `Individual`.
        chain: whether a parent's children are made and accepted one after the other, so that one
            of them at most is left to survive.
    """

    choose: Callable[[Sequence[Individual], int], Population]
    reads_fitness: bool = True
    needs: Literal["", "diversity", "cases", "behaviour"] = ""
    chain: bool = False


selections: dict[str, Selection] = {
    "best": Selection(best),
    "tournament": Selection(tournament),
    "rank": Selection(rank),
    "roulette": Selection(roulette),
    "lexicase": Selection(lexicase, needs="cases"),
    "nsga2": Selection(nsga2, needs="diversity"),
    "map-elites": Selection(elites, needs="behaviour"),
    "chain": Selection(chained, chain=True),
    "random": Selection(at_random, reads_fitness=False),
}


def resolve(name: Any) -> Selection:
    """The selection of that name; a bare callable is taken to read the fitness."""
    found = lookup("selection", name, selections)
    return found if isinstance(found, Selection) else Selection(found)


def may_survive(child: Individual, judged: bool) -> bool:
    """Whether weights and, where children are judged, the fitness are finite."""
    return is_finite(child) and (child.fitness.valid or not judged)


def select(
    selection: Selection, children: Sequence[Individual], count: int, judged: bool
) -> Population:
    """At most `count` survivors among the children whose weights and fitness are finite.

    With fewer fit children than `count` all of them survive; with none the list is empty.
    """
    fit = [child for child in children if may_survive(child, judged)]
    return list(fit) if len(fit) <= count else selection.choose(fit, count)
