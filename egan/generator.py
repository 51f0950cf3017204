"""A trained generator that samples: what a run leaves behind for use elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from egan.data import at_once
from egan.directory import Directory
from egan.games import Conditional, Unconditional
from egan.latent import truncated
from populations.checkpoint import write_whole
from populations.errors import RunError, UsageError
from populations.individual import Individual
from populations.randomness import generator as keyed
from populations.randomness import seeded

CHUNK = 1024  # samples at a time, fewer of large ones
ITERATIONS = 32  # of spectral norms, from those of weights nearby
FACTS = "egan"  # under which files say in JSON what they hold


class Generator:
    """A generator in evaluation mode, with its noise.

    Attributes:
        module: the network.
        game: draws the noise; its generator is where the module's weights lie.
    """

    def __init__(self, game: Unconditional) -> None:
        self.game = game
        self.module: nn.Module = game.generator.module

    def load(self, individual: Individual) -> Generator:
        """Take over an individual: the average of its lineage where there is one, else itself.

        Spectral norms and batch-norm statistics belong to the individual's own weights, so under an
        average the first are iterated anew, and the second then measured again on noise.
        """
        network = self.game.generator
        if individual.average is None:
            network.load(individual.weights, individual.buffers)
            return self
        network.load(individual.average, individual.buffers)
        for _ in range(ITERATIONS):
            network.iterate()
        self._measure()
        return self

    @torch.no_grad()
    def _measure(self) -> None:
        """Batch-norm statistics of the weights that are loaded: means over batches of noise."""
        kind = nn.modules.batchnorm._BatchNorm
        norms = [each for each in self.module.modules() if isinstance(each, kind)]
        if not norms:
            return
        momenta = [each.momentum for each in norms]
        for each in norms:
            each.reset_running_stats()
            each.momentum = None  # PyTorch's word for a mean of all batches
        self.game.generator.train()
        noise = self.game.draw(CHUNK, keyed(0, 0, "statistics"))
        with seeded(0, 0, "statistics"):
            for part in noise.split(CHUNK // 4):
                self.module(part)
        for each, momentum in zip(norms, momenta, strict=True):
            each.momentum = momentum

    def sample(
        self, count: int, seed: int = 0, truncation: float | None = None, label: int | None = None
    ) -> Tensor:
        """Samples in the data's units, (count, *shape): a detached float32 tensor on the CPU.

        Args:
            count: how many, >= 1.
            seed: of the noise.
            truncation: the noise's largest absolute value, above 0; see `latent.truncated`.
            label: the class of all, from 0 on, of a conditional game; default: of each as many.

        Raises:
            UsageError: the truncation is not above 0, or there is no such class.
        """
        return self.generate(self.noise(count, seed, truncation, label), seed)

    def noise(
        self, count: int, seed: int = 0, truncation: float | None = None, label: int | None = None
    ) -> Tensor:
        """Noise, (count, noise_dimension), as `sample` draws it.

        That of a conditional game goes on with the class, (count, noise_dimension + classes): zeros
        and a one.

        Raises:
            UsageError: the truncation is not above 0, or there is no such class.
        """
        if truncation is not None and not truncation > 0:
            raise UsageError(f"truncation is {truncation}: it must be above 0.")
        noise = self.game.draw(count, keyed(seed, 0, "sample"))
        noise = noise if label is None else self.of_class(noise, label)
        return noise if truncation is None else self.truncate(noise, truncation)

    def of_class(self, noise: Tensor, label: int) -> Tensor:
        """Noise, as of `noise`, that asks for that class.

        Raises:
            UsageError: the game is not conditional, or has no such class.
        """
        if not isinstance(self.game, Conditional):
            raise UsageError(
                f"label is {label}: only generators of a conditional game have classes."
            )
        if not 0 <= label < self.game.classes:
            last = self.game.classes - 1
            raise UsageError(f"label is {label}: it must be a class from 0 to {last}.")
        own = noise[:, : self.game.noise_dimension]
        return self.game.of_class(own, torch.full((len(own),), label))

    def truncate(self, noise: Tensor, threshold: float) -> Tensor:
        """Noise, as of `noise`, with no value beyond a threshold; see `latent.truncated`."""
        own, classes = noise.tensor_split([self.game.noise_dimension], dim=1)
        return torch.cat([truncated(own, threshold, self.game.noise), classes], dim=1)

    def generate(self, noise: Tensor, seed: int = 0) -> Tensor:
        """The samples of noise of your own, (count, *shape): float32, detached, on the CPU.

        Args:
            noise: as of `noise`, count >= 1, on any device.
            seed: of what else is random, such as which member of a mixture makes a sample.

        Raises:
            UsageError: the noise has another shape.
        """
        size = self.game.inputs
        if noise.dim() != 2 or noise.shape[1] != size or not len(noise):
            shape = tuple(noise.shape)
            raise UsageError(f"the noise has the shape {shape}: it must be (n, {size}), n >= 1.")
        parts = noise.to(self.game.generator.vector).split(at_once(self.game.shape, CHUNK))
        self.module.eval()
        with torch.no_grad(), seeded(seed, 0, "sampling"):  # not the role of the noise
            return torch.cat([self._plain(part) for part in parts])

    def _plain(self, noise: Tensor) -> Tensor:
        return self.game.plain(self.game.generate(noise)).to("cpu", torch.float32)


class Share(NamedTuple):
    """A member of a mixture: the generation that it is from, and its weight."""

    generation: int
    weight: float


class Exported(NamedTuple):
    """What the file of a run's generator says of itself; `members` are those of a mixture."""

    path: Path
    generation: int
    shape: tuple[int, ...]
    members: list[Share]


def export(
    directory: Directory,
    which: str,
    module: nn.Module,
    generation: int,
    shape: tuple[int, ...],
    members: Sequence[Share] = (),
) -> None:
    """Write a generator as safetensors, loadable without this project: its plain state dict.

    That of a mixture holds each member's under `members.0.`, `members.1.`, ... and, beside them,
    `weights`.
    """
    facts = {"generation": generation, "shape": shape, "members": members}
    content = state_dict(module, json.dumps(facts))
    write_whole(directory.weights(which), lambda part: part.write_bytes(content))


def state_dict(module: nn.Module, facts: str) -> bytes:
    """A module's state dict as a safetensors file, with facts in its metadata."""
    tensors = {name: each.contiguous().clone() for name, each in module.state_dict().items()}
    return safetensors.torch.save(tensors, metadata={FACTS: facts})


def exported(directory: Directory, which: str) -> Exported:
    """The file of a run's generator, and what it says of itself.

    Raises:
        UsageError: the run has not exported one yet.
        RunError: the file is damaged.
    """
    path = directory.weights(which)
    if not path.is_file():
        raise UsageError(f"the run {directory.path} has no {path.name} yet: {_WAYS[which]}.")
    try:
        with safetensors.safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()[FACTS])
        members = [Share(*each) for each in facts.get("members", [])]
        return Exported(path, int(facts["generation"]), tuple(facts["shape"]), members)
    except Exception as error:  # safetensors raises kinds of its own
        raise RunError(f"the file {path} is damaged.") from error


_WAYS = {
    "final": "let it go on first",
    "best": "let it go on first",
    "refuge": "it is made once the run covers a tenth of the data (population.collapse_every)",
    "mixture": "it is made at the end of a run whose population.mixture is above 0",
}


def load_weights(generator: Generator, directory: Directory, which: str) -> None:
    """Load a run's generator.

    Raises:
        UsageError: the run has not exported one yet.
        RunError: the file is damaged or of other networks.
    """
    path = exported(directory, which).path
    try:
        generator.module.load_state_dict(safetensors.torch.load_file(path))
    except Exception as error:  # safetensors and torch raise kinds of their own
        raise RunError(f"the file {path} is damaged or of other networks.") from error
