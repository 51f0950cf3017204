"""The directory of a run: what lies where, who may write, whether it is the run that was meant."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from egan.config import ADJUSTABLE, Config
from egan.settings import build, differences, flatten, merge, plain
from populations.checkpoint import write_whole
from populations.errors import RunError, UsageError

LOCK = ".lock"


@dataclass(frozen=True)
class Directory:
    """Paths of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """The configuration, readable by `--config`."""
        return self.path / "config.json"

    @property
    def log(self) -> Path:
        """One JSON object a generation."""
        return self.path / "log.jsonl"

    @property
    def lineage(self) -> Path:
        """Who descends from whom, a view of the log."""
        return self.path / "lineage.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Folder of pictures, one an interval."""
        return self.path / "samples"

    @property
    def animation(self) -> Path:
        """The pictures as a GIF."""
        return self.path / "evolution.gif"

    @property
    def final_picture(self) -> Path:
        """Samples of the final generator."""
        return self.path / "final.png"

    @property
    def scores(self) -> Path:
        """What the judges said of the final generator, and of others where they were asked."""
        return self.path / "scores.json"

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    def weights(self, which: str) -> Path:
        """The file of a generator: "final", "best", "refuge" or "mixture"."""
        names = {
            "final": "generator.safetensors",
            "best": "generator-best.safetensors",
            "refuge": "generator-refuge.safetensors",
            "mixture": "generator-mixture.safetensors",
        }
        if which not in names:
            *others, last = map(repr, names)
            raise UsageError(f"which is {which!r}: it must be {', '.join(others)} or {last}.")
        return self.path / names[which]

    def view(self, name: str) -> Path:
        """The picture of a view of the final generator."""
        return self.path / f"{name}.png"

    def frame(self, generation: int) -> Path:
        """The picture of a generation."""
        return self.samples / f"{generation:09d}.png"

    def frames(self) -> list[Path]:
        """All pictures, oldest first."""
        return sorted(path for path in self.samples.glob("*.png") if path.stem.isdigit())

    def clear_events(self) -> None:
        """Take away TensorBoard's events of a start that left no checkpoint."""
        for path in self.path.glob("events.out.tfevents.*"):
            path.unlink()

    def exists(self) -> bool:
        """Whether a run lies here.

        Raises:
            UsageError: something else does.
        """
        if self.config.is_file():
            return True
        if self.path.is_dir() and any(
            not item.name.startswith(".") for item in self.path.iterdir()
        ):
            raise UsageError(f"the directory {self.path} is not a run and not empty: name another.")
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file: name a directory for the run.")
        return False

    def read_config(self) -> dict[str, Any]:
        """The configuration of the run that lies here, as plain values.

        Raises:
            UsageError: no run lies here, or its configuration cannot be read.
        """
        if not self.config.is_file():
            raise UsageError(f"{self.path} is not a run: it has no config.json.")
        try:
            found = json.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"the configuration {self.config} cannot be read.") from error
        if not isinstance(found, dict):
            raise UsageError(f"the configuration {self.config} is not a JSON object.")
        lacks = sorted(set(plain(Config())) - set(found))
        if lacks:
            raise UsageError(f"the configuration {self.config} lacks {', '.join(lacks)}.")
        return _today(found)

    def load_config(self) -> Config:
        """The configuration of the run that lies here.

        Raises:
            UsageError: no run lies here, or its configuration cannot be read.
        """
        return build(Config, self.read_config())

    def write_config(self, config: Config) -> None:
        """Write the configuration, whole or not at all."""
        text = json.dumps(plain(config), indent=2) + "\n"
        write_whole(self.config, lambda part: part.write_text(text, encoding="utf-8"))


def output_file(given: str | Path | None, default: Path, endings: Collection[str]) -> Path:
    """The file to write: what was given, or the default.

    Raises:
        UsageError: it has none of the endings, or lies in no folder.
    """
    path = Path(default if given is None else given)
    if path.suffix.lower() not in endings:
        *others, last = endings
        names = f"{', '.join(others)} or {last}" if others else last
        raise UsageError(f"the file {path} must end in {names}.")
    if given is not None and not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist.")
    return path


def _today(found: dict[str, Any]) -> dict[str, Any]:
    """A configuration in which settings have the names that they have now."""
    population = dict(found["population"])
    share, every = population.pop("revival", 0.0), population.pop("revival_every", 0)
    if share:
        population |= {"collapse": share, "collapse_every": every, "on_collapse": "revive"}
    return {**found, "population": population}


@contextmanager
def locked(directory: Directory) -> Iterator[None]:
    """Hold a run for oneself; the operating system frees the lock of a process that died.

    Raises:
        UsageError: another process holds it.
        RunError: the directory cannot be made.
    """
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the directory {directory.path} cannot be made: {error.strerror}."
        ) from error
    lock = FileLock(directory.path / LOCK)
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        raise UsageError(
            f"the run {directory.path} is in use by another process: wait until it has ended."
        ) from None


def reconcile(directory: Directory, given: Mapping[str, Any]) -> Config:
    """The configuration with which the run that lies here goes on.

    Args:
        directory: of the run.
        given: settings asked for now, nested. Some may change (`ADJUSTABLE`), and `generations`
            may only grow.

    Raises:
        UsageError: others differ; the message names them.
    """
    stored = directory.read_config()
    for name in ("device", "engine"):
        if flatten(given).get(f"execution.{name}") == "auto":  # made out when the run began
            given = merge(given, {"execution": {name: stored["execution"][name]}})
    config = build(Config, merge(stored, given))
    before = plain(build(Config, stored))  # with what settings that it does not know have meant
    other = [
        text for text in differences(plain(config), before) if text.split(" ")[0] not in ADJUSTABLE
    ]
    if other:
        raise UsageError(
            f"the run {directory.path} has other settings, {', '.join(other)}: leave these options "
            "out, or name another directory."
        )
    if config.generations < stored["generations"]:
        raise UsageError(
            f"the run {directory.path} has {stored['generations']} generations: it can be "
            f"extended, not cut to {config.generations}."
        )
    return config
