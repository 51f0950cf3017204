"""The environment: the discriminator's weights as data, and its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from egan.losses import Objective
from egan.networks import Flat
from egan.optimizer import adam
from egan.penalties import Step
from populations.individual import Moments, all_finite, finite_moments


@dataclass(eq=False)
class Environment:
    """The shared discriminator.

    Attributes:
        weights: all trainable parameters, one vector.
        buffers: batch-norm statistics and spectral-norm vectors, by name.
        moments: the optimiser's memory.
    """

    weights: Tensor
    buffers: dict[str, Tensor]
    moments: Moments


@dataclass(frozen=True, eq=False)
class Rules:
    """What a discriminator step does beside its batch.

    Attributes:
        objective: what is minimised.
        penalties: pairs of weight and penalty.
        lr: learning rate of this step.
        betas: Adam's.
    """

    objective: Objective
    penalties: Sequence[tuple[float, Callable[[Step], Tensor]]]
    lr: float
    betas: tuple[float, float]


def settle(discriminator: Flat, environment: Environment) -> Environment:
    """The environment with its spectral norms iterated once; they are frozen from here on."""
    if not discriminator.iterates:
        return environment
    discriminator.load(environment.weights, environment.buffers)
    discriminator.iterate()
    return Environment(environment.weights, discriminator.buffers(), environment.moments)


def learn(
    game: Any, environment: Environment, real: Tensor, fake: Tensor, rules: Rules
) -> tuple[Environment, dict[str, float]]:
    """One step of the discriminator; a step that is not finite is not taken.

    Args:
        game: its discriminator is the workplace.
        environment: as it is; not changed.
        real: samples, (n, *shape).
        fake: samples, (n, *shape).
        rules: objective, penalties, learning rate.

    Returns:
        The environment after the step, and the loss, the penalty (weighted) and `taken` (1 or 0).
    """
    discriminator: Flat = game.discriminator
    environment = settle(discriminator, environment)
    discriminator.load(environment.weights, environment.buffers)
    if rules.penalties:
        real, fake = real.clone().requires_grad_(), fake.detach().clone().requires_grad_()
    step = Step(real, fake, game.logits(real), game.logits(fake))
    loss = rules.objective.real(step.real_logits) + rules.objective.fake(step.fake_logits)
    penalty = sum((weight * each(step) for weight, each in rules.penalties), torch.zeros(()))
    weights, moments = adam(
        environment.weights,
        environment.moments,
        discriminator.gradient(loss + penalty),
        rules.lr,
        rules.betas,
    )
    row = {"loss": loss.item(), "penalty": penalty.item(), "taken": 1.0}
    known = all_finite(loss + penalty) and all_finite(weights) and finite_moments(moments)
    if not known:
        return environment, {**row, "taken": 0.0}
    return Environment(weights, discriminator.buffers(), moments), row


def real_gradient(
    game: Any, environment: Environment, real: Tensor, objective: Objective
) -> Tensor:
    """The real half of the objective's gradient, which all children of a generation share."""
    game.discriminator.load(environment.weights, environment.buffers)
    return game.discriminator.gradient(objective.real(game.logits(real)))
