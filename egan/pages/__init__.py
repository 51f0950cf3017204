"""Self-contained pages: text, sortable tables, pictures and interactive charts in one HTML file.

A page asks nothing of the network: plotly's JavaScript, the style and all numbers are in it, and
its content security policy forbids a browser to load anything else.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from populations.checkpoint import write_whole
from populations.errors import UsageError

try:
    import jinja2
    import plotly.graph_objects
    import plotly.offline
except ImportError as error:
    raise UsageError("pages need plotly and Jinja2: pip install 'egan[report]'.") from error

Figure = dict[str, Any]
"""A chart as plotly takes it: its traces, `data`, and its `layout`."""
HERE = Path(__file__).parent
QUALITY = 80  # of embedded pictures, as WebP has it


class Cell(NamedTuple):
    """What a table says in one place: the text, and what it is sorted by; None comes last."""

    text: str
    value: float | str | None


class Table(NamedTuple):
    """A table that a click on the head of a column sorts.

    Attributes:
        caption: what it shows.
        columns: their headings, and what each means.
        rows: one cell a column.
    """

    caption: str
    columns: Mapping[str, str]
    rows: Sequence[Sequence[Cell]]


class View(NamedTuple):
    """What is seen at one choice.

    Attributes:
        figure: drawn over the choice's own.
        image: a data URI; empty: none.
        note: a line of text.
    """

    figure: Figure | None = None
    image: str = ""
    note: str = ""


Views = Mapping[tuple[str, ...], View]
"""By the chosen values, one of each control."""


class Choice(NamedTuple):
    """A chart or a picture, with what its reader may choose.

    Attributes:
        caption: what it shows.
        views: what can be chosen.
        controls: values by the control's name; none: there is one view.
        start: the values chosen at first; empty: the first ones.
        base: of all views: their traces and settings of the layout go over it.
        beside: a data URI of a picture that stays.
        slider: whether the control is a slider instead of a list.
    """

    caption: str
    views: Views
    controls: Mapping[str, Sequence[str]] = {}
    start: tuple[str, ...] = ()
    base: Figure | None = None
    beside: str = ""
    slider: bool = False


class Section(NamedTuple):
    """A headed part of a page: sentences, then tables and choices."""

    title: str
    sentences: Sequence[str]
    blocks: Sequence[Table | Choice]


def write_page(
    path: Path, title: str, facts: Mapping[str, str], sections: Sequence[Section]
) -> None:
    """Write a page, whole or not at all.

    Args:
        path: of the file.
        title: its heading.
        facts: said at its head, by their names.
        sections: what follows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"specification": specification, "is_table": is_table}
    text = environment.get_template("page.html").render(
        title=title,
        facts=facts,
        sections=sections,
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        plotly=plotly.offline.get_plotlyjs(),
    )
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def is_table(block: Table | Choice) -> bool:
    """Whether a block is a table."""
    return isinstance(block, Table)


def specification(choice: Choice) -> str:
    """What the page's script needs to know of a choice, as JSON that may stand inside a script."""
    places = [{value: str(place) for place, value in enumerate(values)}
              for values in choice.controls.values()]  # fmt: skip
    views = {
        ",".join(place[value] for place, value in zip(places, key, strict=True)): {
            "figure": _plain(view.figure), "image": view.image, "note": view.note,
        }
        for key, view in choice.views.items()
    }  # fmt: skip
    text = json.dumps({"base": _plain(choice.base), "views": views}, allow_nan=False)
    return text.replace("<", "\\u003c")


def _plain(figure: Figure | None) -> Any:
    """A figure that plotly has checked, its arrays packed; of the default template nothing."""
    if figure is None:
        return None
    checked = plotly.graph_objects.Figure(figure)
    checked.layout.template = None
    return json.loads(checked.to_json())


def embedded(image: Image.Image) -> str:
    """A picture as a data URI, compressed to what a screen shows."""
    content = io.BytesIO()
    image.save(content, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode("ascii")
