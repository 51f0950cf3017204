"""What the documentation shows runs as it is shown."""

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.utils import parametrizations

from benchmarks import networks as trainings
from benchmarks import trained
from benchmarks.presets import read
from egan.arguments import given_settings, parse
from egan.catalogue import catalogue
from egan.data import Table, data_sets, stacked
from egan.losses import mutations, objectives
from egan.networks import conditions, networks
from egan.presets import configure
from egan.scores import distances, feature_networks, scores
from egan.study.arms import parse_arms

ROOT = Path(__file__).parent.parent
RESULTS = read(trainings.RESULTS)
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(code, folder):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem
)
def test_examples_run(path, tmp_path):
    result = run(path.read_text(encoding="utf-8"), tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout


@pytest.mark.parametrize("kind", ["loss", "selection", "crossover", "fitness"])
def test_an_operator_of_ones_own_takes_less_than_15_lines(kind):
    text = (ROOT / f"examples/own_{kind}.py").read_text(encoding="utf-8")
    assert text.count("\n") < 15


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_of_the_readme_runs(code, tmp_path):
    result = run(re.sub(r"generations=[\d_]+", "generations=5", code), tmp_path)
    assert result.returncode == 0, result.stderr


def test_set_up_takes_two_commands_on_the_first_screen():
    first_screen = README[:3000]
    for mark in ("main", "test"):
        (command,) = re.findall(rf"<!-- {mark} -->\n```sh\n(.*?)```", first_screen, re.DOTALL)
        assert "pip install -c constraints.txt" in command
        assert command.count("\n") <= 2


def test_names_in_the_readme_exist():
    known = {name for entries in catalogue().values() for name in entries}
    for preset in ("default", "gradient-only", "paper", "released-theano", "released-pytorch"):
        assert preset in known
        assert f"`{preset}`" in README


@pytest.fixture
def blank(monkeypatch):
    """Image sets without their files, which are not part of the project."""

    def mnist(data_dir=""):
        pixels = torch.zeros(20, 1, 28, 28, dtype=torch.uint8)
        return Table("mnist", pixels, torch.arange(20) % 10)

    def photographs(data_dir=""):
        pixels = torch.zeros(20, 3, 32, 32, dtype=torch.uint8)
        return Table("photographs", pixels, torch.arange(20) % 10)

    monkeypatch.setattr(stacked, "mnist", mnist)
    monkeypatch.setitem(data_sets, "mnist", mnist)
    for name in ("folder", "cifar10"):
        monkeypatch.setitem(data_sets, name, photographs)


STUDY = (ROOT / "docs" / "study.md").read_text(encoding="utf-8").replace("\\\n", " ")


@pytest.mark.parametrize("command", re.findall(r"^egan (compare[^#\n]*)", STUDY, re.MULTILINE))
def test_studies_of_the_tutorial_can_be_asked_for(command):
    verb, given = parse(shlex.split(command))
    assert verb == "compare"
    assert given.out == "studies/judging"
    if given.get("arms"):
        assert parse_arms(given.arms)


COMMANDS = re.findall(r"^egan (evolve[^#\n]*)", README, re.MULTILINE)


@pytest.mark.parametrize("command", [each for each in COMMANDS if "mine" not in each])
def test_commands_of_the_readme_name_settings_that_exist(make, blank, command):
    _, arguments = parse(command.split())
    given = {"execution": {"engine": "shared"}, **given_settings(arguments)}
    if str(given.get("data", "ring")) in data_sets:
        make(given)


def test_every_operator_is_on_the_operators_page():
    page = (ROOT / "docs/operators.md").read_text(encoding="utf-8")
    for kind in (
        "mutations", "objectives", "penalties", "selections", "choices", "crossovers",
        "perturbations", "qualities", "diversities", "combinations", "augmentations",
    ):  # fmt: skip
        assert all(f"| `{name}` |" in page for name in catalogue()[kind]), kind


IMAGES = (ROOT / "docs" / "images.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command", re.findall(r"^egan (evolve[^#\n]*)", IMAGES.replace("\\\n", ""), re.MULTILINE)
)
def test_commands_of_the_images_page_name_what_exists(command):
    config = configure(given_settings(parse(shlex.split(command))[1]))
    options = inspect.signature(data_sets[config.data]).parameters
    assert set(config.data_options) <= set(options)


def test_every_judge_and_condition_is_on_the_images_page():
    told = {"real", "mixture", "modes", "labels"}  # in the README
    names = [name for name, score in scores.items() if score.needs not in told]
    assert all(f"`{each}`" in IMAGES for each in (*names, *conditions, *feature_networks))
    assert all(f"--records.distance {each}" in IMAGES for each in distances)


NETWORKS = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(.+?)` \| .* \| \w+, (\d+) \| (.+) \|$", NETWORKS, re.MULTILINE)


def test_every_pair_is_on_the_networks_page():
    assert [row[0] for row in ROWS] == list(networks)


@pytest.mark.parametrize(("name", "dimension", "sizes"), ROWS)
def test_parameters_on_the_networks_page_are_the_pairs(monkeypatch, name, dimension, sizes):
    monkeypatch.setattr(parametrizations, "spectral_norm", lambda layer: layer)  # no parameters
    for samples, *counts in re.findall(r"(\S+): ([\d,]+) \+ ([\d,]+)", sizes):
        shape = (2,) if samples == "points" else (3, *map(int, samples.split("x")))
        with torch.device("meta"):
            pair = networks[name](shape, int(dimension), None, None)
        found = [sum(each.numel() for each in module.parameters()) for module in pair]
        assert [f"{each:,}" for each in found] == counts


PAGES = {path.stem: path.read_text(encoding="utf-8") for path in trained.PAGES.glob("*.md")}


@pytest.mark.parametrize("name", PAGES)
def test_commands_of_a_network_s_page_train_it(name):
    assert f"(networks/{name}.md)" in NETWORKS
    commands = re.findall(r"^egan (evolve.*)", PAGES[name].replace("\\\n", " "), re.MULTILINE)
    assert commands
    for command in commands:
        config = configure(given_settings(parse(shlex.split(command))[1]))
        assert config.networks.name == name
        assert {*config.variation.mutations} <= mutations.keys()
        assert config.environment.objective in objectives


@pytest.mark.parametrize("name", PAGES)
def test_a_network_s_page_ends_with_what_was_measured(name):
    own = [row for row in RESULTS if row["network"] == name]
    assert own
    assert PAGES[name].endswith(f"{trained.HEAD}\n{trained.page(own)}\n")
    assert all(trained.picture(row).is_file() for row in own)
    assert NETWORKS.endswith(f"{trained.HEAD}\n{trained.overview(RESULTS)}\n")
