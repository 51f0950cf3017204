"""Engines: how one generation's children are computed. All compute the same, at different cost.

`breed(plan, parents, scene)` gives the brood of every parent in `parents`, pairs of its place in
the population and itself; neither parents nor scene are changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from egan.engines import batched, reference, shared
from egan.kernels import refusal
from egan.variation import Brood, Plan, Scene
from populations.individual import Individual

Breed = Callable[[Plan, Sequence[tuple[int, Individual]], Scene], list[Brood]]


class Engine(NamedTuple):
    """A way to breed.

    Attributes:
        breed: the function.
        shares: whether it shares what several steps have in common.
        compiles: whether its kernels and the discriminator's are compiled.
        refuses: why it cannot compute a plan; an empty text where it can.
        text: one line on it.
    """

    breed: Breed
    shares: bool
    compiles: bool
    refuses: Callable[[Plan], str]
    text: str


def _never(plan: Plan) -> str:
    return ""


def _compiled(plan: Plan) -> str:
    return refusal(plan.game)


def _reference(plan: Plan) -> str:
    return "it judges all children in full, without a race" if plan.race else ""


def _batched(plan: Plan) -> str:
    if not plan.traits.stackable:
        return (
            "it computes stacks of multilayer perceptrons (Linear, Maxout, BatchNorm1d and "
            "elementwise layers in a Sequential), and these networks are others"
        )
    return _reference(plan)


engines: dict[str, Engine] = {
    "reference": Engine(
        reference.breed,
        False,
        False,
        _reference,
        "Every step computed on its own: the yardstick, slow.",
    ),
    "shared": Engine(
        shared.breed,
        True,
        False,
        _never,
        "One pass of each network serves all mutations of a parent.",
    ),
    "batched": Engine(
        batched.breed, True, False, _batched, "All children at once, in one product a layer (MLPs)."
    ),
    "compiled": Engine(
        shared.breed,
        True,
        True,
        _compiled,
        "The shared engine and the discriminator's steps, compiled (on a GPU: CUDA graphs).",
    ),
}

__all__ = ["Engine", "engines"]
