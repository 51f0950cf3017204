"""One record: a JSON line per generation. TensorBoard and the progress bar are views of it."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from egan.settings import flatten
from egan.state import Generation, State
from populations.individual import Individual
from populations.lineage import between, pedigree, shares

ALARMS = logging.getLogger("egan.alarms")
Row = dict[str, Any]
WINDOW = 500  # generations over which the bar's mutation shares are taken
BAR_FORMAT = (
    "{percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt} [{rate_fmt}, {remaining} left{postfix}]"
)
BAR_EVERY = 20  # generations between updates of the bar's text


def row_of(
    state: State, happened: Generation, mutations: list[str], origins: list[str], seconds: float
) -> Row:
    """What one generation was, as plain numbers.

    Args:
        state: after the generation.
        happened: its children, survivors, the discriminator's steps, and `watch` where a collapse
            was looked for.
        mutations: all that children come from, in order.
        origins: of survivors: these names, and others that are not mutations.
        seconds: since the run began, interruptions left out.
    """
    judged = [child for child in happened.offspring if child.fitness.valid]
    row: Row = {
        "generation": state.generation,
        "seconds": round(seconds, 3),
        "fitness": _fitness(happened.survivors),
        "offspring": {
            name: _fitness([child for child in judged if child.mutation == name])
            for name in mutations
        },
        "selection": shares(map(happened.origin, happened.survivors), origins),
        "population": pedigree(state.population),
        "between": pedigree(between(happened.survivors, happened.offspring)),
        "environment": happened.learning,
        "barren": state.barren,
    }
    if happened.watch:
        row["watch"] = happened.watch
    return row


def alarm(row: Row) -> str:
    """One sentence on a collapse after that generation; empty where there was none."""
    watch = row.get("watch", {})
    if not watch.get("alarm"):
        return ""
    figures = ", ".join(
        f"{name} {watch[name]:.2f} after {watch[f'{name}-peak']:.2f}"
        for name in ("coverage", "diversity")
    )
    then = f"; back to generation {watch['revived']:,}" if "revived" in watch else ""
    return f"Alarm of a collapse at generation {row['generation']:,}: {figures}{then}."


def _fitness(individuals: list[Individual]) -> dict[str, float]:
    judged = [one for one in individuals if one.fitness.valid]
    if not judged:
        return {}
    quality, diversity = zip(*(one.fitness.values for one in judged), strict=True)
    count = len(judged)
    return {
        "quality": sum(quality) / count,
        "diversity": sum(diversity) / count,
        "total": sum(one.total for one in judged) / count,
    }


def finite(value: Any) -> Any:
    """The same nested value with null for what JSON cannot hold (nan, infinities)."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Log:
    """`log.jsonl`: appended to line by line."""

    def __init__(self, path: Path, generation: int) -> None:
        """Open for appending after `generation`; later lines, and a torn one, are cut off."""
        self.path = path
        self._cut(generation)
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        self.flushed = time.monotonic()

    def _cut(self, generation: int) -> None:
        if not self.path.exists():
            return
        kept = 0
        with open(self.path, "rb") as lines:
            for line in lines:
                row = _parse(line)
                if not line.endswith(b"\n") or (row and row["generation"] > generation):
                    break
                kept += len(line)
        with open(self.path, "rb+") as whole:
            whole.truncate(kept)

    def write(self, row: Row) -> None:
        """Append a line; it reaches readers within about a second."""
        self.file.write(json.dumps(finite(row), allow_nan=False) + "\n")
        if time.monotonic() - self.flushed > 1:
            self.file.flush()
            self.flushed = time.monotonic()

    def sync(self) -> None:
        """Bring all lines to the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Flush and close."""
        self.file.close()


def read_log(path: Path) -> Iterator[Row]:
    """The rows of a log; lines that are none, such as a torn last one, are left out."""
    if path.exists():
        with open(path, "rb") as lines:
            for line in lines:
                row = _parse(line)
                if row is not None:
                    yield row


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "generation" in row else None


class Board:
    """TensorBoard's view: scalars, pictures, the configuration as text."""

    def __init__(
        self, folder: Path, every: int, resumed: int | None, config: dict[str, Any]
    ) -> None:
        """Open a writer; what was written after the generation `resumed` at is taken back."""
        from torch.utils.tensorboard import SummaryWriter

        purge = None if resumed is None else resumed + 1
        self.writer = SummaryWriter(str(folder), purge_step=purge, max_queue=1000)
        self.every = every
        self.wins: list[dict[str, float]] = []
        if resumed is None:
            lines = [f"| {name} | {value} |" for name, value in flatten(config).items()]
            table = "\n".join(["| setting | value |", "|---|---|", *lines])
            self.writer.add_text("configuration", table, 0)

    def show(self, row: Row) -> None:
        """Scalars every so often; mutation shares are means since the last time."""
        self.wins.append(row["selection"])
        step, score = row["generation"], row.get("score", {})
        scalars = {f"score/{name}": value for name, value in score.items()}
        for group in ("diagnostics", "watch"):
            scalars |= {
                f"{group}/{name}": value
                for name, value in row.get(group, {}).items()
                if math.isfinite(value)
            }
        if step % self.every == 0:
            for group in ("fitness", "environment"):
                scalars |= {f"{group}/{name}": value for name, value in row[group].items()}
            for name in row["selection"]:
                mean = sum(win[name] for win in self.wins) / len(self.wins)
                scalars[f"selection/{name}"] = mean
            self.wins.clear()
        for tag, value in scalars.items():
            self.writer.add_scalar(tag, value, step)

    def picture(self, path: Path, step: int, tag: str) -> None:
        """Show a PNG."""
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        self.writer.add_image(tag, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close."""
        self.writer.close()


class Bar:
    """The console's view: a progress bar."""

    def __init__(self, generation: int, until: int, shown: bool) -> None:
        self.bar = tqdm(
            total=until,
            initial=generation,
            unit="gen",
            disable=not shown,
            dynamic_ncols=True,
            mininterval=0.2 if sys.stderr.isatty() else 30.0,
            bar_format=BAR_FORMAT,
        )
        self.recent: deque[dict[str, float]] = deque(maxlen=WINDOW)
        self.score = self.coverage = ""

    def show(self, row: Row) -> None:
        """Advance by one generation; a collapse is a warning, with or without a bar."""
        self.recent.append(row["selection"])
        self._read_score(row.get("score", {}))
        if "watch" in row:
            self.coverage = f"coverage {row['watch']['coverage']:.2f}"
        if alarm(row):
            with tqdm.external_write_mode(sys.stderr):
                ALARMS.warning(alarm(row))
        if row["generation"] % BAR_EVERY == 0:
            self.bar.set_postfix_str(self._text(row), refresh=False)
        self.bar.update()

    def _read_score(self, score: dict[str, float]) -> None:
        if "high-quality" in score:
            self.score = f"modes {score['modes']:.0f}, hq {score['high-quality']:.2f}"
        elif "modes" in score:
            self.score = f"modes {score['modes']:.0f}, KL {score['reverse-kl']:.2f}"
        elif score:
            self.score = f"energy distance {score['energy-distance']:.4g}"

    def _text(self, row: Row) -> str:
        parts = [part for part in (self.score, self.coverage) if part]
        if row["fitness"]:
            parts.append(f"fitness {row['fitness']['total']:+.2f}")
        if len(row["selection"]) > 1:
            means = {
                name: sum(win[name] for win in self.recent) / len(self.recent)
                for name in row["selection"]
            }
            parts.append(" ".join(f"{name} {share:.0%}" for name, share in means.items()))
        return ", ".join(parts)

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.close()
