"""Variation: what breeding needs to know, and how a parent's gradients become its children."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from egan.environment import Environment, Half
from egan.losses import Loss, Objective, reads
from egan.optimizer import adam, fresh_moments
from egan.traits import Traits
from populations.individual import Individual, finite_moments, soundness
from populations.lineage import child_number

INHERITED = "inherited"


@dataclass(frozen=True, eq=False)
class Plan:
    """How children are made and judged; the same in every generation.

    Attributes:
        game: networks and noise.
        traits: of the game's networks.
        seed: the run's.
        mu: parents.
        names: of the mutations, in order.
        losses: the mutations.
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
        return frozenset(name for loss in self.losses for name in reads(loss))


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
    """

    environment: Environment
    real: Tensor | None
    real_half: Half | None
    generation: int
    lr: float
    beside: Tensor | None = None
    seen: Mapping[str, Tensor] | None = None


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


def make_children(
    plan: Plan,
    parent: Individual,
    slot: int,
    gradients: Sequence[Tensor],
    buffers: dict[str, Tensor],
    scene: Scene,
) -> list[Individual]:
    """One child per mutation, each one step of Adam away from its parent.

    Args:
        plan: how.
        parent: not changed.
        slot: the parent's place in the population.
        gradients: of the mutations, in order, by the parent's weights.
        buffers: the generator's after breeding's pass.
        scene: of this generation.
    """
    children = [
        _step(plan, parent, gradient, buffers, index, scene.lr, child_number(
            scene.generation, slot, index, plan.mu, len(plan.names)
        ))
        for index, gradient in enumerate(gradients)
    ]  # fmt: skip
    if plan.moments != INHERITED:
        _pool_moments(parent, children)
    return children


def _step(
    plan: Plan,
    parent: Individual,
    gradient: Tensor,
    buffers: dict[str, Tensor],
    index: int,
    lr: float,
    number: int,
) -> Individual:
    """The child that one optimiser step makes; all its memory is its own."""
    name = plan.names[index]
    key = INHERITED if plan.moments == INHERITED else name
    moments = parent.moments.get(key) or fresh_moments(parent.weights)
    weights, moments = adam(parent.weights, moments, gradient, lr, plan.betas)
    return Individual(
        weights=weights,
        buffers={name: each.clone() for name, each in buffers.items()},
        moments={key: moments},
        number=number,
        parent=parent.number,
        mutation=name,
    )


def _pool_moments(parent: Individual, children: list[Individual]) -> None:
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
