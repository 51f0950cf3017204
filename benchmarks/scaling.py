"""Many processes against one: `python -m benchmarks.scaling`.

Wall time of a generation of four parents (the released 32x32 pair, 64 channels, batch 64, three
mutations, judged in full) in one process and in as many as there are cores, one thread each,
interleaved; the machine should be idle otherwise. The ceiling is what the machine itself allows:
as many processes that compute a generation each and know nothing of each other, against one alone
(cores share caches, memory and sometimes more).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import statistics
import time
from dataclasses import replace
from typing import Any

import joblib
import torch

from benchmarks.generation_cost import CASES, Case, worlds_of
from benchmarks.presets import commit
from egan.evolution import advance
from egan.settings import merge

PATIENCE = 1800  # seconds after which a process must have failed


def generations(case: Case, start: Any, count: int, found: Any) -> None:
    """Put the median time of serial generations into `found`, begun when all are ready."""
    torch.set_num_threads(1)
    world, state = worlds_of(replace(case, ways={"": case.ways[""]}))[""]
    state = advance(state, world)[0]
    times = []
    start.wait(PATIENCE)
    for _ in range(count):
        began = time.perf_counter()
        state = advance(state, world)[0]
        times.append(time.perf_counter() - began)
    found.put(statistics.median(times))


def together(case: Case, workers: int, count: int) -> float:
    """Median seconds of a generation in each of several processes at once."""
    context = multiprocessing.get_context("spawn")
    start, found = context.Barrier(workers), context.Queue()
    processes = [
        context.Process(target=generations, args=(case, start, count, found), daemon=True)
        for _ in range(workers)
    ]
    for each in processes:
        each.start()
    times = [found.get(timeout=PATIENCE) for _ in processes]
    for each in processes:
        each.join()
    return statistics.fmean(times)


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", default="conv64_mu4", choices=[case.name for case in CASES])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=joblib.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    (case,) = (case for case in CASES if case.name == arguments.case)
    many = {"execution": {"executor": "processes", "workers": arguments.workers}}
    free = case.ways[""]
    worlds = worlds_of(replace(case, ways={"serial": free, "processes": merge(free, many)}))
    times: dict[str, list[float]] = {"serial": [], "processes": []}
    with contextlib.closing(worlds["processes"][0].executor):
        for turn in range(arguments.rounds + 1):
            for name, seconds in times.items():
                world, state = worlds[name]
                began = time.perf_counter()
                state = advance(state, world)[0]
                if turn:  # in the first round workers start
                    seconds.append(time.perf_counter() - began)
                worlds[name] = world, state
    ratio = statistics.median(
        one / many for one, many in zip(times["serial"], times["processes"], strict=True)
    )
    found = {name: statistics.median(seconds) for name, seconds in times.items()}
    ceiling = arguments.workers * together(case, 1, 3) / together(case, arguments.workers, 3)
    print(
        f"{arguments.case}: {found['serial']:.2f} s a generation in one process, "
        f"{found['processes']:.2f} s in {arguments.workers}: {ratio:.2f} times as fast "
        f"(processes that share nothing: {ceiling:.2f})."
    )
    row = {
        "case": case.name, "workers": arguments.workers, "speedup": ratio, "ceiling": ceiling,
        "seconds": found, "commit": commit(),
    }  # fmt: skip
    print(json.dumps(row))


if __name__ == "__main__":
    main()
