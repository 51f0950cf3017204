"""The state of a run, and what happened in one of its generations."""

from __future__ import annotations

from dataclasses import dataclass, field

from egan.environment import Environment
from populations.choice import History
from populations.individual import Individual

PARENT = "parent"
"""Where a survivor comes from that was not born in this generation."""


@dataclass(frozen=True, eq=False)
class State:
    """Everything that changes: what a checkpoint holds.

    Attributes:
        generation: how many are done.
        population: the parents, the fittest first where they were judged.
        environment: the discriminator.
        barren: generations in a row that left no finite child.
        history: what mutations gained lately, where their choice reads it.
        archive: the fittest of earlier generations, for a mixture of generators.
        hall: discriminators that earlier generations met, which judge too; without moments.
    """

    generation: int
    population: list[Individual]
    environment: Environment
    barren: int = 0
    history: History = field(default_factory=list)
    archive: list[Individual] = field(default_factory=list)
    hall: list[Environment] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Generation:
    """What happened in one generation.

    Attributes:
        offspring: all children.
        survivors: children, and parents where these compete; empty where nobody is finite.
        learning: means of what the discriminator's steps report.
    """

    offspring: list[Individual]
    survivors: list[Individual]
    learning: dict[str, float]

    def origin(self, survivor: Individual) -> str:
        """The mutation that made a survivor in this generation, or that it is a parent still."""
        born = any(one.number == survivor.number for one in self.offspring)
        return survivor.mutation if born else PARENT
