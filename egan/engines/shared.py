"""The shared engine: for each parent one pass of each network serves all its mutations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from egan.engines.judging import BRED, judge
from egan.environment import Buffers, Half, settled
from egan.kernels import run
from egan.losses import Loss
from egan.networks import Flat, Tape
from egan.variation import Brood, Evidence, Plan, Scene, make_children, settle_fitness
from populations.individual import Individual
from populations.randomness import generator as keyed
from populations.randomness import seeded


def breed(plan: Plan, parents: Sequence[tuple[int, Individual]], scene: Scene) -> list[Brood]:
    """The children of each parent, judged; see `egan.engines`."""
    broods = [_brood(plan, slot, parent, scene) for slot, parent in parents]
    children = [child for brood in broods for child in brood.children]
    found = judge(plan, children, scene) if plan.samples else []
    settle_fitness(children, found, plan.gamma)
    return broods


def _brood(plan: Plan, slot: int, parent: Individual, scene: Scene) -> Brood:
    game, environment = plan.game, scene.environment
    noise = game.draw(plan.batch, keyed(plan.seed, scene.generation, "breeding noise", slot))
    with seeded(plan.seed, scene.generation, "breeding", slot):
        gradients, evidence, buffers = run(
            game, breeding_kernel, (plan,), (noise,),
            settled(game.generator, parent.weights, parent.buffers),
            (environment.weights, environment.buffers),
        )  # fmt: skip
    return Brood(make_children(plan, parent, slot, gradients, buffers, scene), evidence)


def breeding_kernel(
    game: Any, plan: Plan, noise: Tensor
) -> tuple[list[Tensor], Evidence | None, Buffers]:
    """Each mutation's gradient, what breeding made, the generator's buffers afterwards."""
    gradients, evidence = (_weighted if plan.traits.own_logits else _one_by_one)(plan, noise)
    return gradients, evidence, game.generator.buffers()


def _one_by_one(plan: Plan, noise: Tensor) -> tuple[list[Tensor], Evidence | None]:
    """Each mutation's gradient where logits depend on several samples.

    By the chain rule a loss reaches the generator through its derivative by the samples alone.
    """
    game = plan.game
    fake = game.generate(noise)
    shown = fake.detach().requires_grad_()
    logits = game.logits(shown)
    slopes = [
        torch.autograd.grad(loss(logits), shown, retain_graph=True)[0] for loss in plan.losses
    ]
    gradients = [game.generator.gradient(fake, slope, keep=True) for slope in slopes]
    return gradients, Evidence(fake.detach(), None) if plan.keeps == BRED else None


def _weighted(plan: Plan, noise: Tensor) -> tuple[list[Tensor], Evidence | None]:
    """Each mutation's gradient where every sample has a logit s_i of its own.

    A loss L reaches the weights as sum_i dL/ds_i ds_i/dtheta: the slopes ds_i/dx_i are the same for
    all, and so is all that flows back through a generator whose samples are made one by one.
    """
    game, traits = plan.game, plan.traits
    fake, made = _taped(game.generator, game.generate, noise, traits.generator_tape)
    shown = fake.detach().requires_grad_()
    halves = plan.keeps == BRED and plan.halves
    logits, seen = _taped(game.discriminator, game.logits, shown, halves)
    ones = torch.ones_like(logits)
    if seen is None:
        slope = torch.autograd.grad(logits, shown, ones)[0]
    else:
        seen_back, (slope,) = seen.back(logits, ones, [shown])
    weights = [_derivative(loss, logits.detach()) for loss in plan.losses]
    if made is None:
        scaled = [each.view(-1, *[1] * (slope.dim() - 1)) * slope for each in weights]
        gradients = [game.generator.gradient(fake, each, keep=True) for each in scaled]
    else:
        back, _ = made.back(fake, slope)
        gradients = [made.gradient(back, each) for each in weights]
    if plan.keeps != BRED:
        return gradients, None
    half = None
    if seen is not None:
        value, weight = _value_and_derivative(plan.objective.fake, logits.detach())
        half = Half(value, seen.gradient(seen_back, weight), game.discriminator.buffers())
    return gradients, Evidence(fake.detach(), half)


def _taped(
    network: Flat, function: Callable[[Tensor], Tensor], inputs: Tensor, wanted: bool
) -> tuple[Tensor, Tape | None]:
    """A function's outputs, and the tape of the network where it is wanted and complete.

    It is complete in a trial; but a network may take another way through its layers this time.
    """
    if not wanted:
        return function(inputs), None
    with Tape(network) as tape:
        outputs = function(inputs)
    return outputs, tape if tape.complete() else None


def _derivative(loss: Loss, logits: Tensor) -> Tensor:
    """Of a loss by each sample's logit, (n,)."""
    return _value_and_derivative(loss, logits)[1]


def _value_and_derivative(loss: Loss, logits: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.requires_grad_()
    value = loss(logits)
    return value.detach(), torch.autograd.grad(value, logits)[0].reshape(-1)
