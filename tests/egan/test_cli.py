"""The command line: wrong input gets one sentence, and the verbs do what they say."""

import dataclasses
import json
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from egan.arguments import given_settings, make_parser, parse
from egan.catalogue import catalogue
from egan.cli import main
from egan.config import Judging
from egan.data import data_sets
from egan.fitness import qualities
from egan.games import games
from egan.losses import mutations
from egan.penalties import penalties
from egan.perturbations import perturbations
from egan.presets import configure
from egan.settings import flatten, plain
from populations.selection import selections

QUICK = [
    "--execution.engine=shared", "--networks.width=8", "--variation.batch=8",
    "--fitness.samples=8", "--environment.batch=8",
    "--records.score-samples=50", "--records.final-samples=100", "--records.pictures=2",
    "--generations=4",
]  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, with some good and bad files beside it."""
    monkeypatch.chdir(tmp_path)
    files = tmp_path / "files"
    files.mkdir()
    np.save(files / "good.npy", np.random.default_rng(0).normal(size=(50, 2)))
    np.save(files / "empty.npy", np.zeros((0, 2)))
    np.save(files / "nan.npy", np.array([[0.0, np.nan], [1.0, 2.0]]))
    np.save(files / "bytes.npy", np.full((20, 1, 8, 8), 255))
    (files / "broken.npy").write_bytes(b"not an array")
    (files / "unknown.json").write_text('{"sed": 3}')
    (files / "nested.yaml").write_text("fitness:\n  gama: 3\n")
    (files / "type.yaml").write_text("seed: many\n")
    (files / "broken.yaml").write_text("seed: [1\n")
    (files / "full").mkdir()
    (files / "full" / "note.txt").write_text("not a run")
    (files / "own.py").write_text(
        "from torch import nn\n"
        "def generator(): return nn.Linear(8, 3)\n"
        "def discriminator(): return nn.Linear(5, 1)\n"
        "number = 3\n"
        "def broken(logits): raise KeyError('deep')\n"
        "def single(): return nn.Linear(8, 2)\n"
        "def raises(): raise RuntimeError('no')\n"
        "def lazy(): return nn.LazyLinear(2)\n"
        "def double(): return nn.Linear(8, 2).double()\n"
    )
    (files / "bad_module.py").write_text("raise RuntimeError('no')\n")
    (files / "header.csv").write_text("x,y\n1,2\n")
    (files / "list.yaml").write_text("- 1\n- 2\n")
    (files / "number.yaml").write_text("data: 3\n")
    np.save(files / "complex.npy", np.array([[1j, 2.0]]))
    (files / "partial").mkdir()
    (files / "partial" / "config.json").write_text('{"seed": 3}')
    monkeypatch.syspath_prepend(str(files))
    yield tmp_path
    sys.modules.pop("own", None)


def names(entries):
    """As an error lists them."""
    return ", ".join(sorted(entries))


DATA_SETS = names(data_sets)

SETTINGS = [f"fitness.{each.name}" for each in dataclasses.fields(Judging)]
OPTION = "unknown option --fitness.gama: did you mean --fitness.gamma?"

# Arguments, the whole message, the exit code.
WRONG = [
    ("", "name a command: evolve, resume, sample, export, score, compare, report, list; egan "
     "--help explains them.", 2),
    ("evolv", "unknown command 'evolv': did you mean 'evolve'? valid are compare, evolve, export, "
     "list, report, resume, sample, score.", 2),
    ("evolve rng", f"unknown data set 'rng': did you mean 'ring'? valid are {DATA_SETS}.", 2),
    ("evolve --fitness.gama 1", OPTION, 2),
    ("evolve --lr 0.1", "unknown option --lr: did you mean --environment.lr or --variation.lr?", 2),
    ("evolve --generation 10", "unknown option --generation: did you mean --generations?", 2),
    ("evolve ring --out r", "unknown option --out: did you mean --run?", 2),
    ("export r --preset paper", "unknown option --preset: egan COMMAND --help lists all.", 2),
    ("evolve --mu 4", "unknown option --mu: did you mean --population.mu?", 2),
    ("evolve files/header.csv", "the data file files/header.csv cannot be read: a .csv holds "
     "numbers only, separated by commas, without a header (could not convert string 'x' to float64 "
     "at row 0, column 1).", 2),
    ("evolve --variation.mutations minimax,heuristc", "unknown mutation 'heuristc': did you mean "
     f"'heuristic'? valid are {names({**mutations, **perturbations})}.", 2),
    ("evolve --preset papper", "unknown preset 'papper': did you mean 'paper'? valid are default, "
     "gradient-only, paper, released-pytorch, released-theano.", 2),
    ("evolve --population.selection bst", "unknown selection 'bst': did you mean 'best'? valid are "
     f"{names(selections)}.", 2),
    ("evolve --execution.executor cloud", "unknown executor 'cloud': valid are dask, "
     "processes, serial.", 2),
    ("evolve --environment.penalties.r3 1", "unknown penalty 'r3': valid are "
     f"{names(penalties)}.", 2),
    ("evolve --fitness.quality x", f"unknown quality 'x': valid are {names(qualities)}.", 2),
    ("evolve --networks.width wide", "networks.width is 'wide': it must be a whole number.", 2),
    ("evolve --game chess", f"unknown game 'chess': valid are {names(games)}.", 2),
    ("evolve --population.mu 0", "population.mu is 0: it must be a whole number of at least 1.", 2),
    ("evolve --population.mu two", "population.mu is 'two': it must be a whole number.", 2),
    ("evolve --population.mu 3", "environment.batch is 128: it must be a multiple of population.mu "
     "(3), since every parent gives an equal part.", 2),
    ("evolve --environment.batch -3", "environment.batch is -3: it must be a whole number of at "
     "least 1.", 2),
    ("evolve --fitness.gamma nan", "fitness.gamma is 'nan': it must be a finite number.", 2),
    ("evolve --variation.lr 0", "variation.lr is 0.0: it must be a finite number above 0.", 2),
    ("evolve --variation.beta1 1", "variation.beta1 is 1.0: it must be a finite number of at least "
     "0 and below 1.", 2),
    ("evolve --first anyone", "first is 'anyone': it must be 'generators' or 'environment'.", 2),
    ("evolve --seed -1", "seed is -1: it must be a whole number of at least 0.", 2),
    ("evolve --execution.device cuda", "the device 'cuda' is not there: use cpu, or auto for a GPU "
     "where there is one.", 2),
    ("evolve --execution.device toaster", "the device 'toaster' is not there: use cpu, or auto for "
     "a GPU where there is one.", 2),
    ("evolve --population.selection nsga2 --fitness.gamma 0", "nsga2 needs two objectives: "
     "fitness.gamma must be above 0.", 2),
    ("evolve --records.judge confidence", "the score 'confidence' cannot judge ring: records.judge "
     "must be one of modes, modes-lenient, high-quality, high-quality-box, reverse-kl, "
     "reverse-kl-all, total-variation, deviation-ratio, energy-distance.", 2),
    ("evolve --data-options.modes 0", "data_options.modes is 0: it must be a whole number of at "
     "least 1.", 2),
    ("evolve --data-options.mode 3", "unknown option of ring 'mode': did you mean 'modes'? valid "
     "are deviation, modes, radius.", 2),
    ("evolve ring --data-dir files", "unknown option of ring 'data_dir': valid are deviation, "
     "modes, radius.", 2),
    ("evolve folder --data-dir files/header.csv", "the folder files/header.csv is a file: name the "
     "folder that it is in.", 2),
    ("evolve mnist --data-dir files", "the folder files has no pictures: it must hold "
     "train.parquet, or files that end in one of .png, .jpg, .jpeg, .webp, .bmp, .gif, .tif, "
     ".tiff, .ppm, .pgm.", 2),
    ("evolve folder", "the data set folder needs a folder: give it with --data-dir.", 2),
    ("evolve stacked-mnist --data-options.data-dir 3", "data_options.data_dir is 3: it must be a "
     "text.", 2),
    ("evolve files/none.npy", "the data file files/none.npy does not exist.", 2),
    ("evolve files/empty.npy", "files/empty.npy is empty: it must hold at least one sample.", 2),
    ("evolve files/nan.npy", "files/nan.npy has NaN or infinite values in 1 of 2 samples.", 2),
    ("evolve files/bytes.npy", "the data have values from 255 to 255: images must be scaled to "
     "[-1, 1].", 2),
    ("evolve digits --networks.conditional_norm true", "networks.conditional_norm is true and the "
     "game has no classes: use game = 'conditional', or leave the option out.", 2),
    ("evolve --networks.name convolutional", "the network convolutional needs images (channels, "
     "side, side) with an even side of at least 4, and the data have the shape (2,): use "
     "networks.name = 'mlp'.", 2),
    ("evolve --networks.generator own:generator", "the generator makes samples of shape (3,) and "
     "the data have (2,): they must be equal.", 2),
    ("evolve --networks.generator own:number", "the generator 'own:number' is 3: it must be a "
     "torch.nn.Module, or a function of no arguments that makes one.", 2),
    ("evolve --networks.generator own:missing", "the generator 'own:missing' cannot be imported: "
     "module 'own' has no attribute 'missing'.", 2),
    ("evolve --networks.generator own", "unknown generator 'own': it must have the form "
     "package.module:attribute.", 2),
    ("evolve --networks.discriminator own:discriminator", "the discriminator does not accept an "
     "input of shape (4, 2): RuntimeError (mat1 and mat2 shapes cannot be multiplied (4x2 and "
     "5x1)).", 2),
    ("evolve --config files/unknown.json", "unknown setting 'sed': did you mean 'seed'? valid are "
     "data, data_options, environment, execution, first, fitness, game, generations, horizon, "
     "init_from, lr_final, networks, population, preset, records, seed, variation.", 2),
    ("evolve --config files/nested.yaml", "unknown setting 'fitness.gama': did you mean "
     f"'fitness.gamma'? valid are {names(SETTINGS)}.", 2),
    ("evolve --config files/list.yaml", "the configuration file files/list.yaml must map names of "
     "settings to values.", 2),
    ("evolve --config files/none.yaml", "the configuration file files/none.yaml does not "
     "exist.", 2),
    ("evolve --config files/full", "the configuration file files/full does not exist.", 2),
    ("evolve --config files/number.yaml", "data is 3: it must be a text.", 2),
    ("evolve files/good.npy --data-options.modes 3", "data_options are for registered data sets, "
     "not for files/good.npy.", 2),
    ("evolve files/complex.npy", "files/complex.npy holds complex numbers: it must hold real "
     "ones.", 2),
    ("evolve --variation.mutations minimax,minimax", "variation.mutations has 'minimax' twice: "
     "every name must be another.", 2),
    ("evolve --variation.mutations own:broken", "a trial generation failed with KeyError "
     "('deep'): --debug shows where.", 2),
    ("evolve --networks.name own:single", "the network 'own:single' raised TypeError (single() "
     "takes 0 positional arguments but 4 were given).", 2),
    ("evolve --networks.generator own:raises", "the generator 'own:raises' raised RuntimeError "
     "(no).", 2),
    ("evolve own:raises", "the data set 'own:raises' raised RuntimeError (no).", 2),
    ("evolve --networks.generator own:lazy", "the network LazyLinear has lazy layers: give "
     "sizes.", 2),
    ("evolve --networks.generator own:double", "the generator computes in torch.float64 and the "
     "discriminator in torch.float32: they must be equal.", 2),
    ("evolve --execution.device meta", "the device 'meta' is not there: use cpu, or auto for a GPU "
     "where there is one.", 2),
    ("evolve bad_module:thing", "the data set 'bad_module:thing' cannot be imported: no.", 2),
    ("resume files/partial", "the configuration files/partial/config.json lacks data, "
     "data_options, environment, execution, first, fitness, game, generations, horizon, init_from, "
     "lr_final, networks, population, preset, records, variation.", 2),
    ("evolve --config files/type.yaml", "seed is 'many': it must be a whole number.", 2),
    ("evolve --init-from files/full", "files/full is not a run: it has no config.json.", 2),
    ("evolve --run files/full", "the directory files/full is not a run and not empty: name "
     "another.", 2),
    ("evolve --run files/own.py", "files/own.py is a file: name a directory for the run.", 2),
    ("resume files/full", "files/full is not a run: it has no config.json.", 2),
    ("resume", "the argument RUN is missing: egan COMMAND --help explains it.", 2),
    ("sample files/full", "files/full is not a run: it has no config.json.", 2),
    ("sample files/none", "files/none is not a run: it has no config.json.", 2),
    ("sample files/full --out a.gif", "the file a.gif must end in .png, .npy or .pt.", 2),
    ("sample files/full --out no/a.png", "the folder no does not exist.", 2),
    ("sample files/full -n 0", "number is 0: it must be at least 1.", 2),
    ("sample files/full --view mosaic", "unknown view 'mosaic': valid are classes, grid, "
     "interpolation, neighbours, truncation.", 2),
    ("sample files/full --steps 4", "the view grid has no steps: it is an option of "
     "interpolation and neighbours.", 2),
    ("sample files/full --truncation small", "truncation is 'small': it must be a finite "
     "number.", 2),
    ("sample files/full -n many", "number is 'many': it must be a whole number.", 2),
    ("sample files/full --seed -1", "seed is -1: it must be at least 0.", 2),
    ("export files/none", "files/none is not a run: it has no config.json.", 2),
    ("export files/full --format tflite", "unknown format 'tflite': valid are onnx, safetensors, "
     "torch-export.", 2),
    ("export files/full --out a.h5", "the file a.h5 must end in .safetensors, .onnx or .pt2.", 2),
    ("export files/full --format onnx --out a.pt2", "the file a.pt2 must end in .onnx.", 2),
    ("export files/full --out no/a.onnx", "the folder no does not exist.", 2),
    ("export files/full --which mixture --format onnx", "a mixture draws a member for each sample, "
     "and so onnx cannot hold it as a function of noise: use the format safetensors, which holds "
     "all members and their weights.", 2),
    ("report files/full", "files/full is not a run: it has no config.json.", 2),
    ("score files/full -n 1", "number is 1: it must be at least 2.", 2),
    ("list lossez", f"unknown kind 'lossez': valid are {names(catalogue())}.", 2),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message", "code"), WRONG, ids=[case[0] for case in WRONG])
def test_wrong_input_gets_one_sentence_and_changes_nothing(here, capsys, arguments, message, code):
    before = sorted(here.rglob("*"))
    assert main(arguments.split()) == code
    said = capsys.readouterr()
    assert said.err == f"egan: {message}\n"
    assert said.out == ""
    assert [path for path in sorted(here.rglob("*")) if "__pycache__" not in str(path)] == before


@pytest.mark.parametrize(
    "arguments", ["evolve files/broken.npy", "evolve --config files/broken.yaml"]
)
def test_unreadable_files_are_named_in_one_line(here, capsys, arguments):
    assert main(arguments.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("egan: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_debug_shows_the_traceback(here):
    with pytest.raises(ValueError, match="unknown data set"):
        main(["evolve", "rng", "--debug"])


def test_a_run_from_end_to_end(here, capsys):
    assert main(["evolve", "ring", "--run", "r", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "Evolved 4 generations on ring" in out
    assert re.search(r"covers \d of 8 modes", out)
    assert "Survivors came from minimax" in out
    assert "r/final.png" in out

    assert main(["evolve", "--run", "r", "--generations", "4"]) == 0
    again = capsys.readouterr().out
    assert again.startswith("The run r is finished: 4 generations are done.")
    assert again.splitlines()[1:] == out.splitlines()[2:]
    assert main(["resume", "r"]) == 0
    assert "is finished" in capsys.readouterr().out

    assert main(["evolve", "--run", "r", "--seed", "2"]) == 2
    assert capsys.readouterr().err == (
        "egan: the run r has other settings, seed (2, not 0): leave these options out, or name "
        "another directory.\n"
    )
    assert main(["resume", "r", "--generations", "6"]) == 0
    assert "Evolved 6 generations" in capsys.readouterr().out

    assert main(["score", "r", "-n", "500"]) == 0
    table = capsys.readouterr().out
    for name in ("modes", "high-quality", "reverse-kl", "total-variation", "energy-distance"):
        assert f"\n{name} " in table
    recorded = json.loads((here / "r/scores.json").read_text())
    assert table.endswith("\nOf 500 samples.\n")
    assert recorded["final"]["samples"] == 500
    assert recorded["final"]["high-quality"]["real"] == pytest.approx(0.989, abs=0.01)
    assert main(["score", "r"]) == 0
    assert capsys.readouterr().out.endswith("\nOf 100 samples.\n")  # as at the end of the run


def test_samples_are_written_in_the_form_of_the_files_ending(here, capsys):
    main(["evolve", "--run", "r", *QUICK])
    for name in ("a.npy", "a.pt", "a.png"):
        assert main(["sample", "r", "-n", "7", "--out", name, "--seed", "3"]) == 0
    array, tensor = np.load("a.npy"), torch.load("a.pt", weights_only=True)
    assert array.shape == (7, 2)
    assert torch.equal(torch.from_numpy(array), tensor)
    with Image.open("a.png") as image:
        assert image.size[0] > 300
    assert main(["sample", "r", "--which", "best", "--out", "b.npy"]) == 0
    assert main(["sample", "r"]) == 0
    assert (here / "r/samples.png").is_file()
    capsys.readouterr()
    assert main(["sample", "r", "--which", "worst", "--out", "b.npy"]) == 2
    assert (
        capsys.readouterr().err
        == "egan: which is 'worst': it must be 'final', 'best', 'refuge' or 'mixture'.\n"
    )


def test_new_runs_get_directories_of_their_own(here):
    assert main(["evolve", *QUICK]) == 0
    assert main(["evolve", *QUICK]) == 0
    assert main(["evolve", "files/good.npy", *QUICK]) == 0
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["good-1", "ring-1", "ring-2"]


@pytest.mark.parametrize("order", [0, 1])
def test_files_presets_and_options_are_laid_over_each_other_in_that_order(here, order):
    (here / "c.yaml").write_text(
        "data: grid\npreset: paper\nseed: 4\nfitness:\n  gamma: 3\n  samples: 9\n"
    )
    words = [["--config", "c.yaml"], ["--fitness.gamma=5", "--generations=2", "--networks.width=8"]]
    words = words[order] + words[1 - order]
    assert main(["evolve", *words, "--run", "r"]) == 0
    found = flatten(json.loads((here / "r/config.json").read_text()))
    assert found["data"] == "grid"
    assert found["variation.lr"] == 2e-4  # the preset's
    assert (found["seed"], found["fitness.samples"]) == (4, 9)  # the file's
    assert found["fitness.gamma"] == 5.0  # the option's
    assert main(["evolve", "--config", "r/config.json", "--run", "s"]) == 0
    assert (here / "r/config.json").read_text() == (here / "s/config.json").read_text()
    assert main(["evolve", "ring", *words, "--run", "t"]) == 0
    assert json.loads((here / "t/config.json").read_text())["data"] == "ring"


def test_files_that_are_not_the_runs_are_left_alone(here):
    assert main(["evolve", "--run", "r", *QUICK]) == 0
    for name in ("r/samples/mine.png", "r/checkpoints/copy.pt"):
        (here / name).write_bytes(b"mine")
    assert main(["evolve", "--run", "r", "--generations", "6"]) == 0
    assert (here / "r/samples/mine.png").read_bytes() == b"mine"
    assert (here / "r/checkpoints/copy.pt").read_bytes() == b"mine"


def test_own_networks_and_data_by_name(here):
    (here / "mine.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def make(shape, noise, width, depth): return nn.Linear(noise, 3), nn.Linear(3, 1)\n"
        "points = torch.randn(30, 3)\n"
    )
    own = ["mine:points", "--networks.name", "mine:make", "--run", "r", *QUICK]
    assert main(["evolve", *own]) == 0
    assert main(["sample", "r", "--out", "a.npy"]) == 0
    assert np.load("a.npy").shape == (64, 3)


@pytest.mark.parametrize("name", penalties)
def test_every_penalty_is_an_option_by_its_name(name):
    option = f"--environment.penalties.{name}"
    for words in ([option, "0.5"], [f"{option}=0.5"]):
        _, arguments = parse(["evolve", *words])
        assert configure(given_settings(arguments)).environment.penalties[name] == 0.5


def test_help_explains_every_option_with_its_default(capsys):
    with pytest.raises(SystemExit):
        main(["evolve", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name in flatten(plain(configure())):
        leaf = name if not name.startswith("environment.penalties.") else "environment.penalties"
        if leaf not in ("data", "data_options"):
            assert f"--{leaf.replace('_', '-')}" in text, name
    assert "<class" not in text
    _, verbs = make_parser()
    for verb in verbs.values():
        for action in verb._actions:
            assert action.help, action.option_strings


def test_list_shows_every_name_with_one_line(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for kind, entries in catalogue().items():
        assert kind in lines
        for name in entries:
            assert any(re.match(rf"  {re.escape(name)} +\S", line) for line in lines)


def test_the_folder_of_the_data_is_an_option_of_the_data_set(here):
    given = given_settings(parse(["evolve", "mnist", "--data-dir", "some/where"])[1])
    assert given == {"data": "mnist", "data_options": {"data_dir": "some/where"}}
    both = ["evolve", "--data-dir=a", "--data-options.seed=3"]
    assert given_settings(parse(both)[1]) == {"data_options": {"data_dir": "a", "seed": 3}}
