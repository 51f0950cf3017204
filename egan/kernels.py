"""Kernels: a generation's heavy passes, run as they are written or traced once and compiled.

A kernel is a function of the game, of what is the same in every generation (losses, a plan) and of
tensors; it finds the networks loaded. Traced, it is a list of tensor operations, backward passes
among them, with neither Python nor autograd between them: PyTorch's Inductor fuses those for the
CPU, and on a GPU replays them as a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from egan.networks import Flat
from populations.randomness import generator as keyed
from populations.randomness import restored, seeded
from populations.registry import describe_error
from populations.transport import Place, mapped

Kernel = Callable[..., Any]
State = tuple[Tensor, dict[str, Tensor]]


def run(
    game: Any,
    kernel: Kernel,
    fixed: Sequence[Any],
    tensors: Sequence[Tensor],
    generator: State | None = None,
    discriminator: State | None = None,
) -> Any:
    """What a kernel makes: `kernel(game, *fixed, *tensors)` with networks loaded.

    Args:
        game: its networks are the workplaces.
        kernel: gives a nested value of tensors, and reads nothing else that ever changes.
        fixed: the same objects in every generation.
        tensors: no graph flows into or out of the kernel.
        generator: weights and buffers; None: the kernel does not use it.
        discriminator: likewise.
    """
    if game.compiled is not None:
        return game.compiled(game, kernel, fixed, tensors, (generator, discriminator))
    if generator is not None:
        game.generator.load(*generator)
    if discriminator is not None:
        game.discriminator.load(*discriminator)
    return kernel(game, *fixed, *tensors)


@contextmanager
def as_written(game: Any) -> Iterator[None]:
    """Nothing is compiled within it."""
    compiled, game.compiled = game.compiled, None
    try:
        yield
    finally:
        game.compiled = compiled


class Compiled:
    """Kernels, compiled when they first meet arguments of certain shapes."""

    def __init__(self) -> None:
        self._made: dict[Any, tuple[Any, Callable[..., list[Tensor]], Any]] = {}

    def __call__(
        self,
        game: Any,
        kernel: Kernel,
        fixed: Sequence[Any],
        tensors: Sequence[Tensor],
        states: tuple[State | None, State | None],
    ) -> Any:
        """See `run`."""
        shape, inputs = taken_apart((states, tuple(tensors)))
        device = inputs[0].device.type
        key = (
            kernel, *map(id, fixed), *[each is None for each in states],
            torch.is_autocast_enabled(device), *[(each.shape, each.dtype) for each in inputs],
        )  # fmt: skip
        if key not in self._made:
            graph, skeleton = traced(game, kernel, fixed, shape, inputs)
            # What is fixed is kept, so that its id stays its own.
            self._made[key] = fixed, built(graph, device), skeleton
        _, function, skeleton = self._made[key]
        with torch.no_grad(), torch.autocast(device, enabled=False):
            return put_together(skeleton, function(*inputs))


def refusal(game: Any) -> str:
    """Why kernels of these networks cannot be compiled here; an empty text where they can.

    The traced operations must give what the networks give, and Inductor must find a compiler.
    """
    noise = game.draw(4, keyed(0, 0, "kernel trial"))
    given = (game.generator.state(), game.discriminator.state()), (noise,)
    try:
        shape, inputs = taken_apart(given)
        graph, skeleton = traced(game, _trial_kernel, (), shape, inputs)
        with seeded(0, 0, "trace"):
            found = put_together(skeleton, graph(*inputs))
        with seeded(0, 0, "trace"), as_written(game):
            expected = run(game, _trial_kernel, (), (noise,), *given[0])
        if not all(map(_close, found, expected)):
            return "its list of the networks' operations does not give what the networks give"
    except Exception as error:  # whatever a user's network raises
        return f"the networks' operations cannot be listed: {describe_error(error)}"
    try:
        built(make_fx(torch.neg)(noise), noise.device.type)(noise)
    except Exception as error:  # InductorError and what its compilers raise
        return f"PyTorch's Inductor does not work here: {describe_error(error)}"
    return ""


def _trial_kernel(game: Any, noise: Tensor) -> tuple[Tensor, Tensor]:
    """What both networks make, and how it moves with the discriminator's weights."""
    logits = game.logits(game.generate(noise))
    return logits.detach(), game.discriminator.gradient(logits.sum())


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def built(graph: torch.fx.GraphModule, device: str) -> Callable[..., list[Tensor]]:
    """A traced kernel compiled by Inductor for a type of device."""
    cuda = device == "cuda"
    # What networks draw at random stays what it is without compilation.
    options: dict[str, Any] = {"fallback_random": True, "triton.cudagraphs": cuda}
    compiled = torch.compile(graph, dynamic=False, options=options)

    def replay(*inputs: Tensor) -> list[Tensor]:
        if not cuda:
            return list(compiled(*inputs))
        torch.compiler.cudagraph_mark_step_begin()
        # Every replay of a graph writes to the same memory.
        return [each.clone() for each in compiled(*inputs)]

    return replay


def traced(
    game: Any, kernel: Kernel, fixed: Sequence[Any], shape: Any, inputs: Sequence[Tensor]
) -> tuple[torch.fx.GraphModule, Any]:
    """The operations of a kernel on inputs like these, and the skeleton of what it makes.

    Args:
        game: its networks are left as they were.
        kernel: see `run`.
        fixed: see `run`.
        shape: skeleton of the states of generator and discriminator, and of the tensors.
        inputs: what `shape` was with them.
    """
    skeleton = None

    def pure(*inputs: Tensor) -> list[Tensor]:
        nonlocal skeleton
        states, tensors = put_together(shape, inputs)
        with _stage(game, states) as call:
            skeleton, made = taken_apart(call(lambda: kernel(game, *fixed, *tensors)))
        return [each.detach() for each in made]

    with restored(), seeded(0, 0, "trace"), torch.enable_grad():
        graph = make_fx(pure)(*[each.detach() for each in inputs])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph, skeleton


class _Both(nn.Module):
    """Two networks as one, so that one call has the states of both."""

    def __init__(self, networks: Sequence[Flat]) -> None:
        super().__init__()
        self.networks = nn.ModuleList([each.module for each in networks])

    def forward(self, function: Callable[[], Any]) -> Any:
        return function()


@contextmanager
def _stage(
    game: Any, states: Sequence[State | None]
) -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Gives how to call a function while the networks compute with these very tensors."""
    networks = game.generator, game.discriminator
    known: dict[str, Tensor] = {}
    saved = [(each.vector, each.parameters) for each in networks]
    try:
        for index, (network, state) in enumerate(zip(networks, states, strict=True)):
            if state is not None:
                known |= _bind(network, f"networks.{index}.", *state)
        yield lambda function: functional_call(_Both(networks), known, (function,))
    finally:
        for network, (vector, parameters) in zip(networks, saved, strict=True):
            network.vector, network.parameters = vector, parameters


def _bind(
    network: Flat, prefix: str, weights: Tensor, buffers: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors of a state by their names, known to the workplace as its own."""
    names = [name for name, each in network.module.named_parameters() if each.requires_grad]
    vector = weights.detach().requires_grad_()
    pieces = list(network.views(vector).values())
    network.vector, network.parameters = vector, pieces
    own = {f"{prefix}{name}": each for name, each in zip(names, pieces, strict=True)}
    # Batch norm moves its statistics in place; those that were given stay what they are.
    return own | {f"{prefix}{name}": each.clone() for name, each in buffers.items()}


def taken_apart(value: Any) -> tuple[Any, list[Tensor]]:
    """A nested value with places instead of its tensors, and those."""
    found: list[Tensor] = []

    def leave(tensor: Tensor) -> Place:
        found.append(tensor)
        return Place(len(found) - 1)

    return mapped(leave, value), found


def put_together(skeleton: Any, tensors: Sequence[Tensor]) -> Any:
    """The nested value that `taken_apart` took apart, with these tensors."""
    return mapped(lambda place: tensors[place.number], skeleton, Place)
