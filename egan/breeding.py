"""Breeding: the children of a generation, made by the moves of their mutations, then judged.

An engine gives gradients and fitness; what is done with them is the same under every engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from egan.engines import Engine
from egan.scene import INHERITED, Brood, Evidence, Member, Slopes
from egan.variation import (
    anew,
    heir,
    perturbed,
    pool_moments,
    regularised,
    settle_fitness,
    stepped,
)
from populations.individual import Individual
from populations.selection import may_survive


def breed(engine: Engine, parents: Sequence[Member]) -> list[Brood]:
    """The children of each parent, judged; and the parents too, where that is wanted.

    Args:
        engine: computes gradients and fitness.
        parents: of one run or of several, whose plans differ in their seeds only; not changed.
    """
    plan = parents[0].plan
    if plan.chain:
        return [chain(engine, each) for each in parents]
    broods = vary(engine, parents)
    if plan.parents_too:
        broods = [
            replace(brood, parent=anew(each.individual))
            for each, brood in zip(parents, broods, strict=True)
        ]
    judge(engine, [
        each._replace(individual=one)
        for each, brood in zip(parents, broods, strict=True)
        for one in brood.candidates()
    ])  # fmt: skip
    return broods


def judge(engine: Engine, candidates: Sequence[Member]) -> None:
    """Give candidates their fitness, and note whether they are finite."""
    plan = candidates[0].plan
    found = engine.judge(candidates) if plan.samples else []
    settle_fitness([each.individual for each in candidates], found, plan)


def chain(engine: Engine, parent: Member) -> Brood:
    """A parent's mutations one after the other, a child taking its place where it is fitter.

    The first child is accepted as it is; every other is the child of the last one accepted, and is
    accepted where it is fitter. The aliased lists of the authors' Theano code make this of a
    generation of one parent.
    """
    plan, scene = parent.plan, parent.scene
    evidence: Evidence | None = None
    best: Individual | None = None
    children: list[Individual] = []
    for turn, mutation in enumerate(scene.mutations(plan, parent.slot)):
        link = parent._replace(
            individual=best or parent.individual,
            scene=replace(scene, chosen={parent.slot: (mutation,)}),
            phase=turn * plan.phases(),
        )
        (brood,) = vary(engine, [link])
        judge(engine, [link._replace(individual=child) for child in brood.children])
        (child,) = brood.children
        children.append(child)
        evidence = evidence or brood.evidence
        if may_survive(child, plan.samples > 0) and (best is None or child.total > best.total):
            best = child
    if plan.moments != INHERITED:
        pool_moments(parent.individual, children)
    return Brood(children, evidence, accepted=[best] if best else [])


def vary(engine: Engine, parents: Sequence[Member]) -> list[Brood]:
    """The children of each parent by its mutations, not judged yet.

    The first moves of siblings share one pass of their parent; later ones have a pass each.
    """
    mutations = [each.scene.mutations(each.plan, each.slot) for each in parents]
    broods = _moved(engine, parents, mutations, 0)
    for phase in range(1, parents[0].plan.phases()):
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
    members = [
        parent._replace(individual=children[place], phase=parent.phase + phase)
        for children, place, parent, _ in places
    ]
    moved = _moved(engine, members, [[mutation] for *_, mutation in places], phase)
    for (children, place, *_), brood in zip(places, moved, strict=True):
        (children[place],) = brood.children


def _accumulated(engine: Engine, members: Sequence[Member]) -> list[Slopes]:
    """The gradients that each member's moves need: the means over the parts of its batch."""
    found = [engine.differentiate(members)]
    for part in range(1, members[0].plan.accumulation):
        members = [
            each._replace(
                part=part, individual=replace(each.individual, buffers=dict(made.buffers))
            )
            for each, made in zip(members, found[-1], strict=True)
        ]
        found.append(engine.differentiate(members))
    return [_mean(parts) for parts in zip(*found, strict=True)]


def _mean(parts: Sequence[Slopes]) -> Slopes:
    """What the passes of all parts of a batch give together."""
    if len(parts) == 1:
        return parts[0]
    gradients = [
        torch.stack(each).mean(0) for each in zip(*(part.gradients for part in parts), strict=True)
    ]
    made = [part.evidence.samples for part in parts if part.evidence]
    return Slopes(gradients, parts[-1].buffers, Evidence(torch.cat(made), None) if made else None)


def _moved(
    engine: Engine, members: Sequence[Member], mutations: Sequence[Sequence[int]], number: int
) -> list[Brood]:
    """What each member becomes by the move of that number of each of its mutations."""
    members = [
        each._replace(losses=each.plan.steps_on(chosen, number))
        for each, chosen in zip(members, mutations, strict=True)
    ]
    differ = [each for each in members if each.losses]
    found = map(regularised, differ, _accumulated(engine, differ) if differ else [])
    broods = []
    for each, chosen in zip(members, mutations, strict=True):
        slopes = next(found) if each.losses else Slopes([], {})
        gradients = iter(slopes.gradients)
        children = []
        for mutation in chosen:
            child = each.individual if number else heir(each, mutation)
            move = each.plan.moves[mutation][number]
            children.append(
                stepped(each, child, next(gradients), slopes.buffers)
                if isinstance(move, int)
                else perturbed(each, child, move)
            )
        broods.append(Brood(children, slopes.evidence))
    return broods
