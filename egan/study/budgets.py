"""Budgets: what all arms of a study get the same of."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from egan.cost import generation_flops, generation_seconds
from egan.state import State
from egan.world import World
from populations.errors import UsageError
from populations.registry import unknown

Kind = Literal["generations", "generator-steps", "flops", "cpu-seconds", "seconds"]
KINDS: tuple[str, ...] = get_args(Kind)


class Budget(NamedTuple):
    """How much every arm may take.

    Attributes:
        kind: of `KINDS`.
        amount: in that unit; of `arm`, generations.
        arm: whose cost of so many generations the budget is, on each data set; empty: none.
    """

    kind: str
    amount: float
    arm: str = ""

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.kind}={f'{self.arm}:' if self.arm else ''}{self.amount:.15g}"


class Price(NamedTuple):
    """What a generation of an arm costs, by the names of `KINDS`.

    Attributes:
        generations: 1.
        generator_steps: optimiser steps of generators, all children's.
        flops: counted operations, children's judging among them; looks are not.
        cpu_seconds: of all threads, measured before the start.
        seconds: likewise.
    """

    generator_steps: float
    flops: float
    cpu_seconds: float
    seconds: float
    generations: float = 1.0

    def of(self, kind: str) -> float:
        """That of a kind."""
        found: float = getattr(self, kind.replace("-", "_"))
        return found


def parse_budget(text: str) -> Budget:
    """The budget that a text `KIND=AMOUNT` or `KIND=ARM:GENERATIONS` names.

    Raises:
        UsageError: it is no budget.
    """
    kind, _, amount = text.partition("=")
    if kind not in KINDS:
        raise UsageError(unknown("budget", kind, KINDS))
    arm, _, number = amount.rpartition(":")
    try:
        found = float(number)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise UsageError(
            f"the budget {text!r} must be {kind}=AMOUNT with a number above 0, or "
            f"{kind}=ARM:GENERATIONS for what an arm takes for so many generations."
        )
    return Budget(kind, found, arm)


def price_of(state: State, world: World) -> Price:
    """What a generation costs, from generations that are thrown away."""
    wall, cpu = generation_seconds(state, world)
    return Price(generator_steps(world), generation_flops(state, world), cpu, wall)


def generator_steps(world: World) -> float:
    """Optimiser steps of generators in a generation, the mean over choices of mutations."""
    plan, operators = world.plan, world.operators
    steps = [sum(isinstance(move, int) for move in moves) for moves in plan.moves]
    children = operators.children if operators.chooses else len(steps)
    return plan.mu * children * sum(steps) / len(steps)
