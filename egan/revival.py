"""Revival: a population that has collapsed goes back to the best that the run has been.

Collapse is measured without labels: as the share of real samples near which the fittest's generator
has any sample (coverage). The population and the discriminator of the best measurement so far are
kept, and come back together when less than a share of it is left. The number of the generation goes
on, and with it the fall of the learning rates and the keys of randomness, so that the second
attempt is another. Before anything is learned coverage swings near 0, and nothing is kept: who is
set back then does not get far.

What came back and collapses again must not come back for ever. So the limit falls to the share of
what was measured at a revival, and the same refuge comes back again only when even less is left.
The limit ends at 0, below which nothing falls: of n real samples a refuge comes back at most
1 + log(n) / log(1 / share) times. And only who covers as much as it did takes its place: what a run
goes back to never gets worse.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from egan.fitness import coverage
from egan.state import Refuge, State
from egan.world import World
from populations.individual import Individual
from populations.randomness import generator as keyed
from populations.randomness import seeded

SAMPLES = 512  # real ones, and of the generator, on which coverage is measured
LEARNED = 0.1  # the least coverage that is worth going back to


def revived(state: State, world: World) -> State:
    """The state to go on from: the same, or with the refuge's population and environment.

    Args:
        state: after a generation; where a measurement is due its refuge changes too.
        world: of the run.
    """
    settings = world.config.population
    if not settings.revival or state.generation % settings.revival_every:
        return state
    found, refuge = covered(state.population[0], world, state.generation), state.refuge
    lower = settings.revival * found
    if found >= (refuge.coverage if refuge else LEARNED):
        kept = Refuge(state.generation, found, lower, state.population, state.environment)
        return replace(state, refuge=kept)
    if refuge is None or found >= refuge.limit:
        return state
    return replace(
        state,
        population=refuge.population,
        environment=refuge.environment,
        refuge=replace(refuge, limit=lower),
        revivals=[*state.revivals, (state.generation, refuge.generation)],
    )


def covered(individual: Individual, world: World, generation: int) -> float:
    """Coverage of real samples by an individual as it trains; 0 where its samples are not finite.

    Naeem et al. (2020), see `fitness.coverage`. Samples and noise are keyed on the generation.
    """
    game, seed, real = world.plan.game, world.config.seed, real_samples(world, generation)
    noise = game.draw(SAMPLES, keyed(seed, generation, "revival noise"))
    game.generator.load(individual.weights, individual.buffers)
    with torch.no_grad(), seeded(seed, generation, "revival"):
        fake = game.generate(noise)
    found = float(coverage(fake, real.to(fake)))
    return found if math.isfinite(found) else 0.0


def real_samples(world: World, generation: int) -> Tensor:
    """The samples to be covered; of those that are equal, one: no neighbourhood is a point."""
    seed, role = world.config.seed, "revival real"
    with seeded(seed, generation, role):  # data of one's own may draw as they like
        return world.data.draw(SAMPLES, keyed(seed, generation, role)).unique(dim=0)
