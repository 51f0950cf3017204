"""The reference engine: everything computed where it is needed, one thing after the other.

It shares nothing, and is the yardstick by which the other engines are tested and timed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from egan.engines.judging import (
    Found,
    judging_noise,
    judging_precision,
    seen_before,
    verdict,
)
from egan.engines.unrolling import beginning, look_ahead
from egan.environment import look
from egan.losses import Loss, value
from egan.scene import JUDGED, Evidence, Member, Plan, Scene, Slopes
from egan.variation import breeding_noise
from populations.individual import Individual
from populations.randomness import seeded


def differentiate(members: Sequence[Member]) -> list[Slopes]:
    """The gradients that each member's moves need; see `egan.engines`."""
    return [_differentiate(each) for each in members]


def judge(members: Sequence[Member]) -> list[Found]:
    """Quality and diversity of each member; see `egan.engines`."""
    return [_judge(each.plan, each.individual, each.scene) for each in members]


def _differentiate(member: Member) -> Slopes:
    plan, scene = member.plan, member.scene
    gradients = []
    for place in member.losses:
        beside = {} if plan.unrolled else _look_beside(member)
        with seeded(plan.seed, scene.generation, member.role("breeding"), member.slot):
            gradient, buffers, fake = _gradient(member, plan.losses[place], beside)
        gradients.append(gradient)
    return Slopes(gradients, buffers, Evidence(fake, None) if member.wants_evidence() else None)


def _look_beside(member: Member) -> dict[str, Tensor]:
    """What the discriminator makes of the real samples beside which losses see fakes."""
    plan, scene = member.plan, member.scene
    game, environment = plan.game, scene.environment
    game.discriminator.load(environment.weights, environment.buffers)
    with torch.no_grad(), seeded(plan.seed, scene.generation, "breeding real"):
        beside = None if scene.beside is None else member.own(scene.beside)
        return look(game, member.read(), beside, "real")


def _gradient(
    member: Member, loss: Loss, beside: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """A loss's gradient, the generator's buffers after the pass, and the fakes."""
    plan, scene, game = member.plan, member.scene, member.plan.game
    game.generator.load(*member.state())
    game.discriminator.load(scene.environment.weights, scene.environment.buffers)
    fake = game.generate(breeding_noise(member))
    if plan.unrolled:
        seen = look_ahead(plan, member.read(), fake, *beginning(scene))
    else:
        seen = beside | look(game, member.read(), fake, "fake")
    total, more = value(loss, seen), game.beside(fake)
    gradient = game.generator.gradient(total if more is None else total + more)
    return gradient, game.generator.buffers(), fake.detach()


def _judge(plan: Plan, child: Individual, scene: Scene) -> Found:
    """Quality, diversity and cases of a child, from the whole objective."""
    game, environment = plan.game, scene.environment
    index = 0 if plan.shared_noise else child.number
    with seeded(plan.seed, scene.generation, "judging", index), judging_precision(plan):
        game.generator.load(child.weights, child.buffers)
        game.discriminator.load(environment.weights, environment.buffers)
        with torch.no_grad():
            fake = game.generate(judging_noise(plan, scene, index))
        logits = game.logits(fake)
        gradient = _slope(plan, scene, logits) if plan.judges_by("gradient") else None
    child.judged_on = plan.samples
    if plan.keeps == JUDGED:
        child.evidence = Evidence(fake, None)
    views = [logits.detach(), *seen_before(plan, scene, fake, child.number)]
    return verdict(plan, scene, fake, views, gradient)


def _slope(plan: Plan, scene: Scene, logits: Tensor) -> Tensor:
    """The gradient of the whole objective."""
    game, objective = plan.game, plan.objective
    if objective.whole:
        whole = objective.whole(real=game.logits(scene.real), fake=logits)
        return game.discriminator.gradient(whole)
    fake_gradient = game.discriminator.gradient(objective.fake(logits))
    with seeded(plan.seed, scene.generation, "judging real"):
        real_gradient = game.discriminator.gradient(objective.real(game.logits(scene.real)))
    return real_gradient + fake_gradient
