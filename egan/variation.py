"""Variation: what breeding needs to know, and how a parent's gradients become its children."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from egan.environment import Environment, Half
from egan.losses import Loss, Objective, read_by
from egan.optimizer import adam, fresh_moments
from egan.traits import Traits
from populations.individual import Individual, finite_moments, soundness
from populations.lineage import child_number
from populations.randomness import generator as keyed

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
        moves: of each mutation, one after the other: places in `losses`.
        losses: those on which moves are steps.
        batch: noise samples of a step.
        betas: Adam's.
        moments: "inherited" or "mutation".
        quality: of logits.
        objective: the discriminator's.
        gamma: weight of diversity.
        samples: judged of each child; 0: nobody is judged.
        shared_noise: whether all children are judged on the same noise.
        precision: in which children are judged.
        race: confidence at which a child is given up before all is judged; 0: none is.
        chunks: equal parts of the samples in a race.
        keeps: whose samples the discriminator will learn from: "fresh" (none), "judged", "bred".
        halves: whether those samples keep their half of the objective's gradient too.
    """

    game: Any
    traits: Traits
    seed: int
    mu: int
    names: Sequence[str]
    moves: Sequence[Sequence[int]]
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

    def read(self) -> frozenset[str]:
        """What the mutations read, of `losses.READABLE`."""
        return read_by(self.losses)


@dataclass(frozen=True, eq=False)
class Scene:
    """What all children of a generation meet.

    Attributes:
        environment: the discriminator; not changed.
        real: the samples on which diversity is judged; None where it is not.
        real_half: of the objective on them, where the engine shares it.
        beside: real samples beside which mutations see fakes; None where none reads them.
        seen: what the discriminator makes of those, by the names of `losses.READABLE`, where the
            engine shares it.
        generation: the current one.
        lr: learning rate of this generation.
        chosen: places of the mutations by which each parent has children; None: all.
    """

    environment: Environment
    real: Tensor | None
    real_half: Half | None
    generation: int
    lr: float
    beside: Tensor | None = None
    seen: Mapping[str, Tensor] | None = None
    chosen: Sequence[Sequence[int]] | None = None

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
    """The children of one parent, and what breeding them made for the discriminator."""

    children: list[Individual]
    evidence: Evidence | None


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
    plan, parent = member.plan, member.individual
    number = child_number(member.scene.generation, member.slot, mutation, plan.mu, len(plan.names))
    key = INHERITED if plan.moments == INHERITED else plan.names[mutation]
    return Individual(
        weights=parent.weights,
        buffers=parent.buffers,
        moments={key: parent.moments.get(key) or fresh_moments(parent.weights)},
        number=number,
        parent=parent.number,
        mutation=plan.names[mutation],
    )


def stepped(
    member: Member, child: Individual, gradient: Tensor, buffers: Mapping[str, Tensor]
) -> Individual:
    """The child after one optimiser step; all its memory is its own."""
    ((key, moments),) = child.moments.items()
    weights, moments = adam(child.weights, moments, gradient, member.scene.lr, member.plan.betas)
    own = {name: each.clone() for name, each in buffers.items()}
    return replace(child, weights=weights, buffers=own, moments={key: moments})


def pool_moments(parent: Individual, children: Sequence[Individual]) -> None:
    """Give every child the moments of all mutations, each as its own child advanced it.

    Moments that are not finite die with the child that made them.
    """
    made = {name: moments for child in children for name, moments in child.moments.items()}
    pool = {
        **parent.moments,
        **{name: moments for name, moments in made.items() if finite_moments(moments)},
    }
    for child in children:
        child.moments = {
            name: {
                part: value.clone() if isinstance(value, Tensor) else value
                for part, value in moments.items()
            }
            for name, moments in pool.items()
        }


def settle_fitness(
    children: Sequence[Individual], found: Sequence[tuple[Tensor, Tensor]], gamma: float
) -> None:
    """Give children their fitness, and note whether they are finite, in one transfer to the host.

    Args:
        children: with weights and moments.
        found: quality and diversity of each, scalars; empty where nobody is judged.
        gamma: weight of diversity.
    """
    sound = _soundness(children)
    rows = [torch.stack([*pair]) for pair in found]
    columns = torch.stack(rows).to(torch.float64) if rows else sound.new_zeros((len(children), 0))
    table = torch.cat([sound.to(torch.float64)[:, None], columns], dim=1).tolist()
    for child, (finite, *pair) in zip(children, table, strict=True):
        child.finite = bool(finite)
        if pair:
            child.judged(pair[0], pair[1], gamma)


def note_finite(children: Sequence[Individual]) -> None:
    """Note which children are finite, in one transfer to the host."""
    for child, finite in zip(children, _soundness(children).tolist(), strict=True):
        child.finite = finite


def _soundness(children: Sequence[Individual]) -> Tensor:
    return torch.stack([soundness(child) for child in children])
