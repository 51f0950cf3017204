"""Exported generators make the same samples without this project, whatever the format."""

import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import parametrizations

import egan
from egan.cli import main
from egan.directory import Directory
from egan.exports import formats
from egan.generator import Share
from egan.generator import export as export_own
from egan.networks import Flat, make_pair, networks
from egan.networks.attention import Attention
from egan.networks.stylegan2 import Equalised, PixelNoise
from egan.presets import configure
from egan.settings import plain
from populations.randomness import generator as keyed
from populations.randomness import seeded

FILES = {name: f"a{form.ending}" for name, form in formats.items()}
TRACED = [name for name, form in formats.items() if form.traces]
SHAPES = [(1, 8, 8), (3, 32, 32)]


def stir(module):
    """Weights and statistics under which samples vary, and none are what fresh ones would be."""
    equalised = {each.layer for each in module.modules() if isinstance(each, Equalised)}
    with seeded(0, 0, "stirred"), torch.no_grad():
        for each in module.modules():
            if isinstance(each, nn.modules.batchnorm._BatchNorm):
                each.running_mean.normal_(0, 0.1)
                each.running_var.uniform_(0.5, 2)
            elif isinstance(each, Equalised):
                each.layer.weight.mul_(1.3)
            elif isinstance(each, PixelNoise):
                each.strength.fill_(0.3)
            elif isinstance(each, nn.Linear | nn.modules.conv._ConvNd) and each not in equalised:
                held = getattr(each, "parametrizations", None)
                weight = held.weight.original if held else each.weight
                weight.normal_(0, 1.3 / weight[0].numel() ** 0.5)
            elif isinstance(each, Attention):
                each.gamma.fill_(0.7)
    Flat(module).iterate()  # once: the norms are on their way
    return module


def written(path, generator=None, which="final", shape=(3,), **settings):
    """A run's directory with nothing but its settings and a stirred generator."""
    config = configure({"networks": {"noise_dimension": 6, "width": 8, **settings}})
    directory = Directory(path)
    path.mkdir()
    directory.write_config(config)
    module = generator or stir(make_pair(config, shape)[0])
    export_own(directory, which, module, 7, shape)
    return path


def fitting(path, name):
    """A run of that network, on the first shape that it takes."""
    for shape in SHAPES:
        try:
            make_pair(configure({"networks": {"name": name}}), shape)
        except egan.UsageError:
            continue
        return written(path, shape=shape, name=name)
    raise AssertionError(f"{name} takes none of the shapes {SHAPES}")


def reloaded(path, bare):
    """A function of noise, and the facts, made of a file by what is no part of this project."""
    if path.suffix == ".safetensors":
        with safetensors.safe_open(path, "pt") as file:
            facts = file.metadata()["egan"]
        bare.load_state_dict(safetensors.torch.load_file(path))
        return bare.eval(), json.loads(facts)
    if path.suffix == ".pt2":
        found = {"egan": ""}
        return torch.export.load(path, extra_files=found).module(), json.loads(found["egan"])
    session = onnxruntime.InferenceSession(path)
    facts = session.get_modelmeta().custom_metadata_map["egan"]

    def run(noise):
        return torch.from_numpy(session.run(["samples"], {"noise": noise.numpy()})[0])

    return run, json.loads(facts)


def same(run, path, bare, tolerance=1e-5, **loading):
    """Assert that a file makes what the run's generator does; returns the facts."""
    again, facts = reloaded(path, bare)
    expected = egan.load(run, **loading)
    for count in (1, 5):
        noise = torch.randn(count, 6, generator=keyed(0, 0, "noise"))
        samples = expected.generate(noise)
        with torch.no_grad():
            torch.testing.assert_close(again(noise), samples, rtol=0, atol=tolerance)
    assert float(samples.std(0).mean()) > 0.01  # noise matters
    return facts


@pytest.mark.parametrize("form", formats)
@pytest.mark.parametrize("name", networks)
def test_every_network_makes_the_same_samples_from_every_format(tmp_path, name, form):
    run = fitting(tmp_path / "r", name)
    egan.export(run, form, tmp_path / FILES[form])
    config = Directory(run).load_config()
    shape = egan.load(run).sample(1).shape[1:]
    bare = make_pair(config, tuple(shape))[0]
    facts = same(run, tmp_path / FILES[form], bare)
    assert facts == {
        "which": "final", "generation": 7, "noise": "N(0, 1)", "noise_dimension": 6,
        "classes": 0, "shape": list(shape), "range": [-1, 1], "members": [],
        "settings": plain(config),
    }  # fmt: skip


@pytest.mark.parametrize(("name", "norms"), [
    ("dcgan", False), ("dcgan", True), ("sagan", True), ("biggan", True),
])  # fmt: skip
@pytest.mark.parametrize("form", TRACED)
def test_a_conditional_generator_takes_the_class_behind_the_noise(tmp_path, form, name, norms):
    settings = {"name": name, "width": 4, "noise_dimension": 6, "classes": 3}
    config = configure({"game": "conditional", "networks": {**settings, "conditional_norm": norms}})
    run, shape = tmp_path / "r", (1, 8, 8)
    run.mkdir()
    Directory(run).write_config(config)
    module = stir(make_pair(config, shape)[0])
    with seeded(0, 0, "scales"), torch.no_grad():
        for name, each in module.named_parameters():
            if name.endswith(("scales", "shifts")):  # all classes begin with the same
                each.normal_()
    export_own(Directory(run), "final", module, 7, shape)
    again, facts = reloaded(egan.export(run, form), None)
    assert (facts["noise_dimension"], facts["classes"]) == (6, 3)
    loaded = egan.load(run)
    for count in (1, 5):
        noise = torch.randn(1, 6, generator=keyed(0, 0, "noise")).expand(count, 6)
        classes = nn.functional.one_hot(torch.arange(count) % 3, 3)
        noise = torch.cat([noise, classes], dim=1)
        samples = loaded.generate(noise)
        torch.testing.assert_close(again(noise), samples, rtol=0, atol=1e-5)
    assert float((samples[0] - samples[1]).abs().max()) > 1e-2  # the class matters
    assert torch.equal(samples[0], samples[3])


def spectral(norm):
    """A generator of a user's own whose layers are normalised, as training leaves it."""
    with seeded(0, 0, "spectral"), torch.no_grad():
        module = nn.Sequential(
            norm(nn.Linear(6, 12)), nn.BatchNorm1d(12), nn.ReLU(), norm(nn.Linear(12, 3))
        )
        for _ in range(3):
            module(torch.randn(16, 6))
    return module


@pytest.mark.parametrize("form", formats)
@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_networks_with_spectral_norm_are_exported_too(tmp_path, norm, form):
    run = written(tmp_path / "r", spectral(norm))
    egan.export(run, form, tmp_path / FILES[form], generator=spectral(norm))
    facts = same(run, tmp_path / FILES[form], spectral(norm), generator=spectral(norm))
    assert facts["range"] is None


@pytest.mark.parametrize("form", formats)
def test_nothing_is_left_behind(tmp_path, form, capfd):
    """Neither in the global generators, nor in the module, nor on the console."""
    run = written(tmp_path / "r", name="pacgan")
    own = make_pair(Directory(run).load_config(), (3,))[0].train()
    before = {name: each.clone() for name, each in own.state_dict().items()}
    torch.manual_seed(3)
    np.random.seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()
    level = logging.getLogger("torch").level
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        egan.export(run, form, generator=own)
    assert not warned
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]
    assert logging.getLogger("torch").level == level
    assert all(each.training for each in own.modules())
    torch.testing.assert_close(own.state_dict(), before, rtol=0, atol=0)
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in run.iterdir()) == [
        "config.json", f"export-final{formats[form].ending}", "generator.safetensors",
    ]  # fmt: skip


class Stuck(nn.Module):
    """A generator that makes so many samples as its weights say: no tracer follows it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, noise):
        return self.layer(noise[: int(self.layer.bias.exp().sum()) + len(noise)])


@pytest.mark.parametrize("form", TRACED)
def test_what_cannot_be_traced_is_one_sentence_and_no_file(tmp_path, form, capfd):
    run = written(tmp_path / "r", Stuck())
    with pytest.raises(egan.UsageError) as error:
        egan.export(run, form, generator=Stuck())
    message = str(error.value)
    assert message.startswith(f"PyTorch cannot write the generator as {form}, ")
    assert message.endswith(
        ": it must compute with tensors alone, on any number of noises (noise.shape[0], not "
        "len(noise)), or use the format safetensors, which holds the weights of any network."
    )
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in run.iterdir()) == ["config.json", "generator.safetensors"]
    assert egan.export(run, "safetensors", generator=Stuck()).is_file()


@pytest.mark.parametrize("form", TRACED)
def test_a_generator_that_works_for_some_numbers_of_noises_only_is_refused(tmp_path, form):
    class Paired(Stuck):
        """Cannot make an odd number of samples."""

        def forward(self, noise):
            return self.layer(noise.view(2, -1, 6)).flatten(0, 1)

    run = written(tmp_path / "r", Paired())
    with pytest.raises(egan.UsageError, match=f"cannot write the generator as {form}"):
        egan.export(run, form, generator=Paired())


def mixed(path):
    """A run with a mixture of two."""
    config = configure({"networks": {"noise_dimension": 6, "width": 8}})
    members = [stir(make_pair(config, (3,), index)[0]) for index in (0, 1)]
    run = written(path)
    module = nn.Module()
    module.members = nn.ModuleList(members)
    module.register_buffer("weights", torch.tensor([0.25, 0.75], dtype=torch.float64))
    shares = [Share(4, 0.25), Share(7, 0.75)]
    export_own(Directory(run), "mixture", module, 7, (3,), shares)
    return run, members


def test_a_mixture_is_exported_as_what_it_is_or_refused(tmp_path):
    run, members = mixed(tmp_path / "r")
    path = egan.export(run, which="mixture")
    assert path == run / "export-mixture.safetensors"
    tensors = safetensors.torch.load_file(path)
    for place, member in enumerate(members):
        for name, each in member.state_dict().items():
            assert torch.equal(tensors[f"members.{place}.{name}"], each)
    with safetensors.safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["egan"])
    assert facts["members"] == [[4, 0.25], [7, 0.75]]
    assert tensors["weights"].tolist() == [0.25, 0.75]
    for form in TRACED:
        with pytest.raises(egan.UsageError, match=f"and so {form} cannot hold it as a function"):
            egan.export(run, form, which="mixture")


def test_a_missing_library_is_named_before_anything_is_loaded(tmp_path, monkeypatch):
    run = written(tmp_path / "r")
    (run / "generator.safetensors").write_bytes(b"damaged")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(egan.UsageError) as error:
        egan.export(run, "onnx")
    assert str(error.value) == (
        "the format onnx needs onnx and onnxscript: pip install 'egan[images]'."
    )


def test_a_file_says_which_generator_and_which_noise(tmp_path):
    run = written(tmp_path / "r", which="best", noise="uniform")
    path = egan.export(run, out=tmp_path / "A.ONNX", which="best")
    _, facts = reloaded(path, None)
    assert (facts["which"], facts["noise"]) == ("best", "U(-1, 1)")


@pytest.mark.parametrize("form", TRACED)
def test_no_path_of_this_machine_is_in_a_file(tmp_path, form):
    content = egan.export(written(tmp_path / "r"), form).read_bytes()
    for each in (Path(torch.__file__), Path(egan.__file__), Path(__file__)):
        assert str(each.parent).encode() not in content


def test_an_interrupted_export_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    run = written(tmp_path / "r")
    path = egan.export(run, "torch-export")
    before = path.read_bytes()

    def half(self, content):
        with open(self, "wb") as file:
            file.write(bytes(content)[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space"):
        egan.export(run, "torch-export")
    assert path.read_bytes() == before
    assert sorted(each.name for each in run.iterdir()) == [
        "config.json", "export-final.pt2", "generator.safetensors",
    ]  # fmt: skip


def test_the_command_line_exports_what_a_run_left(small, tmp_path, capsys):
    run = tmp_path / "r"
    egan.evolve("digits", config=small, generations=1, run=run)
    assert main(["export", str(run), "--out", str(tmp_path / "a.pt2")]) == 0
    assert capsys.readouterr().out == f"Generator: {tmp_path / 'a.pt2'}\n"
    again, facts = reloaded(tmp_path / "a.pt2", None)
    noise = torch.randn(4, facts["noise_dimension"])
    torch.testing.assert_close(again(noise), egan.load(run).generate(noise), rtol=0, atol=1e-5)
    assert facts["generation"] == 1
    assert facts["settings"]["data"] == "digits"
