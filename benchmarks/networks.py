"""What small networks learn of images by evolution: `python -m benchmarks.networks --data-dir DIR`.

Each pair is one run of `egan evolve` with the settings of the preset, but where its row says
otherwise, on one thread. CPU time is that of the whole command: decoding, judging and pictures too.
Rows are added to the results; what these have is not run again. The feature network is
the classifier that the data train, so scores compare with nothing published.
"""

from __future__ import annotations

import argparse
import json
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.defaults import run
from benchmarks.presets import read

RESULTS = Path(__file__).parent / "results" / "networks.jsonl"
RUNS = Path("runs/networks")
COMMON = ["--execution.threads", "1"]
# Rates and losses of spectrally normalised networks, without gradient penalties. Under the preset's
# ten times higher rates they can collapse.
SPECTRAL = (
    "--environment.objective hinge --fitness.quality logit "
    "--variation.mutations hinge,heuristic,least-squares "
    "--variation.lr 2e-4 --variation.beta1 0 --variation.beta2 0.9 "
    "--environment.lr 2e-4 --environment.beta1 0 --environment.beta2 0.9 --environment.steps 2 "
    "--environment.penalties.r1 0 --environment.penalties.r2 0"
)
RELATIVE = (
    "--environment.objective rsgan --fitness.quality logit "
    "--variation.mutations rsgan,heuristic,least-squares"
)
CELLS: dict[str, dict[str, str]] = {
    "mnist": {
        "dcgan": "",
        "sngan": "--networks.name sngan --networks.width 16",
        "r3gan": f"--networks.name r3gan --networks.width 32 {RELATIVE}",
        "stylegan2": "--networks.name stylegan2 --networks.width 32 --networks.depth 2 "
        "--environment.penalties.r1 10 --environment.penalties.r2 0 --fitness.quality logit",
        "sagan": f"--networks.name sagan --networks.width 16 {SPECTRAL}",
        "biggan": "--networks.name biggan --networks.width 4",
    },
    "cifar10": {
        "convolutional": "--generations 4000",
        "dcgan": "--generations 4000 --networks.name dcgan --networks.width 16",
        "dcgan-4x4": "--generations 4000 --networks.name dcgan-4x4 --networks.width 16",
        "released": "--generations 4000 --networks.name released --networks.width 16",
        "released-pytorch": "--generations 4000 --networks.name released-pytorch "
        "--networks.width 16",
        "r3gan": f"--generations 2500 --networks.name r3gan --networks.width 32 {RELATIVE}",
        "sngan": f"--generations 4000 --networks.name sngan --networks.width 16 {SPECTRAL}",
    },
}
SHOWN = {
    "confidence": ("confidence", ".3f"),
    "class-entropy": ("entropy, nats", ".3f"),
    "frechet-distance/classifier": ("Frechet distance", ".3g"),
    "precision/classifier": ("precision", ".3f"),
    "recall/classifier": ("recall", ".3f"),
}

Row = dict[str, Any]


def cell(data: str, network: str, words: list[str], folder: Path) -> Row:
    """One run, its cost and its final scores, each beside real data's."""
    settings, began = CELLS[data][network], _spent()
    row = run(data, 0, folder / network, [*COMMON, *settings.split(), *words])
    spent = round(_spent() - began, 1)
    return {**row, "network": network, "settings": settings, "cpu_seconds": spent}


def _spent() -> float:
    """CPU seconds of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(rows: Sequence[Row]) -> str:
    """A Markdown table, real data's scores in the last line."""
    heads = [
        "network",
        "generations",
        "CPU minutes",
        *(head for head, _ in SHOWN.values()),
        "commit",
    ]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in rows:
        cells = [
            f"`{row['network']}`", f"{row['generations']:,}", f"{row['cpu_seconds'] / 60:.3g}",
            *_scores(row, "score"), row["commit"],
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    cells = ["real data", "", "", *_scores(rows[-1], "real"), ""]
    return "\n".join([*lines, f"| {' | '.join(cells)} |"])


def _scores(row: Row, which: str) -> list[str]:
    return [format(row["scores"][name][which], form) for name, (_, form) in SHOWN.items()]


def place(data: str, network: str, runs: Path = RUNS) -> Path:
    """The folder of a run."""
    return runs / network / f"{data}-0"


def main() -> None:
    """Run what the results do not have, print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="mnist", choices=CELLS)
    parser.add_argument("--data-dir", help="folder with the data's files")
    parser.add_argument("--networks", nargs="+", help="default: all that there are settings of")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file to which rows are added")
    parser.add_argument("--runs", type=Path, default=RUNS, help="their folder")
    arguments = parser.parse_args()
    words = ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    found = {(row["data"], row["network"]): row for row in read(arguments.out)}
    for network in arguments.networks or CELLS[arguments.data]:
        if (arguments.data, network) not in found:
            row = cell(arguments.data, network, words, arguments.runs)
            found[arguments.data, network] = row
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    rows = [row for row in found.values() if row["data"] == arguments.data]
    print(table(rows))
    judged = "frechet-distance/classifier"
    print(json.dumps({row["network"]: row["scores"][judged]["score"] for row in rows}))


if __name__ == "__main__":
    main()
