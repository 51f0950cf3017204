"""The state of a run, and what happened in one of its generations."""

from __future__ import annotations

from dataclasses import dataclass, field

from egan.environment import Environment
from egan.neighbourhoods import Estimate
from populations.choice import History
from populations.individual import Individual

PARENT = "parent"
"""Where a survivor comes from that was not born in this generation."""


@dataclass(frozen=True, eq=False)
class Refuge:
    """What a run may go back to: a generator is lost again without the discriminator it met.

    Attributes:
        generation: how many were done.
        coverage: of real samples by the fittest, in [0, 1]; who covers as much takes its place.
        population: as it was.
        environment: as it was, with its moments.
    """

    generation: int
    coverage: float
    population: list[Individual]
    environment: Environment


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
        behaviours: of the fittest of earlier generations, where novelty is read.
        refuge: the best by coverage, where the run may go back to when the population collapses.
        peaks: the highest coverage and diversity so far.
        collapsed: whether an alarm stands, since they have not come back.
        alarms: after which generations a collapse was seen, and from which the refuge then was.
    """

    generation: int
    population: list[Individual]
    environment: Environment
    barren: int = 0
    history: History = field(default_factory=list)
    archive: list[Individual] = field(default_factory=list)
    hall: list[Environment] = field(default_factory=list)
    behaviours: list[tuple[float, ...]] = field(default_factory=list)
    refuge: Refuge | None = None
    peaks: dict[str, Estimate] = field(default_factory=dict)
    collapsed: bool = False
    alarms: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Generation:
    """What happened in one generation.

    Attributes:
        offspring: all children.
        survivors: children, and parents where these compete; empty where nobody is finite.
        learning: means of what the discriminator's steps report.
        watch: how far the run is from a collapse, where that was measured (`collapse.watched`).
    """

    offspring: list[Individual]
    survivors: list[Individual]
    learning: dict[str, float]
    watch: dict[str, float] = field(default_factory=dict)

    def origin(self, survivor: Individual) -> str:
        """The mutation that made a survivor in this generation, or that it is a parent still."""
        born = any(one.number == survivor.number for one in self.offspring)
        return survivor.mutation if born else PARENT
