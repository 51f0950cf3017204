"""Judges for labelled images: a classifier that scikit-learn trains on the data themselves."""

from __future__ import annotations

import functools
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from egan.data import Table
from populations.errors import UsageError

WANTED_ACCURACY = 0.95  # on held-out data; a worse classifier judges nothing


class Judge(NamedTuple):
    """A trained classifier and its accuracy on the quarter of the data it has not seen."""

    classifier: Any
    accuracy: float


@functools.lru_cache(maxsize=2)
def judge_for(data: Table) -> Judge:
    """Train the classifier of a labelled table (seconds; kept while the process lives).

    Raises:
        UsageError: the data have no labels, or the classifier is too bad to judge.
    """
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    if data.labels is None:
        raise UsageError(f"the data set {data.name} has no labels: its classes cannot be judged.")
    pixels, labels = data.values.flatten(1).numpy(), data.labels.numpy()
    seen, unseen, seen_labels, unseen_labels = train_test_split(
        pixels, labels, test_size=0.25, random_state=0, stratify=labels
    )
    classifier = MLPClassifier((128,), alpha=1e-2, max_iter=60, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it stops early on purpose
        classifier.fit(seen, seen_labels)
    accuracy = float(classifier.score(unseen, unseen_labels))
    if accuracy < WANTED_ACCURACY:
        raise UsageError(
            f"the classifier of {data.name} is right in only {accuracy:.1%} of held-out samples: "
            f"it must reach {WANTED_ACCURACY:.0%} to judge."
        )
    return Judge(classifier, accuracy)


def _probabilities(samples: Tensor, data: Table) -> np.ndarray:
    found: np.ndarray = judge_for(data).classifier.predict_proba(samples.flatten(1).numpy())
    return found


def confidence(samples: Tensor, data: Table) -> float:
    """Mean probability that the classifier gives its own verdict, in [1 / classes, 1]."""
    return float(_probabilities(samples, data).max(axis=1).mean())


def class_entropy(samples: Tensor, data: Table) -> float:
    """Entropy of the histogram of verdicts, in nats: log(classes) when all are equally frequent."""
    verdicts = torch.as_tensor(_probabilities(samples, data)).argmax(1)
    share = torch.bincount(verdicts) / len(samples)
    return float(torch.special.entr(share).sum())


def classes_covered(samples: Tensor, data: Table) -> float:
    """Classes that at least 1 % of the samples are taken for."""
    verdicts = torch.as_tensor(_probabilities(samples, data)).argmax(1)
    return float((torch.bincount(verdicts) >= 0.01 * len(samples)).sum())
