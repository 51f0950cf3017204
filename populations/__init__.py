"""Evolution without GANs: individuals, selections, choices, executors, randomness, checkpoints.

Nothing here imports `egan`.
"""

from populations.choice import Choice, choices
from populations.errors import RunError, UsageError
from populations.individual import Fitness, Individual
from populations.selection import Selection, selections

__all__ = [
    "Choice", "Fitness", "Individual", "RunError", "Selection", "UsageError", "choices",
    "selections",
]  # fmt: skip
