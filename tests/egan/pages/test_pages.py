"""Pages: everything is in them, nothing of it is taken for markup, numbers survive."""

import base64
import json
import re

import numpy as np
import pytest
from PIL import Image

from egan.pages import Cell, Choice, Section, Table, View, embedded, specification, write_page
from egan.pages.charts import Line, Strip, areas, axis, lines, packed, scatter, strips
from egan.palette import Style

BLUE = Style("#0072B2", "dash", "#80B8D8")


def unpacked(values):
    """What plotly reads."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])
    return np.array(values, dtype=float)


def plotted(figure):
    """A figure as the page's script gets it."""
    return json.loads(specification(Choice("", {(): View(figure)})))["views"][""]["figure"]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    table = Table("A & B", {"name": "What <it> is", "value": ""}, [
        [Cell("<b>one</b>", "one"), Cell("diverged", None)],
        [Cell("two", "two"), Cell("1e-3", 0.001)],
    ])  # fmt: skip
    choice = Choice("", {("</script><b>",): View(note="</script>")}, {"arm": ["</script><b>"]})
    write_page(path, "<i>study</i>", {"command": "egan 'a[b=1]' & c"}, [
        Section("Results", ["1 < 2"], [table, choice]),
    ])  # fmt: skip
    return path.read_text(encoding="utf-8")


def test_what_is_said_is_never_taken_for_markup(page):
    ours = page[page.index("<body>") :]
    for text in ("<i>study", "<b>one", "What <it>", "1 < 2", "<b>"):
        assert text not in ours
    assert "&lt;b&gt;one" in ours
    assert ours.count("</script>") == 2  # the choice's own and the page's
    assert "egan &#39;a[b=1]&#39; &amp; c" in ours


def test_a_page_asks_for_nothing_outside_itself(page):
    without_plotly = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert page.count("plotly.js v") == 1
    assert not re.findall(r"""(?:src|href)=(?!"data:|"#).*|url\(|@import""", without_plotly)
    assert "default-src 'none'" in page
    assert "https://" not in without_plotly


def test_cells_carry_what_they_are_sorted_by(page):
    assert re.findall(r'<td data-value="([^"]*)"', page) == ["one", "", "two", "0.001"]


def test_views_are_found_by_the_places_of_what_was_chosen():
    views = {("b", "0"): View(note="b0"), ("a", "1"): View(note="a1")}
    found = json.loads(specification(Choice("", views, {"arm": ["a", "b"], "seed": ["0", "1"]})))
    assert {key: view["note"] for key, view in found["views"].items()} == {"1,0": "b0", "0,1": "a1"}


def test_a_figure_that_plotly_would_not_understand_is_refused():
    with pytest.raises(ValueError, match="invented"):
        plotted({"data": [{"type": "scatter", "invented": 1}], "layout": {}})


def test_pictures_are_embedded_as_they_are():
    uri = embedded(Image.new("RGB", (20, 10), "#0072B2"))
    assert uri.startswith("data:image/webp;base64,")
    assert len(uri) < 500


def test_packed_numbers_have_gaps_where_they_are_not_finite():
    found = packed([1, np.inf, np.nan, -np.inf, 0.1])
    assert found.dtype == np.float32
    assert np.isnan(found).tolist() == [False, True, True, True, False]


def test_a_line_stands_over_its_band_and_goes_with_it():
    x, y = np.array([0.5, 1.0]), np.array([2.0, np.inf])
    drawn = lines([Line("<a>", x, y, BLUE, (y - 1, y + 1))], axis("x"), axis("y", log=True))
    low, high, line = plotted(drawn)["data"]
    assert unpacked(line["y"]).tolist()[0] == 2
    assert np.isnan(unpacked(line["y"])[1])
    assert (unpacked(low["y"])[0], unpacked(high["y"])[0]) == (1, 3)
    assert high["fill"] == "tonexty"
    assert "fill" not in low
    assert {each["legendgroup"] for each in (low, high, line)} == {"&lt;a&gt;"}
    assert line["line"]["dash"] == "dash"
    assert plotted(drawn)["layout"]["yaxis"]["type"] == "log"


def test_an_axis_reaches_beyond_its_ends_in_its_own_scale():
    low, high = axis("x", log=True, ends=(0.01, 10.0))["range"]
    assert -2.1 < low < -2 < 1 < high < 1.1
    low, high = axis("x", ends=(0.0, 8.0))["range"]
    assert -0.1 < low < 0 < 8 < high < 8.1
    assert "range" not in axis("x")


def test_areas_are_stacked_in_one_group():
    shares = {"a": np.array([0.25, 0.5]), "b": np.array([0.75, 0.5])}
    found = plotted(areas(np.array([1.0, 2.0]), shares, {"a": BLUE, "b": BLUE}, axis("x")))["data"]
    assert [each["name"] for each in found] == ["a", "b"]
    assert {each["stackgroup"] for each in found} == {"all"}
    assert unpacked(found[1]["y"]).tolist() == [0.75, 0.5]


def test_strips_mark_lost_runs_and_leave_out_what_is_unknown():
    values, lost = np.array([1.0, 9.0]), np.array([False, True])
    known = Strip("a", values, lost, ["seed 0", "seed 1"], 2.0, (1.5, 9.0), BLUE)
    unknown = known._replace(name="b", middle=np.inf)
    found = plotted(strips([known, unknown], axis("x"), 0.5))
    first, second, median = found["data"]
    assert first["marker"]["symbol"] == ["circle", "x-thin-open"]
    assert np.abs(unpacked(first["y"])).max() <= 0.25
    assert (unpacked(second["y"]) > 0.7).all()
    assert (median["x"], median["error_x"]["array"], median["error_x"]["arrayminus"]) == (
        [2.0], [7.0], [0.5],
    )  # fmt: skip
    assert found["layout"]["yaxis"]["range"] == [1.5, -0.5]  # the first on top
    assert found["layout"]["shapes"][0]["x0"] == 0.5


def test_a_scatter_keeps_its_window_and_its_proportions():
    points = np.array([[0.0, 1.0], [2.0, 3.0]], dtype=np.float32)
    window = np.array([[-1, 1], [-2, 2]])
    found = plotted(scatter(points, window, "#123456", "real"))
    assert unpacked(found["data"][0]["y"]).tolist() == [1, 3]
    assert found["layout"]["xaxis"]["range"] == [-1, 1]
    assert found["layout"]["yaxis"]["range"] == [-2, 2]
    assert found["layout"]["yaxis"]["scaleanchor"] == "x"
