"""Games: what a generator makes and what the discriminator is shown."""

from typing import Any

from egan.games.conditional import Conditional, labelled
from egan.games.unconditional import Unconditional

games: dict[str, Any] = {"unconditional": Unconditional, "conditional": Conditional}

__all__ = ["Conditional", "Unconditional", "games", "labelled"]
