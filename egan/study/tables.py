"""What a study says: one row an arm and data set in Markdown, one a cell as a .csv."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from egan.data import make_data
from egan.scores import Score, full_cover, look_samples_of, score_of
from egan.scores.distances import ENOUGH
from egan.settings import flatten
from egan.study.records import Cell, DataSet, Study
from egan.study.statistics import a12, holm, mann_whitney, median_interval, wilcoxon

COVERED = 0.9  # share of the modes; who covers fewer has collapsed
COSTS = ("generations", "generator_steps", "flops", "cpu_seconds", "seconds")
Row = dict[str, Any]


def summary(study: Study, cells: Sequence[Cell]) -> list[Row]:
    """One row an arm and data set, in the order of the study.

    Returns:
        Of each `data`, `arm`, `seeds` (finished), `failed` (ended early), `primary` (the score's
        name), of the final primary scores `median`, `low`, `high` (bootstrap, 95 %), of the best
        ones `best_median`; against the study's first arm `a12` (the probability that this arm does
        better), `p` (Mann and Whitney, after Holm over the data set's arms) and `p_paired`
        (Wilcoxon over equal seeds, likewise), None for the first arm itself; where modes can be
        counted `collapsed_final`, `collapsed_best` (shares of seeds that cover fewer than nine
        tenths of the modes, finally and at their best look) and `full_share` (the median share of
        the budget until a look finds all modes covered, inf where most never do), else None;
        `alarms`, of a collapse that runs saw without labels, the mean; median
        costs of a run, `generations`, `generator_steps`, `flops`, `cpu_seconds`, `seconds`.
    """
    return [row for data in study.data for row in _of_data(study, data, cells)]


def _of_data(study: Study, data: DataSet, cells: Sequence[Cell]) -> list[Row]:
    found = {
        arm.name: {
            cell["seed"]: cell
            for cell in cells
            if (cell["data"], cell["arm"]) == (data.name, arm.name)
        }
        for arm in study.arms
    }
    rows = [_row(data, name, list(own.values())) for name, own in found.items() if own]
    if rows and rows[0]["arm"] == study.arms[0].name:
        compare_with_first(rows, found, data)
    return rows


def merits(data: DataSet, cells: Iterable[Cell], when: str = "final") -> list[float]:
    """The primary score of each cell, as a number that is the higher the better."""
    score: Score = score_of(data.primary)
    return [score.merit(value(cell, when, data.primary)) for cell in cells]


def value(cell: Cell, when: str, name: str) -> float:
    """A score of a cell, "final" or "best"; nan where it has none."""
    found = (cell[when] or {}).get(name)
    return math.nan if found is None else float(found)


def settled(cell: Cell, when: str, name: str) -> float:
    """A score of a cell, "final" or "best"; the worst there is where it has none."""
    found = value(cell, when, name)
    return lost(name) if math.isnan(found) else found


def lost(name: str) -> float:
    """What a run without a score counts as having: the worst there is."""
    return math.inf if score_of(name).better == "lower" else -math.inf


def _row(data: DataSet, arm: str, cells: Sequence[Cell]) -> Row:
    finals = [settled(cell, "final", data.primary) for cell in cells]
    middle, *ends = median_interval(finals)
    return {
        "data": data.name, "arm": arm, "seeds": len(cells),
        "failed": sum(cell["error"] is not None for cell in cells),
        "primary": data.primary, "median": middle, "low": min(ends), "high": max(ends),
        "best_median": median(settled(cell, "best", data.primary) for cell in cells),
        "a12": None, "p": None, "p_paired": None,
        **_modes(data, cells),
        "alarms": _mean([len(cell["alarms"]) for cell in cells if "alarms" in cell]),
        **{name: median(cell[name] for cell in cells) for name in COSTS},
    }  # fmt: skip


def _mean(found: Sequence[float]) -> float | None:
    return sum(found) / len(found) if found else None


def compare_with_first(
    rows: list[Row], found: Mapping[str, Mapping[int, Cell]], data: DataSet
) -> None:
    """Fill in `a12`, `p` and `p_paired` of every row after the first, whose arm it is set against.

    Args:
        rows: one an arm.
        found: the cells of each arm, by seed.
        data: by whose primary score arms are compared.
    """
    first, others = found[rows[0]["arm"]], rows[1:]
    tests = []
    for row in others:
        own = found[row["arm"]]
        shared = sorted(first.keys() & own.keys())
        pair = merits(data, own.values()), merits(data, first.values())
        row["a12"] = a12(*pair)
        paired = (merits(data, [each[seed] for seed in shared]) for each in (own, first))
        tests.append((mann_whitney(*pair), wilcoxon(*paired) if shared else 1.0))
    for name, place in (("p", 0), ("p_paired", 1)):
        for row, p in zip(others, holm([each[place] for each in tests]), strict=True):
            row[name] = p


def _modes(data: DataSet, cells: Sequence[Cell]) -> Row:
    """How many seeds have collapsed, and when all modes were covered, where modes are known."""
    full = full_cover(make_data(data.source, data.options))
    if full is None:
        return {"collapsed_final": None, "collapsed_best": None, "full_share": None}

    def share(found: Iterable[float]) -> float:
        lost = [math.isnan(each) or each < COVERED * full for each in found]
        return sum(lost) / len(lost)

    return {
        "collapsed_final": share(value(cell, "final", "modes") for cell in cells),
        "collapsed_best": share(most_modes(cell) for cell in cells),
        "full_share": median(full_share(cell, full) for cell in cells),
    }


def most_modes(cell: Cell) -> float:
    """The most modes that a look found covered."""
    return max((look["scores"].get("modes") or 0.0 for look in cell["looks"]), default=0.0)


def full_share(cell: Cell, full: float) -> float:
    """The share of the budget at the first look that found all modes; inf where none did."""
    found = (look["share"] for look in cell["looks"] if (look["scores"]["modes"] or 0) >= full)
    return float(next(found, math.inf))


def markdown(study: Study, rows: Sequence[Row]) -> str:
    """The tables of all data sets."""
    return "\n\n".join(
        _table(study, data, [row for row in rows if row["data"] == data.name])
        for data in study.data
    )


def _table(study: Study, data: DataSet, rows: Sequence[Row]) -> str:
    score: Score = score_of(data.primary)
    against = study.arms[0].name
    head = [
        "arm", "seeds", f"{data.primary} ({score.better} is better), final: median [95 %]",
        "best: median", f"A12 against {against}", "p (Holm)", "p, paired (Holm)",
        "collapsed, final", "collapsed, at every look", "all modes after", "alarms",
        "generations", "generator steps", "GFLOP", "CPU s", "s",
    ]  # fmt: skip
    return f"### {data.name}\n\n{_judging(data)}\n\n{table(head, map(_cells, rows))}"


def _judging(data: DataSet) -> str:
    looks = look_samples_of(make_data(data.source, data.options))
    least = f", the energy distance of {ENOUGH:,} of them" if data.samples > ENOUGH else ""
    final = f"Final and best scores are of {data.samples:,} samples{least}"
    return f"{final}, those of looks of {looks:,}."


def facts(study: Study, cells: Sequence[Cell]) -> dict[str, str]:
    """What was asked, and where the cells come from, by name."""
    settings = ", ".join(f"{name} = {each}" for name, each in flatten(study.common).items())
    flops = [
        f"{data.name} {max(cell['flops'] for cell in own) / 1e9:,.0f} GFLOP"
        for data in study.data
        if (own := [cell for cell in cells if cell["data"] == data.name])
    ]
    known = {
        "protocol": study.protocol,
        "budget of every run": f"{study.budget} ({', '.join(flops)} at most)",
        "seeds": _ranges(study.seeds),
        "looks": str(study.looks),
        "settings of all arms": settings,
        **study.about,
        **{
            name: "; ".join(
                dict.fromkeys(str(each[name]) for each in (study.about, *cells) if name in each)
            )
            for name in ("commit", "hardware")
        },
    }
    return {name: text for name, text in known.items() if text}


def _ranges(seeds: Sequence[int]) -> str:
    """Numbers, consecutive ones as their ends: `0 to 4, 7`."""
    ends: list[list[int]] = []
    for seed in sorted(seeds):
        if ends and seed == ends[-1][1] + 1:
            ends[-1][1] = seed
        else:
            ends.append([seed, seed])
    return ", ".join(f"{low} to {high}" if high > low else str(low) for low, high in ends)


def legend(study: Study) -> str:
    """What the columns mean, in Markdown."""
    against = study.arms[0].name
    return f"""\
- Final, best: medians over seeds with bootstrap intervals (95 %); best is the generator of the look
  with the best primary score, judged again on fresh samples. A run that ended early is the worst.
- A12: the chance that a run of this row ends better than one of {against}; above 0.5 the row is
  better.
- p: Mann and Whitney's test of final scores against {against}, and, paired, Wilcoxon's over equal
  seeds, each after Holm over the rows of a data set.
- Collapsed: seeds that cover fewer than {COVERED:.0%} of the modes in the end, or at every look.
- All modes after: the share of the budget until a look finds all of them covered, the median.
- Alarms: falls of coverage or diversity that a run saw without labels, the mean.
- Costs: medians of a run. GFLOP counts matrix products and convolutions, children's judging among
  them; looks, the questions to an oracle and the fit of a mixture are not in it, and only the
  oracle's are in the seconds."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def _cells(row: Row) -> list[str]:
    failed = f" ({row['failed']} ended early)" if row["failed"] else ""
    return [
        row["arm"].replace("|", "\\|"), f"{row['seeds']}{failed}",
        f"{_number(row['median'])}{_interval(row)}",
        _number(row["best_median"]), _number(row["a12"], ".2f"),
        _p(row["p"]), _p(row["p_paired"]),
        _number(row["collapsed_final"], ".0%"), _number(row["collapsed_best"], ".0%"),
        _number(row["full_share"], ".0%"), _number(row["alarms"], ".2g"),
        f"{row['generations']:,.0f}", f"{row['generator_steps']:,.0f}",
        f"{row['flops'] / 1e9:,.0f}", f"{row['cpu_seconds']:,.1f}", f"{row['seconds']:,.1f}",
    ]  # fmt: skip


def _interval(row: Row) -> str:
    if math.isnan(row["low"]):
        return ""
    return f" [{_number(row['low'])}, {_number(row['high'])}]"


def _number(found: float | None, form: str = ".3g") -> str:
    if found is None or math.isnan(found):
        return ""
    return "never" if math.isinf(found) and "%" in form else f"{found:{form}}"


def _p(found: float | None) -> str:
    if found is None:
        return ""
    return "< 0.0001" if found < 1e-4 else f"{found:.4f}"


def results(cells: Sequence[Cell]) -> str:
    """All cells, one line each, as comma-separated values with a head."""
    rows = [_flat(cell) for cell in cells]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flat(cell: Cell) -> Row:
    plain = {name: cell[name] for name in ("data", "arm", "seed", "error", *COSTS, "best_share")}
    plain["alarms"] = len(cell["alarms"]) if "alarms" in cell else None
    for when in ("final", "best"):
        plain |= {f"{when} {name}": each for name, each in (cell[when] or {}).items()}
    return plain
