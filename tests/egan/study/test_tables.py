"""Tables say what the cells say: medians, tests against the first arm, collapse, costs."""

import csv
import io
import math
from dataclasses import replace

import pytest

from egan.study.arms import Arm
from egan.study.budgets import Budget
from egan.study.records import DataSet, Study
from egan.study.tables import facts, markdown, results, summary

RING = DataSet("ring", "ring", {}, "energy-distance", 100)
COSTS = {"generations": 10, "generator_steps": 30.0, "flops": 2e9, "cpu_seconds": 1.5, "seconds": 2}


def look(share, modes):
    return {"share": share, "scores": {"modes": modes, "energy-distance": 1.0}}


def cell(arm, seed, energy, modes=(8.0,), final_modes=8.0, **changes):
    final = {"energy-distance": energy, "modes": final_modes}
    looks = [look((place + 1) / len(modes), each) for place, each in enumerate(modes)]
    return {
        "data": "ring", "arm": arm, "seed": seed, "error": None, **COSTS, "looks": looks,
        "final": final, "best": {**final, "energy-distance": energy / 2}, "best_share": 0.5,
        **changes,
    }  # fmt: skip


def study(*names):
    arms = [Arm(name) for name in names]
    return Study([RING], arms, [0, 1, 2, 3], Budget("flops", 2e9), 4)


def lost(arm, seed):
    gone = {"final": None, "best": None, "best_share": None}
    return cell(arm, seed, 0.0, **gone, error="no child has been finite", modes=(3.0,))


def rows_of(*cells):
    names = list(dict.fromkeys(each["arm"] for each in cells))
    return {row["arm"]: row for row in summary(study(*names), cells)}


def test_a_row_has_medians_of_scores_and_costs():
    rows = rows_of(*(cell("egan", seed, energy) for seed, energy in enumerate((4.0, 1.0, 2.0))))
    row = rows["egan"]
    assert (row["seeds"], row["failed"], row["primary"]) == (3, 0, "energy-distance")
    assert (row["median"], row["best_median"]) == (2.0, 1.0)
    assert row["low"] == 1.0
    assert row["high"] == 4.0
    assert {name: row[name] for name in COSTS} == COSTS
    assert row["a12"] is row["p"] is row["p_paired"] is None


def test_lower_distances_are_better_and_tests_are_against_the_first_arm():
    first = [cell("egan", seed, 1.0 + seed) for seed in range(4)]
    better = [cell("good", seed, 0.1 + seed / 100) for seed in range(4)]
    worse = [cell("bad", seed, 9.0 + seed) for seed in range(4)]
    rows = rows_of(*first, *better, *worse)
    assert rows["good"]["a12"] == 1.0
    assert rows["bad"]["a12"] == 0.0
    # The exact p of 4 above 4 is 2 / 70, and Holm takes the smaller of two twice.
    assert rows["good"]["p"] == rows["bad"]["p"] == pytest.approx(2 * 2 / 70)
    assert rows["good"]["p_paired"] == pytest.approx(2 * 2 / 16)


def test_a_run_that_ended_early_is_the_worst_and_is_not_left_out():
    first = [cell("egan", seed, 1.0) for seed in range(3)]
    second = [cell("gan", 0, 0.5), lost("gan", 1), lost("gan", 2)]
    row = rows_of(*first, *second)["gan"]
    assert (row["seeds"], row["failed"]) == (3, 2)
    assert row["median"] == math.inf
    assert row["a12"] == pytest.approx(1 / 3)
    assert row["collapsed_final"] == pytest.approx(2 / 3)


def test_collapse_is_fewer_than_nine_tenths_of_the_modes_finally_and_at_best():
    cells = [
        cell("egan", 0, 1.0, modes=(2.0, 8.0, 7.0), final_modes=7.0),
        cell("egan", 1, 1.0, modes=(8.0, 8.0, 8.0)),
        cell("egan", 2, 1.0, modes=(7.0, 7.0, 7.0), final_modes=7.0),
    ]
    row = rows_of(*cells)["egan"]
    assert row["collapsed_final"] == pytest.approx(2 / 3)
    assert row["collapsed_best"] == pytest.approx(1 / 3)
    assert row["full_share"] == pytest.approx(2 / 3)  # 2/3, 1/3 and never


def test_without_modes_nothing_is_said_of_collapse():
    spiral = DataSet("spiral", "spiral", {}, "energy-distance", 100)
    plain = cell("egan", 0, 1.0, data="spiral")
    del plain["final"]["modes"], plain["looks"][0]["scores"]["modes"]
    whole = Study([spiral], [Arm("egan")], [0], Budget("flops", 1.0), 1)
    (row,) = summary(whole, [plain])
    assert row["collapsed_final"] is row["collapsed_best"] is row["full_share"] is None
    assert "| egan | 1 | 1 |" in markdown(whole, [row])


def test_stacked_images_have_all_their_thousand_modes_to_cover():
    stacked = DataSet("stacked-digits", "stacked-digits", {}, "reverse-kl", 26_000)
    found = [899.0, 900.0, 1000.0]
    cells = [
        cell(
            "egan", seed, 0.0, data="stacked-digits", modes=(500.0, modes),
            final={"reverse-kl": seed / 10, "modes": modes}, best={"reverse-kl": seed / 20},
        )
        for seed, modes in enumerate(found)
    ]  # fmt: skip
    whole = Study([stacked], [Arm("egan")], [0, 1, 2], Budget("flops", 2e9), 2)
    (row,) = summary(whole, cells)
    assert (row["primary"], row["median"], row["best_median"]) == ("reverse-kl", 0.1, 0.05)
    assert row["collapsed_final"] == row["collapsed_best"] == pytest.approx(1 / 3)
    assert row["full_share"] == math.inf  # one of three has had them all
    text = markdown(whole, [row])
    assert "scores are of 26,000 samples, the energy distance of 5,000 of them, those" in text
    assert "reverse-kl (lower is better)" in text


def test_seeds_are_paired_where_both_arms_have_them():
    first = [cell("egan", seed, 1.0 + seed) for seed in (0, 1, 2, 3)]
    second = [cell("gan", seed, 2.0 + seed) for seed in (1, 2, 3, 7)]
    assert rows_of(*first, *second)["gan"]["p_paired"] == pytest.approx(2 / 8)


def test_an_unfinished_study_has_rows_of_what_is_there():
    rows = summary(study("egan", "gan"), [cell("gan", 0, 1.0)])
    assert [row["arm"] for row in rows] == ["gan"]
    assert rows[0]["p"] is None
    assert summary(study("egan"), []) == []


def test_markdown_shows_never_and_worst_in_words():
    cells = [lost("egan", 0), cell("gan", 0, 0.25, modes=(8.0,))]
    text = markdown(study("egan", "gan"), summary(study("egan", "gan"), cells))
    assert "| egan | 1 (1 ended early) | inf |" in text
    assert "never" in text
    assert "| gan | 1 | 0.25 | 0.125 | 1.00 | 1.0000 |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_alarms_are_the_mean_of_the_runs_that_looked_for_them():
    cells = [cell("egan", 0, 1.0, alarms=[300, 900]), cell("egan", 1, 1.0, alarms=[])]
    assert rows_of(*cells, cell("egan", 2, 1.0))["egan"]["alarms"] == 1.0
    assert rows_of(cell("egan", 2, 1.0))["egan"]["alarms"] is None


def test_what_was_asked_is_said_with_seeds_as_ranges_and_settings_by_name():
    whole = replace(study("egan"), seeds=[0, 1, 2, 7, 100, 101], common={"networks": {"width": 8}})
    found = facts(whole, [cell("egan", 0, 1.0, commit="abc"), cell("egan", 1, 1.0, commit="def")])
    assert found["seeds"] == "0 to 2, 7, 100 to 101"
    assert found["settings of all arms"] == "networks.width = 8"
    assert found["budget of every run"] == "flops=2000000000 (ring 2 GFLOP at most)"
    assert found["commit"] == "abc; def"
    assert "protocol" not in found


def test_results_have_a_line_for_every_cell():
    rows = list(csv.DictReader(io.StringIO(results([cell("egan", 0, 0.25), lost("gan", 1)]))))
    assert [row["arm"] for row in rows] == ["egan", "gan"]
    assert float(rows[0]["final energy-distance"]) == 0.25
    assert float(rows[0]["best energy-distance"]) == 0.125
    assert rows[1]["final energy-distance"] == ""
    assert rows[1]["error"] == "no child has been finite"
