"""A cache on disk: what takes long to make is made once for a user and a machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
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
    with contextlib.ExitStack() as alone:
        with contextlib.suppress(OSError, NotImplementedError):  # some file systems have no locks
            path.parent.mkdir(parents=True, exist_ok=True)
            alone.enter_context(FileLock(path.with_suffix(".lock")))
        found = _read(path)
        if found is None:
            found = make()
            _write(path, found)
        return found


def _read(path: Path) -> Tensors | None:
    try:
        return dict(safetensors.torch.load_file(path))
    except Exception:  # missing or damaged: safetensors raises kinds of its own
        return None


def _write(path: Path, tensors: Tensors) -> None:
    content = safetensors.torch.save(tensors)
    with contextlib.suppress(OSError):
        write_whole(path, lambda part: part.write_bytes(content))
