"""Each benchmark runs in seconds at a small size, and does not run finished cells again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import generation_cost
from benchmarks.generation_cost import Case, measure, plain, summary
from egan.settings import merge

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


def tiny(mu):
    """A case that takes a moment."""
    settings = merge(plain(16, mu), {"networks": {"name": "mlp", "width": 8}})
    return Case(f"mlp512_mu{mu}", settings, generation_cost.ways(8), rounds=3)


def test_a_case_has_a_ratio_a_count_and_a_floor_for_every_way():
    row = measure(tiny(1), 2, "abc")
    ways = {"alternating", "simultaneous", "reference", "", "judging", "racing"}
    assert set(row["seconds"]) == set(row["ratio"]) == set(row["flops"]) == ways
    assert row["ratio"]["alternating"] == 1.0
    # By the arithmetic of the docstring, up to first layers, which have no input gradient.
    assert row["floor"] == pytest.approx((10 * row["g"] + 14 * row["d"]) /
                                         (3 * row["g"] + 8 * row["d"]), rel=0.1)  # fmt: skip
    flops = row["flops"]
    assert flops["simultaneous"] < flops["alternating"] < flops["judging"] < flops["reference"]
    assert flops[""] / flops["alternating"] < row["floor"]


def test_the_json_lines_numbers_are_named_after_their_cases():
    rows = [measure(tiny(mu), 1, "abc") for mu in (1, 4)]
    rows.append({**rows[0], "case": "released"})
    found = summary(rows)
    assert {
        "ratio_mlp512_mu1", "ratio_mlp512_mu1_judging", "ratio_mlp512_mu1_racing",
        "ratio_mlp512_mu1_simultaneous", "child_mlp512_mu4_over_mu1", "released_over_reference",
        "released_over_reference_judging", "judged_mlp512_mu1_racing",
    } <= set(found)  # fmt: skip
    seconds = [row["seconds"][""] for row in rows]
    assert found["child_mlp512_mu4_over_mu1"] == pytest.approx(
        seconds[1] / 4 / seconds[0], abs=1e-3
    )


def test_cases_have_names_of_their_own():
    names = [case.name for case in generation_cost.CASES]
    assert len(set(names)) == len(names)
    assert {"conv64_mu1", "conv64_bn_mu1", "conv128_mu16", "released", "default_preset"} <= {*names}
