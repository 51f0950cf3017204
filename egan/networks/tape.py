"""A tape: what each layer read and made in one forward pass, and gradients computed from it.

Where every sample passes a network on its own, scaling the cotangent of a sample scales all that
flows back through the layers by the same number. So one backward pass to the layers' outputs serves
every loss, and a loss costs only one product a layer (the sum over samples of what a layer read
times what flows back to it, as in Goodfellow, 2015, "Efficient per-example gradient
computations").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from egan.networks.flat import Flat

Rule = Callable[[Any, Tensor, Tensor, dict[str, Tensor]], None]


def _linear(layer: nn.Linear, read: Tensor, back: Tensor, into: dict[str, Tensor]) -> None:
    back = back.reshape(-1, back.shape[-1])
    read = read.reshape(-1, read.shape[-1])
    if back.dtype == into["weight"].dtype:
        torch.mm(back.T, read, out=into["weight"])
    else:
        into["weight"].copy_(back.T @ read)
    if layer.bias is not None:
        torch.sum(back, 0, dtype=into["bias"].dtype, out=into["bias"])


def _convolution(layer: Any, read: Tensor, back: Tensor, into: dict[str, Tensor]) -> None:
    transposed = isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    _, weight, bias = torch.ops.aten.convolution_backward(
        back, read, layer.weight.to(back.dtype), [layer.out_channels], layer.stride, layer.padding,
        layer.dilation, transposed, layer.output_padding, layer.groups,
        [False, True, layer.bias is not None],
    )  # fmt: skip
    into["weight"].copy_(weight)
    if layer.bias is not None:
        into["bias"].copy_(bias)


CONVOLUTIONS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    **dict.fromkeys(CONVOLUTIONS, _convolution),
}
"""Layers whose parameters' gradient is one product of what they read and what flows back."""


class Tape:
    """Records the layers of a network while it is used as a context.

    Attributes:
        layers: in the order of their use: the layer, what it read, what it made.
    """

    def __init__(self, network: Flat) -> None:
        self.network = network
        self.layers: list[tuple[nn.Module, Tensor, Tensor]] = []
        self._versions: list[int] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> Tape:
        for layer in self.network.module.modules():
            if type(layer) in RULES:
                self._hooks.append(layer.register_forward_hook(self._record))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _record(self, layer: nn.Module, arguments: tuple[Tensor, ...], made: Tensor) -> None:
        if arguments:  # a layer that is called by keywords is not recorded: the tape is incomplete
            self.layers.append((layer, arguments[0].detach(), made))
            self._versions.append(made._version)

    def complete(self) -> bool:
        """Whether every parameter belongs to a recorded layer, used once and not written over."""
        layers: list[Any] = [layer for layer, _, _ in self.layers]
        held = [
            id(each) for layer in layers for each in (layer.weight, layer.bias) if each is not None
        ]
        plain = all(getattr(layer, "padding_mode", "zeros") == "zeros" for layer in layers)
        named = any(isinstance(getattr(layer, "padding", 0), str) for layer in layers)
        kept = [made._version for _, _, made in self.layers] == self._versions
        own = list(map(id, self.network.parameters))
        return kept and plain and not named and sorted(held) == sorted(own)

    def back(
        self,
        output: Tensor,
        cotangent: Tensor,
        more: Sequence[Tensor] = (),
        keep: bool = False,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What flows back to each layer's output, and to the tensors `more`.

        With `keep` the graph stays for another pass.
        """
        made = [each for _, _, each in self.layers]
        found = torch.autograd.grad(output, [*made, *more], cotangent, retain_graph=keep)
        return list(found[: len(made)]), list(found[len(made) :])

    @torch.no_grad()
    def gradient(self, back: Sequence[Tensor], weights: Tensor) -> Tensor:
        """The gradient by all parameters, one vector.

        Args:
            back: what `back` gave.
            weights: of the samples, (n,): they scale the cotangent.
        """
        vector, scale = torch.empty_like(self.network.vector), self.network.scale
        weights = weights if scale == 1 else scale * weights
        places = self.network.views(vector)
        for (layer, read, _), each in zip(self.layers, back, strict=True):
            into = {
                name: places[id(parameter)]
                for name, parameter in layer.named_parameters(recurse=False)
            }
            scaled = (each * weights.view(-1, *[1] * (each.dim() - 1))).to(each.dtype)
            RULES[type(layer)](layer, read.to(each.dtype), scaled, into)
        return vector if scale == 1 else vector / scale
