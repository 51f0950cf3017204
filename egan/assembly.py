"""Assembly: from a configuration to a world, each part tried once on the others."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from egan.config import Config, Networks
from egan.data import Data, Table, make_data
from egan.fitness import qualities
from egan.games import games
from egan.losses import mutations, objectives
from egan.networks import Flat, make_pair
from egan.penalties import penalties
from egan.scores import applicable, scores
from egan.variation import Plan
from egan.world import Shared, World
from populations.errors import UsageError
from populations.executors import executors
from populations.randomness import generator as keyed
from populations.randomness import seeded
from populations.registry import describe_error, lookup, spell
from populations.selection import resolve


def make_world(config: Config, source: Any = None) -> World:
    """Build all that a configuration names, and try each part once on the others.

    Args:
        config: what to build.
        source: data given in Python, which `config.data` only describes.

    Raises:
        UsageError: a name is unknown, a device is missing, or parts do not fit each other.
    """
    device = _device(config.execution.device)
    config = replace(config, execution=replace(config.execution, device=str(device)))
    data = make_data(config.data if source is None else source, config.data_options)
    objective = lookup("objective", config.environment.objective, objectives)
    chosen = [
        (weight, lookup("penalty", name, penalties))
        for name, weight in config.environment.penalties.items()
        if lookup("penalty", name, penalties) and weight
    ]
    selection = resolve(config.population.selection)
    if config.population.selection == "nsga2" and not config.fitness.gamma:
        raise UsageError("nsga2 needs two objectives: fitness.gamma must be above 0.")
    judge = config.records.judge
    if lookup("score", judge, scores) and judge not in applicable(data):
        raise UsageError(
            f"the score {judge!r} cannot judge {data.name}: records.judge must be one of "
            f"{', '.join(applicable(data))}."
        )
    shared = Shared(partial(make_plan, config, data.shape, str(device), selection.reads_fitness))
    plan = shared.get()
    _try_on(plan.game, data)
    executor = lookup("executor", config.execution.executor, executors)(
        shared, config.execution.workers, config.execution.threads
    )
    return World(config, data, plan, selection, objective, chosen, device, executor)


def make_plan(config: Config, shape: tuple[int, ...], device: str, reads_fitness: bool) -> Plan:
    """What breeding needs to know of a configuration."""
    variation, judging = config.variation, config.fitness
    losses = [lookup("mutation", name, mutations) for name in variation.mutations]
    to_select = len(losses) > 1 and reads_fitness
    return Plan(
        game=make_game(config, shape, device),
        seed=config.seed,
        mu=config.population.mu,
        names=[spell(name) for name in variation.mutations],
        losses=losses,
        batch=variation.batch,
        betas=(variation.beta1, variation.beta2),
        moments=variation.moments,
        quality=lookup("quality", judging.quality, qualities),
        fake_term=lookup("objective", config.environment.objective, objectives).fake,
        gamma=judging.gamma,
        samples=judging.samples if to_select else 0,
        shared_noise=judging.shared_noise,
        keep_samples=config.environment.fakes == "judged",
    )


def make_game(config: Config, shape: tuple[int, ...], device: str) -> Any:
    """The game with workplaces for its two networks."""
    settings: Networks = config.networks
    generator, discriminator = make_pair(settings, shape, config.seed)
    return lookup("game", config.game, games)(
        Flat(generator, device),
        Flat(discriminator, device),
        settings.noise,
        settings.noise_dimension,
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"the device {name!r} is not there: use cpu, or auto for a GPU where there is one."
        ) from error
    return device


def _try_on(game: Any, data: Data) -> None:
    """Let noise and real samples pass the networks once."""
    random = keyed(0, 0, "trial")
    _check_scale(data, random)
    real = data.draw(4, random).to(game.discriminator.vector)
    buffers = game.generator.buffers(), game.discriminator.buffers()
    with torch.no_grad(), seeded(0, 0, "trial"):
        fake = _attempt("generator", game.generate, game.draw(4, random))
        if fake.shape != real.shape:
            raise UsageError(
                f"the generator makes samples of shape {tuple(fake.shape[1:])} and the data "
                f"have {data.shape}: they must be equal."
            )
        if fake.dtype != real.dtype:
            raise UsageError(
                f"the generator computes in {fake.dtype} and the discriminator in {real.dtype}: "
                "they must be equal."
            )
        logits = _attempt("discriminator", game.logits, real)
    if logits.shape[:1] != (4,):
        raise UsageError(
            f"the discriminator turns 4 samples into logits of shape {tuple(logits.shape)}: the "
            "first dimension must be the number of samples."
        )
    game.generator.load(game.generator.vector, buffers[0])
    game.discriminator.load(game.discriminator.vector, buffers[1])


def _check_scale(data: Data, random: torch.Generator) -> None:
    values = data.values if isinstance(data, Table) else data.draw(64, random)
    if len(data.shape) > 1 and values.abs().max() > 1:
        low, high = float(values.min()), float(values.max())
        raise UsageError(
            f"the data have values from {low:g} to {high:g}: images must be scaled to [-1, 1]."
        )


def _attempt(kind: str, function: Any, argument: Tensor) -> Tensor:
    try:
        result: Tensor = function(argument)
    except Exception as error:  # whatever a user's network raises
        raise UsageError(
            f"the {kind} does not accept an input of shape {tuple(argument.shape)}: "
            f"{describe_error(error)}."
        ) from error
    return result
