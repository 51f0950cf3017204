"""The generation loop: Algorithm 1 of Wang et al. (2018)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from egan.collapse import watched
from egan.environment import Environment
from egan.memory import remembering
from egan.scene import Litter
from egan.state import Generation, State
from egan.world import World
from populations.individual import without_evidence
from populations.randomness import borrowed


def evolve(state: State, world: World, until: int) -> Iterator[tuple[State, Generation]]:
    """Run generations, one an iteration, until that many are done."""
    while state.generation < until:
        state, happened = advance(state, world)
        yield state, happened
        del happened  # or its children would be kept while the next ones are bred


def advance(state: State, world: World) -> tuple[State, Generation]:
    """One generation of Algorithm 1.

    Every parent has one child per mutation, children are judged by quality and diversity, the mu
    best survive and their parents die; the discriminator learns from the survivors, before (the
    paper) or after (the released codes) the generators had their turn.
    """
    with borrowed():
        environment, learning = meet(state, world)
        litter = world.breed(state, environment)
        return conclude(state, world, environment, learning, litter)


def meet(state: State, world: World) -> tuple[Environment, dict[str, float]]:
    """The environment that a generation's children will meet, and how it learned before them."""
    environment = world.settle(state.environment)
    learning: dict[str, float] = {}
    if world.environment_first:
        environment, learning = world.adapt(environment, state.population, state.generation)
        environment = world.settle(environment)
    return environment, learning


def conclude(
    state: State,
    world: World,
    environment: Environment,
    learning: dict[str, float],
    litter: Litter,
) -> tuple[State, Generation]:
    """Selection, and the discriminator's turn where it comes last."""
    now, parents, learned = state.generation, state.population, environment
    survivors = world.select(litter, now)
    if not world.environment_first:
        learned, learning = world.adapt(environment, survivors or parents, now, litter.lesson)
    state = replace(
        state,
        generation=now + 1,
        population=without_evidence(survivors) or parents,
        environment=learned,
        barren=state.barren + 1 if world.operators.barren(litter) else 0,
        history=world.operators.remember(state.history, litter),
    )
    state, watch = watched(state, world)
    state = remembering(state, world, environment)
    return state, Generation(litter.children, survivors, learning, watch)
