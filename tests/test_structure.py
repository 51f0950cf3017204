"""Imports run one way, and the packages stand without what is optional."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Each module may import from its own level and those before it; the last may import everything.
LEVELS = [
    ["settings", "interrupts", "cache", "latent", "openmp"],
    ["config", "losses", "perturbations", "penalties", "optimizer", "fitness"],
    ["data", "networks", "directory", "arguments"],
    ["kernels", "behaviours", "neighbourhoods"],
    ["games", "scores", "environment", "traits"],
    ["scene", "state", "generator", "presets", "recombination"],
    ["variation"],
    ["engines"],
    ["breeding"],
    ["operators", "workers"],
    ["world"],
    ["collapse"],
    ["trials", "checks"],
    ["assembly"],
    ["memory", "pictures", "palette"],
    ["evolution"],
    ["monitor", "snapshot", "diagnostics", "cost", "mixture", "exports", "gallery"],
    ["ancestry"],
    ["pages"],
    ["recorder", "findings", "together"],
    ["run", "report"],
    ["study"],
    ["catalogue"],
    ["api"],
    ["cli", "__init__", "__main__"],
]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", sources("populations"), ids=lambda path: path.stem)
def test_populations_never_imports_egan(path):
    assert not [name for name in imports(path) if name.split(".")[0] in ("egan", "benchmarks")]


@pytest.mark.parametrize("path", sources("egan"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_inside_egan_run_downwards(path):
    level = {name: rank for rank, names in enumerate(LEVELS) for name in names}
    own = path.relative_to(ROOT / "egan").parts[0].removesuffix(".py")
    for name in imports(path):
        parts = name.split(".")
        assert parts[0] != "benchmarks"
        if parts[0] == "egan" and len(parts) > 1 and parts[1] != own:
            assert level[parts[1]] <= level[own], f"{path} imports {name}"


@pytest.mark.parametrize(
    "path",
    [*sources("egan"), *sources("populations"), *sources("tests")],
    ids=lambda path: path.stem,
)
def test_nothing_imports_torchvision(path):
    assert not [name for name in imports(path) if name.split(".")[0] == "torchvision"]


def test_importing_egan_leaves_plotting_tensorboard_and_classifiers_alone():
    heavy = "matplotlib plotly tensorboard torch.utils.tensorboard sklearn dask torchvision"
    code = f"import sys, egan; print([name for name in {heavy.split()} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_algorithm_1_fits_one_screen():
    source = (ROOT / "egan/evolution.py").read_text(encoding="utf-8")
    assert source[source.index("def evolve(") :].count("\n") < 55
    assert source.count("\n") < 80
