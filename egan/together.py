"""Several runs in step, which differ in their seeds only: their children are bred together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from egan.assembly import make_world
from egan.breeding import breed
from egan.config import Config
from egan.engines import engines
from egan.environment import Environment
from egan.evolution import conclude, meet
from egan.scene import Litter
from egan.state import Generation, State
from egan.trials import AUTO, OTHER, with_engine
from egan.workers import members_of, pairs_of
from egan.world import World
from populations.errors import UsageError
from populations.randomness import borrowed


def make_worlds(config: Config, seeds: Sequence[int], source: Any = None) -> list[World]:
    """A world for each seed, all by the batched engine.

    Args:
        config: of all runs; its seed is not read.
        seeds: of the runs.
        source: data given in Python.

    Raises:
        UsageError: the networks cannot be batched, another engine is named, one run could stop
            before the others, or what `make_world` raises.
    """
    if config.execution.engine not in (AUTO, OTHER):
        raise UsageError(
            f"execution.engine is {config.execution.engine!r}: seeds in step are bred by 'batched'."
        )
    if config.population.on_collapse == "stop":
        raise UsageError(
            "population.on_collapse is 'stop': seeds in step do not stop one by one, it must be "
            "'warn' or 'revive'."
        )
    config = with_engine(config, OTHER)
    return [
        make_world(replace(config, seed=seed), source, tell=place == 0)
        for place, seed in enumerate(seeds)
    ]


def evolve_together(
    states: Sequence[State], worlds: Sequence[World], until: int
) -> Iterator[list[tuple[State, Generation]]]:
    """Run generations of several runs in step, one product a layer for all their children.

    Args:
        states: of the runs, equally far.
        worlds: theirs, as `make_worlds` makes them.
        until: the generation at which to end.

    Yields:
        For each run what `evolve` yields.
    """
    now = list(states)
    while now[0].generation < until:
        with borrowed():
            happened = _advance(now, worlds)
        now = [state for state, _ in happened]
        yield happened
        del happened  # as in evolve


def _advance(states: Sequence[State], worlds: Sequence[World]) -> list[tuple[State, Generation]]:
    """`advance` of all runs at once."""
    met = [meet(state, world) for state, world in zip(states, worlds, strict=True)]
    bred = _breed(states, worlds, [environment for environment, _ in met])
    return [
        conclude(state, world, *before, made)
        for state, world, before, made in zip(states, worlds, met, bred, strict=True)
    ]


def _breed(
    states: Sequence[State], worlds: Sequence[World], environments: Sequence[Environment]
) -> list[Litter]:
    """`World.breed` of all runs at once."""
    scenes = [
        world.scene(state, environment)
        for state, world, environment in zip(states, worlds, environments, strict=True)
    ]
    members = [
        members_of(world.plan, pairs_of(state.population), scene)
        for state, world, scene in zip(states, worlds, scenes, strict=True)
    ]
    broods = iter(breed(engines[OTHER], [each for group in members for each in group]))
    return [
        world.gather(list(islice(broods, len(group))), scene, state.population)
        for world, state, group, scene in zip(worlds, states, members, scenes, strict=True)
    ]
