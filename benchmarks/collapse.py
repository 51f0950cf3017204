"""Does the alarm of a collapse mean one? `python -m benchmarks.collapse`.

Three tables. Of generators that do not change, whose samples are real ones in part and nowhere near
the data else: how often does the noise of sampling alone raise an alarm, in a comparison and in a
run of 20 measurements, and is the jackknife's error that of repeated measurements? Of such ones
that lose modes of the ring from one measurement to the next: how often is the next one an alarm?
And along runs on the ring, where the labels know the modes: is there an alarm where half of them
are lost, after how many generations, and is there one where they are not?
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.diagnostics import table
from benchmarks.presets import commit, read
from egan.assembly import make_world
from egan.collapse import Figures, fell, risen
from egan.config import Config
from egan.data import Data, Mixture, make_data
from egan.evolution import evolve
from egan.neighbourhoods import SAMPLES, measure, set_aside
from egan.presets import configure
from egan.scores import evaluate
from egan.snapshot import start
from populations.randomness import generator as keyed
from populations.randomness import key

RESULTS = Path(__file__).parent / "results" / "collapse.jsonl"
COMMAND = "python -m benchmarks.collapse"
NOISE, POWER, RUNS = "noise", "power", "runs"
GOOD = (0.03, 0.1, 0.3, 1.0)  # shares of samples that are real ones
LOST = (2, 4, 5, 6)  # of the ring's 8 modes
DATA = ("ring", "random-64d")
MEASUREMENTS = 20  # of a run
SHARES = (1.0, Config().population.collapse)  # of the peak: any fall beyond noise, the default
EVERY = 50
FEW = 0.5  # of the modes that were covered, at which the labels say that there was a collapse
LEAST = 4  # modes that must have been covered
NEVER = {"environment": {"penalties": {"r1": 0.0, "r2": 0.0}}}
ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "no penalties": NEVER,
    "no penalties, no average, full rates": {
        **NEVER, "population": {"average": 0.0}, "lr_final": 1.0,
    },
}  # fmt: skip

Row = dict[str, Any]


def samples(data: Data, good: float, seed: int, modes: int | None = None) -> Tensor:
    """What a generator makes whose samples are real with probability `good`, else far away.

    Args:
        data: what it imitates.
        good: in (0, 1].
        seed: of the draw.
        modes: of a mixture, that it has left; None: all.
    """
    real = data.draw(SAMPLES, keyed(seed, 0, "fakes"))
    away = 100 + 10 * torch.randn(real.shape, generator=keyed(seed, 0, "away"))
    kept = torch.rand(SAMPLES, generator=keyed(seed, 0, "good")) < good
    if modes is not None:
        assert isinstance(data, Mixture)
        kept &= torch.cdist(real, data.centres).argmin(1) < modes
    return torch.where(kept.view(-1, *[1] * (real.dim() - 1)), real, away)


def pool(data: Data, good: float, count: int, modes: int | None = None) -> list[Figures]:
    """Measurements of a generator that does not change, each of its own samples."""
    aside = set_aside(data, 0)
    assert aside is not None
    return [measure(samples(data, good, seed, modes), aside) for seed in range(count)]


def of_share(share: float) -> Config:
    """The configuration of a run of so many measurements."""
    settings = {"collapse": share, "collapse_every": EVERY}
    return configure({"generations": MEASUREMENTS * EVERY, "population": settings})


def has_alarm(found: Sequence[Figures], config: Config) -> bool:
    """Whether a run that measures these, one after the other, raises an alarm."""
    peaks: Figures = {}
    for now in found:
        if peaks and fell(peaks, now, config):
            return True
        peaks = risen(peaks, now)
    return False


def noise_rows(data_name: str, size: int) -> Iterator[Row]:
    """False alarms of generators that do not change: one row a level of coverage.

    Runs are made of `size` measurements each drawn from, without replacement, again and again.
    """
    data, random = make_data(data_name), np.random.default_rng(0)
    for good in GOOD:
        found = pool(data, good, size)
        runs = [random.choice(size, MEASUREMENTS, replace=False) for _ in range(5 * size)]
        pairs = [random.choice(size, 2, replace=False) for _ in range(50 * size)]
        row: Row = {"data": data_name, "good": good, "measurements": size, "runs": len(runs)}
        for name in found[0]:
            values = [each[name].value for each in found]
            row[name] = statistics.fmean(values)
            row[f"{name}-deviation"] = statistics.stdev(values)
            row[f"{name}-error"] = statistics.fmean(each[name].error for each in found)
        for share in SHARES:
            raises = partial(_raises, found, of_share(share))
            row[f"comparison-{share}"] = statistics.fmean(map(raises, pairs))
            row[f"run-{share}"] = statistics.fmean(map(raises, runs))
        yield row


def _raises(found: Sequence[Figures], config: Config, places: Sequence[int]) -> bool:
    return has_alarm([found[place] for place in places], config)


def power_rows(size: int) -> Iterator[Row]:
    """Alarms of generators that lose modes of the ring: one row a level and a loss."""
    data, config = make_data("ring"), of_share(SHARES[1])
    assert isinstance(data, Mixture)
    for good in GOOD[1:]:
        whole = pool(data, good, size)
        for lost in LOST:
            left = pool(data, good, size, len(data.centres) - lost)
            seen = statistics.fmean(
                has_alarm([one, other], config) for one in whole for other in left
            )
            before, after = (
                statistics.fmean(each["coverage"].value for each in found)
                for found in (whole, left)
            )
            yield {"good": good, "lost": lost, "measurements": size, "before": before,
                   "after": after, "seen": seen}  # fmt: skip


def run_rows(arm: str, seed: int, generations: int) -> Iterator[Row]:
    """A run on the ring: its alarms beside what the labels say."""
    watch = {"population": {"collapse_every": EVERY}}
    engine = {"seed": seed, "generations": generations, "execution": {"engine": "shared"}}
    world = make_world(configure(watch, ARMS[arm], engine))
    coverage, modes, alarms = [], [], []
    for state, happened in evolve(start(world), world, generations):
        if happened.watch:
            one = world.sampler.load(state.population[0])
            made = one.sample(2_000, key(seed, state.generation, "labels"))
            modes.append(int(evaluate(made, world.data, ["modes"])["modes"]))
            coverage.append(round(happened.watch["coverage"], 3))
            alarms += [state.generation] if happened.watch["alarm"] else []
    yield {"arm": arm, "seed": seed, "generations": generations, "every": EVERY,
           "coverage": coverage, "modes": modes, "alarms": alarms}  # fmt: skip


def collapses(modes: Sequence[int]) -> list[int]:
    """Measurements at which the labels say that half of the modes are lost, one a collapse."""
    found, highest = [], 0
    for place, count in enumerate(modes):
        if highest >= LEAST and count <= FEW * highest:
            found.append(place)
            highest = count
        highest = max(highest, count)
    return found


def delays(row: Row) -> list[int | None]:
    """Generations from each collapse to the first alarm before the next one; None: there is none.

    An alarm may also be the first to see it.
    """
    every = row["every"]
    starts = [every * (place + 1) for place in collapses(row["modes"])]
    found: list[int | None] = []
    for begin, end in zip(starts, [*starts[1:], row["generations"] + 1], strict=False):
        seen = [when for when in row["alarms"] if begin <= when < end]
        found.append(seen[0] - begin if seen else None)
    return found


def untrue(row: Row) -> list[int]:
    """Modes covered, of the most so far, at alarms at which no more than FEW of them are lost."""
    found = []
    for when in row["alarms"]:
        modes = row["modes"][: when // row["every"]]
        if modes[-1] > FEW * max(modes):
            found.append(modes[-1])
    return found


def noise_table(rows: list[Row]) -> str:
    """False alarms of generators that do not change; the bound is 1 % of the runs."""
    head = ["data", "good samples", "coverage", "its sd", "its error, jackknife", "error, binomial",
            *(f"alarms / {what}, share {share:g}" for share in SHARES
              for what in ("comparison", "run of 20"))]  # fmt: skip
    return table(head, (
        [row["data"], f"{row['good']:.0%}", f"{row['coverage']:.3f}",
         f"{row['coverage-deviation']:.4f}", f"{row['coverage-error']:.4f}",
         f"{(row['coverage'] * (1 - row['coverage']) / SAMPLES) ** 0.5:.4f}"]
        + [f"{row[f'{what}-{share}']:.3%}" for share in SHARES for what in ("comparison", "run")]
        for row in rows if row["question"] == NOISE
    ))  # fmt: skip


def power_table(rows: list[Row]) -> str:
    """How often the first measurement after modes of the ring were lost raises the alarm."""
    head = ["good samples", "modes left of 8", "coverage before", "after", "seen at once"]
    return table(head, (
        [f"{row['good']:.0%}", 8 - row["lost"], f"{row['before']:.2f}", f"{row['after']:.2f}",
         f"{row['seen']:.1%}"]
        for row in rows if row["question"] == POWER
    ))  # fmt: skip


def run_table(rows: list[Row]) -> str:
    """Alarms along runs, beside the collapses that the labels know."""
    head = ["arm", "seed", "generations", "modes, most and last", "collapses by label",
            "delays, generations", "alarms", "of them without one"]  # fmt: skip
    return table(head, (
        [row["arm"], row["seed"], f"{row['generations']:,}",
         f"{max(row['modes'])}, {row['modes'][-1]}", len(delays(row)),
         ", ".join("none" if each is None else str(each) for each in delays(row)) or "-",
         len(row["alarms"]), len(untrue(row))]
        for row in rows if row["question"] == RUNS
    ))  # fmt: skip


def summary(rows: list[Row]) -> dict[str, float]:
    """The figures of the JSON line."""
    found: dict[str, float] = {}
    for row in rows:
        if row["question"] == NOISE:
            found[f"false_run_{row['data']}_{row['good']}"] = row[f"run-{SHARES[1]}"]
        if row["question"] == POWER:
            found[f"seen_{row['good']}_{row['lost']}"] = row["seen"]
    for arm in dict.fromkeys(row["arm"] for row in rows if row["question"] == RUNS):
        own = [row for row in rows if row.get("arm") == arm]
        found[f"alarms_{arm}"] = sum(len(row["alarms"]) for row in own)
        found[f"untrue_{arm}"] = sum(len(untrue(row)) for row in own)
    return found


Case = tuple[str, Callable[[], Iterator[Row]]]


def cases(size: int, seeds: int, generations: int) -> dict[str, Case]:
    """By name: the question that a case belongs to, and how its rows are made."""
    found: dict[str, Case] = {
        f"{NOISE} {name}": (NOISE, partial(noise_rows, name, size)) for name in DATA
    }
    found[POWER] = POWER, partial(power_rows, size // 8)
    for arm in ARMS:
        for seed in range(seeds):
            made = partial(run_rows, arm, seed, generations)
            found[f"{arm} {seed} {generations}"] = RUNS, made
    return found


def run_all(wanted: dict[str, Case], path: Path, command: str) -> list[Row]:
    """The rows of all cases; those that `path` has are not made again."""
    version = commit()  # once, since the checkout may move on while it measures
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, (question, make) in wanted.items():
        if name in {row["case"] for row in read(path)}:
            continue
        about = {"question": question, "case": name, "command": command, "commit": version}
        rows = [{**about, **row} for row in make()]
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        print(name, flush=True)
    return [row for row in read(path) if row["case"] in wanted]


def main() -> None:
    """Run what is missing, print the tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--measurements", type=int, default=400, help="of each fixed generator")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each arm")
    parser.add_argument("--generations", type=int, default=5_000, help="of each run")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of finished cases")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wanted = cases(arguments.measurements, arguments.seeds, arguments.generations)
    rows = run_all(wanted, arguments.out, " ".join([COMMAND, *sys.argv[1:]]))
    for each in (noise_table, power_table, run_table):
        print(f"\n{each.__doc__}\n\n{each(rows)}")
    print(json.dumps(summary(rows)))


if __name__ == "__main__":
    main()
