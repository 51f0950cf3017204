"""A generator in files that need nothing of this project: safetensors, ONNX, exported programs."""

from __future__ import annotations

import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from egan.config import CONDITIONAL, Config
from egan.directory import Directory
from egan.generator import FACTS, Exported, Generator, state_dict
from egan.settings import plain
from populations.errors import UsageError
from populations.randomness import generator as keyed
from populations.randomness import seeded
from populations.registry import describe_error, unknown

Encode = Callable[[nn.Module, Tensor, str], bytes]
DISTRIBUTIONS = {"normal": "N(0, 1)", "uniform": "U(-1, 1)"}
NEWS = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # by torch, whose own exporter uses it
    "The tensor attributes? .* assigned during export",  # weights of nn.utils.spectral_norm
)
"""What PyTorch warns of while it traces, though the file is right."""
LOGGER = logging.getLogger("torch")


class Format(NamedTuple):
    """A format.

    Attributes:
        text: what it is, in one line.
        ending: of its files.
        encode: maps a network, an example of its noise and the facts, as JSON, to a file's bytes.
        traces: whether it holds the network's operations, and not its weights alone.
        needs: libraries, which the extra `images` has.
    """

    text: str
    ending: str
    encode: Encode
    traces: bool = False
    needs: tuple[str, ...] = ()


def choose(name: str | None, out: str | Path | None) -> str:
    """The format of that name; unless one is told, the one of the file's ending, or safetensors.

    Raises:
        UsageError: there is no such format.
    """
    if name is None:
        endings = {form.ending: each for each, form in formats.items()}
        return endings.get(Path(out or "").suffix.lower(), "safetensors")
    if name not in formats:
        raise UsageError(unknown("format", name, formats))
    return name


def check(name: str, which: str) -> None:
    """Refuse what a format cannot hold.

    A mixture draws, for every sample, the member that makes it. Traced, it would hide these draws
    in the file, where no seed reaches them in ONNX, and be no function of the noise.

    Raises:
        UsageError: that generator is a mixture, or a library is missing.
    """
    form = formats[name]
    if form.traces and which == "mixture":
        raise UsageError(
            f"a mixture draws a member for each sample, and so {name} cannot hold it as a function "
            "of noise: use the format safetensors, which holds all members and their weights."
        )
    if not all(map(find_spec, form.needs)):
        libraries = " and ".join(form.needs)
        raise UsageError(f"the format {name} needs {libraries}: pip install 'egan[images]'.")


def default_path(directory: Directory, name: str, which: str) -> Path:
    """Where a run's generator is written unless another file is told."""
    return directory.path / f"export-{which}{formats[name].ending}"


def describe(config: Config, found: Exported, which: str) -> dict[str, Any]:
    """What an exported file says of itself.

    In a conditional game the noise goes on with as many values as there are classes, all 0 but a 1
    at the sample's own.

    Args:
        config: of the run.
        found: the run's own file of the generator.
        which: of the run's generators it is.
    """
    return {
        "which": which,
        "generation": found.generation,
        "noise": DISTRIBUTIONS[config.networks.noise],
        "noise_dimension": config.networks.noise_dimension,
        "classes": config.networks.classes if config.game == CONDITIONAL else 0,
        "shape": found.shape,
        "range": [-1, 1] if len(found.shape) == 3 else None,  # of the data, if images
        "members": found.members,
        "settings": plain(config),
    }


def encode(name: str, generator: Generator, facts: dict[str, Any]) -> bytes:
    """The content of a file of that format.

    Raises:
        UsageError: PyTorch cannot trace the network.
    """
    noise = generator.game.draw(2, keyed(0, 0, "example"))
    return formats[name].encode(generator.module, noise, json.dumps(facts))


def _safetensors(module: nn.Module, noise: Tensor, facts: str) -> bytes:
    return state_dict(module, facts)


def _torch_export(module: nn.Module, noise: Tensor, facts: str) -> bytes:
    content = io.BytesIO()
    with _tracing("torch-export"):
        torch.export.save(_program(module, noise), content, extra_files={FACTS: facts})
    return content.getvalue()


def _onnx(module: nn.Module, noise: Tensor, facts: str) -> bytes:
    with _tracing("onnx"):
        made = torch.onnx.export(
            _program(module, noise), dynamo=True, verbose=False, input_names=["noise"],
            output_names=["samples"], dynamic_shapes=({0: "count"},),
        )  # fmt: skip
        assert made is not None
        made.model.metadata_props[FACTS] = facts
        return made.model_proto.SerializeToString()


def _program(module: nn.Module, noise: Tensor) -> ExportedProgram:
    """The operations of a network in evaluation mode, on any number of noises."""
    # A copy has its mode for itself, and parameters that are no views of one vector.
    own = copy.deepcopy(module).eval().requires_grad_(False)
    count = Dim("count", min=1)
    program = torch.export.export(own, (noise,), dynamic_shapes=({0: count},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths and source of this machine
    return program


@contextmanager
def _tracing(name: str) -> Iterator[None]:
    """Within it PyTorch traces: without news of its own, and what it cannot is one sentence."""
    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)  # below it are operators of torchvision, which is not there
    try:
        with warnings.catch_warnings(), seeded(0, 0, "tracing"), redirect_stderr(io.StringIO()):
            for each in NEWS:
                warnings.filterwarnings("ignore", each)
            yield  # on failure torch writes whole graphs to the console
    except Exception as error:  # torch and onnxscript raise kinds of their own
        raise UsageError(
            f"PyTorch cannot write the generator as {name}, {describe_error(error)}: it must "
            "compute with tensors alone, on any number of noises (noise.shape[0], not len(noise)), "
            "or use the format safetensors, which holds the weights of any network."
        ) from error
    finally:
        LOGGER.setLevel(level)


formats: dict[str, Format] = {
    "safetensors": Format("The weights: a plain state dict.", ".safetensors", _safetensors),
    "onnx": Format(
        "The network as an ONNX model, for onnxruntime and other programs.",
        ".onnx", _onnx, traces=True, needs=("onnx", "onnxscript"),
    ),
    "torch-export": Format(
        "The network as a program for `torch.export.load`.", ".pt2", _torch_export, traces=True
    ),
}  # fmt: skip
