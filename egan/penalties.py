"""Penalties that are added to the discriminator's objective, each multiplied by its weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Step(NamedTuple):
    """What a penalty may read of a discriminator step.

    `real` and `fake` are the samples shown, (n, ...), and require gradients; the logits were
    computed from them with a graph.
    """

    real: Tensor
    fake: Tensor
    real_logits: Tensor
    fake_logits: Tensor


def r1(step: Step) -> Tensor:
    """1/2 E ||grad_x D(x)||^2 on real samples.

    Mescheder et al. (2018), Eq. 9. Range [0, inf).
    """
    return _squared_slope(step.real_logits, step.real)


def r2(step: Step) -> Tensor:
    """1/2 E ||grad_x D(x)||^2 on fakes.

    Mescheder et al. (2018), Eq. 10. Range [0, inf).
    """
    return _squared_slope(step.fake_logits, step.fake)


def _squared_slope(logits: Tensor, samples: Tensor) -> Tensor:
    (slope,) = torch.autograd.grad(logits.sum(), samples, create_graph=True)
    return 0.5 * slope.square().flatten(1).sum(1).mean()


penalties: dict[str, Callable[[Step], Tensor]] = {"r1": r1, "r2": r2}
