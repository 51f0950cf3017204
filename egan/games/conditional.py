"""The conditional game: samples of a class that is asked for, judged as samples of that class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from egan.data import Data, Table
from egan.games.unconditional import Unconditional
from egan.networks.conditions import class_logits, with_class
from egan.penalties import Step
from populations.errors import UsageError


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labelled data as the discriminator is shown them, in classes of equal shares.

    Attributes:
        table: with labels, of which every class is there.
    """

    table: Table

    @property
    def name(self) -> str:
        """The table's."""
        return self.table.name

    @property
    def shape(self) -> tuple[int, ...]:
        """(d + 1, ...): the samples' own, and the number of the class."""
        return (self.table.shape[0] + 1, *self.table.shape[1:])

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Samples of classes that are drawn as `balanced` says, uniformly within each."""
        numbers = balanced(count, self.table.count, generator)
        order, firsts, sizes = self._places
        within = torch.rand(count, generator=generator, dtype=torch.float64) * sizes[numbers]
        samples = self.table.take(order[firsts[numbers] + within.long()], generator)
        return with_class(samples, numbers.to(samples.device))

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor, Tensor]:
        """The samples' indices class by class; where each class begins, and how many it has."""
        assert self.table.labels is not None
        sizes = torch.bincount(self.table.labels, minlength=self.table.count)
        return self.table.labels.argsort(stable=True), sizes.cumsum(0) - sizes, sizes


def labelled(data: Data) -> Labelled:
    """Data as a conditional game shows them.

    Raises:
        UsageError: they have no labels, or a class has no sample.
    """
    if not isinstance(data, Table) or data.labels is None:
        raise UsageError(
            f"the game conditional needs classes, and {data.name} has no labels: use "
            "game = 'unconditional'."
        )
    if len(data.labels.unique()) != data.count:
        raise UsageError(
            f"the labels of {data.name} go up to {data.count - 1} and are not all there: they must "
            "be 0, 1, 2, ..."
        )
    return Labelled(data)


def balanced(count: int, classes: int, generator: torch.Generator) -> Tensor:
    """Numbers of classes in random order, each as often as others but for one, (count,)."""
    first = torch.randperm(classes, generator=generator)
    numbers = first[torch.arange(count) % classes]
    return numbers[torch.randperm(count, generator=generator)]


@dataclass(eq=False)
class Conditional(Unconditional):
    """Generators make samples of a class; the discriminator sees samples and their class.

    Noise ends in the class as zeros and a one, (count, noise_dimension + classes); what is shown,
    real or made, ends in its number; see `networks.conditions`. Classes have equal shares on both
    sides, whatever their shares in the data.

    Attributes:
        classes: how many there are.
        classification: weight of the auxiliary classifier's loss on both sides; 0: there is none.
    """

    classes: int = 0
    classification: float = 0.0

    @property
    def inputs(self) -> int:
        """Values that a generator reads for a sample: its noise, and one for each class."""
        return self.noise_dimension + self.classes

    @property
    def conditions(self) -> int:
        """Of what is shown the last coordinates, or channels, are no sample's."""
        return 1

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Noise and classes, (count, noise_dimension + classes); as of `Unconditional`."""
        noise = super().draw(count, generator)
        return self.of_class(noise, balanced(count, self.classes, generator))

    def of_class(self, noise: Tensor, numbers: Tensor) -> Tensor:
        """What generators want of noise, (n, noise_dimension), and numbers of classes, (n,)."""
        return torch.cat([noise, one_hot(numbers.to(noise.device), self.classes).to(noise)], dim=1)

    def generate(self, noise: Tensor) -> Tensor:
        """What is shown of the individual that is loaded, (count, d + 1, ...)."""
        samples = super().generate(noise)
        return with_class(samples, noise[:, -self.classes :].argmax(1).to(noise))

    def plain(self, shown: Tensor) -> Tensor:
        """The samples of what is shown."""
        return shown[:, :-1]

    @property
    def terms(self) -> list[tuple[float, Callable[[Step], Tensor]]]:
        """The classifier's loss, where there is one: what joins the discriminator's."""
        return [(self.classification, self.classified)] if self.classification else []

    def beside(self, shown: Tensor) -> Tensor | None:
        """The classifier's loss on what a generator made, weighted: Odena et al. (2017), L_C."""
        return self.classification * self._confusion(shown) if self.classification else None

    def classified(self, step: Step) -> Tensor:
        """The classifier's loss on real samples and on fakes: Odena et al. (2017), L_C."""
        return self._confusion(step.real) + self._confusion(step.fake)

    def _confusion(self, shown: Tensor) -> Tensor:
        with self.computing():
            logits, classes = class_logits(self.discriminator.module, shown)
        members = logits.shape[1]
        return cross_entropy(
            logits.flatten(0, 1).to(shown.dtype), classes.repeat_interleave(members)
        )

    def in_turn(self, samples: Tensor) -> Tensor:
        """What is shown of samples that are of one class after the other."""
        return with_class(samples, torch.arange(len(samples)).to(samples) % self.classes)

    def source(self, data: Data) -> Data:
        """What the discriminator is shown of the data; see `labelled`."""
        return labelled(data)
