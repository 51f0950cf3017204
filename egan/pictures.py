"""Pictures of samples: points over the real data, or a grid of images; and their animation."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from egan.data import Data
from egan.scores import reference
from populations.checkpoint import write_whole

POINTS = 1000
IMAGES = 64
READABLE = 32  # pixels a side
DOTS = 100  # an inch
FRAME_MS, LAST_FRAME_MS = 120, 2000


def picture(samples: Tensor, data: Data, path: Path, title: str = "") -> None:
    """Draw samples as a PNG.

    Images, (n, channels, height, width) in [-1, 1], become a grid; points become a scatter over
    real ones, in three or more dimensions along the real data's two first principal axes.
    """
    figure = _grid(samples) if len(data.shape) == 3 else _scatter(samples, data)
    if title:
        figure.suptitle(title, fontsize=10)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a figure as a PNG, `DOTS` dots an inch, whole or not at all."""
    write_whole(path, lambda part: figure.savefig(part, format="png", dpi=DOTS))
    gc.collect(1)  # figures are cycles, and hold megabytes until a full collection


def draw(sample: Callable[[int], Tensor], data: Data, path: Path, title: str) -> None:
    """Draw as many samples as a picture shows."""
    picture(sample(IMAGES if len(data.shape) == 3 else POINTS), data, path, title)


def animate(frames: Sequence[Path], path: Path) -> None:
    """Make an endless GIF of pictures; the last one stays for two seconds."""
    images = [Image.open(frame).convert("P", palette=Image.Palette.ADAPTIVE) for frame in frames]
    durations = [FRAME_MS] * (len(images) - 1) + [LAST_FRAME_MS]
    write_whole(
        path,
        lambda part: images[0].save(
            part, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0
        ),
    )


def new_figure(
    width: float = 4.8, height: float = 5.0, layout: Literal["tight"] | None = "tight"
) -> Any:
    """A figure of that size in inches, that no window shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _scatter(samples: Tensor, data: Data) -> Any:
    shown = plane(data)
    figure = new_figure()
    axes = figure.add_subplot()
    draw_real(axes, shown)
    draw_fakes(axes, shown, samples)
    explain(axes, data)
    return figure


def explain(axes: Any, data: Data) -> None:
    """Name the axes, where they are not those of the data, and what has a label."""
    if data.shape != (2,):
        line = math.prod(data.shape) == 1
        axes.set_xlabel("value" if line else "first principal axis")
        axes.set_ylabel("" if line else "second principal axis")
    axes.legend(loc="upper right", fontsize=8, markerscale=3)


def draw_real(axes: Any, shown: Plane) -> None:
    """Real points in the background, and the window around them."""
    axes.scatter(*shown.real.T, s=6, color="0.72", linewidths=0, label="real")
    axes.set_xlim(shown.window[0])
    axes.set_ylim(shown.window[1])
    axes.set_aspect("equal")


def draw_fakes(axes: Any, shown: Plane, samples: Tensor) -> None:
    """Generated points, (n, *shape)."""
    fakes = shown.project(samples)
    axes.scatter(*fakes.T, s=3, color="tab:blue", alpha=0.6, linewidths=0, label="generated")


class Plane(NamedTuple):
    """Where points of any dimension are shown.

    Attributes:
        real: real points, (n, 2).
        window: the square around them, its ends along x and y, (2, 2).
        project: maps points, (n, *shape), into the plane, (n, 2).
    """

    real: np.ndarray
    window: np.ndarray
    project: Callable[[Tensor], np.ndarray]


def plane(data: Data) -> Plane:
    """The plane in which points are shown beside real ones, the same for every run on these data.

    In three or more dimensions it is that of the real points' two first principal axes; on a line
    points are spread over the height in their order, so that their density shows.
    """
    real = reference(data, POINTS).flatten(1)
    project = _projection(real)
    shown = project(real)
    middle, reach = shown.mean(0), 1.25 * np.ptp(shown, axis=0).max() / 2
    window = np.stack([middle - reach, middle + reach], axis=1)
    return Plane(shown, window, lambda points: project(points.flatten(1)))


def _projection(real: Tensor) -> Callable[[Tensor], np.ndarray]:
    if real.shape[1] == 1:
        return lambda points: torch.cat(
            [points, torch.linspace(-1, 1, len(points))[:, None]], dim=1
        ).numpy()
    if real.shape[1] == 2:
        return lambda points: points.numpy()
    centre = real.mean(0)
    axes = _principal_axes(real - centre)
    return lambda points: ((points - centre) @ axes).numpy()


def _principal_axes(centred: Tensor) -> Tensor:
    """The first two, (dimensions, 2); only those, since all of a thousand take a second."""
    import scipy.linalg

    last = centred.shape[1] - 1
    scatter = (centred.T @ centred).numpy()
    _, axes = scipy.linalg.eigh(scatter, subset_by_index=[last - 1, last])
    return torch.from_numpy(axes[:, ::-1].copy())


def _enlarged(images: Tensor, side: int) -> Tensor:
    """Images enlarged smoothly to some pixels a side, since nobody reads raw 8x8 ones."""
    factor = side // min(images.shape[2:])
    if factor < 2:
        return images
    return interpolate(images, scale_factor=factor, mode="bicubic")


def sheet(samples: Tensor) -> np.ndarray:
    """Images, (n, channels, height, width) in [-1, 1], on one square sheet, in [0, 1].

    Returns:
        As `tiles`.
    """
    return tiles(squared(samples))


def squared(samples: Tensor) -> Tensor:
    """All images, (n, channels, height, width), in rows, (rows, columns, ...), as in a square.

    Cells that are left over are white.
    """
    columns = math.ceil(len(samples) ** 0.5)
    rows = math.ceil(len(samples) / columns)
    left = samples.new_ones(rows * columns - len(samples), *samples.shape[1:])
    return torch.cat([samples, left]).unflatten(0, (rows, columns))


def tiles(samples: Tensor, pixels: int = READABLE) -> np.ndarray:
    """Images, (rows, columns, channels, height, width) in [-1, 1], on one sheet, in [0, 1].

    Between them are white lines of one pixel.

    Args:
        samples: the images.
        pixels: a side to which smaller images are enlarged by whole factors.

    Returns:
        (height, width, channels) of three or four channels, (height, width) of others.
    """
    rows, columns = samples.shape[:2]
    large = _enlarged((samples.flatten(0, 1) + 1) / 2, pixels).clamp(0, 1)
    cells = large.permute(0, 2, 3, 1).numpy()
    height, width, channels = cells.shape[1:]
    framed = np.ones((rows, columns, height + 1, width + 1, channels), dtype=cells.dtype)
    framed[:, :, :height, :width] = cells.reshape(rows, columns, height, width, channels)
    whole = framed.transpose(0, 2, 1, 3, 4).reshape(rows * (height + 1), -1, channels)[:-1, :-1]
    return whole if channels in (3, 4) else np.asarray(whole.mean(axis=-1))


def _grid(samples: Tensor) -> Any:
    figure = new_figure()
    axes = figure.add_subplot()
    axes.imshow(sheet(samples), cmap="gray", vmin=0, vmax=1)
    axes.axis("off")
    return figure
