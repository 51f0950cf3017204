"""The page of a run: its curves are the log's, and its slider shows samples over time."""

import base64
import html
import json
import re
import sys

import numpy as np
import pytest

from egan.cli import main
from egan.directory import Directory
from egan.monitor import read_log
from egan.report import alarms, collapse, fitness, read_history, write_report
from egan.run import run_in
from egan.settings import merge
from populations.errors import UsageError

OWN = {
    "population": {"mu": 2, "parents": "compete", "collapse_every": 3},
    "records": {"diagnostics_every": 3, "pictures": 4},
}


@pytest.fixture(scope="module")
def directory(small, tmp_path_factory):
    path = Directory(tmp_path_factory.mktemp("runs") / "mine")
    run_in(path, merge(small, OWN))
    write_report(path)
    return path


@pytest.fixture(scope="module")
def rows(directory):
    return list(read_log(directory.log))


@pytest.fixture(scope="module")
def sections(directory):
    """The page's parts, by their heads."""
    parts = re.split(r"<h2>(.*?)</h2>", directory.report.read_text(encoding="utf-8"))
    return dict(zip(map(html.unescape, parts[1::2]), parts[2::2], strict=True))


def views(section):
    """What can be chosen there, and what is seen then."""
    names = [html.unescape(each) for each in re.findall(r"<option[^>]*>(.*?)</option>", section)]
    text = re.search(r'<script type="application/json">(.*?)</script>', section, re.DOTALL)[1]
    found = json.loads(text)["views"]
    return {names[int(key)] if names else key: view for key, view in found.items()}


def numbers(values):
    return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])


def lines(view):
    return {trace["name"]: trace for trace in view["figure"]["data"] if trace.get("name")}


def table(section):
    return [
        [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL)
    ]


def test_every_part_of_the_run_has_a_section(sections):
    assert list(sections) == [
        "Outcome", "Samples over time", "Scores", "Collapse", "Fitness", "Winners",
        "Discriminator", "Diagnostics", "Lineage", "Settings",
    ]  # fmt: skip


def test_the_outcome_is_in_words_and_beside_real_data(directory, sections):
    assert "Evolved 12 generations on ring" in sections["Outcome"]
    found = json.loads(directory.scores.read_text())["final"]
    cells = {row[0]: row[1:] for row in table(sections["Outcome"]) if row}
    assert cells["modes"] == [f"{found['modes']['score']:.4g}", "8", "higher is better"]
    assert cells["energy-distance"][1] == f"{found['energy-distance']['real']:.4g}"
    assert "samples" not in cells


def test_images_are_judged_on_the_page_by_features_and_first_by_the_judge(small, tmp_path):
    path, data = Directory(tmp_path / "digits"), {"data": "digits", "generations": 2}
    records = {"judge": "frechet-distance", "features": "random", "score_every": 1}
    run_in(path, merge(small, {**data, "records": {**records, "final_samples": 50}}))
    write_report(path)
    parts = re.split(r"<h2>(.*?)</h2>", path.report.read_text(encoding="utf-8"))
    outcome = parts[parts.index("Outcome") + 1]
    found = json.loads(path.scores.read_text())["final"]
    judged = [name for name, each in found.items() if isinstance(each, dict)]
    assert "frechet-distance/random" in judged
    assert [row[0] for row in table(outcome) if row] == judged
    charts = re.findall(r"<option[^>]*>(.*?)</option>", parts[parts.index("Scores") + 1])
    assert charts[0] == "frechet-distance/random"
    assert len(charts) > 1


def test_settings_are_those_that_differ_from_the_preset(sections):
    cells = {row[0]: row[1:] for row in table(sections["Settings"]) if row}
    assert cells["population.mu"] == ["2", "1"]
    assert cells["networks.width"] == ["16", "None"]
    assert cells["generations"] == ["12", "5000"]
    assert "seed" not in cells
    assert "data" not in cells


def test_curves_are_the_logs(rows, sections):
    loss = lines(views(sections["Discriminator"])["loss"])["loss"]
    np.testing.assert_allclose(
        numbers(loss["y"]), [row["environment"]["loss"] for row in rows], 1e-6
    )
    assert numbers(loss["x"]).tolist() == list(range(1, 13))
    shown = views(sections["Scores"])
    assert next(iter(shown)) == "energy-distance"
    scored = [row for row in rows if "score" in row]
    modes = lines(shown["modes"])["modes"]
    assert numbers(modes["x"]).tolist() == [row["generation"] for row in scored]
    assert numbers(modes["y"]).tolist() == [row["score"]["modes"] for row in scored]
    total = lines(views(sections["Fitness"])["total"])["survivors"]
    np.testing.assert_allclose(numbers(total["y"]), [row["fitness"]["total"] for row in rows], 1e-6)


def test_what_a_collapse_is_seen_by_has_curves(rows, sections):
    watched = [row["watch"] for row in rows if "watch" in row]
    shown = views(sections["Collapse"])
    assert set(shown) == {"coverage", "diversity"}
    low, high, now = shown["diversity"]["figure"]["data"][-3:]
    for trace, errors in ((low, -2), (now, 0), (high, 2)):
        expected = [each["diversity"] + errors * each["diversity-error"] for each in watched]
        np.testing.assert_allclose(numbers(trace["y"]), expected, 1e-6)
    assert numbers(now["x"]).tolist() == [3, 6, 9, 12]
    below = lines(shown["diversity"])["60% of it"]
    np.testing.assert_allclose(
        numbers(below["y"]), [0.6 * each["diversity-peak"] for each in watched], 1e-6
    )
    assert "No collapse was seen." in sections["Collapse"]


def test_alarms_are_strokes_in_the_charts_and_rows_of_a_table(directory, rows, tmp_path):
    path = Directory(tmp_path)
    path.config.write_text(directory.config.read_text())
    told = {6: {"alarm": 1, "revived": 3}, 12: {"alarm": 1}}
    with open(path.log, "w", encoding="utf-8") as log:
        for row in rows:
            changes = told.get(row["generation"])
            watch = {"watch": {**row["watch"], **changes}} if changes else {}
            log.write(json.dumps({**row, **watch}) + "\n")
    history = read_history(path)
    table = alarms(history)
    assert [[row[0].text, row[-1].text] for row in table.rows] == [["6", "3"], ["12", "nowhere"]]
    watch = rows[5]["watch"]
    assert [cell.value for cell in table.rows[0][1:5]] == [
        watch[name] for name in ("coverage", "coverage-peak", "diversity", "diversity-peak")
    ]
    strokes = fitness(path, history).blocks[0].views["total",].figure["layout"]["shapes"]
    assert [each["x0"] for each in strokes] == [6, 12]
    assert "alarms of a collapse" in collapse(path, history).sentences[0]


def test_children_are_compared_with_the_survivors_of_their_generation(rows, sections):
    gaps = lines(views(sections["Fitness"])["quality, children minus survivors"])
    assert set(gaps) == {"minimax", "heuristic", "least-squares"}
    known = [row for row in rows if row["offspring"]["heuristic"]]
    expected = [
        row["offspring"]["heuristic"]["quality"] - row["fitness"]["quality"] for row in known
    ]
    np.testing.assert_allclose(numbers(gaps["heuristic"]["y"]), expected, rtol=1e-5, atol=1e-7)


def test_winners_are_means_over_bins_of_equal_length(rows, sections):
    areas = lines(views(sections["Winners"])[""])
    for name, trace in areas.items():
        shares = [row["selection"][name] for row in rows]
        np.testing.assert_allclose(
            numbers(trace["y"]), [np.mean(shares[:6]), np.mean(shares[6:])], rtol=1e-6
        )
    np.testing.assert_allclose(sum(numbers(trace["y"]) for trace in areas.values()), 1, rtol=1e-6)


def test_diagnostics_are_shown_where_they_are_defined(rows, sections):
    shown = views(sections["Diagnostics"])
    cosine = lines(shown["cosine"])["cosine"]
    assert numbers(cosine["x"]).tolist() == [3, 6, 9, 12]
    undefined = {name for row in rows if "diagnostics" in row
                 for name, value in row["diagnostics"].items() if value is None}  # fmt: skip
    always = {name for name in rows[2]["diagnostics"] if name not in undefined}
    assert always <= set(shown)


def test_the_lineage_leads_from_the_founders_to_the_last_population(rows, sections):
    names = [trace.get("name") for trace in views(sections["Lineage"])[""]["figure"]["data"]]
    assert names[:2] == ["died out", "leads to the last"]
    assert "descends from a founder by" in sections["Lineage"]
    assert "common ancestor" in sections["Lineage"]
    last = views(sections["Lineage"])[""]["figure"]["data"][1]
    assert 12 in last["x"]


def test_samples_over_time_end_with_the_final_ones(directory, sections):
    names = re.search(r'data-names="([^"]*)"', sections["Samples over time"])[1].split("|")
    assert names == ["generation 0", *(f"generation {each}" for each in (3, 6, 9, 12)), "the end"]
    shown = views(sections["Samples over time"])
    assert all(view["image"].startswith("data:image/webp") for view in shown.values())
    assert len({view["image"] for view in shown.values()}) >= 5


def test_a_long_log_makes_a_small_page(directory, rows, tmp_path):
    """5,000 generations, told from 12: thinned curves, hardly more than plotly's own megabytes."""
    path = Directory(tmp_path)
    directory_config = directory.config.read_text()
    path.config.write_text(directory_config.replace('"generations": 12', '"generations": 5000'))
    with open(path.log, "w", encoding="utf-8") as log:
        for generation in range(1, 5001):
            ours = [{**one, "number": 2 * generation + place, "parent": 2 * generation - 2 + place}
                    for place, one in enumerate(rows[3]["population"])]  # fmt: skip
            row = {**rows[generation % 12], "generation": generation, "population": ours}
            log.write(json.dumps({**row, "between": []}) + "\n")
    size = write_report(path).stat().st_size
    assert size < 6_000_000
    assert len(read_history(path).of("fitness")["total"][0]) == 5000


def test_bins_are_bands_of_several_generations(directory):
    from egan.palette import Style
    from egan.report import _thin

    values = np.arange(4000.0)
    line = _thin("x", np.arange(4000), values, Style("#000000", "solid", "#000000"))
    assert len(line.y) == 400
    np.testing.assert_allclose(line.y[0], values[:10].mean())
    np.testing.assert_allclose(line.band[0][0], np.quantile(values[:10], 0.1))
    np.testing.assert_allclose(line.band[1][-1], np.quantile(values[-10:], 0.9))


def test_a_run_of_data_given_in_python_has_a_page_too(small, tmp_path):
    import torch

    run_in(Directory(tmp_path), merge(small, {"generations": 2, "data": "python tensor (50, 2)"}),
           source=torch.randn(50, 2))  # fmt: skip
    text = write_report(Directory(tmp_path)).read_text(encoding="utf-8")
    assert "energy-distance" in text
    assert "Evolved" not in text


def test_a_run_without_a_generation_says_how_to_go_on(directory, tmp_path):
    (tmp_path / "config.json").write_text(directory.config.read_text())
    with pytest.raises(UsageError, match="has no generation yet: egan resume"):
        write_report(Directory(tmp_path))


def test_the_command_says_where_the_page_is(directory, capsys):
    assert main(["report", str(directory.path)]) == 0
    assert capsys.readouterr().out == f"Report: {directory.report}\n"


def test_the_command_says_what_it_lacks(directory, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("egan.pages", "egan.report"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "plotly", None)
    assert main(["report", str(directory.path)]) == 2
    assert capsys.readouterr().err == (
        "egan: pages need plotly and Jinja2: pip install 'egan[report]'.\n"
    )


SCRIPT = """
const section = (name) => [...document.querySelectorAll("section")].find(
  (each) => each.querySelector("h2").textContent === name);
const samples = section("Samples over time");
const [slider, output, picture] = ["input", "output", ".picture"].map(
  (each) => samples.querySelector(each));
const seen = () => [output.textContent, picture.src];
const found = {samples: [seen()]};
slider.value = 1;
slider.dispatchEvent(new Event("input", {bubbles: true}));
found.samples.push(seen());
const parts = section("Fitness");
const control = parts.querySelector("select");
found.parts = [...control.options].map((option, place) => {
  control.value = place;
  control.dispatchEvent(new Event("input", {bubbles: true}));
  return parts.querySelector(".chart")._fullLayout.yaxis.title.text;
});
found.dots = section("Lineage").querySelectorAll("path.point").length;
found.resources = performance.getEntriesByType("resource").map((each) => each.name)
  .filter((name) => !name.startsWith("data:"));
return found;
"""


@pytest.fixture(scope="module")
def seen(browse, directory):
    return browse(directory.report, SCRIPT)


def test_the_browser_has_nothing_to_complain_of_and_nothing_to_fetch(seen):
    assert seen.console == []
    assert seen.answer["resources"] == []


def test_the_slider_shows_other_samples(seen, sections):
    (end, last), (early, picture) = seen.answer["samples"]
    assert (end, early) == ("the end", "generation 3")
    assert picture == views(sections["Samples over time"])["1"]["image"]
    assert last != picture


def test_each_part_of_the_fitness_can_be_chosen(seen):
    assert seen.answer["parts"] == [
        text
        for part in ("total", "quality", "diversity")
        for text in (part, f"{part},<br>children minus survivors")
    ]


def test_individuals_are_drawn(seen):
    assert seen.answer["dots"] > 20
