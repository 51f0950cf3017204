"""The diversity of images is the mean distance of pairs, by LPIPS or by what a user names."""

import importlib.machinery
import json
import sys
import types

import pytest
import torch
from torch import nn

import egan
from egan.cli import main
from egan.data import Table, make_data
from egan.scores import applicable, evaluate, floors, perceptual
from egan.scores.perceptual import ALEXNET, LEAST, distance_of, lpips, perceptual_diversity
from populations.errors import UsageError
from populations.randomness import generator, seeded

NAME = f"{__name__}:brightness"


@pytest.fixture(autouse=True)
def forgotten():
    distance_of.cache_clear()
    yield
    distance_of.cache_clear()


def brightness(left, right):
    """A distance of one's own: of mean brightness."""
    return (left.mean((1, 2, 3)) - right.mean((1, 2, 3))).abs()


def levels(*values, channels=1, side=8):
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, channels, side, side).contiguous()


def images(count=40, channels=1, side=8, index=0):
    values = torch.rand(count, channels, side, side, generator=generator(0, 0, "images", index))
    return 2 * values - 1


def test_diversity_is_the_mean_distance_of_neighbours_in_the_order_drawn(monkeypatch):
    samples = levels(0.0, 0.5, 0.25, 0.25, -1.0, 1.0, 0.75)  # the last has nobody beside it
    assert perceptual_diversity(samples, brightness) == pytest.approx(2.5 / 3)
    monkeypatch.setattr(perceptual, "CHUNK", 2)
    assert perceptual_diversity(samples, brightness) == pytest.approx(2.5 / 3)
    monkeypatch.setattr("egan.scores.distributions.PAIRS", 2)
    assert perceptual_diversity(samples, brightness) == pytest.approx(0.25)
    assert perceptual_diversity(samples[:4] * 0, brightness) == 0.0
    one = perceptual_diversity(samples[:1], brightness)
    assert one != one  # nan: no pairs


def test_the_score_has_the_name_of_the_distance_and_real_images_have_theirs():
    data = Table("own", images())
    assert not any(name.startswith("perceptual") for name in applicable(data, "random"))
    name = f"perceptual-diversity/{NAME}"
    assert name in applicable(data, "random", NAME)
    assert name in applicable(make_data("stacked-digits"), distance=NAME)
    flat = levels(*[0.0, 0.5] * 10)
    assert evaluate(flat, data, [name])[name] == pytest.approx(0.5)
    assert evaluate(flat, data, ["perceptual-diversity"], distance=brightness) == {
        "perceptual-diversity": pytest.approx(0.5)
    }
    floor = floors(data, 200, "random", NAME)[name]
    assert 0 < floor < 0.2


def test_a_run_records_it_and_can_be_judged_by_it(small, tmp_path, capsys):
    records = {**small["records"], "features": "random", "distance": NAME}
    own = {**small, "records": {**records, "judge": "perceptual-diversity"}}
    run = egan.evolve("digits", config=own, run=tmp_path / "r")
    name = f"perceptual-diversity/{NAME}"
    rows = [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
    assert all(0 < row["score"][name] < 2 for row in rows if "score" in row)
    found = json.loads((tmp_path / "r" / "scores.json").read_text())
    for verdict in found.values():
        assert set(verdict[name]) == {"score", "real"}
    assert run.score(20)[name] > 0
    assert main(["score", str(tmp_path / "r"), "-n", "40"]) == 0
    assert f"{name} " in capsys.readouterr().out


def test_a_run_without_it_is_judged_by_it_later(small, tmp_path, capsys):
    records = {**small["records"], "features": "random"}
    run = tmp_path / "r"
    egan.evolve("digits", config={**small, "records": records}, generations=1, run=run)
    assert "perceptual-diversity" not in (run / "scores.json").read_text()
    assert main(["score", str(run), "-n", "40", "--distance", NAME]) == 0
    assert "higher is better: Mean perceptual distance of pairs" in capsys.readouterr().out
    assert f"perceptual-diversity/{NAME}" in (run / "scores.json").read_text()


class Halved:
    """A distance that is made before it is used."""

    def __call__(self, left, right):
        return brightness(left, right) / 2


class Module(nn.Module):
    def forward(self, left, right):
        return brightness(left, right) / 4


module = Module()
number = 3


def wide(left, right):
    return left - right


def failing(left, right):
    raise RuntimeError("no such maps")


@pytest.mark.parametrize(
    ("attribute", "expected"), [("brightness", 1.0), ("Halved", 0.5), ("module", 0.25)]
)
def test_a_distance_of_ones_own_is_a_function_a_class_or_a_module(attribute, expected):
    between = distance_of(f"{__name__}:{attribute}")
    assert perceptual_diversity(levels(0.0, 1.0), between) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("lpisp", "unknown distance 'lpisp': did you mean 'lpips'? valid are lpips."),
        (f"{__name__}:number", "is 3: it must be a function of two batches of images."),
        (f"{__name__}:wide", "must map two batches of images to their distances, (n,)."),
        (f"{__name__}:failing", "raised RuntimeError (no such maps)."),
    ],
)
def test_a_wrong_distance_is_refused_in_a_sentence(name, problem):
    with pytest.raises(UsageError) as error:
        evaluate(images(), Table("own", images()), [f"perceptual-diversity/{name}"])
    assert problem in str(error.value)


def test_points_have_no_perceptual_distance(tmp_path):
    with pytest.raises(UsageError) as error:
        egan.evolve("ring", records={"distance": NAME}, run=tmp_path / "r")
    assert str(error.value) == (
        f"the distance {NAME!r} compares images, and ring are none: use no records.distance."
    )
    assert not (tmp_path / "r").exists()


# LPIPS, on a stub of torchvision's AlexNet with random weights.


def alexnet(weights):
    """The form of torchvision's: its layers up to the last maps."""
    assert weights == "weights of ImageNet"
    with seeded(0, 0, "alexnet"):
        return types.SimpleNamespace(
            features=nn.Sequential(
                nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
                nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
                nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
                nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
                nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
            )
        )  # fmt: skip


@pytest.fixture
def library(monkeypatch):
    """As if torchvision were installed."""
    found = types.ModuleType("torchvision")
    found.__spec__ = importlib.machinery.ModuleSpec("torchvision", None)
    best = types.SimpleNamespace(DEFAULT="weights of ImageNet")
    found.models = types.SimpleNamespace(alexnet=alexnet, AlexNet_Weights=best)
    monkeypatch.setitem(sys.modules, "torchvision", found)
    for each in ("torchmetrics.image.lpip", "torchmetrics.functional.image.lpips"):
        monkeypatch.setattr(f"{each}._TORCHVISION_AVAILABLE", True)


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """As if AlexNet's weights lay where they must."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / ALEXNET).touch()


def test_lpips_is_torchmetrics_own(library, weights):
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    left, right = images(3, 3, LEAST), images(3, 3, LEAST, index=1)
    before = torch.get_rng_state()
    found = lpips()(left, right)
    assert torch.equal(torch.get_rng_state(), before)
    expected = learned_perceptual_image_patch_similarity(left, right, "alex", "none")
    torch.testing.assert_close(found, expected)
    assert found.shape == (3,)
    assert float(found.min()) > 0
    assert torch.equal(lpips()(left, left), torch.zeros(3))


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32), (3, 80)])
def test_lpips_takes_grey_and_small_images_and_those_beyond_the_ends(
    library, weights, channels, side
):
    samples = 1.5 * images(6, channels, side)
    name = "perceptual-diversity/lpips"
    data = Table("own", images(6, channels, side))
    found = evaluate(samples, data, [name])[name]
    assert 0 < found < 5
    cut = evaluate(samples.clamp(-1, 1), data, [name])[name]
    assert found == cut
    colours = samples.expand(-1, 3, -1, -1)
    assert evaluate(colours, data, [name])[name] == pytest.approx(found)


def test_what_lpips_lacks_is_a_sentence_before_a_run_starts(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torchvision", None)
    words = ["evolve", "digits", "--records.distance", "lpips", "--run", str(tmp_path / "r")]
    monkeypatch.setattr(perceptual, "find_spec", lambda name: None)
    assert main(words) == 2
    assert capsys.readouterr().err == (
        "egan: the distance lpips needs torchvision: pip install 'egan[inception]'.\n"
    )
    monkeypatch.setattr(perceptual, "find_spec", lambda name: name)
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"egan: the distance lpips needs AlexNet's weights as {tmp_path}/hub/checkpoints/{ALEXNET}:"
        f" put https://download.pytorch.org/models/{ALEXNET} there, or let the variable TORCH_HOME "
        "name the folder that has them in hub/checkpoints.\n"
    )
    assert not (tmp_path / "r").exists()
