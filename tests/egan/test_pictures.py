"""Pictures show what the samples are: colours, and the plane in which the data vary most."""

import numpy as np
import pytest
import torch
from PIL import Image

from egan.data import Stacked, Table
from egan.pictures import _principal_axes, draw_fakes, picture, plane, sheet
from populations.randomness import generator

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def stacked(side):
    table = Table("own", torch.zeros(2, 1, side, side), torch.arange(2))
    return Stacked("own", table.values, table)


@pytest.mark.parametrize("side", [8, 28])
def test_the_channels_of_stacked_images_are_red_green_and_blue(tmp_path, side):
    channels = torch.tensor([[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1]]).float()
    samples = channels[:, :, None, None].expand(-1, -1, side, side)
    picture(samples, stacked(side), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    middles = [
        tuple(pixels[row * height + height // 2, column * width + width // 2].tolist())
        for row in (0, 1)
        for column in (0, 1)
    ]
    assert middles == [RED, GREEN, BLUE, WHITE]


def test_the_principal_axes_are_the_singular_vectors():
    scales = torch.linspace(1, 3, 12)
    points = torch.randn(300, 12, generator=generator(0, 0, "points")) * scales
    centred = points - points.mean(0)
    axes = _principal_axes(centred)
    right = torch.linalg.svd(centred, full_matrices=False)[2][:2].T
    assert axes.shape == (12, 2)
    torch.testing.assert_close((axes * right).sum(0).abs(), torch.ones(2), rtol=0, atol=1e-4)


def test_all_images_are_on_a_sheet_and_cells_left_over_are_white():
    samples = -torch.ones(3, 1, 32, 32)
    found = sheet(samples)
    assert found.shape == (65, 65)
    assert found[16::33, 16::33].tolist() == [[0, 0], [0, 1]]


def test_all_points_are_drawn():
    class Axes:
        def scatter(self, across, up, **style):
            self.count = len(across)

    axes, table = Axes(), Table("own", torch.randn(50, 2))
    draw_fakes(axes, plane(table), torch.randn(1500, 2))
    assert axes.count == 1500
