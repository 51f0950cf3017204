"""What small networks learn of images by evolution: `python -m benchmarks.networks --data-dir DIR`.

Each pair is one run of `egan evolve` with the settings of the preset, but where its row says
otherwise, on one thread. CPU time is that of the whole command: decoding, judging and pictures too.
Rows are added to the results; what these have is not run again, only drawn. The feature network is
the classifier that the data train, so scores compare with nothing published.
"""

from __future__ import annotations

import argparse
import json
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.defaults import run
from benchmarks.presets import read
from egan.api import load
from egan.data import make_data
from egan.directory import Directory
from egan.gallery import Shown, views
from populations.randomness import generator as keyed

RESULTS = Path(__file__).parent / "results" / "networks.jsonl"
ROWS, COLUMNS = 2, 12  # of samples of a pair
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
        "stylegan2": "--networks.name stylegan2 --networks.width 16 --networks.depth 2",
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
    "confidence": "confidence",
    "class-entropy": "entropy, nats",
    "frechet-distance/classifier": "Frechet distance",
    "precision/classifier": "precision",
    "recall/classifier": "recall",
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
    heads = ["network", "generations", "CPU minutes", *SHOWN.values(), "commit"]
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
    return [f"{row['scores'][name][which]:.3g}" for name in SHOWN]


def draw(runs: dict[str, Path], path: Path) -> None:
    """Samples of each network's run under real ones."""
    config = Directory(next(iter(runs.values()))).load_config()
    data, count = make_data(config.data, config.data_options), ROWS * COLUMNS
    shown = {"real data": data.draw(count, keyed(0, 0, "samples"))}
    shown.update({network: load(place).sample(count) for network, place in runs.items()})
    samples = torch.cat([each.unflatten(0, (ROWS, COLUMNS)) for each in shown.values()])
    labels = [label for name in shown for label in (name, *[" "] * (ROWS - 1))]
    views["truncation"].draw(Shown(samples, f"Samples, {config.data}", labels), data, path)


def main() -> None:
    """Run what the results do not have, draw, print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="mnist", choices=CELLS)
    parser.add_argument("--data-dir", help="folder with the data's files")
    parser.add_argument("--networks", nargs="+", help="default: all that there are settings of")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file to which rows are added")
    parser.add_argument("--runs", type=Path, default=Path("runs/networks"), help="their folder")
    parser.add_argument("--picture", type=Path, help="PNG of samples of the runs in that folder")
    arguments = parser.parse_args()
    words = ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    found = {(row["data"], row["network"]): row for row in read(arguments.out)}
    for network in arguments.networks or CELLS[arguments.data]:
        if (arguments.data, network) not in found:
            row = cell(arguments.data, network, words, arguments.runs)
            found[arguments.data, network] = row
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    rows = {name: row for (data, name), row in found.items() if data == arguments.data}
    places = {name: arguments.runs / name / f"{arguments.data}-0" for name in rows}
    if arguments.picture:
        draw({name: place for name, place in places.items() if place.is_dir()}, arguments.picture)
    print(table([*rows.values()]))
    judged = "frechet-distance/classifier"
    print(json.dumps({name: row["scores"][judged]["score"] for name, row in rows.items()}))


if __name__ == "__main__":
    main()
