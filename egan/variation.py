"""Variation: how an individual's gradients and perturbations become its children."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from egan.environment import settled
from egan.optimizer import adam, fresh_moments
from egan.penalties import orthogonal_slope
from egan.perturbations import Perturbation, gradient_noise
from egan.scene import INHERITED, Member, Plan, Slopes
from populations.individual import Fitness, Individual, Moments, finite_moments, soundness
from populations.randomness import generator as keyed
from populations.randomness import seeded

MOST = 100.0  # times the scheduled learning rate that an individual's own may reach


def breeding_noise(member: Member) -> Tensor:
    """The noise of a member's step, the same for all its siblings."""
    plan, scene = member.plan, member.scene
    random = keyed(plan.seed, scene.generation, member.role("breeding noise"), member.slot)
    return member.own(plan.game.draw(plan.batch, random))


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


@torch.no_grad()
def regularised(member: Member, slopes: Slopes) -> Slopes:
    """Slopes with what the orthogonal regularisation adds to the gradient of every loss.

    Brock et al. (2019), Eq. 3, on the generator's filters; see `penalties.orthogonal`.
    """
    network, weights = member.plan.game.generator, member.individual.weights
    if not member.plan.orthogonal:
        return slopes
    common = torch.zeros_like(weights)
    given, into = network.views(weights), network.views(common)
    for each in network.filters():
        into[id(each)].copy_(member.plan.orthogonal * orthogonal_slope(given[id(each)]))
    return slopes._replace(gradients=[each + common for each in slopes.gradients])


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
    """The child after a perturbation of its weights; all its memory is its own.

    Its spectral norms follow the weights by an iteration, as they do in a step.
    """
    weights = _layerwise(member, child, child.weights, perturbation, member.plan.strength)
    _, buffers = settled(member.plan.game.generator, weights, child.buffers)
    own = {name: each.clone() for name, each in buffers.items()}
    return replace(child, weights=weights, buffers=own, moments=_copied(child.moments))


def _layerwise(
    member: Member, child: Individual, vector: Tensor, change: Perturbation, strength: float
) -> Tensor:
    """A vector like the weights, changed tensor by tensor; draws are keyed on the child."""
    plan = member.plan
    role = member.role("perturbation")
    with seeded(plan.seed, member.scene.generation, role, child.number):
        made = change(list(plan.game.generator.views(vector).values()), strength)
    return plan.game.generator.joined(made)


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
        behaviour=(),
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
    children: Sequence[Individual], found: Sequence[Sequence[Tensor]], plan: Plan
) -> None:
    """Give children their fitness, and note whether they are finite, in one transfer to the host.

    Args:
        children: with weights and moments.
        found: quality, diversity, cases and behaviour of each, scalars; empty where nobody is
            judged.
        plan: how they were judged.
    """
    sound = _soundness(children)
    rows = [torch.stack([*each]) for each in found]
    columns = torch.stack(rows).to(torch.float64) if rows else sound.new_zeros((len(children), 0))
    table = torch.cat([sound.to(torch.float64)[:, None], columns], dim=1).tolist()
    for child, (finite, *row) in zip(children, table, strict=True):
        child.finite = bool(finite)
        if row:
            cases, behaviour = row[2 : 2 + plan.cases], row[2 + plan.cases :]
            child.judged(row[0], row[1], plan.gamma, cases, behaviour)


def note_finite(children: Sequence[Individual]) -> None:
    """Note which children are finite, in one transfer to the host."""
    for child, finite in zip(children, _soundness(children).tolist(), strict=True):
        child.finite = finite


def _soundness(children: Sequence[Individual]) -> Tensor:
    return torch.stack([soundness(child) for child in children])
