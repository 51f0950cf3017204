"""Presets on ring and grid at equal counted compute: `python -m benchmarks.presets`.

Every arm gets the floating-point operations of the default preset's run on that data set, so that
cheaper generations mean more of them. `random` is the control: the default's children, survivors
chosen at random, nothing judged. Finished cells are kept in a file and not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import joblib
import torch

from egan.assembly import make_game, make_world
from egan.cost import generation_flops
from egan.generator import Generator
from egan.monitor import finite
from egan.presets import configure
from egan.run import advance
from egan.scores import evaluate, reference
from egan.snapshot import start

ARMS: dict[str, dict[str, Any]] = {
    "paper": {"preset": "paper"},
    "released-theano": {"preset": "released-theano"},
    "released-pytorch": {"preset": "released-pytorch"},
    "gradient-only": {"preset": "gradient-only"},
    "random": {"population": {"selection": "random"}},
    "default": {},
}
DATA = ("ring", "grid")
SAMPLES = 10_000  # for the final scores
LOOKS, LOOK_SAMPLES = 20, 2_000  # scorings along a run, for the best one
NAMES = ["modes", "high-quality", "deviation-ratio", "reverse-kl", "energy-distance"]
RESULTS = Path(__file__).parent / "results" / "presets.jsonl"

Row = dict[str, Any]

COLUMNS = [
    ("final", "modes", 0),
    ("final", "high-quality", 3),
    ("final", "deviation-ratio", 2),
    ("final", "energy-distance", 5),
    ("best", "modes", 0),
    ("best", "high-quality", 3),
    ("best", "energy-distance", 5),
]


def cost_of(arm: str, data: str) -> tuple[int, int]:
    """Operations of one generation, and the preset's own number of generations."""
    world = make_world(configure(ARMS[arm], {"data": data}))
    return generation_flops(start(world), world), world.config.generations


def budget_of(data: str, share: float) -> int:
    """The default's operations on these data, times `share`."""
    flops, generations = cost_of("default", data)
    return int(flops * generations * share)


def run_cell(arm: str, data: str, seed: int, budget: int, version: str) -> Row:
    """One run at the budget: final scores, and the best along the way by energy distance."""
    torch.set_num_threads(1)
    flops, _ = cost_of(arm, data)
    generations = max(1, budget // flops)
    settings = {"data": data, "seed": seed, "generations": generations, "horizon": generations}
    world = make_world(configure(ARMS[arm], settings))
    generator = Generator(make_game(world.config, world.data.shape, "cpu"))
    real = reference(world.data, LOOK_SAMPLES)
    looks: list[Row] = []
    every = max(1, generations // LOOKS)

    def look(state: Any, row: Row) -> None:
        if state.generation % every == 0 or state.generation == generations:
            samples = generator.load(state.population[0]).sample(LOOK_SAMPLES, seed=1)
            looks.append(evaluate(samples, world.data, NAMES, real))

    began = time.process_time()
    state = advance(start(world), world, on_generation=look)
    seconds = time.process_time() - began
    final = generator.load(state.population[0]).sample(SAMPLES)
    return {
        "arm": arm, "data": data, "seed": seed, "budget": budget, "generations": generations,
        "flops": flops * generations, "cpu_seconds": round(seconds, 1),
        "commit": version, "final": evaluate(final, world.data, NAMES),
        "best": min(looks, key=lambda look: look["energy-distance"]),
    }  # fmt: skip


def commit() -> str:
    """The short name of the commit that is checked out."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def run_all(data_sets: list[str], seeds: int, share: float, path: Path, jobs: int) -> list[Row]:
    """All cells; those that `path` already has at the same budget are not run again."""
    budgets = {data: budget_of(data, share) for data in data_sets}
    wanted = [
        (arm, data, seed, budgets[data])
        for data in data_sets
        for seed in range(seeds)
        for arm in ARMS
    ]
    done = {cell_of(row): row for row in read(path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    version = commit()  # once, since the checkout may move on while the cells run
    work = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(
        joblib.delayed(run_cell)(*cell, version) for cell in wanted if cell not in done
    )
    for row in work:
        done[cell_of(row)] = row
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite(row), allow_nan=False) + "\n")
        print(cell_of(row), f"{row['cpu_seconds']} s", flush=True)
    return [done[cell] for cell in wanted]


def cell_of(row: Row) -> tuple[str, str, int, int]:
    """What makes a row the same cell."""
    return row["arm"], row["data"], row["seed"], row["budget"]


def read(path: Path) -> list[Row]:
    """Rows of earlier runs."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(rows: list[Row]) -> str:
    """A Markdown table: medians over seeds and their range; final, and best by energy."""
    lines = [
        "| data | arm | generations | modes, final | high quality, final | sd ratio, final "
        "| energy distance, final | modes, best | high quality, best | energy distance, best "
        "| CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for data in dict.fromkeys(row["data"] for row in rows):
        for arm in ARMS:
            cells = [row for row in rows if (row["arm"], row["data"]) == (arm, data)]
            parts = [
                spread([cell[when][name] for cell in cells], digits)
                for when, name, digits in COLUMNS
            ]
            seconds = statistics.median(cell["cpu_seconds"] for cell in cells)
            columns = [data, arm, f"{cells[0]['generations']:,}", *parts, f"{seconds:.0f}"]
            lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def spread(found: list[float | None], digits: int) -> str:
    """Median, and the range in brackets; a run without any high-quality sample has no sd ratio."""
    values = [value for value in found if value is not None and math.isfinite(value)]
    if not values:
        return "none"
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def main() -> None:
    """Run what is missing, print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0, 1, ... (default: 5)")
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=DATA)
    parser.add_argument("--share", type=float, default=1.0, help="of the default's budget")
    parser.add_argument("--jobs", type=int, default=joblib.cpu_count(), help="processes")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of finished cells")
    arguments = parser.parse_args()
    rows = run_all(arguments.data, arguments.seeds, arguments.share, arguments.out, arguments.jobs)
    print(table(rows))
    medians = {
        f"{data}/{arm}": statistics.median(
            row["final"]["energy-distance"]
            for row in rows
            if (row["data"], row["arm"]) == (data, arm)
        )
        for data in arguments.data
        for arm in ARMS
    }
    print(json.dumps({"energy_distance_final_median": medians}))


if __name__ == "__main__":
    main()
