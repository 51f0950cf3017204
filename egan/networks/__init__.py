"""Networks: a name for each pair, built for the shape of the data.

A pair is a function `(shape, noise, width, depth) -> (generator, discriminator)`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from egan.config import Networks
from egan.networks.convolutional import convolutional
from egan.networks.flat import Flat
from egan.networks.mlp import mlp, pacgan, toy, toy_theano
from egan.networks.tape import Tape
from populations.errors import UsageError
from populations.randomness import seeded
from populations.registry import call, lookup, spell

networks: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = {
    "mlp": mlp,
    "toy": toy,
    "toy-theano": toy_theano,
    "pacgan": pacgan,
    "convolutional": convolutional,
}

__all__ = ["Flat", "Tape", "make_pair", "networks"]


def make_pair(
    settings: Networks, shape: tuple[int, ...], seed: int, index: int = 0
) -> tuple[nn.Module, nn.Module]:
    """A generator and a discriminator with initial weights keyed on (seed, index).

    Args:
        settings: which networks.
        shape: of one sample of the data.
        seed: the run's seed.
        index: which parent of the first generation.

    Raises:
        UsageError: a name is unknown, or what it names makes no module.
    """
    with seeded(seed, 0, "initial weights", index):
        generator, discriminator = (
            settings.generator and _own("generator", settings.generator, index),
            settings.discriminator and _own("discriminator", settings.discriminator, index),
        )
        if not (generator and discriminator):
            build = lookup("network", settings.name, networks)
            pair = call(
                "network", settings.name, build,
                shape, settings.noise_dimension, settings.width, settings.depth,
            )  # fmt: skip
            if not (isinstance(pair, tuple) and len(pair) == 2):
                raise UsageError(
                    f"the network {spell(settings.name)!r} makes {type(pair).__name__}: it must "
                    "make a pair (generator, discriminator)."
                )
            generator, discriminator = generator or pair[0], discriminator or pair[1]
        if settings.initial_deviation:
            for module in (generator, discriminator):
                _initialise(module, settings.initial_deviation)
    return generator, discriminator


def _own(kind: str, name: Any, index: int) -> nn.Module:
    found = lookup(kind, name, {})
    if not callable(found):
        raise UsageError(
            f"the {kind} {spell(name)!r} is {found!r}: it must be a torch.nn.Module, or a function "
            "of no arguments that makes one."
        )
    given = isinstance(found, nn.Module)
    module = found if given else call(kind, name, found)
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"the {kind} {spell(name)!r} makes {module!r}: it must be a torch.nn.Module."
        )
    module = copy.deepcopy(module)  # a function may give the same one at every call
    if index and given:  # the first parent has the weights it came with
        for layer in module.modules():
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()
    return module


def _initialise(module: nn.Module, deviation: float) -> None:
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, 0.0, deviation)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
