"""A loss of your own beside one of the paper's: its arguments' names say what it reads."""

import egan


def relative(fake, real):
    """How far the logits of fakes stay behind the mean of those of real samples."""
    return (real.mean() - fake).relu().mean()


run = egan.evolve("ring", generations=200, variation={"mutations": [relative, "heuristic"]})
print(run.score())
