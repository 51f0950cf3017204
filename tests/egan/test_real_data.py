"""Evolution on real images: scikit-learn's digits at a small budget, MNIST where it is there."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

import egan


@pytest.fixture(scope="module")
def mnist():
    """MNIST's test images as a Dataset with labels, 32x32 in [-1, 1]."""
    folder = os.environ.get("EGAN_DATA")
    if not folder:
        pytest.skip("EGAN_DATA is not set: it names the folder with mnist/test.parquet")
    parquet = pytest.importorskip("pyarrow.parquet")
    from PIL import Image

    rows = parquet.read_table(Path(folder) / "mnist" / "test.parquet").slice(0, 512).to_pylist()

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
