"""What a run keeps of its past, spread evenly over it as far as it has got."""

from __future__ import annotations

from dataclasses import replace

from egan.environment import Environment, past
from egan.state import State
from egan.world import World
from populations.archive import archived, remembered


def remembering(state: State, world: World, met: Environment) -> State:
    """The state with what its generation leaves, where that is kept.

    Args:
        state: after the generation.
        world: of the run.
        met: the discriminator that the generation's children met, settled; the next ones meet
            another.
    """
    done, fittest = state.generation, remembered(state.population[0])
    return replace(
        state,
        archive=archived(state.archive, fittest, done, world.config.population.mixture),
        hall=archived(state.hall, past(met), done, world.hall),
        behaviours=archived(state.behaviours, fittest.behaviour, done, world.archive),
    )
