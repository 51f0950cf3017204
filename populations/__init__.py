"""Evolution without GANs: individuals, selection, executors, randomness, checkpoints.

Nothing here imports `egan`.
"""

from populations.errors import RunError, UsageError
from populations.individual import Fitness, Individual
from populations.selection import Selection, selections

__all__ = ["Fitness", "Individual", "RunError", "Selection", "UsageError", "selections"]
