"""How little judging picks the same survivor: `python -m benchmarks.judging`.

Along a run, the children of every so many generations are judged in full (on as many samples as a
training step has), on fewer samples, and in races at several confidences, all on the same real
batch. The table says how often each picks the child that full judging picks, how much fitness it
loses where it does not (regret, in standard deviations among siblings), and what a generation then
costs in counted alternating gradient-only steps, the discriminator learning from breeding's fakes.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.generation_cost import BRED, Gradient, counted, plain
from benchmarks.pairs import convolutional32
from benchmarks.presets import commit
from egan.assembly import make_world
from egan.config import Config
from egan.cost import Counter, generation_flops
from egan.data import Table, data_sets
from egan.engines.judging import judge_all
from egan.evolution import evolve
from egan.presets import configure
from egan.scene import Plan, Scene
from egan.settings import merge
from egan.snapshot import start
from egan.variation import settle_fitness
from egan.world import World
from populations.individual import Fitness, Individual

CONFIDENCES = (0.7, 0.8, 0.9, 0.95)
RESULTS = Path(__file__).parent / "results" / "judging.jsonl"
Row = dict[str, Any]


def points(name: str) -> tuple[Config, Any]:
    """The default preset on a data set, judged in full."""
    config = configure({"data": name, "execution": {"engine": "shared"}})
    full = {"fitness": {"samples": config.variation.batch}}
    own = {"data": name, "execution": {"engine": "shared"}}
    return configure(merge(own, full, BRED)), None


def pictures(data_dir: Path | None) -> tuple[Config, Any]:
    """The released 32x32 pair at batch 64 on CIFAR-10, or on enlarged digits without it."""
    torch.manual_seed(0)
    generator, discriminator = convolutional32(64, False)
    networks = {
        "generator": generator, "discriminator": discriminator, "noise_dimension": 100,
        "initial_deviation": 0.02,
    }  # fmt: skip
    settings = merge(plain(64, 1), BRED, {"networks": networks})
    settings["execution"] = {"engine": "shared"}
    return configure(settings), cifar(data_dir) if data_dir else large_digits()


def cifar(folder: Path) -> Tensor:
    """CIFAR-10's first 10,000 training images, from `train.parquet`."""
    import io

    import pyarrow.parquet
    from PIL import Image

    column = pyarrow.parquet.read_table(folder / "train.parquet")
    name = next(each for each in column.column_names if each in ("img", "image"))
    rows = column.column(name).slice(0, 10_000).to_pylist()
    images = [np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in rows]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def large_digits() -> Tensor:
    """scikit-learn's digits, 32x32 in three equal channels."""
    data = data_sets["digits"]()
    assert isinstance(data, Table)
    return data.values.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(-1, 3, -1, -1)


def ways_of(plan: Plan) -> dict[str, Plan]:
    """The full judging and the lesser ones."""
    whole = replace(plan, keeps="fresh", halves=False, race=0.0)
    found = {"full": whole}
    size = plan.samples // 2
    while size >= 4:
        found[f"{size} samples"] = replace(whole, samples=size)
        size //= 2
    for confidence in CONFIDENCES:
        found[f"race at {confidence}"] = replace(whole, race=confidence)
    return found


def fitness_of(plan: Plan, children: list[Individual], scene: Scene) -> tuple[list[float], int]:
    """Total fitness of each child (-inf where it was given up), and the operations it took."""
    copies = [replace(child, fitness=Fitness(), total=-np.inf) for child in children]
    with Counter() as counter:
        settle_fitness(copies, judge_all(plan, copies, scene), plan)
    return [one.total for one in copies], counter.total


def follow(world: World, every: int, until: int, seed: int) -> list[Row]:
    """One row per way and checked generation."""
    rows: list[Row] = []
    state, ways = start(world), ways_of(world.plan)
    for reached, happened in evolve(state, world, until):
        if reached.generation % every == 0:
            environment = world.settle(state.environment)
            scene = world.scene(state, environment)
            full, _ = fitness_of(ways["full"], happened.offspring, scene)
            for name, plan in ways.items():
                found, flops = fitness_of(plan, happened.offspring, scene)
                pick = int(np.argmax(found))
                lost = (max(full) - full[pick]) / (statistics.stdev(full) or 1.0)
                rows.append(
                    {"way": name, "seed": seed, "generation": reached.generation, "regret": lost,
                     "same": pick == int(np.argmax(full)), "flops": flops}
                )  # fmt: skip
        state = reached
    return rows


def summarise(case: str, world: World, rows: list[Row], version: str) -> list[Row]:
    """One row per way; `version` is the commit's name."""
    alternating = counted(Gradient(world, alternating=True))
    whole = generation_flops(start(world), world)
    full = statistics.fmean(row["flops"] for row in rows if row["way"] == "full")
    found = []
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        flops = statistics.fmean(row["flops"] for row in own)
        found.append(
            {
                "case": case, "way": way, "generations": len(own), "commit": version,
                "last": max(row["generation"] for row in own),
                "seeds": len({row["seed"] for row in own}),
                "agreement": statistics.fmean(row["same"] for row in own),
                "regret": statistics.fmean(row["regret"] for row in own),
                "judging": flops / full, "ratio": (whole - full + flops) / alternating,
            }
        )  # fmt: skip
    return found


def table(rows: list[Row]) -> str:
    """A Markdown table."""
    lines = [
        "| case | judged | same survivor | mean regret, sd | cost of judging | "
        "cost of a generation / alternating step, counted | generations checked |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['case']} | {row['way']} | {row['agreement']:.1%} | {row['regret']:.3f} "
            f"| {row['judging']:.0%} | {row['ratio']:.2f} "
            f"| {row['generations']} of {row['seeds']} seeds' first {row['last']:,} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="+", default=["ring", "grid", "digits", "conv64"],
                        choices=["ring", "grid", "digits", "conv64"])  # fmt: skip
    parser.add_argument("--data-dir", type=Path, help="folder with CIFAR-10's train.parquet")
    parser.add_argument("--share", type=float, default=1.0, help="of the generations")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of finished cases")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    makers: dict[str, tuple[Callable[[], tuple[Config, Any]], int, int]] = {
        "ring": (lambda: points("ring"), 50, 5_000),
        "grid": (lambda: points("grid"), 100, 5_000),
        "digits": (lambda: points("digits"), 50, 2_000),
        "conv64": (lambda: pictures(arguments.data_dir), 5, 100),
    }
    version = commit()  # once, since the checkout may move on while it measures
    done = [json.loads(line) for line in read_lines(arguments.out)]
    for case in arguments.cases:
        if case in {row["case"] for row in done}:
            continue
        make, every, until = makers[case]
        rows: list[Row] = []
        for seed in range(1 if case == "conv64" else arguments.seeds):
            config, source = make()
            world = make_world(replace(config, seed=seed), source)
            rows += follow(world, every, max(every, int(until * arguments.share)), seed)
        found = summarise(case, world, rows, version)
        done += found
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        with arguments.out.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in found)
        print(table(found), flush=True)
    wanted = [row for row in done if row["case"] in arguments.cases]
    print(table(wanted))
    print(json.dumps({f"agreement_{row['case']}_{row['way']}": row["agreement"] for row in wanted}))


def read_lines(path: Path) -> list[str]:
    """The lines of a file, none where it is not there."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


if __name__ == "__main__":
    main()
