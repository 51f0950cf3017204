"""MNIST as colour channels: images of a thousand modes."""

from __future__ import annotations

import torch

from egan.data.images import mnist
from egan.data.sources import CHANNELS, Stacked
from populations.randomness import generator as keyed

TRIPLES = 128_000


def stacked_mnist(data_dir: str = "") -> Stacked:
    """Three MNIST digits as colour channels, 28x28 in [-1, 1], drawn anew: 1,000 modes.

    The setting of Metz et al. (2017), as Lin et al. (2018), PacGAN, repeat it: every batch is made
    of the 60,000 training images on the fly.
    """
    table = mnist(data_dir)
    return Stacked("stacked-mnist", table.values, table)


def stacked_mnist_veegan(data_dir: str = "", seed: int = 0) -> Stacked:
    """128,000 fixed triples of all 70,000 MNIST digits as colour channels: 1,000 modes.

    The setting of Srivastava et al. (2017), VEEGAN, as the released code of Lin et al. (2018),
    PacGAN, has it, but for the scale: pixels are in [0, 1] there, and in [-1, 1] here. That triples
    are fixed raises the `reverse-kl` of real samples by .0039.

    Args:
        data_dir: as of `mnist`.
        seed: of the triples.
    """
    table = mnist(data_dir)
    assert table.unseen is not None
    pool = torch.cat([table.values, table.unseen.values])
    draw = keyed(seed, 0, "triples")
    triples = torch.randint(len(pool), (TRIPLES, CHANNELS), generator=draw)
    return Stacked("stacked-mnist", pool, table, triples)
