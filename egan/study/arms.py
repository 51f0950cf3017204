"""Arms: what a study compares. Each is a name for settings, laid over what all arms have.

All share the default preset's networks, its average of weights and its falling learning rates, and
its penalties, but where an arm is about another one: no baseline lacks what evolution got.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from egan.arguments import NOT_COMMON, read_settings
from egan.config import Config
from egan.presets import presets
from egan.settings import flatten, merge, plain
from egan.study.sweeps import swept
from populations.errors import UsageError
from populations.registry import unknown

UNPENALISED = {"r1": 0.0, "r2": 0.0}


class Entry(NamedTuple):
    """An arm that has a name of its own.

    Attributes:
        text: one line on it.
        settings: over those of all arms.
        oracle: whether the true score chooses the survivors.
        images: settings over these, where the data are images.
    """

    text: str
    settings: Mapping[str, Any]
    oracle: bool = False
    images: Mapping[str, Any] = {}


def _alone(mutation: str, **environment: Any) -> dict[str, Any]:
    """Gradient-only training: one loss, nothing to select."""
    return {"variation": {"mutations": [mutation]}, "environment": environment}


def _weighed(penalty: str, weight: float) -> dict[str, Any]:
    """A penalty in the place of all others."""
    return {"environment": {"penalties": {**UNPENALISED, penalty: weight}}}


arms: dict[str, Entry] = {
    "egan": Entry("The preset as it is: three mutations, judged, the best survives.", {}),
    "random-selection": Entry(
        "The control: the same children, a survivor drawn at random, nobody judged.",
        {"population": {"selection": "random"}},
    ),
    "random-mutation": Entry(
        "One mutation drawn at random a generation: a loss at random, without selection.",
        {"variation": {"choice": "random"}},
    ),
    "round-robin": Entry(
        "One mutation a generation, in turn.", {"variation": {"choice": "round-robin"}}
    ),
    "oracle": Entry(
        "The best of a generation's children by the true score: the best judge there is.",
        {"population": {"selection": "random"}},
        oracle=True,
    ),
    "gan": Entry("The non-saturating GAN; the heuristic mutation alone.", _alone("heuristic")),
    "minimax-alone": Entry("The minimax mutation alone.", _alone("minimax")),
    "least-squares-alone": Entry("The least-squares mutation alone.", _alone("least-squares")),
    "lsgan": Entry(
        "LSGAN: least squares on the logit.", _alone("least-squares-logit", objective="lsgan")
    ),
    "wgan-gp": Entry(
        "Wasserstein GAN with gradient penalty, 5 steps of the critic.",
        merge(
            _alone("wasserstein", objective="wasserstein", steps=5),
            _weighed("gradient-penalty", 0.1),
        ),
        images=_weighed("gradient-penalty", 10.0),
    ),
    "rsgan": Entry(
        "The relativistic GAN with R1 and R2 (R3GAN's objective).",
        _alone("rsgan", objective="rsgan"),
    ),
    "dragan": Entry(
        "DRAGAN: a gradient penalty around the data.",
        merge(_alone("heuristic"), _weighed("dragan", 0.1)),
        images=_weighed("dragan", 10.0),
    ),
    "pacgan-2": Entry("PacGAN: 2 samples judged as one.", _alone("heuristic", packing=2)),
    "pacgan-4": Entry("PacGAN: 4 samples judged as one.", _alone("heuristic", packing=4)),
    "unrolled-5": Entry(
        "The unrolled GAN, 5 steps ahead.",
        merge(_alone("heuristic"), {"variation": {"unrolled": 5}}),
    ),
}

USUAL = ("egan", "random-selection", "round-robin", "gan", "rsgan", "pacgan-2")
"""Compared where nobody says what."""


@dataclass(frozen=True)
class Arm:
    """One method in a study.

    Attributes:
        name: as it was written, of a sweep with its own values.
        settings: nested, over those of all arms.
        oracle: whether the true score chooses the survivors.
        images: settings over these, where the data are images.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    oracle: bool = False
    images: Mapping[str, Any] = field(default_factory=dict)


def parse_arms(texts: Iterable[str]) -> list[Arm]:
    """The arms that texts name: `NAME`, or `NAME[SETTING=VALUE,...; ...]`, one arm a value.

    NAME is an arm of this module, a preset, or a file of settings (.yaml, .json); a setting may be
    written by the end of its name where that is enough (`gamma`).

    Raises:
        UsageError: a name or a setting is unknown, or two arms have one name.
    """
    found = [arm for text in texts for arm in _parse_arm(text)]
    names = [arm.name for arm in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the arm {name} is there twice: every arm must be another.")
    return found


def _parse_arm(text: str) -> list[Arm]:
    known = list(flatten(plain(Config())))
    found = []
    for choice in swept(text):
        entry = _entry(choice.name)
        own = merge(
            *(_nested(_full_name(each, known), value) for each, value in choice.settings.items())
        )
        settings = merge(entry.settings, own)
        _check_own(choice.text, settings)
        found.append(Arm(choice.text, settings, entry.oracle, merge(entry.images, own)))
    return found


def _check_own(text: str, settings: Mapping[str, Any]) -> None:
    """Raise UsageError where an arm sets what the study does."""
    for name in sorted(NOT_COMMON & settings.keys()):
        raise UsageError(f"the arm {text} sets {name}, which is the study's: leave it out.")


def _entry(name: str) -> Entry:
    if name in arms:
        return arms[name]
    if name in presets:
        return Entry(presets[name].text, {"preset": name})
    if Path(name).suffix in (".yaml", ".yml", ".json"):
        return Entry("", read_settings(Path(name)))
    raise UsageError(unknown("arm", name, [*arms, *presets]))


def _full_name(name: str, known: Sequence[str]) -> str:
    """The setting that ends like that.

    Raises:
        UsageError: there is none, or there are several.
    """
    if name.startswith("environment.penalties."):
        return name
    if name.startswith("penalties."):
        return f"environment.{name}"
    found = [each for each in known if each == name or each.endswith(f".{name}")]
    if name in found:
        return name
    if len(found) > 1:
        raise UsageError(f"the setting {name} is {' or '.join(found)}: write which.")
    if not found:
        raise UsageError(unknown("setting", name, known))
    return found[0]


def _nested(name: str, value: Any) -> dict[str, Any]:
    """A dotted name and its value as nested settings."""
    for part in reversed(name.split(".")):
        value = {part: value}
    nested: dict[str, Any] = value
    return nested
