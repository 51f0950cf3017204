"""Quality and diversity told apart, by neighbourhoods of features.

Real and generated samples each span a manifold, the union of balls that reach to every sample's
fifth nearest other one. They take what a feature network made of samples (`features.Sight`), and of
as many real ones (`features.Reference`), at most 10,000; `authenticity` looks at all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from egan.scores.classifiers import Sight
from egan.scores.features import Reference, closest

NEAREST = 5  # of Naeem et al. (2020), section 5
COPIES = 2000  # samples that are looked up among all real ones
CHUNK = 1024  # rows of a matrix of distances at a time, to bound memory


def precision(seen: Sight, real: Reference) -> float:
    """Share of samples that lie on the real manifold: quality.

    Kynkäänniemi et al. (2019), Eq. 2.
    """
    return float((_reached(*_pair(seen, real)) > 0).double().mean())


def recall(seen: Sight, real: Reference) -> float:
    """Share of real samples that lie on the generated manifold: diversity.

    Kynkäänniemi et al. (2019), Eq. 2.
    """
    fake, known = _pair(seen, real)
    return float((_reached(known, fake) > 0).double().mean())


def density(seen: Sight, real: Reference) -> float:
    """Real balls that a sample lies in, over the five expected: quality.

    Naeem et al. (2020), Eq. 3. An outlier's ball counts for less than in `precision`.
    """
    return float(_reached(*_pair(seen, real)).double().mean()) / NEAREST


def coverage(seen: Sight, real: Reference) -> float:
    """Share of real samples with a generated one in their ball: diversity.

    Naeem et al. (2020), Eq. 4.
    """
    fake, known = _pair(seen, real)
    radii = _radii(known)
    near = [part.amin(1) for part in _distances(known, fake)]
    return float((torch.cat(near) < radii).double().mean())


def authenticity(seen: Sight, known: Tensor) -> float:
    """Share of samples farther from the nearest real one than that is from its own nearest.

    Alaa et al. (2022), section 3.3, in the space of features: a copy of the data is nearer. Unseen
    real samples have about one half; far less tells of memorised data. Of up to 2,000 samples.

    Args:
        seen: in samples.
        known: the features of the data, (images, dimensions).
    """
    distances, places = closest(seen.features[:COPIES], known, 1)
    nearest, back = places[:, 0].unique(return_inverse=True)
    own = closest(known[nearest], known, 2)[0][:, -1]  # the nearest of all is the image itself
    return float((distances[:, 0] > own[back]).double().mean())


def _pair(seen: Sight, real: Reference) -> tuple[Tensor, Tensor]:
    """As many generated as real features."""
    count = min(len(seen.features), len(real.features))
    return seen.features[:count].double(), real.features[:count].double()


def _reached(points: Tensor, centres: Tensor) -> Tensor:
    """Balls around centres in which each point lies, (points,)."""
    radii = _radii(centres)
    return torch.cat([(part < radii).sum(1) for part in _distances(points, centres)])


def _radii(points: Tensor, nearest: int = NEAREST) -> Tensor:
    """Distances to each point's nearest other ones, the last of so many; 0 of too few."""
    count = min(nearest, len(points) - 1) + 1  # the nearest of all is the point itself
    parts = [
        part.topk(count, 1, largest=False).values[:, -1] for part in _distances(points, points)
    ]
    return torch.cat(parts)


def _distances(left: Tensor, right: Tensor) -> Iterator[Tensor]:
    """Rows of the matrix of Euclidean distances, in parts."""
    for part in left.split(CHUNK):
        yield torch.cdist(part, right, compute_mode="use_mm_for_euclid_dist")
