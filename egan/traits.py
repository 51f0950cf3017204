"""What a game's networks are like, found by trying them: it decides what may be shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from egan.networks import Flat, Tape
from egan.networks.stack import Stack, stacked
from populations.randomness import generator as keyed
from populations.randomness import seeded

COUNT = 4  # samples of a trial, or packs


@dataclass(frozen=True)
class Traits:
    """What is known of a game's networks.

    Attributes:
        own_logits: each sample has one logit, and no other sample moves it (as in packs).
        generator_tape: each sample of the generator depends on its own noise alone, and a tape
            gives its gradient.
        discriminator_tape: the same of the discriminator.
        stackable: both networks can be computed for many members at once.
        repeatable: the discriminator answers the same twice (no dropout).
    """

    own_logits: bool
    generator_tape: bool
    discriminator_tape: bool
    stackable: bool
    repeatable: bool


def find_traits(game: Any, shape: tuple[int, ...], packing: int = 1) -> Traits:
    """Try the networks at weights moved at random, so that no zero hides a dependence.

    Args:
        game: its networks' weights and buffers are left as they were.
        shape: of one sample.
        packing: samples that the discriminator judges as one.
    """
    random = keyed(0, 0, "traits")
    vector = game.discriminator.vector
    drawn = torch.randn((packing * COUNT, *shape), generator=random, dtype=torch.float32)
    samples = game.in_turn(drawn.to(vector))
    noise = game.draw(COUNT, random)
    makes, answers = (game.generator, game.generate, noise), (
        game.discriminator, game.logits, samples
    )  # fmt: skip
    own_logits = _holds(_alone, *answers, True)
    return Traits(
        own_logits=own_logits,
        generator_tape=_holds(_alone, *makes) and _holds(_tape_is_right, *makes),
        discriminator_tape=own_logits and _holds(_tape_is_right, *answers),
        stackable=_holds(_stacks, *makes) and _holds(_stacks, *answers),
        repeatable=_holds(_repeats, *answers),
    )


def _holds(trial: Callable[..., bool], network: Flat, *arguments: Any) -> bool:
    """Whether a trial succeeds; one that raises found a network of another kind."""
    with _moved(network):
        try:
            return trial(network, *arguments)
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError):
            return False


def _alone(network: Flat, function: Any, inputs: Tensor, single: bool = False) -> bool:
    """Whether each output depends on its own input alone, by value and by derivative."""
    inputs = inputs.clone().requires_grad_(inputs.is_floating_point())
    outputs = function(inputs)
    if single and outputs.numel() != len(inputs):
        return False
    for index in range(len(inputs)):
        (slope,) = torch.autograd.grad(
            outputs[index].sum(), inputs, retain_graph=True, allow_unused=True
        )
        others = torch.arange(len(inputs), device=inputs.device) != index
        if slope is not None and bool(slope[others].any()):
            return False
        changed = torch.where(others.view(-1, *[1] * (inputs.dim() - 1)), 2 * inputs + 1, inputs)
        with torch.no_grad():
            if not torch.allclose(function(changed)[index], outputs[index], rtol=1e-4):
                return False
    return True


def _tape_is_right(network: Flat, function: Any, inputs: Tensor) -> bool:
    """Whether a tape's gradient under any weights of the samples is that of autograd."""
    weights = torch.linspace(-1, 2, COUNT, dtype=network.vector.dtype).to(network.vector.device)
    with Tape(network) as tape:
        outputs = function(inputs)
    if not tape.complete():
        return False
    ones = torch.ones_like(outputs)
    scale = weights.view(-1, *[1] * (outputs.dim() - 1))
    expected = network.gradient(outputs, ones * scale, keep=True)
    found = tape.gradient(tape.back(outputs, ones)[0], weights)
    return torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def _stacks(network: Flat, function: Any, inputs: Tensor) -> bool:
    """Whether a stack of two members answers as the network does with either's weights."""
    stack = Stack(network)
    with torch.no_grad():
        members = [network.vector.clone(), 2 * network.vector]
        buffers = network.buffers()
        found = stack(torch.stack(members), torch.stack([inputs] * 2), stacked([buffers] * 2))
        for weights, outputs in zip(members, found, strict=True):
            network.load(weights, buffers)
            if not torch.allclose(function(inputs), outputs, rtol=1e-3, atol=1e-5):
                return False
    return True


def _repeats(network: Flat, function: Any, inputs: Tensor) -> bool:
    answers = []
    for index in range(2):
        with torch.no_grad(), seeded(0, 0, "traits again", index):
            answers.append(function(inputs))
    return torch.equal(*answers)


@contextmanager
def _moved(network: Flat) -> Iterator[None]:
    """Weights moved at random, so that no zero hides a dependence; afterwards all is as before."""
    weights, buffers = network.state()
    step = torch.randn(weights.shape, generator=keyed(0, 0, "traits weights")).to(weights)
    with seeded(0, 0, "traits"), torch.enable_grad():
        network.load(weights + 0.05 * step, buffers)
        yield
    network.load(weights, buffers)
