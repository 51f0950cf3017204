"""The studies of this project, by name: `python -m benchmarks.studies points`.

Each is one call of `egan.study.compare`, into a directory under `benchmarks/results/studies`; one
that lies there goes on, and one that is finished is only written again, from its recorded cells.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from egan.study.compare import compare
from egan.study.plan import Asked

FOLDER = Path(__file__).parent / "results" / "studies"
BASELINES = (
    "gan", "minimax-alone", "least-squares-alone", "lsgan", "wgan-gp", "rsgan", "dragan",
    "pacgan-2", "pacgan-4",
)  # fmt: skip
CONTROLS = ("random-selection", "round-robin", "oracle")

STUDIES: dict[str, Asked] = {
    # The project's non-saturating GAN beside the published one.
    "pacgan-ring": Asked(
        protocol="pacgan-ring", arms=["gan"], seeds=range(5), budget="generations=40000"
    ),
    # Does evolution pay on points?
    "points": Asked(
        data=["ring", "grid", "random"],
        arms=["egan", *CONTROLS, *BASELINES],
        seeds=range(20),
        budget="flops=egan:1000",
        looks=10,
    ),
}


def main() -> None:
    """Run what is missing of the studies that are named, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="+", choices=STUDIES, metavar="NAME", help="of a study")
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0: one a core")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the studies lie")
    arguments = parser.parse_args()
    for name in arguments.names:
        about = {"command": f"python -m benchmarks.studies {name}"}
        asked, out = STUDIES[name], arguments.out / name
        found = compare(out, asked, jobs=arguments.jobs, about=about, progress=True, tell=print)
        print(f"\n{found.table()}\n")


if __name__ == "__main__":
    main()
