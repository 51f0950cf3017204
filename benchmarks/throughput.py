"""Generations a second, sustained: `python -m benchmarks.throughput --device cuda`.

The released networks for images of 32x32 under three settings (evolution with batches of 64 and 64
judged samples, evolution as released, one loss alone), each in float32 and in bfloat16 with
channels last, as written and compiled. Wall time over `--seconds` of generations, after some that
warm up. A generation's operations are counted, and their share is of what the same device reaches
in products of two large matrices in the same precision.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.generation_cost import FREE, plain
from benchmarks.presets import commit
from egan.assembly import make_world
from egan.cost import generation_flops
from egan.evolution import evolve
from egan.presets import configure
from egan.settings import merge
from egan.snapshot import start
from egan.world import World

Settings = dict[str, Any]
RESULTS = Path(__file__).parent / "results" / "throughput.jsonl"
RELEASED: Settings = {
    "networks": {"name": "released", "noise": "uniform", "noise_dimension": 100}
}  # fmt: skip
AS_RELEASED: Settings = merge(
    {"preset": "released-theano"}, RELEASED,
    {
        "variation": {"batch": 32, "lr": 2e-4},
        "fitness": {"gamma": 0.004, "real": "own"},
        "environment": {"steps": 3, "batch": 32, "lr": 2e-4, "beta1": 0.5},
    },
)  # fmt: skip
CASES: dict[str, Settings] = {
    "batch 64, 64 judged": merge(plain(64, 1), RELEASED, FREE),
    "as released": merge(AS_RELEASED, {"generations": 10**6}),
    "one loss, batch 64": merge(
        plain(64, 1), RELEASED, {"variation": {"mutations": ["non-saturating"]}}
    ),
}  # fmt: skip
FEW_BITS: Settings = {"execution": {"precision": "bfloat16", "channels_last": True}}
COMPILED: Settings = {"execution": {"engine": "compiled"}}
WAYS: dict[str, Settings] = {
    "float32": {},
    "bfloat16": FEW_BITS,
    "float32, compiled": COMPILED,
    "bfloat16, compiled": merge(FEW_BITS, COMPILED),
}
WARM = 20  # generations that are not timed
PRODUCTS = 20


def measure(
    case: str, way: str, device: str, seconds: float, more: Settings | None = None
) -> Settings:
    """What is sustained by one way to compute a case.

    Args:
        case: of `CASES`.
        way: of `WAYS`.
        device: PyTorch's.
        seconds: to be timed.
        more: settings over those of both.
    """
    source = torch.rand(512, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    settings = merge(
        {"execution": {"engine": "shared", "device": device}}, CASES[case], WAYS[way], more or {}
    )
    world = make_world(configure(settings), source)
    rate = sustained(world, seconds)
    flops = generation_flops(start(world), world)
    reached = rate * flops
    peak = matrix_rate(world.device, world.plan.game.precision)
    return {
        "case": case, "way": way, "device": device_name(world.device), "commit": commit(),
        "seconds": seconds, "generations_per_second": rate,
        "images_per_second": rate * images(world), "flops": flops,
        "flops_per_second": reached, "matrix_flops_per_second": peak, "share": reached / peak,
    }  # fmt: skip


def sustained(world: World, seconds: float) -> float:
    """Generations a second."""
    run = evolve(start(world), world, 10**9)
    for _ in range(WARM):
        next(run)
    _wait(world.device)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        next(run)
        count += 1
    _wait(world.device)
    return count / (time.perf_counter() - began)


def images(world: World) -> int:
    """Those that generators make in a generation: to be bred by, judged and learned from."""
    plan, settings = world.plan, world.config.environment
    fresh = settings.batch * settings.steps if settings.fakes == "fresh" else 0
    return plan.mu * plan.batch + plan.most() * plan.samples + fresh


def matrix_rate(device: torch.device, precision: torch.dtype) -> float:
    """Operations a second in products of two square matrices, the median of several."""
    side = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(side, side, device=device, dtype=precision) for _ in range(2))
    times = []
    for _ in range(PRODUCTS):
        _wait(device)
        began = time.perf_counter()
        left @ right
        _wait(device)
        times.append(time.perf_counter() - began)
    return 2 * side**3 / statistics.median(times)


def device_name(device: torch.device) -> str:
    """What computed."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, threads: {torch.get_num_threads()}"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(rows: list[Settings]) -> str:
    """A Markdown table: a line for each case and way."""
    lines = [
        "| case | way | generations/s | images made/s | Gflop a generation | Tflop/s "
        "| share of the matrix rate | device | commit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            row["case"], row["way"], f"{row['generations_per_second']:.3g}",
            f"{row['images_per_second']:,.0f}", f"{row['flops'] / 1e9:.3g}",
            f"{row['flops_per_second'] / 1e12:.3g}", f"{row['share']:.1%}",
            row["device"], row["commit"],
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, note each row in the results, print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each way (default: 60)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*WAYS])
    parser.add_argument("--out", type=Path, default=RESULTS, help="file to which rows are added")
    arguments = parser.parse_args()
    rows = []
    for case in arguments.cases:
        for way in arguments.ways:
            row = measure(case, way, arguments.device, arguments.seconds)
            rows.append(row)
            print(table([row]), flush=True)
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    print("\n" + table(rows))
    print(json.dumps({
        f"{row['case']}, {row['way']}": round(row["generations_per_second"], 2) for row in rows
    }))  # fmt: skip


if __name__ == "__main__":
    main()
