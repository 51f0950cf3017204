"""Small settings, worlds, and a browser that the tests share."""

import html
import json
import os
import re
import shutil
import subprocess
from typing import Any, NamedTuple

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
def seeded():
    """Networks and samples that a test draws itself are the same every time."""
    torch.manual_seed(0)


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


class Seen(NamedTuple):
    """What a script answered, and all that the browser's console said meanwhile."""

    answer: Any
    console: list[str]


BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
BROWSER_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--virtual-time-budget=20000", "--window-size=1280,900",
    "--dump-dom",
]  # fmt: skip
PROBE = """<script>
(async () => {
  const answer = document.createElement("pre");
  try {
    answer.textContent = JSON.stringify(await (async () => { %s })());
  } catch (error) {
    console.error(error);
  }
  document.documentElement.replaceChildren(answer);
})();
</script>
</body>"""


@pytest.fixture(scope="session")
def browse(tmp_path_factory):
    """A function that opens a page in headless Chromium and runs a script at its end."""
    if BROWSER is None:
        pytest.skip("Chromium is not installed")

    def look(path, script):
        folder = tmp_path_factory.mktemp("browser")
        before, _, after = path.read_text(encoding="utf-8").rpartition("</body>")
        (folder / "page.html").write_text(before + PROBE % script + after, encoding="utf-8")
        done = subprocess.run(
            [BROWSER, *BROWSER_FLAGS, f"--user-data-dir={folder}/profile",
             (folder / "page.html").as_uri()],
            capture_output=True, text=True, timeout=900, check=True,
        )  # fmt: skip
        found = re.search(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return Seen(json.loads(html.unescape(found[1])) if found and found[1] else None, console)

    return look
