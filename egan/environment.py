"""The environment: the discriminator's weights as data, and its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from egan.losses import Loss, Objective
from egan.networks import Flat
from egan.optimizer import adam
from egan.penalties import Step
from populations.individual import Moments, finiteness


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


ROW = ("loss", "penalty", "taken")


@dataclass(frozen=True, eq=False)
class Half:
    """The real or the fake half of the objective at the environment as it is.

    Attributes:
        value: scalar.
        gradient: by all the discriminator's parameters, one vector.
        buffers: the discriminator's, after it saw the samples.
    """

    value: Tensor
    gradient: Tensor
    buffers: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Batch:
    """What a discriminator step learns from.

    Attributes:
        real: samples, (n, *shape).
        fake: samples, (m, *shape).
        real_half: of the objective on `real`, where it is known already.
        fake_half: of the objective on `fake`, where it is known already.
    """

    real: Tensor
    fake: Tensor
    real_half: Half | None = None
    fake_half: Half | None = None


def settle(discriminator: Flat, environment: Environment) -> Environment:
    """The environment with its spectral norms iterated once; they are frozen from here on."""
    if not discriminator.iterates:
        return environment
    discriminator.load(environment.weights, environment.buffers)
    discriminator.iterate()
    return Environment(environment.weights, discriminator.buffers(), environment.moments)


def half(game: Any, environment: Environment, samples: Tensor, term: Loss) -> Half:
    """One half of the objective and its gradient; the environment is not changed.

    Args:
        game: its discriminator is the workplace.
        environment: as it is.
        samples: real ones or fakes, (n, *shape).
        term: the objective's half that reads their logits.
    """
    game.discriminator.load(environment.weights, environment.buffers)
    value = term(game.logits(samples))
    return Half(value.detach(), game.discriminator.gradient(value), game.discriminator.buffers())


def learn(
    game: Any, environment: Environment, batch: Batch, rules: Rules
) -> tuple[Environment, dict[str, float]]:
    """One step of the discriminator; a step that is not finite is not taken.

    Args:
        game: its discriminator is the workplace.
        environment: as it is, settled; not changed.
        batch: samples, and what is known of them already.
        rules: objective, penalties, learning rate.

    Returns:
        The environment after the step, and the loss, the penalty (weighted) and `taken` (1 or 0).
    """
    discriminator: Flat = game.discriminator
    known = [each for each in (batch.real_half, batch.fake_half) if each is not None]
    # A pass moves batch-norm statistics once: those of the known halves have been moved.
    buffers = known[-1].buffers if known else environment.buffers
    discriminator.load(environment.weights, buffers)
    loss, penalty, gradient = _slope(game, batch, rules)
    weights, moments = adam(
        environment.weights, environment.moments, gradient, rules.lr, rules.betas
    )
    sound = finiteness(loss + penalty, weights, moments["mean"], moments["square"])
    row = dict(zip(ROW, torch.stack([loss, penalty, sound.to(loss.dtype)]).tolist(), strict=True))
    if not row["taken"]:
        return environment, row
    return Environment(weights, discriminator.buffers(), moments), row


def _slope(game: Any, batch: Batch, rules: Rules) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, penalty and gradient of a step: what is not known already is computed together."""
    real, fake = batch.real, batch.fake
    if rules.penalties:
        real, fake = real.clone().requires_grad_(), fake.detach().clone().requires_grad_()
    step = Step(real, fake, game.logits)
    zero = torch.zeros((), dtype=real.dtype, device=real.device)
    parts = [zero]
    if batch.real_half is None:
        parts.append(rules.objective.real(step.real_logits))
    if batch.fake_half is None:
        parts.append(rules.objective.fake(step.fake_logits))
    penalty = sum((weight * each(step) for weight, each in rules.penalties), zero)
    loss = torch.stack(parts).sum()
    known = [each for each in (batch.real_half, batch.fake_half) if each is not None]
    gradients = [each.gradient for each in known]
    if (loss + penalty).requires_grad:
        gradients.append(game.discriminator.gradient(loss + penalty))
    total = torch.stack([loss.detach(), *(each.value for each in known)]).sum()
    return total, penalty.detach(), sum(gradients[1:], gradients[0])
