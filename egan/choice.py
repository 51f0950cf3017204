"""The choice of an engine, by measurement, once at the start of a run."""

from __future__ import annotations

import time
from dataclasses import replace

from egan.config import Config
from egan.engines import engines
from egan.world import World

AUTO, USUAL, OTHER = "auto", "shared", "batched"
MARGIN = 0.9  # the other engine must take less than this share of the usual one's time
ROUNDS, SECONDS = 9, 1.0


def with_engine(config: Config, name: str) -> Config:
    """The same configuration with an engine of that name."""
    return replace(config, execution=replace(config.execution, engine=name))


def fastest(world: World) -> World:
    """The same world with the engine that breeds its first generation faster.

    Args:
        world: with the usual engine; both share the same, so that all else stays as it is.
    """
    if engines[OTHER].refuses(world.plan) or not world.executor.together:
        return world
    other = replace(world, config=with_engine(world.config, OTHER))
    try:
        times = _trial(world, other)
    except Exception:  # whatever a user's loss raises: the run itself will raise it in its place
        return world
    # The quickest of several is the one that nothing else on the machine disturbed.
    return other if min(times[OTHER]) < MARGIN * min(times[USUAL]) else world


def _trial(usual: World, other: World) -> dict[str, list[float]]:
    """Seconds of breeding by either, the first time left out."""
    population, environment = usual.first_population()
    environment = usual.settle(environment)
    times: dict[str, list[float]] = {USUAL: [], OTHER: []}
    began = time.perf_counter()
    for turn in range(ROUNDS + 1):
        for name, each in ((USUAL, usual), (OTHER, other)):
            before = time.perf_counter()
            each.breed(population, environment, 0)
            times[name].append(time.perf_counter() - before)
        if turn and time.perf_counter() - began > SECONDS:
            break
    return {name: each[1:] for name, each in times.items()}
