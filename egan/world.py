"""The world of a run: what its configuration means, made once. Nothing in it changes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from egan.config import Config
from egan.data import Data, fingerprint, near
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
from egan.generator import Generator
from egan.kernels import run
from egan.neighbourhoods import Neighbourhoods, set_aside
from egan.networks import Flat, make_pair
from egan.operators import Operators
from egan.optimizer import fresh_moments, scheduled
from egan.scene import Brood, Evidence, Lesson, Litter, Plan, Scene
from egan.state import State
from egan.workers import breed_task, pairs_of
from populations.individual import Individual
from populations.randomness import generator as keyed
from populations.randomness import seeded
from populations.transport import mapped


@dataclass(frozen=True, eq=False)
class World:
    """Game, data, operators and executor of a run.

    Attributes:
        config: where all of it comes from.
        data: the real samples.
        plan: how children are made and judged; its game is this process's workplace.
        operators: choice among mutations, crossover, selection.
        penalties: pairs of weight and penalty.
        knows_real_half: whether the discriminator's first step may use judging's real half.
        device: where networks compute.
        executor: where children are bred.
    """

    config: Config
    data: Data
    plan: Plan
    operators: Operators
    penalties: list[tuple[float, Any]]
    knows_real_half: bool
    device: torch.device
    executor: Any

    @property
    def environment_first(self) -> bool:
        """Whether the discriminator learns before the generators' turn."""
        return self.config.first == "environment"

    @property
    def hall(self) -> int:
        """Past discriminators that judge too, when the run has got far enough to have so many."""
        return self.config.environment.hall if self.operators.judged else 0

    @property
    def archive(self) -> int:
        """Earlier generations of which behaviours are kept."""
        return self.config.fitness.archive if self.plan.judges_by("past") else 0

    @cached_property
    def fingerprint(self) -> str:
        """By which the data are known again when the run goes on."""
        return fingerprint(self.data)

    @cached_property
    def aside(self) -> Neighbourhoods | None:
        """The real samples by which a collapse is seen; None where too few are different."""
        return set_aside(self.data, self.config.seed)

    @cached_property
    def _source(self) -> Data:
        """Where batches are drawn from."""
        found: Data = self.plan.game.source(near(self.data, self.device))
        return found

    @cached_property
    def sampler(self) -> Generator:
        """A workplace beside breeding's, for samples as an exported generator makes them."""
        game = copy.copy(self.plan.game)
        game.precision = torch.float32
        game.generator = Flat(make_pair(self.config, self.data.shape)[0], self.device)
        return Generator(game)

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
            self.plan.objective,
            [
                *[(settings.lazy * weight, each) for weight, each in self.penalties if due],
                *self.plan.game.terms,
            ],
            self._lr(settings.lr, generation),
            (settings.beta1, settings.beta2),
            settings.clip,
            self.plan.accumulation,
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
        """All broods together; see `Operators.gather`."""
        known = scene.real_half if self.knows_real_half else None
        engine = engines[self.config.execution.engine]
        return self.operators.gather(broods, scene, parents, known, engine)

    def scene(self, state: State, environment: Environment) -> Scene:
        """What the children of a generation will meet."""
        generation = state.generation
        real = known = beside = seen = None
        shares = engines[self.config.execution.engine].shares
        by_gradient = self.plan.judges_by("gradient")
        if by_gradient or self.plan.judges_by("real"):
            real = self._judging_real(generation)
            if shares and by_gradient and not self.plan.objective.whole:
                with (
                    seeded(self.config.seed, generation, "judging real"),
                    judging_precision(self.plan),
                ):
                    known = half(self.plan.game, environment, real, self.plan.objective.real)
        lr = self._lr(self.config.variation.lr, generation)
        names = tuple(sorted(name for name in self.plan.read() if name.startswith("real")))
        if names or self.plan.unrolled:
            beside = self._real("breeding real", self.plan.batch, generation)
            if shares and not self.plan.unrolled:
                seen = self._look(environment, names, beside, generation)
        # Who shares what samples gave need not send them to other processes.
        left = real if self.plan.judges_by("real") or not known else None
        return Scene(
            environment, left, known, generation, lr,
            None if seen else beside, seen, self.operators.chosen(state.history, generation),
            self._lr(self.config.environment.lr, generation),
            state.hall, self._past(state),
        )  # fmt: skip

    def _past(self, state: State) -> Tensor | None:
        """Behaviours of parents and of earlier generations, where diversity reads them."""
        if not self.plan.judges_by("past"):
            return None
        known = [*state.behaviours, *(one.behaviour for one in state.population)]
        rows = [each for each in dict.fromkeys(known) if each]  # the first parents have none
        return torch.tensor(rows, device=self.device).reshape(-1, self.config.fitness.landmarks)

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
        return [
            self._averaged(one, litter.roots[one.number], generation)
            for one in self.operators.survivors(litter, generation)
        ]

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
            real = self._source.draw(count, keyed(seed, generation, role, step))
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
