"""Is selection selection, and variation variation? `python -m benchmarks.diagnostics`.

Three tables. Along runs of the default preset, at several stages, all children of a generation are
judged on few samples and on very many: how often do both name the same winner, on noise that the
children share and on noise of each child's own? Does what the very many say agree with the distance
to the data and with coverage, which selection does not know? And, with other operators: in which
directions do siblings step, how far, and do their distances to the data differ by more than these
can be measured?
"""

from __future__ import annotations

import argparse
import json
import math
import operator
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.presets import commit, read
from egan.assembly import make_world
from egan.diagnostics import judged_again, mean, merits, siblings, tau
from egan.environment import Environment
from egan.evolution import advance, meet
from egan.monitor import finite
from egan.presets import configure
from egan.scene import Litter
from egan.snapshot import start
from egan.state import State
from egan.world import World
from populations.individual import Individual

RESULTS = Path(__file__).parent / "results" / "diagnostics.jsonl"
COMMAND = "python -m benchmarks.diagnostics"
JUDGING, OPERATORS = "judging", "operators"
DATA = ("ring", "random")
FEW = (32, 128, 512, 2_048)
NOISES = {"shared": True, "fresh": False}
GAMMAS = (0.01, 1.0)  # of the default preset, and of the preset `paper`
EVERY = 5  # generations between two that are looked at
REPEATS = 3  # measurements of a child's distance to the data
MERITS = ("energy-distance", "coverage")
ARMS: dict[str, dict[str, Any]] = {
    "the paper's three": {},
    "moments of their own": {"variation": {"moments": "mutation"}},
    "3 steps": {"variation": {"steps": 3}},
    "gradient noise 0.3": {"variation": {"gradient_noise": 0.3}},
    "gradient noise 1": {"variation": {"gradient_noise": 1.0}},
    "own rates 0.2": {"variation": {"adaptation": 0.2}},
    "weight noise 0.02": {
        "variation": {"mutations": ["minimax+noise", "heuristic+noise", "least-squares+noise"]},
    },
    "other losses": {
        "variation": {"mutations": ["forward-kl", "wasserstein", "rsgan", "feature-matching"]},
    },
    "distillation too": {"population": {"crossover": "distillation"}},
}

Row = dict[str, Any]
Look = tuple[State, Environment, Litter]


@dataclass(frozen=True)
class Size:
    """How much is looked at.

    Attributes:
        stages: generations from which on children are judged on few samples and many.
        operator_stages: those from which on operators are compared.
        looks: generations that are looked at from each stage on.
        seeds: of the runs whose children are judged.
        operator_looks: like `looks`, where operators are compared.
        operator_seeds: of the runs in which they are.
        truth: samples that decide who the winner is.
    """

    stages: tuple[int, ...] = (100, 300, 1_000, 2_000)
    operator_stages: tuple[int, ...] = (100, 500)
    looks: int = 20
    seeds: int = 3
    operator_looks: int = 5
    operator_seeds: int = 2
    truth: int = 32_768


QUICK = Size((50,), (50,), looks=2, seeds=1, operator_looks=2, operator_seeds=1, truth=8_192)


def looks(world: World, stages: Iterable[int], count: int) -> Iterator[tuple[int, Look]]:
    """The stage and the generation, before selection, of all that are looked at in a run."""
    wanted = {stage + EVERY * place: stage for stage in stages for place in range(count)}
    state = start(world)
    while state.generation <= max(wanted):
        if state.generation in wanted:
            environment, _ = meet(state, world)
            litter = world.breed(state, environment)
            yield wanted[state.generation], (state, environment, litter)
        state, _ = advance(state, world)


def by_stage(
    world: World, stages: Iterable[int], count: int, look_at: Callable[[World, Look], Row]
) -> dict[int, list[Row]]:
    """What is seen in each generation that is looked at, by stage."""
    found: dict[int, list[Row]] = {}
    for stage, look in looks(world, stages, count):
        found.setdefault(stage, []).append(look_at(world, look))
    return found


def judgement(world: World, look: Look, truth: int) -> Row:
    """Who wins on few samples and on many, and how well that agrees with the data.

    Returns:
        `same`: by "noise/gamma/samples", whether few samples name the winner of the many; `tau`,
        by "what children are judged by/merit"; `nearest`, by what they are judged by: whether the
        winner is the child nearest to the data in energy distance.
    """
    state, environment, litter = look
    children = litter.children
    judges = judges_of(judged_again(state, world, environment, children, truth))
    judges["fitness as bred"] = [child.total for child in children]
    same = {}
    for noise, shared in NOISES.items():
        for draw, samples in enumerate(FEW, start=1):
            again = judged_again(state, world, environment, children, samples, shared, draw)
            few = judges_of(again)
            for gamma in GAMMAS:
                name = f"fitness, gamma {gamma}"
                same[f"{noise}/{gamma}/{samples}"] = winner(few[name]) == winner(judges[name])
    measured = merits(world, children, state.generation)
    taus = {
        f"{name}/{merit}": tau(totals, measured[merit])
        for name, totals in judges.items()
        for merit in MERITS
    }
    near = winner(measured["energy-distance"])
    return {
        "same": same,
        "tau": taus,
        "nearest": {name: winner(totals) == near for name, totals in judges.items()},
    }


def judges_of(children: list[Individual]) -> dict[str, list[float]]:
    """By what children can be ranked, and each one's mark."""
    quality, diversity = zip(*(child.fitness.values for child in children), strict=True)
    return {
        **{
            f"fitness, gamma {gamma}": [
                one + gamma * other for one, other in zip(quality, diversity, strict=True)
            ]
            for gamma in GAMMAS
        },
        "quality": list(quality),
        "diversity": list(diversity),
    }


def winner(marks: list[float]) -> int:
    """The place of the highest mark."""
    return int(np.argmax(marks))


def difference(world: World, look: Look) -> Row:
    """How siblings differ in their steps, and in their distance to the data.

    Returns:
        `cosine` and `step-ratio` of `egan.diagnostics`; `spread`: the standard deviation of the
        children's energy distances over their mean; `signal`: see `signal`.
    """
    state, _, litter = look
    table = -np.array([
        merits(world, litter.children, state.generation, draw)["energy-distance"]
        for draw in range(REPEATS)
    ])  # fmt: skip
    means = table.mean(axis=0)
    return {
        **siblings(state.population, litter.children),
        "spread": float(means.std(ddof=1) / means.mean()),
        "signal": signal(table),
    }


def signal(table: np.ndarray) -> float:
    """How far children differ over how far they would seem to, were they equal.

    The root of the F ratio of a two-way analysis of variance: about 1 where children are equal.

    Args:
        table: (repeats, children); all children of a repeat are measured on the same samples.
    """
    repeats, children = table.shape
    means = table.mean(axis=0)
    rest = table - means - table.mean(axis=1, keepdims=True) + table.mean()
    error = (rest**2).sum() / ((repeats - 1) * (children - 1))
    return math.sqrt(repeats * means.var(ddof=1) / error)


def judging_rows(data: str, seed: int, size: Size) -> list[Row]:
    """A run of the default preset: one row a stage."""
    world = make_world(configure({"data": data, "seed": seed, "execution": {"engine": "shared"}}))
    found = by_stage(world, size.stages, size.looks, partial(judgement, truth=size.truth))
    kinds = "same", "tau", "nearest"
    return [
        {
            "question": JUDGING, "case": data, "seed": seed, "stage": stage, "looks": len(seen),
            **{
                kind: {name: mean(one[kind][name] for one in seen) for name in seen[0][kind]}
                for kind in kinds
            },
        }
        for stage, seen in found.items()
    ]  # fmt: skip


def operator_rows(arm: str, seed: int, size: Size) -> list[Row]:
    """A run on the ring with other operators: one row a stage."""
    world = make_world(configure(ARMS[arm], {"seed": seed, "execution": {"engine": "shared"}}))
    found = by_stage(world, size.operator_stages, size.operator_looks, difference)
    means = "cosine", "step-ratio", "spread"
    return [
        {
            "question": OPERATORS, "case": arm, "seed": seed, "stage": stage, "looks": len(seen),
            **{name: mean(one[name] for one in seen) for name in means},
            "signal": statistics.median(one["signal"] for one in seen),
        }
        for stage, seen in found.items()
    ]  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One run: how its rows are made, and the keys by which finished ones are known."""

    make: Callable[[], list[Row]]
    keys: list[tuple[Any, ...]]


def key_of(row: Row) -> tuple[Any, ...]:
    """What makes a row the same row."""
    return row["question"], row["case"], row["seed"], row["stage"], row["looks"]


def cells(size: Size, data_sets: Iterable[str], arms: Iterable[str]) -> list[Cell]:
    """All runs."""
    judged = [
        Cell(
            partial(judging_rows, data, seed, size),
            [(JUDGING, data, seed, stage, size.looks) for stage in size.stages],
        )
        for data in data_sets
        for seed in range(size.seeds)
    ]
    return judged + [
        Cell(
            partial(operator_rows, arm, seed, size),
            [(OPERATORS, arm, seed, stage, size.operator_looks) for stage in size.operator_stages],
        )
        for arm in arms
        for seed in range(size.operator_seeds)
    ]


def run_all(wanted: list[Cell], path: Path, command: str) -> list[Row]:
    """The rows of all runs; runs of which `path` has all rows are not run again."""
    version = commit()  # once, since the checkout may move on while the runs last
    done = {key_of(row): row for row in read(path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    for cell in wanted:
        if all(key in done for key in cell.keys):
            continue
        rows = [{**finite(row), "command": command, "commit": version} for row in cell.make()]
        done |= {key_of(row): row for row in rows}
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        print(*cell.keys[0][:3], flush=True)
    return [done[key] for cell in wanted for key in cell.keys]


def pooled(rows: list[Row], *names: str) -> float:
    """The mean over runs of a figure, nested under these names."""
    values: list[Any] = [reduce(operator.getitem, names, row) for row in rows]
    return mean(math.nan if value is None else value for value in values)


def groups(rows: list[Row], question: str) -> Iterator[tuple[str, int, list[Row]]]:
    """Rows that differ in their seeds only."""
    asked = [row for row in rows if row["question"] == question]
    for case, stage in dict.fromkeys((row["case"], row["stage"]) for row in asked):
        yield case, stage, [row for row in asked if (row["case"], row["stage"]) == (case, stage)]


def table(head: list[str], body: Iterable[list[Any]]) -> str:
    """A Markdown table."""
    rows = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def selection_table(rows: list[Row]) -> str:
    """How often few samples name the winner of the many; chance is 1/3."""
    head = ["data", "generation", "gamma", "noise", *(f"{samples:,}" for samples in FEW)]
    return table(head, (
        [data, f"{stage:,}", gamma, noise]
        + [f"{pooled(own, 'same', f'{noise}/{gamma}/{samples}'):.2f}" for samples in FEW]
        for data, stage, own in groups(rows, JUDGING)
        for gamma in GAMMAS
        for noise in NOISES
    ))  # fmt: skip


def fitness_table(rows: list[Row]) -> str:
    """Whether what children are judged by follows the data; chance is 0, 0 and 1/3."""
    head = ["data", "generation", "judged by", *(f"tau, {merit}" for merit in MERITS),
            "winner is the nearest"]  # fmt: skip
    return table(head, (
        [data, f"{stage:,}", name]
        + [f"{pooled(own, 'tau', f'{name}/{merit}'):+.2f}" for merit in MERITS]
        + [f"{pooled(own, 'nearest', name):.2f}"]
        for data, stage, own in groups(rows, JUDGING)
        for name in own[0]["nearest"]
    ))  # fmt: skip


def operator_table(rows: list[Row]) -> str:
    """How siblings differ; the last column is about 1 where they do not."""
    head = ["operators", "generation", "cosine", "shortest / longest step",
            "sd of energy distances / mean", "sd / what noise would make of equals"]  # fmt: skip
    return table(head, (
        [arm, f"{stage:,}", f"{pooled(own, 'cosine'):.2f}", f"{pooled(own, 'step-ratio'):.2f}",
         f"{pooled(own, 'spread'):.1%}", f"{pooled(own, 'signal'):.1f}"]
        for arm, stage, own in groups(rows, OPERATORS)
    ))  # fmt: skip


def summary(rows: list[Row]) -> dict[str, float]:
    """The figures of the JSON line."""
    found = {
        f"same_winner_{data}_{stage}_{noise}_{samples}": pooled(
            own, "same", f"{noise}/{GAMMAS[0]}/{samples}"
        )
        for data, stage, own in groups(rows, JUDGING)
        for noise in NOISES
        for samples in FEW
    }
    for arm, stage, own in groups(rows, OPERATORS):
        found[f"cosine_{arm}_{stage}"] = pooled(own, "cosine")
    return found


def main() -> None:
    """Run what is missing, print the tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a look at everything, in a minute")
    parser.add_argument("--data", nargs="*", default=list(DATA), choices=DATA)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=ARMS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of finished rows")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size, command = (QUICK, f"{COMMAND} --quick") if arguments.quick else (Size(), COMMAND)
    rows = run_all(cells(size, arguments.data, arguments.arms), arguments.out, command)
    for each in (selection_table, fitness_table, operator_table):
        print(f"\n{each.__doc__}\n\n{each(rows)}")
    print(json.dumps(finite(summary(rows))))


if __name__ == "__main__":
    main()
