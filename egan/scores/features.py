"""Feature networks: what images are before distributions of them are compared.

The classifier of the data themselves where they have labels that it learns well enough, a network
of random weights otherwise: neither needs a download. Inception is there for who has its weights.
Scores by different networks are not comparable, so a score's name ends in that of its network.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import os
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from egan.cache import cached, mapped
from egan.data import Table, at_once, scaled
from egan.scores.classifiers import CHUNK, Judge, Sight, digest_of, judge_for
from populations.errors import UsageError
from populations.randomness import generator as keyed
from populations.randomness import seeded
from populations.registry import call, lookup, spell

LOGGER = logging.getLogger("egan")
AUTO = "auto"
WEIGHTS = "EGAN_INCEPTION"  # the variable that names the file of Inception's weights
WIDTHS = (32, 64, 128)  # maps of the random network
STATISTICS = 50_000  # images of the data whose mean and covariance stand for all, as published
WHOLE = 100_000  # images of the data up to which the features of all are kept
PROBES = 8  # images of noise by which a network is told from others
KEPT = 10_000  # of them whose features are kept with these


class FeatureNetwork(NamedTuple):
    """What makes features of images.

    Attributes:
        name: what its scores are called by.
        see: features and, of classifiers, logits of samples, (n, channels, height, width), in
            [-1, 1].
        digest: a text that changes when what it sees does.
        classifies: whether there are logits.
    """

    name: str
    see: Callable[[Tensor], Sight]
    digest: str
    classifies: bool


class Reference(NamedTuple):
    """What a feature network makes of the data themselves.

    Attributes:
        size: how many images, at most 50,000.
        mean: of their features, (dimensions,), float64.
        covariance: of their features, (dimensions, dimensions), float64.
        features: of up to 10,000 of them in an order drawn once, (k, dimensions).
    """

    size: int
    mean: Tensor
    covariance: Tensor
    features: Tensor


def classifier(table: Table) -> FeatureNetwork:
    """The classifier that is trained on the data: the last maps, averaged over places."""
    judge = judge_for(table)
    return _network(table, "classifier", judge.see, True)


def resnet9(table: Table) -> FeatureNetwork:
    """A ResNet-9 that is trained on the data, for which it wants a GPU: its last maps, averaged."""
    judge = judge_for(table, "resnet9")
    return _network(table, "resnet9", judge.see, True)


def random(table: Table) -> FeatureNetwork:
    """Three convolutions of random weights, the same for all images of as many channels.

    Naeem et al. (2020) find random features as telling as trained ones where data are unlike those
    of the training. Means and deviations of the last maps over places: 256 features.
    """
    widths = [table.shape[0], *WIDTHS]
    with seeded(0, 0, "random features"):
        convolutions = [nn.Conv2d(*pair, 3, padding=1) for pair in itertools.pairwise(widths)]
        for each in convolutions:
            nn.init.kaiming_normal_(each.weight, nonlinearity="relu")
            nn.init.zeros_(each.bias)  # type: ignore[arg-type]
    blocks = [layer for each in convolutions for layer in (each, nn.ReLU(), _halved())]
    network = nn.Sequential(*blocks[:-1])

    def see(samples: Tensor) -> Sight:
        maps = network(samples).flatten(2)
        return Sight(torch.cat([maps.mean(2), maps.std(2, correction=0)], 1), None)

    return _network(table, "random", see, False)


def inception(table: Table) -> FeatureNetwork:
    """Inception-v3 with the weights of the published scores, from the file EGAN_INCEPTION names.

    Without such a file torch-fidelity downloads them. 2,048 features, and the logits of 1,008
    classes (Heusel et al., 2017; Salimans et al., 2016). Images are resized as it does.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise UsageError(
            "the feature network inception needs torch-fidelity: pip install 'egan[inception]'."
        ) from error
    path = os.environ.get(WEIGHTS)
    found = call(
        "feature network", "inception", FeatureExtractorInceptionV3,
        "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=path,
    )  # fmt: skip

    def see(samples: Tensor) -> Sight:
        colours = samples.expand(-1, 3, -1, -1) if samples.shape[1] == 1 else samples
        pixels = ((colours.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return Sight(*found(pixels))

    return _network(table, "inception", see, True)


feature_networks: dict[str, Callable[[Table], FeatureNetwork]] = {
    "classifier": classifier,
    "resnet9": resnet9,
    "random": random,
    "inception": inception,
}


def network_of(table: Table, name: Any = AUTO) -> FeatureNetwork:
    """The feature network of that name for these images.

    Args:
        table: images.
        name: of `feature_networks`, or a module that maps images, (n, channels, height, width) in
            [-1, 1], to features, (n, dimensions), or a function of no arguments that makes one;
            `auto`: the classifier where the data have labels that it learns, else random weights.

    Raises:
        UsageError: the name is unknown, or the network is not to be had.
    """
    return _network_of(table, _usual(table) if name == AUTO else name)


@functools.lru_cache(maxsize=4)
def _network_of(table: Table, name: Any) -> FeatureNetwork:
    found = lookup("feature network", name, feature_networks)
    if found in feature_networks.values():
        network: FeatureNetwork = found(table)
        return network
    module = found if isinstance(found, nn.Module) else call("feature network", name, found)
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"the feature network {spell(name)!r} makes {type(module).__name__}: it must be a "
            "torch.nn.Module."
        )
    module.eval()
    see = functools.partial(_seen_by, spell(name), module)
    return _network(table, spell(name), see, False)


def _seen_by(name: str, module: nn.Module, samples: Tensor) -> Sight:
    features = module(samples)
    if not isinstance(features, Tensor) or features.shape[:-1] != (len(samples),):
        raise UsageError(
            f"the feature network {name!r} must map images to features, (n, dimensions)."
        )
    return Sight(features, None)


@functools.lru_cache(maxsize=4)
def _usual(table: Table) -> str:
    if table.labels is None:
        return "random"
    try:
        judge_for(table)
    except UsageError as error:
        LOGGER.warning(f"Classes are not judged: {error}")
        return "random"
    return "classifier"


def learned_by(table: Table, name: Any = AUTO) -> Judge | None:
    """The classifier of the data, where it is asked for and learns them well enough to judge."""
    if name not in (AUTO, "classifier"):
        return None
    return judge_for(table) if _usual(table) == "classifier" else None


class Memo:
    """What was made of some samples last: several scores read the same ones in a row."""

    def __init__(self) -> None:
        self._last: tuple[weakref.ref[Tensor], int, Any, Any] | None = None

    def __call__(self, samples: Tensor, by: Any, make: Callable[[], Any]) -> Any:
        """What `make` makes of samples, unless it is known of these, unchanged, by the same."""
        if samples.is_inference():  # those have no version, which would tell of changes
            return make()
        if self._last:
            known, version, maker, made = self._last
            if known() is samples and (version, maker) == (samples._version, by):
                return made
        made = make()
        self._last = weakref.ref(samples), samples._version, by, made
        return made


_memo = Memo()


def look(samples: Tensor, network: FeatureNetwork) -> Sight:
    """What a network sees in samples, in parts."""
    found: Sight = _memo(samples, network.digest, functools.partial(_looked, samples, network))
    return found


@torch.no_grad()
def _looked(samples: Tensor, network: FeatureNetwork) -> Sight:
    size = at_once(tuple(samples.shape[1:]), CHUNK)
    parts = [network.see(scaled(part)) for part in samples.split(size)]
    known = [each.logits for each in parts if each.logits is not None]
    features = torch.cat([each.features for each in parts])
    return Sight(features, torch.cat(known) if known else None)


@functools.lru_cache(maxsize=2)
def reference_of(table: Table, network: FeatureNetwork) -> Reference:
    """What a network makes of the data, from the cache, where it is tied to both."""
    name = f"reference-{_tied(table, network)}"
    found = cached(name, functools.partial(_made, table, network))
    return Reference(int(found["size"]), found["mean"], found["covariance"], found["features"])


@functools.lru_cache(maxsize=2)
def features_of(table: Table, network: FeatureNetwork) -> Tensor:
    """The features of all images of the data, (images, dimensions), from the cache likewise.

    They lie on the disk, from which they are read when used.
    """
    dimensions = look(table.values[:1], network).features.shape[1]
    size = torch.float32.itemsize * dimensions

    def fill(rows: np.ndarray) -> None:
        _announce(len(rows), table, network)
        for first in range(0, len(rows), KEPT):
            found = look(table.values[first : first + KEPT], network).features.float()
            rows[first : first + KEPT] = found.contiguous().numpy().view(np.uint8)

    found = mapped(f"features-{_tied(table, network)}", (len(table.values), size), fill)
    return found.view(torch.float32)


def _tied(table: Table, network: FeatureNetwork) -> str:
    return hashlib.sha256(f"{digest_of(table)} {network.digest}".encode()).hexdigest()[:32]


def nearest(samples: Tensor, table: Table, count: int, name: Any = AUTO) -> tuple[Tensor, Tensor]:
    """The images of the data that are nearest to samples, by Euclidean distance of features.

    Args:
        samples: (n, *shape).
        table: images, all of which are looked at.
        count: of the nearest, at most as many as there are images.
        name: of the feature network.

    Returns:
        Their indices and distances, (n, count), the nearest first.
    """
    network = network_of(table, name)
    distances, places = closest(look(samples, network).features, features_of(table, network), count)
    return places, distances


def closest(points: Tensor, known: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The known points that are nearest to each, in parts that bound memory.

    Returns:
        Their Euclidean distances, float64, and their places, (points, count), the nearest first; of
        fewer known points all.
    """
    found = [_closest(part.double(), known, count) for part in points.split(CHUNK)]
    return torch.cat([each[0] for each in found]), torch.cat([each[1] for each in found])


def _closest(points: Tensor, known: Tensor, count: int) -> tuple[Tensor, Tensor]:
    best = points.new_zeros((len(points), 0)), torch.zeros(len(points), 0, dtype=torch.long)
    for number, part in enumerate(known.split(KEPT)):
        places = torch.arange(number * KEPT, number * KEPT + len(part)).expand(len(points), -1)
        distances = torch.cat([best[0], torch.cdist(points, part.double())], dim=1)
        kept = distances.topk(min(count, distances.shape[1]), largest=False)
        best = kept.values, torch.cat([best[1], places], dim=1).gather(1, kept.indices)
    return best


def memory_of(table: Table, network: FeatureNetwork) -> Tensor:
    """The features of all images of the data, or of 10,000 where they are more than 100,000."""
    if len(table.values) <= WHOLE:
        return features_of(table, network)
    return reference_of(table, network).features


def _made(table: Table, network: FeatureNetwork) -> dict[str, Tensor]:
    order = torch.randperm(len(table.values), generator=keyed(0, 0, "features"))[:STATISTICS]
    if len(table.values) <= WHOLE:  # whoever looks for neighbours reads them all
        features = features_of(table, network)[order]
    else:
        _announce(len(order), table, network)
        parts = [look(table.values[part], network).features for part in order.split(KEPT)]
        features = torch.cat(parts)
    exact = features.double()
    return {
        "size": torch.tensor(len(order)),
        "mean": exact.mean(0),
        "covariance": exact.T.cov() if len(order) > 1 else exact.new_zeros((exact.shape[1],) * 2),
        "features": features[:KEPT].clone(),
    }


def _announce(count: int, table: Table, network: FeatureNetwork) -> None:
    if count > KEPT:
        LOGGER.warning(
            f"What the {network.name} features of {table.name} are is computed, once on this "
            "machine."
        )


def _halved() -> nn.Module:
    return nn.AvgPool2d(2, ceil_mode=True)


def _network(
    table: Table, name: str, see: Callable[[Tensor], Sight], classifies: bool
) -> FeatureNetwork:
    """A network whose digest is of what it makes of fixed noise, and of this file's recipes.

    What it makes tells its weights, and all else that it computes with.
    """
    noise = torch.rand(PROBES, *table.shape, generator=keyed(0, 0, "probe"))
    with torch.no_grad():
        made = see(2 * noise - 1).features.double()
    digits = [f"{each:.4g}" for each in made.flatten().tolist()]  # rounding differs by machine
    recipe = Path(__file__).read_bytes()
    digest = hashlib.sha256(recipe + f"{name} {digits}".encode()).hexdigest()
    return FeatureNetwork(name, see, digest[:32], classifies)


def names_of(bases: Sequence[str], network: FeatureNetwork) -> list[str]:
    """The names of scores by a network."""
    return [f"{base}/{network.name}" for base in bases]
