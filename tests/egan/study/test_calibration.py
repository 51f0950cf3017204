"""Calibration sets a study's final scores beside the published ones, with both errors."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_ind

from egan.study.arms import Arm
from egan.study.budgets import Budget
from egan.study.calibration import calibration, published_rows
from egan.study.records import DataSet, Study
from egan.study.statistics import difference

RING = DataSet("ring-pacgan", "ring-pacgan", {}, "reverse-kl", 2_500)
SCORES = ("modes-lenient", "high-quality", "reverse-kl")


def study(*arms, protocol="pacgan-ring"):
    return Study([RING], [Arm(name) for name in arms], [0], Budget("generations", 9), 3,
                 protocol=protocol)  # fmt: skip


def cell(arm, seed, *values, generations=9):
    return {"data": RING.name, "arm": arm, "seed": seed, "generations": generations,
            "final": dict(zip(SCORES, values, strict=True)) if values else None}  # fmt: skip


def test_the_interval_of_a_difference_is_welchs():
    random = np.random.default_rng(0)
    ours, theirs = random.normal(1, 2, 5), random.normal(0, 1, 10)
    found = difference(ours, theirs.mean(), theirs.std(ddof=1) / math.sqrt(10), 10)
    interval = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert found == pytest.approx((ours.mean() - theirs.mean(), interval.low, interval.high))
    assert difference([2.0, 2.0], 1.5, 0.0, 10) == (0.5, 0.5, 0.5)


def test_rows_are_final_means_beside_published_ones():
    cells = [cell("gan", seed, 6.0 + seed, 0.98, 0.4) for seed in range(3)]
    cells += [cell("gan", 3), cell("pacgan-2", 0, 8.0, 0.9, 0.1), cell("egan", 0, 8.0, 0.9, 0.1)]
    rows = published_rows(study("gan", "pacgan-2", "egan"), cells)
    assert [(row["arm"], row["score"]) for row in rows] == [
        (arm, score) for arm in ("gan", "pacgan-2") for score in SCORES
    ]
    modes = rows[0]
    assert (modes["mean"], modes["runs"], modes["generations"]) == (7.0, 3, 9)
    assert modes["error"] == pytest.approx(1 / math.sqrt(3))
    assert (modes["published"], modes["published_error"]) == (6.3, 0.5)
    assert modes["difference"] == pytest.approx(0.7)
    assert modes["low"] < 0 < modes["high"]
    assert math.isnan(rows[3]["low"])  # of one run


def test_the_table_says_whether_the_interval_holds_0():
    text = calibration(study("gan"), [cell("gan", seed, 6.3, 0.5, 0.4) for seed in range(5)])
    lines = text.splitlines()
    assert "published (400,000 generations)" in lines[2]
    assert lines[4].endswith("| 6.3 ± 0 | 6.3 ± 0.5 | +0 [-1.13, 1.13] | yes |")
    assert lines[5].endswith(" no |")


def test_without_a_protocol_or_an_arm_of_it_there_is_no_table():
    assert calibration(study("gan", protocol=""), []) == ""
    assert calibration(study("egan"), [cell("egan", 0, 8.0, 0.9, 0.1)]) == ""


def test_runs_that_ended_early_are_told_and_an_infinite_mean_holds_nothing():
    cells = [cell("gan", 0, 6.0, 0.98, None), cell("gan", 1, 7.0, 0.98, 0.4), cell("gan", 2)]
    rows = published_rows(study("gan"), cells)
    assert [(row["runs"], row["lost"]) for row in rows] == [(2, 1)] * 3
    assert rows[2]["mean"] == math.inf
    lines = calibration(study("gan"), cells).splitlines()
    assert "| 2 (1 more ended early) |" in lines[4]
    assert lines[6].endswith("| +inf | no |")
