"""Diagnostics: what variation offers a generation, and what selection makes of it.

They are a function of the state before a generation, which is bred once more for them, and never of
the run, whose weights are the same bit for bit with and without them. What they draw beside the
generation's own numbers has keys of its own.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

import torch
from scipy import stats
from torch import Tensor

from egan.breeding import judge
from egan.data import Data
from egan.engines import engines
from egan.environment import Environment
from egan.evolution import meet
from egan.fitness import coverage
from egan.kernels import as_written
from egan.scene import Litter, Plan
from egan.scores import applicable, evaluate, score_of
from egan.state import State
from egan.variation import anew
from egan.workers import members_of
from egan.world import World
from populations.individual import Individual, is_finite
from populations.randomness import borrowed, key, seeded
from populations.randomness import generator as keyed

MORE = 16  # times as many judged samples, on which survivors are chosen again
SAMPLES = 2_000  # real ones, and as many of each child (to whole batches), that are compared


def diagnose(state: State, world: World) -> dict[str, float]:
    """How the generation that follows a state goes; nan where a figure is not defined.

    Args:
        state: before the generation; not changed.
        world: of the run.

    Returns:
        `cosine` and `step-ratio` of siblings (see `siblings`), `agreement` (see `agreement`), and
        means over the population afterwards: `age`, in generations since birth (0: a child of this
        one), `output-diversity` and `weight-diversity` (see `diversities`). `tau-NAME` is Kendall's
        rank correlation between the children's fitness and their merit by that name (see `merits`).
    """
    with borrowed():
        environment, _ = meet(state, world)
        litter = world.breed(state, environment)
        population = world.select(litter, state.generation) or state.population
        return {
            **siblings(state.population, litter.children),
            "agreement": agreement(state, world, environment, litter),
            **correlations(world, litter.children, state.generation),
            "age": age(world.plan, population, state.generation),
            **diversities(world, population, state.generation),
        }


def siblings(parents: Sequence[Individual], children: Sequence[Individual]) -> dict[str, float]:
    """How far the steps of siblings agree in direction and in length.

    A step leads from a parent of the population to a finite child; to a crossover's child, or to
    one in a chain, by way of another child.

    Returns:
        `cosine`: between the steps of two siblings, mean over all pairs, in [-1, 1]. `step-ratio`:
        the shortest of a parent's steps over the longest, mean over the parents, in [0, 1].
    """
    cosines: list[float] = []
    ratios: list[float] = []
    for steps in _steps(parents, children):
        lengths = steps.norm(dim=1)
        ways = steps / lengths[:, None]
        row, column = torch.triu_indices(len(steps), len(steps), 1, device=steps.device)
        cosines += (ways @ ways.T)[row, column].tolist()
        ratios.append(float(lengths.min() / lengths.max()))
    return {"cosine": mean(cosines), "step-ratio": mean(ratios)}


def _steps(parents: Sequence[Individual], children: Sequence[Individual]) -> list[Tensor]:
    """Steps of each parent's children, (children, weights), float64, where it has two or more."""
    before = {one.number: one.weights for one in parents}
    ways = {child.number: child.parent for child in children}
    found: dict[int, list[Tensor]] = defaultdict(list)
    for child in filter(is_finite, children):
        root = child.parent
        while root not in before:
            root = ways[root]
        found[root].append(child.weights.double() - before[root].double())
    return [torch.stack(steps) for steps in found.values() if len(steps) > 1]


def agreement(state: State, world: World, environment: Environment, litter: Litter) -> float:
    """The share of survivors that the same selection also chooses on 16 times the judged samples.

    They are judged against the same environment, by the same fitness in full, on shared noise and
    real samples of their own. nan where nobody is judged, nobody survives, or children follow each
    other in a chain, which other judgements would have led elsewhere.

    Args:
        state: before the generation.
        world: of the run.
        environment: that the generation's children met.
        litter: of the generation.
    """
    survivors = world.select(litter, state.generation)
    if not world.operators.judged or world.plan.chain or not survivors:
        return math.nan
    candidates = litter.children + litter.again
    again = judged_again(state, world, environment, candidates, MORE * world.plan.samples)
    copies = {one.number: one for one in again}
    pool = [copies[one.number] for one in litter.pool]
    chosen = world.select(replace(litter, pool=pool), state.generation)
    first, second = (Counter(one.number for one in found) for found in (survivors, chosen))
    return (first & second).total() / len(survivors)


def judged_again(
    state: State,
    world: World,
    environment: Environment,
    candidates: Sequence[Individual],
    samples: int,
    shared: bool = True,
    draw: int = 0,
) -> list[Individual]:
    """Copies of candidates of a generation, judged in full on other noise and real samples.

    Args:
        state: before the generation.
        world: of the run.
        environment: that the generation's children met.
        candidates: who is judged, all beside each other; not changed.
        samples: of each candidate, and real ones, where fitness reads any.
        shared: whether all are judged on the same noise.
        draw: which of several independent judgements.
    """
    other = _judging(world, state.generation, samples, shared, draw)
    copies = [anew(one) for one in candidates]
    with as_written(world.plan.game):  # passes of another size would be compiled again
        scene = other.scene(state, environment)
        members = members_of(other.plan, list(enumerate(copies)), scene)
        judge(engines[world.config.execution.engine], members)
    world.operators.settle_totals(copies)
    return copies


def _judging(world: World, generation: int, samples: int, shared: bool, draw: int) -> World:
    """The world in which so many samples are judged, drawn by a key of their own."""
    config, seed = world.config, _key(world, generation, draw)
    return replace(
        world,
        config=replace(config, seed=seed, fitness=replace(config.fitness, real="own")),
        plan=replace(
            world.plan, seed=seed, samples=samples, shared_noise=shared, race=0.0, keeps="fresh",
            halves=False,
        ),
    )  # fmt: skip


def _key(world: World, generation: int, draw: int = 0) -> int:
    return key(world.config.seed, generation, "diagnostics", draw)


def correlations(world: World, children: Sequence[Individual], generation: int) -> dict[str, float]:
    """Kendall's tau-b between the fitness of children and each of their merits, in [-1, 1]."""
    judged = [child for child in children if child.fitness.valid]
    found = merits(world, judged, generation)
    fitness = [child.total for child in judged]
    return {f"tau-{name}": tau(fitness, values) for name, values in found.items()}


def tau(left: Sequence[float], right: Sequence[float]) -> float:
    """Kendall's tau-b (1945); nan of fewer than two pairs, or where all of a side are equal."""
    return float(stats.kendalltau(left, right).statistic) if len(left) > 1 else math.nan


def merits(
    world: World, individuals: Sequence[Individual], generation: int, draw: int = 0
) -> dict[str, list[float]]:
    """How well individuals' samples, all of the same noise, match real ones; higher is better.

    Selection knows none of it: `energy-distance` (minus it), `coverage` (of real neighbourhoods),
    and `modes` (covered) where the data set knows them.

    Args:
        world: of the run.
        individuals: with finite weights; samples are made as in breeding.
        generation: the current one.
        draw: which of several independent draws of noise and real samples.
    """
    own, data = _key(world, generation, draw), world.data
    with seeded(own, 0, "real"):  # data of one's own may draw as they like
        real = data.draw(SAMPLES, keyed(own, 0, "real"))
    known = applicable(data, world.config.records.features)
    names: list[str] = [each for each in ("energy-distance", "modes") if each in known]
    rows = [_merits(outputs(world, one, own), data, names, real) for one in individuals]
    return {name: [row[name] for row in rows] for name in [*names, "coverage"]}


def _merits(samples: Tensor, data: Data, names: list[str], real: Tensor) -> dict[str, float]:
    found = evaluate(samples, data, names, real)
    merit = {name: score_of(name).merit(score) for name, score in found.items()}
    return {**merit, "coverage": float(coverage(samples, real))}


def outputs(world: World, individual: Individual, seed: int) -> Tensor:
    """An individual's samples in batches like breeding's, `SAMPLES` or more, on the CPU."""
    game, batch = world.plan.game, world.plan.batch
    noise = game.draw(math.ceil(SAMPLES / batch) * batch, keyed(seed, 0, "noise"))
    game.generator.load(individual.weights, individual.buffers)
    with torch.no_grad(), seeded(seed, 0, "samples"):
        samples = torch.cat([game.plain(game.generate(part)) for part in noise.split(batch)])
    return samples.to("cpu", torch.float32)


def age(plan: Plan, population: Sequence[Individual], generation: int) -> float:
    """Mean number of generations since individuals were born; 0 of those born in this one."""
    return statistics.fmean(generation - plan.birth(one.number) for one in population)


def diversities(
    world: World, population: Sequence[Individual], generation: int
) -> dict[str, float]:
    """How far apart the individuals of a population lie; nan of one alone.

    Returns:
        `output-diversity`: the distance between what two make of the same noise, mean over noise
        and pairs, in the data's units. `weight-diversity`: the distance between two vectors of
        weights, mean over pairs, over their mean norm.
    """
    if len(population) < 2:
        return {"output-diversity": math.nan, "weight-diversity": math.nan}
    made = [outputs(world, one, _key(world, generation)).flatten(1) for one in population]
    apart = [float((one - other).norm(dim=1).mean()) for one, other in combinations(made, 2)]
    weights = torch.stack([one.weights.double() for one in population])
    relative = torch.pdist(weights).mean() / weights.norm(dim=1).mean()
    return {"output-diversity": statistics.fmean(apart), "weight-diversity": float(relative)}


def mean(values: Iterable[float]) -> float:
    """The mean of those that are defined; nan where none is."""
    known = [value for value in values if not math.isnan(value)]
    return statistics.fmean(known) if known else math.nan
