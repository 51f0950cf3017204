"""A cell: one arm on one data set at one seed, judged at equal shares of its budget."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from egan.assembly import make_game, make_world
from egan.data import Data, Stacked, make_data
from egan.generator import Generator
from egan.mixture import fit_mixture
from egan.monitor import ALARMS, Row
from egan.presets import configure
from egan.run import advance
from egan.scores import applicable, evaluate, look_samples_of, reference, score_of
from egan.settings import merge
from egan.snapshot import start
from egan.state import State
from egan.study.arms import Arm
from egan.study.oracle import with_oracle
from egan.study.records import Cell, DataSet, Part
from egan.world import World
from populations.errors import RunError

KEPT_POINTS, KEPT_IMAGES = 512, 64  # samples that are kept of a cell
FINAL, BEST = 1, 2  # seeds of the noise on which outcomes are judged in the end


@dataclass(frozen=True)
class Task:
    """What a cell needs to know; it can be sent to another process.

    Attributes:
        data: on what.
        arm: by what.
        seed: of the run.
        part: what the budget buys.
        looks: times that the run is judged.
        common: settings of all arms.
        samples: where samples of the final generator are kept.
        home: process of the study.
        origin: version and hardware, as texts.
    """

    data: DataSet
    arm: Arm
    seed: int
    part: Part
    looks: int
    common: Mapping[str, Any]
    samples: Path
    home: int = field(default_factory=os.getpid)
    origin: Mapping[str, str] = field(default_factory=dict)


def settings_of(
    data: DataSet, arm: Arm, common: Mapping[str, Any], seed: int, generations: int | None = None
) -> dict[str, Any]:
    """The settings of an arm's run.

    The engine is `shared` unless something else is asked for: which is faster on the day would not
    be repeatable. Nor do the generations of a data set's preset play a part.
    """
    length = {} if generations is None else {"generations": generations, "horizon": generations}
    usual = {"execution": {"engine": "shared"}}
    own = {"data": data.source, "data_options": data.options, "seed": seed}
    over = arm.images if arm.images and _is_image(data) else {}
    return merge(usual, common, arm.settings, over, own, length)


def _is_image(data: DataSet) -> bool:
    return len(make_data(data.source, data.options).shape) == 3


def world_of(data: DataSet, arm: Arm, settings: Mapping[str, Any]) -> World:
    """The world of an arm's run.

    Raises:
        UsageError: its parts do not fit each other.
    """
    world = make_world(configure(settings))
    return with_oracle(world, data.primary) if arm.oracle else world


def run_cell(task: Task) -> Cell:
    """Run a cell, and keep samples of its final generator.

    Returns:
        `data`, `arm`, `seed`; `commit` and `hardware` of the origin; `error`, why it ended early,
        or None; costs without those of judging: `generations`, `generator_steps`, `flops`
        (counted), `cpu_seconds`, `seconds`; `alarms`, the generations after which a collapse was
        seen (`egan.collapse`); `looks`: of each its `share` of the budget, `generation`, `flops`,
        `scores`, and `selection`, the shares of survivors by what made them since the look before;
        `final` and `best`: scores of the last outcome and of that which was best at a look by the
        primary score, on fresh samples;
        `best_share`, when that was. Scores of a run that ended early are None.
    """
    settings = settings_of(task.data, task.arm, task.common, task.seed, task.part.generations)
    world = world_of(task.data, task.arm, settings)
    torch.set_num_threads(world.config.execution.threads)
    watch = Watch(world, task)
    error = None
    try:
        with _unalarmed():
            advance(start(world), world, on_generation=watch.see)
    except RunError as broken:
        error = str(broken)
        watch.pause()
    return {
        "data": task.data.name, "arm": task.arm.name, "seed": task.seed, **task.origin,
        "error": error,
        **watch.costs(), "alarms": watch.alarms(), "looks": watch.looks, **watch.outcomes(error),
    }  # fmt: skip


def end_if_orphaned(home: int) -> None:
    """End this process where that of the study is gone: nobody would keep the cell."""
    if home not in (os.getpid(), os.getppid()):
        os._exit(1)


@contextmanager
def _unalarmed() -> Iterator[None]:
    """Alarms are in the cell; on the console nobody would know whose they are."""
    ALARMS.disabled = True
    try:
        yield
    finally:
        ALARMS.disabled = False


def outcome(state: State, world: World) -> Generator:
    """What a run has come to: its mixture, where it fits one, or the fittest's generator."""
    if world.config.population.mixture:
        return fit_mixture(state, world)[0]
    game = make_game(world.config, world.data.shape, str(world.device))
    return Generator(game).load(state.population[0])


class Watch:
    """Judges a run along its way; its own time is not the run's."""

    def __init__(self, world: World, task: Task) -> None:
        self.world, self.task = world, task
        self.names = applicable(world.data)
        self.look_names = _look_names(world.data, task.data.primary)
        self.score = score_of(task.data.primary)
        self.real = reference(world.data, look_samples_of(world.data), index=2)
        self.looks: list[dict[str, Any]] = []
        self.best: tuple[float, State, float] | None = None
        self.last: State | None = None
        self.wins: list[dict[str, float]] = []
        self.spent = np.zeros(2)  # CPU and wall seconds between looks
        self.began = _clocks()

    def see(self, state: State, row: Row) -> None:
        """Note a generation, and judge where a look is due."""
        end_if_orphaned(self.task.home)
        self.wins.append(row["selection"])
        generations, looks = self.task.part.generations, self.task.looks
        due = (state.generation * looks) // generations > (
            (state.generation - 1) * looks // generations
        )
        self.last = state
        if due:
            self.pause()
            self._look(state)
            self.began = _clocks()

    def pause(self) -> None:
        """Add up the run's own time."""
        self.spent += _clocks() - self.began

    def _look(self, state: State) -> None:
        samples = outcome(state, self.world).sample(len(self.real), seed=state.generation)
        found = _short(evaluate(samples, self.world.data, self.look_names, self.real))
        share = state.generation / self.task.part.generations
        self.looks.append({
            "share": share,
            "generation": state.generation,
            "flops": self.task.part.flops * state.generation,
            "scores": found,
            "selection": _short({
                name: sum(each[name] for each in self.wins) / len(self.wins)
                for name in self.wins[0]
            }),
        })  # fmt: skip
        self.wins.clear()
        merit = self.score.merit(found[self.task.data.primary])
        if self.best is None or merit > self.best[0]:
            self.best = merit, _lasting(state), share

    def costs(self) -> dict[str, float]:
        """What the run took so far, looks left out."""
        done = self.last.generation if self.last else 0
        cpu, wall = self.spent
        return {
            "generations": done,
            "generator_steps": done * self.task.part.generator_steps,
            "flops": done * self.task.part.flops,
            "cpu_seconds": round(float(cpu), 2),
            "seconds": round(float(wall), 2),
        }

    def alarms(self) -> list[int]:
        """Generations after which a collapse was seen, without labels (`egan.collapse`)."""
        return [when for when, _ in self.last.alarms] if self.last else []

    def outcomes(self, error: str | None) -> dict[str, Any]:
        """Scores of the final outcome and of the best one; none of a run that ended early."""
        if error or self.last is None or self.best is None:
            return {"final": None, "best": None, "best_share": None}
        final = outcome(self.last, self.world)
        self._keep(final)
        best = outcome(self.best[1], self.world)
        return {
            "final": self._judged(final, FINAL),
            "best": self._judged(best, BEST),
            "best_share": self.best[2],
        }

    def _judged(self, generator: Generator, seed: int) -> dict[str, float]:
        samples = generator.sample(self.task.data.samples, seed=seed)
        return _short(evaluate(samples, self.world.data, self.names))

    def _keep(self, generator: Generator) -> None:
        count = KEPT_POINTS if len(self.world.data.shape) == 1 else KEPT_IMAGES
        self.task.samples.parent.mkdir(parents=True, exist_ok=True)
        np.save(self.task.samples, generator.sample(count, seed=FINAL).numpy())


def _short(found: Mapping[str, float]) -> dict[str, float]:
    """Scores to six digits, more than they are good for: files stay small."""
    return {name: float(f"{value:.6g}") for name, value in found.items()}


def _look_names(data: Data, primary: str) -> list[str]:
    """The scores of a look.

    Of stacked images, of which a look takes many, the energy distance costs more than all others
    together: it is left to the end unless arms are compared by it.
    """
    dear = "energy-distance" if isinstance(data, Stacked) else None
    return [name for name in applicable(data) if name != dear or name == primary]


def _clocks() -> np.ndarray:
    """CPU seconds of this process and wall seconds."""
    return np.array([time.process_time(), time.perf_counter()])


def _lasting(state: State) -> State:
    """What an outcome is made of, without what only training reads."""
    return replace(state, hall=[], refuge=None, history=[])
