"""What a run costs: its operations counted, its time, memory and disk estimated."""

from __future__ import annotations

import math
import resource
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from egan.collapse import measured
from egan.diagnostics import diagnose
from egan.engines import engines
from egan.environment import past
from egan.evolution import advance, evolve
from egan.kernels import as_written
from egan.state import State
from egan.trials import USUAL, with_engine
from egan.world import World
from populations.archive import stride
from populations.choice import choices
from populations.errors import RunError, UsageError
from populations.registry import describe_error

TRIAL_SECONDS, TRIAL_GENERATIONS = 1.0, 20


class Counter(TorchDispatchMode):
    """Adds up PyTorch's own operation counts.

    `FlopCounterMode` has the same counts, but the hooks by which it tells modules apart do not
    allow `torch.autograd.grad`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self,
        function: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and count it where it is a matrix product or a convolution."""
        result = function(*args, **(kwargs or {}))
        count = COUNTS.get(function._overloadpacket)
        if count is not None:
            self.total += int(count(*args, **(kwargs or {}), out_val=result))
        return result


def _distances(left: Any, right: Any, **beside: Any) -> int:
    """Those of the product by which PyTorch gets Euclidean distances of all pairs."""
    rows, columns = left.shape[-2], right.shape[-2]
    return int(2 * rows * columns * (left.shape[-1] + 2))


COUNTS = {**flop_registry, torch.ops.aten._euclidean_dist: _distances}


def generation_flops(state: State, world: World) -> int:
    """Floating-point operations of one generation (matrix products and convolutions).

    Counted while generations from `state` really run in this process, judges outside the method
    left out, and thrown away: one, or the mean of as many as it takes until lazy penalties are due
    again and every mutation has had its turn. Every generation of a run has the same shapes, but
    for those and for races; a choice that learns is counted as if it liked all mutations equally.
    A hall of fame is counted as full as it is on average over the run. The samples by which a
    collapse is seen count at their share where it changes the run (`population.on_collapse`), and
    else are a judge's, as is the fit of a mixture. A batched or compiled run is counted as a shared
    one, so that a budget does not depend on which was quicker. Workers of other executors are not
    seen: use `serial`.
    """
    if engines[world.config.execution.engine].shares:
        world = replace(world, config=with_engine(world.config, USUAL))
    total = _advance_flops(replace(state, hall=[]), world)
    if world.hall:
        with_one = _advance_flops(replace(state, hall=[past(state.environment)]), world)
        total += (with_one - total) * _mean_hall(world)
    return int(total + _watch_flops(state, world))


def _advance_flops(state: State, world: World) -> Fraction:
    """Operations of one generation without a measurement, the mean until all had their turn."""
    count, never = world.config.environment.lazy, replace(world.config.population, collapse_every=0)
    world = replace(world, config=replace(world.config, population=never))
    if world.operators.chooses:
        count = math.lcm(count, len(world.plan.names))
        in_turn = replace(world.operators, choice=choices["round-robin"])
        world = replace(world, operators=in_turn)
    with Counter() as counter, as_written(world.plan.game):
        for generation in range(state.generation, state.generation + count):
            advance(replace(state, generation=generation), world)
    return Fraction(counter.total, count)


def _watch_flops(state: State, world: World) -> Fraction:
    """A generation's share in the operations of a measurement, where it may change the run."""
    settings = world.config.population
    if settings.on_collapse == "warn" or world.aside is None:  # found now, once in a run
        return Fraction(0)
    with Counter() as counter:
        measured(state.population[0], world, state.generation)
    return Fraction(counter.total, settings.collapse_every)


def _mean_hall(world: World) -> Fraction:
    """Past discriminators that judge, the mean over a run."""
    until, size = world.config.generations, world.hall
    return Fraction(sum(each // stride(each, size) for each in range(until)), until)


def estimate(state: State, world: World) -> str:
    """What the rest of a run will take, from a few generations that are thrown away.

    Raises:
        UsageError: not one generation can be run.
    """
    try:
        seconds_each, _ = generation_seconds(state, world)
        beside = _diagnosing(state, world)
    except (UsageError, RunError):
        raise
    except Exception as error:  # whatever a user's loss, selection or network raises
        raise UsageError(
            f"a trial generation failed with {describe_error(error)}: --debug shows where."
        ) from error
    left = world.config.generations - state.generation
    frames = world.config.records.pictures
    seconds = 1.05 * left * seconds_each + 0.15 * frames + beside
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    kept = 1 + bool(world.config.population.collapse_every)  # now, and as it was in its refuge
    weights, critic = sum(one.weights.numel() for one in state.population), state.environment
    disk = 900 * left + 30_000 * frames + 2 * 20 * kept * (weights + critic.weights.numel())
    archive = world.config.population.mixture * state.population[0].weights.numel()
    disk += (2 + 1) * 4 * archive  # in two checkpoints, and in the mixture
    disk += 2 * 4 * world.hall * critic.weights.numel()
    return (
        f"{left:,} generations: about {clock(seconds)}, {memory / 1e6:,.0f} MB of memory, "
        f"{disk / 1e6:,.0f} MB of disk."
    )


def _diagnosing(state: State, world: World) -> float:
    """Seconds of the diagnostics that are left, from one of them."""
    every = world.config.records.diagnostics_every
    if not every:
        return 0.0
    began = time.perf_counter()
    diagnose(state, world)
    left = world.config.generations // every - state.generation // every
    return left * (time.perf_counter() - began)


def clock(seconds: float) -> str:
    """A duration in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def generation_seconds(state: State, world: World) -> tuple[float, float]:
    """Wall and CPU seconds of a generation (of this process), medians over a few."""
    times: list[tuple[float, float]] = []
    began = previous = time.perf_counter(), time.process_time()
    until = min(state.generation + TRIAL_GENERATIONS, world.config.generations)
    for _ in evolve(state, world, until):
        now = time.perf_counter(), time.process_time()
        times.append((now[0] - previous[0], now[1] - previous[1]))
        previous = now
        # Never after the first, in which worker processes start.
        if len(times) > 2 and now[0] - began[0] > TRIAL_SECONDS:
            break
    wall, cpu = zip(*(times[1:] or times), strict=True)
    return statistics.median(wall), statistics.median(cpu)
