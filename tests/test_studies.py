"""The project's own studies can be asked for, and the README says what the recorded ones say."""

from pathlib import Path

import pytest

from benchmarks.studies import FOLDER, STUDIES, overview
from egan.study.plan import wanted
from egan.study.records import Folder
from egan.study.tables import summary

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.parametrize("name", sorted(STUDIES.keys() - {"stacked-mnist"}))  # its files are users'
def test_every_study_of_the_project_can_be_asked_for(name):
    study = wanted(STUDIES[name], None)
    assert len(study.whole()) == len(study.data) * len(study.arms) * len(study.seeds) > 0


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
