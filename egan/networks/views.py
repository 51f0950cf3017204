"""Views: layers that stand in front of a discriminator, and decide what it is shown.

They have no weights, and draw anew in every pass, real or fake, from the global generators (which
the engines seed).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from egan.config import Environment
from populations.errors import UsageError
from populations.registry import lookup, spell


class Pack(nn.Module):
    """Packs: m consecutive samples side by side in their first dimension, judged as one.

    Lin et al. (2018), PacGAN: samples that lack variety are told from real ones by comparing them.

    Shapes: (n, c, ...) to (n / m, m c, ...).

    Raises:
        RuntimeError: n is no multiple of m.
    """

    def __init__(self, m: int) -> None:
        super().__init__()
        self.m = m

    def forward(self, samples: Tensor) -> Tensor:
        """The packs, in the order of their samples."""
        return samples.unflatten(0, (-1, self.m)).flatten(1, 2)


class InstanceNoise(nn.Module):
    """Normally distributed noise on all that is shown, so that real and fake always overlap.

    Sonderby et al. (2017); Arjovsky and Bottou (2017). `deviation` is in the data's units.
    """

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, samples: Tensor) -> Tensor:
        """Samples of the same shape."""
        return samples + self.deviation * torch.randn_like(samples)


class Augment(nn.Module):
    """Differentiable augmentation: what is shown is changed at random, one function after another.

    Zhao et al. (2020), DiffAugment: the generator's gradient passes through the changes, so that it
    does not learn to make them.

    Args:
        names: of `augmentations`, or functions like them.
    """

    def __init__(self, names: Sequence[Any]) -> None:
        super().__init__()
        self.functions = [lookup("augmentation", name, augmentations) for name in names]

    def forward(self, images: Tensor) -> Tensor:
        """Images of the same shape."""
        for function in self.functions:
            images = function(images)
        return images


def color(images: Tensor) -> Tensor:
    """Brightness, saturation and contrast of each image, changed in this order.

    Zhao et al. (2020): U(-1/2, 1/2) is added; what parts channels from their mean is multiplied by
    U(0, 2); then what parts pixels from the image's mean by U(1/2, 3/2). Shapes: (n, c, h, w).
    """
    images = images + _uniform(images, -0.5, 0.5)
    images = _spread(images, 1, _uniform(images, 0, 2))
    return _spread(images, (1, 2, 3), _uniform(images, 0.5, 1.5))


def translation(images: Tensor) -> Tensor:
    """Each image moved by whole pixels, by up to 1/8 of either side; what comes in is 0.

    Zhao et al. (2020). Shapes: (n, c, h, w).
    """
    for dimension in (2, 3):
        most = images.shape[dimension] // 8
        images = _moved(images, _whole(images, -most, most), dimension)
    return images


def cutout(images: Tensor) -> Tensor:
    """A rectangle of 0 in each image, half as high and wide, its middle anywhere in the image.

    Zhao et al. (2020), after DeVries and Taylor (2017). Shapes: (n, c, h, w).
    """
    rows, columns = _cut(images, 2), _cut(images, 3)
    return images * ~(rows & columns)


augmentations: dict[str, Callable[[Tensor], Tensor]] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
}


def packed(shape: tuple[int, ...], m: int) -> tuple[int, ...]:
    """The shape of m samples side by side."""
    return (m * shape[0], *shape[1:])


def views_of(settings: Environment, shape: tuple[int, ...]) -> list[nn.Module]:
    """The views that the settings name, the first in front of all.

    Args:
        settings: which views.
        shape: of one sample.

    Raises:
        UsageError: an augmentation is unknown, or needs images.
    """
    views: list[nn.Module] = []
    if settings.augmentation:
        _check_images(settings.augmentation, shape)
        views.append(Augment(settings.augmentation))
    if settings.noise:
        views.append(InstanceNoise(settings.noise))
    if settings.packing > 1:
        views.append(Pack(settings.packing))
    return views


def _check_images(names: Sequence[Any], shape: tuple[int, ...]) -> None:
    for name in names:
        known = lookup("augmentation", name, augmentations) in augmentations.values()
        if known and len(shape) != 3:
            raise UsageError(
                f"the augmentation {spell(name)!r} needs images (channels, height, width), and the "
                f"data have the shape {shape}: leave environment.augmentation empty."
            )


def _uniform(images: Tensor, low: float, high: float) -> Tensor:
    """A number for each image, (n, 1, 1, 1)."""
    drawn = torch.rand(len(images), 1, 1, 1, dtype=images.dtype, device=images.device)
    return low + (high - low) * drawn


def _whole(images: Tensor, low: int, high: int) -> Tensor:
    """A whole number for each image, `low` and `high` among them, (n, 1, 1, 1)."""
    return torch.randint(low, high + 1, (len(images), 1, 1, 1), device=images.device)


def _spread(images: Tensor, dimensions: int | tuple[int, ...], factor: Tensor) -> Tensor:
    mean = images.mean(dimensions, keepdim=True)
    return mean + factor * (images - mean)


def _moved(images: Tensor, steps: Tensor, dimension: int) -> Tensor:
    side = images.shape[dimension]
    origins = _places(images, dimension) - steps
    inside = (origins >= 0) & (origins < side)
    found = images.gather(dimension, origins.clamp(0, side - 1).expand_as(images))
    return found * inside


def _cut(images: Tensor, dimension: int) -> Tensor:
    """Which places along a dimension lie in each image's rectangle."""
    side = images.shape[dimension]
    hole = side // 2
    # The middle of an even hole is an edge between pixels, and there is one more of those.
    start = _whole(images, 0, side - hole % 2) - hole // 2
    places = _places(images, dimension)
    return (places >= start) & (places < start + hole)


def _places(images: Tensor, dimension: int) -> Tensor:
    """0, 1, 2, ... along a dimension, of size 1 along the others."""
    places = torch.arange(images.shape[dimension], device=images.device)
    return places.view([-1 if each == dimension else 1 for each in range(4)])
