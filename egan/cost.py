"""Compute, counted: floating-point operations of a generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from egan.evolution import State, evolve
from egan.world import World


class Counter(TorchDispatchMode):
    """Adds up PyTorch's own operation counts.

    `FlopCounterMode` has the same counts, but the hooks by which it tells modules apart do not
    allow `torch.autograd.grad`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self,
        function: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and count it where it is a matrix product or a convolution."""
        result = function(*args, **(kwargs or {}))
        count = flop_registry.get(function._overloadpacket)
        if count is not None:
            self.total += int(count(*args, **(kwargs or {}), out_val=result))
        return result


def generation_flops(state: State, world: World) -> int:
    """Floating-point operations of one generation (matrix products and convolutions).

    Counted while one generation from `state` really runs in this process, judges outside the
    method left out, and thrown away; every generation of a run has the same shapes. Workers of
    other executors are not seen: use `serial`.
    """
    with Counter() as counter:
        next(evolve(state, world, state.generation + 1))
    return counter.total
