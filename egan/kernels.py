"""Kernels: a generation's heavy passes, run as they are written or traced once and compiled.

A kernel is a function of the game, of what is the same in every generation (losses, a plan) and of
tensors; it finds the networks loaded. Traced, it is a list of tensor operations, backward passes
among them, with neither Python nor autograd between them: PyTorch's Inductor fuses those for the
CPU, and on a GPU it may replay them as a CUDA graph. What Python does beside tensors (a counter, a
branch, a draw of `random`) is not in the list.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from egan.networks import Flat
from populations.errors import UsageError
from populations.randomness import restored, seeded
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

    Whoever reads the workplaces afterwards must load them first: a compiled kernel leaves them as
    they were, one that runs as it is written leaves its states in them.

    Args:
        game: its networks are the workplaces; its attribute `compiled`, where it is set, holds the
            compiled kernels.
        kernel: gives a nested value of tensors, and reads nothing else that ever changes.
        fixed: the same, or equal, objects in every generation.
        tensors: no graph flows into or out of the kernel.
        generator: weights and buffers; None: the kernel does not use it.
        discriminator: likewise.
    """
    compiled = getattr(game, "compiled", None)  # a game of one's own need not know of it
    if compiled is not None:
        return compiled(game, kernel, fixed, tensors, (generator, discriminator))
    if generator is not None:
        game.generator.load(*generator)
    if discriminator is not None:
        game.discriminator.load(*discriminator)
    return kernel(game, *fixed, *tensors)


@contextmanager
def as_written(game: Any) -> Iterator[None]:
    """Nothing is compiled within it."""
    compiled, game.compiled = getattr(game, "compiled", None), None
    try:
        yield
    finally:
        game.compiled = compiled


class Traced(NamedTuple):
    """A kernel as a list of operations.

    Attributes:
        graph: the list, from tensors to tensors.
        skeleton: of what the kernel makes.
        fixed: what it was traced with, kept so that ids stay their own.
    """

    graph: torch.fx.GraphModule
    skeleton: Any
    fixed: Sequence[Any]


class Compiled:
    """Kernels, traced when they first meet arguments of certain shapes, and compiled.

    Attributes:
        traced: by what they were traced for.
        functions: what Inductor made of them.
        lists_only: whether the lists are run operation by operation, for a trial.
    """

    def __init__(self) -> None:
        self.traced: dict[Hashable, Traced] = {}
        self.functions: dict[Hashable, Callable[..., Sequence[Tensor]]] = {}
        self.lists_only = False

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
        key = *_key(kernel, fixed, states, inputs), game.precision
        if key not in self.traced:
            self.traced[key] = traced(game, kernel, fixed, shape, inputs)
        graph, skeleton, _ = self.traced[key]
        with torch.no_grad():
            if self.lists_only:
                return put_together(skeleton, graph(*inputs))
            if key not in self.functions:
                self.functions[key] = built(graph, inputs)
            return put_together(skeleton, self.functions[key](*inputs))


def _key(
    kernel: Kernel, fixed: Sequence[Any], states: Sequence[Any], inputs: Sequence[Tensor]
) -> tuple[Hashable, ...]:
    """Everything that a list of operations depends on, beside the game's precision."""
    return (
        kernel, *map(_fixed_key, fixed), *[each is None for each in states],
        *[(each.shape, each.stride(), each.dtype) for each in inputs],
    )  # fmt: skip


def _fixed_key(each: Any) -> Hashable:
    if isinstance(each, list | tuple):
        return tuple(map(_fixed_key, each))
    return (type(each), each if isinstance(each, Hashable) else id(each))


def built(graph: torch.fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    """A list of operations compiled by Inductor for inputs like these.

    On a CPU, the same list is compiled once a process: the next run finds it. On a GPU it would
    keep the memory of graphs that nobody replays any more.

    Raises:
        UsageError: Inductor does not work here.
    """
    if inputs[0].device.type == "cuda":
        return _compiled(graph, inputs)
    key = _list_key(graph, inputs)
    if key not in _BUILT:
        _BUILT[key] = _compiled(graph, inputs)
    return _BUILT[key]


_BUILT: dict[Hashable, Callable[..., Sequence[Tensor]]] = {}


def _list_key(graph: torch.fx.GraphModule, inputs: Sequence[Tensor]) -> Hashable:
    """A list's text, what it takes for constant, and all else that Inductor's code depends on."""
    constants = [getattr(graph, node.target) for node in graph.graph.find_nodes(op="get_attr")]
    return (
        graph.code, torch.get_num_threads(),
        *[(each.shape, each.stride(), each.dtype) for each in (*constants, *inputs)],
        *map(_bytes, constants),
    )  # fmt: skip


def _bytes(tensor: Tensor) -> bytes:
    plain: bytes = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    return plain


def _compiled(
    graph: torch.fx.GraphModule, inputs: Sequence[Tensor]
) -> Callable[..., Sequence[Tensor]]:
    cuda = inputs[0].device.type == "cuda"
    # What networks draw at random stays what it is without compilation.
    options = {"fallback_random": True, "triton.cudagraphs": cuda}
    try:
        compiled: Any = torch._inductor.compile(graph, list(inputs), options=options)
    except Exception as error:  # what Inductor and its compilers raise
        raise UsageError(
            "the engine 'compiled' is not for this run: PyTorch's Inductor fails with "
            f"{sentence(error)} (it needs a C++ compiler); execution.engine = 'shared' needs none."
        ) from error

    def replay(*given: Tensor) -> list[Tensor]:
        torch.compiler.cudagraph_mark_step_begin()
        # Every replay of a graph writes to the same memory.
        return [each.clone() for each in compiled(*given)]

    return replay if cuda else compiled


def traced(
    game: Any, kernel: Kernel, fixed: Sequence[Any], shape: Any, inputs: Sequence[Tensor]
) -> Traced:
    """The operations of a kernel on inputs like these.

    Args:
        game: its networks' weights and buffers are left as they were.
        kernel: see `run`.
        fixed: see `run`.
        shape: skeleton of the states of generator and discriminator, and of the tensors.
        inputs: what `shape` was with them.

    Raises:
        UsageError: the operations cannot be listed.
    """
    skeleton = None

    def pure(*inputs: Tensor) -> list[Tensor]:
        nonlocal skeleton
        (generator, discriminator), tensors = put_together(shape, inputs)
        with _bound(game.generator, generator), _bound(game.discriminator, discriminator):
            skeleton, made = taken_apart(kernel(game, *fixed, *tensors))
        return [each.detach() for each in made]

    try:
        with restored(), seeded(0, 0, "trace"), torch.enable_grad():
            graph = make_fx(pure)(*[each.detach() for each in inputs])
    except Exception as error:  # whatever a user's network, loss or penalty raises
        raise UsageError(
            "the engine 'compiled' is not for this run: its tensor operations cannot be listed "
            f"({sentence(error)}): use execution.engine = 'shared'."
        ) from error
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return Traced(graph, skeleton, fixed)


def sentence(error: Exception) -> str:
    """An error's kind and the first sentence of what it says."""
    said = str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _bound(network: Flat, state: State | None) -> AbstractContextManager[None]:
    return nullcontext() if state is None else network.bound(*state)


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
