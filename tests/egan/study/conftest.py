"""A study as `egan compare` leaves it, made up: two data sets, five arms, six seeds."""

import numpy as np
import pytest

from egan.data import make_data
from egan.scores import reference
from egan.study.arms import Arm
from egan.study.budgets import parse_budget
from egan.study.comparison import comparisons
from egan.study.records import DataSet, Folder, Study

ARMS = {
    "egan": ("minimax", "heuristic", "least-squares"),
    "random selection": ("minimax", "heuristic", "least-squares"),
    "gan": ("heuristic",),
    "wgan-gp": ("wasserstein",),
    "egan[gamma=0.1]": ("minimax", "heuristic", "least-squares"),
}
LEVEL = {"egan": 1.0, "random selection": 2.0, "gan": 1.5, "wgan-gp": 6.0, "egan[gamma=0.1]": 0.7}
LOST = ("wgan-gp", 5)  # the arm and the seed of the run that diverged
LOOKS = 20


def make_study(path, names=("ring", "digits"), seeds=6):
    """Where it lies, its study and its cells."""
    folder = Folder(path)
    study = Study(
        data=[DataSet(name, name, {}, "energy-distance", 2000) for name in names],
        arms=[Arm(name) for name in ARMS],
        seeds=list(range(seeds)),
        budget=parse_budget("flops=1.2e12"),
        looks=LOOKS,
        about={"commit": "1ecce20", "hardware": "2 cores, no GPU"},
    )
    cells = [make_cell(folder, *key) for key in study.whole()]
    return folder, study, cells


def make_cell(folder, data, arm, seed):
    draw = np.random.default_rng([len(data), list(ARMS).index(arm), seed])
    lost = (arm, seed) == LOST
    looks = [make_look(data, arm, (k + 1) / LOOKS, draw) for k in range(4 if lost else LOOKS)]
    error = "no child has been finite for 100 generations" if lost else None
    if not lost:
        save_samples(folder, data, arm, seed, draw)
    best = min(range(len(looks)), key=lambda k: looks[k]["scores"]["energy-distance"])
    return {
        "data": data, "arm": arm, "seed": seed, "error": error, "generations": 5000,
        "generator_steps": 15000, "flops": int(1.2e12), "cpu_seconds": 41.25, "seconds": 43.0,
        "looks": looks, "final": None if lost else looks[-1]["scores"],
        "best": None if lost else looks[best]["scores"],
        "best_share": None if lost else looks[best]["share"],
    }  # fmt: skip


def make_look(data, arm, share, draw):
    distance = LEVEL[arm] * 1e-3 * (1 + 30 * np.exp(-6 * share)) * np.exp(0.25 * draw.normal())
    found = {"energy-distance": float(distance)}
    if data != "digits":
        quality = 0.96 - 0.05 * LEVEL[arm] * (0.2 + np.exp(-4 * share)) + 0.01 * draw.normal()
        found |= {
            "modes": float(min(8, round(1 + 12 * share + draw.normal()))),
            "high-quality": float(np.clip(quality, 0, 1)),
        }
    parts = draw.dirichlet([4 + 8 * share, 6, 3][: len(ARMS[arm])])
    return {
        "share": share, "generation": round(5000 * share), "flops": int(1.2e12 * share),
        "scores": found, "selection": dict(zip(ARMS[arm], map(float, parts), strict=True)),
    }  # fmt: skip


def save_samples(folder, data, arm, seed, draw):
    source = make_data(data)
    count = 64 if len(source.shape) == 3 else 512
    real = reference(source, count, 10 + seed).numpy()
    noise = 0.03 * LEVEL[arm] * draw.normal(size=real.shape)
    path = folder.samples(data, arm, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, (real + noise).astype("float32"))


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Where the study lies, what it is, and its cells; not to be changed."""
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def found(made):
    """The study's comparisons, by data set."""
    return {each.name: each for each in comparisons(*made)}
