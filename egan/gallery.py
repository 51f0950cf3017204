"""Views of a generator: samples, paths between pairs of noises, the same noises less and less wide.

A view is a function of a generator and of options, which the names of its arguments say, and a way
to draw what it returns.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from egan.data import Data, Table, scaled
from egan.games import Conditional
from egan.generator import Generator
from egan.latent import USUAL, interpolations
from egan.palette import COLOURS
from egan.pictures import (
    DOTS,
    draw_fakes,
    draw_real,
    explain,
    new_figure,
    picture,
    plane,
    save,
    squared,
    tiles,
)
from egan.scores import AUTO
from egan.scores.features import WHOLE, nearest
from populations.errors import UsageError
from populations.registry import lookup

THRESHOLDS = {
    "normal": (math.inf, 1.0, 0.8, 0.6, 0.4, 0.2),
    "uniform": (1.0, 0.8, 0.6, 0.4, 0.2),
}
"""Of a sweep, by the distribution of the noise; the first leave it as it is."""
PIXELS = 64  # a side to which small images are enlarged
ROWS = 100  # of classes, more than which no run ends with
LABEL = 8  # points of a label
LETTERS = 24  # of a class's name


class Shown(NamedTuple):
    """What a view shows.

    Attributes:
        samples: (n, *shape), or in rows, (rows, columns, *shape).
        title: what they are.
        rows: labels.
        columns: labels; none where they say nothing.
    """

    samples: Tensor
    title: str = ""
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()


class View(NamedTuple):
    """A view.

    Attributes:
        make: maps a generator, `number`, `seed` and further options to what is shown.
        draw: writes it as a PNG.
        images: options of images, unless others are told.
        points: likewise of points.
        suits: whether a run's generator, of these data, is shown so at its end.
    """

    make: Callable[..., Shown]
    draw: Callable[[Shown, Data, Path], None]
    images: Mapping[str, int]
    points: Mapping[str, int]
    suits: Callable[[Generator, Data], bool] = lambda generator, data: True

    @property
    def reads_data(self) -> bool:
        """Whether its options are the data and their feature network too."""
        return "data" in _takes(self)


def view_of(name: str, options: Collection[str]) -> View:
    """The view of that name, which must take these options.

    Raises:
        UsageError: there is no such view, or it has no such option.
    """
    view: View = lookup("view", name, views)
    for option in options:
        if option not in _takes(view):
            takers = " and ".join(each for each, other in views.items() if option in _takes(other))
            raise UsageError(f"the view {name} has no {option}: it is an option of {takers}.")
    return view


def _takes(view: View) -> Collection[str]:
    return inspect.signature(view.make).parameters


def show(
    view: View, generator: Generator, shape: tuple[int, ...], seed: int, options: Mapping[str, Any]
) -> Shown:
    """What is seen of a generator of samples of a shape.

    Raises:
        UsageError: an option has no such value, or the view needs other data.
    """
    usual = view.images if len(shape) == 3 else view.points
    return view.make(generator, seed=seed, **{**usual, **options})


def grid(
    generator: Generator,
    number: int,
    seed: int = 0,
    truncation: float | None = None,
    label: int | None = None,
) -> Shown:
    """Samples, (number, *shape): images in a square, points over real ones."""
    return Shown(generator.sample(number, seed, truncation, label))


def interpolation(
    generator: Generator,
    number: int,
    seed: int = 0,
    truncation: float | None = None,
    label: int | None = None,
    interpolation: str | None = None,
    steps: int = 9,
) -> Shown:
    """Paths between pairs of noises, (number, steps, *shape): a row each.

    Of a mixture a path is one member's, whichever the seed draws; in a conditional game it keeps
    the class that it begins with.

    Args:
        generator: makes the samples.
        number: of pairs, >= 1.
        seed: of the noise.
        truncation: of the noises at the ends.
        label: the class of all, of a conditional game.
        interpolation: "linear" or "spherical"; unless told, linear between uniform noises and
            spherical between normal ones (see `egan.latent`).
        steps: on a path, its ends among them, >= 2.

    Raises:
        UsageError: an option has no such value.
    """
    if steps < 2:
        raise UsageError(f"steps is {steps}: it must be at least 2.")
    name = interpolation or USUAL[generator.game.noise]
    shares = torch.linspace(0, 1, steps)
    path = lookup("interpolation", name, interpolations)
    noise = generator.noise(2 * number, seed, truncation, label)
    own, classes = noise.tensor_split([generator.game.noise_dimension], dim=1)
    made = [
        generator.generate(torch.cat([each, classes[:number]], dim=1), seed)
        for each in path(*own.chunk(2), shares)
    ]
    return Shown(
        torch.stack(made, dim=1),
        f"{name} interpolation between pairs of noises",
        [f"pair {place + 1}" for place in range(number)],
        [f"{share:.3g}" for share in shares.tolist()],
    )


def truncation(generator: Generator, number: int, seed: int = 0) -> Shown:
    """The same noises at falling truncation, (thresholds, number, *shape): a row each.

    Normal noise as it is, and then at 1, 0.8, 0.6, 0.4, 0.2; of uniform noise the first is missing,
    as it has nothing beyond 1.
    """
    noise, thresholds = generator.noise(number, seed), THRESHOLDS[generator.game.noise]
    made = [generator.generate(generator.truncate(noise, each), seed) for each in thresholds]
    labels = [f"|zᵢ| ≤ {each:g}" if math.isfinite(each) else "all zᵢ" for each in thresholds]
    return Shown(torch.stack(made), "the same noises z at falling truncation", labels)


def classes(
    generator: Generator, number: int, seed: int = 0, truncation: float | None = None
) -> Shown:
    """The same noises in every class of a conditional game, (classes, number, *shape): a row each.

    Raises:
        UsageError: the game is another.
    """
    if not isinstance(generator.game, Conditional):
        raise UsageError("the view classes needs a generator of a conditional game.")
    noise, labels = generator.noise(number, seed, truncation), range(generator.game.classes)
    made = [generator.generate(generator.of_class(noise, each), seed) for each in labels]
    return Shown(
        torch.stack(made), "the same noises in every class", [f"class {each}" for each in labels]
    )


def neighbours(
    generator: Generator,
    data: Data,
    number: int,
    seed: int = 0,
    truncation: float | None = None,
    label: int | None = None,
    steps: int = 7,
    features: str = AUTO,
) -> Shown:
    """Samples and the training images nearest to each, (number, 1 + steps, *shape): a row each.

    Nearest by the Euclidean distance of features: a generator that has learned images by heart
    shows them again.

    Args:
        generator: makes the samples.
        data: images.
        number: of samples, >= 1.
        seed: of the noise.
        truncation: of the noises.
        label: the class of all, of a conditional game.
        steps: nearest images of each, >= 1.
        features: the feature network; see `scores.features`.

    Raises:
        UsageError: the data are no finite set of images, or have fewer.
    """
    if not isinstance(data, Table) or len(data.shape) != 3:
        raise UsageError(f"the view neighbours needs images, and {data.name} are none.")
    if not 1 <= steps <= len(data.values):
        raise UsageError(f"steps is {steps}: it must be from 1 to {len(data.values)}, all images.")
    samples = generator.sample(number, seed, truncation, label)
    places, distances = nearest(samples, data, steps, features)
    found = scaled(data.values[places])
    return Shown(
        torch.cat([samples[:, None], found], dim=1),
        "samples, and the training images nearest to them",
        [f"nearest at {float(each):.2g}" for each in distances[:, 0]],
        ["sample", *(f"{place + 1}." for place in range(steps))],
    )


def _draw_grid(shown: Shown, data: Data, path: Path) -> None:
    """All images in a square; of points, a scatter."""
    if len(data.shape) == 3:
        _draw_rows(shown._replace(samples=squared(shown.samples)), path)
    else:
        picture(shown.samples, data, path)


def _draw_paths(shown: Shown, data: Data, path: Path) -> None:
    """Rows of images; of points, lines from a disc to a square."""
    if len(data.shape) == 3:
        _draw_rows(shown, path)
        return
    shape, figure = plane(data), new_figure()
    axes = figure.add_subplot()
    draw_real(axes, shape)
    for place, each in enumerate(shown.samples):
        ways, colour = shape.project(each), COLOURS[place % len(COLOURS)]
        axes.plot(*ways.T, color=colour, linewidth=1, marker=".", markersize=3)
        axes.plot(*ways[0], color=colour, marker="o", markersize=7, markeredgecolor="white")
        axes.plot(*ways[-1], color=colour, marker="s", markersize=7, markeredgecolor="white")
    axes.set_title(f"{shown.title},\nfrom discs to squares", fontsize=10)
    explain(axes, data)
    save(figure, path)


def _draw_sweep(shown: Shown, data: Data, path: Path) -> None:
    """Rows of images; of points, a panel for each."""
    if len(data.shape) == 3:
        _draw_rows(shown, path)
        return
    shape, columns = plane(data), 3
    lines = math.ceil(len(shown.rows) / columns)
    figure = new_figure(2.6 * columns, 2.7 * lines + 0.4)
    for place, (label, samples) in enumerate(zip(shown.rows, shown.samples, strict=True)):
        axes = figure.add_subplot(lines, columns, place + 1)
        draw_real(axes, shape)
        draw_fakes(axes, shape, samples)
        axes.set_title(label, fontsize=9)
        axes.tick_params(labelsize=7)
    figure.suptitle(shown.title, fontsize=10)
    save(figure, path)


def _draw_classes(shown: Shown, data: Data, path: Path) -> None:
    """A sweep whose rows have the names of the classes, where the data know these."""
    names = [
        name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
        for name in getattr(data, "classes", ())[: len(shown.rows)]
    ]
    _draw_sweep(shown._replace(rows=names or shown.rows), data, path)


def _draw_rows(shown: Shown, path: Path) -> None:
    """Rows of images, one dot of the PNG for each of their pixels."""
    pixels = tiles(shown.samples, PIXELS)
    left, right, bottom = 12 + max(map(_breadth, shown.rows), default=0), 8, 8
    top = 40 if shown.columns else 26 if shown.title else 8
    height, width = pixels.shape[0] + top + bottom, pixels.shape[1] + left + right
    figure = new_figure(width / DOTS, height / DOTS, layout=None)
    place = left / width, bottom / height, pixels.shape[1] / width, pixels.shape[0] / height
    axes = figure.add_axes(place)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.set_yticks(_middles(pixels.shape[0], len(shown.rows)), shown.rows)
    axes.set_xticks(_middles(pixels.shape[1], len(shown.columns)), shown.columns)
    axes.tick_params(length=0, labelsize=LABEL, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    figure.text(0.5, 1 - 5 / height, shown.title, ha="center", va="top", fontsize=10)
    save(figure, path)


def _breadth(label: str) -> int:
    """Of a label, in dots; hinting makes letters up to a tenth broader than their outlines."""
    from matplotlib.textpath import TextPath

    if not label.strip():  # no outlines at all
        return 0
    return math.ceil(1.1 * TextPath((0, 0), label, size=LABEL).get_extents().width * DOTS / 72)


def _middles(length: int, count: int) -> list[float]:
    """Of equal cells with lines of one pixel between them."""
    pitch = (length + 1) / max(count, 1)
    return [pitch * (place + 0.5) - 1 for place in range(count)]


def _are_images(generator: Generator, data: Data) -> bool:
    return len(data.shape) == 3  # panels of points take a second


def _has_classes(generator: Generator, data: Data) -> bool:
    return isinstance(generator.game, Conditional) and generator.game.classes <= ROWS


def _has_neighbours(generator: Generator, data: Data) -> bool:
    """Whether there are images enough, and features of all of them are kept."""
    if not isinstance(data, Table) or len(data.shape) != 3:
        return False
    return views["neighbours"].images["steps"] <= len(data.values) <= WHOLE


views: dict[str, View] = {
    "grid": View(grid, _draw_grid, {"number": 64}, {"number": 64}),
    "interpolation": View(
        interpolation, _draw_paths, {"number": 8, "steps": 9}, {"number": 6, "steps": 65}
    ),
    "truncation": View(truncation, _draw_sweep, {"number": 10}, {"number": 500}, _are_images),
    "classes": View(classes, _draw_classes, {"number": 10}, {"number": 500}, _has_classes),
    "neighbours": View(
        neighbours, _draw_paths, {"number": 8, "steps": 7}, {"number": 8}, _has_neighbours
    ),
}
