"""Games: what a generator makes and what the discriminator is shown."""

from egan.games.unconditional import Unconditional

games: dict[str, type[Unconditional]] = {"unconditional": Unconditional}

__all__ = ["Unconditional", "games"]
