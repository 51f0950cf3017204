"""The project's own studies can be asked for, and the README says what the recorded ones say."""

import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from PIL import Image

from benchmarks.studies import FOLDER, STUDIES, main, overview
from egan.study.plan import wanted
from egan.study.records import Folder
from egan.study.tables import summary

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of twelve images, as those of MNIST and of CIFAR-10."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    place, content = tmp_path_factory.mktemp("files"), io.BytesIO()
    Image.new("RGB", (32, 32)).save(content, "PNG")
    images = [{"bytes": content.getvalue(), "path": ""}] * 12
    for split in ("train", "test"):
        rows = pyarrow.table({"image": images, "label": [0] * 12})
        parquet.write_table(rows, place / f"{split}.parquet")
    return str(place)


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_study_of_the_project_can_be_asked_for(name, folder):
    asked = STUDIES[name]
    files = any("mnist" in each or "cifar10" in each for each in asked.data or ())
    study = wanted(replace(asked, data_dir=folder) if files else asked, None)
    assert len(study.whole()) == len(study.data) * len(study.arms) * len(study.seeds) > 0


@pytest.mark.parametrize(("words", "said"), [
    (["rign"], "no study is called rign: valid are pacgan-ring, "),
    (["stacked-mnist", "--data-dir", "nowhere"], "nowhere"),
    (["ring", "--data-dir", "nowhere"], "data_dir is an option of none of these data sets: ring"),
])  # fmt: skip
def test_a_wrong_request_is_one_sentence_and_nothing_is_lost(
    words, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["studies", *words, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_readme_says_what_the_recorded_studies_say():
    _, _, rows = overview().split("\n", 2)
    assert rows in README.read_text(encoding="utf-8")


def test_the_overview_agrees_with_the_table_of_a_study():
    folder = Folder(FOLDER / "ring")
    rows = summary(folder.read(), list(folder.read_cells().values()))
    shown = dict(line.strip("| ").split(" | ")[:2] for line in overview().splitlines()[2:])
    assert shown["egan"] == f"{rows[0]['median']:.3g}"
    for row in rows[1:]:
        star = "*" if row["p"] < 0.05 else ""
        assert shown[row["arm"]] == f"{row['median']:.3g} ({row['a12']:.2f}{star})"
    assert {"*)" in each for each in shown.values()} == {True, False}


def test_the_overview_reads_the_seeds_that_all_arms_have(tmp_path):
    shutil.copytree(FOLDER / "ring", tmp_path / "ring", ignore=shutil.ignore_patterns("samples"))
    cells = tmp_path / "ring" / "cells.jsonl"
    whole = cells.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [json.loads(line) for line in whole[:-3]]
    cells.write_text("".join(whole[:-3]), encoding="utf-8")
    assert len(kept) == 197
    head, _, egan = overview(tmp_path).splitlines()[:3]
    assert head == "| arm | ring, 19 seeds |"
    seeds = {each["seed"] for each in kept} - {each["seed"] for each in map(json.loads, whole[-3:])}
    finals = [
        each["final"]["energy-distance"]
        for each in kept
        if each["arm"] == "egan" and each["seed"] in seeds
    ]
    assert egan == f"| egan | {median(finals):.3g} |"
