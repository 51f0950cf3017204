"""`report.html`: one run on one page that needs nothing but a browser."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from egan.ancestry import Ancestry, common_ancestor, thinned
from egan.config import Config
from egan.cost import clock
from egan.data import make_data
from egan.directory import Directory
from egan.findings import BETTER, paragraph, recorded_scores, titled
from egan.monitor import Row, alarm, read_log
from egan.pages import Cell, Choice, Figure, Section, Table, View, Views, embedded, write_page
from egan.pages.charts import Line, areas, axis, genealogy, lines
from egan.palette import Style, styles
from egan.presets import configure
from egan.scores import named, score_of, scores
from egan.settings import flatten, plain
from populations.errors import UsageError

BINS = 400  # points of a curve
AREAS, IN_AREA = 100, 20  # steps of the winners' shares at most, and generations in one at least
FRAMES = 60  # pictures of samples
MOMENTS = 120  # at which the lineage shows the population
GROUPS = ("fitness", "offspring", "selection", "environment", "score", "watch", "diagnostics")
BLACK = Style("#333333", "solid", "#333333")
GREY = Style("#888888", "dash", "#888888")
ORANGE = "#D55E00"
FIGURES = ("coverage", "diversity")  # by which a collapse is seen

Curves = dict[tuple[str, ...], tuple[list[int], list[float]]]


@dataclass
class History:
    """The log, number by number.

    Attributes:
        curves: generations and values, by the path of their names in a row.
        ancestry: who descends from whom.
        alarms: the rows after which a collapse was told.
        last: the last row.
    """

    curves: Curves = field(default_factory=lambda: defaultdict(lambda: ([], [])))
    ancestry: Ancestry = field(default_factory=Ancestry)
    alarms: list[Row] = field(default_factory=list)
    last: Row = field(default_factory=dict)

    def of(self, *path: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The curves under a path, by the rest of theirs: generations and values, (n,) each."""
        return {
            " ".join(names[len(path) :]): (np.array(found[0]), np.array(found[1]))
            for names, found in self.curves.items()
            if names[: len(path)] == path
        }

    def names(self, group: str) -> list[str]:
        """The names in a group of the rows."""
        return list(dict.fromkeys(path[1] for path in self.curves if path[0] == group))

    @property
    def operators(self) -> dict[str, Style]:
        """How what makes individuals is drawn."""
        return styles(dict.fromkeys([*self.names("offspring"), *self.names("selection")]))


def write_report(directory: Directory) -> Path:
    """Write the page of a run, finished or not, into its directory.

    Args:
        directory: of the run.

    Returns:
        The file, `report.html`.

    Raises:
        UsageError: no run lies there, or it has no generation yet.
    """
    config, history = directory.load_config(), read_history(directory)
    if not history.last:
        raise UsageError(
            f"the run {directory.path} has no generation yet: egan resume {directory.path} goes on "
            "with it."
        )
    blocks = [
        samples, score_curves, collapse, fitness, winners, discriminator, diagnostics, lineage,
    ]  # fmt: skip
    made = [make(directory, history) for make in blocks]
    sections = [outcome(directory, config), *(section for section in made if section)]
    title = f"Run: {directory.path.resolve().name}"
    write_page(directory.report, title, facts(config, history), [*sections, choices(config)])
    return directory.report


def read_history(directory: Directory) -> History:
    """What the log of a run says."""
    history = History()
    for row in read_log(directory.log):
        history.ancestry.add(row)
        history.last = row
        if alarm(row):
            history.alarms.append(row)
        for path, value in _leaves({group: row.get(group) or {} for group in GROUPS}):
            generations, values = history.curves[path]
            generations.append(row["generation"])
            values.append(value)
    return history


def _leaves(
    values: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, name))
        elif value is not None:
            yield (*path, name), float(value)


def facts(config: Config, history: History) -> dict[str, str]:
    """What was run, and how far it has got."""
    done = history.last["generation"]
    return {
        "data": str(config.data),
        "preset": config.preset,
        "generations": f"{done:,} of {config.generations:,}",
        "time": clock(history.last["seconds"]),
        "seed": str(config.seed),
    }


def outcome(directory: Directory, config: Config) -> Section:
    """What it found, in words and beside real data."""
    try:
        sentences = [paragraph(directory, make_data(config.data, config.data_options))]
    except UsageError:  # data that were given in Python, or have moved
        sentences = []
    table = final_scores(recorded_scores(directory))
    return Section("Outcome", sentences, [table] if table.rows else [])


def final_scores(found: Mapping[str, Any]) -> Table:
    """Scores of each generator that was judged, beside those of as many real samples."""
    names = dict.fromkeys(
        name for each in found.values() for name in each if name.partition("/")[0] in scores
    )
    counts = ", ".join(f"{which}: {each['samples']:,} samples" for which, each in found.items())
    columns = {"score": "What was judged.", **dict.fromkeys(found, "This generator's score.")}
    columns |= {"real data": "What as many real samples score.", "better": "Which is better."}
    rows = []
    for name in names:
        known = [each.get(name) or {} for each in found.values()]
        values = [each.get("score") for each in known]
        real = next((each["real"] for each in known if "real" in each), None)
        better = BETTER[score_of(name).better]
        rows.append([Cell(name, name), *map(_number, values), _number(real), Cell(better, better)])
    return Table(f"Scores of the generators ({counts})", columns, rows)


def _number(value: float | None) -> Cell:
    return Cell("none" if value is None else f"{value:.4g}", value)


def choices(config: Config) -> Section:
    """The settings that differ from the preset's."""
    ours = flatten(plain(config))
    theirs = flatten(plain(configure({"preset": config.preset, "data": config.data})))
    columns = {
        "setting": "Its name, as --NAME on the command line.",
        "this run": "Its value.",
        "preset": f"Its value in {config.preset}.",
    }
    rows = [
        [Cell(name, name), *(Cell(text, text) for text in _both(name, ours, theirs))]
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name) != theirs.get(name)
    ]
    table = Table(f"Settings that differ from the preset {config.preset}", columns, rows)
    lacking = f"All settings are those of the preset {config.preset}."
    return Section("Settings", [] if rows else [lacking], [table] if rows else [])


def _both(name: str, *settings: Mapping[str, Any]) -> list[str]:
    return [str(each[name]) if name in each else "–" for each in settings]


def samples(directory: Directory, history: History) -> Section | None:
    """Pictures of samples over time."""
    frames = directory.frames()
    if not frames:
        return None
    shown = {f"generation {int(path.stem):,}": path for path in _spread(frames, FRAMES)}
    shown |= {"the end": directory.final_picture} if directory.final_picture.is_file() else {}
    names = list(shown)
    views: Views = {(name,): View(image=_frame(path)) for name, path in shown.items()}
    slider = Choice("", views, {"": names}, (names[-1],), slider=True)
    return Section("Samples over time", [], [slider])


def _frame(path: Path) -> str:
    with Image.open(path) as image:
        return embedded(image.convert("RGB"))


def _spread(frames: list[Path], most: int) -> list[Path]:
    """At most so many of them, evenly spread, the first and the last always."""
    places = np.linspace(0, len(frames) - 1, min(len(frames), most)).round()
    return [frames[int(place)] for place in places]


def score_curves(directory: Directory, history: History) -> Section | None:
    """Scores along the way."""
    found = history.of("score")
    judge = named(directory.load_config().records.judge, list(found))
    names = sorted(found, key=lambda name: name != judge)
    views: dict[tuple[str, ...], View] = {}
    for name in names:
        log = score_of(name).better == "lower"
        up = axis(titled(name, "<br>"), log=log)
        drawn = [Line(name, *found[name], BLACK)]
        views[name,] = View(_over_time(history, drawn, up))
    count = directory.load_config().records.score_samples
    caption = f"Of {count:,} samples of the first survivor"
    return _section("Scores", caption, "score", views)


def collapse(directory: Directory, history: History) -> Section | None:
    """Coverage and diversity along the way, what they had been, and the alarms."""
    found, share = history.of("watch"), directory.load_config().population.collapse
    if not found:
        return None
    views: Views = {
        (name,): View(_over_time(history, _watched(found, name, share), axis(name)))
        for name in FIGURES
    }
    told = (
        "Dotted strokes in the charts of this page are alarms of a collapse."
        if history.alarms
        else "No collapse was seen."
    )
    caption = "Of the first survivor's samples, and two standard errors around it"
    tables = [alarms(history)] if history.alarms else []
    return Section("Collapse", [told], [Choice(caption, views, {"of": [*FIGURES]}), *tables])


def _watched(found: Mapping[str, Any], name: str, share: float) -> list[Line]:
    """A figure, the highest before, and the share of that below which it has collapsed."""
    (when, now), (_, error), (_, peak) = (found[name + end] for end in ("", "-error", "-peak"))
    below = GREY._replace(colour=ORANGE, dash="dot")
    return [
        Line("highest before", when, peak, GREY),
        Line(f"{share:.0%} of it", when, share * peak, below),
        Line(name, when, now, BLACK, (now - 2 * error, now + 2 * error)),
    ]


def alarms(history: History) -> Table:
    """When a collapse was told, and on what grounds."""
    columns = {"generation": "After which it was told."}
    for name in FIGURES:
        columns |= {name: f"The first survivor's {name}.", f"{name} before": "The highest before."}
    columns["went back to"] = "The generation whose population and discriminator came back."
    rows = []
    for row in history.alarms:
        watch = row["watch"]
        known = [watch[name + end] for name in FIGURES for end in ("", "-peak")]
        back = watch.get("revived")
        rows.append([
            Cell(f"{row['generation']:,}", row["generation"]),
            *(Cell(f"{value:.2f}", value) for value in known),
            Cell("nowhere" if back is None else f"{back:,}", back),
        ])  # fmt: skip
    return Table("Alarms", columns, rows)


def fitness(directory: Directory, history: History) -> Section | None:
    """Fitness of the survivors, and what sets the children of each mutation apart from them."""
    views: dict[tuple[str, ...], View] = {}
    for part in ("total", "quality", "diversity"):
        if part in history.of("fitness"):
            line = _thin("survivors", *history.of("fitness")[part], BLACK)
            views[part,] = View(_over_time(history, [line], axis(part)))
            gaps, up = _gaps(history, part), axis(f"{part},<br>children minus survivors")
            views[f"{part}, children minus survivors",] = View(_over_time(history, gaps, up))
    return _section("Fitness", _averaged(history), "part", views)


def _gaps(history: History, part: str) -> list[Line]:
    """How far the mean fitness of each mutation's children lies above that of the survivors."""
    when, survivors = history.of("fitness")[part]
    drawn = []
    for name in history.names("offspring"):
        times, values = history.of("offspring", name)[part]
        shared, ours, theirs = np.intersect1d(times, when, return_indices=True)
        gap = values[ours] - survivors[theirs]
        drawn.append(_thin(name, shared, gap, history.operators[name]))
    return drawn


def winners(directory: Directory, history: History) -> Section | None:
    """By whom survivors were made."""
    found = {name: each for name, each in history.of("selection").items() if each[1].any()}
    if len(found) < 2:
        return None
    most = max(2, min(AREAS, history.last["generation"] // IN_AREA))
    shares = {name: _bins(*each, most) for name, each in found.items()}
    middle = next(iter(shares.values()))[0]
    means = {name: each[1] for name, each in shares.items()}
    figure = areas(middle, means, history.operators, _time(history))
    total = ", ".join(f"{name} {each[1].mean():.1%}" for name, each in found.items())
    return _section("Winners", f"Who made the survivors ({total})", "", {(): View(figure)})


def discriminator(directory: Directory, history: History) -> Section | None:
    """The discriminator's loss and what else its steps report."""
    views: Views = {
        (name,): View(_over_time(history, [_thin(name, *curve, BLACK)], axis(name)))
        for name, curve in history.of("environment").items()
    }
    return _section("Discriminator", _averaged(history), "of", views)


def diagnostics(directory: Directory, history: History) -> Section | None:
    """What variation offers and what selection makes of it, where it was recorded."""
    views: Views = {
        (name,): View(_over_time(history, [_thin(name, *curve, BLACK)], axis(name)))
        for name, curve in history.of("diagnostics").items()
    }
    return _section("Diagnostics", "As docs/diagnostics.md explains them", "of", views)


def _section(title: str, caption: str, control: str, views: Views) -> Section | None:
    """A section of one choice; None where there is nothing to choose from."""
    if not views:
        return None
    values = [value for key in views for value in key]
    return Section(title, [], [Choice(caption, views, {control: values} if control else {})])


def _over_time(history: History, drawn: list[Line], up: dict[str, Any]) -> Figure:
    """Lines over generations; alarms are strokes across."""
    strokes = [
        {"type": "line", "x0": row["generation"], "x1": row["generation"], "y0": 0, "y1": 1,
         "yref": "paper", "line": {"color": ORANGE, "width": 1, "dash": "dot"}}
        for row in history.alarms
    ]  # fmt: skip
    return lines(drawn, _time(history), up, shapes=strokes, showlegend=len(drawn) > 1)


def _time(history: History) -> dict[str, Any]:
    return axis("generation", range=[0, history.last["generation"]], tickformat=",d")


def _thin(name: str, generations: np.ndarray, values: np.ndarray, style: Style) -> Line:
    """A line through the means of bins, with a band where a bin holds several generations."""
    middle, means, low, high = _bins(generations, values, BINS)
    return Line(name, middle, means, style, (low, high) if len(values) > BINS else None)


def _averaged(history: History) -> str:
    """What lines of every generation show."""
    if history.last["generation"] <= BINS:
        return "Of every generation"
    return "Means over generations that lie together, and the range of 80 % of them"


def _bins(generations: np.ndarray, values: np.ndarray, most: int) -> list[np.ndarray]:
    """Middles, means, tenth and ninetieth percentiles of bins of equally many generations."""
    parts = min(len(values), most)
    rows = [
        (when.mean(), part.mean(), *np.quantile(part, (0.1, 0.9)))
        for when, part in zip(
            np.array_split(generations, parts), np.array_split(values, parts), strict=True
        )
    ]
    return list(np.array(rows).T)


def lineage(directory: Directory, history: History) -> Section | None:
    """Who descends from whom."""
    ancestry = history.ancestry
    nodes = thinned(ancestry, MOMENTS)
    made = [ancestry.births[node.number].mutation for node in nodes]
    figure = genealogy(nodes, made, history.operators, _time(history))
    caption = (
        "The population at even moments, each individual joined to its latest ancestor; dark lines "
        "lead to the last population"
    )
    return Section("Lineage", _descent(ancestry), [Choice(caption, {(): View(figure)})])


def _descent(ancestry: Ancestry) -> list[str]:
    """Sentences on the last population's ancestors."""
    last = ancestry.populations[-1]
    steps = Counter(ancestry.births[one].mutation for one in list(ancestry.descent(last[0]))[:-1])
    parts = ", ".join(f"{name} {count:,}" for name, count in steps.most_common())
    sentences = [f"The first survivor descends from a founder by {steps.total():,} steps: {parts}."]
    if len(set(last)) > 1:
        shared = common_ancestor(ancestry, last)
        sentences.append(
            "The last population has no common ancestor."
            if shared is None
            else "The last population's common ancestor is of generation "
            f"{ancestry.births[shared].generation:,}."
        )
    return sentences
