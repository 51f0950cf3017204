"""The batched engine: all parents, then all children, in one product a layer.

For networks that can be stacked (multilayer perceptrons). Small ones are bound by the cost of
calls, which the members of a population share here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from egan.engines.judging import BRED, JUDGED, Found, judging_noise, judging_precision
from egan.environment import Half
from egan.fitness import diversity
from egan.losses import Loss
from egan.networks.stack import Stack, member, stacked
from egan.variation import Brood, Evidence, Plan, Scene, make_children, settle_fitness
from populations.individual import Individual
from populations.randomness import generator as keyed


def breed(plan: Plan, parents: Sequence[tuple[int, Individual]], scene: Scene) -> list[Brood]:
    """The children of each parent, judged; see `egan.engines`."""
    broods = _vary(plan, parents, scene)
    children = [child for brood in broods for child in brood.children]
    found = _judge(plan, children, scene) if plan.samples else []
    settle_fitness(children, found, plan.gamma)
    return broods


def _vary(plan: Plan, parents: Sequence[tuple[int, Individual]], scene: Scene) -> list[Brood]:
    game = plan.game
    weights = torch.stack([parent.weights for _, parent in parents]).requires_grad_()
    buffers = stacked([parent.buffers for _, parent in parents])
    noise = torch.stack([
        game.draw(plan.batch, keyed(plan.seed, scene.generation, "breeding noise", slot))
        for slot, _ in parents
    ])  # fmt: skip
    fake = Stack(game.generator)(weights, noise, buffers)
    shown = fake.detach().requires_grad_()
    logits = _logits(plan, scene, _discriminators(scene, len(parents)), shown)[0]
    gradients = [
        torch.autograd.grad(fake, weights, slope, retain_graph=True)[0]
        for slope in _slopes(plan, logits, shown)
    ]
    evidence = _evidence(plan, scene, shown.detach())
    return [
        Brood(
            make_children(
                plan, parent, slot, [each[place] for each in gradients], member(buffers, place),
                scene,
            ),
            evidence[place],
        )
        for place, (slot, parent) in enumerate(parents)
    ]  # fmt: skip


def _slopes(plan: Plan, logits: Tensor, shown: Tensor) -> list[Tensor]:
    """Each mutation's derivative by the samples of all parents, (parents, n, *shape)."""
    if not plan.traits.own_logits:
        totals = [_sum(loss, logits) for loss in plan.losses]
        return [torch.autograd.grad(each, shown, retain_graph=True)[0] for each in totals]
    slope = torch.autograd.grad(logits.sum(), shown)[0]
    free = logits.detach().requires_grad_()
    derivatives = [torch.autograd.grad(_sum(loss, free), free)[0] for loss in plan.losses]
    shape = (*slope.shape[:2], *[1] * (slope.dim() - 2))
    return [each.reshape(shape) * slope for each in derivatives]


def _evidence(plan: Plan, scene: Scene, fakes: Tensor) -> list[Evidence | None]:
    """Each parent's fakes, and the half of the objective on them where it is wanted."""
    if plan.keeps != BRED:
        return [None] * len(fakes)
    halves: list[Half] | list[None] = [None] * len(fakes)
    if plan.halves:
        weights = _discriminators(scene, len(fakes)).requires_grad_()
        halves = _halves(plan, scene, weights, fakes)[1]
    return [Evidence(each, half) for each, half in zip(fakes, halves, strict=True)]


def _judge(plan: Plan, children: list[Individual], scene: Scene) -> list[Found]:
    game = plan.game
    weights = torch.stack([child.weights for child in children])
    buffers = stacked([child.buffers for child in children])
    if plan.shared_noise:
        noise = judging_noise(plan, scene, 0).expand(len(children), -1, -1)
    else:
        noise = torch.stack([judging_noise(plan, scene, child.number) for child in children])
    with judging_precision(plan):
        with torch.no_grad():
            samples = Stack(game.generator)(weights, noise, buffers).to(weights.dtype)
        critics = _discriminators(scene, len(children))
        halves: list[Half] = []
        if scene.real_half is None:
            with torch.no_grad():
                logits = _logits(plan, scene, critics, samples)[0]
        else:
            logits, halves = _halves(plan, scene, critics.requires_grad_(), samples)
    for place, child in enumerate(children):
        child.judged_on = plan.samples
        if plan.keeps == JUDGED:
            half = halves[place] if plan.halves else None
            child.evidence = Evidence(samples[place].clone(), half)
    qualities = [plan.quality(each) for each in logits.detach()]
    if scene.real_half is None:
        return [(quality, torch.zeros_like(quality)) for quality in qualities]
    real = scene.real_half.gradient
    varieties = [diversity(real, half.gradient) for half in halves]
    return list(zip(qualities, varieties, strict=True))


def _discriminators(scene: Scene, count: int) -> Tensor:
    """The discriminator's weights once a member, (count, parameters)."""
    return scene.environment.weights.expand(count, -1).contiguous()


def _logits(
    plan: Plan, scene: Scene, critics: Tensor, samples: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of each member's samples, and the discriminator's buffers after each member's pass."""
    known = scene.real_half.buffers if scene.real_half else scene.environment.buffers
    buffers = stacked([known] * len(samples))
    return Stack(plan.game.discriminator)(critics, samples, buffers), buffers


def _halves(
    plan: Plan, scene: Scene, critics: Tensor, samples: Tensor
) -> tuple[Tensor, list[Half]]:
    """Logits, and the fake half of the objective on each member's samples."""
    logits, buffers = _logits(plan, scene, critics, samples)
    values = [plan.objective.fake(each) for each in logits]
    gradients = torch.autograd.grad(torch.stack(values).sum(), critics)[0]
    halves = [
        Half(value.detach(), gradient, member(buffers, place))
        for place, (value, gradient) in enumerate(zip(values, gradients, strict=True))
    ]
    return logits, halves


def _sum(loss: Loss, logits: Tensor) -> Tensor:
    return torch.stack([loss(each) for each in logits]).sum()
