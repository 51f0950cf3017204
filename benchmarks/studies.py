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
EVOLUTION = ("egan", "random-selection", "random-mutation")
BASELINES = (
    "gan", "minimax-alone", "least-squares-alone", "rsgan", "dragan", "wgan-gp", "pacgan-2",
)  # fmt: skip

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

STUDIES: dict[str, Asked] = {
    # The project's non-saturating GAN beside the published one.
    "pacgan-ring": Asked(
        protocol="pacgan-ring", arms=["gan"], seeds=range(5), budget="generations=40000"
    ),
    # Does evolution pay on points?
    "ring": Asked(
        data=["ring"], arms=[*EVOLUTION, *BASELINES], seeds=range(20), budget="flops=egan:1000",
        looks=10,
    ),
    "random": Asked(
        data=["random"], arms=[*EVOLUTION, *BASELINES], seeds=range(20), budget="flops=egan:1000",
        looks=10,
    ),
    "grid": Asked(
        data=["grid"], arms=[*EVOLUTION, *BASELINES], seeds=range(20), budget="flops=egan:3000",
        looks=10, common={"execution": {"engine": "compiled"}},
    ),
    # Ten configurations each of evolution, of the random control and of gradient-only training.
    "search": Asked(
        data=["ring", "random"], arms=SEARCHED, seeds=range(100, 103),
        budget="flops=random-mutation:1950", looks=5, common={"execution": {"engine": "compiled"}},
    ),
    "search-digits": Asked(
        data=["stacked-digits"], arms=SEARCHED, seeds=range(100, 102),
        budget="flops=random-mutation:600", looks=5,
    ),
    # Does evolution pay on images?
    "stacked-digits": Asked(
        data=["stacked-digits"], arms=[*EVOLUTION, *BASELINES], seeds=range(10),
        budget="flops=gan:600", looks=5,
    ),
    # How much could the best judge gain, with these children and with others?
    "ceiling": Asked(
        data=["ring", "random"],
        arms=[
            "random-selection", "oracle", "oracle[gradient_noise=0.3]",
            "oracle[mutations=[heuristic,feature-matching,wasserstein]]", "gan",
        ],
        seeds=range(100, 105), budget="flops=random-selection:1000", looks=5,
    ),
}  # fmt: skip


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
