"""The unconditional game: noise becomes samples, and a discriminator tells them from real ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from egan.data import Data
from egan.networks import Ensemble, Flat
from egan.networks.conditions import BehindViews
from egan.penalties import Step
from populations.errors import UsageError


@dataclass(eq=False)
class Unconditional:
    """Generators make samples from noise alone; the discriminator sees single samples, or packs.

    Attributes:
        generator: where a generator computes; load an individual first.
        discriminator: where the environment computes; load it first.
        noise: "normal", N(0, 1), or "uniform", U(-1, 1).
        noise_dimension: dimensions of the noise.
        precision: in which networks compute; their weights, and what they give, keep their own.
        shape: of one sample; large ones are made fewer at a time.
    """

    generator: Flat
    discriminator: Flat
    noise: str
    noise_dimension: int
    precision: torch.dtype = field(default=torch.float32, kw_only=True)
    shape: tuple[int, ...] = field(default=(), init=False)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Noise, (count, noise_dimension), drawn on the CPU and of the networks' type."""
        vector = self.generator.vector
        size = (count, self.noise_dimension)
        if self.noise == "normal":
            noise = torch.randn(size, generator=generator, dtype=vector.dtype)
        else:
            noise = torch.rand(size, generator=generator, dtype=vector.dtype).mul_(2).sub_(1)
        return noise.to(vector.device)

    def computing(self) -> AbstractContextManager[Any]:
        """Where a network computes in `precision` (automatic mixed precision)."""
        if self.precision == torch.float32:
            return nullcontext()
        device = self.generator.vector.device.type
        # No cache of weights in few bits: individuals follow each other in the same memory.
        return torch.autocast(device, self.precision, cache_enabled=False)

    def generate(self, noise: Tensor) -> Tensor:
        """Samples, (count, *shape), of the individual that is loaded."""
        with self.computing():
            samples: Tensor = self.generator.module(noise)
        return samples.to(noise.dtype)

    @property
    def inputs(self) -> int:
        """Values that a generator reads for a sample: here its noise alone."""
        return self.noise_dimension

    @property
    def conditions(self) -> int:
        """Of what is shown the last coordinates, or channels, are no sample's."""
        return 0

    def plain(self, shown: Tensor) -> Tensor:
        """The samples of what is shown: here all of it."""
        return shown

    @property
    def terms(self) -> list[tuple[float, Callable[[Step], Tensor]]]:
        """What joins the discriminator's loss at every step, with its weights: here nothing."""
        return []

    def beside(self, shown: Tensor) -> Tensor | None:
        """What joins a generator's loss, whatever its mutation: here nothing."""
        return None

    def in_turn(self, samples: Tensor) -> Tensor:
        """What is shown of samples that are of one class after the other: here they alone."""
        return samples

    def source(self, data: Data) -> Data:
        """What the discriminator is shown of the data: here the data themselves."""
        return data

    def logits(self, samples: Tensor) -> Tensor:
        """The discriminator's logits on samples, (count, ...), or on their packs."""
        with self.computing():
            logits: Tensor = self.discriminator.module(samples)
        return logits.to(samples.dtype)

    def features(self, samples: Tensor) -> Tensor:
        """The discriminator's last hidden layer, (count, features): what its last layer reads.

        The last layer is the module with weights, and without modules in it, that is called last.
        Of packs the count is theirs; the features of an ensemble's members stand side by side.

        Raises:
            UsageError: fewer than two are called.
        """
        members = _members(self.discriminator.module)
        read: list[list[Tensor]] = [[] for _ in members]
        hooks = [
            layer.register_forward_pre_hook(lambda _, given, own=own: own.append(given[0]))
            for member, own in zip(members, read, strict=True)
            for name, layer in member.named_modules()
            if "parametrizations" not in name and _is_layer(layer)
        ]
        try:
            self.logits(samples)
        finally:
            for hook in hooks:
                hook.remove()
        if min(map(len, read)) < 2:
            raise UsageError(
                "the discriminator has one layer only, and so no features to match: give it a "
                "hidden layer, or leave out mutations that read features."
            )
        return torch.cat([own[-1].flatten(1) for own in read], dim=1).to(samples.dtype)


def _members(module: nn.Module) -> list[nn.Module]:
    """Those of an ensemble, which may stand behind views; otherwise the module itself."""
    last = module
    while isinstance(last, BehindViews) or (isinstance(last, nn.Sequential) and len(last)):
        last = last.discriminator if isinstance(last, BehindViews) else last[-1]
    return [*last] if isinstance(last, Ensemble) else [module]


def _is_layer(module: nn.Module) -> bool:
    weights = [each for each in module._parameters.values() if each is not None]
    inner = [name for name, _ in module.named_children() if name != "parametrizations"]
    return not inner and (bool(weights) or hasattr(module, "parametrizations"))
