"""The studies of this project, by name: `python -m benchmarks.studies ring`.

Each is one call of `egan.study.compare`, into a directory under `benchmarks/results/studies`; one
that lies there goes on, and one that is finished is only written again, from its recorded cells.
Without a name it prints what the recorded ones say of evolution, from their cells alone.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.throughput import AS_RELEASED
from egan.settings import merge
from egan.study.compare import compare
from egan.study.plan import Asked
from egan.study.records import Cell, DataSet, Folder
from egan.study.tables import Row, compare_with_first, settled, table
from populations.errors import UsageError

FOLDER = Path(__file__).parent / "results" / "studies"
EVOLUTION = ("egan", "random-selection", "random-mutation")
BASELINES = ("gan", "minimax-alone", "least-squares-alone", "rsgan", "pacgan-2")
PENALISED = ("dragan", "wgan-gp")  # with penalties of their own; only on the ring
COMPILED = {"execution": {"engine": "compiled"}}

# What the search varies, of evolution judged by kernel distance, of the control and of baselines.
LABEL_FREE = "quality=none; diversity=kernel-distance; gamma=1; lazy=4"
FIVE = "mutations=[minimax,heuristic,least-squares,wasserstein,forward-kl]"
SEARCHED = [
    *[f"egan[{LABEL_FREE}{own}]" for own in (
        "", "; fitness.samples=64", "; mixture=8", "; packing=2", f"; {FIVE}",
        "; mutations=[minimax,least-squares]", "; variation.steps=3", "; choice=random; children=2",
    )],
    "egan[quality=none; diversity=energy-distance; gamma=1; lazy=4]",
    "egan[quality=none; diversity=kernel-distance; gamma=1; penalties.r1=0; penalties.r2=0]",
    "random-mutation",
    *[f"random-mutation[{own}]" for own in (
        "lazy=4", "lazy=4; mixture=8", "lazy=4; packing=2", f"lazy=4; {FIVE}",
        "lazy=4; mutations=[minimax,least-squares]", "lazy=4; variation.steps=3",
        "penalties.r1=0; penalties.r2=0",
    )],
    "random-selection[lazy=4]", "random-selection[lazy=4; mixture=8]",
    *[f"minimax-alone[{own}]" for own in (
        "lazy=4", "lazy=4; mixture=8", "lazy=4; packing=2", "lazy=4; variation.steps=3",
        "penalties.r1=0; penalties.r2=0",
    )],
    "gan[lazy=4]", "gan[lazy=4; mixture=8]", "rsgan[lazy=4]",
    "pacgan-2[lazy=4]", "pacgan-2[lazy=4; mixture=8]",
]  # fmt: skip
# The best of the search by the geometric mean over its data sets: evolution, its own children
# drawn at random, the control, the gradient-only arm.
FOUND = [
    f"egan[{LABEL_FREE}; mutations=[minimax,least-squares]]",
    "random-mutation[lazy=4; mutations=[minimax,least-squares]]", "random-mutation",
    "gan[lazy=4]",
]  # fmt: skip

# Evolution as released for CIFAR-10, and each of its losses alone.
CIFAR = Asked(
    data=["cifar10[flip=true]"], looks=10, common=AS_RELEASED,
    arms=["egan", *[f"egan[mutations=[{loss}]]" for loss in (
        "non-saturating", "vanilla", "least-squares",
    )]],
)  # fmt: skip
GPU = merge(AS_RELEASED, COMPILED, {"execution": {"device": "cuda"}})

STUDIES: dict[str, Asked] = {
    # The project's non-saturating GAN beside the published one.
    "pacgan-ring": Asked(
        protocol="pacgan-ring", arms=["gan"], seeds=range(5), budget="generations=40000"
    ),
    "pacgan-grid": Asked(
        protocol="pacgan-grid", arms=["gan"], seeds=range(5), budget="generations=20000"
    ),
    # Does evolution pay?
    "ring": Asked(
        data=["ring"], arms=[*EVOLUTION, *BASELINES, *PENALISED], seeds=range(20),
        budget="flops=egan:1000", looks=10,
    ),
    "random": Asked(
        data=["random"], arms=[*EVOLUTION, *BASELINES], seeds=range(20), budget="flops=egan:600",
        looks=5, common=COMPILED,
    ),
    "grid": Asked(
        data=["grid"], arms=[*EVOLUTION, *BASELINES], seeds=range(20), budget="flops=egan:600",
        looks=5, common=COMPILED,
    ),
    "stacked-digits": Asked(
        data=["stacked-digits"], arms=[*EVOLUTION, *BASELINES], seeds=range(10),
        budget="flops=gan:600", looks=5,
    ),
    "stacked-mnist": Asked(
        data=["stacked-mnist"],
        arms=[*EVOLUTION, "gan", "minimax-alone", "rsgan", "pacgan-2", "pacgan-4"],
        seeds=range(10), budget="flops=gan:120", looks=1, samples=2_000,
        common={"networks": {"name": "convolutional", "width": 16}},
    ),
    # Ten configurations each of evolution, of the random control and of gradient-only training,
    # and the best of each again, on seeds that nobody has chosen by.
    "search": Asked(
        data=["ring", "random"], arms=SEARCHED, seeds=[100],
        budget="flops=random-mutation:1950", looks=5, common=COMPILED,
    ),
    "search-digits": Asked(
        data=["stacked-digits"], arms=SEARCHED, seeds=[100], budget="flops=random-mutation:600",
        looks=5,
    ),
    "confirm": Asked(
        data=["random"], arms=FOUND, seeds=range(20), budget="flops=random-mutation:1950", looks=2,
        common=COMPILED,
    ),
    # What is judging worth where it costs nothing?
    "judging": Asked(
        data=["random", "stacked-digits"], arms=["egan", "random-selection"], seeds=range(10),
        budget="generations=360", looks=1,
    ),
    # The released pair at its size, on a GPU, and at an eighth of its width on a processor.
    "cifar10-flops": replace(CIFAR, seeds=range(5), budget="flops=egan:20000", common=GPU),
    "cifar10-seconds": replace(CIFAR, seeds=range(5), budget="seconds=egan:20000", common=GPU),
    "cifar10-narrow": replace(
        CIFAR, seeds=range(3), budget="flops=egan:1000",
        common=merge(AS_RELEASED, {"networks": {"width": 16}}),
    ),
}  # fmt: skip


PAYS = ("ring", "random", "grid", "stacked-digits", "stacked-mnist")
"""Of these the overview tells."""


def overview(folder: Path = FOLDER) -> str:
    """One row an arm, one column a data set: the median of the final primary scores.

    In brackets A12 against the default's evolution, with a star where p < .05 (Mann and Whitney,
    after Holm over the column); above 0.5 the row does better. Of a study that is not finished,
    the seeds that all arms have.
    """
    columns = dict(_column(Folder(folder / name)) for name in PAYS if (folder / name).exists())
    arms = [*EVOLUTION, *BASELINES, *PENALISED, "pacgan-4"]
    rows = [[arm, *(column.get(arm, "") for column in columns.values())] for arm in arms]
    return table(["arm", *columns], [row for row in rows if any(row[1:])])


def _column(folder: Folder) -> tuple[str, dict[str, str]]:
    """The head of a column, and what stands in it of each arm."""
    study, cells = folder.read(), folder.read_cells()
    data, names = study.data[0], [arm.name for arm in study.arms]
    seeds = [
        seed for seed in study.seeds if all((data.name, name, seed) in cells for name in names)
    ]
    found = {name: {seed: cells[data.name, name, seed] for seed in seeds} for name in names}
    return f"{data.name}, {len(seeds)} seeds", _entries(data, found) if seeds else {}


def _entries(data: DataSet, found: dict[str, dict[int, Cell]]) -> dict[str, str]:
    rows: list[Row] = [
        {
            "arm": arm,
            "median": median(settled(each, "final", data.primary) for each in own.values()),
        }
        for arm, own in found.items()
    ]
    compare_with_first(rows, found, data)
    return {row["arm"]: f"{row['median']:.3g}{_against(row)}" for row in rows}


def _against(row: Row) -> str:
    return f" ({row['a12']:.2f}{'*' if row['p'] < 0.05 else ''})" if "p" in row else ""


def main() -> None:
    """Run what is missing of the studies that are named, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(STUDIES))
    parser.add_argument("--data-dir", help="folder with the files of MNIST or CIFAR-10")
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0: one a core")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the studies lie")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in STUDIES]:
        parser.error(f"no study is called {unknown[0]}: valid are {', '.join(STUDIES)}.")
    if not arguments.names:
        print(overview(arguments.out))
    for name in arguments.names:
        about = {"command": f"python -m benchmarks.studies {name}"}
        asked, out = replace(STUDIES[name], data_dir=arguments.data_dir), arguments.out / name
        try:
            found = compare(out, asked, jobs=arguments.jobs, about=about, progress=True, tell=print)
        except UsageError as error:
            parser.error(str(error))
        print(f"\n{found.table()}\n")


if __name__ == "__main__":
    main()
