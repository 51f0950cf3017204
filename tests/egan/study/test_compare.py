"""Studies: every cell once, at equal compute, whatever stops them in between."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from egan.cli import main
from egan.data import data_sets, make_data
from egan.data.synthetic import ring
from egan.neighbourhoods import Estimate
from egan.scores import applicable, classifiers
from egan.study import compare as compare_module
from egan.study.arms import parse_arms
from egan.study.cells import Task, run_cell
from egan.study.compare import compare, origin, report
from egan.study.plan import Asked, wanted
from egan.study.records import DataSet, Folder, Part
from egan.study.tables import facts
from populations.errors import UsageError

COMMON = {
    "networks": {"width": 16},
    "variation": {"batch": 16},
    "fitness": {"samples": 16},
    "environment": {"batch": 16},
}
SMALL = Asked(
    data=["ring"], arms=["egan", "gan"], seeds=[0, 1], budget="flops=egan:12", looks=4,
    samples=200, common=COMMON,
)  # fmt: skip
RING = DataSet("ring", "ring", {}, "energy-distance", 200)


def changed(**changes):
    return Asked(**{**vars(SMALL), **changes})


def task(tmp_path, arm="egan", generations=12, looks=4, **changes):
    (one,) = parse_arms([arm])
    part = Part(generations, 3.0, 1e6, 0.01, 0.01)
    return Task(RING, one, 0, part, looks, COMMON, tmp_path / "kept.npy", **changes)


def timeless(cell):
    """What does not depend on the day."""
    return {name: each for name, each in cell.items() if not name.endswith("seconds")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study left alone."""
    return compare(tmp_path_factory.mktemp("whole") / "study", SMALL, jobs=1)


def test_all_arms_get_the_operations_of_the_budget(whole):
    assert len(whole.cells) == 4
    budget = 12 * whole.study.parts["ring", "egan"].flops
    for cell in whole.cells:
        price = whole.study.parts["ring", cell["arm"]].flops
        assert budget - price < cell["flops"] <= budget
        assert cell["flops"] == price * cell["generations"]
    assert whole.cells[1]["generations"] > 20  # the baseline's cheaper generations are more


def test_looks_come_at_equal_shares_of_the_budget(whole):
    for cell in whole.cells:
        shares = [look["share"] for look in cell["looks"]]
        assert len(shares) == 4
        assert shares[-1] == 1.0
        assert np.diff([0, *shares]) == pytest.approx(0.25, abs=1 / cell["generations"])
        for look in cell["looks"]:
            assert sum(look["selection"].values()) == pytest.approx(1.0)


def test_best_is_the_look_of_the_best_primary_score(whole):
    for cell in whole.cells:
        energies = [look["scores"]["energy-distance"] for look in cell["looks"]]
        best = cell["looks"][int(np.argmin(energies))]
        assert cell["best_share"] == best["share"]


def test_samples_of_every_cell_are_kept(whole):
    for cell in whole.cells:
        kept = np.load(whole.folder.samples("ring", cell["arm"], cell["seed"]))
        assert (kept.shape, kept.dtype) == ((512, 2), np.float32)


def test_a_process_whose_study_is_gone_ends():
    code = "from egan.study.cells import end_if_orphaned; end_if_orphaned({}); print('goes on')"

    def ends(home):
        words = [sys.executable, "-c", code.format(home)]
        found = subprocess.run(words, capture_output=True, text=True, check=False)
        return found.returncode, found.stdout

    assert ends(os.getpid()) == (0, "goes on\n")
    assert ends(os.getppid()) == (1, "")


def test_what_a_study_leaves_is_text_that_names_what_it_was(whole):
    table = (whole.folder.path / "table.md").read_text(encoding="utf-8")
    assert "flops=egan:12" in table
    assert "| gan | 2 |" in table
    assert (whole.folder.path / "results.csv").read_text(encoding="utf-8").count("\n") == 5
    assert whole.folder.read() == whole.study


def test_cells_are_the_same_in_any_number_of_processes(whole, tmp_path):
    other = compare(tmp_path / "study", SMALL, jobs=2)
    assert list(map(timeless, other.cells)) == list(map(timeless, whole.cells))


@pytest.mark.slow
def test_a_study_killed_three_times_ends_with_the_table_of_one_left_alone(whole, tmp_path):
    path = tmp_path / "study"
    command = [
        sys.executable, "-m", "egan", "compare", "ring", "--arms", "egan", "gan", "--seeds", "2",
        "--budget", "flops=egan:12", "--looks", "4", "--samples", "200", "--jobs", "1",
        "--networks.width=16", "--variation.batch=16", "--fitness.samples=16",
        "--environment.batch=16", "--out", str(path),
    ]  # fmt: skip
    for cells in (0, 1, 2):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              start_new_session=True) as process:  # fmt: skip
            wait_for(path, cells)
            os.killpg(process.pid, signal.SIGKILL)
    torn = path / "cells.jsonl"
    torn.write_text(torn.read_text(encoding="utf-8") + '{"data": "ring", "arm', encoding="utf-8")
    found = compare(path, Asked(), jobs=1)
    assert list(map(timeless, found.cells)) == list(map(timeless, whole.cells))


def wait_for(path, cells):
    """Until a study has begun, or has so many finished cells."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        if (path / "study.json").exists() and len(Folder(path).read_cells()) >= cells:
            return
        time.sleep(0.05)
    raise AssertionError("the study did not get on")


def test_finished_cells_are_not_run_again(whole, monkeypatch):
    before = whole.folder.cells.read_bytes()
    again = compare(whole.folder.path, Asked())
    assert again.cells == whole.cells
    assert whole.folder.cells.read_bytes() == before


def test_a_study_is_written_as_table_numbers_figures_and_page(whole):
    path = whole.folder.path
    assert "| gan | 2 |" in (path / "table.md").read_text(encoding="utf-8")
    assert len((path / "results.csv").read_text(encoding="utf-8").splitlines()) == 5
    assert {each.name for each in (path / "figures").iterdir()} == {
        f"ring-{name}.png" for name in ("scores", "final", "success", "samples", "selection")
    }
    assert "Study: ring" in (path / "study.html").read_text(encoding="utf-8")


def test_a_report_is_made_from_the_finished_cells_alone(whole, tmp_path, monkeypatch, capsys):
    path = tmp_path / "study"
    shutil.copytree(whole.folder.path, path)
    for name in ("table.md", "results.csv", "study.html", "figures/ring-scores.png"):
        (path / name).unlink()
    lines = (path / "cells.jsonl").read_text().splitlines(keepends=True)
    (path / "cells.jsonl").write_text("".join(lines[:3]))
    monkeypatch.setattr("egan.study.compare.run_cell", None)
    assert main(["report", str(path)]) == 0
    assert f"Study: {path}" in capsys.readouterr().out
    assert len((path / "results.csv").read_text(encoding="utf-8").splitlines()) == 4
    for name in ("table.md", "study.html", "figures/ring-scores.png"):
        assert (path / name).is_file()
    assert (path / "cells.jsonl").read_text() == "".join(lines[:3])
    (path / "cells.jsonl").unlink()
    assert main(["report", str(path)]) == 2
    assert f"no finished run yet: egan compare --out {path} goes on" in capsys.readouterr().err


def test_without_plotly_a_sentence_stands_for_the_page(whole, tmp_path, monkeypatch):
    path = tmp_path / "study"
    shutil.copytree(whole.folder.path, path, ignore=shutil.ignore_patterns("*.html", "*.png"))
    loaded = [name for name in sys.modules if name.startswith(("egan.pages", "egan.study.page"))]
    for name in loaded:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "plotly", None)
    said = []
    report(path, said.append)
    assert said == [
        "There is no study.html: pages need plotly and Jinja2: pip install 'egan[report]'."
    ]
    assert not (path / "study.html").exists()
    assert (path / "figures/ring-scores.png").is_file()


def test_a_study_may_grow_by_seeds_arms_and_data(whole, tmp_path):
    path = tmp_path / "study"
    first = compare(path, changed(seeds=[0], arms=["egan"]), jobs=1)
    grown = compare(path, changed(data=["ring", "spiral"], arms=["gan"]), jobs=1)
    assert grown.cells[0] == first.cells[0]
    assert len(grown.cells) == 8
    ring = [timeless(cell) for cell in grown.cells if cell["data"] == "ring"]
    assert sorted(ring, key=str) == sorted(map(timeless, whole.cells), key=str)


@pytest.mark.parametrize(("changes", "says"), [
    ({"budget": "flops=egan:13"}, "another budget, flops=egan:12, not flops=egan:13"),
    ({"looks": 5}, "another looks, 4, not 5"),
    ({"common": {"networks": {"width": 8}}}, "another settings of all arms"),
    ({"primary": "modes"}, "another primary score on ring, energy-distance, not modes"),
])  # fmt: skip
def test_a_study_does_not_become_another(whole, changes, says):
    with pytest.raises(UsageError, match=says):
        compare(whole.folder.path, changed(**changes))


@pytest.mark.parametrize(("changes", "says"), [
    ({"data": []}, "name what to compare on"),
    ({"data": ["rign"]}, "unknown data set 'rign'"),
    ({"data": ["ring", "ring"]}, "the data set ring is there twice"),
    ({"data": ["spiral"], "primary": "modes"}, "'modes' cannot judge spiral"),
    ({"budget": "flops=pan:12"}, "unknown arm 'pan': did you mean 'gan'"),
    ({"budget": "flops=egan:3"}, "buys 3 generations of egan on ring"),
    ({"common": {"fitness": {"samples": 0}}}, "fitness.samples is 0"),
    ({"arms": ["egan", "egan[selection=bets]"]}, "unknown selection 'bets'"),
])  # fmt: skip
def test_what_cannot_be_compared_is_one_sentence_and_nothing_is_run(tmp_path, changes, says):
    path = tmp_path / "study"
    with pytest.raises(UsageError, match=says):
        compare(path, changed(**changes))
    assert not (path / "cells.jsonl").exists()
    assert not (path / "study.json").exists()


@pytest.mark.parametrize(("changes", "says"), [
    ({"looks": -3}, "looks is -3: it must be at least 1"),
    ({"looks": 0}, "looks is 0"),
    ({"samples": 1}, "samples is 1: it must be at least 2"),
])  # fmt: skip
def test_numbers_out_of_range_are_one_sentence(tmp_path, changes, says):
    with pytest.raises(UsageError, match=says):
        compare(tmp_path / "study", changed(**changes))


def test_a_request_that_was_refused_leaves_a_directory_that_can_be_used(tmp_path):
    path = tmp_path / "study"
    with pytest.raises(UsageError, match="buys 3 generations"):
        compare(path, changed(budget="flops=egan:3"))
    found = compare(path, changed(arms=["gan"], seeds=[0], budget="generations=4"), jobs=1)
    assert len(found.cells) == 1


def test_a_study_that_goes_on_is_judged_as_before(whole):
    old = whole.study
    for asked, says in (
        (Asked(primary="modes"), "another primary score on ring"),
        (Asked(samples=7_000), "another number of samples on ring, 200"),
    ):
        with pytest.raises(UsageError, match=says):
            wanted(asked, old)
    assert wanted(Asked(data=["ring"], arms=["lsgan"]), old).data == old.data


def test_damaged_and_older_cells_are_run_again(whole, tmp_path):
    folder = Folder(tmp_path)
    first, *others = whole.folder.cells.read_text(encoding="utf-8").splitlines()
    older = {name: each for name, each in json.loads(first).items() if name != "best_share"}
    folder.cells.write_bytes(
        "\n".join([json.dumps(older), "null", *others]).encode() + b"\n\xff\xfe\n"
    )
    assert len(folder.read_cells()) == 3


def test_every_cell_and_the_table_say_which_version_made_it(whole, monkeypatch, tmp_path):
    for cell in whole.cells:
        assert cell["commit"]
        assert "cores" in cell["hardware"]
    cells = [whole.cells[0], {**whole.cells[1], "commit": "another"}]
    assert facts(whole.study, cells)["commit"] == f"{cells[0]['commit']}; another"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert origin()["commit"].startswith("egan ")


def test_a_directory_that_is_no_study_is_left_alone(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not a study and not empty"):
        compare(tmp_path, SMALL)


def test_a_cell_that_diverges_says_why_and_keeps_its_looks(tmp_path):
    arm = "gan[variation.lr=1e18; environment.lr=1e18; patience=2]"
    cell = run_cell(task(tmp_path, arm, generations=12, looks=12))
    assert "no child has been finite" in cell["error"]
    assert 0 < len(cell["looks"]) < 12
    assert cell["final"] is cell["best"] is cell["best_share"] is None
    assert cell["generations"] < 12
    json.dumps(cell)


def test_the_oracle_chooses_the_child_of_the_best_true_score(tmp_path):
    ends = {}
    for name in ("oracle", "random-selection"):
        ends[name] = run_cell(task(tmp_path, name, generations=80))["final"]["energy-distance"]
    assert ends["oracle"] < ends["random-selection"]


def test_asking_the_oracle_is_nobodys_cost(tmp_path):
    found = compare(
        tmp_path / "study",
        changed(arms=["oracle", "random-selection"], seeds=[0], budget="flops=oracle:8"), jobs=1,
    )  # fmt: skip
    prices = {part.flops for part in found.study.parts.values()}
    assert len(prices) == 1


def test_an_arm_that_fits_a_mixture_is_judged_by_it(tmp_path):
    cell = run_cell(task(tmp_path, "egan[mixture=3]"))
    assert cell["final"] != run_cell(task(tmp_path))["final"]


def test_judging_is_not_the_runs_time(tmp_path, monkeypatch):
    def slow(*arguments, **keywords):
        time.sleep(0.5)
        return {"energy-distance": 1.0}

    monkeypatch.setattr("egan.study.cells.evaluate", slow)
    assert run_cell(task(tmp_path))["seconds"] < 1.5


def test_the_command_compares_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = ["--networks.width=16", "--variation.batch=16", "--environment.batch=16"]
    words = ["compare", "ring", "--arms", "egan", "gan", "--budget", "generations=6"]
    more = ["--looks", "2", "--samples", "100", "--jobs", "1", "--seeds", "1", "--first-seed", "7"]
    assert main([*words, *more, *settings]) == 0
    said = capsys.readouterr().out
    assert "Study: studies/study-1" in said
    assert "| gan | 1 |" in said
    assert Folder(Path("studies/study-1")).read().seeds == [7]
    assert main(["compare", "--out", "studies/study-1", "--seeds", "1"]) == 0
    assert "| gan | 2 |" in capsys.readouterr().out
    assert main(["compare", "--out", "studies/study-2"]) == 2
    assert "name what to compare on" in capsys.readouterr().err


def test_alarms_are_in_the_cell_and_not_on_the_console(tmp_path, caplog, monkeypatch):
    falling = iter([0.9, 0.9, 0.1, 0.1])

    def measured(*arguments):
        return {"coverage": Estimate(next(falling), 0.0), "diversity": Estimate(1.0, 0.0)}

    monkeypatch.setattr("egan.collapse.measured", measured)
    cell = run_cell(task(tmp_path, "gan[collapse_every=3]"))
    assert cell["alarms"] == [9]
    assert not caplog.records


STACKED = DataSet("stacked-digits", "stacked-digits", {}, "reverse-kl", 3_000)
IMAGES = {**COMMON, "networks": {"name": "convolutional", "width": 4}}


def test_stacked_images_are_judged_by_the_modes_of_equally_many_samples(tmp_path, monkeypatch):
    counts = []

    def counted(samples, data, names, real=None):
        counts.append((len(samples), sorted(names)))
        return {"modes": 1.0, "reverse-kl": 6.9}

    monkeypatch.setattr("egan.study.cells.evaluate", counted)
    own = task(tmp_path, generations=4, looks=2)
    cell = run_cell(replace(own, data=STACKED, common=IMAGES))
    whole = sorted(applicable(make_data("stacked-digits")))
    look = [name for name in whole if name != "energy-distance"]
    assert counts == [(10_000, look)] * 2 + [(3_000, whole)] * 2
    assert cell["final"]["reverse-kl"] == 6.9
    counts.clear()
    by_energy = STACKED._replace(primary="energy-distance")
    with pytest.raises(KeyError, match="energy-distance"):  # which is not among those above
        run_cell(replace(own, data=by_energy, common=IMAGES))
    assert counts == [(10_000, whole)]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A data set that lies in a folder."""

    def points(data_dir="", modes=8):
        if not Path(data_dir, "points").is_file():
            raise UsageError(f"there are no points in {data_dir or 'no folder'}.")
        return ring(modes)

    monkeypatch.setitem(data_sets, "points", points)
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "points").touch()
    return tmp_path


def planned(**changes):
    return wanted(changed(**changes), None)


def test_the_folder_goes_to_the_data_that_take_one_and_into_no_name(kept):
    here = str(kept / "here")
    found = planned(data=["ring[modes=4]", "points", "points[modes=4]"], data_dir=here).data
    assert [(each.name, each.options) for each in found] == [
        ("ring[modes=4]", {"modes": 4}),
        ("points", {"data_dir": here}),
        ("points[modes=4]", {"data_dir": here, "modes": 4}),
    ]
    bracket = planned(data=[f"points[data_dir={here}; modes=4]"])
    assert bracket.data == found[2:]
    (own,) = planned(data=[f"points[data_dir={here}]"], data_dir=str(kept / "none")).data
    assert own == found[1]


def test_a_study_goes_on_with_its_folder_or_with_a_new_one(kept):
    here, there = str(kept / "here"), str(kept / "there")
    old = planned(data=["points"], data_dir=here)
    for asked, folder in ((Asked(), here), (Asked(data_dir=there), there)):
        named = replace(asked, data=["points", "points[modes=4]"], samples=200)
        assert wanted(asked, old).data[0].options == {"data_dir": folder}
        grown = wanted(named, old).data
        assert [each.options["data_dir"] for each in grown] == [folder] * 2


def test_data_that_cannot_be_had_and_a_folder_for_none_are_one_sentence(kept):
    with pytest.raises(UsageError, match="there are no points in no folder"):
        planned(data=["points"])
    with pytest.raises(UsageError, match="an option of none of these data sets: ring: leave it"):
        planned(data=["ring"], data_dir="here")


def test_the_command_keeps_the_folder_out_of_what_is_shown(kept, capsys):
    out, here = str(kept / "study"), str(kept / "here")
    words = ["compare", "points", "--data-dir", here, "--arms", "gan", "--seeds", "1"]
    more = ["--budget", "generations=2", "--looks", "1", "--samples", "50", "--jobs", "1"]
    assert main([*words, *more, "--networks.width=8", "--out", out]) == 0
    assert main(["compare", "--out", out, "--seeds", "2", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "| gan | 2 |" in said
    for text in (said.replace(out, ""), *(
        (kept / "study" / name).read_text(encoding="utf-8") for name in ("table.md", "results.csv")
    )):  # fmt: skip
        assert here not in text
    assert Folder(kept / "study").read().data[0].name == "points"


def test_a_study_says_how_good_its_classifiers_are_and_refuses_bad_ones(tmp_path, monkeypatch):
    asked = changed(
        data=["ring", "stacked-digits"], arms=["gan"], seeds=[0], budget="generations=1", looks=1,
        common=IMAGES | {"networks": {"width": 4}},
    )  # fmt: skip
    monkeypatch.setattr(compare_module, "_run", lambda *arguments: None)
    about = compare(tmp_path / "good", asked).study.about
    assert "classifier of ring" not in about
    assert about["classifier of stacked-digits"].startswith("right in 9")
    monkeypatch.setitem(classifiers.recipes["classifier"].wanted, "digits", 1.0)
    with pytest.raises(UsageError, match="it must reach 100% to judge"):
        compare(tmp_path / "bad", asked)
    assert not (tmp_path / "bad" / "study.json").exists()
