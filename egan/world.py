"""The world of a run: what its configuration means, made once. Nothing in it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from egan.config import Config, Networks
from egan.data import Data, make_data
from egan.environment import Environment, Rules, learn, real_gradient, settle
from egan.fitness import qualities
from egan.games import games
from egan.losses import Objective, mutations, objectives
from egan.networks import Flat, make_pair
from egan.optimizer import fresh_moments, scheduled
from egan.penalties import penalties
from egan.scores import applicable, scores
from egan.variation import Plan, breed
from populations.errors import UsageError
from populations.executors import executors
from populations.individual import Individual
from populations.randomness import generator as keyed
from populations.randomness import seeded
from populations.registry import lookup, spell
from populations.selection import Selection, resolve, select


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


def make_world(config: Config, source: Any = None) -> World:
    """Build all that a configuration names, and try each part once on the others.

    Args:
        config: what to build.
        source: data given in Python, which `config.data` only describes.

    Raises:
        UsageError: a name is unknown, a device is missing, or parts do not fit each other.
    """
    device = _device(config.execution.device)
    data = make_data(config.data if source is None else source, config.data_options)
    torch.set_num_threads(config.execution.threads)
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
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"the device {name!r} is not there: use cpu, or auto for a GPU where there is one."
        ) from error
    return device


def _try_on(game: Any, data: Data) -> None:
    """Let noise and real samples pass the networks once."""
    random = keyed(0, 0, "trial")
    real = data.draw(4, random)
    if len(data.shape) > 1 and real.abs().max() > 1:
        low, high = float(real.min()), float(real.max())
        raise UsageError(
            f"the data have values from {low:g} to {high:g}: images must be scaled to [-1, 1]."
        )
    real = real.to(game.discriminator.vector)
    buffers = game.generator.buffers(), game.discriminator.buffers()
    with torch.no_grad():
        fake = _attempt("generator", game.generate, game.draw(4, random))
        if fake.shape != real.shape:
            raise UsageError(
                f"the generator makes samples of shape {tuple(fake.shape[1:])} and the data "
                f"have {data.shape}: they must be equal."
            )
        logits = _attempt("discriminator", game.logits, real)
    if logits.shape[:1] != (4,):
        raise UsageError(
            f"the discriminator turns 4 samples into logits of shape {tuple(logits.shape)}: the "
            "first dimension must be the number of samples."
        )
    game.generator.load(game.generator.vector, buffers[0])
    game.discriminator.load(game.discriminator.vector, buffers[1])


def _attempt(kind: str, function: Any, argument: Tensor) -> Tensor:
    try:
        result: Tensor = function(argument)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise UsageError(
            f"the {kind} does not accept an input of shape {tuple(argument.shape)}: {reason}."
        ) from error
    return result
