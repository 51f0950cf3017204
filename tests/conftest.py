"""Small settings and worlds that the tests share."""

import os

import pytest
import torch

from egan import kernels
from egan.assembly import make_world
from egan.presets import configure
from egan.snapshot import start

torch.set_num_threads(1)

SMALL = {
    "generations": 12,
    "networks": {"width": 16},
    "variation": {"batch": 16},
    "fitness": {"samples": 16},
    "environment": {"batch": 16},
    "execution": {"engine": "shared"},  # whichever is faster on the day would not be repeatable
    "records": {
        "checkpoint_every": 4,
        "score_every": 4,
        "score_samples": 64,
        "final_samples": 100,
        "pictures": 3,
        "tensorboard_every": 2,
    },
}


@pytest.fixture(scope="session")
def small():
    """Settings under which a run takes a moment."""
    return SMALL


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """The tests, all workers together, have a cache of their own."""
    base = tmp_path_factory.getbasetemp()
    own = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ.setdefault("EGAN_CACHE", str(own / "cache"))


@pytest.fixture(autouse=True)
def listed(request, monkeypatch):
    """Compiled kernels are replayed operation by operation: compiling takes a minute.

    Tests marked `inductor` compile them.
    """
    if not request.node.get_closest_marker("inductor"):
        monkeypatch.setattr(kernels, "built", lambda graph, inputs: graph)


@pytest.fixture
def make():
    """A function that makes a world and its first state from settings over the small ones."""
    worlds = []

    def build(*layers, source=None):
        world = make_world(configure(SMALL, *layers), source)
        worlds.append(world)
        return world, start(world)

    yield build
    for world in worlds:
        world.executor.close()
