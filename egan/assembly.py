"""Assembly: from a configuration to a world, each part tried once on the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from egan.choice import AUTO, USUAL, check_compiled, fastest, with_engine
from egan.config import Config
from egan.data import Data, Table, make_data
from egan.engines import engines
from egan.fitness import SEEN, combinations, diversities, qualities
from egan.games import games
from egan.interrupts import threads
from egan.kernels import Compiled
from egan.losses import Objective, mutations, objectives, reads, smoothed, value
from egan.networks import Flat, make_pair, packed
from egan.penalties import SLOPE_FREE, penalties
from egan.perturbations import perturbations, perturbs
from egan.recombination import Crossover
from egan.recombination import resolve as resolve_crossover
from egan.scores import applicable, scores
from egan.state import State
from egan.traits import COUNT, find_traits
from egan.variation import BRED, JUDGED, Plan
from egan.world import Shared, World
from populations.choice import Choice, choices
from populations.choice import resolve as resolve_choice
from populations.errors import UsageError
from populations.executors import executors
from populations.randomness import generator as keyed
from populations.randomness import seeded
from populations.registry import call, describe_error, lookup, spell
from populations.selection import Selection, resolve, selections

LOGGER = logging.getLogger("egan")
WASSERSTEIN = "wasserstein"


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
    free = config.execution.engine == AUTO
    config = with_engine(config, USUAL) if free else config
    data = make_data(config.data if source is None else source, config.data_options)
    objective = _objective(config)
    chosen = [
        (weight, lookup("penalty", name, penalties))
        for name, weight in config.environment.penalties.items()
        if lookup("penalty", name, penalties) and weight
    ]
    selection = resolve(config.population.selection)
    choice = resolve_choice(config.variation.choice)
    crossover = _crossover(config)
    combine = lookup("combination", config.fitness.combination, combinations)
    _check_selection(config, selection, choice)
    if config.fitness.race:
        _check_race(config, selection)
    judge = config.records.judge
    if lookup("score", judge, scores) and judge not in applicable(data):
        raise UsageError(
            f"the score {judge!r} cannot judge {data.name}: records.judge must be one of "
            f"{', '.join(applicable(data))}."
        )
    _try_on(make_game(config, data.shape, str(device)), data, config.environment.packing)
    make = partial(make_plan, config, data.shape, selection, choice)
    shared = Shared(make, str(device))
    plan = shared.get()
    _check_engine(config, plan)
    _check_sight(config, plan, data)
    _check_diversity(config, plan, data)
    executor = lookup("executor", config.execution.executor, executors)(
        shared, config.execution.workers, config.execution.threads, config.execution.scheduler
    )
    known = _knows_real_half(config, plan)
    world = World(
        config,
        data,
        plan,
        selection,
        choice,
        crossover,
        combine,
        objective,
        chosen,
        known,
        device,
        executor,
    )
    _check_crossover(world)
    if engines[config.execution.engine].compiles:
        check_compiled(world)
    for sentence in _doubts(config, plan):
        LOGGER.warning(sentence)
    if not free:
        return world
    with threads(config.execution.threads):
        return fastest(world)


def _doubts(config: Config, plan: Plan) -> list[str]:
    """One sentence on each choice that can be computed and is hardly what is meant."""
    found, objective = [], spell(config.environment.objective)
    if WASSERSTEIN in (objective, *plan.names) and not _slope_is_held(config, plan):
        found.append(
            f"the objective is {objective!r} and the mutations are {', '.join(plan.names)}: "
            f"{WASSERSTEIN!r} needs a discriminator whose slope is bounded; set environment.clip, "
            "a gradient penalty, r1 or r2 (environment.penalties), or use spectral norm."
        )
    if plan.objective.whole and plan.samples and plan.quality is qualities["probability"]:
        found.append(
            f"fitness.quality is 'probability', and under the objective {objective!r} logits mean "
            "something by their differences alone: fitness.quality = 'logit' ranks by those."
        )
    return found


def _slope_is_held(config: Config, plan: Plan) -> bool:
    penalised = {name for name, weight in config.environment.penalties.items() if weight}
    held = penalised.difference(SLOPE_FREE) or plan.game.discriminator.iterates
    return bool(held or config.environment.clip)


def make_plan(
    config: Config, shape: tuple[int, ...], selection: Selection, choice: Choice, device: str
) -> Plan:
    """What breeding needs to know of a configuration."""
    variation, judging = config.variation, config.fitness
    moves = [_moves(name) for name in variation.mutations]
    losses = list({
        id(move): move for each in moves for move in each if not perturbs(move)
    }.values())  # fmt: skip
    count = len(moves) if choice == choices["all"] else variation.children
    compete = config.population.parents == "compete"
    crossover = config.population.crossover is not None
    to_select = (count > 1 or compete or crossover) and selection.reads_fitness
    lookup("engine", config.execution.engine, engines)
    game = make_game(config, shape, device)
    traits = find_traits(game, shape, config.environment.packing)
    if engines[config.execution.engine].compiles:
        game.compiled = Compiled()
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
        samples=judging.samples if to_select or choice.reads_gains else 0,
        shared_noise=judging.shared_noise,
        precision=getattr(torch, judging.precision),
        race=judging.race,
        chunks=judging.chunks,
        keeps=config.environment.fakes,
        parents_too=choice.reads_gains or compete,
        chain=selection.chain,
        diversity=lookup("diversity", judging.diversity, diversities),
        crossovers=config.population.crossovers if crossover else 0,
        cases=judging.groups if selection.needs == "cases" else 0,
        strength=variation.strength,
        gradient_noise=variation.gradient_noise,
        adaptation=variation.adaptation,
    )
    return replace(plan, halves=_keeps_halves(config, plan))


def _crossover(config: Config) -> Crossover | None:
    name = config.population.crossover
    return None if name is None else resolve_crossover(name)


def _check_crossover(world: World) -> None:
    """Whether there are pairs, and a first one can be recombined."""
    config, crossover = world.config, world.crossover
    if crossover is None:
        return
    name, plan = spell(config.population.crossover), world.plan
    if plan.mu * (config.variation.children if world.chooses else len(plan.names)) < 2:
        raise UsageError(
            f"the crossover {name!r} needs two candidates: population.mu must be above 1, or a "
            "parent have several children."
        )
    refusal = crossover.refuses(plan.game.generator)
    if refusal:
        raise UsageError(f"the crossover {name!r} is not for this run: {refusal}.")
    (one, *_), environment = world.first_population()
    scene = world.scene(State(0, [one], environment), world.settle(environment))
    other = replace(one, weights=one.weights.roll(1), number=one.number + 1)
    call("crossover", name, world.recombined, one, other, scene, 0)


def _moves(name: Any) -> list[Any]:
    """What a mutation does, one after the other: losses to step on, and perturbations."""
    parts = name.split("+") if isinstance(name, str) else [name]
    return [_move(part.strip() if isinstance(part, str) else part) for part in parts]


def _move(name: Any) -> Any:
    found = lookup("mutation", name, {**mutations, **perturbations})
    if perturbs(found):
        return found
    try:
        names = reads(found)
    except ValueError as error:
        raise UsageError(f"the mutation {spell(name)!r}: {error}.") from error
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
    return any(config.environment.penalties.values())


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
        return whole and traits.discriminator_tape and not _penalised(config) and not moves
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
        and plan.precision == torch.float32
        and config.fitness.real == "training"
        and config.first == "generators"
        and engines[config.execution.engine].shares
        and not (_penalised(config) and plan.game.discriminator.has_buffers)
    )


def make_game(config: Config, shape: tuple[int, ...], device: str) -> Any:
    """The game with workplaces for its two networks."""
    generator, discriminator = make_pair(config, shape)
    return lookup("game", config.game, games)(
        Flat(generator, device),
        Flat(discriminator, device),
        config.networks.noise,
        config.networks.noise_dimension,
    )


def _check_selection(config: Config, selection: Selection, choice: Choice) -> None:
    """Whether what selection reads is there."""
    name, samples = spell(config.population.selection), config.fitness.samples
    if selection.needs == "diversity" and not config.fitness.gamma:
        raise UsageError(f"{name} needs two objectives: fitness.gamma must be above 0.")
    if selection.needs == "cases" and samples % config.fitness.groups:
        raise UsageError(
            f"{name} compares {config.fitness.groups} equal groups of samples (fitness.groups): "
            f"fitness.samples is {samples} and must be a multiple."
        )
    if selection.chain and config.population.parents == "compete":
        raise UsageError(
            f"{name} accepts the first child as it is: it needs population.parents = 'die'."
        )
    if selection.chain and config.fitness.combination != "sum":
        raise UsageError(
            f"{name} accepts children before all are judged: it needs fitness.combination = 'sum'."
        )
    if selection.chain and choice.reads_gains:
        raise UsageError(
            f"{name} makes one mutation after the other: variation.choice must be one that reads "
            "no gains, such as 'all'."
        )


def _check_race(config: Config, selection: Selection) -> None:
    if selection is not selections["best"]:
        raise UsageError(
            f"fitness.race gives up children that the {config.population.mu} best have left behind:"
            " it needs population.selection = 'best'."
        )
    if _objective(config).whole and config.fitness.gamma:
        raise UsageError(
            f"the objective {spell(config.environment.objective)!r} is no sum of a real and a fake "
            "half, and so diversity cannot be judged on parts: fitness.race or fitness.gamma must "
            "be 0."
        )
    if config.fitness.combination != "sum":
        raise UsageError(
            "fitness.race compares children before all are judged: it needs fitness.combination = "
            "'sum'."
        )
    things = "packs" if config.environment.packing > 1 else "samples"
    if config.fitness.samples < 2 * config.fitness.chunks * config.environment.packing:
        raise UsageError(
            f"fitness.samples is {config.fitness.samples}: a race needs at least two {things} in "
            f"each of its {config.fitness.chunks} chunks (fitness.chunks)."
        )
    if config.execution.executor != "serial":
        raise UsageError(
            "fitness.race compares all children round by round in one process: it needs "
            "execution.executor = 'serial'."
        )


def _check_sight(config: Config, plan: Plan, data: Data) -> None:
    """Whether losses find what they read."""
    if plan.keeps == BRED and not all(isinstance(moves[0], int) for moves in plan.moves):
        raise UsageError(
            "environment.fakes is 'bred': every mutation must begin with a loss, for whose step a "
            "parent makes fakes."
        )
    packing = config.environment.packing
    if plan.read() & {"fake_features", "real_features"}:
        if not hasattr(plan.game, "features"):
            raise UsageError(f"the game {config.game!r} has no features, which mutations read.")
        real = data.draw(COUNT * packing, keyed(0, 0, "trial")).to(plan.game.discriminator.vector)
        with torch.no_grad(), seeded(0, 0, "trial"):
            plan.game.features(real)
    whole = plan.objective.whole
    if whole and plan.judges_by("gradient"):
        own = config.fitness.real == "own"
        count = plan.samples if own else config.environment.batch
        try:
            rows = count // packing, plan.samples // packing
            whole(real=torch.zeros(rows[0], 1), fake=torch.zeros(rows[1], 1))
        except Exception as error:  # whatever a user's objective raises
            name = spell(config.environment.objective)
            raise UsageError(
                f"the objective {name!r} cannot judge {plan.samples} fakes beside {count} real "
                f"samples: {describe_error(error)}."
            ) from error


def _check_diversity(config: Config, plan: Plan, data: Data) -> None:
    """Whether diversity finds what it reads, tried on real samples in the place of fakes."""
    name, ways = spell(config.fitness.diversity), config.fitness
    try:
        names = reads(plan.diversity, SEEN)
    except ValueError as error:
        raise UsageError(f"the diversity {name!r}: {error}.") from error
    if names == ("real",):
        raise UsageError(f"the diversity {name!r} reads no fakes: it tells no children apart.")
    if not plan.samples or not plan.gamma or "gradient" in names:
        return
    if ways.race:
        raise UsageError(
            f"the diversity {name!r} cannot be judged on parts of the samples: fitness.race or "
            "fitness.gamma must be 0."
        )
    count = plan.samples if ways.real == "own" else config.environment.batch
    real, fake = (data.draw(each, keyed(0, 0, "trial")) for each in (count, plan.samples))
    try:
        with seeded(0, 0, "trial"):
            float(value(plan.diversity, {"fake": fake, "real": real}, SEEN))
    except Exception as error:  # whatever a user's diversity raises
        raise UsageError(
            f"the diversity {name!r} cannot judge {plan.samples} fakes beside {count} real "
            f"samples: {describe_error(error)}."
        ) from error


def _check_engine(config: Config, plan: Plan) -> None:
    name = config.execution.engine
    refusal = engines[name].refuses(plan)
    if refusal:
        raise UsageError(f"the engine {name!r} is not for this run: {refusal}.")
    if name == "batched" and config.execution.executor != "serial":
        raise UsageError(
            "the engine 'batched' (which may have been chosen when the run began) computes all "
            "children at once in one process: it needs execution.executor = 'serial'."
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


def _try_on(game: Any, data: Data, packing: int) -> None:
    """Let noise and real samples pass the networks once."""
    random = keyed(0, 0, "trial")
    _check_scale(data, random)
    real = data.draw(COUNT * packing, random).to(game.discriminator.vector)
    with torch.no_grad(), seeded(0, 0, "trial"):
        fake = _attempt("generator", game.generate, game.draw(len(real), random))
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
        logits = _attempt("discriminator", game.logits, real, packing)
    if logits.shape[:1] != (COUNT,):
        things = "packs" if packing > 1 else "samples"
        raise UsageError(
            f"the discriminator turns {COUNT} {things} into logits of shape "
            f"{tuple(logits.shape)}: the first dimension must be the number of {things}."
        )


def _check_scale(data: Data, random: torch.Generator) -> None:
    values = data.values if isinstance(data, Table) else data.draw(64, random)
    if len(data.shape) > 1 and values.abs().max() > 1:
        low, high = float(values.min()), float(values.max())
        raise UsageError(
            f"the data have values from {low:g} to {high:g}: images must be scaled to [-1, 1]."
        )


def _attempt(
    kind: str, function: Callable[[Tensor], Tensor], argument: Tensor, packing: int = 1
) -> Tensor:
    try:
        return function(argument)
    except Exception as error:  # whatever a user's network raises
        problem = f"does not accept an input of shape {tuple(argument.shape)}:"
        if packing > 1:
            shape = packed(tuple(argument.shape[1:]), packing)
            problem = (
                f"must accept packs of shape {shape}, {packing} samples side by side "
                "(environment.packing), and raises"
            )
        raise UsageError(f"the {kind} {problem} {describe_error(error)}.") from error
