"""Presets: named settings, laid under whatever else is given.

What the paper (Wang et al., 2018) leaves open and how `paper` fills it: gamma is not given (1,
which a later replication reports as best on toys); children are judged on a batch of m = 16 fakes
and 16 real samples of their own; moments are inherited by each child; weights are initialised by
PyTorch's own rule; parents start independently. Its toys' networks are those of the code that it
cites.

The `released-*` presets reproduce the hyper-parameters, order, losses (with their scale), noise and
moment rules of the two codes that the authors published, and not their defects: there, children of
one parent changed the parent's (PyTorch) or each other's (Theano) state, and the individual that
was saved was the last one tried instead of the survivor. Under Theano's aliasing a generation was
a chain of up to three accepted steps; here it is a choice among three children.
The PyTorch code has no toy networks: on points its preset uses the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from egan.config import Config, Environment
from egan.settings import build, merge
from populations.registry import lookup


class Preset(NamedTuple):
    """Settings by nested name; `tailored` ones, by data set, are laid over the first."""

    text: str
    values: Mapping[str, Any]
    tailored: Mapping[str, Mapping[str, Any]] = {}


_IMAGES: dict[str, Any] = {
    "generations": 8_000,
    "networks": {"name": "convolutional", "noise_dimension": 32},
    "variation": {"batch": 32, "lr": 2e-3, "beta1": 0.0, "beta2": 0.99},
    "fitness": {"samples": 16},
    "records": {"judge": "frechet-distance", "score_every": 500, "final_samples": 5_000},
    "environment": {
        "batch": 32,
        "lr": 2e-3,
        "beta1": 0.0,
        "beta2": 0.99,
        "penalties": {"r1": 1.0, "r2": 1.0},
    },
}
_PICTURES = merge(_IMAGES, {"execution": {"threads": 2}})  # 1.4 times as fast as one from 28x28 on
# As many samples as published for a thousand modes, and a tenth of them in the course of a run.
_STACKED = {
    "score_samples": 2_600, "final_samples": 26_000, "score_every": 1_000,
    "judge": "energy-distance",
}  # fmt: skip
_TAILORED: dict[str, dict[str, Any]] = {
    "grid": {"generations": 12_000},
    "random": {"generations": 12_000},
    "digits": _IMAGES,
    "mnist": merge(_PICTURES, {"generations": 2_500, "networks": {"name": "dcgan", "width": 16}}),
    **dict.fromkeys(("cifar10", "folder", "hub"), _PICTURES),
    **{
        name: merge(_IMAGES, {"networks": {"noise_dimension": 64}, "records": _STACKED})
        for name in ("stacked-digits", "stacked-mnist", "stacked-mnist-veegan")
    },
}

presets: dict[str, Preset] = {
    "default": Preset(
        "This project's best: three mutations judged on shared noise, penalties, averaged weights.",
        {},
        _TAILORED,
    ),
    "gradient-only": Preset(
        "The default without evolution: the non-saturating loss alone, nothing to select.",
        {"variation": {"mutations": ["heuristic"]}},
        _TAILORED,
    ),
    "paper": Preset(
        "Wang et al. (2018), Algorithm 1 with its defaults, on its toy networks.",
        {
            "generations": 50_000,
            "lr_final": 1.0,
            "first": "environment",
            "networks": {"name": "toy", "noise": "normal", "noise_dimension": 2},
            "population": {"average": 0.0},
            "variation": {"batch": 16, "lr": 2e-4, "beta1": 0.5, "beta2": 0.99},
            "fitness": {"gamma": 1.0, "samples": 16, "shared_noise": False},
            "environment": {
                "steps": 2,
                "batch": 16,
                "lr": 2e-4,
                "beta1": 0.5,
                "beta2": 0.99,
                "penalties": {"r1": 0.0, "r2": 0.0},
            },
        },
    ),
    "released-theano": Preset(
        "The authors' Theano toy: its rates, batches, noise, moments, judged fakes reused.",
        {
            "generations": 100_000,
            "lr_final": 1.0,
            "first": "generators",
            "networks": {
                "name": "toy-theano",
                "noise": "uniform",
                "noise_dimension": 2,
                "initial_deviation": 0.02,
            },
            "population": {"average": 0.0},
            "variation": {
                "mutations": ["non-saturating", "vanilla", "least-squares"],
                "batch": 64,
                "lr": 1e-4,
                "beta1": 0.5,
                "beta2": 0.999,
                "moments": "mutation",
            },
            "fitness": {"gamma": 2.0, "samples": 256, "shared_noise": False, "real": "training"},
            "environment": {
                "batch": 64,
                "fakes": "judged",
                "lr": 1e-4,
                "beta1": 0.0,
                "beta2": 0.999,
                "penalties": {"r1": 0.0, "r2": 0.0},
            },
        },
    ),
    "released-pytorch": Preset(
        "The authors' PyTorch script: its rates, batches, noise, losses, judged fakes reused.",
        {
            "generations": 100_000,
            "lr_final": 1.0,
            "first": "generators",
            "networks": {
                "name": "toy",
                "noise": "uniform",
                "noise_dimension": 100,
                "initial_deviation": 0.02,
            },
            "population": {"average": 0.0, "initial": "identical"},
            "variation": {
                "mutations": ["non-saturating", "vanilla", "least-squares-logit"],
                "batch": 32,
                "lr": 2e-4,
                "beta1": 0.5,
                "beta2": 0.999,
            },
            "fitness": {"gamma": 0.01, "samples": 256, "shared_noise": False},
            "environment": {
                "steps": 3,
                "batch": 32,
                "fakes": "judged",
                "lr": 2e-4,
                "beta1": 0.5,
                "beta2": 0.999,
                "penalties": {"r1": 0.0, "r2": 0.0},
            },
        },
    ),
}


def configure(*layers: Mapping[str, Any]) -> Config:
    """The configuration that nested mappings give, later ones winning, laid over the preset.

    The keys `preset` and `data` of the layers say which preset, and which data set it is tailored
    to; without them it is `default` on `ring`.

    Raises:
        UsageError: a name is unknown or a value is wrong.
    """
    given = merge(*layers)
    name, data = given.get("preset", "default"), given.get("data", "ring")
    preset: Preset = lookup("preset", name, presets)
    tailored = preset.tailored.get(data, {}) if isinstance(data, str) else {}
    # Mappings are merged name by name, so what a preset leaves out must be there to be merged with.
    base = {"environment": {"penalties": Environment().penalties}}
    return build(Config, merge(base, preset.values, tailored, given))
