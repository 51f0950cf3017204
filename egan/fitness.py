"""Fitness: pure functions of logits and gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def probability(fake: Tensor) -> Tensor:
    """E sigma(s): the mean probability that fakes are taken for real.

    Wang et al. (2018), Eq. 6. Range (0, 1).
    """
    return fake.sigmoid().mean()


def logit(fake: Tensor) -> Tensor:
    """E s: the mean logit on fakes.

    Li et al. (2021, IE-GAN). Range (-inf, inf).
    """
    return fake.mean()


qualities: dict[str, Callable[[Tensor], Tensor]] = {"probability": probability, "logit": logit}


def diversity(gradient: Tensor) -> Tensor:
    """-log || grad_D L ||: how flat a child leaves the discriminator's objective.

    Wang et al. (2018), Eq. 7, over all the discriminator's parameters. Where the objective
    separates, its gradient is the sum of a real half, the same for all children, and a child's own.

    Args:
        gradient: of the whole objective, one entry a parameter of the discriminator.

    Returns:
        A scalar in (-inf, inf].
    """
    return -torch.linalg.vector_norm(gradient).log()
