"""Each benchmark runs in seconds at a small size, and does not run finished cells again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*words):
    result = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_presets_at_equal_compute(tmp_path):
    out = str(tmp_path / "cells.jsonl")
    words = ["benchmarks.presets", "--share", "0.002", "--seeds", "1", "--data", "ring",
             "--jobs", "1", "--out", out]  # fmt: skip
    first = run(*words)
    medians = json.loads(first[-1])["energy_distance_final_median"]
    assert len(medians) == 6
    rows = [json.loads(line) for line in Path(out).read_text().splitlines()]
    for row in rows:
        per_generation = row["flops"] / row["generations"]
        if row["generations"] > 1:
            assert row["budget"] - per_generation < row["flops"] <= row["budget"]
    cheap = {row["arm"]: row["flops"] / row["generations"] for row in rows}
    assert cheap["gradient-only"] < cheap["random"] < cheap["default"]
    again = run(*words)
    assert again[-1] == first[-1]
    assert len(again) == len(first) - len(rows)


@pytest.mark.slow
def test_defaults_command_by_command():
    lines = run("benchmarks.defaults", "--data", "grid", "--generations", "5")
    rows = json.loads(lines[-1])["defaults"]
    assert [(row["data"], row["seed"]) for row in rows] == [("grid", 0), ("grid", 1), ("grid", 2)]
    assert all(row["scores"]["modes"]["real"] == 25 for row in rows)
