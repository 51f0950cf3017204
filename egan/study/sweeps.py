"""Sweeps: a name and, in brackets, settings with values; one thing for each choice of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from populations.errors import UsageError


class Choice(NamedTuple):
    """One of a sweep.

    Attributes:
        text: the name with the settings of this one, as they could be written.
        name: before the brackets.
        settings: values by name.
    """

    text: str
    name: str
    settings: dict[str, Any]


def swept(text: str) -> Iterator[Choice]:
    """All choices of `NAME[SETTING=VALUE,VALUE; SETTING=VALUE]`; values are YAML.

    Raises:
        UsageError: the text has another form.
    """
    name, bracket, rest = text.partition("[")
    if bracket and not rest.endswith("]"):
        raise UsageError(f"{text!r} has a bracket that does not close: write NAME[SETTING=VALUE].")
    pairs = [_sweep(part, text) for part in _split(rest[:-1], ";")] if bracket else []
    sweeps = dict(pairs)
    if len(sweeps) < len(pairs):
        raise UsageError(f"{text!r} has a setting twice: write SETTING=VALUE,VALUE for a sweep.")
    for values in itertools.product(*sweeps.values()):
        settings = dict(zip(sweeps, values, strict=True))
        yield Choice(spelled(name, settings), name, settings)


def spelled(name: str, settings: Mapping[str, Any]) -> str:
    """A name with its settings, as it could be written."""
    parts = "; ".join(f"{each}={_spelled(value)}" for each, value in settings.items())
    return f"{name}[{parts}]" if parts else name


def _sweep(part: str, whole: str) -> tuple[str, list[Any]]:
    """A setting and its values."""
    setting, _, values = part.partition("=")
    if not (setting.strip() and values.strip()):
        raise UsageError(f"{part!r} in {whole!r} must be a setting and its value: SETTING=VALUE.")
    return setting.strip(), [_value(each, whole) for each in _split(values, ",")]


def _split(text: str, separator: str) -> list[str]:
    """The parts between separators that stand in no brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == separator and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _value(text: str, whole: str) -> Any:
    if re.fullmatch(r"[-+]?[\d.]+[eE][-+]?\d+", text):  # a text to YAML 1.1, where it has no point
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"the value {text!r} in {whole!r} cannot be read.") from error


def _spelled(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(_spelled, value))}]"
    found: str = yaml.safe_dump(value, default_flow_style=True)
    return found.removesuffix("...\n").strip()
