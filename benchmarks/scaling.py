"""Many processes against one: `python -m benchmarks.scaling`.

Wall time of a generation of four parents (the released 32x32 pair, 64 channels, batch 64, three
mutations, judged in full) in one process and in as many as there are cores, one thread each,
interleaved; the machine should be idle otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from dataclasses import replace

import joblib
import torch

from benchmarks.generation_cost import CASES, worlds_of
from benchmarks.presets import commit
from egan.evolution import advance
from egan.settings import merge


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
    print(
        f"{arguments.case}: {found['serial']:.2f} s a generation in one process, "
        f"{found['processes']:.2f} s in {arguments.workers}: {ratio:.2f} times as fast."
    )
    print(json.dumps({"case": case.name, "workers": arguments.workers, "speedup": ratio,
                      "seconds": found, "commit": commit()}))  # fmt: skip


if __name__ == "__main__":
    main()
