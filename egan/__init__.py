"""Evolution of generative adversarial networks.

A population of generators evolves in the environment of a shared discriminator:

    import egan

    run = egan.evolve("ring", generations=2000)
    points = run.sample(1000)
"""

import egan.openmp  # noqa: F401  # before anything imports PyTorch
from egan.api import Run, compare, evolve, evolve_seeds, export, load
from egan.config import Config
from egan.data import Mixture, Stacked, Table
from egan.presets import configure
from populations.errors import RunError, UsageError

__version__ = "0.1.0"

__all__ = [
    "Config",
    "Mixture",
    "Run",
    "RunError",
    "Stacked",
    "Table",
    "UsageError",
    "compare",
    "configure",
    "evolve",
    "evolve_seeds",
    "export",
    "load",
]
