"""What the networks' pages say of training: `python -m benchmarks.trained`.

The end of each page in `docs/networks` and of `docs/networks.md`, from the results of
`benchmarks.networks`; and, where its runs still lie, the pages' pictures.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from matplotlib import image

from benchmarks.networks import CELLS, COMMON, RESULTS, RUNS, Row, place, table
from benchmarks.presets import read
from egan.api import load
from egan.pictures import tiles

OVERVIEW = Path(__file__).parent.parent / "docs" / "networks.md"
PAGES = OVERVIEW.with_suffix("")
HEAD = "\n## Trained here\n"
SAMPLES = (3, 16)  # rows and columns of a picture
BREADTH = 100  # of a line of a command


def overview(rows: Sequence[Row]) -> str:
    """A table for each data set."""
    tables = []
    for data, cells in CELLS.items():
        found = {row["network"]: row for row in rows if row["data"] == data}
        own = [found[network] for network in cells if network in found]
        tables.append(f"On {data}:\n\n{_linked(table(own))}")
    return "\n\n".join(tables)


def page(rows: Sequence[Row]) -> str:
    """For each data set one network's command, samples, cost and scores."""
    return "\n\n".join(
        f"```sh\n{command(row)}\n```\n\n![Samples]({picture(row).name})\n\n{table([row])}"
        for row in rows
    )


def command(row: Row) -> str:
    """As a user would type it, in lines of readable length that end between options."""
    words = ["egan", "evolve", row["data"], "--data-dir", "DIR", *COMMON, *row["settings"].split()]
    first, *options = " ".join(map(shlex.quote, words)).split(" --")
    lines = [first]
    for option in options:
        if len(lines[-1]) + len(option) + 5 > BREADTH:
            lines.append(" ")
        lines[-1] += f" --{option}"
    return " \\\n".join(lines)


def picture(row: Row) -> Path:
    """Where the samples of a row are drawn."""
    return PAGES / f"{row['network']}-{row['data']}.png"


def draw(row: Row, runs: Path) -> None:
    """Samples of the row's run, drawn from its seed."""
    lines, columns = SAMPLES
    samples = load(place(row["data"], row["network"], runs)).sample(lines * columns)
    sheet = tiles(samples.unflatten(0, SAMPLES), samples.shape[-1])
    image.imsave(picture(row), sheet, cmap="gray", vmin=0, vmax=1)


def _linked(text: str) -> str:
    """A table whose first column's names are links to their pages."""
    for name in (each.stem for each in PAGES.glob("*.md")):
        text = text.replace(f"\n| `{name}` |", f"\n| [`{name}`](networks/{name}.md) |")
    return text


def _end(path: Path, text: str) -> None:
    """Replace what is after the head."""
    before = path.read_text(encoding="utf-8").partition(HEAD)[0]
    path.write_text(f"{before.rstrip()}\n{HEAD}\n{text}\n", encoding="utf-8")


def main() -> None:
    """Write the pages' ends, and the pictures of the runs that are found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of benchmarks.networks")
    arguments = parser.parse_args()
    rows = read(RESULTS)
    for name in dict.fromkeys(row["network"] for row in rows):
        _end(PAGES / f"{name}.md", page([row for row in rows if row["network"] == name]))
    for row in rows:
        if place(row["data"], row["network"], arguments.runs).is_dir():
            draw(row, arguments.runs)
    _end(OVERVIEW, overview(rows))


if __name__ == "__main__":
    main()
