"""Assembly: from a configuration to a world, each part tried once on the others."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from egan.behaviours import find_landmarks
from egan.checks import (
    check_collapse,
    check_crossover,
    check_judge,
    check_plan,
    check_scale,
    check_selection,
    doubts,
    try_on,
)
from egan.config import CONDITIONAL, Config
from egan.data import Data, make_data
from egan.engines import engines
from egan.fitness import SEEN, Diversity, combinations, diversities, qualities
from egan.games import games, labelled
from egan.interrupts import threads
from egan.kernels import Compiled
from egan.losses import READABLE, Objective, mutations, objectives, reads, smoothed
from egan.networks import Flat, conditions, make_pair
from egan.operators import Operators
from egan.penalties import penalties
from egan.perturbations import perturbations, perturbs
from egan.recombination import resolve as resolve_crossover
from egan.scene import BRED, JUDGED, Plan
from egan.traits import find_traits
from egan.trials import AUTO, USUAL, check_compiled, fastest, with_engine
from egan.workers import Shared
from egan.world import World
from populations.choice import Choice, choices
from populations.choice import resolve as resolve_choice
from populations.errors import UsageError
from populations.executors import executors
from populations.registry import lookup, spell
from populations.selection import Selection, resolve

LOGGER = logging.getLogger("egan")
SCALE = 2.0**10  # of losses in 16 bits, a mean over a batch of which the smallest lie below 2^-24


def make_world(config: Config, source: Any = None, tell: bool = True) -> World:
    """Build all that a configuration names, and try each part once on the others.

    Args:
        config: what to build.
        source: data given in Python, which `config.data` only describes.
        tell: whether to log what is questionable.

    Raises:
        UsageError: a name is unknown, a device is missing, or parts do not fit each other.
    """
    device = _device(config.execution.device)
    config = replace(config, execution=replace(config.execution, device=str(device)))
    free = config.execution.engine == AUTO
    config = with_engine(config, USUAL) if free else config
    data = make_data(config.data if source is None else source, config.data_options)
    selection = resolve(config.population.selection)
    choice = resolve_choice(config.variation.choice)
    check_selection(config, selection, choice)
    config = _with_classes(config, data)
    game = make_game(config, data.shape, str(device))
    source = game.source(data)
    check_scale(data)
    try_on(game, source, config.environment.packing)
    landmarks = _landmarks(config, data, selection, choice)
    make = partial(make_plan, config, data.shape, selection, choice, landmarks)
    shared = Shared(make, str(device))
    plan = shared.get()
    check_plan(config, plan, source)
    check_judge(config, data)  # which may take minutes: all else is known to fit
    operators = _operators(config, plan, selection, choice)
    known = _knows_real_half(config, plan)
    executor = lookup("executor", config.execution.executor, executors)(
        shared, config.execution.workers, config.execution.threads, config.execution.scheduler
    )
    world = World(config, data, plan, operators, _penalties(config), known, device, executor)
    check_crossover(world)
    check_collapse(world)
    if engines[config.execution.engine].compiles:
        check_compiled(world)
    for sentence in doubts(config, plan) if tell else ():
        LOGGER.warning(sentence)
    if not free:
        return world
    with threads(config.execution.threads):
        return fastest(world)


def _operators(config: Config, plan: Plan, selection: Selection, choice: Choice) -> Operators:
    population = config.population
    name = population.crossover
    return Operators(
        plan=plan,
        choice=choice,
        children=config.variation.children,
        combine=lookup("combination", config.fitness.combination, combinations),
        crossover=None if name is None else (resolve_crossover(name), spell(name)),
        parents_compete=population.parents == "compete",
        selection=selection,
    )


def _penalties(config: Config) -> list[tuple[float, Any]]:
    """Pairs of weight and penalty."""
    pairs = [
        (weight, lookup("penalty", name, penalties))
        for name, weight in config.environment.penalties.items()
    ]
    return [(weight, penalty) for weight, penalty in pairs if weight]


def _landmarks(config: Config, data: Data, selection: Selection, choice: Choice) -> Tensor | None:
    """Of the data, where behaviours are read."""
    read = reads(_diversity(config), SEEN) if config.fitness.gamma else ()
    wanted = {"behaviour", "past"}.intersection(read) or selection.needs == "behaviour"
    if not wanted or not _judged(config, selection, choice):
        return None
    return find_landmarks(data, config.fitness.landmarks, config.seed)


def _diversity(config: Config) -> Diversity:
    name = config.fitness.diversity
    found: Diversity = lookup("diversity", name, diversities)
    names = _read("diversity", name, found, SEEN)
    if not {"fake", "gradient", "behaviour"}.intersection(names):
        raise UsageError(
            f"the diversity {spell(name)!r} reads no fakes: it tells no children apart."
        )
    return found


def _read(kind: str, name: Any, function: Any, readable: tuple[str, ...]) -> tuple[str, ...]:
    """What a function of that name reads."""
    try:
        return reads(function, readable)
    except ValueError as error:
        raise UsageError(f"the {kind} {spell(name)!r}: {error}.") from error


def _judged(config: Config, selection: Selection, choice: Choice) -> bool:
    """Whether anything reads the fitness of children."""
    variation, population = config.variation, config.population
    count = len(variation.mutations) if choice == choices["all"] else variation.children
    several = count > 1 or population.parents == "compete" or population.crossover is not None
    return (several and selection.reads_fitness) or choice.reads_gains


def make_plan(
    config: Config,
    shape: tuple[int, ...],
    selection: Selection,
    choice: Choice,
    landmarks: Tensor | None,
    device: str,
) -> Plan:
    """What breeding needs to know of a configuration."""
    variation, judging = config.variation, config.fitness
    moves = [_moves(name) for name in variation.mutations]
    losses = list({
        id(move): move for each in moves for move in each if not perturbs(move)
    }.values())  # fmt: skip
    lookup("engine", config.execution.engine, engines)
    game = make_game(config, shape, device)
    traits = find_traits(game, shape, config.environment.packing)
    if engines[config.execution.engine].compiles:
        game.compiled = Compiled()
    game.precision = _precision(config, "training")
    judging_precision = _precision(config, judging.precision)
    if torch.float16 in (game.precision, judging_precision):
        game.generator.scale = game.discriminator.scale = SCALE
    plan = Plan(
        game=game,
        traits=traits,
        seed=config.seed,
        mu=config.population.mu,
        names=[spell(name) for name in variation.mutations],
        moves=[
            [move if perturbs(move) else losses.index(move) for move in each] * variation.steps
            for each in moves
        ],
        losses=losses,
        batch=variation.batch,
        betas=(variation.beta1, variation.beta2),
        moments=variation.moments,
        quality=lookup("quality", judging.quality, qualities),
        objective=_objective(config),
        gamma=judging.gamma,
        samples=judging.samples if _judged(config, selection, choice) else 0,
        shared_noise=judging.shared_noise,
        precision=judging_precision,
        race=judging.race,
        chunks=judging.chunks,
        keeps=config.environment.fakes,
        parents_too=choice.reads_gains or config.population.parents == "compete",
        chain=selection.chain,
        diversity=_diversity(config),
        landmarks=None if landmarks is None else landmarks.to(game.generator.vector),
        crossovers=config.population.crossovers if config.population.crossover else 0,
        cases=judging.groups if selection.needs == "cases" else 0,
        strength=variation.strength,
        gradient_noise=variation.gradient_noise,
        orthogonal=variation.orthogonal,
        adaptation=variation.adaptation,
        unrolled=variation.unrolled,
        environment_betas=(config.environment.beta1, config.environment.beta2),
        clip=config.environment.clip,
        accumulation=config.execution.accumulation,
    )
    return replace(plan, halves=_keeps_halves(config, plan))


def _precision(config: Config, name: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, config.execution.precision if name == "training" else name)
    return found


def _moves(name: Any) -> list[Any]:
    """What a mutation does, one after the other: losses to step on, and perturbations."""
    parts = [part.strip() for part in name.split("+")] if isinstance(name, str) else [name]
    if not all(parts):
        raise UsageError(f"the mutation {name!r} has an empty part: name a move on each side of +.")
    return [_move(part) for part in parts]


def _move(name: Any) -> Any:
    found = lookup("mutation", name, {**mutations, **perturbations})
    if perturbs(found):
        return found
    names = _read("mutation", name, found, READABLE)
    if not any(each.startswith("fake") for each in names):
        raise UsageError(f"the mutation {spell(name)!r} reads no fakes: it moves no generator.")
    return found


def _objective(config: Config) -> Objective:
    settings = config.environment
    objective: Objective = lookup("objective", settings.objective, objectives)
    try:
        return smoothed(objective, settings.smoothing)
    except ValueError as error:
        raise UsageError(
            f"environment.smoothing is {settings.smoothing}: the objective "
            f"{spell(settings.objective)!r} cannot be smoothed, since {error}: it must be 0."
        ) from error


def _penalised(config: Config) -> bool:
    return any(config.environment.penalties.values()) or _classifies(config)


def _classifies(config: Config) -> bool:
    """Whether the discriminator tells classes too."""
    if config.game != CONDITIONAL:
        return False
    classifies: bool = lookup("condition", config.networks.condition, conditions).classifies
    return classifies


def _keeps_halves(config: Config, plan: Plan) -> bool:
    """Whether breeding or judging can give the discriminator its fake half.

    That is where the step's fakes are all that they made, in one step, at the same weights.
    """
    environment, traits, game = config.environment, plan.traits, plan.game
    if environment.steps > 1 or not engines[config.execution.engine].shares:
        return False
    if plan.objective.whole:
        return False
    # Running statistics see the real samples first, and then all fakes in one pass.
    moves = game.discriminator.has_buffers and not game.discriminator.iterates
    if plan.keeps == BRED:
        whole = environment.batch == plan.mu * plan.batch
        alone = traits.discriminator_tape and not plan.unrolled and plan.accumulation == 1
        return whole and alone and not _penalised(config) and not moves
    alone = (traits.own_logits and not moves) or (plan.mu == 1 and not plan.race)
    whole = environment.batch == plan.mu * plan.samples
    return plan.keeps == JUDGED and whole and alone and _knows_real_half(config, plan)


def _knows_real_half(config: Config, plan: Plan) -> bool:
    """Whether the real half that judging computes is that of the discriminator's next step."""
    return bool(
        plan.samples
        and plan.judges_by("gradient")
        and not plan.objective.whole
        and plan.traits.repeatable
        and plan.precision == plan.game.precision
        and config.fitness.real == "training"
        and config.first == "generators"
        and engines[config.execution.engine].shares
        and not (_penalised(config) and plan.game.discriminator.has_buffers)
    )


def make_game(config: Config, shape: tuple[int, ...], device: str) -> Any:
    """The game with workplaces for its two networks."""
    generator, discriminator = make_pair(config, shape)
    settings = config.networks
    more: dict[str, Any] = {}
    if config.game == CONDITIONAL:
        more["classes"] = settings.classes
        more["classification"] = settings.classification if _classifies(config) else 0.0
    game = lookup("game", config.game, games)(
        Flat(generator, device),
        Flat(discriminator, device),
        settings.noise,
        settings.noise_dimension,
        **more,
    )
    game.shape = shape
    return game


def _with_classes(config: Config, data: Data) -> Config:
    """The configuration with the number of classes, where the game is one of classes."""
    if config.game != CONDITIONAL:
        return config
    count = labelled(data).table.count
    if config.networks.classes not in (0, count):
        raise UsageError(
            f"networks.classes is {config.networks.classes}: it must be {count}, those of "
            f"{data.name}, or 0."
        )
    return replace(config, networks=replace(config.networks, classes=count))


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
