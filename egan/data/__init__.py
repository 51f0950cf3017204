"""Data: a name, a file, or a user's own tensor, array or Dataset."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor

from egan.data.images import cifar10, folder, hub, mnist
from egan.data.sources import (
    Curve,
    Data,
    Mixture,
    Stacked,
    Table,
    at_once,
    fingerprint,
    near,
    scaled,
)
from egan.data.stacked import stacked_mnist, stacked_mnist_veegan
from egan.data.synthetic import (
    digits,
    grid,
    grid_pacgan,
    random,
    random_64d,
    ring,
    ring_pacgan,
    spiral,
    stacked_digits,
    swiss_roll,
    veegan_1200d,
)
from populations.errors import UsageError
from populations.registry import call, describe_error, lookup, unknown

data_sets: dict[str, Callable[..., Data]] = {
    "ring": ring,
    "ring-pacgan": ring_pacgan,
    "grid": grid,
    "grid-pacgan": grid_pacgan,
    "random": random,
    "random-64d": random_64d,
    "veegan-1200d": veegan_1200d,
    "spiral": spiral,
    "swiss-roll": swiss_roll,
    "digits": digits,
    "stacked-digits": stacked_digits,
    "mnist": mnist,
    "cifar10": cifar10,
    "folder": folder,
    "hub": hub,
    "stacked-mnist": stacked_mnist,
    "stacked-mnist-veegan": stacked_mnist_veegan,
}

GIVEN = "python "  # how the description of data that were passed in Python begins
FILES = (".npy", ".npz", ".pt", ".csv")

__all__ = [
    "Curve", "Data", "Mixture", "Stacked", "Table", "at_once", "data_sets", "describe",
    "fingerprint", "has_option", "make_data", "near", "scaled",
]  # fmt: skip


def make_data(source: Any, options: Mapping[str, Any] | None = None) -> Data:
    """Data from whatever names or holds them.

    Args:
        source: a registered name, the path of a file, `package.module:attribute`, a tensor, an
            array, a `torch.utils.data.Dataset` (read once into memory, labels dropped), or data.
        options: keyword arguments of a registered data set.

    Raises:
        UsageError: the name is unknown, the file cannot be read, or the values cannot be used.
    """
    source = str(source) if isinstance(source, Path) else source
    if isinstance(source, str) and _is_path(source):
        if options:
            raise UsageError(f"data_options are for registered data sets, not for {source}.")
        return _table(Path(source).stem, _read(Path(source)), source)
    if isinstance(source, str) and source.startswith(GIVEN):
        raise UsageError(
            f"the data were given in Python and are only described here ({source}): pass them to "
            "egan.evolve again."
        )
    found = lookup("data set", source, data_sets)
    if isinstance(found, type) or inspect.isfunction(found):
        found = call("data set", source, found, **_checked(str(source), found, options or {}))
    if all(hasattr(found, name) for name in ("draw", "shape", "name")):
        return found
    if isinstance(found, Tensor | np.ndarray):
        return _table("own", found, "the data")
    if isinstance(found, torch.utils.data.Dataset):
        return _table("own", _stack(found), "the data set")
    raise UsageError(
        f"the data are of type {type(found).__name__}: they must be a name, a file, a tensor, an "
        "array, a torch Dataset, or an object with name, shape and draw."
    )


def has_option(source: str, option: str) -> bool:
    """Whether the data set of that name takes an option.

    Raises:
        UsageError: there is no such data set.
    """
    if _is_path(source):
        return False
    found = lookup("data set", source, data_sets)
    return inspect.isfunction(found) and option in inspect.signature(found).parameters


def _is_path(source: str) -> bool:
    named = source in data_sets or ":" in source
    return not named and (Path(source).suffix in FILES or "/" in source)


def describe(source: Any) -> str:
    """The text that stands for data in a configuration; values from Python get a digest."""
    if isinstance(source, str | Path):
        return str(source)
    if inspect.isfunction(source) or isinstance(source, type):
        return f"{source.__module__}:{source.__qualname__}"
    data = make_data(source)
    digest = joblib.hash(data.values.numpy()) if isinstance(data, Table) else data.name
    return f"{GIVEN}{type(source).__name__} {digest[:12]}"


def _checked(name: str, factory: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the data set's function wants them."""
    valid = inspect.signature(factory).parameters
    if options and not valid:
        raise UsageError(
            f"the data set {name} has no options, and {next(iter(options))} was given."
        )
    for option in options:
        if option not in valid:
            raise UsageError(unknown(f"option of {name}", option, valid))
    return {
        option: _option(option, each, valid[option].default) for option, each in options.items()
    }


def _option(option: str, value: Any, default: Any) -> Any:
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise UsageError(f"data_options.{option} is {value!r}: it must be true or false.")
        return value
    if not isinstance(default, str):
        return _number(option, value, default)
    if not isinstance(value, str | Path):
        raise UsageError(f"data_options.{option} is {value!r}: it must be a text.")
    return str(value)


def _number(option: str, value: Any, default: Any) -> float:
    whole = isinstance(default, int)
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    least = min(1, default) if whole else 0
    if not good or value < least or (whole and value != int(value)):
        kind = f"a whole number of at least {least}" if whole else "a number of at least 0"
        raise UsageError(f"data_options.{option} is {value!r}: it must be {kind}.")
    return int(value) if whole else float(value)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"the data file {path} does not exist.")
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return archive[archive.files[0]] if archive.files else np.zeros(0)
        if path.suffix == ".pt":
            return torch.load(path, map_location="cpu", weights_only=True)
        if path.suffix == ".csv":
            return _read_numbers(path)
    except UsageError:
        raise
    except Exception as error:  # each reader raises its own kinds
        raise UsageError(
            f"the data file {path} cannot be read: {describe_error(error)}."
        ) from error
    raise UsageError(f"the data file {path} must end in one of {', '.join(FILES)}.")


def _read_numbers(path: Path) -> Any:
    try:
        return np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise UsageError(
            f"the data file {path} cannot be read: a .csv holds numbers only, separated by commas, "
            f"without a header ({reason})."
        ) from error


def _stack(dataset: Any) -> Tensor:
    if not hasattr(dataset, "__len__"):
        raise UsageError("the data set has no length: pass a map-style torch Dataset.")
    rows = [dataset[index] for index in range(len(dataset))]
    if not rows:
        raise UsageError("the data set is empty: it must hold at least one sample.")
    first = [row[0] if isinstance(row, tuple | list) else row for row in rows]
    try:
        return torch.stack([torch.as_tensor(np.asarray(each)) for each in first])
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            "the data set has samples that are no arrays of one shape: make them so."
        ) from error


def _table(name: str, values: Any, where: str) -> Table:
    if not isinstance(values, Tensor | np.ndarray):
        kind = type(values).__name__
        raise UsageError(f"{where} holds a {kind}: it must hold one tensor or array.")
    try:
        tensor = torch.as_tensor(values).detach().cpu()
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where} holds values that are not numbers.") from error
    if tensor.is_complex():
        raise UsageError(f"{where} holds complex numbers: it must hold real ones.")
    tensor = tensor.to(torch.float32)
    if tensor.dim() == 1:
        tensor = tensor[:, None]
    if tensor.dim() == 0 or tensor.numel() == 0:
        raise UsageError(f"{where} is empty: it must hold at least one sample.")
    if not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).flatten(1).any(1).sum())
        raise UsageError(f"{where} has NaN or infinite values in {bad} of {len(tensor)} samples.")
    return Table(name, tensor)
