"""Penalties that are added to the discriminator's objective, each multiplied by its weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(eq=False)
class Step:
    """What a penalty may read of a discriminator step.

    `real` and `fake` are the samples shown, (n, ...), and require gradients; their logits are
    computed with a graph when they are first read.
    """

    real: Tensor
    fake: Tensor
    logits: Callable[[Tensor], Tensor]

    @cached_property
    def real_logits(self) -> Tensor:
        """The discriminator's logits on the real samples."""
        return self.logits(self.real)

    @cached_property
    def fake_logits(self) -> Tensor:
        """The discriminator's logits on the fakes."""
        return self.logits(self.fake)


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
