"""The operators of a run: who has children by which mutations, who recombines, who survives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf

from egan.breeding import judge
from egan.engines import Engine
from egan.environment import Half
from egan.fitness import Combination, weighted_sum
from egan.recombination import Crossover, Mating, recombine
from egan.scene import INHERITED, Brood, Lesson, Litter, Member, Plan, Scene
from egan.state import PARENT
from populations.choice import Choice, History, choices, remember
from populations.individual import Individual
from populations.randomness import generator as keyed
from populations.randomness import seeded
from populations.selection import Selection, may_survive, select


@dataclass(frozen=True, eq=False)
class Operators:
    """What evolution does beside mutation, and in which order.

    Attributes:
        plan: of the run, in this process.
        choice: by which mutations parents have children.
        children: of a parent, where a choice is made.
        combine: totals of qualities and diversities.
        crossover: how two candidates become one more, and its name; None: they do not.
        parents_compete: whether parents may survive beside their children.
        selection: who survives.
    """

    plan: Plan
    choice: Choice
    children: int
    combine: Combination
    crossover: tuple[Crossover, str] | None
    parents_compete: bool
    selection: Selection

    @property
    def judged(self) -> bool:
        """Whether there is anything to select by fitness."""
        return self.plan.samples > 0

    @property
    def chooses(self) -> bool:
        """Whether a parent has children by some of the mutations only."""
        return self.choice != choices["all"]

    def names(self) -> list[str]:
        """What children come from: each mutation, and the crossover."""
        return [*self.plan.names, *([self.crossover[1]] if self.crossover else [])]

    def origins(self) -> list[str]:
        """What a survivor may come from: the same, and its being a parent still."""
        return [*self.names(), *([PARENT] if self.parents_compete else [])]

    def chosen(self, history: History, generation: int) -> dict[int, list[int]] | None:
        """By each parent's place, those of the mutations by which it has children; None: all."""
        if not self.chooses:
            return None
        names, found = list(self.plan.names), {}
        for slot in range(self.plan.mu):
            turn = generation + slot  # parents take turns with the mutations
            with seeded(self.plan.seed, generation, "choice", slot):
                chosen = self.choice.choose(history, names, self.children, turn)
            found[slot] = sorted(map(names.index, chosen))
        return found

    def remember(self, history: History, litter: Litter) -> History:
        """The history with what this generation's mutations gained over their parents."""
        before = {one.number: one.total for one in litter.again if one.fitness.valid}
        gains = [
            (child.mutation, child.total - before[child.parent] if child.fitness.valid else -inf)
            for child in litter.children
            if child.parent in before and child.mutation in self.plan.names
        ]
        return remember(history, gains, len(self.plan.names)) if self.choice.reads_gains else []

    def gather(
        self,
        broods: Sequence[Brood],
        scene: Scene,
        parents: Sequence[Individual],
        real_half: Half | None,
        engine: Engine,
    ) -> Litter:
        """All broods together, and the children by crossover.

        Args:
            broods: judged.
            scene: that they were bred in.
            parents: of the broods.
            real_half: of the objective, where the discriminator's next step may use it.
            engine: judges children by crossover.
        """
        children = [child for brood in broods for child in brood.children]
        again = [brood.parent for brood in broods if brood.parent]
        self.settle_totals(children + again)
        lines = [self._line(brood) for brood in broods]
        roots = {
            one.number: parent for line, parent in zip(lines, parents, strict=True) for one in line
        }
        lesson = Lesson([brood.evidence for brood in broods if brood.evidence], real_half)
        pool = [one for line in lines for one in line]
        return self._crossed(Litter(children, again, pool, roots, lesson), scene, engine)

    def barren(self, litter: Litter) -> bool:
        """Whether no child may survive."""
        return not any(may_survive(child, self.judged) for child in litter.children)

    def survivors(self, litter: Litter, generation: int) -> list[Individual]:
        """Mu survivors, best first; empty where nobody is finite."""
        with seeded(self.plan.seed, generation, "selection"):
            found = select(self.selection, litter.pool, self.plan.mu, self.judged)
        if found:  # fewer than mu: the lines that are left share the places
            found = [found[place % len(found)] for place in range(self.plan.mu)]
        return sorted(found, key=lambda one: -one.total) if self.judged else found

    def recombined(
        self, fitter: Individual, other: Individual, scene: Scene, index: int
    ) -> Individual:
        """The child of two candidates by crossover."""
        assert self.crossover is not None
        plan, generation, (crossover, name) = self.plan, scene.generation, self.crossover
        random_noise = keyed(plan.seed, generation, "crossover noise", index)
        memory = INHERITED if plan.moments == INHERITED else name
        noise = plan.game.draw(plan.batch, random_noise)
        mating = Mating(plan.game, scene.environment, noise, scene.lr, plan.betas, memory)
        number = plan.number(generation, plan.mu * len(plan.names) + index)
        with seeded(plan.seed, generation, "crossover", index):
            return recombine(crossover.cross, name, fitter, other, mating, number)

    def _crossed(self, litter: Litter, scene: Scene, engine: Engine) -> Litter:
        """The litter with the children of its best pairs, judged."""
        pairs = self._pairs(litter.pool, scene.generation) if self.crossover else []
        if not pairs:
            return litter
        born = [self.recombined(*pair, scene, index) for index, pair in enumerate(pairs)]
        judge(engine, [
            Member(child, slot, self.plan, scene) for slot, child in enumerate(born)
        ])  # fmt: skip
        self.settle_totals(litter.children + litter.again + born)
        roots = {
            child.number: litter.roots[pair[0].number]
            for child, pair in zip(born, pairs, strict=True)
        }
        return replace(
            litter,
            children=litter.children + born,
            pool=litter.pool + born,
            roots={**litter.roots, **roots},
        )

    def _pairs(
        self, pool: Sequence[Individual], generation: int
    ) -> list[tuple[Individual, Individual]]:
        """Pairs of highest summed fitness (Li et al., 2021, IE-GAN), the fitter of each first.

        Random ones where nobody is judged.
        """
        fit = [one for one in pool if may_survive(one, self.judged)]
        if self.judged:
            pairs = list(combinations(sorted(fit, key=lambda one: -one.total), 2))
            pairs.sort(key=lambda pair: -pair[0].total - pair[1].total)
        else:
            with seeded(self.plan.seed, generation, "pairs"):
                pairs = list(combinations(random.sample(fit, len(fit)), 2))
        return pairs[: self.plan.crossovers]

    def _line(self, brood: Brood) -> list[Individual]:
        """Who of a brood, and its parent, may survive."""
        if brood.accepted is not None:
            return brood.accepted
        return brood.candidates() if self.parents_compete else brood.children

    def settle_totals(self, candidates: Sequence[Individual]) -> None:
        """The totals of candidates, where they are not the sum that they have already."""
        judged = [one for one in candidates if one.fitness.valid]
        if self.combine is weighted_sum or not judged:
            return
        quality, diversity = zip(*(one.fitness.values for one in judged), strict=True)
        totals = self.combine(quality, diversity, self.plan.gamma)
        for one, total in zip(judged, totals, strict=True):
            one.total = total
