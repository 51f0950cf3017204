"""Checks: whether the parts of a world fit each other, in one sentence where they do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from egan.behaviours import behaviour
from egan.config import Config
from egan.data import Data, Table
from egan.engines import engines
from egan.engines.unrolling import beginning, look_ahead
from egan.environment import Environment
from egan.fitness import SEEN, qualities
from egan.fitness import diversity as flatness
from egan.losses import READABLE, SAME, Objective, objectives, value
from egan.neighbourhoods import NEIGHBOURS
from egan.networks import packed
from egan.optimizer import fresh_moments
from egan.penalties import SLOPE_FREE
from egan.scene import BRED, Plan, Scene
from egan.scores import applicable, named, scores
from egan.state import State
from egan.traits import COUNT
from egan.world import World
from populations.choice import Choice
from populations.errors import UsageError
from populations.randomness import generator as keyed
from populations.randomness import seeded
from populations.registry import call, describe_error, lookup, spell
from populations.selection import Selection, resolve, selections

WASSERSTEIN = "wasserstein"


def check_judge(config: Config, data: Data) -> None:
    """Whether the score that chooses the best generator can judge the data."""
    judge = config.records.judge
    names = applicable(data, config.records.features, config.records.distance)
    if lookup("score", judge.partition("/")[0], scores) and not named(judge, names):
        raise UsageError(
            f"the score {judge!r} cannot judge {data.name}: records.judge must be one of "
            f"{', '.join(names)}."
        )


def check_plan(config: Config, plan: Plan, data: Data) -> None:
    """Whether engine, losses and diversity find what they need."""
    check_engine(config, plan)
    check_sight(config, plan, data)
    check_diversity(config, plan, data)
    if plan.accumulation > 1:
        check_accumulation(config, plan)
    if plan.unrolled:
        check_unrolling(config, plan, data)


def doubts(config: Config, plan: Plan) -> list[str]:
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
    for names in SAME:
        equal = [each for each in plan.names if each in names]
        if len(equal) > 1:
            found.append(
                f"the mutations {' and '.join(equal)} are the same function but for a factor: "
                "Adam makes the same child of them, or nearly."
            )
    if config.environment.lazy > 1 and not any(config.environment.penalties.values()):
        found.append("environment.lazy is above 1, and there are no penalties (or all are 0).")
    if config.environment.hall and not plan.samples:
        found.append("environment.hall keeps discriminators that judge, and nobody is judged.")
    if plan.samples and resolve(config.population.selection).needs == "behaviour":
        found += _doubts_about_elites(config)
    if plan.cases and plan.gamma:
        found.append(
            f"{spell(config.population.selection)} reads quality alone: fitness.gamma = 0 saves "
            "what diversity costs."
        )
    return found


def _doubts_about_elites(config: Config) -> list[str]:
    population, cells = config.population, config.fitness.landmarks
    parts = []
    if population.mu < cells:
        parts.append(f"population.mu = {cells} (one a landmark)")
    if population.parents == "die":
        parts.append("population.parents = 'compete' (or elites die)")
    if not population.mixture:
        parts.append("population.mixture (or the run's generator is one of them)")
    if not parts:
        return []
    name = spell(population.selection)
    return [f"{name} breeds one specialist for each part of the data: set {', '.join(parts)}."]


def _slope_is_held(config: Config, plan: Plan) -> bool:
    penalised = {name for name, weight in config.environment.penalties.items() if weight}
    held = penalised.difference(SLOPE_FREE) or plan.game.discriminator.iterates
    return bool(held or config.environment.clip)


def check_selection(config: Config, selection: Selection, choice: Choice) -> None:
    """Whether what selection reads is there."""
    name = spell(config.population.selection)
    if selection.needs == "diversity" and not config.fitness.gamma:
        raise UsageError(f"{name} needs two objectives: fitness.gamma must be above 0.")
    if selection.needs == "cases":
        _check_cases(config, name)
    if config.fitness.race:
        check_race(config, selection)
    if selection.chain:
        _check_chain(config, choice, name)


def _check_cases(config: Config, name: str) -> None:
    fitness, packing = config.fitness, config.environment.packing
    if fitness.quality == "none":
        raise UsageError(f"{name} compares qualities: fitness.quality must not be 'none'.")
    if fitness.samples % (fitness.groups * packing):
        packs = f" of whole packs of {packing} (environment.packing)" if packing > 1 else ""
        raise UsageError(
            f"{name} compares {fitness.groups} equal groups of samples (fitness.groups){packs}: "
            f"fitness.samples is {fitness.samples} and must be a multiple of "
            f"{fitness.groups * packing}."
        )


def _check_chain(config: Config, choice: Choice, name: str) -> None:
    if config.population.parents == "compete":
        raise UsageError(
            f"{name} accepts the first child as it is: it needs population.parents = 'die'."
        )
    if config.fitness.combination != "sum":
        raise UsageError(
            f"{name} accepts children before all are judged: it needs fitness.combination = 'sum'."
        )
    if choice.reads_gains:
        raise UsageError(
            f"{name} makes one mutation after the other: variation.choice must be one that reads "
            "no gains, such as 'all'."
        )


def check_race(config: Config, selection: Selection) -> None:
    """Whether children can be given up before all their samples are judged."""
    if selection is not selections["best"]:
        raise UsageError(
            f"fitness.race gives up children that the {config.population.mu} best have left behind:"
            " it needs population.selection = 'best'."
        )
    objective: Objective = lookup("objective", config.environment.objective, objectives)
    if objective.whole and config.fitness.gamma:
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


def check_collapse(world: World) -> None:
    """Whether a collapse can be seen where the run shall answer to it."""
    settings = world.config.population
    if settings.on_collapse == "warn":
        return
    answer = f"population.on_collapse is {settings.on_collapse!r}"
    if not settings.collapse_every:
        raise UsageError(f"{answer}: population.collapse_every must be above 0.")
    if world.aside is None:
        raise UsageError(
            f"{answer}, which reads how many neighbourhoods of {NEIGHBOURS} real samples are "
            f"covered: the data must have more than {NEIGHBOURS} different samples."
        )


def check_crossover(world: World) -> None:
    """Whether there are pairs, and a first one can be recombined."""
    plan, operators = world.plan, world.operators
    if operators.crossover is None:
        return
    crossover, name = operators.crossover
    children = operators.children if operators.chooses else len(plan.names)
    children = 1 if plan.chain else children  # the one in which the chain ends
    if plan.mu * (children + operators.parents_compete) < 2:
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
    call("crossover", name, world.operators.recombined, one, other, scene, 0)


def check_sight(config: Config, plan: Plan, data: Data) -> None:
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
        real, fake = (torch.zeros(each // packing, 1) for each in _judged(config, plan))
        name = f"the objective {spell(config.environment.objective)!r}"
        _judging(name, config, plan, partial(whole, real=real, fake=fake))


def _judged(config: Config, plan: Plan) -> tuple[int, int]:
    """Real samples and fakes in judging."""
    own = config.fitness.real == "own"
    return plan.samples if own else config.environment.batch, plan.samples


def _judging(name: str, config: Config, plan: Plan, attempt: Callable[[], Any]) -> Any:
    """What a first attempt at judging gives."""
    real, fakes = _judged(config, plan)
    try:
        with seeded(0, 0, "trial"):
            return attempt()
    except Exception as error:  # whatever a function of a user raises
        raise UsageError(
            f"{name} cannot judge {fakes} fakes beside {real} real samples: "
            f"{describe_error(error)}."
        ) from error


def check_diversity(config: Config, plan: Plan, data: Data) -> None:
    """Whether diversity finds what it reads, tried on real samples in the place of fakes."""
    name, ways = spell(config.fitness.diversity), config.fitness
    if not plan.samples or not plan.gamma:
        return
    if ways.race and plan.diversity is not flatness:
        raise UsageError(
            f"the diversity {name!r} cannot be judged on parts of the samples: fitness.race or "
            "fitness.gamma must be 0."
        )
    if plan.judges_by("gradient"):
        return
    real, fake = (
        plan.game.plain(data.draw(each, keyed(0, 0, "trial"))).to(plan.game.discriminator.vector)
        for each in _judged(config, plan)
    )
    seen = {"fake": fake, "real": real}
    if plan.landmarks is None:
        _check_diverse(config, plan, seen, "it may need more (fitness.samples)")
        return
    seen["behaviour"] = behaviour(fake, plan.landmarks)
    for past in (seen["behaviour"][None], seen["behaviour"][None][:0]):
        hint = "it may need more (fitness.samples)" if len(past) else "at first there is no past"
        _check_diverse(config, plan, {**seen, "past": past}, hint)


def _check_diverse(config: Config, plan: Plan, seen: dict[str, Tensor], hint: str) -> None:
    """Whether diversity is a finite number."""
    name = spell(config.fitness.diversity)

    def judge() -> float:
        return float(value(plan.diversity, seen, SEEN))

    found = _judging(f"the diversity {name!r}", config, plan, judge)
    if not isfinite(found):
        real, fakes = _judged(config, plan)
        raise UsageError(
            f"the diversity {name!r} of {fakes} samples beside {real} real ones is {found}: {hint}."
        )


def check_unrolling(config: Config, plan: Plan, data: Data) -> None:
    """Whether the discriminator can be unrolled, tried on real samples in the place of fakes."""
    if not plan.losses:
        raise UsageError(
            f"variation.unrolled is {plan.unrolled}: no mutation steps on a loss that would see it."
        )
    game, network = plan.game, plan.game.discriminator
    weights, buffers = network.state()
    environment = Environment(weights, buffers, fresh_moments(weights))
    real = data.draw(COUNT * config.environment.packing, keyed(0, 0, "trial")).to(weights)
    scene = Scene(environment, None, None, 0, 0.0, real, environment_lr=config.environment.lr)
    fake = real.clone().requires_grad_()
    what = f"variation.unrolled is {plan.unrolled}: the discriminator"
    try:
        with seeded(0, 0, "trial"):
            # Not autograd.grad, which passes over what cannot be differentiated twice in silence.
            look_ahead(plan, ("fake",), fake, *beginning(scene))["fake"].sum().backward()
    except Exception as error:  # whatever a user's network or game raises
        raise UsageError(f"{what} cannot be unrolled: {describe_error(error)}.") from error
    if not _takes_weights(game, real, weights, buffers):
        raise UsageError(f"{what} keeps weights beside its parameters: it must use those alone.")


@torch.no_grad()
def _takes_weights(game: Any, samples: Tensor, weights: Tensor, buffers: dict[str, Tensor]) -> bool:
    """Whether the discriminator makes of lent weights what it makes of loaded ones."""
    network, others = game.discriminator, 2 * weights
    network.load(others, buffers)
    with seeded(0, 0, "trial"):
        loaded = game.logits(samples)
    network.load(weights, buffers)
    with network.at(others), seeded(0, 0, "trial"):
        lent = game.logits(samples)
    return torch.allclose(lent, loaded, rtol=1e-4, equal_nan=True)


def check_accumulation(config: Config, plan: Plan) -> None:
    """Whether a batch's losses are the means of what they are over its equal parts."""
    if plan.unrolled:
        raise UsageError(
            f"variation.unrolled is {plan.unrolled}: steps ahead need the whole batch, so "
            "execution.accumulation must be 1."
        )
    if config.environment.penalties.get("lecam"):
        raise UsageError(
            "the penalty 'lecam' reads means of its whole batch: execution.accumulation must be 1."
        )
    random, count = keyed(0, 0, "trial"), plan.accumulation
    seen = {
        name: 4 * torch.randn((8 * count, *([3] if "features" in name else [])), generator=random)
        for name in READABLE
    }
    parts = [
        {name: each.chunk(count)[part] for name, each in seen.items()} for part in range(count)
    ]
    named = dict(zip(plan.names, plan.moves, strict=True))
    losses = {
        f"the mutation {name!r}": plan.losses[move]
        for name, moves in named.items() for move in moves if isinstance(move, int)
    }  # fmt: skip
    if plan.objective.whole:
        losses["the objective"] = plan.objective.whole
    for what, loss in losses.items():
        mean = torch.stack([value(loss, part) for part in parts]).mean()
        if not torch.allclose(value(loss, seen), mean, rtol=1e-4, atol=1e-6):
            raise UsageError(
                f"{what} reads its whole batch at once: execution.accumulation must be 1."
            )


def check_engine(config: Config, plan: Plan) -> None:
    """Whether the engine computes what is asked for."""
    name = config.execution.engine
    refusal = engines[name].refuses(plan)
    if refusal:
        raise UsageError(f"the engine {name!r} is not for this run: {refusal}.")
    if name == "batched" and config.execution.executor != "serial":
        raise UsageError(
            "the engine 'batched' (which may have been chosen when the run began) computes all "
            "children at once in one process: it needs execution.executor = 'serial'."
        )


def try_on(game: Any, data: Data, packing: int) -> None:
    """Let noise and real samples pass the networks once."""
    random = keyed(0, 0, "trial")
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


def check_scale(data: Data) -> None:
    """Whether images are scaled as networks make them."""
    values = data.draw(64, keyed(0, 0, "scale"))
    if isinstance(data, Table) and data.values.is_floating_point():  # pixels are drawn scaled
        values = data.values
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
