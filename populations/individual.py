"""Fitness and Individual: what evolves, as data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from deap import base
from torch import Tensor

Moments = dict[str, Any]
"""An optimiser's memory: `step` (int), `mean` and `square` (vectors like the weights)."""


class Fitness(base.Fitness):
    """Quality and diversity, both maximised.

    DEAP compares the two one after the other, never as a weighted sum: the sum of quality and
    gamma times diversity is `Individual.total`.
    """

    weights = (1.0, 1.0)


UNSAVED = ("finite", "evidence")


@dataclass(eq=False)
class Individual:
    """A generator: its weights, its optimiser's moments, its ancestry, its fitness.

    Attributes:
        weights: all trainable parameters, one vector.
        buffers: what a network keeps beside its parameters (batch-norm statistics), by name.
        moments: optimiser memories by name: one named "inherited", or one a mutation.
        average: running average of the weights along the lineage; None where it is not kept.
        rates: the optimiser's rates that it carries itself, by name; empty: the run's.
        number: unique in its run; parents have smaller numbers than their children.
        parent: the parent's number, -1 for the first generation.
        mutation: what made it from its parent, "initial" for the first generation.
        fitness: quality and diversity; not valid until judged.
        total: the scalar that selection by total fitness reads; nan until judged.
        cases: fitness on each group of the samples, the same groups for all individuals of a
            generation; empty where it is not taken apart.
        behaviour: what it does, as numbers that tell individuals apart; empty where nobody looked.
        judged_on: samples that it was judged on.
        finite: whether all its numbers are finite; None where nobody looked; never saved.
        evidence: what judging it left for others to learn from; never saved.
    """

    weights: Tensor
    buffers: dict[str, Tensor] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    average: Tensor | None = None
    rates: dict[str, float] = field(default_factory=dict)
    number: int = 0
    parent: int = -1
    mutation: str = "initial"
    fitness: Fitness = field(default_factory=Fitness)
    total: float = math.nan
    cases: tuple[float, ...] = ()
    behaviour: tuple[float, ...] = ()
    judged_on: int = 0
    finite: bool | None = None
    evidence: Any = None

    def judged(
        self,
        quality: float,
        diversity: float,
        gamma: float,
        cases: Sequence[float] = (),
        behaviour: Sequence[float] = (),
    ) -> None:
        """Record the fitness; one that is not finite stays invalid and is never selected."""
        total = quality + gamma * diversity if gamma else quality
        if all(map(math.isfinite, (quality, diversity, total, *cases, *behaviour))):
            self.fitness.values = (quality, diversity)
            self.total = total
            self.cases, self.behaviour = tuple(cases), tuple(behaviour)


def pack(individual: Individual) -> dict[str, Any]:
    """A plain dict of tensors, numbers and strings that `torch.load(weights_only=True)` reads."""
    plain = {name: each for name, each in vars(individual).items() if name not in UNSAVED}
    plain["fitness"] = individual.fitness.values if individual.fitness.valid else None
    return plain


def unpack(plain: dict[str, Any]) -> Individual:
    """The individual that `pack` made plain."""
    values = plain["fitness"]
    fitness = Fitness(values) if values is not None else Fitness()
    return Individual(**{**plain, "fitness": fitness})


def without_evidence(population: list[Individual]) -> list[Individual]:
    """The same individuals, rid of what judging them left."""
    return [replace(one, evidence=None) for one in population]


def is_finite(individual: Individual) -> bool:
    """Whether every weight, every buffer and every moment is finite."""
    if individual.finite is None:
        return bool(soundness(individual))
    return individual.finite


def soundness(individual: Individual) -> Tensor:
    """The same as a tensor, true or false, which the host need not wait for."""
    moments = [each[part] for each in individual.moments.values() for part in ("mean", "square")]
    return finiteness(individual.weights, *individual.buffers.values(), *moments)


def finiteness(*tensors: Tensor) -> Tensor:
    """Whether none of the tensors has NaN or infinities, as a tensor."""
    # Extremes keep NaN and infinities, and are far quicker to find than a mask of all entries.
    extremes = [end for each in tensors if each.numel() for end in torch.aminmax(each)]
    return torch.stack([torch.isfinite(each) for each in extremes]).all()


def finite_moments(moments: Moments) -> bool:
    """Whether an optimiser's memory is finite."""
    return bool(finiteness(moments["mean"], moments["square"]))
