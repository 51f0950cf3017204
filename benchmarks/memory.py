"""What a generation and a long run keep in memory: `python -m benchmarks.memory`.

First, for populations of 1, 4, 16 and 64 parents (512-wide MLPs, three mutations, batch 512, the
shared engine in one process), the peak above a fresh process, beside what must be there: weights,
two moments and an average of every parent and child, and the discriminator's gradient that judging
keeps of each child. What is left is one child's activations and PyTorch's own workspace, and must
not grow with the population. Then a long run on the ring with all its records: its memory after
1,000 generations and the most it ever has afterwards.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.generation_cost import FREE, plain
from benchmarks.presets import commit
from egan.assembly import make_world
from egan.directory import Directory
from egan.evolution import advance
from egan.presets import configure
from egan.run import run_in
from egan.settings import merge
from egan.snapshot import start

PARENTS = (1, 4, 16, 64)
FIRST = 1_000
Row = dict[str, Any]


def resident() -> float:
    """MB of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak(mu: int, generations: int = 4) -> Row:
    """The peak of a few generations above the memory before the first."""
    torch.set_num_threads(1)
    settings = merge(
        plain(512, mu), FREE,
        {
            "networks": {"name": "toy", "width": 512, "noise_dimension": 2},
            "population": {"average": 0.999},
            "execution": {"engine": "shared"},
        },
    )  # fmt: skip
    world = make_world(configure(settings))
    before = resident()
    state = start(world)
    while state.generation < generations:
        state = advance(state, world)[0]
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    count = mu * (1 + len(world.plan.losses))
    vector = 4e-6 * state.population[0].weights.numel()
    kept = 4e-6 * mu * len(world.plan.losses) * state.environment.weights.numel()
    kept *= world.plan.halves  # else none is kept beyond its child's fitness
    return {
        "mu": mu, "peak": highest - before, "population": 4 * count * vector,
        "gradients": kept, "rest": highest - before - 4 * count * vector - kept,
    }  # fmt: skip


def growth(generations: int) -> Row:
    """Memory along a whole run of the default preset on the ring, its records written."""
    torch.set_num_threads(1)
    seen: list[float] = []

    def look(state: Any, row: Any) -> None:
        if state.generation % 100 == 0:
            seen.append(resident())

    with tempfile.TemporaryDirectory() as folder:
        given = {"generations": generations}
        run_in(Directory(Path(folder) / "run"), given, on_generation=look)
    early = max(seen[: FIRST // 100])
    later = max(seen[FIRST // 100 :])
    return {"generations": generations, "first": early, "most": later, "growth": later - early}


def apart(function: Any, *arguments: Any) -> Row:
    """The function's result, computed in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: Row = pool.apply(function, arguments)
    return found


def main() -> None:
    """Measure, print the tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parents", type=int, nargs="*", default=list(PARENTS))
    parser.add_argument("--generations", type=int, default=50_000, help="of the long run")
    arguments = parser.parse_args()
    if arguments.generations < 2 * FIRST:
        parser.error(f"--generations must be at least {2 * FIRST}.")
    rows = [apart(peak, mu) for mu in arguments.parents]
    print("| parents | peak, MB | population | kept gradients | rest |\n|---|---|---|---|---|")
    for row in rows:
        numbers = [f"{row[name]:,.0f}" for name in ("peak", "population", "gradients", "rest")]
        print(f"| {row['mu']} | {' | '.join(numbers)} |", flush=True)
    long = apart(growth, arguments.generations)
    print(
        f"\nA run of {long['generations']:,} generations on the ring: {long['first']:.0f} MB "
        f"in the first {FIRST:,}, at most {long['most']:.0f} MB afterwards."
    )
    print(json.dumps({"commit": commit(), "peaks": rows, "long": long}))


if __name__ == "__main__":
    main()
