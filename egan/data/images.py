"""MNIST: from files in the form of the Hugging Face `datasets` library, or by that library."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from egan.cache import cached
from egan.data.sources import CHANNELS, Stacked, Table
from populations.errors import UsageError
from populations.randomness import generator as keyed
from populations.registry import describe_error

HUB = "ylecun/mnist"  # where the `datasets` library finds it
SPLITS = ("train", "test")
TRIPLES = 128_000
FILES = "train.parquet and test.parquet"
WAYS = (
    f"give the folder of the files {FILES} (--data-dir, or data_options.data_dir), or install the "
    "library that downloads them: pip install 'egan[images]'"
)


def mnist(data_dir: str = "") -> Table:
    """MNIST's 60,000 handwritten digits for training, grey 28x28 images in [-1, 1].

    The 10,000 test images are what classifiers are tested on.

    Args:
        data_dir: folder with the files train.parquet and test.parquet, whose columns are `image`
            (a struct with the `bytes` of a PNG) and `label`; empty: the `datasets` library gets
            them.

    Raises:
        UsageError: there are no such files, or a library is missing.
    """
    if not data_dir:
        return _table(None)
    paths = [Path(data_dir) / f"{split}.parquet" for split in SPLITS]
    for path in paths:
        if not path.is_file():
            raise UsageError(
                f"the folder {data_dir} has no {path.name}: data_dir must hold {FILES}."
            )
    stamps = [path.stat().st_mtime_ns for path in paths]
    return _table(Path(data_dir).absolute(), *stamps)


def stacked_mnist(data_dir: str = "") -> Stacked:
    """Three MNIST digits as colour channels, 28x28 in [-1, 1], drawn anew: 1,000 modes.

    The setting of Metz et al. (2017), as Lin et al. (2018), PacGAN, repeat it: every batch is made
    of the 60,000 training images on the fly.
    """
    table = mnist(data_dir)
    return Stacked("stacked-mnist", table.values, table)


def stacked_mnist_veegan(data_dir: str = "", seed: int = 0) -> Stacked:
    """128,000 fixed triples of all 70,000 MNIST digits as colour channels: 1,000 modes.

    The setting of Srivastava et al. (2017), VEEGAN, as the released code of Lin et al. (2018),
    PacGAN, has it, but for the scale: pixels are in [0, 1] there, and in [-1, 1] here. That triples
    are fixed raises the `reverse-kl` of real samples by .0039.

    Args:
        data_dir: as of `mnist`.
        seed: of the triples.
    """
    table = mnist(data_dir)
    assert table.unseen is not None
    pool = torch.cat([table.values, table.unseen.values])
    draw = keyed(seed, 0, "triples")
    triples = torch.randint(len(pool), (TRIPLES, CHANNELS), generator=draw)
    return Stacked("stacked-mnist", pool, table, triples)


@functools.lru_cache(maxsize=1)
def _table(folder: Path | None, *stamps: int) -> Table:
    """The data, kept while the process lives, and anew when a file is."""
    train, test = (_split(folder, split) for split in SPLITS)
    return Table("mnist", *train, unseen=Table("mnist", *test))


def _split(folder: Path | None, split: str) -> tuple[Tensor, Tensor]:
    """Pixels, (images, 1, height, width), uint8, and labels, (images,)."""
    where = f"the {split} split of {HUB}" if folder is None else str(folder / f"{split}.parquet")
    try:
        rows = _downloaded(split) if folder is None else _read(folder / f"{split}.parquet")
        files = rows.column("image").combine_chunks().field("bytes").to_pylist()
        labels = torch.from_numpy(rows.column("label").to_numpy().astype(np.int64))
        return _decoded(files), labels
    except UsageError:
        raise
    except Exception as error:  # pyarrow, pillow and the hub's client raise kinds of their own
        raise UsageError(
            f"{where} cannot be read: {describe_error(error)}; it must have the columns image (the "
            "bytes of PNG files of one size) and label."
        ) from error


def _read(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(f"reading {path} needs pyarrow: pip install 'egan[images]'.") from error
    return pyarrow.parquet.read_table(path, columns=["image", "label"])


def _downloaded(split: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UsageError(f"the data set mnist is not part of this project: {WAYS}.") from error
    try:
        found = datasets.load_dataset(HUB, split=split)
    except Exception as error:  # without a network, or with a wrong answer
        raise UsageError(f"{HUB} cannot be downloaded, {describe_error(error)}: {WAYS}.") from error
    return found.cast_column("image", datasets.Image(decode=False)).with_format("arrow")[:]


def _decoded(files: Sequence[bytes]) -> Tensor:
    """Pixels of PNG files, kept on disk by the files' digest, since decoding takes seconds."""
    digest = hashlib.sha256()
    for each in files:
        digest.update(each)
    name = f"pixels-{digest.hexdigest()[:32]}"
    return cached(name, functools.partial(_decode, files))["pixels"]


def _decode(files: Sequence[bytes]) -> dict[str, Tensor]:
    from PIL import Image

    grey = [np.asarray(Image.open(io.BytesIO(each)).convert("L")) for each in files]
    return {"pixels": torch.from_numpy(np.stack(grey))[:, None]}
