"""How settings work: groups of values that are checked when they are made, merged and compared."""

from __future__ import annotations

import dataclasses
import operator
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from populations.errors import UsageError
from populations.registry import spell, unknown


class Names(tuple[Any, ...]):
    """Names of plug-ins; also made from a comma-separated string."""

    def __new__(cls, names: Any = ()) -> Names:
        """Make a tuple of a string, a list or any other sequence."""
        if isinstance(names, str):
            names = [part.strip() for part in names.split(",") if part.strip()]
        return super().__new__(cls, names)


def setting(
    default: Any,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
) -> Any:
    """A field with a range: `low` and `high` belong to it, `above` and `below` do not."""
    limits = {"low": low, "above": above, "high": high, "below": below}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=limits)
    return field(default=default, metadata=limits)


@dataclass(frozen=True)
class Settings:
    """A group of settings whose types and ranges are checked when it is made."""

    prefix: ClassVar[str] = ""

    def __init_subclass__(cls, group: str = "") -> None:
        cls.prefix = f"{group}." if group else ""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for item in dataclasses.fields(self):
            name = self.prefix + item.name
            value = check(name, getattr(self, item.name), hints[item.name], item.metadata)
            object.__setattr__(self, item.name, value)


_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def check(name: str, value: Any, hint: Any, limits: Mapping[str, Any]) -> Any:
    """The value as its field wants it.

    Raises:
        UsageError: its type or range is wrong; the message says what would be right.
    """
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
        return value if value is None else check(name, value, hint, limits)
    if hint is int or hint is float or hint is str or hint is bool:
        return _check_scalar(name, value, hint, limits)
    if typing.get_origin(hint) is Literal:
        return _check_choice(name, value, typing.get_args(hint))
    if typing.get_origin(hint) is dict:
        return _check_mapping(name, value, typing.get_args(hint)[1], limits)
    if hint is Names:
        return _check_names(name, value)
    return _check_group(name, value, hint)


def _check_scalar(name: str, value: Any, hint: Any, limits: Mapping[str, Any]) -> Any:
    if hint is str and callable(value):  # a plug-in in the place of its name
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UsageError(f"{name} is {value!r}: it must be {_KINDS[hint]}.")
    return _check_range(name, value, limits) if hint in (int, float) else value


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise UsageError(f"{name} is {value!r}: it must be {' or '.join(map(repr, choices))}.")
    return value


def _check_mapping(name: str, value: Any, hint: Any, limits: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} is {value!r}: it must map names to values.")
    if hint is Any:
        return dict(value)
    return {key: check(f"{name}.{key}", each, hint, limits) for key, each in value.items()}


def _check_names(name: str, value: Any) -> Names:
    good = isinstance(value, str | list | tuple)
    names = Names(value) if good else Names()
    if not good or not all(isinstance(each, str) or callable(each) for each in names):
        raise UsageError(f"{name} is {value!r}: it must be a list of names.")
    spelled = [spell(each) for each in names]
    for each in spelled:
        if spelled.count(each) > 1:
            raise UsageError(f"{name} has {each!r} twice: every name must be another.")
    return names


def _check_group(name: str, value: Any, hint: Any) -> Any:
    if not isinstance(value, hint):
        raise UsageError(f"{name} is {value!r}: it must be a group of settings.")
    return value


LARGEST = 2.0**63  # of any number; also keeps out infinities and nan
_LIMITS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "low": ("of at least", operator.ge),
    "above": ("above", operator.gt),
    "high": ("of at most", operator.le),
    "below": ("below", operator.lt),
}


def _check_range(name: str, value: float, limits: Mapping[str, Any]) -> float:
    given = {kind: limit for kind, limit in limits.items() if limit is not None}
    if abs(value) < LARGEST and all(_LIMITS[kind][1](value, given[kind]) for kind in given):
        return value
    noun = "a whole number" if isinstance(value, int) else "a finite number"
    span = " and ".join(f"{_LIMITS[kind][0]} {limit}" for kind, limit in given.items())
    raise UsageError(f"{name} is {value}: it must be {noun} {span}".rstrip() + ".")


Group = TypeVar("Group", bound=Settings)


def build(kind: type[Group], values: Mapping[str, Any]) -> Group:
    """Settings from a nested mapping.

    Raises:
        UsageError: a key is unknown (the message lists the valid ones), or a value is wrong.
    """
    hints = typing.get_type_hints(kind)
    names = [item.name for item in dataclasses.fields(kind)]
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if name not in names:
            raise UsageError(
                unknown("setting", kind.prefix + name, [kind.prefix + each for each in names])
            )
        group = dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping)
        arguments[name] = build(hints[name], value) if group else value
    return kind(**arguments)


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """One nested mapping; later layers win, value by value."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            old = merged.get(name)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            merged[name] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def plain(settings: Settings) -> dict[str, Any]:
    """A nested dict that JSON can hold; callables are spelled `package.module:attribute`."""
    values = {item.name: getattr(settings, item.name) for item in dataclasses.fields(settings)}
    return {name: _plain_value(value) for name, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Settings):
        return plain(value)
    if isinstance(value, Names):
        return [spell(name) for name in value]
    if isinstance(value, dict):
        return {name: _plain_value(each) for name, each in value.items()}
    return spell(value) if callable(value) else value


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names to values."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """The settings in which two plain configurations differ, and how: "seed (1, not 0)"."""
    left, right = flatten(ours), flatten(theirs)
    return [
        f"{name} ({left.get(name)}, not {right.get(name)})"
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
    ]
