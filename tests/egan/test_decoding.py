"""Pictures of every kind become the pixels that a viewer shows."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from egan.data.decoding import Rules, decoded
from egan.data.encoded import Encoded
from populations.errors import UsageError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EGAN_CACHE", str(tmp_path))


def decode(pictures, **rules):
    contents = []
    for picture in pictures:
        content = io.BytesIO()
        picture.save(content, "PNG", **picture.info)
        contents.append(content.getvalue())
    names = [str(place) for place in range(len(contents))]
    digest = repr(contents)
    return decoded(Encoded("here", names, contents.__getitem__, None, (), digest), Rules(**rules))


def flat(mode, colour, size=(6, 4)):
    return Image.new(mode, size, colour)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (flat("L", 200), [200]),
        (flat("1", 1), [255]),
        (flat("RGB", (1, 2, 3)), [1, 2, 3]),
        (flat("RGBA", (0, 100, 200, 0)), [255, 255, 255]),
        (flat("RGBA", (0, 100, 200, 255)), [0, 100, 200]),
        (flat("LA", (100, 0)), [255]),
        (flat("I;16", 257 * 77), [77]),
        (flat("RGB", (9, 0, 0)).quantize(2), [9, 0, 0]),
    ],
)
def test_a_picture_is_what_a_viewer_shows(picture, expected):
    found = decode([picture]).pixels
    assert found.shape == (1, len(expected), 4, 6)
    assert found[0, :, 1, 2].tolist() == expected


def test_one_colour_picture_makes_all_of_them_colourful():
    found = decode([flat("L", 9), flat("RGB", (1, 2, 3))]).pixels
    assert found[:, :, 0, 0].tolist() == [[9, 9, 9], [1, 2, 3]]


def test_a_grey_palette_is_grey_and_a_picture_of_no_known_range_is_damaged():
    assert decode([flat("L", 9).convert("P")]).pixels[0, :, 0, 0].tolist() == [9]
    content = io.BytesIO()
    flat("F", 0.5).save(content, "TIFF")
    told = Encoded("here", ["x"], lambda index: content.getvalue(), None, (), "f")
    with pytest.raises(UsageError, match="1 of 1 pictures \\(x\\) are damaged"):
        decoded(told, Rules())


def test_a_picture_is_turned_as_its_camera_says():
    picture = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    picture.info["exif"] = exif
    turned = decode([picture]).pixels[0, 0]
    assert torch.equal(turned, torch.arange(24, dtype=torch.uint8).view(4, 6).rot90(-1))


def test_the_middle_square_is_cut_out():
    pixels = np.zeros((8, 20), np.uint8)
    pixels[:, 6:14] = 250
    assert decode([Image.fromarray(pixels)], size=8).pixels.unique().tolist() == [250]


def test_shrinking_averages_what_it_cannot_show():
    """A board of single pixels becomes grey; without antialiasing it is black, white or stripes."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    found = decode([Image.fromarray(board)], size=16).pixels.float()
    assert float((found - 127.5).abs().max()) < 3


def test_resized_pictures_keep_their_brightness_and_place():
    ramp = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (96, 1))
    found = decode([Image.fromarray(ramp)], size=32).pixels[0, 0].float()
    places = (torch.arange(32) + 0.5) * 3 - 0.5
    expected = places * 255 / 95
    assert float((found[16, 2:-2] - expected[2:-2]).abs().max()) < 1.5


def test_many_pictures_are_decoded_in_their_order():
    found = decode([flat("L", number % 256) for number in range(600)]).pixels[:, 0, 0, 0]
    assert torch.equal(found, torch.arange(600).remainder(256).to(torch.uint8))


def test_pixels_are_mapped_from_the_disk_and_rules_have_files_of_their_own(tmp_path):
    picture = flat("L", 7)
    decode([picture])
    decode([picture], size=3)
    assert len(list(tmp_path.glob("pixels-*.npy"))) == 2
    assert len(list(tmp_path.glob("pictures-*.safetensors"))) == 1
