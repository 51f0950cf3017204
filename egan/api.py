"""The library's front door: `evolve`, `compare`, `load` and `export`."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from egan.assembly import make_game
from egan.config import Config
from egan.data import describe
from egan.directory import Directory, output_file
from egan.exports import check, choose, default_path, encode, formats
from egan.exports import describe as facts_of
from egan.generator import Generator, exported, load_weights
from egan.interrupts import threads
from egan.mixture import fit_mixture, mixture
from egan.presets import configure
from egan.run import OnGeneration, check_fertile, run_in, run_in_memory
from egan.scores import evaluate
from egan.settings import Names, merge, plain
from egan.snapshot import open_state, start
from egan.state import State
from egan.together import evolve_together, make_worlds
from egan.world import World
from populations.checkpoint import write_whole

if TYPE_CHECKING:
    from egan.study.compare import Outcome


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
        records = self.config.records
        return evaluate(
            self.sample(count), self.world.data, features=records.features,
            distance=records.distance,
        )  # fmt: skip

    def mixture(self) -> Generator:
        """A mixture of the last population and the generators kept along the way, fitted to cover.

        How many are kept says `population.mixture`; its module has `members` and `weights`. See
        `egan.mixture`.
        """
        with threads(self.config.execution.threads):
            return fit_mixture(self.state, self.world)[0]


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
        discriminator: likewise, (n, *shape) to one or more logits a sample; under
            `environment.packing` = m, a pack, whose first dimension is m times as wide.
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
    given = _given(data, generator, discriminator, config, settings)
    source = _source(data)
    if run is None:
        world, state = run_in_memory(configure(given), source, on_generation, progress)
    else:
        directory = Directory(Path(run))
        outcome = run_in(directory, given, source, on_generation, progress)
        if outcome.signal is not None:  # the run is saved; now it is the caller's turn
            signal.raise_signal(outcome.signal)
        world = outcome.world
        state = open_state(world, directory)[0]
    return _run(world, state)


def evolve_seeds(
    seeds: Iterable[int],
    data: Any = None,
    *,
    generator: Any = None,
    discriminator: Any = None,
    config: Config | Mapping[str, Any] | None = None,
    **settings: Any,
) -> list[Run]:
    """Evolve several runs that differ in their seeds, in memory and in step.

    All their children are bred in one product a layer, so that runs of small networks cost less
    than one after the other; each is what `evolve` gives with the engine `batched`, but for
    rounding.

    Args:
        seeds: one a run.
        data: as of `evolve`, like all that follow.
        generator: likewise.
        discriminator: likewise.
        config: likewise.
        settings: likewise; a seed among them is not read.

    Raises:
        UsageError: something asked for cannot be done, or the networks cannot be batched.
        RunError: one of the runs could not go on.
    """
    given = _given(data, generator, discriminator, config, settings)
    worlds = make_worlds(configure(given), list(seeds), _source(data))
    states = [start(world) for world in worlds]
    if worlds:
        with threads(worlds[0].config.execution.threads):
            for happened in evolve_together(states, worlds, worlds[0].config.generations):
                states = [state for state, _ in happened]
                for world, state in zip(worlds, states, strict=True):
                    check_fertile(state, world.config)
    return [_run(world, state) for world, state in zip(worlds, states, strict=True)]


def _given(
    data: Any, generator: Any, discriminator: Any, config: Any, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What was asked for, as nested settings."""
    own = {"generator": generator, "discriminator": discriminator}
    return merge(
        {} if config is None else plain(config) if isinstance(config, Config) else config,
        {} if data is None else {"data": describe(data)},
        {"networks": {name: each for name, each in own.items() if each is not None}},
        settings,
    )


def _source(data: Any) -> Any:
    """Data that were passed in Python."""
    return None if data is None or isinstance(data, str) else data


def _run(world: World, state: State) -> Run:
    game = make_game(world.config, world.data.shape, str(world.device))
    return Run(world.config, state, Generator(game).load(state.population[0]), world)


def compare(
    out: str | Path,
    data: str | Sequence[str] | None = None,
    arms: Sequence[str] | None = None,
    *,
    seeds: int | Iterable[int] | None = None,
    budget: str | None = None,
    looks: int | None = None,
    primary: str | None = None,
    samples: int | None = None,
    protocol: str | None = None,
    data_dir: str | None = None,
    jobs: int = 0,
    progress: bool = False,
    **settings: Any,
) -> Outcome:
    """Compare methods on data sets at equal compute, over many seeds.

    Args:
        out: directory of the study; one that lies there goes on, and may get more of the first
            three.
        data: names or files, `"random[modes=12,24]"` is two of them.
        arms: methods, the others are tested against the first; see `egan.study.arms`.
        seeds: how many, from 0 on, or which; 5 unless told.
        budget: of every run, `"KIND=AMOUNT"` or `"KIND=ARM:GENERATIONS"`, see `egan.study.budgets`;
            unless told counted operations of 2,000 generations of the first arm.
        looks: times that a run is judged; 20 unless told.
        primary: the score by which arms are compared.
        samples: on which final scores are taken.
        protocol: a published experiment, which says all the rest; see `egan.study.protocols`.
        data_dir: folder with the files of those data sets that have such an option.
        jobs: processes; 0: one a processor core.
        progress: whether to show a progress bar.
        settings: of all arms, such as `networks={"width": 64}`.

    Raises:
        UsageError: something asked for cannot be done; nothing was started.
    """
    from egan.study.compare import compare as run_study
    from egan.study.plan import Asked

    asked = Asked(
        data=[data] if isinstance(data, str) else data,
        arms=arms,
        seeds=range(seeds) if isinstance(seeds, int) else list(seeds or ()) or None,
        budget=budget,
        looks=looks,
        primary=primary,
        samples=samples,
        common=settings or None,
        protocol=protocol,
        data_dir=data_dir,
    )
    return run_study(Path(out), asked, jobs=jobs, progress=progress)


def load(run: str | Path, which: str = "final", generator: Any = None) -> Generator:
    """A run's generator, ready to sample.

    Args:
        run: the run's directory.
        which: "final", "best" by the score that the run was told to judge by, "refuge", the best
            by coverage of the data, before a collapse, or "mixture", the one that was fitted at the
            end of a run with `population.mixture`.
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
    environment = replace(stored.environment, augmentation=Names())
    config = replace(stored, networks=networks, environment=environment)
    found = exported(directory, which)
    parts = [
        Generator(make_game(config, found.shape, "cpu")) for _ in range(len(found.members) or 1)
    ]
    weights = [share.weight for share in found.members]
    loaded = mixture(parts, weights) if weights else parts[0]
    load_weights(loaded, directory, which)
    return loaded


def export(
    run: str | Path,
    format: str | None = None,
    out: str | Path | None = None,
    which: str = "final",
    generator: Any = None,
) -> Path:
    """Write a run's generator to a file that needs nothing of this project.

    The network is in evaluation mode. "onnx" maps the input `noise`, (n, noise_dimension), to the
    output `samples`, (n, *shape), for any n >= 1, and so does the program of "torch-export"; in a
    conditional game the noise goes on with the class, (n, noise_dimension + classes), zeros and a
    one. The key `egan` of the metadata (of the `extra_files` of "torch-export") is JSON: which
    generator after which generation, distribution and dimension of the noise, number of classes (0:
    none), shape and, of images, range of the data, and all settings of the run, as in its
    config.json.

    Args:
        run: the run's directory.
        format: "safetensors", "onnx" or "torch-export"; unless told, the one of the file's ending.
        out: the file; unless told, `export-WHICH` with the format's ending, in the run.
        which: as of `load`; a mixture can only be written as "safetensors".
        generator: as of `load`.

    Returns:
        The file.

    Raises:
        UsageError: what was asked for cannot be done; nothing was written.
        RunError: the run's own file is damaged.
    """
    directory, name = Directory(Path(run)), choose(format, out)
    endings = [formats[name].ending] if format else [form.ending for form in formats.values()]
    path = output_file(out, default_path(directory, name, which), endings)
    check(name, which)
    facts = facts_of(directory.load_config(), exported(directory, which), which)
    content = encode(name, load(run, which, generator), facts)
    write_whole(path, lambda part: part.write_bytes(content))
    return path
