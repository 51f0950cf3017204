"""Checkpoints: plain dicts, written atomically; the previous one stays until the new is whole."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from populations.errors import RunError

KEPT = 2


def path_of(folder: Path, generation: int) -> Path:
    """Where the checkpoint of that generation lies."""
    return folder / f"{generation:09d}.pt"


def all_in(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first; other files are left alone."""
    return sorted(path for path in folder.glob("*.pt") if path.stem.isdigit())


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file, flush it to the disk, then give it its name.

    Whoever reads `path`, at any moment, finds the old file or the new one, never a part.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        write(part)
        with open(part, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save(folder: Path, generation: int, plain: dict[str, Any]) -> Path:
    """Save a plain dict as the checkpoint of `generation`, and keep only the one before beside it.

    Later ones are dropped too: they were passed over when the run came back to `generation`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, generation)
    content = io.BytesIO()
    torch.save(plain, content)  # to memory: on a full disk torch's own writer hides the reason
    write_whole(path, lambda part: part.write_bytes(content.getbuffer()))
    kept = [old for old in all_in(folder) if old <= path][-KEPT:]
    for old in all_in(folder):
        if old not in kept:
            old.unlink()
    return path


def load(path: Path) -> dict[str, Any]:
    """Read one checkpoint.

    Raises:
        RunError: it is truncated, altered or not a checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise RunError(f"the checkpoint {path} is damaged in {damaged}.")
        plain = torch.load(path, map_location="cpu", weights_only=True)
    except RunError:
        raise
    except Exception as error:  # zip, pickle and torch each raise their own
        raise RunError(f"the checkpoint {path} cannot be read.") from error
    return plain


def load_latest(
    folder: Path, accept: Callable[[dict[str, Any]], Any]
) -> tuple[Any, list[str]] | None:
    """The newest good checkpoint, made into a state by `accept`.

    Returns:
        What `accept` returned and a sentence for each newer checkpoint that was passed over, or
        None where there is no checkpoint at all.

    Raises:
        RunError: there are checkpoints, and none is good.
    """
    skipped: list[str] = []
    paths = all_in(folder)
    for path in reversed(paths):
        try:
            return accept(load(path)), skipped
        except Exception as error:  # what is not of this run fails anywhere in `accept`
            reason = (
                str(error)
                if isinstance(error, RunError)
                else f"the checkpoint {path} is not of this run."
            )
            skipped.append(reason)
    if paths:
        raise RunError(f"none of the checkpoints in {folder} can be read.")
    return None
