"""Transport: nested values whose tensors travel to other processes as plain numpy arrays.

joblib maps large arrays into the memory of its workers instead of copying them, and Dask sends an
array once to each of its own; neither knows tensors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Place:
    """Where a tensor was: the number of its array, and whether that holds the bits of bfloat16."""

    number: int
    bits: bool = False


class Parcels:
    """Packs values; a tensor that several values hold is packed once."""

    def __init__(self) -> None:
        self._arrays: dict[int, tuple[Tensor, np.ndarray[Any, Any]]] = {}

    def pack(self, value: Any) -> tuple[Any, list[np.ndarray[Any, Any]]]:
        """The value with places instead of tensors, and the tensors' arrays."""
        arrays: list[np.ndarray[Any, Any]] = []

        def leave(tensor: Tensor) -> Any:
            if id(tensor) not in self._arrays:  # the tensor is kept, so that its id stays its own
                self._arrays[id(tensor)] = tensor, _array(tensor.detach().cpu())
            arrays.append(self._arrays[id(tensor)][1])
            return Place(len(arrays) - 1, tensor.dtype == torch.bfloat16)

        return mapped(leave, value), arrays


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    if tensor.dtype == torch.bfloat16:  # numpy has no such type
        tensor = tensor.view(torch.int16)
    array: np.ndarray[Any, Any] = tensor.numpy()
    return array


def unpack(skeleton: Any, arrays: Sequence[np.ndarray[Any, Any]]) -> Any:
    """The value that `Parcels.pack` took apart."""

    def fetch(place: Place) -> Tensor:
        array = arrays[place.number]
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
        return tensor.view(torch.bfloat16) if place.bits else tensor

    return mapped(fetch, skeleton, Place)


def mapped(function: Callable[[Any], Any], value: Any, kind: type = Tensor) -> Any:
    """A nested value (dicts, lists, tuples, dataclasses) with `function` of its leaves of a kind.

    Everything else is kept as it is.
    """
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, dict):
        return {name: mapped(function, each, kind) for name, each in value.items()}
    if isinstance(value, list | tuple):
        made = [mapped(function, each, kind) for each in value]
        return type(value)(made)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return type(value)(**{name: mapped(function, each, kind) for name, each in parts.items()})
    return value
