"""Unrolling: what losses see of the discriminator some steps of its own ahead.

Metz et al. (2017), sections 2.2 to 2.4: a generator descends the loss that it will have once the
discriminator has answered, and its gradient flows through the answer (both of their terms, the
second one through derivatives of second order). The discriminator that has answered is thrown away:
judging and the discriminator's own steps meet the one that there was.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from egan.environment import clipped, look
from egan.losses import Objective
from egan.optimizer import adam
from egan.scene import Plan, Scene


def beginning(scene: Scene) -> tuple[Tensor, ...]:
    """Where the discriminator's steps begin, as `look_ahead` reads it.

    Real samples, Adam's mean and square, and its number of steps and the learning rate, (2,).
    """
    moments = scene.environment.moments
    assert scene.beside is not None
    clock = [float(moments["step"]), scene.environment_lr]
    return (
        scene.beside, moments["mean"], moments["square"],
        torch.tensor(clock, dtype=torch.float64, device=moments["mean"].device),
    )  # fmt: skip


def look_ahead(
    plan: Plan,
    names: Collection[str],
    fake: Tensor,
    real: Tensor,
    mean: Tensor,
    square: Tensor,
    clock: Tensor,
) -> dict[str, Tensor]:
    """What the discriminator makes of fakes and real samples after `plan.unrolled` steps.

    Metz et al. (2017), Eqs. 6 to 9, with Adam. Each step minimises the objective alone, without
    penalties, on the same samples, as in the authors' code; weights are clipped as after any step.

    Args:
        plan: its game's discriminator is loaded, as it is before the steps.
        names: what losses read, of `losses.READABLE`.
        fake: samples, (n, *shape); gradients flow to them, also through the steps.
        real: samples, (n, *shape).
        mean: of the discriminator's gradient, Adam's, like its weights.
        square: of the same, likewise.
        clock: Adam's steps so far, and the learning rate, (2,).
    """
    game, network = plan.game, plan.game.discriminator
    step, lr = clock.unbind()
    weights = network.vector.detach().requires_grad_()
    moments = {"step": step, "mean": mean, "square": square}
    for _ in range(plan.unrolled):
        with network.at(weights):
            loss = _value(plan.objective, game.logits(real), game.logits(fake))
            gradient = network.gradient(loss, again=True)
        weights, moments = adam(weights, moments, gradient, lr, plan.environment_betas)
        weights = clipped(weights, plan.clip)
    with network.at(weights):
        return look(game, names, real, "real") | look(game, names, fake, "fake")


def _value(objective: Objective, real: Tensor, fake: Tensor) -> Tensor:
    if objective.whole:
        return objective.whole(real=real, fake=fake)
    return objective.real(real) + objective.fake(fake)
