"""Breeding: the children of a generation, made by the moves of their mutations, then judged.

An engine gives gradients and fitness; what is done with them is the same under every engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from egan.engines import Engine
from egan.variation import (
    INHERITED,
    Brood,
    Member,
    heir,
    pool_moments,
    settle_fitness,
    stepped,
)


def breed(engine: Engine, parents: Sequence[Member]) -> list[Brood]:
    """The children of each parent, judged.

    Args:
        engine: computes gradients and fitness.
        parents: of one run or of several, whose plans differ in their seeds only; not changed.
    """
    broods = vary(engine, parents)
    candidates = [
        parent._replace(individual=child)
        for parent, brood in zip(parents, broods, strict=True)
        for child in brood.children
    ]
    judge(engine, candidates)
    return broods


def judge(engine: Engine, candidates: Sequence[Member]) -> None:
    """Give candidates their fitness, and note whether they are finite."""
    plan = candidates[0].plan
    found = engine.judge(candidates) if plan.samples else []
    settle_fitness([each.individual for each in candidates], found, plan.gamma)


def vary(engine: Engine, parents: Sequence[Member]) -> list[Brood]:
    """The children of each parent by its mutations, not judged yet.

    The first moves of siblings share one pass of their parent; later ones have a pass each.
    """
    mutations = [each.scene.mutations(each.plan, each.slot) for each in parents]
    broods = _moved(engine, parents, mutations, 0)
    for phase in range(1, max(len(moves) for moves in parents[0].plan.moves)):
        _move_on(engine, parents, mutations, broods, phase)
    for parent, brood in zip(parents, broods, strict=True):
        if parent.plan.moments != INHERITED:
            pool_moments(parent.individual, brood.children)
    return broods


def _move_on(
    engine: Engine,
    parents: Sequence[Member],
    mutations: Sequence[Sequence[int]],
    broods: list[Brood],
    phase: int,
) -> None:
    """Make the move of that number of all children whose mutations have so many."""
    places = [
        (brood.children, place, parent, mutation)
        for parent, brood, chosen in zip(parents, broods, mutations, strict=True)
        for place, mutation in enumerate(chosen)
        if phase < len(parent.plan.moves[mutation])
    ]
    members = [parent._replace(individual=children[place]) for children, place, parent, _ in places]
    moved = _moved(engine, members, [[mutation] for *_, mutation in places], phase)
    for (children, place, *_), brood in zip(places, moved, strict=True):
        (children[place],) = brood.children


def _moved(
    engine: Engine,
    members: Sequence[Member],
    mutations: Sequence[Sequence[int]],
    phase: int,
) -> list[Brood]:
    """What each member becomes by the move of that number of each of its mutations."""
    members = [
        each._replace(
            losses=tuple(each.plan.moves[mutation][phase] for mutation in chosen),
            phase=each.phase + phase,
        )
        for each, chosen in zip(members, mutations, strict=True)
    ]
    broods = []
    for each, chosen, slopes in zip(members, mutations, engine.differentiate(members), strict=True):
        drafts = [each.individual if phase else heir(each, mutation) for mutation in chosen]
        children = [
            stepped(each, draft, gradient, slopes.buffers)
            for draft, gradient in zip(drafts, slopes.gradients, strict=True)
        ]
        broods.append(Brood(children, slopes.evidence))
    return broods
