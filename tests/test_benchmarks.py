"""Each benchmark runs in seconds at a small size, and does not run finished cells again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import egan.diagnostics
from benchmarks import (
    catalogue,
    collapse,
    diagnostics,
    generation_cost,
    networks,
    operators,
    throughput,
    trained,
)
from benchmarks.generation_cost import Case, measure, summary
from benchmarks.generation_cost import plain as alternating
from benchmarks.presets import read
from egan.evolution import evolve
from egan.settings import merge, plain

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


@pytest.mark.slow
def test_networks_are_run_once_judged_beside_real_data_and_drawn(tmp_path, monkeypatch, capsys):
    settings = "--generations 3 --networks.width 2 --records.final_samples 100"
    monkeypatch.setattr(trained, "PAGES", tmp_path)
    monkeypatch.setattr(networks, "CELLS", {"digits": {"convolutional": settings}})
    out, runs = tmp_path / "rows.jsonl", tmp_path / "runs"
    words = ["networks", "--data", "digits", "--out", str(out), "--runs", str(runs)]
    monkeypatch.setattr(sys, "argv", words)
    networks.main()
    first = capsys.readouterr().out
    (row,) = read(out)
    assert row["generations"] == 3
    assert 0.3 * row["seconds"] < row["cpu_seconds"] < 3 * row["seconds"] * os.cpu_count()
    assert "| `convolutional` | 3 |" in first
    judged = {name: row["scores"][f"{name}/classifier"] for name in ("precision", "recall")}
    assert judged["precision"]["score"] < judged["precision"]["real"]
    networks.main()
    assert capsys.readouterr().out == first
    assert read(out) == [row]
    trained.draw(row, runs)
    rows, columns = trained.SAMPLES
    with Image.open(trained.picture(row)) as drawn:
        assert drawn.size == (9 * columns - 1, 9 * rows - 1)  # 8x8, a line between
        assert np.ptp(np.asarray(drawn)) > 0


def tiny(mu):
    """A case that takes a moment."""
    settings = merge(alternating(16, mu), {"networks": {"name": "mlp", "width": 8}})
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


@pytest.mark.parametrize(("case", "judged", "made"), [
    ("batch 64, 64 judged", 8, 8 + 3 * 8), ("as released", 24, 8 + 3 * 24),
    ("one loss, batch 64", 8, 8 + 8),
])  # fmt: skip
@pytest.mark.parametrize("way", ["float32", "float32, compiled"])
def test_throughput_counts_what_it_times(monkeypatch, case, judged, made, way):
    monkeypatch.setattr(throughput, "WARM", 1)
    monkeypatch.setattr(throughput, "matrix_rate", lambda device, precision: 1e12)
    small = {"networks": {"width": 4}, "variation": {"batch": 8}, "environment": {"batch": 8},
             "fitness": {"samples": judged}}  # fmt: skip
    found = throughput.measure(case, way, "cpu", 0.5, small)
    rate = found["generations_per_second"]
    assert found["images_per_second"] == pytest.approx(rate * made)
    assert found["share"] == pytest.approx(rate * found["flops"] / 1e12)
    assert 0 < found["share"] < 1
    assert found["device"] == "CPU, threads: 1"
    assert throughput.table([found]).count("\n") == 2


def test_the_rate_of_matrix_products_is_of_this_device():
    assert 1e8 < throughput.matrix_rate(torch.device("cpu"), torch.float32) < 1e14


def row(arm, data, seed, distance, flops=100):
    """A finished cell of the screen."""
    final = {"modes": 8.0, "high-quality": 0.5, "energy-distance": distance}
    return {"arm": arm, "data": data, "seed": seed, "budget": 1, "flops": flops, "final": final}


def test_an_operators_verdict_needs_a_clear_ratio_and_a_clear_test():
    pairs = [(data, seed) for data in operators.DATA for seed in range(1, 8)]  # finals from 3 on
    rows = [
        row(
            arm,
            data,
            seed,
            distance(0.01 * (seed - 2)) if seed > 2 else 9.0,
            50 if arm == "r1" else 100,
        )
        for arm, distance in {
            "base": lambda base: base,
            "r1": lambda base: 0.5 * base,
            "r2": lambda base: 0.95 * base,
            "lecam": lambda base: 3 * base if base < 0.04 else base / 3,
            "dragan": lambda base: None,  # diverged
        }.items()
        for data, seed in pairs
    ]
    verdicts = {
        arm: operators.verdict(rows, arm) for arm in ("base", "r1", "r2", "lecam", "dragan")
    }
    assert verdicts == {
        "base": "no effect seen", "r1": "use", "r2": "no effect seen",
        "lecam": "no effect seen", "dragan": "harmful",
    }  # fmt: skip
    assert operators.ratio_to_base(rows, "r1")[0] == pytest.approx(0.5)
    lost = [{**each, "final": {**each["final"], "energy-distance": None}} for each in rows]
    assert operators.verdict(lost, "r1") == "no effect seen"  # both diverged
    assert operators.cost_ratio(rows, "r1") == 0.5
    assert operators.best_arms(rows, 1) == ["base", *operators.CONTROLS, "r1"]
    assert "| r1 | 0.50 | 8 | 0.50 | " in operators.table(rows)


@pytest.mark.parametrize("arm", operators.ARMS)
def test_every_arm_of_the_screen_can_be_run(make, arm):
    config = operators.config_of(arm, "random", 10)
    small = {"width": 8, "name": "mlp"}
    world, state = make(
        merge(plain(config), {"networks": small, "execution": {"engine": "shared"}})
    )
    ((after, _),) = evolve(state, world, 1)
    assert after.generation == 1


def test_the_catalogue_shows_every_operator_and_what_was_seen_of_it():
    text = catalogue.PAGE.read_text(encoding="utf-8")
    assert text == catalogue.page(read(operators.RESULTS))
    for _, entries, _ in catalogue.FUNCTIONS.values():
        assert all(f"| `{name}` |" in text for name in entries)


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """A little of every question of `benchmarks.diagnostics`: the runs, their rows and the file."""
    path = tmp_path_factory.mktemp("diagnostics") / "rows.jsonl"
    size = diagnostics.Size(
        (1, 9), (2,), looks=2, seeds=2, operator_looks=2, operator_seeds=1, truth=64
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(egan.diagnostics, "SAMPLES", 64)
        wanted = diagnostics.cells(size, ["ring"], ["the paper's three", "gradient noise 1"])
        return wanted, diagnostics.run_all(wanted, path, "a command"), path


def test_diagnostics_have_a_row_for_every_run_and_stage_and_none_twice(looked):
    wanted, rows, path = looked
    assert [diagnostics.key_of(row) for row in rows] == [
        key for each in wanted for key in each.keys
    ]
    assert len(rows) == 2 * 2 + 2
    assert all(row["command"] == "a command" and row["commit"] for row in rows)
    written = [json.loads(line) for line in path.read_text().splitlines()]
    never = [diagnostics.Cell(lambda: pytest.fail("run again"), each.keys) for each in wanted]
    assert diagnostics.run_all(never, path, "another") == written == rows


def test_diagnostics_tables_have_a_line_for_every_case(looked):
    _, rows, _ = looked
    lengths = [
        len(made(rows).splitlines()) - 2
        for made in (
            diagnostics.selection_table, diagnostics.fitness_table, diagnostics.operator_table,
        )
    ]  # fmt: skip
    assert lengths == [2 * 2 * 2, 2 * 5, 2]
    assert "none" not in diagnostics.selection_table(rows)
    found = diagnostics.summary(rows)
    assert {"same_winner_ring_9_shared_32", "cosine_gradient noise 1_2"} <= set(found)
    cosines = [found[f"cosine_{arm}_2"] for arm in ("the paper's three", "gradient noise 1")]
    assert cosines[0] > cosines[1]


def test_judged_on_the_same_samples_few_and_many_name_the_same_winner(make, monkeypatch):
    world, _ = make()
    ((_, look),) = diagnostics.looks(world, [3], 1)
    again = diagnostics.judged_again
    monkeypatch.setattr(diagnostics, "judged_again", lambda *given: again(*given[:4], 256))
    monkeypatch.setattr(egan.diagnostics, "SAMPLES", 64)
    found = diagnostics.judgement(world, look, 512)
    assert set(found["same"].values()) == {True}
    assert len(found["same"]) == 2 * 2 * 4
    state, environment, litter = look
    measured = egan.diagnostics.merits(world, litter.children, 3)["energy-distance"]
    judged = again(state, world, environment, litter.children, 256)
    for place, name in enumerate(("quality", "diversity")):
        marks = [one.fitness.values[place] for one in judged]
        assert found["nearest"][name] == (np.argmax(marks) == np.argmax(measured))
        expected = egan.diagnostics.tau(marks, measured)
        assert found["tau"][f"{name}/energy-distance"] == pytest.approx(expected)


def test_the_generations_that_are_looked_at_are_those_of_the_run(make):
    world, state = make()
    seen = {
        look[0].generation: (stage, look) for stage, look in diagnostics.looks(world, [1, 7], 1)
    }
    assert {generation: stage for generation, (stage, _) in seen.items()} == {1: 1, 7: 7}
    for now, happened in evolve(state, world, 9):
        if now.generation - 1 in seen:
            children = seen[now.generation - 1][1][2].children
            for one, other in zip(children, happened.offspring, strict=True):
                assert torch.equal(one.weights, other.weights)


def test_the_signal_is_one_where_children_are_equal_and_grows_with_their_distance():
    random = np.random.default_rng(0)
    noise = random.normal(size=(2000, 3, 4)) + random.normal(size=(2000, 3, 1)) * 50
    squares = [diagnostics.signal(table) ** 2 for table in noise]
    assert np.mean(squares) == pytest.approx(6 / (6 - 2), rel=0.1)  # of F with 3 and 6 degrees
    apart = noise + np.array([0.0, 0.0, 10.0, 10.0])
    expected = 3 * np.var([0, 0, 10, 10], ddof=1)  # over a variance of 1
    medians = np.median([diagnostics.signal(table) ** 2 for table in apart])
    assert medians == pytest.approx(expected, rel=0.2)


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory):
    """A little of every question of `benchmarks.collapse`: the cases, their rows and the file."""
    path = tmp_path_factory.mktemp("collapse") / "rows.jsonl"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(collapse, "DATA", ("ring",))
        patched.setattr(collapse, "ARMS", {"default": {}})
        wanted = collapse.cases(24, seeds=1, generations=50)
        return wanted, collapse.run_all(wanted, path, "a command"), path


def test_alarms_have_a_row_for_every_case_and_none_twice(collapsed):
    wanted, rows, path = collapsed
    assert [row["question"] for row in rows] == 4 * ["noise"] + 3 * 4 * ["power"] + ["runs"]
    never = {name: (kind, lambda: pytest.fail("run again")) for name, (kind, _) in wanted.items()}
    assert collapse.run_all(never, path, "another") == rows
    tables = [
        made(rows).splitlines()[2:]
        for made in (collapse.noise_table, collapse.power_table, collapse.run_table)
    ]
    assert [len(lines) for lines in tables] == [4, 12, 1]
    assert collapse.summary(rows)["alarms_default"] == 0


def test_alarms_are_those_of_the_generator_that_was_constructed(collapsed):
    _, rows, _ = collapsed
    noise = [row for row in rows if row["question"] == "noise"]
    assert [row["coverage"] for row in noise] == sorted(row["coverage"] for row in noise)
    assert all(row["run-0.6"] <= row["run-1.0"] < 0.2 for row in noise)
    power = {(row["good"], row["lost"]): row for row in rows if row["question"] == "power"}
    assert power[1.0, 6]["seen"] == 1
    assert power[1.0, 2]["seen"] == 0
    assert power[1.0, 4]["after"] == pytest.approx(power[1.0, 4]["before"] / 2, abs=0.05)


def test_labels_know_when_half_of_the_modes_are_lost_and_how_late_the_alarm_is():
    assert collapse.collapses([1, 3, 1, 6, 4, 3, 2, 8, 8, 4, 4]) == [5, 9]
    row = {"modes": [2, 8, 8, 3, 3, 8, 4, 8, 8], "every": 50, "generations": 450,
           "alarms": [100, 250, 400]}  # fmt: skip
    assert collapse.collapses(row["modes"]) == [3, 6]
    assert collapse.delays(row) == [50, 50]
    assert collapse.untrue(row) == [8, 8]
    assert collapse.delays({**row, "alarms": [100]}) == [None, None]
    assert collapse.untrue({**row, "alarms": [200]}) == []
