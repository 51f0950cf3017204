"""Image sets: folders of pictures, files of the `datasets` library, or what that downloads."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor

from egan.data.decoding import Decoded, Rules, decoded
from egan.data.encoded import Columns, Encoded, Splits, in_folder, in_hub, stamp
from egan.data.sources import Table
from populations.errors import UsageError

MNIST, CIFAR10 = "ylecun/mnist", "uoft-cs/cifar10"  # where the `datasets` library finds them
COPIES = (
    "these pictures are JPEG copies of the originals, so that scores are not comparable with "
    "published ones"
)


def mnist(data_dir: str = "") -> Table:
    """MNIST's 60,000 handwritten digits for training, grey 28x28 images in [-1, 1].

    The 10,000 test images are what classifiers are tested on.

    Args:
        data_dir: folder with the files train.parquet and test.parquet, whose columns are `image`
            (a struct with the `bytes` of a PNG) and `label`, or of pictures (see `folder`); empty:
            the `datasets` library gets them.

    Raises:
        UsageError: there are no such files, or a library is missing.
    """
    return _known("mnist", MNIST, data_dir, Rules(channels=1))


def cifar10(data_dir: str = "", flip: bool = False) -> Table:
    """CIFAR-10's 50,000 small photographs of ten classes for training, 32x32 in [-1, 1].

    Krizhevsky (2009). The 10,000 test images are what classifiers are tested on.

    Args:
        data_dir: as of `mnist`.
        flip: whether half of the images that are drawn are mirrored.

    Raises:
        UsageError: there are no such files, or a library is missing.
    """
    return _known("cifar10", CIFAR10, data_dir, Rules(channels=3), flip)


def folder(
    data_dir: str = "",
    size: int = 32,
    channels: int = 0,
    flip: bool = False,
    skip_corrupt: bool = False,
    image: str = "",
    label: str = "",
) -> Table:
    """Pictures in a folder and its sub-folders, or in its parquet files, as squares in [-1, 1].

    Sub-folders `train` and `test` are splits, of which the first is learned; sub-folders of a split
    are classes, where every picture lies in one. Pictures without classes are just as welcome.

    Args:
        data_dir: the folder.
        size: side in pixels: the middle square of a picture is cut out and resized, antialiased.
        channels: 1, grey, or 3, colours; 0: grey where all pictures are.
        flip: whether half of the images that are drawn are mirrored.
        skip_corrupt: whether pictures that cannot be read are left out; otherwise they are named.
        image: column with the pictures, of parquet files; empty: the first such.
        label: column with the classes, of parquet files; empty: `label`, where there is one.

    Raises:
        UsageError: there are no pictures, or some cannot be read.
    """
    if not data_dir:
        raise UsageError("the data set folder needs a folder: give it with --data-dir.")
    place = Path(data_dir)
    rules = Rules(size, _checked(channels), skip_corrupt)
    name = place.absolute().name or "folder"
    return _local(name, place, stamp(place), rules, flip, Columns(image, label))


def hub(
    name: str = "",
    size: int = 0,
    channels: int = 0,
    flip: bool = False,
    skip_corrupt: bool = False,
    config: str = "",
    image: str = "",
    label: str = "",
) -> Table:
    """Any image data set that the `datasets` library finds by its name, in [-1, 1].

    Its split `train` is learned; `test`, or `validation`, is what classifiers are tested on.

    Args:
        name: such as uoft-cs/cifar100.
        size: as of `folder`; 0: pictures stay as they are, and must be of one size.
        channels: as of `folder`.
        flip: as of `folder`.
        skip_corrupt: as of `folder`.
        config: which of the data set's configurations, where it has several.
        image: column with the pictures; empty: the first such.
        label: column with the classes, such as fine_label; empty: `label`, where there is one.

    Raises:
        UsageError: the library is missing, or the data set is not to be had.
    """
    if not name:
        raise UsageError(
            "the data set hub needs a name: give it with --data-options.name, for example "
            "uoft-cs/cifar100."
        )
    rules = Rules(size, _checked(channels), skip_corrupt)
    return _downloaded(name.rpartition("/")[2], name, config, rules, flip, Columns(image, label))


def _checked(channels: int) -> int:
    if channels not in (0, 1, 3):
        raise UsageError(f"data_options.channels is {channels}: it must be 0, 1 or 3.")
    return channels


def _known(name: str, address: str, data_dir: str, rules: Rules, flip: bool = False) -> Table:
    if not data_dir:
        return _downloaded(name, address, "", rules, flip, Columns())
    place = Path(data_dir)
    return _local(name, place, stamp(place), rules, flip, Columns(), lossless=True)


@functools.lru_cache(maxsize=2)
def _local(
    name: str, place: Path, seen: str, rules: Rules, flip: bool, columns: Columns,
    lossless: bool = False,
) -> Table:  # fmt: skip
    """Data of a folder, kept while the process lives, and anew when a file is.

    Where the originals are lossless, lossy copies are noted.
    """
    return _table(name, in_folder(place, columns), rules, flip, lossless)


@functools.lru_cache(maxsize=2)
def _downloaded(
    name: str, address: str, config: str, rules: Rules, flip: bool, columns: Columns
) -> Table:
    return _table(name, in_hub(address, config, columns), rules, flip, lossless=False)


def _table(name: str, splits: Splits, rules: Rules, flip: bool, lossless: bool) -> Table:
    train, test = splits
    found = decoded(train, rules)
    note = COPIES if found.lossy and lossless else ""
    unseen = None
    if test is not None:
        side = rules.size or _side(found.pixels)
        same = decoded(test, rules._replace(channels=found.pixels.shape[1], size=side))
        labels = None if train.labels is None else _labels(test, same, train.classes)
        unseen = Table(name, same.pixels, labels, digest=same.digest)
    labels = _labels(train, found, train.classes)
    return Table(name, found.pixels, labels, unseen, flip, train.classes, note, found.digest)


def _labels(pictures: Encoded, found: Decoded, classes: tuple[str, ...]) -> Tensor | None:
    """The numbers of the classes of what was kept, as training has them."""
    if pictures.labels is None:
        return None
    labels = pictures.labels[found.kept]
    if not pictures.classes:
        return labels
    strange = [each for each in pictures.classes if each not in classes]
    if strange:
        raise UsageError(
            f"{pictures.where} has the class {strange[0]}, of which training has no pictures."
        )
    return torch.tensor([classes.index(each) for each in pictures.classes])[labels]


def _side(values: Tensor) -> int:
    height, width = values.shape[2:]
    return height if height == width else 0
