"""Decoding: pictures of any size and kind as pixels of one shape, made once for a machine."""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from egan.cache import Tensors, cached, mapped
from egan.data.encoded import Encoded
from populations.errors import UsageError

LOGGER = logging.getLogger("egan")
PART = 256  # pictures that a thread decodes in a row
MANY = 20_000  # pictures whose decoding is worth a word
NAMED = 5  # files that a message names
GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B"}  # Pillow's modes
OF_HUB = "(of the data sets folder and hub)"


class Rules(NamedTuple):
    """What becomes of a picture.

    Attributes:
        size: side of the square that is cut out of its middle and resized; 0: it stays as it is.
        channels: 1, grey, or 3, colours; 0: 1 where all are grey.
        skip: whether pictures that cannot be read are left out.
    """

    size: int = 0
    channels: int = 0
    skip: bool = False


class Decoded(NamedTuple):
    """What became of pictures.

    Attributes:
        pixels: (pictures, channels, height, width), uint8.
        kept: the indices of these pictures.
        lossy: whether one was compressed with losses.
        digest: a text that changes when the pixels do.
    """

    pixels: Tensor
    kept: Tensor
    lossy: bool
    digest: str


def decoded(pictures: Encoded, rules: Rules) -> Decoded:
    """The pixels of pictures, mapped from the cache, so that they need not fit into memory.

    Every picture is looked at first, then decoded; each of the two is done once for a machine.
    Transparent parts become white, and pictures are turned as their camera says. Resizing is
    Pillow's bicubic one, which widens its kernel where it shrinks (Parmar et al., 2022, on aliased
    resizing and scores).

    Raises:
        UsageError: pictures cannot be read, or are not of one size and none is asked for.
    """
    facts = cached(f"pictures-{_key(pictures)}", functools.partial(_look_at_all, pictures))
    kept = _readable(pictures, facts["readable"], rules)
    channels = rules.channels or (1 if bool(facts["grey"][kept].all()) else 3)
    height, width = _size(pictures, facts["sizes"][kept], rules)
    name = f"pixels-{_key(pictures, rules.size, channels)}"
    shape = (len(kept), channels, height, width)
    fill = functools.partial(_decode_all, pictures, kept.tolist(), rules.size)
    return Decoded(mapped(name, shape, fill), kept, bool(facts["lossy"][kept].any()), name)


def _key(pictures: Encoded, *more: int) -> str:
    """Of the pictures, of what is asked for, and of this file, in which the recipe is."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(repr((pictures.digest, more)).encode())
    return digest.hexdigest()[:32]


def _readable(pictures: Encoded, readable: Tensor, rules: Rules) -> Tensor:
    bad = [pictures.names[index] for index in (~readable).nonzero().flatten().tolist()]
    if not bad:
        return torch.arange(len(readable))
    more = f" and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
    which = f"{len(bad):,} of {len(readable):,} pictures ({', '.join(bad[:NAMED])}{more})"
    if not rules.skip:
        raise UsageError(
            f"{pictures.where} cannot be read: {which} are damaged; repair or remove them, or "
            f"leave them out with data_options.skip_corrupt = true {OF_HUB}."
        )
    if len(bad) == len(readable):
        raise UsageError(f"{pictures.where} cannot be read: all its pictures are damaged.")
    LOGGER.warning(f"Of {pictures.where} {which} are damaged and left out.")
    return readable.nonzero().flatten()


def _size(pictures: Encoded, sizes: Tensor, rules: Rules) -> tuple[int, int]:
    if rules.size:
        return rules.size, rules.size
    found = sizes.unique(dim=0).tolist()
    if len(found) > 1:
        first, last = (" x ".join(map(str, each)) for each in (found[0], found[-1]))
        raise UsageError(
            f"{pictures.where} has pictures of {len(found)} sizes, such as {first} and {last}: say "
            f"to which they are cut and resized, for example data_options.size = 32 {OF_HUB}."
        )
    return found[0][0], found[0][1]


def _look_at_all(pictures: Encoded) -> Tensors:
    """Of each picture whether it can be read, is grey, was compressed with losses; its size."""
    if len(pictures.names) > MANY:
        LOGGER.warning(f"The pictures of {pictures.where} are decoded, once on this machine.")
    parts = _in_parts(len(pictures.names), lambda part: [_look_at(pictures, each) for each in part])
    rows = torch.tensor([row for part in parts for row in part])
    return {
        "readable": rows[:, 0] > 0,
        "grey": rows[:, 1] > 0,
        "lossy": rows[:, 2] > 0,
        "sizes": rows[:, 3:].contiguous(),
    }


def _look_at(pictures: Encoded, index: int) -> tuple[int, int, int, int, int]:
    try:
        picture = Image.open(io.BytesIO(pictures.read(index)))
        kind = picture.format
        picture.load()
        width, height = ImageOps.exif_transpose(picture).size
    except Exception:  # Pillow's readers raise kinds of their own
        return 0, 0, 0, 0, 0
    if picture.mode == "F":  # of a range that nothing tells
        return 0, 0, 0, 0, 0
    return 1, _is_grey(picture), kind == "JPEG", height, width


def _is_grey(picture: Any) -> bool:
    if picture.mode != "P" or picture.has_transparency_data:
        return picture.mode in GREY
    red, green, blue = (picture.convert("RGB").getchannel(each) for each in "RGB")
    return bool(red == green == blue)


def _decode_all(pictures: Encoded, kept: Sequence[int], size: int, pixels: np.ndarray) -> None:
    channels = pixels.shape[1]

    def decode(part: Sequence[int]) -> None:
        for place in part:
            try:
                pixels[place] = _pixels(pictures.read(kept[place]), channels, size)
            except Exception as error:  # it was whole a moment ago
                name = pictures.names[kept[place]]
                raise UsageError(
                    f"{name} of {pictures.where} changed while it was read."
                ) from error

    _in_parts(len(kept), decode)


def _in_parts(count: int, work: Callable[[Sequence[int]], Any]) -> list[Any]:
    """What becomes of all places, a part a call, in threads: Pillow's decoders run side by side."""
    parts = [range(start, min(count, start + PART)) for start in range(0, count, PART)]
    threads = joblib.Parallel(os.cpu_count() or 1, prefer="threads")
    return list(threads(joblib.delayed(work)(part) for part in parts))


def _pixels(content: bytes, channels: int, size: int) -> np.ndarray:
    """One picture, (channels, height, width), uint8."""
    picture = _opaque(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    picture = picture.convert("L" if channels == 1 else "RGB")
    if size:
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    values = np.asarray(picture)
    return values[None] if channels == 1 else values.transpose(2, 0, 1)


def _opaque(picture: Any) -> Any:
    """A picture of 8 bits a channel, on white where it is transparent."""
    if picture.mode in ("I", "I;16", "I;16B"):  # of 16 bits, which Pillow would cut off
        values = np.asarray(picture).astype(np.float64)
        return Image.fromarray((values / 257 + 0.5).clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        whole = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole)
    return picture
