"""The oracle: survivors chosen by the true score, greedily: what the best judge would choose.

It asks about each child as it is, generation by generation, and so knows nothing of what a choice
leads to later, nor of the average of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from egan.assembly import make_game
from egan.generator import Generator
from egan.scores import evaluate, reference, score_of
from egan.world import World
from populations.individual import Individual
from populations.selection import Selection

SAMPLES = 1_000  # of each child, and real ones; with fewer, luck would choose


def with_oracle(world: World, score: str) -> World:
    """The same world, in which the children of the best score survive.

    What it costs to ask is not counted: no method could ask.

    Args:
        world: whose own selection judges nobody.
        score: the name of a score that can judge the data.
    """
    generator = Generator(make_game(world.config, world.data.shape, str(world.device)))
    real = reference(world.data, SAMPLES, index=1)  # not those that looks compare with

    def merit(child: Individual) -> float:
        plain = replace(child, average=None)  # as it is, without its lineage's past
        samples = generator.load(plain).sample(SAMPLES, seed=0)
        return score_of(score).merit(evaluate(samples, world.data, [score], real)[score])

    def choose(children: Sequence[Individual], count: int) -> list[Individual]:
        return sorted(children, key=merit, reverse=True)[:count]

    selection = Selection(choose, reads_fitness=False)
    return replace(world, operators=replace(world.operators, selection=selection))
