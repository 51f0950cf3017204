"""What breeding knows and gives, as data: plans, scenes, individuals at work, broods, litters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from egan.environment import Environment, Half, settled
from egan.fitness import SEEN, Diversity, none
from egan.fitness import diversity as flatness
from egan.losses import Loss, Objective, read_by, reads
from egan.perturbations import Perturbation
from egan.traits import Traits
from populations.individual import Individual
from populations.lineage import birth, child_number

INHERITED = "inherited"
JUDGED, BRED = "judged", "bred"


@dataclass(frozen=True, eq=False)
class Plan:
    """How children are made and judged; the same in every generation.

    Attributes:
        game: networks and noise.
        traits: of the game's networks.
        seed: the run's.
        mu: parents.
        names: of the mutations, in order.
        moves: of each mutation, one after the other: places in `losses`, or perturbations.
        losses: those on which moves are optimiser steps.
        batch: noise samples of a step.
        betas: Adam's.
        moments: "inherited" or "mutation".
        quality: of logits.
        objective: the discriminator's.
        gamma: weight of diversity; 0: it is not computed.
        samples: judged of each child; 0: nobody is judged.
        shared_noise: whether all children are judged on the same noise.
        precision: in which networks compute while children are judged.
        race: confidence at which a child is given up before all is judged; 0: none is.
        chunks: equal parts of the samples in a race.
        keeps: whose samples the discriminator will learn from: "fresh" (none), "judged", "bred".
        halves: whether those samples keep their half of the objective's gradient too.
        parents_too: whether parents are judged again beside their children.
        chain: whether a parent's mutations follow each other (see `breeding.chain`).
        crossovers: children by crossover in a generation.
        cases: equal groups of the judged samples whose qualities selection reads; 0: it reads none.
        diversity: of what it reads, of `fitness.SEEN`.
        landmarks: of the data, (k, *shape), near which behaviour is told; None: nobody reads it.
        strength: of perturbations, in units of each layer's root mean square.
        gradient_noise: on each gradient, in the same units of the gradient.
        orthogonal: weight of the orthogonal regularisation of the generator; 0: there is none.
        adaptation: deviation of the logarithm by which individuals' own rates mutate; 0: they have
            none.
        unrolled: further steps of the discriminator after which losses see it; 0: as it is.
        environment_betas: Adam's in those steps.
        clip: bound of the discriminator's weights after each of them; 0: none.
        accumulation: equal parts of a batch that are computed one after the other.
    """

    game: Any
    traits: Traits
    seed: int
    mu: int
    names: Sequence[str]
    moves: Sequence[Sequence[int | Perturbation]]
    losses: Sequence[Loss]
    batch: int
    betas: tuple[float, float]
    moments: str
    quality: Callable[[Tensor], Tensor]
    objective: Objective
    gamma: float
    samples: int
    shared_noise: bool
    precision: torch.dtype = torch.float32
    race: float = 0.0
    chunks: int = 8
    keeps: str = "fresh"
    halves: bool = False
    parents_too: bool = False
    chain: bool = False
    crossovers: int = 0
    cases: int = 0
    diversity: Diversity = flatness
    landmarks: Tensor | None = None
    strength: float = 0.0
    gradient_noise: float = 0.0
    orthogonal: float = 0.0
    adaptation: float = 0.0
    unrolled: int = 0
    environment_betas: tuple[float, float] = (0.0, 0.0)
    clip: float = 0.0
    accumulation: int = 1

    def most(self) -> int:
        """Children that could be born in a generation."""
        return self.mu * len(self.names) + self.crossovers

    def number(self, generation: int, place: int) -> int:
        """Of the child at that place: mutations of the first parent, of the next, crossovers."""
        return child_number(generation, place, self.mu, self.most())

    def birth(self, number: int) -> int:
        """The generation in which the individual of that number is born; -1: before the first."""
        return birth(number, self.mu, self.most())

    def phases(self) -> int:
        """Moves of the mutation that has most of them."""
        return max(len(moves) for moves in self.moves)

    def steps_on(self, mutations: Iterable[int], number: int) -> tuple[int, ...]:
        """Places of the losses on which these mutations step in their move of that number."""
        moves = [self.moves[mutation][number] for mutation in mutations]
        return tuple(move for move in moves if isinstance(move, int))

    def judges_by(self, what: str) -> bool:
        """Whether diversity is computed and reads that, of `fitness.SEEN`."""
        return self.samples > 0 and self.gamma > 0 and what in reads(self.diversity, SEEN)

    def judges_logits(self) -> bool:
        """Whether the discriminator must see what is judged."""
        return self.quality is not none or self.judges_by("gradient")

    def read(self) -> frozenset[str]:
        """What the mutations read, of `losses.READABLE`."""
        return read_by(self.losses)


@dataclass(frozen=True, eq=False)
class Scene:
    """What all children of a generation meet.

    Attributes:
        environment: the discriminator; not changed.
        real: the samples on which diversity is judged; None where nobody reads them.
        real_half: of the objective on them, where the engine shares it.
        beside: real samples beside which mutations see fakes, and on which the discriminator is
            unrolled; None where none reads them.
        seen: what the discriminator makes of those, by the names of `losses.READABLE`, where the
            engine shares it.
        generation: the current one.
        lr: learning rate of this generation.
        chosen: by the place of a parent, those of the mutations by which it has children; None:
            all.
        environment_lr: the discriminator's learning rate of this generation.
        hall: discriminators of earlier generations, which judge too.
        past: behaviours of parents and of earlier generations, (m, landmarks); None where nobody
            reads them.
    """

    environment: Environment
    real: Tensor | None
    real_half: Half | None
    generation: int
    lr: float
    beside: Tensor | None = None
    seen: Mapping[str, Tensor] | None = None
    chosen: Mapping[int, Sequence[int]] | None = None
    environment_lr: float = 0.0
    hall: Sequence[Environment] = ()
    past: Tensor | None = None

    def mutations(self, plan: Plan, slot: int) -> Sequence[int]:
        """Places of the mutations by which the parent at that place has children."""
        return range(len(plan.names)) if self.chosen is None else self.chosen[slot]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Fakes that breeding or judging made, for the discriminator to learn from; never saved.

    Attributes:
        samples: (n, *shape).
        half: of the objective on them, where it was kept.
    """

    samples: Tensor
    half: Half | None


@dataclass(frozen=True, eq=False)
class Brood:
    """The children of one parent.

    Attributes:
        children: all of them.
        evidence: what breeding them made for the discriminator.
        parent: the parent as it was judged again, where it was.
        accepted: the one in which a chain ended, where there was one.
    """

    children: list[Individual]
    evidence: Evidence | None
    parent: Individual | None = None
    accepted: list[Individual] | None = None

    def candidates(self) -> list[Individual]:
        """Who is judged: the children, and the parent where it is."""
        return self.children + ([self.parent] if self.parent else [])


class Member(NamedTuple):
    """An individual at work, and the plan and the scene of its own run.

    Attributes:
        individual: a parent that has children, a child on its way, or one to be judged.
        slot: the place in the population of the parent that it is or comes from.
        plan: of its run.
        scene: of this generation of its run.
        losses: places in `plan.losses` of those whose gradients are wanted.
        phase: steps before this one in the same generation; each has noise of its own.
        part: of the step's batch, where gradients are accumulated over several.
    """

    individual: Individual
    slot: int
    plan: Plan
    scene: Scene
    losses: tuple[int, ...] = ()
    phase: int = 0
    part: int = 0

    def role(self, purpose: str) -> str:
        """The role in randomness of what this phase draws."""
        return f"{purpose} {self.phase}" if self.phase else purpose

    def own(self, batch: Tensor) -> Tensor:
        """The part of a batch that this pass computes: all of it, unless gradients accumulate."""
        return batch.chunk(self.plan.accumulation)[self.part]

    def state(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Weights and buffers with which a step begins, its spectral norms iterated once."""
        weights, buffers = self.individual.weights, self.individual.buffers
        return (
            (weights, buffers) if self.part else settled(self.plan.game.generator, weights, buffers)
        )

    def seen(self) -> dict[str, Tensor]:
        """What the discriminator makes of real samples, where the engine shares it."""
        return {name: self.own(each) for name, each in (self.scene.seen or {}).items()}

    def read(self) -> frozenset[str]:
        """What the wanted losses read, of `losses.READABLE`."""
        return read_by(self.plan.losses[place] for place in self.losses)

    def wants_evidence(self) -> bool:
        """Whether the discriminator will learn from the fakes that this pass makes."""
        return self.plan.keeps == BRED and not self.phase


class Slopes(NamedTuple):
    """What a pass of an individual gives.

    Attributes:
        gradients: of the losses that were wanted, in order, by the individual's weights.
        buffers: the generator's, after the pass.
        evidence: the pass's fakes, where the discriminator will learn from them.
    """

    gradients: Sequence[Tensor]
    buffers: Mapping[str, Tensor]
    evidence: Evidence | None = None


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a generation's breeding already knows of the discriminator's next step.

    Attributes:
        bred: fakes of the parents, where the discriminator learns from them.
        real_half: of the objective on the step's real batch, where judging has computed it.
    """

    bred: Sequence[Evidence] = ()
    real_half: Half | None = None


@dataclass(frozen=True, eq=False)
class Litter:
    """All children of a generation.

    Attributes:
        children: of all parents.
        again: the parents as they were judged beside them, where they were.
        pool: who may survive.
        roots: the parent of the population from which each of the pool descends, by number.
        lesson: what breeding knows of the discriminator's next step.
    """

    children: list[Individual]
    again: list[Individual]
    pool: list[Individual]
    roots: dict[int, Individual]
    lesson: Lesson
