"""A stack: one network computed for many vectors of weights at once, one product a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from egan.networks.flat import Flat
from egan.networks.mlp import Maxout
from egan.networks.views import Pack

Buffers = dict[str, Tensor]
Weights = dict[int, Tensor]
Rule = Callable[[Any, Tensor, Weights], Tensor]


def _linear(layer: nn.Linear, x: Tensor, weights: Weights) -> Tensor:
    weight = weights[id(layer.weight)].transpose(1, 2)
    if layer.bias is None:
        return torch.bmm(x, weight)
    return torch.baddbmm(weights[id(layer.bias)].unsqueeze(1), x, weight)


def _maxout(layer: Maxout, x: Tensor, weights: Weights) -> Tensor:
    maps = _linear(layer.linear, x, weights)
    return maps.unflatten(2, (-1, layer.pieces)).amax(dim=3)


def _flatten(layer: nn.Flatten, x: Tensor, weights: Weights) -> Tensor:
    return x.flatten(2)


def _unflatten(layer: nn.Unflatten, x: Tensor, weights: Weights) -> Tensor:
    return x.unflatten(2, layer.unflattened_size)


def _pack(layer: Pack, x: Tensor, weights: Weights) -> Tensor:
    return x.unflatten(1, (-1, layer.m)).flatten(2, 3)


def _elementwise(layer: nn.Module, x: Tensor, weights: Weights) -> Tensor:
    made: Tensor = layer(x)
    return made


ELEMENTWISE = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Sigmoid, nn.Tanh, nn.Identity,
)  # fmt: skip
RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    Maxout: _maxout,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    Pack: _pack,
    **dict.fromkeys(ELEMENTWISE, _elementwise),
}
"""How a layer computes for (k, n, ...) inputs, k members of n samples each."""


class Stack:
    """A sequential network of known layers (`RULES` and one-dimensional batch norm).

    Raises:
        TypeError: the network has other layers, or frozen ones.
    """

    def __init__(self, network: Flat) -> None:
        self.network = network
        if any(not each.requires_grad for each in network.module.parameters()):
            raise TypeError("frozen parameters cannot be stacked")
        self.layers = list(_layers(network.module, ""))
        self.sizes = [each.numel() for each in network.parameters]

    def __call__(self, vectors: Tensor, x: Tensor, buffers: Buffers) -> Tensor:
        """Outputs, (k, n, ...).

        Args:
            vectors: of weights, (k, parameters).
            x: inputs, (k, n, ...).
            buffers: of the members by name, (k, ...); moved in place as a forward pass moves them.
        """
        pieces = vectors.split(self.sizes, dim=1)
        weights = {
            id(each): piece.view(-1, *each.shape)
            for each, piece in zip(self.network.parameters, pieces, strict=True)
        }
        for name, layer in self.layers:
            if type(layer) is nn.BatchNorm1d:
                x = _batch_norm(layer, x, weights, buffers, name)
            else:
                x = RULES[type(layer)](layer, x, weights)
        return x


def _layers(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    if module._forward_hooks or module._forward_pre_hooks:
        raise TypeError(f"{name} has hooks")
    if type(module).forward is nn.Sequential.forward:
        for key, each in module._modules.items():  # a layer may be there twice
            yield from _layers(cast(nn.Module, each), f"{name}{key}.")
    elif type(module) in RULES or _plain_batch_norm(module):
        yield name, module
    else:
        raise TypeError(f"{type(module).__name__} cannot be stacked")


def _plain_batch_norm(module: nn.Module) -> bool:
    return (
        type(module) is nn.BatchNorm1d
        and module.affine
        and module.track_running_stats
        and module.momentum is not None
    )


def _batch_norm(layer: Any, x: Tensor, weights: Weights, buffers: Buffers, name: str) -> Tensor:
    """Each member's features are features of their own of one wide batch norm."""
    k, n, features = x.shape
    mean, variance = buffers[f"{name}running_mean"], buffers[f"{name}running_var"]
    wide = batch_norm(
        x.transpose(0, 1).reshape(n, k * features),
        mean.view(-1),
        variance.view(-1),
        weights[id(layer.weight)].reshape(-1),
        weights[id(layer.bias)].reshape(-1),
        True,
        layer.momentum,
        layer.eps,
    )
    buffers[f"{name}num_batches_tracked"] += 1
    return wide.view(n, k, features).transpose(0, 1)


def stacked(states: list[Buffers]) -> Buffers:
    """The buffers of several members, (k, ...) each, in memory of their own."""
    return {name: torch.stack([each[name] for each in states]) for name in states[0]}


def member(buffers: Buffers, index: int) -> Buffers:
    """One member's buffers, in memory of their own."""
    return {name: each[index].clone() for name, each in buffers.items()}
