"""A selection of your own: of the children that are finite, who survives."""

import egan


def diverse(children, count):
    """The most diverse of the better half."""
    better = sorted(children, key=lambda child: -child.total)[: max(count, len(children) // 2)]
    return sorted(better, key=lambda child: -child.fitness.values[1])[:count]


run = egan.evolve("ring", generations=200, population={"mu": 2, "selection": diverse})
print(run.score())
