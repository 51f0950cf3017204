"""Transport: nested values whose tensors travel to other processes as plain numpy arrays.

joblib maps large arrays into the memory of its workers instead of copying them, and Dask sends an
array once to each of its own; neither knows tensors.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]
LARGE = 100_000  # bytes: larger arrays are mapped into other processes' memory instead of sent


@dataclass(frozen=True)
class Place:
    """Where a tensor was: the number of its array, and whether that holds the bits of bfloat16."""

    number: int
    bits: bool = False


class Parcels:
    """Packs values; a tensor that several values hold is packed once."""

    def __init__(self) -> None:
        self._arrays: dict[int, tuple[Tensor, Array]] = {}

    def pack(self, value: Any) -> tuple[Any, list[Array]]:
        """The value with places instead of tensors, and the tensors' arrays."""
        arrays: list[Array] = []

        def leave(tensor: Tensor) -> Any:
            if id(tensor) not in self._arrays:  # the tensor is kept, so that its id stays its own
                self._arrays[id(tensor)] = tensor, _array(tensor.detach().cpu())
            arrays.append(self._arrays[id(tensor)][1])
            return Place(len(arrays) - 1, tensor.dtype == torch.bfloat16)

        return mapped(leave, value), arrays


def _array(tensor: Tensor) -> Array:
    if tensor.dtype == torch.bfloat16:  # numpy has no such type
        tensor = tensor.view(torch.int16)
    array: Array = tensor.numpy()
    return array


class Store:
    """Large arrays as files in a folder of this machine; an array that is put twice is one file."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._paths: dict[int, tuple[Array, Path]] = {}

    def put(self, arrays: Sequence[Array]) -> list[Array | Path]:
        """Small arrays as they are, the paths of large ones."""
        return [each if each.nbytes < LARGE else self._path(each) for each in arrays]

    def _path(self, array: Array) -> Path:
        if id(array) not in self._paths:  # the array is kept, so that its id stays its own
            number, name = tempfile.mkstemp(suffix=".npy", dir=self.folder)
            with open(number, "wb") as file:
                np.save(file, array, allow_pickle=False)
            self._paths[id(array)] = array, Path(name)
        return self._paths[id(array)][1]

    def clear(self) -> None:
        """Remove the files; who has them mapped keeps what is in them."""
        remove([path for _, path in self._paths.values()])
        self._paths.clear()


def fetched(arrays: Sequence[Array | Path]) -> list[Array]:
    """The arrays that a store took, mapped into memory: what is never read is never copied."""
    return [
        np.load(each, mmap_mode="c", allow_pickle=False) if isinstance(each, Path) else each
        for each in arrays
    ]


def remove(arrays: Sequence[Array | Path]) -> None:
    """Remove the files among these; where open files cannot be, their folder is in the end."""
    for each in arrays:
        if isinstance(each, Path):
            with suppress(OSError):
                each.unlink()


def unpack(skeleton: Any, arrays: Sequence[Array]) -> Any:
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
