"""A study on disk: what is compared (`study.json`) and its finished cells (`cells.jsonl`)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from egan.monitor import finite
from egan.study.arms import Arm
from egan.study.budgets import Budget, parse_budget
from populations.checkpoint import write_whole
from populations.errors import UsageError

Cell = dict[str, Any]
"""A finished run of a study: costs, looks, final and best scores; see `cells.run_cell`."""
Key = tuple[str, str, int]
"""Data set, arm and seed of a cell."""


class DataSet(NamedTuple):
    """What arms are compared on.

    Attributes:
        name: as it was written.
        source: a registered name, a file, or `package.module:attribute`.
        options: of a registered data set.
        primary: the score by which arms are compared, named before anything ran.
        samples: on which final scores are taken.
    """

    name: str
    source: str
    options: dict[str, Any]
    primary: str
    samples: int


class Part(NamedTuple):
    """What an arm gets on a data set.

    Attributes:
        generations: that the budget buys.
        generator_steps: of one generation.
        flops: of one generation, counted.
        seconds: of one generation, measured beforehand.
        cpu_seconds: likewise.
    """

    generations: int
    generator_steps: float
    flops: float
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        data: the data sets.
        arms: the methods; others are tested against the first.
        seeds: of the runs of every arm on every data set.
        budget: of every run.
        looks: times that a run is judged, at equal shares of the budget.
        common: settings of all arms, under each arm's own.
        parts: what the budget buys, by data set and arm.
        about: commit, command and hardware, as texts.
        protocol: by whose settings, of `protocols`; empty: none's.
    """

    data: list[DataSet]
    arms: list[Arm]
    seeds: list[int]
    budget: Budget
    looks: int
    common: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[tuple[str, str], Part] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    protocol: str = ""

    def whole(self) -> list[Key]:
        """All cells: every arm's first seed before any second one."""
        return [
            (data.name, arm.name, seed)
            for seed in self.seeds
            for data in self.data
            for arm in self.arms
        ]


LOCK = ".lock"
NEEDED = {
    "data", "arm", "seed", "error", "generations", "generator_steps", "flops", "cpu_seconds",
    "seconds", "looks", "final", "best", "best_share",
}  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """The places of a study's files."""

    path: Path

    @property
    def plan(self) -> Path:
        """What is compared."""
        return self.path / "study.json"

    @property
    def cells(self) -> Path:
        """Finished cells, one line each."""
        return self.path / "cells.jsonl"

    def samples(self, data: str, arm: str, seed: int) -> Path:
        """Samples of a cell's final generator, (n, *shape), float32."""
        return self.path / "samples" / plain(data) / f"{plain(arm)}-{seed}.npy"

    def exists(self) -> bool:
        """Whether a study lies here.

        Raises:
            UsageError: something else does.
        """
        if self.plan.is_file():
            return True
        held = self.path.is_dir() and {each.name for each in self.path.iterdir()} <= {LOCK}
        if self.path.exists() and not held:
            raise UsageError(f"{self.path} is not a study and not empty: name another directory.")
        return False

    def read(self) -> Study:
        """The study that lies here.

        Raises:
            UsageError: none does, or it cannot be read.
        """
        try:
            found = json.loads(self.plan.read_text(encoding="utf-8"))
            return Study(
                data=[DataSet(**each) for each in found["data"]],
                arms=[Arm(name, **each) for name, each in found["arms"].items()],
                seeds=found["seeds"],
                budget=parse_budget(found["budget"]),
                looks=found["looks"],
                common=found["common"],
                parts={
                    (data, arm): Part(**part)
                    for data, parts in found["parts"].items()
                    for arm, part in parts.items()
                },
                about=found["about"],
                protocol=found.get("protocol", ""),
            )
        except FileNotFoundError as error:
            raise UsageError(f"{self.path} is not a study: it has no study.json.") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"the study {self.plan} cannot be read.") from error

    def write(self, study: Study) -> None:
        """Write what is compared, whole or not at all."""
        parts: dict[str, dict[str, Any]] = {}
        for (data, arm), part in study.parts.items():
            parts.setdefault(data, {})[arm] = part._asdict()
        content = {
            "data": [each._asdict() for each in study.data],
            "arms": {
                arm.name: {"settings": arm.settings, "oracle": arm.oracle, "images": arm.images}
                for arm in study.arms
            },
            "seeds": study.seeds,
            "budget": str(study.budget),
            "looks": study.looks,
            "common": study.common,
            "parts": parts,
            "about": study.about,
            "protocol": study.protocol,
        }
        text = json.dumps(content, indent=2) + "\n"
        write_whole(self.plan, lambda part: part.write_text(text, encoding="utf-8"))

    def read_cells(self) -> dict[Key, Cell]:
        """Finished cells; a line that is damaged, or lacks something, is no cell."""
        if not self.cells.exists():
            return {}
        found = {}
        for line in self.cells.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                cell = json.loads(line)
            except ValueError:
                continue
            if isinstance(cell, dict) and cell.keys() >= NEEDED:
                found[key_of(cell)] = cell
        return found

    def append(self, cell: Cell) -> None:
        """Add a finished cell."""
        torn = self.cells.exists() and not self.cells.read_bytes().endswith(b"\n")
        with self.cells.open("a", encoding="utf-8") as file:
            file.write("\n" * torn + json.dumps(finite(cell), allow_nan=False) + "\n")


def key_of(cell: Cell) -> Key:
    """Which cell it is."""
    return cell["data"], cell["arm"], cell["seed"]


def plain(name: str) -> str:
    """A name as a file may have it."""
    return re.sub(r"[^\w.-]", "_", name)


@contextmanager
def held(folder: Folder) -> Iterator[None]:
    """Hold a study for oneself; the operating system frees the lock of a process that died.

    Raises:
        UsageError: another process holds it.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.path / LOCK).acquire(timeout=0):
            yield
    except Timeout:
        raise UsageError(
            f"the study {folder.path} is in use by another process: wait until it has ended."
        ) from None
