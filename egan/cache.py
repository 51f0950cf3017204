"""A cache on disk: what takes long to make is made once for a user and a machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from filelock import FileLock
from torch import Tensor

from populations.checkpoint import write_whole

Tensors = dict[str, Tensor]


def folder() -> Path:
    """The folder that the variable EGAN_CACHE names, or `egan` in the user's cache directory."""
    given = os.environ.get("EGAN_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "egan"


def cached(name: str, make: Callable[[], Tensors]) -> Tensors:
    """The tensors that are kept under a name, made where they are not there or damaged.

    Of several processes that ask at once one makes them, and the others wait for it. Where the
    cache cannot be written nothing is kept.
    """
    path = folder() / f"{name}.safetensors"
    found = _read(path)
    if found is not None:
        return found
    with _alone(path):
        found = _read(path)
        if found is None:
            found = make()
            _write(path, found)
        return found


def mapped(name: str, shape: tuple[int, ...], fill: Callable[[np.ndarray], None]) -> Tensor:
    """The bytes, uint8, of that shape that are kept under a name, read from the disk when used.

    Args:
        name: what they are kept under.
        shape: theirs.
        fill: makes them, in the array that it is given; called as `cached` calls its `make`.
    """
    path = folder() / f"{name}.npy"
    found = _map(path, shape)
    if found is not None:
        return found
    with _alone(path):
        found = _map(path, shape)
        if found is None:
            found = _filled(path, shape, fill)
        return found


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Within it no other process makes that file, where the cache can be written."""
    with contextlib.ExitStack() as alone:
        with contextlib.suppress(OSError, NotImplementedError):  # some file systems have no locks
            path.parent.mkdir(parents=True, exist_ok=True)
            alone.enter_context(FileLock(path.with_suffix(".lock")))
        yield


def _read(path: Path) -> Tensors | None:
    try:
        return dict(safetensors.torch.load_file(path))
    except Exception:  # missing or damaged: safetensors raises kinds of its own
        return None


def _write(path: Path, tensors: Tensors) -> None:
    content = safetensors.torch.save(tensors)
    with contextlib.suppress(OSError):
        write_whole(path, lambda part: part.write_bytes(content))


def _map(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    try:
        found = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # missing or damaged
        return None
    return torch.from_numpy(found) if (found.shape, found.dtype) == (shape, np.uint8) else None


def _filled(path: Path, shape: tuple[int, ...], fill: Callable[[np.ndarray], None]) -> Tensor:
    failed: list[OSError] = []

    def write(part: Path) -> None:
        array = np.lib.format.open_memmap(part, "w+", np.uint8, shape)
        try:
            fill(array)
        except OSError as error:  # not of the cache
            failed.append(error)
            raise
        array.flush()

    with contextlib.suppress(OSError):
        write_whole(path, write)
    if failed:
        raise failed[0]
    found = _map(path, shape)
    if found is None:  # nothing could be kept
        array = np.empty(shape, np.uint8)
        fill(array)
        found = torch.from_numpy(array)
    return found
