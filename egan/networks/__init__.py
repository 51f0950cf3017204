"""Networks: a name for each pair, built for the shape of the data.

A pair is a function `(shape, noise, width, depth) -> (generator, discriminator)`. One that also
takes `classes` has conditional norms of its own: its generator reads as many values behind its
noise.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from egan.config import CONDITIONAL, Config, Networks
from egan.networks.attention import sagan
from egan.networks.biggan import biggan
from egan.networks.conditions import (
    BehindViews,
    Condition,
    Conditioned,
    WithConditionalNorms,
    conditions,
    tell,
)
from egan.networks.convolutional import convolutional
from egan.networks.dcgan import dcgan, unrolled_half, unrolled_quarter
from egan.networks.dcgan4 import dcgan_4x4, released, released_pytorch
from egan.networks.discriminators import Ensemble, norm_spectrally, side_by_side
from egan.networks.flat import Flat, check_sizes
from egan.networks.mlp import mlp, pacgan, toy, toy_theano
from egan.networks.r3gan import r3gan
from egan.networks.resnet import sngan
from egan.networks.stylegan2 import stylegan2
from egan.networks.tape import Tape
from egan.networks.views import augmentations, packed, views_of
from populations.errors import UsageError
from populations.randomness import seeded
from populations.registry import call, lookup, spell

networks: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = {
    "mlp": mlp,
    "toy": toy,
    "toy-theano": toy_theano,
    "pacgan": pacgan,
    "convolutional": convolutional,
    "dcgan": dcgan,
    "unrolled-1/2": unrolled_half,
    "unrolled-1/4": unrolled_quarter,
    "dcgan-4x4": dcgan_4x4,
    "released": released,
    "released-pytorch": released_pytorch,
    "sngan": sngan,
    "sagan": sagan,
    "biggan": biggan,
    "r3gan": r3gan,
    "stylegan2": stylegan2,
}

__all__ = [
    "Ensemble",
    "Flat",
    "Tape",
    "augmentations",
    "conditions",
    "make_pair",
    "networks",
    "packed",
]


def make_pair(
    config: Config, shape: tuple[int, ...], index: int = 0
) -> tuple[nn.Module, nn.Module]:
    """A generator and a discriminator with initial weights keyed on (seed, index).

    The discriminator takes samples as they are, behind its views (see `networks.views`).

    Args:
        config: which networks, which views, and the seed.
        shape: of one sample of the data.
        index: which parent of the first generation.

    Raises:
        UsageError: a name is unknown, or what it names makes no module or does not fit the data.
    """
    settings, seen = config.networks, packed(shape, config.environment.packing)
    condition = _condition(config)
    noise = settings.noise_dimension
    told = settings.classes if condition and settings.conditional_norm else 0
    if condition:
        seen = (seen[0] + condition.channels(settings.classes), *seen[1:])
        noise += settings.classes - told
    settings = replace(settings, noise_dimension=noise)
    with seeded(config.seed, 0, "initial weights", index):
        generator, discriminator = _pair(settings, shape, seen, index, told)
        if condition and not told:
            generator = tell(generator, settings.classes)
        _finish(generator, settings)
        discriminators = [_finished(discriminator, settings, condition)]
    for number in range(1, settings.discriminators):
        with seeded(config.seed, 0, "initial weights of discriminator", number):
            discriminators.append(_finished(_another(settings, seen, number), settings, condition))
    views, whole = views_of(config.environment, shape), side_by_side(discriminators)
    if config.execution.channels_last:
        generator, whole = (_channels_last(each) for each in (generator, whole))
    if views and condition:
        return generator, BehindViews(nn.Sequential(*views), whole)
    return generator, nn.Sequential(*views, whole) if views else whole


def _condition(config: Config) -> Condition | None:
    if config.game != CONDITIONAL:
        return None
    found: Condition = lookup("condition", config.networks.condition, conditions)
    return found


def _finished(
    discriminator: nn.Module, settings: Networks, condition: Condition | None
) -> nn.Module:
    """A discriminator with its norms, which is told of classes where there are any."""
    if condition:
        discriminator = condition.prepare(discriminator, settings.classes)
    _finish(discriminator, settings, settings.spectral_norm)
    if condition:
        return Conditioned(discriminator, condition.judge, settings.classes)
    return discriminator


def _pair(
    settings: Networks, shape: tuple[int, ...], seen: tuple[int, ...], index: int, told: int
) -> tuple[nn.Module, nn.Module]:
    """A generator of samples of a shape, and a discriminator that is shown another.

    The generator's norms are told of so many classes, if any.
    """
    generator, discriminator = (
        settings.generator and _own("generator", settings.generator, index),
        settings.discriminator and _own("discriminator", settings.discriminator, index),
    )
    if not (generator and discriminator):
        pair = _registered(settings, shape, told)
        if seen != shape and not discriminator:
            discriminator = _registered(settings, seen)[1]
        generator, discriminator = generator or pair[0], discriminator or pair[1]
    if told and (settings.generator or not _takes_classes(settings)):
        generator = WithConditionalNorms(generator, told)
    return generator, discriminator


def _another(settings: Networks, seen: tuple[int, ...], index: int) -> nn.Module:
    if settings.discriminator:
        return _own("discriminator", settings.discriminator, index)
    return _registered(settings, seen)[1]


def _registered(
    settings: Networks, shape: tuple[int, ...], told: int = 0
) -> tuple[nn.Module, nn.Module]:
    build = lookup("network", settings.name, networks)
    pair = call(
        "network", settings.name, build,
        shape, settings.noise_dimension, settings.width, settings.depth,
        **({"classes": told} if told and _takes_classes(settings) else {}),
    )  # fmt: skip
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise UsageError(
            f"the network {spell(settings.name)!r} makes {type(pair).__name__}: it must "
            "make a pair (generator, discriminator)."
        )
    return pair


def _takes_classes(settings: Networks) -> bool:
    """Whether the pair has conditional norms of its own."""
    return "classes" in inspect.signature(lookup("network", settings.name, networks)).parameters


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


def _finish(module: nn.Module, settings: Networks, normed: bool = False) -> None:
    check_sizes(module)
    if settings.initial_deviation:
        _initialise(module, settings.initial_deviation)
    if normed:
        norm_spectrally(module)


def _channels_last(module: nn.Module) -> nn.Module:
    # Before they are made one vector, which holds weights as they lie.
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _initialise(module: nn.Module, deviation: float) -> None:
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, 0.0, deviation)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
