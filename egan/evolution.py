"""The generation loop: Algorithm 1 of Wang et al. (2018)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from egan.environment import Environment
from egan.world import Lesson, World
from populations.individual import Individual, without_evidence
from populations.randomness import borrowed


@dataclass(frozen=True, eq=False)
class State:
    """Everything that changes: what a checkpoint holds.

    Attributes:
        generation: how many are done.
        population: the parents, the fittest first where they were judged.
        environment: the discriminator.
        barren: generations in a row that left no finite child.
    """

    generation: int
    population: list[Individual]
    environment: Environment
    barren: int = 0


@dataclass(frozen=True, eq=False)
class Generation:
    """What happened in one generation: all children, who of them survived, how D learned."""

    offspring: list[Individual]
    survivors: list[Individual]
    learning: dict[str, float]


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
        offspring, lesson = world.breed(state.population, environment, state.generation)
        return conclude(state, world, environment, learning, offspring, lesson)


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
    offspring: list[Individual],
    lesson: Lesson,
) -> tuple[State, Generation]:
    """Selection, and the discriminator's turn where it comes last."""
    now, parents = state.generation, state.population
    survivors = world.select(offspring, parents, now)
    if not world.environment_first:
        environment, learning = world.adapt(environment, survivors or parents, now, lesson)
    state = replace(
        state,
        generation=now + 1,
        population=without_evidence(survivors) or parents,
        environment=environment,
        barren=0 if survivors else state.barren + 1,
    )
    return state, Generation(offspring, survivors, learning)
