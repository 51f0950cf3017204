"""A diversity of your own, judged on samples: its arguments' names say what it reads."""

import egan


def spread(fake, real):
    """Minus how far the fakes' covariance is from that of real samples."""
    return -(fake.T.cov() - real.T.cov()).norm()


run = egan.evolve("ring", generations=200, fitness={"diversity": spread, "gamma": 1.0})
print(run.score())
