"""The world of a run: what its configuration means, made once. Nothing in it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from egan.config import Config
from egan.data import Data
from egan.environment import Environment, Rules, learn, real_gradient, settle
from egan.losses import Objective
from egan.networks import Flat, make_pair
from egan.optimizer import fresh_moments, scheduled
from egan.variation import Plan, breed
from populations.individual import Individual
from populations.randomness import generator as keyed
from populations.randomness import seeded
from populations.selection import Selection, select


class Shared:
    """A plan that is rebuilt, not copied, in a worker process: networks need not be picklable."""

    def __init__(self, make: Callable[[], Plan]) -> None:
        self.make = make
        self.plan: Plan | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Shared, (self.make,)

    def get(self) -> Plan:
        """The plan, made at the first call in each process."""
        if self.plan is None:
            self.plan = self.make()
        return self.plan


def breed_task(shared: Shared, *arguments: Any) -> list[Individual]:
    """`breed` as executors run it."""
    return breed(shared.get(), *arguments)


@dataclass(frozen=True, eq=False)
class World:
    """Game, data, operators and executor of a run.

    Attributes:
        config: where all of it comes from.
        data: the real samples.
        plan: how children are made and judged; its game is this process's workplace.
        selection: who survives.
        objective: what the discriminator minimises.
        penalties: pairs of weight and penalty.
        device: where networks compute.
        executor: where children are bred.
    """

    config: Config
    data: Data
    plan: Plan
    selection: Selection
    objective: Objective
    penalties: list[tuple[float, Any]]
    device: torch.device
    executor: Any

    @property
    def environment_first(self) -> bool:
        """Whether the discriminator learns before the generators' turn."""
        return self.config.first == "environment"

    @property
    def judged(self) -> bool:
        """Whether there is anything to select by fitness."""
        return self.plan.samples > 0

    def settle(self, environment: Environment) -> Environment:
        """The environment as a generation's children will meet it."""
        return settle(self.plan.game.discriminator, environment)

    def adapt(
        self, environment: Environment, parents: list[Individual], generation: int
    ) -> tuple[Environment, dict[str, float]]:
        """The discriminator's steps on the parents' fakes; the means of what they report."""
        settings = self.config.environment
        rules = Rules(
            self.objective,
            self.penalties,
            self._lr(settings.lr, generation),
            (settings.beta1, settings.beta2),
        )
        rows: list[dict[str, float]] = []
        for step in range(settings.steps):
            real = self._real("real", settings.batch, generation, step)
            fake = self._fakes(parents, generation, step)
            with seeded(self.config.seed, generation, "environment", step):
                environment, row = learn(self.plan.game, environment, real, fake, rules)
            rows.append(row)
        return environment, {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}

    def breed(
        self, parents: list[Individual], environment: Environment, generation: int
    ) -> list[Individual]:
        """All children of all parents, judged."""
        config = self.config
        real_half = None
        if self.judged and self.plan.gamma:
            with seeded(config.seed, generation, "judging real"):
                real = self._judging_real(generation)
                real_half = real_gradient(self.plan.game, environment, real, self.objective)
        lr = self._lr(config.variation.lr, generation)
        broods = self.executor(
            breed_task,
            [
                (replace(parent, average=None, samples=None), slot, environment, real_half,
                 generation, lr)
                for slot, parent in enumerate(parents)
            ],
        )  # fmt: skip
        return [child for brood in broods for child in brood]

    def select(
        self, offspring: list[Individual], parents: list[Individual], generation: int
    ) -> list[Individual]:
        """The survivors, best first, with the averages of their lineages brought up to date."""
        with seeded(self.config.seed, generation, "selection"):
            survivors = select(self.selection, offspring, self.plan.mu, self.judged)
        if survivors:  # fewer than mu: the lines that are left share the places
            survivors = [survivors[place % len(survivors)] for place in range(self.plan.mu)]
        if self.judged:
            survivors = sorted(survivors, key=lambda one: -one.total)
        by_number = {parent.number: parent for parent in parents}
        return [self._averaged(one, by_number[one.parent], generation) for one in survivors]

    def first_population(self) -> tuple[list[Individual], Environment]:
        """Parents and discriminator with initial weights keyed on the seed."""
        settings, seed = self.config.population, self.config.seed
        indices = [0 if settings.initial == "identical" else slot for slot in range(settings.mu)]
        pairs = [make_pair(self.config.networks, self.data.shape, seed, index) for index in indices]
        environment = Flat(pairs[0][1], self.device)
        weights, buffers = environment.state()
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
        real = self.data.draw(count, keyed(self.config.seed, generation, role, step))
        return real.to(self.device, self.plan.game.discriminator.vector.dtype)

    def _judging_real(self, generation: int) -> Tensor:
        if self.config.fitness.real == "own":
            return self._real("judging real", self.plan.samples, generation)
        upcoming = generation + self.environment_first
        return self._real("real", self.config.environment.batch, upcoming)

    def _fakes(self, parents: list[Individual], generation: int, step: int) -> Tensor:
        """A discriminator batch: equal parts from all parents."""
        part = self.config.environment.batch // len(parents)
        game, role = self.plan.game, "environment noise"
        pieces = []
        for slot, parent in enumerate(parents):
            if parent.samples is not None:
                pieces.append(parent.samples[step * part : (step + 1) * part])
                continue
            game.generator.load(parent.weights, parent.buffers)
            index = step * len(parents) + slot
            noise = game.draw(part, keyed(self.config.seed, generation, role, index))
            with torch.no_grad(), seeded(self.config.seed, generation, role, index):
                pieces.append(game.generate(noise))
        return torch.cat(pieces)
