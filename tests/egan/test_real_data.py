"""Evolution on real images: scikit-learn's digits at a small budget, MNIST where it is there."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

import egan
from egan.data import make_data
from egan.scores import accuracy, evaluate, reference


@pytest.fixture(scope="module")
def folder():
    """Where MNIST's files lie."""
    found = os.environ.get("EGAN_DATA")
    if not found:
        pytest.skip("EGAN_DATA is not set: it names the folder with mnist/*.parquet")
    pytest.importorskip("pyarrow.parquet")
    return str(Path(found) / "mnist")


@pytest.fixture(scope="module")
def mnist(folder):
    """MNIST's test images as a Dataset with labels, 32x32 in [-1, 1]."""
    import pyarrow.parquet as parquet
    from PIL import Image

    rows = parquet.read_table(Path(folder) / "test.parquet").slice(0, 512).to_pylist()

    class Mnist(Dataset):
        def __len__(self):
            return len(rows)

        def __getitem__(self, index):
            image = Image.open(io.BytesIO(rows[index]["image"]["bytes"]))
            pixels = np.pad(np.asarray(image, dtype=np.float32), 2) / 127.5 - 1
            return pixels[None], rows[index]["label"]

    return Mnist()


def test_a_dataset_of_real_images_evolves(mnist, small):
    run = egan.evolve(
        mnist, config=small, networks={"name": "convolutional", "width": 4, "noise_dimension": 16}
    )
    assert run.world.data.shape == (1, 32, 32)
    samples = run.sample(5)
    assert samples.shape == (5, 1, 32, 32)
    assert float(samples.abs().max()) <= 1


def test_mnist_has_its_images_and_labels(folder):
    data = make_data("mnist", {"data_dir": folder})
    assert data.values.shape == (60_000, 1, 28, 28)
    assert data.unseen.values.shape == (10_000, 1, 28, 28)
    # As its authors count them.
    assert torch.bincount(data.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    pixels = data.values.double() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert pixels.std().item() == pytest.approx(0.3081, abs=1e-4)


@pytest.mark.parametrize("name", ["mnist", "stacked-mnist", "stacked-mnist-veegan"])
@pytest.mark.parametrize("network", ["convolutional", "unrolled-1/4"])
def test_mnist_evolves_as_it_is_and_stacked(folder, small, name, network):
    run = egan.evolve(
        name, config=small, data_options={"data_dir": folder}, generations=2,
        networks={"name": network, "width": 4},
    )  # fmt: skip
    samples = run.sample(3)
    assert samples.shape == (3, 1 if name == "mnist" else 3, 28, 28)
    assert float(samples.abs().max()) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "divergence"),
    # 999 / 52,000 by chance, and 3 KL(MNIST's classes || equal ones) = .0043; where triples are
    # fixed, 999 / 256,000 more, by the chance that fixed them.
    [("stacked-mnist", 0.0235), ("stacked-mnist-veegan", 0.0274)],
)
def test_real_stacked_mnist_has_the_floors_of_its_modes(folder, name, divergence):
    data = make_data(name, {"data_dir": folder})
    assert accuracy(data) >= 0.99
    samples = reference(data, 26_000)
    found = evaluate(samples, data, ["modes", "reverse-kl", "total-variation", "confidence"])
    assert found["modes"] >= 998
    assert found["reverse-kl"] == pytest.approx(divergence, abs=0.0025)
    assert found["confidence"] > 0.99


@pytest.mark.slow
def test_the_ring_is_learned_in_the_small():
    run = egan.evolve("ring", generations=1500)
    scores = run.score(5000)
    assert scores["modes"] == 8
    assert scores["high-quality"] > 0.7
    assert scores["energy-distance"] < 0.01


@pytest.mark.slow
def test_digits_are_learned_in_the_small():
    def judge(run):
        return run.score(1000)

    early = judge(egan.evolve("digits", generations=20))
    late = judge(egan.evolve("digits", generations=400))
    assert late["energy-distance"] < 0.25 * early["energy-distance"]
    assert late["class-entropy"] > 1.5
    assert bool(torch.isfinite(torch.tensor(list(late.values()))).all())


@pytest.mark.slow
def test_stacked_digits_are_learned_in_the_small():
    def judge(run):
        return run.score(2600)

    early = judge(egan.evolve("stacked-digits", generations=20))
    late = judge(egan.evolve("stacked-digits", generations=400))
    assert late["energy-distance"] < 0.25 * early["energy-distance"]
    assert late["modes"] > 2 * early["modes"]
    assert late["reverse-kl"] < early["reverse-kl"] - 1


@pytest.fixture(scope="module")
def photographs(folder):
    """CIFAR-10 from its files."""
    return make_data("cifar10", {"data_dir": str(Path(folder).parent / "cifar10"), "flip": True})


def test_cifar10_has_its_images_and_says_that_they_are_copies(photographs):
    assert photographs.values.shape == (50_000, 3, 32, 32)
    assert photographs.unseen.values.shape == (10_000, 3, 32, 32)
    assert torch.bincount(photographs.labels).tolist() == [5_000] * 10
    assert photographs.note.startswith("these pictures are JPEG copies of the originals")
    # The means of the channels that are known of the originals, which JPEG hardly moves.
    found = photographs.values.float().mean((0, 2, 3)) / 255
    assert found.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.002)


def test_cifar10_evolves_with_classes_and_is_judged_without_a_download(photographs, small, folder):
    place = str(Path(folder).parent / "cifar10")
    run = egan.evolve(
        "cifar10", config=small, data_options={"data_dir": place}, generations=2,
        game="conditional", networks={"name": "convolutional", "width": 2, "noise_dimension": 8},
        records={**small["records"], "features": "random"},
    )  # fmt: skip
    assert run.sample(3).shape == (3, 3, 32, 32)
    with torch.no_grad():
        scores = run.score(50)
    assert scores["frechet-distance/random"] > 0
