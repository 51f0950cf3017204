"""Perceptual distances of pairs of images, and the diversity of samples that they tell."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from egan.scores.distributions import pairs
from populations.errors import UsageError
from populations.randomness import seeded
from populations.registry import call, lookup, spell

Between = Callable[[Tensor, Tensor], Tensor]
"""The distances of pairs, (n,), of the images of two batches, (n, channels, height, width) each."""
ALEXNET = "alexnet-owt-7be5be79.pth"  # weights of ImageNet, as torchvision names their file
SOURCE = "https://download.pytorch.org/models/"
LEAST = 64  # pixels a side to which smaller images are enlarged: of 30 AlexNet leaves nothing
CHUNK = 64  # pairs at a time, to bound memory


def lpips() -> Between:
    """LPIPS: differences between AlexNet's maps, weighted as people tell images apart.

    Zhang et al. (2018), Eq. 1, from torchmetrics, which has the weights of the differences. Those
    of AlexNet must lie where torchvision looks for them; nothing is downloaded. Images of less than
    64 pixels a side are enlarged to them.

    Raises:
        UsageError: torchvision is missing, or AlexNet's weights are.
    """
    if not find_spec("torchvision"):
        raise UsageError("the distance lpips needs torchvision: pip install 'egan[inception]'.")
    weights = Path(torch.hub.get_dir(), "checkpoints", ALEXNET)
    if not weights.is_file():
        raise UsageError(
            f"the distance lpips needs AlexNet's weights as {weights}: put {SOURCE}{ALEXNET} "
            "there, or let the variable TORCH_HOME name the folder that has them in "
            "hub/checkpoints."
        )
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    with seeded(0, 0, "lpips"):  # weights are drawn before they are read
        network = call("distance", "lpips", LearnedPerceptualImagePatchSimilarity, "alex").net

    def between(left: Tensor, right: Tensor) -> Tensor:
        distances: Tensor = network(_enlarged(left), _enlarged(right))
        return distances.flatten()

    return between


def _enlarged(samples: Tensor) -> Tensor:
    colours = samples.expand(-1, 3, -1, -1) if samples.shape[1] == 1 else samples
    height, width = samples.shape[2:]
    scale = LEAST / min(LEAST, height, width)
    sides = (round(height * scale), round(width * scale))
    return interpolate(colours.clamp(-1, 1), sides, mode="bilinear", align_corners=False)


distances: dict[str, Callable[[], Between]] = {"lpips": lpips}


@functools.lru_cache(maxsize=2)
def distance_of(name: Any) -> Between:
    """The distance of that name.

    Args:
        name: of `distances`, or a function like `Between`, or a class of such objects.

    Raises:
        UsageError: the name is unknown, or the distance is not to be had.
    """
    found = lookup("distance", name, distances)
    if isinstance(found, type) or any(found is each for each in distances.values()):
        found = call("distance", name, found)
    if not callable(found):
        raise UsageError(
            f"the distance {spell(name)!r} is {found!r}: it must be a function of two batches of "
            "images."
        )
    return functools.partial(_checked, spell(name), found)


def _checked(name: str, between: Between, left: Tensor, right: Tensor) -> Tensor:
    found = call("distance", name, between, left, right)
    if not isinstance(found, Tensor) or found.shape != left.shape[:1]:
        raise UsageError(
            f"the distance {name!r} must map two batches of images to their distances, (n,)."
        )
    return found


@torch.no_grad()
def perceptual_diversity(samples: Tensor, between: Between) -> float:
    """Mean perceptual distance of pairs of samples.

    A measure of diversity after Huang et al. (2018, MUNIT), section 5.2, there of translations of
    one image: here of up to 1,000 pairs of neighbours in the order drawn, whatever their classes.
    """
    found = [
        between(left, right).double()
        for left, right in zip(*(each.split(CHUNK) for each in pairs(samples)), strict=True)
    ]
    return float(torch.cat(found).mean()) if found else float("nan")
