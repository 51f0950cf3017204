"""Judging: the fitness of children, each on all samples or in a race."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from egan.behaviours import behaviour
from egan.environment import Half
from egan.fitness import SEEN
from egan.kernels import run
from egan.losses import value
from egan.scene import JUDGED, Evidence, Plan, Scene
from egan.variation import note_finite
from populations.individual import Individual
from populations.randomness import generator as keyed
from populations.randomness import seeded

Found = Sequence[Tensor]
"""Quality, diversity, cases and behaviour (see `Individual`), scalars."""
Shown = tuple[Tensor, Tensor, Half | None]
"""Samples, their logits and, where it is wanted, the fake half of the objective on them; of an
objective that does not separate, the whole."""


def judging_noise(plan: Plan, scene: Scene, index: int) -> Tensor:
    """The noise on which children are judged."""
    return plan.game.draw(plan.samples, keyed(plan.seed, scene.generation, "judging noise", index))


@contextmanager
def judging_precision(plan: Plan) -> Iterator[None]:
    """Within it networks compute as they do while children are judged."""
    game, own = plan.game, plan.game.precision
    game.precision = plan.precision
    try:
        yield
    finally:
        game.precision = own


def judge_all(plan: Plan, children: Sequence[Individual], scene: Scene) -> list[Found]:
    """Quality and diversity of each child; the environment is only read.

    Under a race, children that fall clearly behind are given up, and are never selected.
    """
    if plan.race:
        note_finite(children)
        return race(plan, children, scene)
    found: list[Found] = []
    for child in children:
        with _on_stage(plan, child, scene) as noise:
            ((samples, logits, half),) = _show(plan, child, scene, noise)
        child.judged_on = plan.samples
        views = [logits, *seen_before(plan, scene, samples, child.number)]
        found.append(verdict(plan, scene, samples, views, half.gradient if half else None))
        if plan.keeps == JUDGED:
            child.evidence = Evidence(samples, half if plan.halves else None)
    return found


def quality(plan: Plan, views: Sequence[Tensor]) -> Tensor:
    """The mean quality under today's discriminator and under those of the hall of fame.

    Rosin and Belew (1997): who beats the present opponent and loses to a past one goes round in a
    circle.

    Args:
        plan: how.
        views: logits on the same samples, of each discriminator.
    """
    found = [plan.quality(each) for each in views]
    return torch.stack(found).mean() if len(found) > 1 else found[0]


def cases(plan: Plan, views: Sequence[Tensor]) -> list[Tensor]:
    """The quality of each group of samples, where selection reads it; `views` as for `quality`."""
    if not plan.cases:
        return []
    groups = zip(*(each.chunk(plan.cases) for each in views), strict=True)
    return [quality(plan, each) for each in groups]


def seen_before(plan: Plan, scene: Scene, samples: Tensor, number: int) -> list[Tensor]:
    """What each discriminator of the hall of fame makes of the samples of a child of that number.

    Each judges in the mode in which it trained, with buffers of its own that stay as they are; what
    it draws is keyed on its place.
    """
    found, index = [], 0 if plan.shared_noise else number
    for place, each in enumerate(scene.hall):
        role, state = f"judging past {place}", (each.weights, each.buffers)
        with seeded(plan.seed, scene.generation, role, index), judging_precision(plan):
            found.append(run(plan.game, logits_kernel, (), (samples,), discriminator=state))
    return found


@torch.no_grad()
def logits_kernel(game: Any, samples: Tensor) -> Tensor:
    """What the discriminator that is loaded makes of samples."""
    logits: Tensor = game.logits(samples)
    return logits


@contextmanager
def _on_stage(
    plan: Plan, child: Individual, scene: Scene, role: str = "judging"
) -> Iterator[Tensor]:
    """Where a child is judged; gives its noise."""
    index = 0 if plan.shared_noise else child.number
    with seeded(plan.seed, scene.generation, role, index), judging_precision(plan):
        yield judging_noise(plan, scene, index)


def _show(plan: Plan, child: Individual, scene: Scene, *noise: Tensor) -> list[Shown]:
    """What a child makes of each piece of noise."""
    environment, known = scene.environment, scene.real_half
    by_gradient = plan.judges_by("gradient")
    whole = (scene.real,) if by_gradient and not known and scene.real is not None else ()
    # Batch-norm statistics go on from the real half's, as in a discriminator step.
    buffers = known.buffers if known else environment.buffers
    found: list[Shown] = run(
        plan.game, judging_kernel, (plan, known is not None, len(whole)), (*whole, *noise),
        (child.weights, child.buffers), (environment.weights, buffers),
    )  # fmt: skip
    return found


def judging_kernel(
    game: Any, plan: Plan, half_too: bool, whole_too: int, *tensors: Tensor
) -> list[Shown]:
    """What the generator that is loaded makes of each piece of noise.

    Args:
        game: both networks are loaded.
        plan: how.
        half_too: whether the fake half of the objective is wanted.
        whole_too: 1 where the whole objective is, on real samples, the first of the tensors; or 0.
        tensors: the others are noise.
    """
    real = tensors[0] if whole_too else None
    return [_shown(game, plan, half_too, real, each) for each in tensors[whole_too:]]


def _shown(game: Any, plan: Plan, half_too: bool, real: Tensor | None, noise: Tensor) -> Shown:
    with torch.no_grad():
        samples = game.generate(noise)
        if not plan.judges_logits():
            return samples, samples.new_zeros(len(samples)), None
        if not half_too and real is None:
            return samples, game.logits(samples), None
    logits = game.logits(samples)
    if plan.objective.whole:
        value = plan.objective.whole(real=game.logits(real), fake=logits)
    else:
        value = plan.objective.fake(logits)
    gradient = game.discriminator.gradient(value)
    return samples, logits.detach(), Half(value.detach(), gradient, game.discriminator.buffers())


def verdict(
    plan: Plan,
    scene: Scene,
    samples: Tensor,
    views: Sequence[Tensor],
    gradient: Tensor | None,
) -> Found:
    """All that judging a child finds; only quality is judged by the hall of fame too.

    Args:
        plan: how.
        scene: of this generation.
        samples: that are judged, (n, *shape).
        views: logits on them, of each discriminator.
        gradient: of the whole objective, or of its fake half where the scene has the real one; None
            where diversity reads none.
    """
    plain = plan.game.plain(samples)
    shares = None if plan.landmarks is None else behaviour(plain, plan.landmarks)
    pair = fitness(plan, scene, samples, views, gradient, shares)
    return [*pair, *cases(plan, views), *(() if shares is None else shares)]


def fitness(
    plan: Plan,
    scene: Scene,
    samples: Tensor,
    views: Sequence[Tensor],
    gradient: Tensor | None,
    shares: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Quality and diversity; the arguments are those of `verdict`, and the child's behaviour."""
    mean = quality(plan, views)
    if not plan.gamma:
        return mean, torch.zeros_like(mean)
    seen = {
        "fake": plan.game.plain(samples), "gradient": gradient,
        "real": None if scene.real is None else plan.game.plain(scene.real),
        "behaviour": shares, "past": scene.past,
    }  # fmt: skip
    if gradient is not None and scene.real_half:
        seen["gradient"] = scene.real_half.gradient + gradient
    known = {name: each for name, each in seen.items() if each is not None}
    return mean, value(plan.diversity, known, SEEN)


class Runner:
    """A child in a race: what its chunks have shown so far."""

    def __init__(self, plan: Plan, child: Individual, scene: Scene) -> None:
        self.plan, self.child, self.scene = plan, child, scene
        self.samples: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.recent: list[Half] = []  # of chunks whose contributions are not taken yet
        self.total: Tensor | None = None  # of the chunks' gradients
        self.value: Tensor | None = None
        self.contributions: list[Tensor] = []

    def run(self, until: int) -> None:
        """Show chunks up to the number `until`."""
        role = f"judging until chunk {until}"  # what the networks draw differs from round to round
        with _on_stage(self.plan, self.child, self.scene, role) as noise:
            chunks = noise.chunk(self.plan.chunks)[len(self.logits) : until]
            for samples, logits, half in _show(self.plan, self.child, self.scene, *chunks):
                self.samples.append(samples)
                self.logits.append(logits)
                if half is not None:
                    self.total = _plus(self.total, half.gradient)
                    self.value = _plus(self.value, half.value)
                    if until < self.plan.chunks:  # the last round has no test
                        self.recent.append(half)

    def gradient(self) -> Tensor | None:
        """The fake half's, over the chunks so far."""
        return None if self.total is None else self.total / len(self.logits)

    def fitness(self) -> tuple[Tensor, Tensor]:
        """Quality and diversity over the chunks so far."""
        samples, logits = torch.cat(self.samples), torch.cat(self.logits)
        return fitness(self.plan, self.scene, samples, [logits], self.gradient())

    def score(self) -> Tensor:
        """The fitness over the chunks so far, and each chunk's contribution to it, one vector.

        A chunk contributes its quality, and its part of diversity to first order: the derivative of
        -log ||g|| along the chunk's own gradient c is -(g . c) / ||g||^2.
        """
        quality, variety = self.fitness()
        new = self.logits[len(self.contributions) :]
        values = torch.stack([self.plan.quality(each) for each in new])
        gradient = self.gradient()
        if gradient is not None and self.scene.real_half is not None:
            whole = self.scene.real_half.gradient + gradient
            along = torch.stack([whole @ each.gradient for each in self.recent])
            power = (whole @ whole).clamp(min=torch.finfo(whole.dtype).tiny)
            values = values - self.plan.gamma * along / power
            self.recent.clear()
        self.contributions += values.unbind()
        return torch.stack([quality + self.plan.gamma * variety, *self.contributions])

    def evidence(self) -> Evidence:
        """What the discriminator may learn from."""
        gradient, half = self.gradient(), None
        if self.plan.halves and gradient is not None and self.value is not None:
            half = Half(self.value / len(self.logits), gradient, self.scene.environment.buffers)
        return Evidence(torch.cat(self.samples), half)


def _plus(total: Tensor | None, more: Tensor) -> Tensor:
    return more if total is None else total + more


def race(plan: Plan, children: Sequence[Individual], scene: Scene) -> list[Found]:
    """Judge children on growing parts of the samples and give up those that fall clearly behind.

    All children meet 2, 4, 8, ... chunks; between the rounds every child is compared with the one
    that is mu-th so far, chunk by chunk on the same noise (a paired test, as in the F-race of
    Birattari et al., 2002), and given up where it is behind at the confidence asked for. The test
    is about the whole batch, not about all samples there could be, so its standard error shrinks to
    zero as the chunks run out. Who is left at the end has been judged in full.

    Children that are not finite do not start. Each round costs the host one wait for the device.

    Returns:
        Quality and diversity of each child; nan of those that were given up.
    """
    runners = [Runner(plan, child, scene) for child in children]
    running, shown = [each for each in runners if each.child.finite], 2
    while True:
        for runner in running:
            runner.run(min(shown, plan.chunks))
        if shown >= plan.chunks:
            break
        running = _ahead(plan, running)
        shown *= 2
    found: list[Found] = []
    for runner in runners:
        runner.child.judged_on = plan.samples * len(runner.logits) // plan.chunks
        if runner not in running:
            nothing = torch.full_like(runner.child.weights[0], math.nan)
            found.append((nothing, nothing))
            continue
        found.append(runner.fitness())
        if plan.keeps == JUDGED:
            runner.child.evidence = runner.evidence()
    return found


def _ahead(plan: Plan, runners: list[Runner]) -> list[Runner]:
    """Those that are not clearly behind the one at place mu."""
    if len(runners) <= plan.mu:
        return runners
    table = torch.stack([runner.score() for runner in runners]).to(torch.float64).cpu()
    totals, chunks = table[:, 0].nan_to_num(-math.inf, -math.inf, -math.inf), table[:, 1:]
    place = int(totals.argsort(descending=True)[plan.mu - 1])
    count = chunks.shape[1]
    error = (chunks[place] - chunks).std(dim=1) * math.sqrt(1 / count - 1 / plan.chunks)
    limit = float(stats.t.ppf(plan.race, count - 1))
    behind = (totals[place] - totals > limit * error) | totals.isinf()
    behind &= totals < totals[place]
    return [runner for runner, slow in zip(runners, behind.tolist(), strict=True) if not slow]
