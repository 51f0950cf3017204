"""The choice of an engine, by measurement, once at the start of a run; and the trial of one."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from egan.breeding import breed
from egan.config import Config
from egan.engines import engines
from egan.environment import Environment, past
from egan.kernels import as_written, sentence
from egan.state import State
from egan.workers import members_of, pairs_of
from egan.world import World
from populations.errors import UsageError
from populations.individual import Individual

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


def check_compiled(world: World) -> None:
    """Let the lists of operations compute a generation, and compare it with one as written.

    They are made in one generation and tried in a later one, whose weights and draws are others:
    what was taken for constant, and is not, shows. Lazy penalties are due in both.

    Args:
        world: with an engine that compiles; nothing is compiled yet.

    Raises:
        UsageError: the operations cannot be listed, or the lists compute something else.
    """
    compiled = world.plan.game.compiled
    state = _first(world)
    later = world.config.environment.lazy
    compiled.lists_only = True
    try:
        offspring, environment, _ = _generation(world, state)
        hall = [past(environment)] * world.hall
        state = State(later, offspring[: world.plan.mu], environment, hall=hall)
        listed = _generation(world, state)
    except UsageError:
        raise
    except Exception as error:  # whatever PyTorch raises where an operation cannot be replayed
        raise UsageError(
            "the engine 'compiled' is not for this run: its list of tensor operations does not run "
            f"({sentence(error)}): use execution.engine = 'shared'."
        ) from error
    compiled.lists_only = False
    with as_written(world.plan.game):
        written = _generation(world, state)
    pairs = zip(_measures(*listed), _measures(*written), strict=True)
    if not all(_close(*each) for each in pairs):
        raise UsageError(
            "the engine 'compiled' is not for this run: its list of tensor operations does not "
            "give what the networks and losses give, since they keep something beside tensors "
            "(weights in lists, counters, draws of random): use execution.engine = 'shared'."
        )


def _first(world: World) -> State:
    """The first state, with the hall of fame as full as it may get."""
    population, environment = world.first_population()
    return State(0, population, environment, hall=[past(environment)] * world.hall)


Bred = tuple[list[Individual], Environment, dict[str, float]]


def _generation(world: World, state: State) -> Bred:
    """The children of a generation in this process, and what the discriminator learns from some."""
    environment = world.settle(state.environment)
    scene = world.scene(state, environment)
    members = members_of(world.plan, pairs_of(state.population), scene)
    litter = world.gather(breed(engines[USUAL], members), scene, state.population)
    teachers = litter.children[: world.plan.mu]
    environment, learning = world.adapt(environment, teachers, state.generation, litter.lesson)
    return litter.children, environment, learning


def _measures(
    offspring: list[Individual], environment: Environment, learning: dict[str, float]
) -> list[Tensor]:
    """Everything in which two ways to compute a generation may differ."""
    moments = [each for child in offspring for each in child.moments.values()]
    fitness = [*[child.total for child in offspring], *learning.values()]
    gradients = [each["mean"] for each in (*moments, environment.moments)]
    return [*gradients, torch.tensor(fitness, dtype=torch.float64)]


def _close(one: Tensor, other: Tensor) -> bool:
    scale = float(other.nan_to_num(0, 0, 0).abs().max())
    return torch.allclose(one, other, rtol=1e-3, atol=1e-3 * scale, equal_nan=True)


def _trial(usual: World, other: World) -> dict[str, list[float]]:
    """Seconds of breeding by either, the first time left out."""
    state = _first(usual)
    environment = usual.settle(state.environment)
    times: dict[str, list[float]] = {USUAL: [], OTHER: []}
    began = time.perf_counter()
    for turn in range(ROUNDS + 1):
        for name, each in ((USUAL, usual), (OTHER, other)):
            before = time.perf_counter()
            each.breed(state, environment)
            times[name].append(time.perf_counter() - before)
        if turn and time.perf_counter() - began > SECONDS:
            break
    return {name: each[1:] for name, each in times.items()}
