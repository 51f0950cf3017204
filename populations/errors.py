"""The two ways in which a request can fail; both carry one sentence for a person to read."""


class UsageError(ValueError):
    """What was asked for cannot be done; nothing was started (exit code 2)."""


class RunError(RuntimeError):
    """A run cannot go on; what it saved is still there (exit code 1)."""
