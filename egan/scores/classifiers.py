"""Classifiers of labelled data, trained on the data themselves, by which images are judged.

The small one takes less than three minutes on two cores (of digits: seconds), `resnet9` a GPU. They
are kept in the user's cache, and judge only where they are right often enough on samples that they
have not seen.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from egan.cache import Tensors, cached
from egan.data import Table, at_once, scaled
from egan.interrupts import threads
from egan.networks.resnet import Residual
from egan.networks.views import translation
from populations.errors import UsageError
from populations.randomness import generator as keyed
from populations.randomness import seeded

LOGGER = logging.getLogger("egan")
USUALLY_WANTED = 0.95  # of held-out samples a classifier must get right
COLOUR = 3  # channels
LEAST = 30_000  # samples that are seen at least
CHUNK = 256  # samples at a time: twice as fast as by the thousand, which leave the cache


class Sight(NamedTuple):
    """What a network sees in samples.

    Attributes:
        features: (n, dimensions).
        logits: of the classes, (n, classes), where the network is a classifier.
    """

    features: Tensor
    logits: Tensor | None


class Judge(NamedTuple):
    """A trained classifier.

    Attributes:
        network: its trunk and its head, in evaluation mode, on the device where it computes.
        accuracy: on samples that it has not seen.
        digest: a text that changes when its weights do.
    """

    network: nn.Sequential
    accuracy: float
    digest: str

    def see(self, samples: Tensor) -> Sight:
        """The trunk's last maps averaged over places, or its hidden units; and logits."""
        trunk, head = self.network
        with torch.no_grad():
            maps = trunk(samples.to(self.device))
            features = maps.flatten(2).mean(2) if maps.dim() > 2 else maps
            return Sight(features.cpu(), head(maps).cpu())

    def probabilities(self, samples: Tensor) -> Tensor:
        """Of the classes, (n, classes), for samples, (n, *shape), float32."""
        with torch.no_grad():
            parts = samples.split(at_once(tuple(samples.shape[1:]), CHUNK))
            logits = torch.cat([self.network(part.to(self.device)).cpu() for part in parts])
        return logits.softmax(1)

    @property
    def device(self) -> torch.device:
        """Where it computes; samples are taken from the CPU, to which all it makes returns."""
        return next(self.network.parameters()).device


Learner = Callable[[Iterable[nn.Parameter], int], tuple[Optimizer, LRScheduler]]


class Recipe(NamedTuple):
    """How a classifier is made and trained.

    Attributes:
        make: maps a sample's shape and the number of classes to a trunk and a head.
        epochs: passes over the data, more where these are few.
        batch: samples of a step.
        learner: maps parameters and the number of steps to an optimizer and its learning rate.
        moves: whether images are moved by up to an eighth of their sides, and mirrored in colour.
        large: whether it is trained and sees on a GPU, where there is one.
        wanted: share of held-out samples it must get right, by data set.
    """

    make: Callable[[tuple[int, ...], int], nn.Sequential]
    epochs: int
    batch: int
    learner: Learner
    wanted: Mapping[str, float]
    moves: bool = False
    large: bool = False

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device("cuda" if self.large and torch.cuda.is_available() else "cpu")


def small(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Three convolutions for images, one hidden layer for anything else."""
    if len(shape) != 3:
        trunk = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 128), nn.ReLU())
        return nn.Sequential(trunk, nn.Linear(128, classes))
    halved = nn.MaxPool2d(2, ceil_mode=True)
    sides = [math.ceil(side / 4) for side in shape[1:]]
    trunk = nn.Sequential(
        *_convolution(shape[0], 16), halved, *_convolution(16, 32), halved, *_convolution(32, 64)
    )
    head = nn.Sequential(nn.Flatten(), nn.Linear(64 * math.prod(sides), classes))
    return nn.Sequential(trunk, head)


def resnet9(shape: tuple[int, ...], classes: int, width: int = 64) -> nn.Sequential:
    """ResNet-9, which Page (2018), "How to train your ResNet", trains on CIFAR-10 in a minute.

    Six convolutions and two residual blocks of two more, whose maps are summed up by their largest
    values. 6,573,130 parameters for 3x32x32 and ten classes.

    Raises:
        UsageError: the data are no images whose sides are 8 or more.
    """
    if len(shape) != 3 or min(shape[1:]) < 8:
        raise UsageError(
            f"the classifier resnet9 is of images of 8x8 or more: samples have the shape {shape}."
        )
    trunk = nn.Sequential(
        *_convolution(shape[0], width),
        *_convolution(width, 2 * width), nn.MaxPool2d(2), _residual(2 * width),
        *_convolution(2 * width, 4 * width), nn.MaxPool2d(2),
        *_convolution(4 * width, 8 * width), nn.MaxPool2d(2), _residual(8 * width),
    )  # fmt: skip
    head = nn.Sequential(
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8 * width, classes), Eighth()
    )
    return nn.Sequential(trunk, head)


class Eighth(nn.Module):
    """Logits so small that a large rate does not tear the first ones apart (Page, 2018)."""

    def forward(self, logits: Tensor) -> Tensor:
        """An eighth of each."""
        return logits / 8


def _residual(maps: int) -> nn.Module:
    return Residual(
        nn.Sequential(*_convolution(maps, maps), *_convolution(maps, maps)), nn.Identity()
    )


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


def adam(parameters: Iterable[nn.Parameter], steps: int) -> tuple[Optimizer, LRScheduler]:
    """Adam under a rate that rises to its peak and falls to nearly 0 (Smith and Topin, 2018)."""
    optimizer = torch.optim.Adam(parameters)
    return optimizer, OneCycleLR(optimizer, 4e-3, total_steps=steps)


def nesterov(parameters: Iterable[nn.Parameter], steps: int) -> tuple[Optimizer, LRScheduler]:
    """Momentum and decay of Page (2018), whose rate rises in a fifth of the steps, then falls."""
    optimizer = torch.optim.SGD(parameters, momentum=0.9, nesterov=True, weight_decay=5e-4)
    return optimizer, OneCycleLR(
        optimizer, 0.4, total_steps=steps, pct_start=0.2, anneal_strategy="linear",
        cycle_momentum=False,
    )  # fmt: skip


recipes: dict[str, Recipe] = {
    "classifier": Recipe(
        small, epochs=3, batch=64, learner=adam,
        wanted={"digits": 0.97, "mnist": 0.99, "cifar10": 0.7},
    ),
    "resnet9": Recipe(
        resnet9, epochs=24, batch=512, learner=nesterov, moves=True, large=True,
        wanted={"digits": 0.97, "mnist": 0.99, "cifar10": 0.9},
    ),
}  # fmt: skip


@functools.lru_cache(maxsize=2)
def judge_for(table: Table, kind: str = "classifier") -> Judge:
    """The classifier of a labelled table: from the cache, or trained now, by one of `recipes`.

    It learns from the table, and is tested on the table's `unseen` samples; where it has none, on a
    quarter that is held out, with the same shares of classes.

    Raises:
        UsageError: the data have no labels, or the classifier is too bad to judge.
    """
    if table.labels is None:
        raise UsageError(f"the data set {table.name} has no labels: its classes cannot be judged.")
    recipe, (seen, unseen) = recipes[kind], _parts(table)
    with seeded(0, 0, "classifier"):
        network = recipe.make(table.shape, table.count)
    name = f"{kind}-{_digest(seen, unseen)}"
    found = cached(name, functools.partial(_trained, table.name, recipe, network, seen, unseen))
    accuracy, wanted = float(found["accuracy"]), recipe.wanted.get(table.name, USUALLY_WANTED)
    if accuracy < wanted:
        raise UsageError(
            f"the {kind} of {table.name} is right in only {accuracy:.1%} of held-out samples: "
            f"it must reach {wanted:.0%} to judge."
        )
    network.load_state_dict({key: each for key, each in found.items() if key != "accuracy"})
    return Judge(network.eval().to(recipe.device), accuracy, name)


def digest_of(table: Table) -> str:
    """A text that changes when the samples do."""
    return table.digest or _digest((table.values, torch.zeros(0)))


Part = tuple[Tensor, Tensor]
"""Samples and their labels."""


def _parts(table: Table) -> tuple[Part, Part]:
    """What the classifier learns from, and what it is tested on."""
    assert table.labels is not None
    if table.unseen is not None and table.unseen.labels is not None:
        return (table.values, table.labels), (table.unseen.values, table.unseen.labels)
    from sklearn.model_selection import train_test_split

    try:
        seen, unseen = train_test_split(
            range(len(table.values)), test_size=0.25, random_state=0, stratify=table.labels.numpy()
        )
    except ValueError as error:  # a class has one sample only
        reason = str(error).split("\n")[0].rstrip(".")
        raise UsageError(f"the classes of {table.name} cannot be judged: {reason}.") from error
    return (
        (table.values[seen], table.labels[seen]),
        (table.values[unseen], table.labels[unseen]),
    )


def _digest(*parts: Part) -> str:
    """Of the data, and of this file, in which the recipe is."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for each in (each for part in parts for each in part):
        digest.update(f"{tuple(each.shape)} {each.dtype}".encode())
        digest.update(each.contiguous().numpy().data)
    return digest.hexdigest()[:32]


def _trained(
    name: str, recipe: Recipe, network: nn.Sequential, seen: Part, unseen: Part
) -> Tensors:
    """Weights, statistics and accuracy."""
    slow = recipe.large and recipe.device.type == "cpu"
    LOGGER.warning(
        f"A classifier that judges {name} is trained, once on this machine"
        f"{', which takes hours without a GPU' if slow else ''}."
    )
    network.to(recipe.device)
    with threads(torch.get_num_threads() if recipe.large else 1):  # enough for the small one
        _train(recipe, network, *seen)
        found = Judge(network.eval(), math.nan, "").probabilities(scaled(unseen[0])).argmax(1)
    accuracy = (found == unseen[1]).double().mean()
    return {**network.cpu().state_dict(), "accuracy": accuracy}


def _train(recipe: Recipe, network: nn.Module, values: Tensor, labels: Tensor) -> None:
    epochs = max(recipe.epochs, math.ceil(LEAST / len(values)))
    steps = epochs * math.ceil(len(values) / recipe.batch)
    optimizer, rate = recipe.learner(network.parameters(), steps)
    network.train()
    with seeded(0, 0, "classifier's images"):
        for chosen in _batches(len(values), epochs, recipe.batch):
            images = scaled(values[chosen].to(recipe.device))
            images = _moved(images) if recipe.moves else images
            loss = cross_entropy(network(images), labels[chosen].to(recipe.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()


def _moved(images: Tensor) -> Tensor:
    """Each image moved; half of those in colour, as digits seldom are, mirrored too."""
    if images.shape[1] == COLOUR:
        mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        images = torch.where(mirrored, images.flip(-1), images)
    return translation(images)


def _batches(count: int, epochs: int, size: int) -> Iterator[Tensor]:
    for epoch in range(epochs):
        yield from torch.randperm(count, generator=keyed(0, epoch, "classifier")).split(size)
