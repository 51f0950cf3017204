"""Adam on one vector, as a function: nothing is written in place, so no two steps share memory."""

from __future__ import annotations

import torch
from torch import Tensor

from populations.individual import Moments

EPSILON = 1e-8


def fresh_moments(weights: Tensor) -> Moments:
    """The moments before the first step."""
    return {"step": 0, "mean": torch.zeros_like(weights), "square": torch.zeros_like(weights)}


def adam(
    weights: Tensor,
    moments: Moments,
    gradient: Tensor,
    lr: float | Tensor,
    betas: tuple[float, float],
) -> tuple[Tensor, Moments]:
    """One step of Adam (Kingma and Ba, 2015, Algorithm 1), differentiable by all that has a graph.

    Args:
        weights: vector of parameters; not changed.
        moments: as `fresh_moments` or an earlier step made them; not changed.
        gradient: vector like the weights.
        lr: learning rate of this step; a scalar tensor, like `step` in the moments, where a number
            would not do because the step is traced.
        betas: decays of the gradient's mean and square.

    Returns:
        New weights and new moments in memory of their own.
    """
    beta1, beta2 = betas
    step = moments["step"] + 1
    mean = moments["mean"].lerp(gradient, 1 - beta1)
    square = (moments["square"] * beta2).addcmul_(gradient, gradient, value=1 - beta2)
    # New memory for the results alone: on large vectors allocating costs more than computing.
    moved = _root(square).div_((1 - beta2**step) ** 0.5).add_(EPSILON)
    moved = torch.div(mean, moved, out=None if moved.requires_grad else moved)
    moved = moved.mul_(-lr / (1 - beta1**step)).add_(weights)
    return moved, {"step": step, "mean": mean, "square": square}


def _root(square: Tensor) -> Tensor:
    """The square root, with 0 as its derivative at 0, where a dead unit's weights would get NaN."""
    if not square.requires_grad:
        return square.sqrt()
    zero = square == 0
    return square.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)


def scheduled(lr: float, generation: int, horizon: int, final: float) -> float:
    """A learning rate that falls linearly from `lr` to `final * lr` at the horizon, then stays."""
    return lr * (1 - (1 - final) * min(1.0, generation / horizon))
