"""Choices: which operators a parent's children are made by, one or two a generation instead of all.

Adaptive choices learn from gains: what a child's total fitness has over its parent's, on the same
samples and in the same environment. The scale of gains drifts while a run goes on, so what counts
as a reward is a gain's rank among recent ones (Fialho et al., 2010). Random draws come from the
global generators, which the caller seeds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from populations.ranking import mid_ranks
from populations.registry import lookup

History = list[tuple[str, float]]
"""Recent pairs of an operator's name and a gain, the oldest first: plain data for a checkpoint."""

WINDOW = 50  # pairs an operator that are remembered, on average
NEUTRAL = 0.5  # reward of an operator that nothing is known of: the mean of all ranks
FLOOR = 0.25  # of probability matching, in shares of a uniform draw
EXPLORATION = 0.6  # of upper bounds; regret in a sliding window is bounded for values above 1/2


def remember(history: History, pairs: Iterable[tuple[str, float]], operators: int) -> History:
    """The history with more pairs, cut to the most recent `WINDOW` times the number of operators.

    One window for all operators, so that the ranks in it compare gains of the same time; what an
    operator did before is forgotten, and it is tried anew.

    Args:
        history: not changed.
        pairs: of operator and gain; a child that is not finite has the gain -inf, as has NaN.
        operators: how many there are to choose from.
    """
    known = [(name, -math.inf if math.isnan(gain) else float(gain)) for name, gain in pairs]
    return [*history, *known][-WINDOW * operators :]


def rewards(history: History, operators: Iterable[str]) -> dict[str, list[float]]:
    """The rewards in [0, 1] of each operator: mid-ranks of its gains among all in the history."""
    found: dict[str, list[float]] = {name: [] for name in operators}
    ranks = mid_ranks([gain for _, gain in history])
    for (name, _), rank in zip(history, ranks, strict=True):
        if name in found:
            found[name].append(rank)
    return found


def every(history: History, operators: Sequence[str], count: int, turn: int) -> list[str]:
    """All operators, whatever the count (the paper)."""
    return list(operators)


def round_robin(history: History, operators: Sequence[str], count: int, turn: int) -> list[str]:
    """One after the other, in order: consecutive turns take consecutive operators."""
    return [operators[(turn * count + place) % len(operators)] for place in range(count)]


def uniform(history: History, operators: Sequence[str], count: int, turn: int) -> list[str]:
    """Uniform without replacement: the control."""
    return random.sample(list(operators), count)


def probability_matching(
    history: History, operators: Sequence[str], count: int, turn: int
) -> list[str]:
    """In proportion to the mean recent reward, never below a quarter of a uniform share.

    Goldberg (1990) with the least probability of Thierens (2005), here 1 / 4K for K operators.
    Further operators are drawn among those that are left.
    """
    means = {name: _mean(own) for name, own in rewards(history, operators).items()}
    least, total = FLOOR / len(means), sum(means.values())
    shares = {name: least + (1 - FLOOR) * mean / total for name, mean in means.items()}
    # The first to happen of events at these rates is drawn in proportion to them, and so on.
    return _highest({name: -random.expovariate(share) for name, share in shares.items()}, count)


def ucb(history: History, operators: Sequence[str], count: int, turn: int) -> list[str]:
    """The highest upper bounds on the mean recent reward; untried operators first.

    UCB1 (Auer et al., 2002) in a sliding window (Garivier and Moulines, 2011): the bound is the
    mean plus sqrt(0.6 ln n / n_i) for n_i of the window's n rewards. Ties are broken at random;
    but for them, all parents who read one history are given the same operators.
    """
    known = rewards(history, operators)
    total = sum(map(len, known.values()))

    def bound(name: str) -> float:
        own = known[name]
        return _mean(own) + math.sqrt(EXPLORATION * math.log(total) / len(own)) if own else math.inf

    return _highest({name: bound(name) for name in operators}, count)


def thompson(history: History, operators: Sequence[str], count: int, turn: int) -> list[str]:
    """The highest draws from Beta posteriors of the mean recent reward.

    Agrawal and Goyal (2012), from a uniform prior; a reward between 0 and 1 counts as a success
    and a failure in part, so that the history alone fixes the posterior.
    """
    draws = {
        name: random.betavariate(1 + sum(own), 1 + len(own) - sum(own))
        for name, own in rewards(history, operators).items()
    }
    return _highest(draws, count)


def _mean(own: Sequence[float]) -> float:
    return sum(own) / len(own) if own else NEUTRAL


def _highest(scores: dict[str, float], count: int) -> list[str]:
    """The names of the highest scores, equal ones in random order."""
    shuffled = random.sample(list(scores), len(scores))
    return sorted(shuffled, key=lambda name: -scores[name])[:count]


class Choice(NamedTuple):
    """A way to choose operators.

    Attributes:
        choose: from a history, the operators' names (all different), how many to choose (at most
            all) and the parent's turn (0, 1, 2, ...): so many different names.
        reads_gains: whether the history matters; then parents must be judged beside their children.
    """

    choose: Callable[[History, Sequence[str], int, int], list[str]]
    reads_gains: bool = True


choices: dict[str, Choice] = {
    "all": Choice(every, reads_gains=False),
    "round-robin": Choice(round_robin, reads_gains=False),
    "random": Choice(uniform, reads_gains=False),
    "probability-matching": Choice(probability_matching),
    "ucb": Choice(ucb),
    "thompson": Choice(thompson),
}


def resolve(name: Any) -> Choice:
    """The choice of that name; a bare callable is taken to read the gains."""
    found = lookup("choice", name, choices)
    return found if isinstance(found, Choice) else Choice(found)
