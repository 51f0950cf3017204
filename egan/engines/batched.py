"""The batched engine: all parents, then all children, in one product a layer.

For networks that can be stacked (multilayer perceptrons). Small ones are bound by the cost of
calls, which the members of a population share here, and so may several runs that differ in their
seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from egan.engines.judging import Found, judging_noise, judging_precision, verdict
from egan.environment import Half
from egan.losses import value
from egan.networks import Flat
from egan.networks.stack import Buffers, Stack, member, stacked
from egan.scene import JUDGED, Evidence, Member, Plan, Slopes
from egan.variation import breeding_noise
from populations.randomness import seeded


def differentiate(members: Sequence[Member]) -> list[Slopes]:
    """The gradients that each member's moves need; see `egan.engines`."""
    plan = members[0].plan
    weights = torch.stack([each.individual.weights for each in members]).requires_grad_()
    buffers = stacked([each.individual.buffers for each in members])
    noise = torch.stack([breeding_noise(each) for each in members])
    fake = _computed(plan.game, plan.game.generator, weights, noise, buffers)
    shown = fake.detach().requires_grad_()
    logits = _logits(plan, members, _discriminators(members), shown)[0]
    gradients = [
        torch.autograd.grad(fake, weights, slope, retain_graph=True)[0]
        for slope in _slopes(plan, members, logits, shown)
    ]
    evidence = _evidence(plan, members, shown.detach())
    return [
        Slopes(
            [found[place] for found in gradients[: len(each.losses)]],
            member(buffers, place),
            evidence[place],
        )
        for place, each in enumerate(members)
    ]


def _slopes(plan: Plan, members: Sequence[Member], logits: Tensor, shown: Tensor) -> list[Tensor]:
    """Each mutation's derivative by the samples of all parents, (parents, n, *shape)."""
    if not plan.traits.own_logits:
        totals = _totals(plan, members, logits)
        return [torch.autograd.grad(each, shown, retain_graph=True)[0] for each in totals]
    slope = torch.autograd.grad(logits.sum(), shown)[0]
    free = logits.detach().requires_grad_()
    totals = _totals(plan, members, free)
    derivatives = [torch.autograd.grad(each, free, retain_graph=True)[0] for each in totals]
    shape = (*slope.shape[:2], *[1] * (slope.dim() - 2))
    return [each.reshape(shape) * slope for each in derivatives]


def _evidence(plan: Plan, members: Sequence[Member], fakes: Tensor) -> list[Evidence | None]:
    """Each parent's fakes, and the half of the objective on them where it is wanted."""
    if not members[0].wants_evidence():
        return [None] * len(fakes)
    halves: list[Half] | list[None] = [None] * len(fakes)
    if plan.halves:
        critics = _discriminators(members).requires_grad_()
        halves = _halves(plan, members, critics, fakes)[1]
    return [Evidence(each, half) for each, half in zip(fakes, halves, strict=True)]


def judge(members: Sequence[Member]) -> list[Found]:
    """Quality and diversity of each member; see `egan.engines`."""
    plan = members[0].plan
    weights = torch.stack([each.individual.weights for each in members])
    buffers = stacked([each.individual.buffers for each in members])
    noise = torch.stack([_judging_noise(each) for each in members])
    with judging_precision(plan):
        with torch.no_grad():
            samples = _computed(plan.game, plan.game.generator, weights, noise, buffers)
        logits, halves = _shown(plan, members, samples)
        views = [logits.detach(), *_seen_before(plan, members, samples)]
    found = []
    for place, each in enumerate(members):
        half = halves[place] if halves else None
        each.individual.judged_on = plan.samples
        if plan.keeps == JUDGED:
            kept = half if plan.halves else None
            each.individual.evidence = Evidence(samples[place].clone(), kept)
        found.append(_fitness(each, samples[place], [view[place] for view in views], half))
    return found


@torch.no_grad()
def _seen_before(plan: Plan, members: Sequence[Member], samples: Tensor) -> list[Tensor]:
    """Logits of each member's samples under each place of its hall of fame, equally full in all."""
    found = []
    for critics in zip(*(each.scene.hall for each in members), strict=True):
        weights = torch.stack([each.weights for each in critics])
        buffers = stacked([each.buffers for each in critics])
        found.append(_computed(plan.game, plan.game.discriminator, weights, samples, buffers))
    return found


def _shown(
    plan: Plan, members: Sequence[Member], samples: Tensor
) -> tuple[Tensor, list[Half] | None]:
    """The logits of what is judged, and the fake half of the objective where it is read."""
    critics = _discriminators(members)
    if plan.judges_by("gradient"):
        return _halves(plan, members, critics.requires_grad_(), samples)
    if not plan.judges_logits():
        return samples.new_zeros(samples.shape[:2]), None
    with torch.no_grad():
        return _logits(plan, members, critics, samples)[0], None


def _fitness(each: Member, samples: Tensor, views: Sequence[Tensor], half: Half | None) -> Found:
    plan, scene = each.plan, each.scene
    index = 0 if plan.shared_noise else each.individual.number
    gradient = half.gradient if half else None
    with seeded(plan.seed, scene.generation, "judging", index):
        return verdict(plan, scene, samples, views, gradient)


def _judging_noise(each: Member) -> Tensor:
    index = 0 if each.plan.shared_noise else each.individual.number
    return judging_noise(each.plan, each.scene, index)


def _computed(
    game: Any, network: Flat, weights: Tensor, inputs: Tensor, buffers: Buffers
) -> Tensor:
    """What members of a network give; see `Stack`."""
    with game.computing():
        made = Stack(network)(weights, inputs, buffers)
    return made.to(weights.dtype)


def _discriminators(members: Sequence[Member]) -> Tensor:
    """The weights of each member's discriminator, (members, parameters)."""
    return torch.stack([each.scene.environment.weights for each in members])


def _logits(
    plan: Plan, members: Sequence[Member], critics: Tensor, samples: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of each member's samples, and the discriminator's buffers after each member's pass."""
    scenes = [each.scene for each in members]
    buffers = stacked([
        scene.real_half.buffers if scene.real_half else scene.environment.buffers
        for scene in scenes
    ])  # fmt: skip
    return _computed(plan.game, plan.game.discriminator, critics, samples, buffers), buffers


def _halves(
    plan: Plan, members: Sequence[Member], critics: Tensor, samples: Tensor
) -> tuple[Tensor, list[Half]]:
    """Logits, and the fake half of the objective on each member's samples."""
    logits, buffers = _logits(plan, members, critics, samples)
    values = [plan.objective.fake(each) for each in logits]
    gradients = torch.autograd.grad(torch.stack(values).sum(), critics)[0]
    halves = [
        Half(value.detach(), gradient, member(buffers, place))
        for place, (value, gradient) in enumerate(zip(values, gradients, strict=True))
    ]
    return logits, halves


def _totals(plan: Plan, members: Sequence[Member], logits: Tensor) -> list[Tensor]:
    """The members' first losses, summed over the members, then their second ones, and so on.

    What a loss draws is keyed as ever.
    """
    values: list[list[Tensor]] = [[] for _ in range(max(len(each.losses) for each in members))]
    for each, own in zip(members, logits, strict=True):
        role = each.role("breeding")
        with seeded(each.plan.seed, each.scene.generation, role, each.slot):
            for found, place in zip(values, each.losses, strict=False):
                loss = plan.losses[place]
                found.append(value(loss, {**each.seen(), "fake": own}))
    # Each by itself: in one sum, the NaN of one loss would reach the others' gradients.
    return [torch.stack(found).sum() for found in values]
