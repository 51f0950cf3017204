"""Printed figures: they show the numbers, name every arm, and no text is cut or covered."""

import itertools
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.text import Text
from PIL import Image

from egan.study.figures import PRINT, _spread, figures, write_figures
from egan.study.statistics import median_interval

ARMS = ["egan[gamma=0.1]", "egan", "gan", "random selection", "wgan-gp"]


@pytest.fixture
def draw():
    """A function that draws a figure as it is printed, and lays it out."""

    def make(name, comparison):
        with matplotlib.rc_context(PRINT):
            figure = figures[name](comparison)
            if figure is not None:
                figure.draw_without_rendering()
        return figure

    return make


def crowded(comparison, count=16):
    """The same comparison with so many arms of long names and equal scores."""
    names = [f"egan[gamma={place}, steps=2]" for place in range(count)]
    return replace(
        comparison,
        cells=dict.fromkeys(names, comparison.cells["egan"]),
        rows={name: {**comparison.rows["egan"], "arm": name} for name in names},
    )


def texts(figure):
    return [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and not text.get_text().isspace()
    ]


def shown(figure):
    """Texts that are in the picture and where: ticks beyond an axis's limits have none there."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks() + axis.get_minor_ticks():
                outside = not low <= tick.get_loc() <= high
                hidden |= {tick.label1, tick.label2} if outside or not tick.get_visible() else set()
        if not axes.axison:
            hidden |= set(axes.xaxis.findobj(Text)) | set(axes.yaxis.findobj(Text))
    return [(text.get_text(), Text.get_window_extent(text)) for text in texts(figure)
            if text not in hidden]  # fmt: skip


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("data", ["ring", "digits"])
@pytest.mark.parametrize("name", figures)
def test_no_text_is_cut_or_covered(found, draw, name, data, many):
    comparison = crowded(found[data]) if many else found[data]
    figure = draw(name, comparison)
    if figure is None:
        assert (name, data) == ("success", "digits")
        return
    found_texts = shown(figure)
    assert len(found_texts) > 5
    for text, box in found_texts:
        inside = figure.bbox.padded(1)
        assert inside.contains(*box.min), text
        assert inside.contains(*box.max), text
    for (one, left), (other, right) in itertools.combinations(found_texts, 2):
        assert not left.padded(-1).overlaps(right.padded(-1)), (one, other)


def test_curves_are_medians_with_their_intervals(found, draw):
    figure = draw("scores", found["ring"])
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    values = np.array([
        [look["scores"]["energy-distance"] for look in cell["looks"]]
        for cell in found["ring"].cells["egan"]
    ])  # fmt: skip
    lines = dict(zip(found["ring"].cells, axes.lines, strict=True))
    np.testing.assert_allclose(lines["egan"].get_ydata(), np.median(values, axis=0))
    np.testing.assert_allclose(lines["egan"].get_xdata(), np.arange(1, 21) / 20)
    band = axes.collections[0].get_paths()[0].vertices
    last = band[np.isclose(band[:, 0], 1.0), 1]
    np.testing.assert_allclose(sorted(set(last)), median_interval(values[:, -1])[1:])


def test_lines_are_named_where_they_end_in_the_order_of_their_ends(found, draw):
    figure = draw("scores", found["ring"])
    heights = {text: box.y0 for text, box in shown(figure) if text in ARMS}
    assert sorted(heights, key=heights.get) == ARMS  # the lowest distance is at the bottom


def test_a_line_ends_where_half_of_the_seeds_have_diverged(found, draw):
    lost = found["ring"].cells["wgan-gp"][-1]
    comparison = replace(found["ring"], cells={**found["ring"].cells, "gan": [lost] * 6})
    line = draw("scores", comparison).axes[0].lines[list(comparison.cells).index("gan")]
    assert np.isfinite(line.get_ydata()).tolist() == [True] * 4 + [False] * 16


def test_final_scores_show_every_seed_and_the_best_arm_on_top(found, draw):
    (axes,) = draw("final", found["ring"]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ARMS
    assert axes.yaxis_inverted()
    drawn = [each.get_offsets() for each in axes.collections if isinstance(each, PathCollection)]
    assert sum(map(len, drawn)) == 30
    best = [cell["final"]["energy-distance"] for cell in found["ring"].cells[ARMS[0]]]
    np.testing.assert_allclose(drawn[0][:, 0], best)
    assert np.abs(drawn[0][:, 1]).max() <= 0.3
    crosses = drawn[2 * ARMS.index("wgan-gp") + 1]
    np.testing.assert_allclose(crosses[:, 0], axes.get_xlim()[1])  # the worse end


def test_the_interval_and_the_median_are_the_tables(found, draw):
    (axes,) = draw("final", found["ring"]).axes
    row = found["ring"].rows[ARMS[0]]
    interval, median = axes.lines[1:3]
    np.testing.assert_allclose(interval.get_xdata(), [row["low"], row["high"]])
    np.testing.assert_allclose(median.get_xdata(), row["median"])


def test_success_is_a_share_of_seeds(found, draw):
    (axes,) = draw("success", found["ring"]).axes
    assert axes.get_yscale() == "linear"
    for line in axes.lines:
        assert 0 <= line.get_ydata().min() <= line.get_ydata().max() <= 1
    modes = [cell["looks"][12]["scores"]["modes"] for cell in found["ring"].cells["egan"]]
    assert axes.lines[0].get_ydata()[12] == np.mean(np.array(modes) >= 8)


def test_samples_are_those_of_the_median_run_beside_real_ones(found, draw):
    panels = [axes for axes in draw("samples", found["ring"]).axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["real data", *ARMS]
    cells = sorted(found["ring"].cells["gan"], key=lambda each: each["final"]["energy-distance"])
    points = panels[1 + ARMS.index("gan")].collections[-1].get_offsets()
    np.testing.assert_array_equal(points, found["ring"].samples(cells[3]))
    assert len({axes.get_xlim() for axes in panels}) == 1
    pictures = [axes.images[0].get_array() for axes in draw("samples", found["digits"]).axes[:6]]
    assert {picture.shape for picture in pictures} == {(6 * 33 - 1, 6 * 33 - 1)}  # 36 of 64
    assert len({picture.tobytes() for picture in pictures}) == 6


def test_an_arm_whose_median_run_diverged_says_so(found, draw):
    lost = found["ring"].cells["wgan-gp"][-1]
    comparison = replace(found["ring"], cells={**found["ring"].cells, "gan": [lost] * 3})
    panel = next(axes for axes in draw("samples", comparison).axes if axes.get_title() == "gan")
    assert [text.get_text() for text in panel.texts] == ["diverged"]


def test_shares_of_operators_have_a_panel_for_each_arm_that_has_several(found, draw):
    panels = draw("selection", found["ring"]).axes
    assert [axes.get_title() for axes in panels] == [ARMS[0], ARMS[1], "random selection"]
    single = {arm: found["ring"].cells[arm] for arm in ("gan", "wgan-gp")}
    assert draw("selection", replace(found["ring"], cells=single)) is None


def test_names_are_spread_apart_and_no_further(found):
    np.testing.assert_allclose(_spread([0.1, 0.5, 0.9], 0.1), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(_spread([0.5, 0.5], 0.1), [0.45, 0.55])
    crowd = _spread([0.97, 0.98, 1.0], 0.1)
    np.testing.assert_allclose(np.diff(crowd), 0.1)
    assert crowd[-1] <= 1.0001


def test_all_figures_are_written_at_200_dots_an_inch_and_a_columns_width(found, tmp_path):
    about = found["ring"].about._replace(name="ring/1")
    paths = write_figures([replace(found["ring"], about=about)], tmp_path / "figures")
    assert [path.name for path in paths] == [f"ring_1-{name}.png" for name in figures]
    for path in paths:
        with Image.open(path) as image:
            assert image.width == 680
            assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
