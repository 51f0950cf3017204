"""Variation: what breeding needs to know, and how a parent's gradients become its children."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from egan.environment import Environment, Half
from egan.fitness import SEEN, Diversity, none
from egan.fitness import diversity as flatness
from egan.losses import Loss, Objective, read_by, reads
from egan.optimizer import adam, fresh_moments
from egan.perturbations import Perturbation, gradient_noise
from egan.traits import Traits
from populations.individual import Fitness, Individual, Moments, finite_moments, soundness
from populations.lineage import child_number
from populations.randomness import generator as keyed
from populations.randomness import seeded

INHERITED = "inherited"
MOST = 100.0  # times the scheduled learning rate that an individual's own may reach
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
        precision: in which children are judged.
        race: confidence at which a child is given up before all is judged; 0: none is.
        chunks: equal parts of the samples in a race.
        keeps: whose samples the discriminator will learn from: "fresh" (none), "judged", "bred".
        halves: whether those samples keep their half of the objective's gradient too.
        parents_too: whether parents are judged again beside their children.
        chain: whether a parent's mutations follow each other (see `breeding.chain`).
        crossovers: children by crossover in a generation.
        cases: equal groups of the judged samples whose qualities selection reads; 0: it reads none.
        diversity: of what it reads, of `fitness.SEEN`.
        strength: of perturbations, in units of each layer's root mean square.
        gradient_noise: on each gradient, in the same units of the gradient.
        adaptation: deviation of the logarithm by which individuals' own rates mutate; 0: they have
            none.
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
    strength: float = 0.0
    gradient_noise: float = 0.0
    adaptation: float = 0.0

    def number(self, generation: int, place: int) -> int:
        """Of the child at that place: mutations of the first parent, of the next, crossovers."""
        most = self.mu * len(self.names) + self.crossovers
        return child_number(generation, place, self.mu, most)

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
        beside: real samples beside which mutations see fakes; None where none reads them.
        seen: what the discriminator makes of those, by the names of `losses.READABLE`, where the
            engine shares it.
        generation: the current one.
        lr: learning rate of this generation.
        chosen: by the place of a parent, those of the mutations by which it has children; None:
            all.
    """

    environment: Environment
    real: Tensor | None
    real_half: Half | None
    generation: int
    lr: float
    beside: Tensor | None = None
    seen: Mapping[str, Tensor] | None = None
    chosen: Mapping[int, Sequence[int]] | None = None

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
    """

    individual: Individual
    slot: int
    plan: Plan
    scene: Scene
    losses: tuple[int, ...] = ()
    phase: int = 0

    def role(self, purpose: str) -> str:
        """The role in randomness of what this phase draws."""
        return f"{purpose} {self.phase}" if self.phase else purpose

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


def breeding_noise(member: Member) -> Tensor:
    """The noise of a member's step, the same for all its siblings."""
    plan, scene = member.plan, member.scene
    random = keyed(plan.seed, scene.generation, member.role("breeding noise"), member.slot)
    noise: Tensor = plan.game.draw(plan.batch, random)
    return noise


def heir(member: Member, mutation: int) -> Individual:
    """A child before its first move; it still shares its parent's memory."""
    plan, parent, generation = member.plan, member.individual, member.scene.generation
    number = plan.number(generation, member.slot * len(plan.names) + mutation)
    key = INHERITED if plan.moments == INHERITED else plan.names[mutation]
    rates = parent.rates
    if plan.adaptation:
        random = keyed(plan.seed, generation, "rates", number)
        rates = mutated_rates(rates, plan.betas, plan.adaptation, random)
    return Individual(
        weights=parent.weights,
        buffers=parent.buffers,
        moments={key: parent.moments.get(key) or fresh_moments(parent.weights)},
        rates=rates,
        number=number,
        parent=parent.number,
        mutation=plan.names[mutation],
    )


def stepped(
    member: Member, child: Individual, gradient: Tensor, buffers: Mapping[str, Tensor]
) -> Individual:
    """The child after one optimiser step; all its memory is its own."""
    plan, rates = member.plan, child.rates
    if plan.gradient_noise:
        gradient = _layerwise(member, child, gradient, gradient_noise, plan.gradient_noise)
    ((key, moments),) = child.moments.items()
    lr, betas = member.scene.lr, plan.betas
    if rates:
        lr, betas = lr * rates["lr"], (rates["beta1"], rates["beta2"])
    weights, moments = adam(child.weights, moments, gradient, lr, betas)
    own = {name: each.clone() for name, each in buffers.items()}
    return replace(child, weights=weights, buffers=own, moments={key: moments})


def perturbed(member: Member, child: Individual, perturbation: Perturbation) -> Individual:
    """The child after a perturbation of its weights; all its memory is its own."""
    weights = _layerwise(member, child, child.weights, perturbation, member.plan.strength)
    own = {name: each.clone() for name, each in child.buffers.items()}
    return replace(child, weights=weights, buffers=own, moments=_copied(child.moments))


def _layerwise(
    member: Member, child: Individual, vector: Tensor, change: Perturbation, strength: float
) -> Tensor:
    """A vector like the weights, changed tensor by tensor; draws are keyed on the child."""
    plan = member.plan
    role = member.role("perturbation")
    with seeded(plan.seed, member.scene.generation, role, child.number):
        made = change(list(plan.game.generator.views(vector).values()), strength)
    return torch.cat([each.reshape(-1) for each in made])


def mutated_rates(
    rates: Mapping[str, float],
    betas: tuple[float, float],
    deviation: float,
    random: torch.Generator,
) -> dict[str, float]:
    """An individual's own rates after a log-normal mutation, as in self-adaptive evolution.

    Schwefel (1981): a rate is multiplied by e^(deviation * N(0, 1)). The betas mutate by their
    distance from 1, the reciprocal of the number of steps that they remember, which stays in
    [0.0001, 1].

    Args:
        rates: `lr` (a factor of the scheduled learning rate), `beta1`, `beta2`; empty: the run's.
        betas: Adam's, of the run.
        deviation: of the logarithm.
        random: what is drawn from.
    """
    factors = (deviation * torch.randn(3, generator=random, dtype=torch.float64)).exp().tolist()
    old = rates or {"lr": 1.0, "beta1": betas[0], "beta2": betas[1]}
    lr = min(MOST, max(1 / MOST, old["lr"] * factors[0]))
    beta1, beta2 = (
        1 - min(1.0, max(1e-4, (1 - old[name]) * factor))
        for name, factor in zip(("beta1", "beta2"), factors[1:], strict=True)
    )
    return {"lr": lr, "beta1": beta1, "beta2": beta2}


def anew(individual: Individual) -> Individual:
    """The same individual, to be judged again."""
    return replace(
        individual,
        fitness=Fitness(),
        total=math.nan,
        cases=(),
        judged_on=0,
        finite=None,
        evidence=None,
    )


def pool_moments(parent: Individual, children: Sequence[Individual]) -> None:
    """Give every child the moments of all mutations, each as its own child advanced it.

    Moments that are not finite die with the child that made them.
    """
    made = {child.mutation: child.moments[child.mutation] for child in children}
    pool = {
        **parent.moments,
        **{name: moments for name, moments in made.items() if finite_moments(moments)},
    }
    for child in children:
        child.moments = _copied(pool)


def _copied(moments: Mapping[str, Moments]) -> dict[str, Moments]:
    """Moments in memory of their own."""
    return {
        name: {
            part: value.clone() if isinstance(value, Tensor) else value
            for part, value in each.items()
        }
        for name, each in moments.items()
    }


def settle_fitness(
    children: Sequence[Individual], found: Sequence[Sequence[Tensor]], gamma: float
) -> None:
    """Give children their fitness, and note whether they are finite, in one transfer to the host.

    Args:
        children: with weights and moments.
        found: quality, diversity and cases of each, scalars; empty where nobody is judged.
        gamma: weight of diversity.
    """
    sound = _soundness(children)
    rows = [torch.stack([*each]) for each in found]
    columns = torch.stack(rows).to(torch.float64) if rows else sound.new_zeros((len(children), 0))
    table = torch.cat([sound.to(torch.float64)[:, None], columns], dim=1).tolist()
    for child, (finite, *row) in zip(children, table, strict=True):
        child.finite = bool(finite)
        if row:
            child.judged(row[0], row[1], gamma, tuple(row[2:]))


def note_finite(children: Sequence[Individual]) -> None:
    """Note which children are finite, in one transfer to the host."""
    for child, finite in zip(children, _soundness(children).tolist(), strict=True):
        child.finite = finite


def _soundness(children: Sequence[Individual]) -> Tensor:
    return torch.stack([soundness(child) for child in children])
