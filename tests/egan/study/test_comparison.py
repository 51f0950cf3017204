"""What readers compare: lost runs count as the worst, goals once reached stay reached."""

import math
from dataclasses import replace

import numpy as np
import pytest

from egan.study.comparison import (
    at_looks,
    comparisons,
    intervals,
    limits,
    median_cell,
    selections,
    successes,
)
from egan.study.records import DataSet
from egan.study.statistics import median_interval
from egan.study.tables import summary


def look(share, selection=None, **found):
    scores = {name.replace("_", "-"): value for name, value in found.items()}
    return {"share": share, "scores": scores, "selection": selection or {"minimax": 1.0}}


def cell(*looks, final=None, seed=0):
    return {"seed": seed, "looks": list(looks), "final": final}


@pytest.mark.parametrize(
    ("score", "worst"), [("energy-distance", math.inf), ("high-quality", -math.inf)]
)
def test_a_run_without_a_score_counts_as_the_worst(score, worst):
    name = score.replace("-", "_")
    cells = [cell(look(0.5, **{name: 0.25}), look(1.0, **{name: None})), cell(look(0.5))]
    assert at_looks(cells, score, 2).tolist() == [[0.25, worst], [worst, worst]]


def test_looks_have_their_place_by_their_share():
    cells = [cell(look(0.0499, modes=1), look(1.0001, modes=3), look(0.5, modes=2))]
    values = at_looks(cells, "modes", 20)[0]
    assert (values[0], values[9], values[19]) == (1, 2, 3)
    assert np.isfinite(values).sum() == 3


def test_bands_are_medians_and_the_tables_intervals_look_by_look():
    values = np.random.default_rng(0).normal(size=(7, 5))
    values[2, 4] = math.inf
    found = np.array(intervals(values)).T
    assert [tuple(each) for each in found] == [median_interval(column) for column in values.T]
    np.testing.assert_array_equal(found[:, 0], np.median(values, axis=0))


def test_success_is_all_modes_at_a_look_and_is_kept_where_asked():
    lost_again = cell(look(0.25, modes=8), look(0.5, modes=3))
    late = cell(look(0.25, modes=7), look(1.0, modes=8))
    never = cell(look(0.5, modes=7), look(1.0, modes=None))
    cells = [lost_again, late, never, cell()]
    assert successes(cells, 8.0, 4, ever=False).tolist() == [0.25, 0, 0, 0.25]
    assert successes(cells, 8.0, 4, ever=True).tolist() == [0.25, 0.25, 0.25, 0.5]


def test_shares_of_operators_are_means_over_the_runs_that_are_alive():
    both = look(0.5, {"minimax": 0.2, "heuristic": 0.8})
    cells = [cell(both, look(1.0, {"minimax": 0.6, "heuristic": 0.4})), cell(look(0.5))]
    found = selections(cells, 3)
    assert list(found) == ["minimax", "heuristic"]
    np.testing.assert_allclose(found["minimax"], [math.nan, 0.6, 0.6])
    np.testing.assert_allclose(found["heuristic"], [math.nan, 0.4, 0.4])


def test_the_median_cell_is_the_worse_of_two_in_the_middle():
    cells = [cell(final={"modes": value}, seed=seed) for seed, value in enumerate((8, 2, 7, 1))]
    assert median_cell(cells, DataSet("ring", "ring", {}, "modes", 100))["seed"] == 1
    finals = ({"energy-distance": 0.1}, None, {"energy-distance": 0.3})
    cells = [cell(final=final, seed=seed) for seed, final in enumerate(finals)]
    assert median_cell(cells, DataSet("ring", "ring", {}, "energy-distance", 100))["seed"] == 2


def test_limits_hold_all_finite_values():
    low, high = limits(np.array([0.01, math.inf, 10.0, 0.0, -math.inf]), "energy-distance")
    assert 0 < low < 0.01 < 10 < high < 20
    low, high = limits(np.array([-2.0, math.nan, 8.0]), "modes")
    assert -4 < low < -2 < 8 < high < 10
    low, high = limits(np.array([8.0]), "modes")
    assert low < 8 < high
    assert limits(np.array([math.inf]), "energy-distance") == (0.1, 1.0)


def test_a_comparison_has_its_data_sets_cells_arm_by_arm_in_the_order_of_seeds(made):
    folder, study, cells = made
    ring, digits = comparisons(folder, study, cells[::-1])
    assert [ring.name, digits.name] == ["ring", "digits"]
    assert list(ring.cells) == [arm.name for arm in study.arms]
    for arm, ours in digits.cells.items():
        assert [(each["data"], each["arm"], each["seed"]) for each in ours] == [
            ("digits", arm, seed) for seed in study.seeds
        ]
    assert ring.rows == {row["arm"]: row for row in summary(study, cells) if row["data"] == "ring"}
    assert ring.modes == 8
    assert digits.modes is None
    assert ring.shares[[0, -1]].tolist() == [0.05, 1.0]


def test_what_has_no_finished_cell_is_left_out(made):
    folder, study, cells = made
    some = [each for each in cells if each["arm"] != "gan" and each["data"] == "ring"]
    (ring,) = comparisons(folder, study, some)
    assert "gan" not in ring.cells


def test_a_lost_run_has_the_worst_final_score(found):
    finals = found["ring"].finals("wgan-gp")
    assert np.isfinite(finals).tolist() == [True] * 5 + [False]
    assert finals[5] == math.inf
    assert finals[0] == found["ring"].cells["wgan-gp"][0]["final"]["energy-distance"]


def test_arms_are_ranked_by_their_medians_whichever_direction_is_better(found):
    ring = found["ring"]
    order = ["egan[gamma=0.1]", "egan", "gan", "random selection", "wgan-gp"]
    assert ring.ranked == order
    lost = {**ring.rows, "egan": {"median": math.inf}}
    assert replace(ring, rows=lost).ranked[-1] == "egan"
    higher = {arm: {"median": 1 / row["median"]} for arm, row in ring.rows.items()}
    about = ring.about._replace(primary="high-quality")
    assert replace(ring, about=about, rows=higher).ranked == order
    assert list(ring.selections()) == ["egan[gamma=0.1]", "egan", "random selection"]


def test_samples_are_found_under_names_that_files_can_have(made, found):
    folder, _, cells = made
    cell = next(each for each in cells if each["arm"] == "egan[gamma=0.1]" and each["seed"] == 2)
    path = folder.path / "samples/ring/egan_gamma_0.1_-2.npy"
    np.testing.assert_array_equal(found["ring"].samples(cell), np.load(path))
    lost = next(each for each in cells if each["error"])
    assert found["ring"].samples(lost) is None
