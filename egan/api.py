"""The library's front door: `evolve` and `load`."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from egan.assembly import make_game
from egan.config import Config
from egan.data import describe
from egan.directory import Directory
from egan.evolution import State
from egan.generator import Generator, exported, load_weights
from egan.presets import configure
from egan.run import OnGeneration, run_in, run_in_memory
from egan.scores import evaluate
from egan.settings import merge, plain
from egan.snapshot import open_state
from egan.world import World


@dataclass(frozen=True, eq=False)
class Run:
    """What `evolve` returns.

    Attributes:
        config: all settings.
        state: population and environment after the last generation.
        generator: the final one, of the first individual: the fittest where they were judged.
        world: game, data and operators.
    """

    config: Config
    state: State
    generator: Generator
    world: World

    def sample(self, count: int, seed: int = 0) -> Tensor:
        """Samples of the final generator; see `Generator.sample`."""
        return self.generator.sample(count, seed)

    def score(self, count: int = 10_000) -> dict[str, float]:
        """Every score that can judge the data, of `count` samples."""
        return evaluate(self.sample(count), self.world.data)


def evolve(
    data: Any = None,
    *,
    generator: Any = None,
    discriminator: Any = None,
    config: Config | Mapping[str, Any] | None = None,
    run: str | Path | None = None,
    on_generation: OnGeneration | None = None,
    progress: bool = False,
    **settings: Any,
) -> Run:
    """Evolve generators against a shared discriminator.

    Args:
        data: what to learn, "ring" unless the configuration says otherwise: a name, a file, a
            tensor, an array, a torch Dataset or an object with name, shape and draw.
        generator: a module or a function that makes one, (n, noise_dimension) to (n, *shape);
            `networks.noise_dimension` (8 unless set) says how much noise it gets.
        discriminator: likewise, (n, *shape) to one or more logits a sample.
        config: all settings, or some of them by nested name, over the preset's.
        run: directory to write to, or to go on from; None: nothing is written.
        on_generation: called after each generation with the state and a dict of plain numbers
            (the log's row); returning True ends the run.
        progress: whether to show a progress bar.
        settings: more settings, such as `generations=500` or `fitness={"gamma": 1.0}`.

    Raises:
        UsageError: something asked for cannot be done; nothing was started.
        RunError: the run could not go on.
    """
    own = {"generator": generator, "discriminator": discriminator}
    given = merge(
        {} if config is None else plain(config) if isinstance(config, Config) else config,
        {} if data is None else {"data": describe(data)},
        {"networks": {name: each for name, each in own.items() if each is not None}},
        settings,
    )
    source = None if data is None or isinstance(data, str) else data
    if run is None:
        world, state = run_in_memory(configure(given), source, on_generation, progress)
    else:
        directory = Directory(Path(run))
        outcome = run_in(directory, given, source, on_generation, progress)
        if outcome.signal is not None:  # the run is saved; now it is the caller's turn
            signal.raise_signal(outcome.signal)
        world = outcome.world
        state = open_state(world, directory)[0]
    game = make_game(world.config, world.data.shape, str(world.device))
    return Run(world.config, state, Generator(game).load(state.population[0]), world)


def load(run: str | Path, which: str = "final", generator: Any = None) -> Generator:
    """A run's generator, ready to sample.

    Args:
        run: the run's directory.
        which: "final", or "best" by the score that the run was told to judge by.
        generator: the module or function that was given to `evolve`, where it cannot be imported.

    Raises:
        UsageError: no run lies there, or it has exported no generator yet.
        RunError: the file is damaged.
    """
    directory = Directory(Path(run))
    stored = directory.load_config()
    networks = replace(
        stored.networks, generator=generator or stored.networks.generator, discriminator=None
    )
    shape = exported(directory, which).shape
    game = make_game(replace(stored, networks=networks), shape, "cpu")
    loaded = Generator(game)
    load_weights(loaded, directory, which)
    return loaded
