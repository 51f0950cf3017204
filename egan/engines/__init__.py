"""Engines: how one generation's children are computed. All compute the same, at different cost.

`differentiate(members)` gives the gradients that every member's next moves need; `judge(members)`
the quality and diversity of every member, all of them when nothing is to be judged against
another. Neither changes the members' weights or scenes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from egan.engines import batched, reference, shared
from egan.engines.judging import Found
from egan.scene import Member, Plan, Slopes


def _never(plan: Plan) -> str:
    return ""


class Engine(NamedTuple):
    """A way to breed.

    Attributes:
        differentiate: gives gradients.
        judge: gives fitness.
        text: one line on it.
        refuses: why it cannot compute a plan; an empty text where it can.
        shares: whether it shares what several steps have in common.
        compiles: whether its kernels and the discriminator's are compiled.
    """

    differentiate: Callable[[Sequence[Member]], list[Slopes]]
    judge: Callable[[Sequence[Member]], list[Found]]
    text: str
    refuses: Callable[[Plan], str] = _never
    shares: bool = True
    compiles: bool = False


def _reference(plan: Plan) -> str:
    return "it judges all children in full, without a race" if plan.race else ""


def _batched(plan: Plan) -> str:
    refused = {
        "it computes objectives that are a sum of a real and a fake half": plan.objective.whole,
        "it computes mutations that see the discriminator as it is, not unrolled": plan.unrolled,
        "it computes games without classes": plan.game.conditions,
        "it computes mutations that read logits, not features": "fake_features" in plan.read(),
        "it computes in float32 or bfloat16, since it does not scale what flows back":
            torch.float16 in (plan.precision, plan.game.precision),
        "it computes stacks of multilayer perceptrons (Linear, Maxout, BatchNorm1d and "
        "elementwise layers in a Sequential), and these networks are others":
            not plan.traits.stackable,
    }  # fmt: skip
    return next((reason for reason, holds in refused.items() if holds), _reference(plan))


engines: dict[str, Engine] = {
    "reference": Engine(
        reference.differentiate,
        reference.judge,
        shares=False,
        refuses=_reference,
        text="Every step computed on its own: the yardstick, slow.",
    ),
    "shared": Engine(
        shared.differentiate,
        shared.judge,
        text="One pass of each network serves all mutations of a parent.",
    ),
    "batched": Engine(
        batched.differentiate,
        batched.judge,
        refuses=_batched,
        text="All children at once, in one product a layer (MLPs).",
    ),
    "compiled": Engine(
        shared.differentiate,
        shared.judge,
        compiles=True,
        text="The shared engine and the discriminator's steps, compiled by PyTorch's Inductor.",
    ),
}

__all__ = ["Engine", "engines"]
