"""The world of a run: what its configuration means, made once. Nothing in it changes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from math import inf
from typing import Any

import torch
from torch import Tensor

from egan.breeding import breed, judge
from egan.config import Config
from egan.data import Data
from egan.engines import engines
from egan.engines.judging import judging_precision
from egan.environment import (
    Batch,
    Environment,
    Half,
    Rules,
    clipped,
    half,
    learn,
    settle,
    sight_kernel,
)
from egan.fitness import Combination, weighted_sum
from egan.kernels import run
from egan.losses import Objective
from egan.networks import Flat, make_pair
from egan.optimizer import fresh_moments, scheduled
from egan.recombination import Crossover, Mating, recombine
from egan.state import PARENT, State
from egan.variation import INHERITED, Brood, Evidence, Member, Plan, Scene
from populations.choice import Choice, History, choices, remember
from populations.executors import local_device
from populations.individual import Individual, is_finite
from populations.randomness import borrowed, seeded
from populations.randomness import generator as keyed
from populations.registry import spell
from populations.selection import Selection, select
from populations.transport import mapped


class Shared:
    """A plan that is rebuilt, not copied, in a worker process: networks need not be picklable."""

    def __init__(self, make: Callable[[str], Plan], device: str) -> None:
        self.make, self.device = make, device
        self.plan: Plan | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Shared, (self.make, self.device)

    def get(self) -> Plan:
        """The plan, made at the first call in each process."""
        if self.plan is None:
            self.plan = self.make(local_device(self.device))
        return self.plan


def breed_task(
    shared: Shared, engine: str, parents: list[tuple[int, Individual]], scene: Scene
) -> list[Brood]:
    """Breed as executors run it, on the device of the process that it runs in."""
    plan = shared.get()
    device = plan.game.generator.vector.device
    if scene.environment.weights.device != device:
        parents, scene = mapped(partial(torch.Tensor.to, device=device), (parents, scene))
    with borrowed():
        return breed(engines[engine], members_of(plan, parents, scene))


def members_of(plan: Plan, parents: list[tuple[int, Individual]], scene: Scene) -> list[Member]:
    """Parents at work in a scene."""
    return [Member(parent, slot, plan, scene) for slot, parent in parents]


def pairs_of(parents: list[Individual]) -> list[tuple[int, Individual]]:
    """Parents with their places, without what breeding does not read."""
    return [
        (slot, replace(parent, average=None, evidence=None)) for slot, parent in enumerate(parents)
    ]


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a generation's breeding already knows of the discriminator's next step.

    Attributes:
        bred: fakes of the parents, where the discriminator learns from them.
        real_half: of the objective on the step's real batch, where judging has computed it.
    """

    bred: Sequence[Evidence] = ()
    real_half: Half | None = None


@dataclass(frozen=True, eq=False)
class Litter:
    """All children of a generation.

    Attributes:
        children: of all parents.
        again: the parents as they were judged beside them, where they were.
        pool: who may survive.
        roots: the parent of the population from which each of the pool descends, by number.
        lesson: what breeding knows of the discriminator's next step.
    """

    children: list[Individual]
    again: list[Individual]
    pool: list[Individual]
    roots: dict[int, Individual]
    lesson: Lesson


@dataclass(frozen=True, eq=False)
class World:
    """Game, data, operators and executor of a run.

    Attributes:
        config: where all of it comes from.
        data: the real samples.
        plan: how children are made and judged; its game is this process's workplace.
        selection: who survives.
        choice: by which mutations parents have children.
        crossover: how two candidates become one more; None: they do not.
        combine: totals of qualities and diversities.
        objective: what the discriminator minimises.
        penalties: pairs of weight and penalty.
        knows_real_half: whether the discriminator's first step may use judging's real half.
        device: where networks compute.
        executor: where children are bred.
    """

    config: Config
    data: Data
    plan: Plan
    selection: Selection
    choice: Choice
    crossover: Crossover | None
    combine: Combination
    objective: Objective
    penalties: list[tuple[float, Any]]
    knows_real_half: bool
    device: torch.device
    executor: Any

    @property
    def environment_first(self) -> bool:
        """Whether the discriminator learns before the generators' turn."""
        return self.config.first == "environment"

    @property
    def parents_compete(self) -> bool:
        """Whether parents may survive beside their children."""
        return self.config.population.parents == "compete"

    @property
    def chooses(self) -> bool:
        """Whether a parent has children by some of the mutations only."""
        return self.choice != choices["all"]

    @property
    def judged(self) -> bool:
        """Whether there is anything to select by fitness."""
        return self.plan.samples > 0

    def operators(self) -> list[str]:
        """What children come from: each mutation, and the crossover."""
        crossover = self.config.population.crossover
        return [*self.plan.names, *([] if crossover is None else [spell(crossover)])]

    def origins(self) -> list[str]:
        """What a survivor may come from: the same, and its being a parent still."""
        return [*self.operators(), *([PARENT] if self.parents_compete else [])]

    def settle(self, environment: Environment) -> Environment:
        """The environment as a generation's children will meet it."""
        return settle(self.plan.game.discriminator, environment)

    def adapt(
        self,
        environment: Environment,
        teachers: list[Individual],
        generation: int,
        lesson: Lesson | None = None,
    ) -> tuple[Environment, dict[str, float]]:
        """The discriminator's steps on the teachers' fakes; the means of what they report.

        Args:
            environment: settled.
            teachers: whose fakes it learns from, unless the lesson has fakes of their parents.
            generation: the current one.
            lesson: what breeding knows already, if anything.
        """
        settings = self.config.environment
        lesson = lesson or Lesson()
        evidence = list(lesson.bred) or [one.evidence for one in teachers]
        rows: list[dict[str, float]] = []
        for step in range(settings.steps):
            batch = Batch(
                self._real("real", settings.batch, generation, step),
                self._fakes(teachers, evidence, generation, step),
                None if step else lesson.real_half,
                self._known_fakes(evidence),
            )
            if step:
                environment = self.settle(environment)
            rules = self.rules(generation, step)
            with seeded(self.config.seed, generation, "environment", step):
                environment, row = learn(self.plan.game, environment, batch, rules)
            rows.append(row)
        return environment, {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}

    def rules(self, generation: int, step: int) -> Rules:
        """What a generation's step of the discriminator does beside its batch.

        Lazy penalties are k times as strong on every k-th step of the run, so that their mean over
        k steps is what it would be on each (Karras et al., 2020, StyleGAN2, section 3.1).
        """
        settings = self.config.environment
        due = (generation * settings.steps + step) % settings.lazy == 0
        return Rules(
            self.objective,
            [(settings.lazy * weight, each) for weight, each in self.penalties if due],
            self._lr(settings.lr, generation),
            (settings.beta1, settings.beta2),
            settings.clip,
        )

    def breed(self, state: State, environment: Environment) -> Litter:
        """All children of all parents, judged, and what the discriminator may learn from them.

        Args:
            state: before the generation.
            environment: that its children meet, settled.
        """
        scene, pairs = self.scene(state, environment), pairs_of(state.population)
        groups = [pairs] if self.executor.together else [[pair] for pair in pairs]
        engine = self.config.execution.engine
        found = self.executor(breed_task, [(engine, group, scene) for group in groups])
        broods = [brood for group in found for brood in group]
        if not self.executor.together:  # they may come from other devices
            broods = mapped(partial(torch.Tensor.to, device=self.device), broods)
        return self.gather(broods, scene, state.population)

    def gather(self, broods: list[Brood], scene: Scene, parents: list[Individual]) -> Litter:
        """All broods together."""
        children = [child for brood in broods for child in brood.children]
        again = [brood.parent for brood in broods if brood.parent]
        self._combine(children + again)
        lines = [self._line(brood) for brood in broods]
        roots = {
            one.number: parent for line, parent in zip(lines, parents, strict=True) for one in line
        }
        lesson = Lesson(
            [brood.evidence for brood in broods if brood.evidence],
            scene.real_half if self.knows_real_half else None,
        )
        pool = [one for line in lines for one in line]
        return self._cross(Litter(children, again, pool, roots, lesson), scene)

    def _cross(self, litter: Litter, scene: Scene) -> Litter:
        """The litter with the children of its best pairs, judged."""
        if self.crossover is None:
            return litter
        born, roots = [], {}
        for index, (fitter, other) in enumerate(self._pairs(litter.pool, scene.generation)):
            child = self.recombined(fitter, other, scene, index)
            born.append(child)
            roots[child.number] = litter.roots[fitter.number]
        if born:
            judge(engines[self.config.execution.engine], members_of(
                self.plan, list(enumerate(born)), scene
            ))  # fmt: skip
        self._combine(litter.children + litter.again + born)
        return replace(
            litter,
            children=litter.children + born,
            pool=litter.pool + born,
            roots={**litter.roots, **roots},
        )

    def _pairs(
        self, pool: list[Individual], generation: int
    ) -> list[tuple[Individual, Individual]]:
        """Pairs of highest summed fitness (Li et al., 2021, IE-GAN), the fitter of each first.

        Random ones where nobody is judged.
        """
        fit = [one for one in pool if is_finite(one) and (one.fitness.valid or not self.judged)]
        if self.judged:
            pairs = list(combinations(sorted(fit, key=lambda one: -one.total), 2))
            pairs.sort(key=lambda pair: -pair[0].total - pair[1].total)
        else:
            with seeded(self.config.seed, generation, "pairs"):
                pairs = list(combinations(random.sample(fit, len(fit)), 2))
        return pairs[: self.plan.crossovers]

    def recombined(
        self, fitter: Individual, other: Individual, scene: Scene, index: int
    ) -> Individual:
        """The child of two candidates."""
        plan, seed, generation = self.plan, self.config.seed, scene.generation
        assert self.crossover is not None
        name = self.operators()[-1]
        mating = Mating(
            plan.game, scene.environment,
            plan.game.draw(plan.batch, keyed(seed, generation, "crossover noise", index)),
            scene.lr, plan.betas, INHERITED if plan.moments == INHERITED else name,
        )  # fmt: skip
        number = plan.number(generation, plan.mu * len(plan.names) + index)
        with seeded(seed, generation, "crossover", index):
            return recombine(self.crossover.cross, name, fitter, other, mating, number)

    def _line(self, brood: Brood) -> list[Individual]:
        """Who of a brood, and its parent, may survive."""
        if brood.accepted is not None:
            return brood.accepted
        return brood.candidates() if self.parents_compete else brood.children

    def _combine(self, candidates: list[Individual]) -> None:
        """The totals of candidates, where they are not the sum that they have already."""
        judged = [one for one in candidates if one.fitness.valid]
        if self.combine is weighted_sum or not judged:
            return
        quality, diversity = zip(*(one.fitness.values for one in judged), strict=True)
        totals = self.combine(quality, diversity, self.plan.gamma)
        for one, total in zip(judged, totals, strict=True):
            one.total = total

    def remember(self, history: History, litter: Litter) -> History:
        """The history with what this generation's mutations gained over their parents."""
        before = {one.number: one.total for one in litter.again if one.fitness.valid}
        gains = [
            (child.mutation, child.total - before[child.parent] if child.fitness.valid else -inf)
            for child in litter.children
            if child.parent in before and child.mutation in self.plan.names
        ]
        return remember(history, gains, len(self.plan.names)) if self.choice.reads_gains else []

    def chosen(self, history: History, generation: int) -> dict[int, list[int]] | None:
        """By each parent's place, those of the mutations by which it has children; None: all."""
        if not self.chooses:
            return None
        names, count, found = list(self.plan.names), self.config.variation.children, {}
        for slot in range(self.plan.mu):
            turn = generation + slot  # parents take turns with the mutations
            with seeded(self.config.seed, generation, "choice", slot):
                chosen = self.choice.choose(history, names, count, turn)
            found[slot] = sorted(map(names.index, chosen))
        return found

    def scene(self, state: State, environment: Environment) -> Scene:
        """What the children of a generation will meet."""
        generation = state.generation
        real = known = beside = seen = None
        shares = engines[self.config.execution.engine].shares
        by_gradient = self.plan.judges_by("gradient")
        if by_gradient or self.plan.judges_by("real"):
            real = self._judging_real(generation)
            if shares and by_gradient and not self.objective.whole:
                with (
                    seeded(self.config.seed, generation, "judging real"),
                    judging_precision(self.plan),
                ):
                    known = half(self.plan.game, environment, real, self.objective.real)
        lr = self._lr(self.config.variation.lr, generation)
        names = tuple(sorted(name for name in self.plan.read() if name.startswith("real")))
        if names:
            beside = self._real("breeding real", self.plan.batch, generation)
            if shares:
                seen = self._look(environment, names, beside, generation)
        # Who shares what samples gave need not send them to other processes.
        left = real if self.plan.judges_by("real") or not known else None
        return Scene(
            environment, left, known, generation, lr,
            None if seen else beside, seen, self.chosen(state.history, generation),
        )  # fmt: skip

    def _look(
        self, environment: Environment, names: tuple[str, ...], real: Tensor, generation: int
    ) -> dict[str, Tensor]:
        """What the discriminator makes of real samples."""
        state = environment.weights, environment.buffers
        with seeded(self.config.seed, generation, "breeding real"):
            found: dict[str, Tensor] = run(
                self.plan.game, sight_kernel, (names,), (real,), discriminator=state
            )
        return found

    def select(self, litter: Litter, generation: int) -> list[Individual]:
        """The survivors, best first, with the averages of their lineages brought up to date."""
        with seeded(self.config.seed, generation, "selection"):
            survivors = select(self.selection, litter.pool, self.plan.mu, self.judged)
        if survivors:  # fewer than mu: the lines that are left share the places
            survivors = [survivors[place % len(survivors)] for place in range(self.plan.mu)]
        if self.judged:
            survivors = sorted(survivors, key=lambda one: -one.total)
        return [self._averaged(one, litter.roots[one.number], generation) for one in survivors]

    def first_population(self) -> tuple[list[Individual], Environment]:
        """Parents and discriminator with initial weights keyed on the seed."""
        settings = self.config.population
        indices = [0 if settings.initial == "identical" else slot for slot in range(settings.mu)]
        pairs = [make_pair(self.config, self.data.shape, index) for index in indices]
        environment = Flat(pairs[0][1], self.device)
        weights, buffers = environment.state()
        weights = clipped(weights, self.config.environment.clip)
        population = []
        for number, (generator, _) in enumerate(pairs):
            own, statistics = Flat(generator, self.device).state()
            average = own.clone() if settings.average else None
            population.append(Individual(own, statistics, average=average, number=number))
        return population, Environment(weights, buffers, fresh_moments(weights))

    def _lr(self, lr: float, generation: int) -> float:
        return scheduled(lr, generation, self.config.horizon, self.config.lr_final)

    def _averaged(self, child: Individual, parent: Individual, generation: int) -> Individual:
        if parent.average is None:
            return child
        # A young average forgets faster, or it would carry the initial weights for long.
        decay = min(self.config.population.average, (1 + generation) / (10 + generation))
        return replace(child, average=parent.average.lerp(child.weights, 1 - decay))

    def _real(self, role: str, count: int, generation: int, step: int = 0) -> Tensor:
        seed = self.config.seed
        with seeded(seed, generation, role, step):  # data of one's own may draw as they like
            real = self.data.draw(count, keyed(seed, generation, role, step))
        return real.to(self.device, self.plan.game.discriminator.vector.dtype)

    def _judging_real(self, generation: int) -> Tensor:
        if self.config.fitness.real == "own":
            return self._real("judging real", self.plan.samples, generation)
        upcoming = generation + self.environment_first
        return self._real("real", self.config.environment.batch, upcoming)

    def _known_fakes(self, evidence: Sequence[Evidence | None]) -> Half | None:
        """The fake half of the objective, where breeding or judging kept it for all teachers."""
        halves = [each.half for each in evidence if each and each.half]
        if not self.plan.halves or len(halves) < len(evidence):
            return None
        gradient = sum((each.gradient for each in halves[1:]), halves[0].gradient) / len(halves)
        value = torch.stack([each.value for each in halves]).mean()
        return Half(value, gradient, halves[0].buffers)

    def _fakes(
        self,
        teachers: list[Individual],
        evidence: Sequence[Evidence | None],
        generation: int,
        step: int,
    ) -> Tensor:
        """A discriminator batch: equal parts from all teachers."""
        part = self.config.environment.batch // len(teachers)
        game, role = self.plan.game, "environment noise"
        pieces = []
        for slot, (teacher, made) in enumerate(zip(teachers, evidence, strict=True)):
            if made is not None:
                pieces.append(made.samples[step * part : (step + 1) * part])
                continue
            game.generator.load(teacher.weights, teacher.buffers)
            index = step * len(teachers) + slot
            noise = game.draw(part, keyed(self.config.seed, generation, role, index))
            with torch.no_grad(), seeded(self.config.seed, generation, role, index):
                pieces.append(game.generate(noise))
        return torch.cat(pieces)
