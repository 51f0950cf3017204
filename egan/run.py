"""Runs: the loop with its interruptions, on disk or in memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egan.assembly import make_game, make_world
from egan.config import Config
from egan.cost import estimate
from egan.diagnostics import diagnose
from egan.directory import Directory, locked, reconcile
from egan.evolution import evolve
from egan.findings import judge, record_scores
from egan.generator import Generator, export, exported, load_weights
from egan.interrupts import Stop, stoppable, threads
from egan.mixture import fit_mixture
from egan.monitor import Bar, Row, alarm, row_of
from egan.pictures import animate, draw
from egan.presets import configure
from egan.recorder import Recorder
from egan.scores import accuracy
from egan.snapshot import open_state, start
from egan.state import State
from egan.world import World
from populations.errors import RunError, UsageError

OnGeneration = Callable[[State, Row], Any]
Tell = Callable[[str], None]


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
            seconds = recorder.seconds if recorder else time.monotonic() - began
            row = row_of(
                reached, happened, world.operators.names(), world.operators.origins(), seconds
            )
            del happened  # see evolve
            if is_due(reached.generation, config):
                row["diagnostics"] = diagnose(state, world)
            if recorder:
                recorder.record(reached, row)
            state = reached  # from here on it may be saved, since its row is in the log
            bar.show(row)
            wanted = on_generation(state, row) if on_generation else None
            check_fertile(state, config)
            if wanted is True or (stop and stop.signal is not None) or is_over(row, config):
                break
    finally:
        bar.close()
        if recorder:
            recorder.save(state)
    return state


def is_due(generation: int, config: Config) -> bool:
    """Whether that generation is diagnosed."""
    every = config.records.diagnostics_every
    return every > 0 and generation % every == 0


def is_over(row: Row, config: Config) -> bool:
    """Whether a run ends with that generation since it has collapsed."""
    return bool(alarm(row)) and config.population.on_collapse == "stop"


def check_fertile(state: State, config: Config) -> None:
    """Raise RunError where no child has been finite for too long."""
    if state.barren >= config.population.patience:
        raise RunError(
            f"no child has been finite for {state.barren} generations: lower the "
            "learning rates or raise the penalties."
        )


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a call to `run_in` ended.

    Attributes:
        directory: of the run.
        config: of the run.
        world: what the configuration means.
        done: generations done.
        signal: number of the signal that ended it early, None otherwise: then what did so was a
            collapse or the caller.
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
    accuracy(world.data, config.records.features)  # a classifier that cannot judge is refused now
    config = world.config
    with contextlib.closing(world.executor), threads(config.execution.threads):
        fresh = None if exists else start(world)
        trial = "" if fresh is None else estimate(fresh, world)
        with locked(directory), stoppable() as stop:
            if directory.exists() != exists:
                raise UsageError(f"another process has just made the run {directory.path}.")
            if exists and _is_finished(config, directory):
                return Outcome(directory, config, world, config.generations, None, ran=False)
            state, best, skipped = (fresh, None, []) if fresh else open_state(world, directory)
            for sentence in skipped:
                tell(f"{sentence} Generation {state.generation:,} is used instead.")
            _begin(directory, config)
            tell(f"Run: {directory.path}")
            with contextlib.closing(Recorder(world, directory, state, best)) as recorder:
                if state.generation < config.generations:
                    tell(trial or estimate(state, world))
                    state = advance(state, world, recorder, on_generation, progress, stop)
                else:
                    recorder.save(state)
            if state.generation >= config.generations:
                _finish(state, world, directory)
            return Outcome(directory, config, world, state.generation, stop.signal, ran=True)


def run_in_memory(
    config: Config,
    source: Any = None,
    on_generation: OnGeneration | None = None,
    progress: bool = False,
) -> tuple[World, State]:
    """Run without writing anything."""
    world = make_world(config, source)
    with contextlib.closing(world.executor), threads(world.config.execution.threads):
        return world, advance(start(world), world, None, on_generation, progress)


def _begin(directory: Directory, config: Config) -> None:
    """Write the configuration, and take away what belongs to an earlier end."""
    for stale in _made_last(directory):
        stale.unlink(missing_ok=True)
    directory.write_config(config)


def _made_last(directory: Directory) -> list[Path]:
    """What is written when all generations are done."""
    pictures = [directory.final_picture, directory.animation]
    return [*pictures, directory.weights("mixture"), directory.scores]


def _finish(state: State, world: World, directory: Directory) -> None:
    """Draw the final samples and the animation; the scores, written last, mark the end."""
    generator = Generator(make_game(world.config, world.data.shape, str(world.device)))
    load_weights(generator, directory, "final")
    generators = {"final": generator}
    title = f"final, generation {world.config.generations:,}"
    draw(generator.sample, world.data, directory.final_picture, title)
    animate(directory.frames(), directory.animation)
    if _best_is_another(directory):
        generators["best"] = Generator(make_game(world.config, world.data.shape, str(world.device)))
        load_weights(generators["best"], directory, "best")
    if world.config.population.mixture:
        generators["mixture"], members = fit_mixture(state, world)
        module = generators["mixture"].module
        export(directory, "mixture", module, state.generation, world.data.shape, members)
    records = world.config.records
    count = records.final_samples
    found = judge(generators, world.data, count, records.features, records.distance)
    record_scores(directory, found, world.data, count)


def _best_is_another(directory: Directory) -> bool:
    """Whether the best generator is not the final one."""
    best, final = (exported(directory, which).generation for which in ("best", "final"))
    return best != final


def _is_finished(config: Config, directory: Directory) -> bool:
    """Whether all generations are done and all that belongs to the end was written."""
    made = [*_made_last(directory), directory.weights("final")]
    if not config.population.mixture:
        made.remove(directory.weights("mixture"))
    if not all(path.is_file() for path in made):
        return False
    return exported(directory, "final").generation >= config.generations
