"""Plug-ins: a name in a plain dict, a callable, or `package.module:attribute`."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from populations.errors import UsageError


def lookup(kind: str, name: Any, entries: Mapping[str, Any]) -> Any:
    """Return what `name` stands for.

    A string is looked up in `entries`, or imported when it has the form `package.module:attribute`;
    anything else (a callable, a module) is returned as it is.

    Raises:
        UsageError: the name is unknown; the message lists the valid ones and the nearest match.
    """
    if not isinstance(name, str):
        return name
    if name in entries:
        return entries[name]
    if ":" in name:
        return import_attribute(kind, name)
    raise UsageError(unknown(kind, name, entries))


def unknown(kind: str, name: str, valid: Iterable[str]) -> str:
    """The sentence that says that `name` is not a `kind`, and what would be."""
    names = sorted(valid)
    if not names:
        return f"unknown {kind} {name!r}: it must have the form package.module:attribute."
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" did you mean {close[0]!r}?" if close else ""
    return f"unknown {kind} {name!r}:{hint} valid are {', '.join(names)}."


def import_attribute(kind: str, path: str) -> Any:
    """Import `package.module:attribute`; modules in the working directory are found too."""
    module_name, _, attribute = path.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        target: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            target = getattr(target, part)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise UsageError(f"the {kind} {path!r} cannot be imported: {error}.") from error
    return target


def call(kind: str, name: Any, function: Any, /, *arguments: Any, **keywords: Any) -> Any:
    """What a plug-in returns.

    Raises:
        UsageError: it raised something; its own UsageErrors are passed on.
    """
    try:
        return function(*arguments, **keywords)
    except UsageError:
        raise
    except Exception as error:  # whatever a user's function raises
        raise UsageError(f"the {kind} {spell(name)!r} raised {describe_error(error)}.") from error


def describe_error(error: Exception) -> str:
    """An exception's type and the first line of its message."""
    first = str(error).split("\n")[0].rstrip(".")
    return f"{type(error).__name__} ({first})" if first else type(error).__name__


def spell(thing: Any) -> str:
    """The string that stands for a plug-in in a configuration file.

    Strings stay as they are; a function or class becomes `package.module:attribute`.
    """
    if isinstance(thing, str):
        return thing
    owner = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{owner.__module__}:{owner.__qualname__}"


def first_line(thing: Any) -> str:
    """The first line of a plug-in's docstring, for listings."""
    return (thing.__doc__ or "").strip().split("\n")[0]
