"""Behaviours: near which landmarks of the data a generator's samples lie.

Richardson and Weiss (2018) compare samples with data by the shares of both in the cells of k-means.
Here the shares tell generators apart, for novelty search (Lehman and Stanley, 2011) and for
MAP-Elites (Mouret and Clune, 2015; with cells around centroids, Vassiliades et al., 2018). Logits
have no part in them: they mean the same in every generation.
"""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import one_hot

from egan.data import Data
from egan.fitness import zero
from populations.errors import UsageError
from populations.randomness import generator as keyed
from populations.randomness import seeded

READ = 2_000  # real samples among which landmarks are found


def find_landmarks(data: Data, count: int, seed: int) -> Tensor:
    """The real samples that are nearest to the centres of their k-means cells, (count, *shape).

    Args:
        data: from which samples are drawn.
        count: of landmarks.
        seed: of the run, on which they are keyed.

    Raises:
        UsageError: there are fewer different samples than landmarks.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import pairwise_distances_argmin

    with seeded(seed, 0, "landmarks"):  # data of one's own may draw as they like
        real = data.draw(max(READ, count), keyed(seed, 0, "landmarks")).cpu()
    different = real.flatten(1).unique(dim=0)
    if len(different) < count:
        raise UsageError(
            f"fitness.landmarks is {count}, and only {len(different)} of {len(real)} samples of "
            f"{data.name} are different: it must not be above that."
        )
    state = int(torch.randint(2**31, (), generator=keyed(seed, 0, "landmark centres")))
    rows = different.double().numpy()
    with threadpool_limits(1):  # sums in another order would move the centres
        cells = KMeans(count, n_init=1, random_state=state).fit(rows)
        nearest = pairwise_distances_argmin(cells.cluster_centers_, rows)
    return different[nearest].reshape(count, *real.shape[1:])


def behaviour(samples: Tensor, landmarks: Tensor) -> Tensor:
    """The share of samples to which each landmark is the nearest.

    Args:
        samples: (n, *shape).
        landmarks: (k, *shape).

    Returns:
        (k,), which sum to 1; NaN where a sample is not finite.
    """
    nearest = torch.cdist(samples.flatten(1), landmarks.flatten(1)).argmin(dim=1)
    shares = one_hot(nearest, len(landmarks)).to(samples.dtype).mean(dim=0)
    return shares + zero(samples)
