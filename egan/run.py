"""Runs: the loop with its interruptions, on disk or in memory."""

from __future__ import annotations

import contextlib
import resource
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch

from egan.assembly import make_game, make_world
from egan.config import Config
from egan.directory import Directory, locked, reconcile
from egan.evolution import State, evolve
from egan.generator import Generator, load_weights
from egan.monitor import Bar, Row, row_of
from egan.pictures import animate, draw
from egan.presets import configure
from egan.recorder import Recorder
from egan.snapshot import open_state, start
from egan.world import World
from populations.errors import RunError, UsageError

TRIAL_SECONDS, TRIAL_GENERATIONS = 1.0, 20

OnGeneration = Callable[[State, Row], Any]
Tell = Callable[[str], None]


class Stop:
    """Ctrl-C and SIGTERM ask a run to end after the current generation; a second Ctrl-C kills."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Let signals set a `Stop`; elsewhere than in the main thread they are left alone."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Let PyTorch use so many threads in this process, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def advance(
    state: State,
    world: World,
    recorder: Recorder | None = None,
    on_generation: OnGeneration | None = None,
    progress: bool = False,
    stop: Stop | None = None,
) -> State:
    """Run the generations that are left, recording each.

    Args:
        state: where to begin.
        world: of the run.
        recorder: writes to disk; None: nothing is written.
        on_generation: called with the state and the log's row after each generation; True stops.
        progress: whether to show a bar.
        stop: asks to end after the current generation.

    Returns:
        The last state.

    Raises:
        RunError: no child was finite for too long.
    """
    config, began = world.config, time.monotonic()
    bar = Bar(state.generation, config.generations, progress)
    try:
        for reached, happened in evolve(state, world, config.generations):
            state = reached
            seconds = recorder.seconds if recorder else time.monotonic() - began
            row = row_of(state, happened, list(world.plan.names), seconds)
            if recorder:
                recorder.record(state, row)
            bar.show(row)
            wanted = on_generation(state, row) if on_generation else None
            if state.barren >= config.population.patience:
                raise RunError(
                    f"no child has been finite for {state.barren} generations: lower the "
                    "learning rates or raise the penalties."
                )
            if wanted is True or (stop and stop.signal is not None):
                break
    finally:
        bar.close()
        if recorder:
            recorder.save(state)
    return state


def estimate(state: State, world: World) -> str:
    """What the rest of a run will take, from a few generations that are thrown away."""
    times: list[float] = []
    began = previous = time.perf_counter()
    until = min(state.generation + TRIAL_GENERATIONS, world.config.generations)
    for _ in evolve(state, world, until):
        now = time.perf_counter()
        times.append(now - previous)
        previous = now
        if now - began > TRIAL_SECONDS:
            break
    left = world.config.generations - state.generation
    frames = world.config.records.pictures
    seconds = 1.05 * left * statistics.median(times[1:] or times) + 0.15 * frames
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    weights = sum(one.weights.numel() for one in state.population)
    disk = 900 * left + 30_000 * frames + 2 * 20 * (weights + state.environment.weights.numel())
    return (
        f"{left:,} generations: about {clock(seconds)}, {memory / 1e6:,.0f} MB of memory, "
        f"{disk / 1e6:,.0f} MB of disk."
    )


def clock(seconds: float) -> str:
    """A duration in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a call to `run_in` ended.

    Attributes:
        directory: of the run.
        config: of the run.
        world: what the configuration means.
        done: generations done.
        signal: number of the signal that ended it early, None otherwise.
        ran: whether there was anything left to do.
    """

    directory: Directory
    config: Config
    world: World
    done: int
    signal: int | None
    ran: bool

    @property
    def finished(self) -> bool:
        """Whether all generations are done."""
        return self.done >= self.config.generations


def run_in(
    directory: Directory,
    given: Mapping[str, Any],
    source: Any = None,
    on_generation: OnGeneration | None = None,
    progress: bool = False,
    tell: Tell = lambda sentence: None,
) -> Outcome:
    """Start a run in a directory, or go on with the one that lies there, up to its end.

    Nothing is written before everything that was asked for is known to be possible.

    Args:
        directory: of the run.
        given: settings asked for, nested; a run that lies there must not contradict them.
        source: data passed in Python, which the settings only describe.
        on_generation: called after each generation with the state and the log's row.
        progress: whether to show a progress bar.
        tell: told what happens, one sentence at a time.

    Raises:
        UsageError: what was asked for cannot be done.
        RunError: the run cannot go on.
    """
    exists = directory.exists()
    config = reconcile(directory, given) if exists else configure(given)
    world = make_world(config, source)
    try:
        fresh = None if exists else start(world)
        with locked(directory), threads(config.execution.threads), stoppable() as stop:
            if directory.exists() != exists:
                raise UsageError(f"another process has just made the run {directory.path}.")
            if exists and _is_finished(config, directory):
                return Outcome(directory, config, world, config.generations, None, ran=False)
            state, best, skipped = (fresh, None, []) if fresh else open_state(world, directory)
            for sentence in skipped:
                tell(f"{sentence} Generation {state.generation:,} is used instead.")
            directory.write_config(config)
            tell(f"Run: {directory.path}")
            tell(estimate(state, world))
            with contextlib.closing(Recorder(world, directory, state, best)) as recorder:
                state = advance(state, world, recorder, on_generation, progress, stop)
            if state.generation >= config.generations:
                _finish(world, directory)
            return Outcome(directory, config, world, state.generation, stop.signal, ran=True)
    finally:
        world.executor.close()


def run_in_memory(
    config: Config,
    source: Any = None,
    on_generation: OnGeneration | None = None,
    progress: bool = False,
) -> tuple[World, State]:
    """Run without writing anything."""
    world = make_world(config, source)
    try:
        with threads(config.execution.threads):
            state = advance(start(world), world, None, on_generation, progress)
    finally:
        world.executor.close()
    return world, state


def _finish(world: World, directory: Directory) -> None:
    """Draw the final samples and the animation."""
    generator = Generator(make_game(world.config, world.data.shape, str(world.device)))
    load_weights(generator, directory, "final")
    title = f"final, generation {world.config.generations:,}"
    draw(generator.sample, world.data, directory.final_picture, title)
    animate(directory.frames(), directory.animation)


def _is_finished(config: Config, directory: Directory) -> bool:
    """Whether all generations are done and all that belongs to the end was written."""
    done = max((int(path.stem) for path in directory.checkpoints.glob("*.pt")), default=0)
    drawn = directory.animation.is_file() and directory.final_picture.is_file()
    return done >= config.generations and directory.weights("final").is_file() and drawn
