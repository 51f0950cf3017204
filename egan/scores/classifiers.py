"""Classifiers of labelled data, trained on the data themselves, by which images are judged.

They are small, take less than three minutes on two cores (of digits: seconds), are kept in the
user's cache, and judge only where they are right often enough on samples that they have not seen.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from egan.cache import Tensors, cached
from egan.data import Table, scaled
from egan.interrupts import threads
from populations.errors import UsageError
from populations.randomness import generator as keyed
from populations.randomness import seeded

LOGGER = logging.getLogger("egan")
WANTED = {"digits": 0.97, "mnist": 0.99, "cifar10": 0.7}  # of held-out samples it must get right
USUALLY_WANTED = 0.95
BATCH = 64
EPOCHS, LEAST = 3, 30_000  # passes over the data, and samples that are seen at least
PEAK_LR = 4e-3
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
        network: its trunk and its head, in evaluation mode.
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
            maps = trunk(samples)
            return Sight(maps.flatten(2).mean(2) if maps.dim() > 2 else maps, head(maps))

    def probabilities(self, samples: Tensor) -> Tensor:
        """Of the classes, (n, classes), for samples, (n, *shape), float32."""
        with torch.no_grad():
            logits = torch.cat([self.network(part) for part in samples.split(CHUNK)])
        return logits.softmax(1)


@functools.lru_cache(maxsize=2)
def judge_for(table: Table) -> Judge:
    """The classifier of a labelled table: from the cache, or trained now.

    It learns from the table, and is tested on the table's `unseen` samples; where it has none, on a
    quarter that is held out, with the same shares of classes.

    Raises:
        UsageError: the data have no labels, or the classifier is too bad to judge.
    """
    if table.labels is None:
        raise UsageError(f"the data set {table.name} has no labels: its classes cannot be judged.")
    seen, unseen = _parts(table)
    with seeded(0, 0, "classifier"):
        network = _network(table.shape, int(table.labels.max()) + 1)
    name = f"classifier-{_digest(seen, unseen)}"
    found = cached(name, functools.partial(_trained, table.name, network, seen, unseen))
    accuracy, wanted = float(found["accuracy"]), WANTED.get(table.name, USUALLY_WANTED)
    if accuracy < wanted:
        raise UsageError(
            f"the classifier of {table.name} is right in only {accuracy:.1%} of held-out samples: "
            f"it must reach {wanted:.0%} to judge."
        )
    network.load_state_dict({key: each for key, each in found.items() if key != "accuracy"})
    return Judge(network.eval(), accuracy, name)


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


def _network(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Trunk and head: three convolutions for images, one hidden layer for anything else."""
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


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


def _trained(name: str, network: nn.Sequential, seen: Part, unseen: Part) -> Tensors:
    """Weights, statistics and accuracy."""
    LOGGER.warning(f"A classifier that judges {name} is trained, once on this machine.")
    with threads(1):  # enough for such small networks, and the same on every machine
        _train(network, *seen)
        found = Judge(network.eval(), math.nan, "").probabilities(scaled(unseen[0])).argmax(1)
    accuracy = (found == unseen[1]).double().mean()
    return {**network.state_dict(), "accuracy": accuracy}


def _train(network: nn.Module, values: Tensor, labels: Tensor) -> None:
    """Adam under a rate that rises to its peak and falls to nearly 0 (Smith and Topin, 2018)."""
    epochs = max(EPOCHS, math.ceil(LEAST / len(values)))
    steps = epochs * math.ceil(len(values) / BATCH)
    optimizer = torch.optim.Adam(network.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=steps)
    network.train()
    for chosen in _batches(len(values), epochs):
        loss = cross_entropy(network(scaled(values[chosen])), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()


def _batches(count: int, epochs: int) -> Iterator[Tensor]:
    for epoch in range(epochs):
        yield from torch.randperm(count, generator=keyed(0, epoch, "classifier")).split(BATCH)
