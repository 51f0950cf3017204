"""The shared engine: for each parent one pass of each network serves all its mutations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from egan.engines.judging import Found, judge_all
from egan.engines.unrolling import beginning, look_ahead
from egan.environment import Buffers, Half, look
from egan.kernels import run
from egan.losses import Loss, read_by, reads, value
from egan.networks import Flat, Tape
from egan.scene import Evidence, Member, Plan, Slopes
from egan.variation import breeding_noise
from populations.randomness import seeded

Seen = Mapping[str, Tensor]
Made = tuple[list[Tensor], Evidence | None, Buffers]
"""Each loss's gradient, the fakes where they are kept, the generator's buffers afterwards."""


def differentiate(members: Sequence[Member]) -> list[Slopes]:
    """The gradients that each member's moves need; see `egan.engines`."""
    return [_differentiate(each) for each in members]


def judge(members: Sequence[Member]) -> list[Found]:
    """Quality and diversity of each member, all of one run; see `egan.engines`."""
    return judge_all(members[0].plan, [each.individual for each in members], members[0].scene)


def _differentiate(member: Member) -> Slopes:
    plan, scene = member.plan, member.scene
    kernel, names, values = _means(member)
    fixed = plan, member.losses, member.wants_evidence(), *names
    with seeded(plan.seed, scene.generation, member.role("breeding"), member.slot):
        gradients, evidence, buffers = run(
            plan.game, kernel, fixed, (breeding_noise(member), *values),
            member.state(),
            (scene.environment.weights, scene.environment.buffers),
        )  # fmt: skip
    return Slopes(gradients, buffers, evidence)


def _means(member: Member) -> tuple[Callable[..., Made], tuple[Any, ...], Sequence[Tensor]]:
    """The kernel that breeds, and what it is given beside noise: fixed, and as tensors."""
    if member.plan.unrolled:
        return unrolled_kernel, (), beginning(member.scene)
    seen = member.seen()
    return breeding_kernel, (tuple(seen),), tuple(seen.values())


def breeding_kernel(
    game: Any,
    plan: Plan,
    places: Sequence[int],
    keeps: bool,
    names: Sequence[str],
    noise: Tensor,
    *values: Tensor,
) -> Made:
    """What a parent's pass makes for all its mutations.

    Args:
        game: both networks are loaded.
        plan: how.
        places: of the losses in `plan.losses`.
        keeps: whether the discriminator will learn from the fakes.
        names: of what the discriminator makes of real samples.
        noise: of a step.
        values: what has these names.
    """
    make = _weighted if plan.traits.own_logits else _one_by_one
    losses = [plan.losses[place] for place in places]
    seen = dict(zip(names, values, strict=True))
    gradients, evidence = make(plan, losses, keeps, noise, seen)
    return gradients, evidence, game.generator.buffers()


def unrolled_kernel(
    game: Any,
    plan: Plan,
    places: Sequence[int],
    keeps: bool,
    noise: Tensor,
    *start: Tensor,
) -> Made:
    """What a parent's pass makes for all its mutations by the unrolled discriminator.

    Args:
        game: both networks are loaded.
        plan: how.
        places: of the losses in `plan.losses`.
        keeps: whether the discriminator will learn from the fakes.
        noise: of a step.
        start: of the discriminator's steps; see `unrolling.beginning`.
    """
    losses = [plan.losses[place] for place in places]

    def see(shown: Tensor) -> Seen:
        return look_ahead(plan, read_by(losses), shown, *start)

    gradients, evidence = _through_samples(game, losses, keeps, noise, see)
    return gradients, evidence, game.generator.buffers()


def _one_by_one(
    plan: Plan, losses: Sequence[Loss], keeps: bool, noise: Tensor, seen: Seen
) -> tuple[list[Tensor], Evidence | None]:
    """Each loss's gradient where logits depend on several samples."""

    def see(shown: Tensor) -> Seen:
        return {**seen, **look(plan.game, read_by(losses), shown, "fake")}

    return _through_samples(plan.game, losses, keeps, noise, see)


def _through_samples(
    game: Any, losses: Sequence[Loss], keeps: bool, noise: Tensor, see: Callable[[Tensor], Seen]
) -> tuple[list[Tensor], Evidence | None]:
    """Each loss's gradient, of what the discriminator makes of the samples.

    By the chain rule a loss reaches the generator through its derivative by the samples alone.
    """
    fake = game.generate(noise)
    shown = fake.detach().requires_grad_()
    seen = see(shown)
    slopes = [game.discriminator.slope(value(loss, seen), shown, keep=True) for loss in losses]
    gradients = [game.generator.gradient(fake, slope, keep=True) for slope in slopes]
    gradients = _with_more(game, gradients, fake, shown)
    return gradients, Evidence(fake.detach(), None) if keeps else None


def _weighted(
    plan: Plan, losses: Sequence[Loss], keeps: bool, noise: Tensor, seen: Seen
) -> tuple[list[Tensor], Evidence | None]:
    """Each loss's gradient where every sample has a logit s_i of its own.

    A loss L reaches the weights as sum_i dL/ds_i ds_i/dtheta: the slopes ds_i/dx_i are the same for
    all, and so is all that flows back through a generator whose samples are made one by one. A loss
    that reads more of the fakes than their logits has a slope of its own.
    """
    game, traits = plan.game, plan.traits
    fake, made = _taped(game.generator, game.generate, noise, traits.generator_tape)
    shown = fake.detach().requires_grad_()
    halves = keeps and plan.halves
    logits, tape = _taped(game.discriminator, game.logits, shown, halves)
    ones = torch.ones_like(logits)
    if tape is None:
        slope = torch.autograd.grad(logits, shown, ones)[0]
    else:
        tape_back, (slope,) = tape.back(logits, ones, [shown])
    reads_more = "fake_features" in read_by(losses) or bool(game.terms)
    spread = _spread(game.generator, fake, made, slope, reads_more)
    gradients = [
        _through_features(game, loss, fake, shown, seen)
        if "fake_features" in reads(loss)
        else spread(_value_and_derivative(loss, logits.detach(), seen)[1])
        for loss in losses
    ]
    gradients = _with_more(game, gradients, fake, shown)
    if not keeps:
        return gradients, None
    half = None
    if tape is not None:
        loss, weights = _value_and_derivative(plan.objective.fake, logits.detach(), {})
        half = Half(loss, tape.gradient(tape_back, weights), game.discriminator.buffers())
    return gradients, Evidence(fake.detach(), half)


def _with_more(game: Any, gradients: list[Tensor], fake: Tensor, shown: Tensor) -> list[Tensor]:
    """The gradients of losses that something joins, the same for all."""
    more = game.beside(shown)
    if more is None:
        return gradients
    slope = game.discriminator.slope(more, shown)
    common = game.generator.gradient(fake, slope, keep=True)
    return [each + common for each in gradients]


def _spread(
    network: Flat, fake: Tensor, made: Tape | None, slope: Tensor, keep: bool
) -> Callable[[Tensor], Tensor]:
    """How the weights of samples become the generator's gradient; `keep` the graph for others."""
    if made is not None:
        back = made.back(fake, slope, keep=keep)[0]
        return partial(made.gradient, back)
    shape = (-1, *[1] * (slope.dim() - 1))
    return lambda weights: network.gradient(fake, weights.view(shape) * slope, keep=True)


def _through_features(game: Any, loss: Loss, fake: Tensor, shown: Tensor, seen: Seen) -> Tensor:
    """The generator's gradient of a loss that reads the discriminator's features."""
    found = value(loss, {**seen, **look(game, reads(loss), shown, "fake")})
    slope = game.discriminator.slope(found, shown)
    gradient: Tensor = game.generator.gradient(fake, slope, keep=True)
    return gradient


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


def _value_and_derivative(loss: Loss, logits: Tensor, seen: Seen) -> tuple[Tensor, Tensor]:
    """Of a loss by each sample's logit, (n,)."""
    logits = logits.requires_grad_()
    found = value(loss, {**seen, "fake": logits})
    return found.detach(), torch.autograd.grad(found, logits)[0].reshape(-1)
