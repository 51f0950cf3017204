"""Variation: one parent, all its mutations, one shared forward; and the judging of the children.

`breed` is the task that executors run: its arguments and results are plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from egan.environment import Environment
from egan.fitness import diversity
from egan.losses import Loss
from egan.optimizer import adam, fresh_moments
from populations.individual import Individual, finite_moments
from populations.lineage import child_number
from populations.randomness import generator as keyed
from populations.randomness import seeded

INHERITED = "inherited"


@dataclass(frozen=True, eq=False)
class Plan:
    """How children are made and judged; the same in every generation.

    Attributes:
        game: networks and noise.
        seed: the run's.
        mu: parents.
        names: of the mutations, in order.
        losses: the mutations.
        batch: noise samples of a step.
        betas: Adam's.
        moments: "inherited" or "mutation".
        quality: of logits.
        fake_term: the objective's half that reads fakes.
        gamma: weight of diversity.
        samples: judged of each child; 0: nobody is judged.
        shared_noise: whether all children are judged on the same noise.
        keep_samples: whether children keep what they made when judged.
    """

    game: Any
    seed: int
    mu: int
    names: Sequence[str]
    losses: Sequence[Loss]
    batch: int
    betas: tuple[float, float]
    moments: str
    quality: Callable[[Tensor], Tensor]
    fake_term: Loss
    gamma: float
    samples: int
    shared_noise: bool
    keep_samples: bool


def breed(
    plan: Plan,
    parent: Individual,
    slot: int,
    environment: Environment,
    real_gradient: Tensor | None,
    generation: int,
    lr: float,
) -> list[Individual]:
    """One child per mutation, judged.

    Args:
        plan: how; its game is the workplace.
        parent: not changed.
        slot: the parent's place in the population.
        environment: the discriminator; not changed.
        real_gradient: the real half of the objective's gradient; None without diversity.
        generation: the current one.
        lr: learning rate of this generation.
    """
    game = plan.game
    game.discriminator.load(environment.weights, environment.buffers)
    with seeded(plan.seed, generation, "breeding", slot):
        gradients, buffers = _gradients(plan, parent, slot, generation)
    children = [
        _step(plan, parent, gradient, buffers, index, lr, child_number(
            generation, slot, index, plan.mu, len(plan.names)
        ))
        for index, gradient in enumerate(gradients)
    ]  # fmt: skip
    if plan.moments != INHERITED:
        _pool_moments(parent, children)
    if plan.samples:
        for child in children:
            _judge(plan, child, environment, real_gradient, generation)
    return children


def _gradients(
    plan: Plan, parent: Individual, slot: int, generation: int
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Each mutation's gradient at the parent, from one forward of each network."""
    game = plan.game
    game.generator.load(parent.weights, parent.buffers)
    game.generator.iterate()
    noise = game.draw(plan.batch, keyed(plan.seed, generation, "breeding noise", slot))
    fake = game.generate(noise)
    buffers = game.generator.buffers()
    shown = fake.detach().requires_grad_()
    logits = game.logits(shown)
    # By the chain rule a loss reaches the generator through its derivative by the samples alone.
    slopes = [
        torch.autograd.grad(loss(logits), shown, retain_graph=True)[0] for loss in plan.losses
    ]
    return [game.generator.gradient(fake, slope, keep=True) for slope in slopes], buffers


def _step(
    plan: Plan,
    parent: Individual,
    gradient: Tensor,
    buffers: dict[str, Tensor],
    index: int,
    lr: float,
    number: int,
) -> Individual:
    """The child that one optimiser step makes; all its memory is its own."""
    name = plan.names[index]
    key = INHERITED if plan.moments == INHERITED else name
    moments = parent.moments.get(key) or fresh_moments(parent.weights)
    weights, moments = adam(parent.weights, moments, gradient, lr, plan.betas)
    return Individual(
        weights=weights,
        buffers={name: each.clone() for name, each in buffers.items()},
        moments={key: moments},
        number=number,
        parent=parent.number,
        mutation=name,
    )


def _pool_moments(parent: Individual, children: list[Individual]) -> None:
    """Give every child the moments of all mutations, each as its own child advanced it.

    Moments that are not finite die with the child that made them.
    """
    made = {name: moments for child in children for name, moments in child.moments.items()}
    pool = {
        **parent.moments,
        **{name: moments for name, moments in made.items() if finite_moments(moments)},
    }
    for child in children:
        child.moments = {
            name: {
                part: value.clone() if isinstance(value, Tensor) else value
                for part, value in moments.items()
            }
            for name, moments in pool.items()
        }


def _judge(
    plan: Plan,
    child: Individual,
    environment: Environment,
    real_gradient: Tensor | None,
    generation: int,
) -> None:
    """Give a child its fitness; the environment is only read, through copies of its buffers."""
    game = plan.game
    index = 0 if plan.shared_noise else child.number
    with seeded(plan.seed, generation, "judging", index):
        game.generator.load(child.weights, child.buffers)
        game.discriminator.load(environment.weights, environment.buffers)
        noise = game.draw(plan.samples, keyed(plan.seed, generation, "judging noise", index))
        with torch.no_grad():
            fake = game.generate(noise)
        logits = game.logits(fake)
        quality = plan.quality(logits.detach()).item()
        variety = 0.0
        if real_gradient is not None:
            fake_gradient = game.discriminator.gradient(plan.fake_term(logits))
            variety = diversity(real_gradient, fake_gradient).item()
    child.judged(quality, variety, plan.gamma)
    if plan.keep_samples:
        child.samples = fake
