"""The environment: the discriminator's weights as data, and its steps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from egan.kernels import run
from egan.losses import Loss, Objective
from egan.networks import Flat
from egan.optimizer import adam
from egan.penalties import Step
from populations.individual import Moments, finiteness

Buffers = dict[str, Tensor]
Penalties = Sequence[tuple[float, Callable[[Step], Tensor]]]


@dataclass(eq=False)
class Environment:
    """The shared discriminator.

    Attributes:
        weights: all trainable parameters, one vector.
        buffers: batch-norm statistics and spectral-norm vectors, by name.
        moments: the optimiser's memory.
        averages: of the logits, see `penalties.Step.moved`; None: no penalty has read them.
    """

    weights: Tensor
    buffers: dict[str, Tensor]
    moments: Moments
    averages: Tensor | None = None


def past(environment: Environment) -> Environment:
    """What is kept of a discriminator to judge by: weights and buffers, no memory of its steps."""
    return replace(environment, moments={}, averages=None)


@dataclass(frozen=True, eq=False)
class Rules:
    """What a discriminator step does beside its batch.

    Attributes:
        objective: what is minimised.
        penalties: pairs of weight and penalty.
        lr: learning rate of this step.
        betas: Adam's.
        clip: bound of the weights after the step; 0: none.
        accumulation: equal parts of the batch that are computed one after the other.
    """

    objective: Objective
    penalties: Penalties
    lr: float
    betas: tuple[float, float]
    clip: float = 0.0
    accumulation: int = 1


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
    _, buffers = settled(discriminator, environment.weights, environment.buffers)
    return replace(environment, buffers=buffers)


def settled(network: Flat, weights: Tensor, buffers: Buffers) -> tuple[Tensor, Buffers]:
    """A state whose spectral norms are iterated once."""
    if network.iterates:
        network.load(weights, buffers)
        network.iterate()
        buffers = network.buffers()
    return weights, buffers


def clipped(weights: Tensor, bound: float) -> Tensor:
    """Weights within [-bound, bound]; as they are where the bound is 0.

    Arjovsky et al. (2017), Algorithm 1.
    """
    return weights.clamp(-bound, bound) if bound else weights


def half(game: Any, environment: Environment, samples: Tensor, term: Loss) -> Half:
    """One half of the objective and its gradient; the environment is not changed.

    Args:
        game: its discriminator is the workplace.
        environment: as it is.
        samples: real ones or fakes, (n, *shape).
        term: the objective's half that reads their logits.
    """
    state = environment.weights, environment.buffers
    found: Half = run(game, half_kernel, (term,), (samples,), discriminator=state)
    return found


def half_kernel(game: Any, term: Loss, samples: Tensor) -> Half:
    """One half of the objective at the discriminator that is loaded."""
    value = term(game.logits(samples))
    return Half(value.detach(), game.discriminator.gradient(value), game.discriminator.buffers())


def look(game: Any, names: Collection[str], samples: Tensor | None, side: str) -> dict[str, Tensor]:
    """What the discriminator that is loaded makes of samples, where losses read it.

    Args:
        game: its discriminator is the workplace.
        names: what is read, of `losses.READABLE`.
        samples: (n, *shape); None: nothing is read of them.
        side: "fake" or "real".
    """
    found = {}
    if side in names:
        found[side] = game.logits(samples)
    if f"{side}_features" in names:
        found[f"{side}_features"] = game.features(samples)
    return found


@torch.no_grad()
def sight_kernel(game: Any, names: Sequence[str], samples: Tensor) -> dict[str, Tensor]:
    """What the discriminator that is loaded makes of real samples, by the names of what is read."""
    return look(game, names, samples, "real")


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
    halves = [each for each in (batch.real_half, batch.fake_half) if each is not None]
    penalty, averages = torch.zeros_like(environment.weights[0]), environment.averages
    if rules.penalties or len(halves) < 2:
        rest, penalty, moved = _rest(game, environment, batch, rules, halves)
        halves, averages = [*halves, rest], averages if moved is None else moved
    loss = torch.stack([each.value for each in halves]).sum()
    gradient = sum((each.gradient for each in halves[1:]), halves[0].gradient)
    weights, moments = adam(
        environment.weights, environment.moments, gradient, rules.lr, rules.betas
    )
    sound = finiteness(loss + penalty, weights, moments["mean"], moments["square"])
    row = dict(zip(ROW, torch.stack([loss, penalty, sound.to(loss.dtype)]).tolist(), strict=True))
    if not row["taken"]:
        return environment, row
    weights = clipped(weights, rules.clip)  # only now: an infinite weight would become a finite one
    return Environment(weights, halves[-1].buffers, moments, averages), row


def _rest(
    game: Any, environment: Environment, batch: Batch, rules: Rules, halves: Sequence[Half]
) -> tuple[Half, Tensor, Tensor | None]:
    """What is not known of a step yet, the mean over the parts of its batch; see `slope_kernel`."""
    # A pass moves batch-norm statistics once: those of the known halves have been moved.
    buffers = halves[-1].buffers if halves else environment.buffers
    unknown = batch.real_half is None, batch.fake_half is None
    averages = environment.averages
    averages = environment.weights.new_zeros(3) if averages is None else averages
    found = []
    for part in zip(
        *(each.chunk(rules.accumulation) for each in (batch.real, batch.fake)), strict=True
    ):
        found.append(run(
            game, slope_kernel, (rules.objective, rules.penalties, *unknown),
            (*part, averages), discriminator=(environment.weights, buffers),
        ))  # fmt: skip
        buffers = found[-1][0].buffers
    return _mean(found)


Rest = tuple[Half, Tensor, Tensor | None]


def _mean(found: Sequence[Rest]) -> Rest:
    """Of what the parts of a batch give."""
    if len(found) == 1:
        return found[0]
    halves, penalties, _ = zip(*found, strict=True)
    value, gradient, penalty = (
        torch.stack(each).mean(0)
        for each in ([one.value for one in halves], [one.gradient for one in halves], penalties)
    )
    return Half(value, gradient, halves[-1].buffers), penalty, None


def slope_kernel(
    game: Any, objective: Objective, penalties: Penalties, real_too: bool, fake_too: bool,
    real: Tensor, fake: Tensor, averages: Tensor,
) -> tuple[Half, Tensor, Tensor | None]:  # fmt: skip
    """What is not known of a step yet: those halves, their gradient with the penalties', and these.

    Third come the moving averages of the logits after the step, where a penalty reads them.

    Args:
        game: its discriminator is loaded.
        objective: what is minimised.
        penalties: pairs of weight and penalty.
        real_too: whether the objective's half on real samples is wanted.
        fake_too: whether that on fakes is.
        real: samples, (n, *shape).
        fake: samples, (m, *shape).
        averages: of the logits before this step, (3,).
    """
    network = game.discriminator
    if penalties:
        real, fake = real.clone().requires_grad_(), fake.clone().requires_grad_()
    matrices = [each for each in network.parameters if each.dim() > 1]
    step = Step(real, fake, game.logits, matrices, averages, game.conditions)
    zero = torch.zeros((), dtype=real.dtype, device=real.device)
    loss, penalty = zero, zero
    if objective.whole:
        loss = objective.whole(real=step.real_logits, fake=step.fake_logits)
    else:
        if real_too:
            loss = loss + objective.real(step.real_logits)
        if fake_too:
            loss = loss + objective.fake(step.fake_logits)
    buffers = network.buffers()  # batch-norm statistics are of samples, not of penalties' points
    for weight, each in penalties:
        penalty = penalty + weight * each(step)
    total = loss + penalty
    gradient = network.gradient(total) if total.requires_grad else torch.zeros_like(network.vector)
    moved = vars(step).get("moved")  # a cached property: there if a penalty has read it
    return Half(loss.detach(), gradient, buffers), penalty.detach(), moved
