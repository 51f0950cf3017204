"""The page of a study: its numbers are the records', and its controls do what they say."""

import base64
import html
import json
import re

import numpy as np
import pytest

from egan.study.comparison import comparisons
from egan.study.page import COLUMNS, asked, table, write_study

ARMS = ["egan[gamma=0.1]", "egan", "gan", "random selection", "wgan-gp"]


@pytest.fixture(scope="module")
def path(made):
    folder, study, cells = made
    return write_study(folder, study, comparisons(folder, study, cells), cells)


@pytest.fixture(scope="module")
def choices(path):
    """By caption, in the order of the data sets: what the page's script gets, and its controls."""
    found = {}
    for figure in re.findall(r'<figure class="choice">(.*?)</figure>', path.read_text(), re.DOTALL):
        caption = html.unescape(re.search(r"<figcaption>(.*?)</figcaption>", figure)[1])
        controls = [
            [html.unescape(each) for each in re.findall(r"<option[^>]*>(.*?)</option>", control)]
            for control in re.findall(r"<select.*?</select>", figure, re.DOTALL)
        ]
        text = re.search(r'<script type="application/json">(.*?)</script>', figure, re.DOTALL)[1]
        found.setdefault(caption.partition(":")[0].partition(" (")[0], []).append(
            (json.loads(text), controls)
        )
    return found


def numbers(values):
    return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])


def test_it_lies_in_the_studys_directory_and_is_not_much_more_than_plotly(made, path):
    assert path == made[0].path / "study.html"
    assert 4_000_000 < path.stat().st_size < 6_000_000


def test_its_head_says_what_was_asked_and_how_it_was_run(made):
    found = asked(made[1], made[2])
    assert found["question"] == (
        "Which of 5 arms has the best energy-distance on ring and digits, if every run has the "
        "same budget?"
    )
    assert found["budget of every run"].startswith("flops=1200000000000 (ring ")
    assert found["commit"] == "1ecce20"
    assert found["hardware"] == "2 cores, no GPU"


def places(row):
    """What the table says of a row, by the heads of columns."""
    return {name: column.place(row) for name, column in COLUMNS.items()}


def test_a_row_says_what_the_table_of_statistics_says(found):
    row = found["ring"].rows["gan"]
    said = places({
        **row, "median": 0.00151, "low": 0.001, "high": np.inf, "a12": 0.1875, "p": 0.0184,
        "p_paired": 0.0312, "full_share": 0.55, "collapsed_best": 1 / 6, "failed": 2,
        "alarms": 1.5,
    })  # fmt: skip
    assert {name: place.text for name, place in said.items()} == {
        "arm": "gan", "seeds": "6 (2 lost)",
        "final, median [95 %]": "0.00151 [0.001, none]",
        "best, median": f"{row['best_median']:.3g}", "A12": "0.19", "p": "0.018",
        "p, paired": "0.031", "collapsed, final": "0%", "collapsed, at every look": "17%",
        "all modes after": "55%", "alarms": "1.5",
        "generations": "5,000", "generator steps": "15,000",
        "GFLOP": "1,200", "CPU s": "41.2", "s": "43.0",
    }  # fmt: skip
    assert [place.value for place in said.values()][:6] == [
        "gan", 6, 0.00151, row["best_median"], 0.1875, 0.0184,
    ]  # fmt: skip


def test_what_a_row_does_not_know_it_says_and_sorts_last(found):
    row = found["ring"].rows["egan"]
    lost = dict.fromkeys(("median", "low", "high", "best_median", "full_share"), np.inf)
    said = places({**row, **lost})
    unknown = {name: place.text for name, place in said.items() if place.value is None}
    assert unknown == {
        "final, median [95 %]": "none", "best, median": "none", "A12": "–", "p": "–",
        "p, paired": "–", "all modes after": "never", "alarms": "–",
    }  # fmt: skip
    alone = places({**row, "median": 2.0, "low": np.nan, "high": np.nan})
    assert alone["final, median [95 %]"] == ("2", 2.0)


def test_columns_about_modes_stand_where_modes_can_be_counted(found):
    assert list(table(found["ring"]).columns) == list(COLUMNS)
    lacking = [name for name in COLUMNS if name not in table(found["digits"]).columns]
    assert lacking == ["collapsed, final", "collapsed, at every look", "all modes after"]
    assert {len(row) for row in table(found["digits"]).rows} == {len(COLUMNS) - 3}


def test_curves_are_medians_of_every_score_best_arm_first(found, choices):
    (spec, ((*scores,),)), digits = choices["Scores over the budget"]
    assert scores == ["energy-distance", "modes", "high-quality"]
    assert digits[1] == [["energy-distance"]]
    traces = [each for each in spec["views"]["1"]["figure"]["data"] if each.get("name")]
    assert [trace["name"] for trace in traces] == ARMS
    values = [
        [look["scores"]["modes"] for look in cell["looks"]] for cell in found["ring"].cells["gan"]
    ]
    np.testing.assert_allclose(numbers(traces[2]["y"]), np.median(values, axis=0))
    assert spec["views"]["0"]["figure"]["layout"]["yaxis"]["type"] == "log"
    assert "type" not in spec["views"]["1"]["figure"]["layout"]["yaxis"]


def test_a_scatter_of_every_arm_and_seed_is_its_file(found, choices):
    spec, (arms, seeds) = choices["Samples over real ones"][0]
    assert (arms, seeds) == (ARMS, ["0", "1", "2", "3", "4", "5"])
    assert len(spec["views"]) == 30
    points = found["ring"].samples(found["ring"].cells["gan"][4])
    view = spec["views"][f"{ARMS.index('gan')},4"]
    np.testing.assert_array_equal(numbers(view["figure"]["data"][0]["x"]), points[:, 0])
    np.testing.assert_array_equal(numbers(view["figure"]["data"][0]["y"]), points[:, 1])
    final = found["ring"].cells["gan"][4]["final"]
    assert f"energy-distance {final['energy-distance']:.4g}" in view["note"]
    lost = spec["views"][f"{ARMS.index('wgan-gp')},5"]
    assert lost["figure"] is None
    assert "no child has been finite" in lost["note"]


def test_images_are_pictures_of_their_own(choices):
    spec, _ = choices["Samples beside real ones"][0]
    pictures = [view["image"] for view in spec["views"].values() if view["image"]]
    assert len(pictures) == len(set(pictures)) == 29
    assert spec["base"] is None


def test_shares_of_operators_are_shown_of_arms_that_have_several(choices):
    spec, (arms,) = choices["Who made the survivors"][0]
    assert arms == [ARMS[0], ARMS[1], "random selection"]
    stacked = [numbers(each["y"]) for each in spec["views"]["2"]["figure"]["data"]]
    np.testing.assert_allclose(np.sum(stacked, axis=0), 1, rtol=1e-6)


def test_success_is_shown_where_modes_can_be_counted(found, choices):
    ((spec, ((*when,),)),) = choices["Seeds that cover all 8 modes"]
    assert when == ["at that look", "then or before"]
    for key, ever in (("0", False), ("1", True)):
        drawn = {each["name"]: each for each in spec["views"][key]["figure"]["data"]}
        for arm, curve in found["ring"].successes(ever).items():
            np.testing.assert_allclose(numbers(drawn[arm]["y"]), curve, rtol=1e-6)
    assert len(choices["Final scores"]) == 2


SCRIPT = """
const table = document.querySelector("table");
const heads = [...table.querySelectorAll("th button")];
const column = (place) => [...table.tBodies[0].rows].map((row) => row.cells[place].textContent);
const press = (name, place) => {
  heads.find((head) => head.textContent === name).click();
  return column(place);
};
const found = {start: column(0), arm: press("arm", 0), arm_again: press("arm", 0), p: press("p", 5),
  p_again: press("p", 5), best: press("best, median", 3),
  sorted: table.querySelectorAll("[aria-sort]").length};

const named = (text) => [...document.querySelectorAll(".choice")].find(
  (each) => each.querySelector("figcaption").textContent.startsWith(text));
const set = (control, text) => {
  control.value = [...control.options].findIndex((option) => option.textContent === text);
  control.dispatchEvent(new Event("input", {bubbles: true}));
};
const scatter = named("Samples over");
const chart = scatter.querySelector(".chart");
const LAST = ".scatterlayer .trace:last-child path.point";
const [arm, seed] = scatter.querySelectorAll("select");
const seen = () => ({
  drawn: chart.querySelectorAll(LAST).length,
  place: chart.querySelector(LAST).getAttribute("transform"),
  x: [...chart._fullData.at(-1).x].slice(0, 5), traces: chart.data.length,
  note: scatter.querySelector(".note").textContent,
});
found.scatter = [seen()];
set(arm, "wgan-gp");
set(seed, "2");
found.scatter.push(seen());
set(seed, "5");
found.lost = seen();

const pictures = named("Samples beside");
const picture = pictures.querySelector(".picture");
found.picture = [picture.src];
set(pictures.querySelector("select"), "gan");
await picture.decode();
found.picture.push(picture.src);
found.sizes = [picture.naturalWidth, picture.hidden, pictures.querySelector(".chart").hidden];

const curves = named("Scores over");
set(curves.querySelector("select"), "modes");
const axis = curves.querySelector(".chart")._fullLayout.yaxis;
found.curves = [axis.type, axis.title.text];
found.points = [...document.querySelectorAll(".choice")]
  .filter((each) => each.querySelector("figcaption").textContent.startsWith("Final"))
  .map((each) => each.querySelectorAll("path.point").length);
found.resources = performance.getEntriesByType("resource").map((each) => each.name)
  .filter((name) => !name.startsWith("data:"));
found.buttons = [...document.querySelectorAll(".modebar-btn")].map((each) => each.dataset.title);
found.charts = [...document.querySelectorAll(".chart")].filter((each) => !each.hidden)
  .map((each) => [each.clientWidth, each.querySelector(".main-svg").clientWidth]);
found.wide = [document.documentElement.scrollWidth - window.innerWidth,
  ...[...document.querySelectorAll(".table")].map((each) => each.scrollWidth - each.clientWidth)];
return found;
"""


@pytest.fixture(scope="module")
def seen(browse, path):
    return browse(path, SCRIPT)


def test_the_browser_has_nothing_to_complain_of_and_nothing_to_fetch(seen):
    assert seen.console == []
    assert seen.answer["resources"] == []


def test_no_button_offers_to_send_a_chart_away(seen):
    assert "Zoom" in seen.answer["buttons"]
    assert not [each for each in seen.answer["buttons"] if "hare" in each or "loud" in each]


def test_a_click_on_the_head_of_a_column_sorts(found, seen):
    ps = sorted(row["p"] for row in found["ring"].rows.values() if row["p"] is not None)
    known = [f"{p:.2g}" for p in ps]
    answer = seen.answer
    assert answer["start"] == ARMS
    assert answer["arm"] == sorted(ARMS)
    assert answer["arm_again"] == sorted(ARMS, reverse=True)
    assert len(set(known)) > 2
    assert answer["p"] == [*known, "–"]
    assert answer["p_again"] == [*known[::-1], "–"]
    assert list(map(float, answer["best"])) == sorted(map(float, answer["best"]))
    assert answer["sorted"] == 1


def test_choosing_an_arm_and_a_seed_shows_their_samples(found, seen):
    first, second = seen.answer["scatter"]
    for shown, arm, seed in ((first, ARMS[0], 5), (second, "wgan-gp", 2)):
        points = found["ring"].samples(found["ring"].cells[arm][seed])
        np.testing.assert_allclose(shown["x"], points[:5, 0], rtol=1e-6)
        assert shown["note"].startswith(f"seed {seed} of {arm}: ")
        assert (shown["traces"], shown["drawn"]) == (2, 512)
    assert first["place"] != second["place"]


def test_of_a_lost_run_only_its_end_is_said(seen):
    assert seen.answer["lost"]["traces"] == 1
    assert "no child has been finite" in seen.answer["lost"]["note"]


def test_choosing_an_arm_shows_its_pictures(seen):
    before, after = seen.answer["picture"]
    assert before != after
    assert seen.answer["sizes"] == [197, False, True]


def test_choosing_a_score_shows_it_on_an_axis_of_its_own(seen):
    assert seen.answer["curves"] == ["linear", "modes<br>(higher is better)"]


def test_every_seed_and_every_median_is_drawn_lost_ones_too(seen):
    assert seen.answer["points"] == [6 * 5 + 5] * 2


def test_charts_fill_the_page_and_nothing_is_cut(seen):
    widths = [width for width, _ in seen.answer["charts"]]
    assert all(width == inner for width, inner in seen.answer["charts"])
    assert max(widths) > 1000
    assert max(seen.answer["wide"]) <= 0
