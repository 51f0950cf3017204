"""The reference engine: everything computed where it is needed, one thing after the other.

It shares nothing, and is the yardstick by which the other engines are tested and timed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from egan.engines.judging import JUDGED, judging_noise, judging_precision
from egan.environment import look
from egan.fitness import diversity
from egan.losses import Loss, value
from egan.variation import Brood, Evidence, Plan, Scene, make_children, settle_fitness
from populations.individual import Individual
from populations.randomness import generator as keyed
from populations.randomness import seeded


def breed(plan: Plan, parents: Sequence[tuple[int, Individual]], scene: Scene) -> list[Brood]:
    """The children of each parent, judged; see `egan.engines`."""
    broods = [_brood(plan, slot, parent, scene) for slot, parent in parents]
    children = [child for brood in broods for child in brood.children]
    found = [_judge(plan, child, scene) for child in children] if plan.samples else []
    settle_fitness(children, found, plan.gamma)
    return broods


def _brood(plan: Plan, slot: int, parent: Individual, scene: Scene) -> Brood:
    gradients = []
    for loss in plan.losses:
        beside = _look_beside(plan, scene)
        with seeded(plan.seed, scene.generation, "breeding", slot):
            gradient, buffers, fake = _gradient(plan, parent, slot, loss, scene, beside)
        gradients.append(gradient)
    children = make_children(plan, parent, slot, gradients, buffers, scene)
    return Brood(children, Evidence(fake, None) if plan.keeps == "bred" else None)


def _look_beside(plan: Plan, scene: Scene) -> dict[str, Tensor]:
    """What the discriminator makes of the real samples beside which mutations see fakes."""
    game, environment = plan.game, scene.environment
    game.discriminator.load(environment.weights, environment.buffers)
    with torch.no_grad(), seeded(plan.seed, scene.generation, "breeding real"):
        return look(game, plan.read(), scene.beside, "real")


def _gradient(
    plan: Plan,
    parent: Individual,
    slot: int,
    loss: Loss,
    scene: Scene,
    beside: dict[str, Tensor],
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """A mutation's gradient, the generator's buffers after the pass, and the fakes."""
    game = plan.game
    game.generator.load(parent.weights, parent.buffers)
    game.generator.iterate()
    game.discriminator.load(scene.environment.weights, scene.environment.buffers)
    noise = game.draw(plan.batch, keyed(plan.seed, scene.generation, "breeding noise", slot))
    fake = game.generate(noise)
    seen = beside | look(game, plan.read(), fake, "fake")
    gradient = game.generator.gradient(value(loss, seen))
    return gradient, game.generator.buffers(), fake.detach()


def _judge(plan: Plan, child: Individual, scene: Scene) -> tuple[Tensor, Tensor]:
    """Quality and diversity of a child, from the whole objective."""
    game, environment = plan.game, scene.environment
    index = 0 if plan.shared_noise else child.number
    with seeded(plan.seed, scene.generation, "judging", index), judging_precision(plan):
        game.generator.load(child.weights, child.buffers)
        game.discriminator.load(environment.weights, environment.buffers)
        with torch.no_grad():
            fake = game.generate(judging_noise(plan, scene, index)).to(child.weights.dtype)
        logits = game.logits(fake)
        child.judged_on = plan.samples
        if plan.keeps == JUDGED:
            child.evidence = Evidence(fake, None)
        quality = plan.quality(logits.detach())
        if scene.real is None:
            return quality, torch.zeros_like(quality)
        if plan.objective.whole:
            whole = plan.objective.whole(real=game.logits(scene.real), fake=logits)
            return quality, diversity(game.discriminator.gradient(whole))
        fake_gradient = game.discriminator.gradient(plan.objective.fake(logits))
    with seeded(plan.seed, scene.generation, "judging real"), judging_precision(plan):
        real_gradient = game.discriminator.gradient(plan.objective.real(game.logits(scene.real)))
    return quality, diversity(real_gradient + fake_gradient)
