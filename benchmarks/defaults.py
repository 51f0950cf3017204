"""What `egan evolve` reaches by default, and how long it takes: `python -m benchmarks.defaults`.

Runs the whole command, as a user would, for several seeds one after the other; the machine should
be idle otherwise. Wall time is that of the command, its start and its pictures included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.presets import commit

SEEDS = {"ring": range(5), "grid": range(3), "digits": range(1)}
SHOWN = [
    "modes",
    "high-quality",
    "deviation-ratio",
    "confidence",
    "class-entropy",
    "classes",
    "energy-distance",
]

Row = dict[str, Any]


def run(data: str, seed: int, folder: Path, more: list[str]) -> Row:
    """One command: its wall time and its final scores, each beside real data's."""
    path = folder / f"{data}-{seed}"
    words = ["evolve", data, "--seed", str(seed), "--run", str(path), *more]
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "egan", *words], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    scores = json.loads((path / "scores.json").read_text(encoding="utf-8"))["final"]
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return {
        "data": data,
        "seed": seed,
        "generations": config["generations"],
        "seconds": round(seconds, 1),
        "commit": commit(),
        "scores": scores,
    }


def table(rows: list[Row]) -> str:
    """A Markdown table, real data's scores in brackets."""
    lines = ["| data | seed | generations | seconds | final scores (real data) |", "|" + "---|" * 5]
    for row in rows:
        parts = [
            f"{name} {row['scores'][name]['score']:.3g} ({row['scores'][name]['real']:.3g})"
            for name in SHOWN
            if name in row["scores"]
        ]
        head = f"| {row['data']} | {row['seed']} | {row['generations']:,} | {row['seconds']:.0f} |"
        lines.append(f"{head} {', '.join(parts)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the commands, print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(SEEDS), choices=list(SEEDS))
    parser.add_argument("--out", type=Path, help="folder that keeps the runs")
    parser.add_argument("--generations", type=int, help="instead of the default's own")
    arguments = parser.parse_args()
    more = [f"--generations={arguments.generations}"] if arguments.generations else []
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.out or Path(scratch)
        cells = [(data, seed) for data in arguments.data for seed in SEEDS[data]]
        rows = [run(data, seed, folder, more) for data, seed in cells]
    print(table(rows))
    print(json.dumps({"defaults": rows}))


if __name__ == "__main__":
    main()
