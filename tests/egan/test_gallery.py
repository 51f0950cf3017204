"""Views show the samples that they say they show, at every pixel and from the command line."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import egan
from egan.cli import main
from egan.data import Table, make_data
from egan.directory import Directory
from egan.gallery import PIXELS, THRESHOLDS, Shown, show, view_of, views
from egan.games import Conditional, Unconditional
from egan.generator import Generator
from egan.generator import export as export_own
from egan.latent import USUAL, interpolations, truncated
from egan.mixture import mixture
from egan.networks import Flat, make_pair
from egan.presets import configure
from egan.scores import features
from egan.scores.features import look, network_of
from populations.errors import UsageError

SHARES = torch.linspace(0, 1, 65)
ANY = ("grid", "interpolation", "truncation")  # views of any data and game


class Shifted(nn.Module):
    """Noise, moved by a number."""

    def __init__(self, shift=0.0):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, noise):
        return noise + self.shift


def generator(noise="normal", shift=0.0):
    return Generator(Unconditional(Flat(Shifted(shift)), Flat(nn.Linear(2, 1)), noise, 2))


def seen(name, source, shape=(2,), seed=0, **options):
    return show(views[name], source, shape, seed, options)


@pytest.mark.parametrize("way", [None, *interpolations])
@pytest.mark.parametrize("noise", USUAL)
def test_an_interpolation_has_a_row_for_each_pair_and_goes_from_one_noise_to_the_other(noise, way):
    source = generator(noise)
    found = seen("interpolation", source, seed=4, number=5, steps=7, interpolation=way)
    assert found.samples.shape == (5, 7, 2)
    start, end = source.noise(10, seed=4).chunk(2)
    path = interpolations[way or {"normal": "spherical", "uniform": "linear"}[noise]]
    expected = path(start, end, torch.linspace(0, 1, 7)).transpose(0, 1)
    assert torch.equal(found.samples, expected)
    assert found.title.startswith(way or USUAL[noise])
    assert (len(found.rows), found.columns[0], found.columns[-1]) == (5, "0", "1")


@pytest.mark.parametrize("noise", USUAL)
def test_a_sweep_has_the_same_noises_at_each_truncation(noise):
    source = generator(noise)
    found = seen("truncation", source, seed=2, number=6)
    assert found.samples.shape == (len(THRESHOLDS[noise]), 6, 2)
    plain = source.noise(6, seed=2)
    torch.testing.assert_close(found.samples[0], plain)
    for row, threshold in zip(found.samples, THRESHOLDS[noise], strict=True):
        assert torch.equal(row, truncated(plain, threshold, noise))
        assert float(row.abs().max()) <= threshold + 1e-6
    assert found.rows[-1] == "|zᵢ| ≤ 0.2"


def test_a_grid_and_the_ends_of_an_interpolation_can_be_truncated():
    source = generator()
    cut = seen("grid", source, number=50, truncation=0.3).samples
    assert torch.equal(cut, source.sample(50, truncation=0.3))
    paths = seen("interpolation", source, number=50, truncation=0.3).samples
    assert float(paths[:, [0, -1]].abs().max()) == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("name", ["interpolation", "truncation"])
def test_of_a_mixture_one_member_makes_all_that_belongs_together(name):
    far = mixture([generator(), generator(shift=100.0)], [0.5, 0.5])
    samples = seen(name, far, number=40).samples
    belongs = samples if name == "interpolation" else samples.transpose(0, 1)
    members = (belongs[..., 0] > 50).double().mean(1)
    assert set(members.tolist()) == {0.0, 1.0}


class Told(nn.Module):
    """Two values of noise, and the class moved by a number."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(0.0))

    def forward(self, noise):
        return torch.cat([noise[:, :2], noise[:, 2:].argmax(1, keepdim=True) + self.shift], dim=1)


@pytest.mark.parametrize("name", ["interpolation", "truncation"])
def test_in_a_conditional_game_a_row_or_column_keeps_its_class(name):
    game = Conditional(Flat(Told()), Flat(nn.Linear(4, 1)), "normal", 2, classes=3)
    source = Generator(game)
    noise = source.noise(8 if name == "interpolation" else 4, seed=1)
    assert noise.shape == (len(noise), 5)
    samples = seen(name, source, (3,), seed=1, number=4).samples
    if name == "interpolation":
        samples = samples.transpose(0, 1)
        expected = interpolations["spherical"](noise[:4, :2], noise[4:, :2], SHARES)
    else:
        thresholds = THRESHOLDS["normal"]
        expected = torch.stack([truncated(noise[:, :2], each, "normal") for each in thresholds])
    torch.testing.assert_close(samples[..., :2], expected)
    numbers = noise[:4, 2:].argmax(1).float()
    assert torch.equal(samples[..., 2], numbers.expand(len(samples), 4))
    assert len(numbers.unique()) > 1
    cut = source.noise(50, seed=1, truncation=0.1)
    assert float(cut[:, :2].abs().max()) <= 0.1 + 1e-6
    assert torch.equal(cut[:, 2:].sum(1), torch.ones(50))


@pytest.mark.parametrize("name", ANY)
def test_views_of_images_and_points_have_numbers_of_their_own(name):
    counts = {
        shape: len(seen(name, generator(), shape).samples.flatten(0, -2))
        for shape in ((2,), (1, 8, 8))
    }
    assert (
        counts
        == {
            "grid": {(2,): 64, (1, 8, 8): 64},
            "interpolation": {(2,): 6 * 65, (1, 8, 8): 8 * 9},
            "truncation": {(2,): 6 * 500, (1, 8, 8): 6 * 10},
        }[name]
    )


def flat_images(rows, columns, channels, side):
    """Images of one grey or colour each, all different."""
    levels = torch.linspace(-1, 1, rows * columns * channels).reshape(rows, columns, channels, 1, 1)
    return levels.expand(-1, -1, -1, side, side)


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 28), (1, 64), (3, 80)])
def test_rows_of_images_are_drawn_pixel_by_pixel(tmp_path, channels, side):
    samples = flat_images(2, 3, channels, side)
    data = Table("own", torch.zeros(2, channels, side, side))
    shown = Shown(samples, "a title", ["one", "ANOTHER WIDE ONE"], ["0", "0.5", "1"])
    views["interpolation"].draw(shown, data, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    cell = side * max(1, PIXELS // side)
    top, left = 40, pixels.shape[1] - (3 * cell + 2 + 8)
    assert pixels.shape == (2 * cell + 1 + top + 8, 3 * cell + 2 + left + 8, 3)
    assert 100 < left < 170
    for row in range(2):
        for column in range(3):
            y, x = top + row * (cell + 1), left + column * (cell + 1)
            patch = pixels[y : y + cell, x : x + cell]
            colour = ((samples[row, column, :, 0, 0] + 1) / 2 * 255).expand(3).numpy()
            assert np.abs(patch - colour).max() <= 1
            assert (pixels[y + cell, x : x + cell] == 255).all() or row == 1
    assert (pixels[:top].min(), pixels[:, :left].min()) < (100, 100)  # there are labels
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all()  # none of which is cut off


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (10, 3, 4), (144, 12, 12)])
def test_a_grid_shows_every_image_that_is_asked_for(tmp_path, count, rows, columns):
    levels = torch.linspace(-1, 0.9, count)  # white is where there are none
    samples = levels[:, None, None, None].expand(-1, 1, 64, 64)
    shown = Shown(samples)
    views["grid"].draw(shown, Table("own", samples), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("L"))[8:-8, 12:-8]
    assert pixels.shape == (65 * rows - 1, 65 * columns - 1)
    middles = pixels[32::65, 32::65].flatten() / 127.5 - 1
    np.testing.assert_allclose(middles[:count], levels, atol=2 / 127.5)  # of 255 levels two
    assert (middles[count:] == 1).all()


def test_colours_of_paths_show_where_they_begin_and_end(tmp_path):
    ring = make_data("ring")
    angles = torch.linspace(0, math.pi, 30)
    half = torch.stack([angles.cos(), angles.sin()], dim=1)
    shown = Shown(torch.stack([half, -half]), "t", ["1", "2"], [])
    views["interpolation"].draw(shown, ring, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    for colour in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)):
        assert (np.abs(pixels - colour).sum(2) < 10).sum() > 100
    sweep = Shown(torch.stack([half, half]), "t", ["1", "2"], [])
    views["truncation"].draw(sweep, ring, tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        assert image.size[0] > 2 * 300


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("truncation", {"truncation": 1.0}, "the view truncation has no truncation: it is an "
         "option of grid and interpolation and classes and neighbours."),
        ("grid", {"steps": 3}, "the view grid has no steps: it is an option of interpolation and "
         "neighbours."),
        ("interpolate", {}, "unknown view 'interpolate': did you mean 'interpolation'? valid are "
         "classes, grid, interpolation, neighbours, truncation."),
    ],
)  # fmt: skip
def test_what_a_view_does_not_take_is_refused(name, options, message):
    with pytest.raises(UsageError) as error:
        view_of(name, options)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 1}, "steps is 1: it must be at least 2."),
        ({"interpolation": "cubic"}, "unknown interpolation 'cubic': valid are linear, spherical."),
        ({"truncation": 0.0}, "truncation is 0.0: it must be above 0."),
    ],
)
def test_options_of_an_interpolation_are_checked(options, message):
    with pytest.raises(UsageError) as error:
        seen("interpolation", generator(), **options)
    assert str(error.value) == message


@pytest.fixture(scope="module", params=[("ring", (2,)), ("digits", (1, 8, 8))], ids=lambda p: p[0])
def run(request, tmp_path_factory):
    """A run's directory without training."""
    name, shape = request.param
    path = tmp_path_factory.mktemp("gallery")
    config = configure({"data": name, "networks": {"width": 8}})
    Directory(path).write_config(config)
    export_own(Directory(path), "final", make_pair(config, shape)[0], 0, shape)
    return path, shape


@pytest.mark.parametrize("view", ANY)
def test_the_command_line_writes_pictures_and_tensors_of_every_view(run, tmp_path, view, capsys):
    path, shape = run
    words = ["sample", str(path), "--view", view, "-n", "4", "--seed", "3"]
    assert main(words) == 0
    name = "samples" if view == "grid" else view
    with Image.open(path / f"{name}.png") as image:
        assert min(image.size) > 2 * PIXELS
    expected = show(views[view], egan.load(path), shape, 3, {"number": 4}).samples
    for ending in ("npy", "pt"):
        assert main([*words, "--out", str(tmp_path / f"a.{ending}")]) == 0
    assert torch.equal(torch.from_numpy(np.load(tmp_path / "a.npy")), expected)
    assert torch.equal(torch.load(tmp_path / "a.pt", weights_only=True), expected)
    counts = " x ".join(str(each) for each in expected.shape[: -len(shape)])
    assert capsys.readouterr().out.splitlines()[0] == f"{counts} samples: {path / name}.png"


def test_the_command_line_takes_the_options_of_a_view(run, tmp_path):
    path, shape = run
    out = tmp_path / "a.npy"
    options = ["--steps", "5", "--interpolation", "linear", "--truncation", "0.5"]
    words = ["sample", str(path), "--view", "interpolation", *options, "--out", str(out)]
    assert main(words) == 0
    given = {"steps": 5, "interpolation": "linear", "truncation": 0.5}
    expected = show(views["interpolation"], egan.load(path), shape, 0, given).samples
    assert torch.equal(torch.from_numpy(np.load(out)), expected)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A conditional run's directory without training."""
    path = tmp_path_factory.mktemp("classes")
    own = {"networks": {"name": "convolutional", "width": 2, "classes": 10}, "game": "conditional"}
    config = configure({"data": "digits", "records": {"features": "random"}, **own})
    Directory(path).write_config(config)
    export_own(Directory(path), "final", make_pair(config, (1, 8, 8))[0], 0, (1, 8, 8))
    return path


def test_a_row_for_each_class_shows_the_same_noises(told, capsys):
    assert main(["sample", str(told), "--view", "classes", "-n", "3"]) == 0
    assert capsys.readouterr().out == f"10 x 3 samples: {told / 'classes.png'}\n"
    source = egan.load(told)
    found = seen("classes", source, (1, 8, 8), number=3)
    assert found.rows == [f"class {each}" for each in range(10)]
    noise = source.noise(3)
    for label in (0, 7):
        noise[:, -10:] = torch.eye(10)[label]
        assert torch.equal(found.samples[label], source.generate(noise))
    with pytest.raises(UsageError, match="the view classes needs a generator of a conditional"):
        seen("classes", generator(), number=2)


def test_rows_have_the_names_of_the_classes_and_long_ones_are_cut(tmp_path):
    shown = Shown(flat_images(2, 3, 1, 8), "t", ["class 0", "class 1"])
    widths = []
    for names in ((), ("class 0", "class 1", "of no row" * 9), ("x" * 90, ""), (" ", " ")):
        data = Table("own", torch.zeros(2, 1, 8, 8), torch.arange(2), classes=names)
        views["classes"].draw(shown, data, tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as image:
            widths.append(image.width)
    plain, same, long, blank = widths
    assert plain == same
    assert blank < plain < long < plain + 6 * 24 + 20


def test_a_run_of_very_many_classes_does_not_end_with_all_of_them(told):
    source = egan.load(told)
    assert views["classes"].suits(source, make_data("digits"))
    source.game.classes = 101
    assert not views["classes"].suits(source, make_data("digits"))


def test_all_samples_are_of_the_class_that_is_asked_for(told, tmp_path, capsys):
    source, out = egan.load(told), tmp_path / "a.npy"
    assert (source.noise(5, label=4)[:, -10:].argmax(1) == 4).all()
    assert torch.equal(source.noise(5, label=4)[:, :-10], source.noise(5)[:, :-10])
    assert main(["sample", str(told), "-n", "6", "--label", "4", "--out", str(out)]) == 0
    assert torch.equal(torch.from_numpy(np.load(out)), source.sample(6, label=4))
    assert main(["sample", str(told), "--label", "10"]) == 2
    assert "label is 10: it must be a class from 0 to 9." in capsys.readouterr().err
    with pytest.raises(UsageError, match="only generators of a conditional game have classes"):
        generator().sample(2, label=0)


def test_neighbours_are_the_training_images_whose_features_are_nearest(told, tmp_path):
    data, source = make_data("digits"), egan.load(told)
    found = seen("neighbours", source, (1, 8, 8), data=data, number=4, features="random", steps=3)
    assert found.samples.shape == (4, 4, 1, 8, 8)
    assert torch.equal(found.samples[:, 0], source.sample(4))
    network = network_of(data, "random")
    own, all_of_them = (look(each, network).features for each in (source.sample(4), data.values))
    order = torch.cdist(own.double(), all_of_them.double()).argsort(1)[:, :3]
    assert torch.equal(found.samples[:, 1:], data.values[order])
    out = tmp_path / "a.npy"
    words = ["sample", str(told), "--view", "neighbours", "-n", "4", "--steps", "3"]
    assert main([*words, "--out", str(out)]) == 0
    assert torch.equal(torch.from_numpy(np.load(out)), found.samples)
    assert main(words) == 0
    assert (told / "neighbours.png").is_file()


def test_a_copy_of_the_data_is_its_own_neighbour_in_whatever_part_of_them(monkeypatch):
    data = make_data("digits")
    whole = features.nearest(data.values[::300], data, 2, "random")
    monkeypatch.setattr(features, "KEPT", 100)
    parts = features.nearest(data.values[::300].clone(), data, 2, "random")
    assert whole[0][:, 0].tolist() == parts[0][:, 0].tolist() == list(range(0, 1797, 300))
    assert float(whole[1][:, 0].max()) < 1e-3
    assert torch.allclose(whole[1], parts[1], atol=1e-3)


@pytest.mark.parametrize(
    ("data", "steps", "message"),
    [
        ("ring", 3, "the view neighbours needs images, and ring are none."),
        ("digits", 0, "steps is 0: it must be from 1 to 1797, all images."),
    ],
)
def test_neighbours_need_images(data, steps, message):
    with pytest.raises(UsageError) as error:
        seen("neighbours", generator(), data=make_data(data), number=2, steps=steps)
    assert str(error.value) == message
