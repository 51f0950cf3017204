"""Encoded pictures: where they lie, and how the bytes of each are read."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from populations.errors import UsageError
from populations.registry import describe_error

LOGGER = logging.getLogger("egan")
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
TRAIN, TESTS = "train", ("test", "validation", "val", "valid")
HIDDEN = -1  # what the hub writes for a label that is kept secret
FORM = "the columns {} (the bytes of pictures) and {}"


@dataclass(frozen=True, eq=False)
class Encoded:
    """Pictures as files hold them.

    Attributes:
        where: what messages call all of them.
        names: what messages call each.
        read: the bytes of the picture of an index.
        labels: classes, (pictures,), int64, where they are known.
        classes: the names of the classes, where they have any.
        digest: a text that changes when a picture does.
    """

    where: str
    names: Sequence[str]
    read: Callable[[int], bytes]
    labels: Tensor | None
    classes: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Columns:
    """The columns of a table of pictures; empty: the first with pictures, and `label` if any."""

    image: str = ""
    label: str = ""


Splits = tuple[Encoded, Encoded | None]
"""The pictures to learn from, and others, where there are such."""


def in_folder(folder: Path, columns: Columns) -> Splits:
    """The pictures below a folder: of its parquet files, or as files of their own.

    Parquet files are `train.parquet` and `test.parquet`, or `train-*.parquet` and so on, there or
    in a sub-folder `data`, as the hub of the `datasets` library has them. Of pictures a sub-folder
    `train` is what is learned, or what lies outside the other split, `test`, `validation`, `val` or
    `valid`; where every picture of a split lies in a sub-folder of it, these are its classes.

    Raises:
        UsageError: there is no such folder, no picture in it, or a file cannot be read.
    """
    if not folder.is_dir():
        fault = "is a file: name the folder that it is in" if folder.exists() else "does not exist"
        raise UsageError(f"the folder {folder} {fault}.")
    for place in (folder, folder / "data"):
        if found := _parquet_files(place, TRAIN):
            learned = in_parquet(found, columns)
            tests = [files for each in TESTS if (files := _parquet_files(place, each))]
            return learned, in_parquet(tests[0], columns) if tests else None
    return _pictures_below(folder)


def stamp(folder: Path) -> str:
    """A text that changes when a file below a folder does, cheap enough to ask every time."""
    digest = hashlib.sha256(str(folder.absolute()).encode())
    for path in _files(folder):
        digest.update(f"{path} {_facts(path)}\n".encode())
    return digest.hexdigest()


def in_parquet(paths: Sequence[Path], columns: Columns) -> Encoded:
    """The pictures of the parquet files of one split, as the `datasets` library writes them."""
    where = str(paths[0]) if len(paths) == 1 else f"{paths[0].parent} ({len(paths)} files)"
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(f"reading {where} needs pyarrow: pip install 'egan[images]'.") from error
    try:
        rows = pyarrow.concat_tables([pyarrow.parquet.read_table(path) for path in paths])
    except Exception as error:  # pyarrow raises kinds of its own
        raise UsageError(f"{where} cannot be read: {describe_error(error)}.") from error
    return in_rows(rows, where, columns)


def in_hub(name: str, config: str, columns: Columns) -> Splits:
    """The pictures of a data set that the `datasets` library downloads, or has downloaded.

    Raises:
        UsageError: the library is missing, the data set cannot be had, or has no split `train`.
    """
    try:
        import datasets
    except ImportError as error:
        raise UsageError(
            f"the data set {name} is not part of this project: give the folder of its files "
            "with --data-dir (to the data set folder, in the place of hub), or install the library "
            "that downloads them: pip install 'egan[images]'."
        ) from error
    try:
        found = datasets.load_dataset(name, config or None)
    except Exception as error:  # without a network, or with a wrong answer
        raise UsageError(
            f"{name} cannot be downloaded, {describe_error(error)}: check the name and the "
            "network, or give the folder of its files with --data-dir (to the data set folder, in "
            "the place of hub)."
        ) from error
    if TRAIN not in found:
        raise UsageError(f"{name} has no split train: it has {', '.join(found)}.")
    test = next((each for each in TESTS if each in found), None)
    rows = {each: found[each].with_format("arrow")[:] for each in (TRAIN, test) if each}
    splits = {each: in_rows(rows[each], f"the {each} split of {name}", columns) for each in rows}
    return splits[TRAIN], splits[test] if test else None


def in_rows(rows: Any, where: str, columns: Columns) -> Encoded:
    """The pictures of a table of pyarrow.

    Raises:
        UsageError: it has no such columns.
    """
    if not len(rows):
        raise UsageError(f"{where} is empty: it must hold at least one picture.")
    from pyarrow.compute import struct_field

    image = columns.image or next(_image_columns(rows.schema), "image")
    label = columns.label or ("label" if "label" in rows.column_names else "")
    try:
        held = rows.column(image)  # in chunks: one array could not hold two gigabytes
        inner = _has_field(held.type, "bytes")
        paths = struct_field(held, "path") if _has_field(held.type, "path") else None
        content = struct_field(held, "bytes") if inner else held.cast("binary")
        labels, classes = _labels(rows.column(label)) if label else (None, ())
    except Exception as error:  # pyarrow raises kinds of its own
        form = FORM.format(image, label or "label")
        raise UsageError(
            f"{where} cannot be read: {describe_error(error)}; it must have {form}."
        ) from error

    def read(index: int) -> bytes:
        own, path = content[index].as_py(), None if paths is None else paths[index].as_py()
        if own is None and path is not None and Path(path).is_file():
            own = Path(path).read_bytes()
        return own or b""  # which is named as damaged

    names = [f"row {index}" for index in range(len(rows))]
    return Encoded(where, names, read, labels, classes, _digest(map(read, range(len(rows)))))


def _image_columns(schema: Any) -> Iterator[str]:
    for field in schema:
        if _has_field(field.type, "bytes") or str(field.type) in ("binary", "large_binary"):
            yield field.name


def _has_field(kind: Any, name: str) -> bool:
    return str(kind).startswith("struct") and kind.get_field_index(name) >= 0


def _labels(column: Any) -> tuple[Tensor | None, tuple[str, ...]]:
    """Numbers as they are, unless all are hidden; texts by their order."""
    values = column.to_numpy()
    if column.null_count:
        raise ValueError(f"{column.null_count} labels are missing")
    if np.issubdtype(values.dtype, np.integer):
        if (values == HIDDEN).all():
            return None, ()
        if values.min() < 0:
            raise ValueError(f"{int((values < 0).sum())} labels are below 0")
        return torch.from_numpy(values.astype(np.int64)), ()
    return _numbered([str(each) for each in values])


def _numbered(names: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    classes = sorted(set(names))
    places = {name: place for place, name in enumerate(classes)}
    return torch.tensor([places[name] for name in names]), tuple(classes)


def _digest(contents: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for each in contents:
        digest.update(len(each).to_bytes(8, "little") + each)
    return digest.hexdigest()


def _parquet_files(folder: Path, split: str) -> list[Path]:
    return sorted([*folder.glob(f"{split}.parquet"), *folder.glob(f"{split}-*.parquet")])


def _files(folder: Path) -> list[Path]:
    """Files below a folder, hidden ones and folders left out, in their names' order."""
    found: list[Path] = []
    for place, inner, names in os.walk(folder, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [Path(place) / name for name in names if not name.startswith(".")]
    return sorted(found)


def _pictures_below(folder: Path) -> Splits:
    paths = [path for path in _files(folder) if path.suffix.lower() in ENDINGS]
    if not paths:
        raise UsageError(
            f"the folder {folder} has no pictures: it must hold train.parquet, or files that end "
            f"in one of {', '.join(ENDINGS)}."
        )
    below = {
        each: [path for path in paths if folder / each in path.parents] for each in (TRAIN, *TESTS)
    }
    test = next((each for each in TESTS if below[each]), None)
    held = below[test] if test else []
    learned = below[TRAIN] or sorted({*paths} - {*held})
    if not learned:  # a folder that has only the name of a split
        return _pictures(folder, paths), None
    if beside := len(paths) - len(learned) - len(held):
        LOGGER.warning(f"Of {folder} {beside:,} pictures are in no split and left out.")
    unseen = _pictures(folder / test, held) if test else None
    return _pictures(folder / TRAIN if below[TRAIN] else folder, learned), unseen


def _facts(path: Path) -> tuple[int, int]:
    """Size and time of a file; zeros where a link leads nowhere, which is named as damaged."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _pictures(folder: Path, paths: Sequence[Path]) -> Encoded:
    names = [str(path.relative_to(folder)) for path in paths]
    parents = [Path(name).parts[0] for name in names if len(Path(name).parts) > 1]
    labelled = len(parents) == len(names) and len(set(parents)) > 1
    labels, classes = _numbered(parents) if labelled else (None, ())
    told = (str(folder.absolute()), names, [_facts(path) for path in paths])
    digest = hashlib.sha256(repr(told).encode()).hexdigest()
    return Encoded(
        str(folder), names, lambda index: paths[index].read_bytes(), labels, classes, digest
    )
