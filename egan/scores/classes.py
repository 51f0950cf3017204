"""Judges that see images through a classifier trained on the data (`scores.classifiers`).

They take samples, (n, *shape), and a labelled `Table`, or `Stacked` images, of which each is three
images to the classifier.
"""

from __future__ import annotations

import torch
from torch import Tensor

from egan.data import Stacked, Table
from egan.scores.classifiers import Judge, judge_for
from egan.scores.features import Memo, look, network_of

ENOUGH = 0.01  # share of all samples that makes a class count


def judge_of(data: Table | Stacked) -> Judge:
    """The classifier that sees the data's images."""
    return judge_for(data.table if isinstance(data, Stacked) else data)


def probabilities(samples: Tensor, data: Table | Stacked) -> Tensor:
    """Of the classes, (images, classes); of stacked samples each channel is an image, in order."""
    if isinstance(data, Table):
        logits = look(samples, network_of(data, "classifier")).logits
        assert logits is not None
        return logits.softmax(1)
    found: Tensor = _memo(
        samples, data, lambda: judge_of(data).probabilities(samples.flatten(0, 1)[:, None])
    )
    return found


_memo = Memo()


def modes_of(samples: Tensor, data: Stacked) -> Tensor:
    """The mode of each sample, (n,): the classes of its channels as the digits of a number."""
    found = probabilities(samples, data)
    channels, classes = samples.shape[1], found.shape[1]
    places = classes ** torch.arange(channels - 1, -1, -1)
    return found.argmax(1).view(-1, channels) @ places


def confidence(samples: Tensor, data: Table | Stacked) -> float:
    """Mean probability that the classifier gives its own verdict, in [1 / classes, 1]."""
    return float(probabilities(samples, data).amax(1).double().mean())


def class_entropy(samples: Tensor, data: Table | Stacked) -> float:
    """Entropy of the histogram of verdicts, in nats: log(classes) when all are equally frequent."""
    verdicts = probabilities(samples, data).argmax(1)
    return float(torch.special.entr(torch.bincount(verdicts) / len(verdicts)).sum())


def classes_covered(samples: Tensor, data: Table | Stacked) -> float:
    """Classes that at least 1 % of the images are taken for."""
    verdicts = probabilities(samples, data).argmax(1)
    return float((torch.bincount(verdicts) >= ENOUGH * len(verdicts)).sum())
