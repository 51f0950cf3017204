"""Who descends from whom in a run, thinned to what a picture can show."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from egan.monitor import Row

FOUNDER = "initial"  # what made the first generation's parents


class Birth(NamedTuple):
    """Where an individual comes from.

    Attributes:
        parent: its number; -1 of a founder.
        mutation: or another operator, that made it.
        generation: after which it is in the log for the first time.
    """

    parent: int
    mutation: str
    generation: int


@dataclass
class Ancestry:
    """All individuals that ever survived, and who lived after which generation.

    Attributes:
        births: of individuals, by number.
        generations: with a population each, in order; 0 that of the founders.
        populations: the numbers of those who lived, as often as they are in it.
    """

    births: dict[int, Birth] = field(default_factory=dict)
    generations: list[int] = field(default_factory=list)
    populations: list[array[int]] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Add a row of the log; the first one tells of the founders too."""
        if not self.generations:
            founders = range(len(row["population"]))
            self.births |= {number: Birth(-1, FOUNDER, 0) for number in founders}
            self._append(0, founders)
        for one in [*row.get("between", []), *row["population"]]:
            birth = Birth(one["parent"], one["mutation"], row["generation"])
            self.births.setdefault(one["number"], birth)
        self._append(row["generation"], (one["number"] for one in row["population"]))

    def _append(self, generation: int, numbers: Iterable[int]) -> None:
        self.generations.append(generation)
        self.populations.append(array("q", numbers))

    def descent(self, number: int) -> Iterator[int]:
        """An individual, its parent, and so on to the founder."""
        while number in self.births:
            yield number
            number = self.births[number].parent


def common_ancestor(ancestry: Ancestry, numbers: Iterable[int]) -> int | None:
    """The youngest individual from whom all descend, or which they are; None where none is."""
    first, *others = dict.fromkeys(numbers)
    lines = [set(ancestry.descent(number)) for number in others]
    return next(
        (one for one in ancestry.descent(first) if all(one in line for line in lines)), None
    )


class Node(NamedTuple):
    """An individual at a moment.

    Attributes:
        generation: the moment.
        lane: its place in the population, which is centred on 0.
        number: the individual's.
        ancestor: the index of the node that it descends from, or is the same as; None of founders.
        lasting: whether the last population descends from it.
    """

    generation: int
    lane: float
    number: int
    ancestor: int | None
    lasting: bool


def thinned(ancestry: Ancestry, moments: int) -> list[Node]:
    """The population at evenly spread moments, each individual joined to its latest ancestor.

    Neighbours are those whose ancestors were, so that few lines cross.

    Args:
        ancestry: of a run.
        moments: at most so many are shown; the first and the last always are.
    """
    last = len(ancestry.generations) - 1
    nodes: list[Node] = []
    latest: dict[int, int] = {}  # of the individuals that have been shown, their latest nodes
    for moment in np.unique(np.linspace(0, last, min(moments, last + 1)).round().astype(int)):
        nodes += _nodes(ancestry, int(moment), nodes, latest)
        first = len(nodes) - len(set(ancestry.populations[moment]))
        latest |= {node.number: first + place for place, node in enumerate(nodes[first:])}
    return _marked(nodes, ancestry.generations[last])


def _nodes(
    ancestry: Ancestry, moment: int, nodes: Sequence[Node], latest: Mapping[int, int]
) -> list[Node]:
    """Those of one moment, in the order of their ancestors' lanes."""
    found = {
        number: next((latest[one] for one in ancestry.descent(number) if one in latest), None)
        for number in set(ancestry.populations[moment])
    }

    def place(number: int) -> tuple[float, int]:
        ancestor = found[number]
        return (0.0 if ancestor is None else nodes[ancestor].lane), number

    middle = (len(found) - 1) / 2
    return [
        Node(ancestry.generations[moment], lane - middle, number, found[number], False)
        for lane, number in enumerate(sorted(found, key=place))
    ]


def _marked(nodes: list[Node], last: int) -> list[Node]:
    """The same nodes; those from whom the last generation's descend are lasting."""
    lasting: set[int] = set()
    for index in range(len(nodes) - 1, -1, -1):
        ancestor = nodes[index].ancestor
        if nodes[index].generation == last or index in lasting:
            lasting |= {index} if ancestor is None else {index, ancestor}
    return [node._replace(lasting=index in lasting) for index, node in enumerate(nodes)]
