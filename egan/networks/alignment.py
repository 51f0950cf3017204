"""Alignment: the hidden units of one network in the order of another's.

A network computes the same function whatever the order of a hidden layer's units, as long as those
who read them follow. Weight matching (Ainsworth et al., 2023, "Git Re-Basin", section 3.2) looks
for the orders that bring the weights of two networks closest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from egan.networks.flat import Flat
from egan.networks.mlp import Maxout
from egan.networks.stack import ELEMENTWISE
from populations.errors import UsageError

State = tuple[Tensor, dict[str, Tensor]]
"""Weights, one vector, and buffers by name."""
Orders = dict[int, Tensor]
"""By layer: which of the other network's units stands at the place of each of ours."""
ROUNDING = 1e-12  # share of all similarities below which a gain is none


@dataclass
class Wiring:
    """Which layer's units the parameters and the batch-norm statistics of a network are of.

    Attributes:
        axes: by name: the layers along the first dimensions; an entry of each for every unit, or
            as many consecutive ones as a unit has pixels or pieces.
        units: of every layer whose order is free, from the input (0) on; 1 where it is fixed, as
            those of the input and of the output are.
        flat: while layers are added: whether the last makes features, not maps.
    """

    axes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    units: list[int] = field(default_factory=lambda: [1])
    flat: bool = True


def align(network: Flat, fixed: State, moved: State) -> State:
    """The state `moved` with its hidden units in the order of those of `fixed` that they match.

    Both states' functions stay what they are. Equal weights in another order are found exactly;
    otherwise no layer's order can be bettered while the others' stay.

    Args:
        network: that both are states of; only its structure is read.
        fixed: not changed.
        moved: not changed.

    Returns:
        Weights and buffers in memory of their own.

    Raises:
        UsageError: the network has layers whose units cannot be aligned; see `refuses`.
    """
    wires = wiring(network)
    orders = match(wires, parts(network, fixed[0]), parts(network, moved[0]))
    weights, buffers = moved[0].clone(), {name: each.clone() for name, each in moved[1].items()}
    for name, each in {**parts(network, weights), **buffers}.items():
        each.copy_(_ordered(each, wires.axes.get(name, ()), orders))
    return weights, buffers


def parts(network: Flat, weights: Tensor) -> dict[str, Tensor]:
    """Views of a vector of weights as each trainable parameter's, by the parameter's name."""
    views = network.views(weights)
    return {
        name: views[id(each)] for name, each in network.module.named_parameters()
        if id(each) in views
    }  # fmt: skip


def match(wires: Wiring, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Orders:
    """The orders of their units that bring their weights closest to ours.

    Layer by layer an assignment problem is solved exactly while the other layers' orders stay, as
    in Git Re-Basin's Algorithm 1, until nothing changes. The first round goes from the input to the
    output and leaves out what layers without an order yet read: weights in no order yet mislead.
    """
    orders = {
        layer: torch.zeros(1, dtype=torch.long)
        for layer, units in enumerate(wires.units) if units == 1
    }  # fmt: skip
    free = [layer for layer in range(len(wires.units)) if layer not in orders]
    changed = True
    while changed:
        changed = False
        for layer in free:
            similarity = _similarity(wires, layer, ours, theirs, orders)
            order = torch.from_numpy(linear_sum_assignment(similarity.numpy(), maximize=True)[1])
            if layer not in orders or _betters(similarity, order, orders[layer]):
                orders[layer], changed = order, True
    return orders


def _similarity(
    wires: Wiring,
    layer: int,
    ours: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    orders: Orders,
) -> Tensor:
    """Inner products of the weights of each of our units with those of each of theirs."""
    units = wires.units[layer]
    known = {**orders, layer: torch.arange(units)}
    total = torch.zeros(units, units, dtype=torch.float64)
    for name, mine in ours.items():
        layers = wires.axes[name]
        if layer in layers and known.keys() >= set(layers):
            other = _ordered(theirs[name], layers, known)
            one, two = (
                each.movedim(layers.index(layer), 0).reshape(units, -1).double()
                for each in (mine, other)
            )
            total += (one @ two.T).cpu()
    return total


def _betters(similarity: Tensor, order: Tensor, old: Tensor) -> bool:
    places = torch.arange(len(order))
    gain = (similarity[places, order] - similarity[places, old]).sum()
    return bool(gain > ROUNDING * similarity.abs().sum())


def _ordered(tensor: Tensor, layers: Sequence[int], orders: Orders) -> Tensor:
    """A parameter with the units along its first dimensions in the order of each layer."""
    for dimension, layer in enumerate(layers):
        order = orders[layer].to(tensor.device)
        blocks = tensor.unflatten(dimension, (len(order), -1))
        tensor = blocks.index_select(dimension, order).flatten(dimension, dimension + 1)
    return tensor


def _weighted(wires: Wiring, name: str, layer: Any, units: int, flat: bool) -> None:
    """A layer that reads all units of the one before, and has units of its own."""
    if wires.flat != flat:
        raise TypeError(f"{type(layer).__name__} on {'features' if wires.flat else 'maps'}")
    before, own = len(wires.units) - 1, len(wires.units)
    wires.units.append(units)
    transposed = isinstance(layer, nn.ConvTranspose2d)
    wires.axes[f"{name}weight"] = (before, own) if transposed else (own, before)
    if layer.bias is not None:
        wires.axes[f"{name}bias"] = (own,)


def _linear(wires: Wiring, name: str, layer: nn.Linear) -> None:
    _weighted(wires, name, layer, layer.out_features, True)


def _maxout(wires: Wiring, name: str, layer: Maxout) -> None:
    units = layer.linear.out_features // layer.pieces
    _weighted(wires, f"{name}linear.", layer.linear, units, True)


def _convolution(wires: Wiring, name: str, layer: Any) -> None:
    if layer.groups > 1:
        raise TypeError("convolutions in groups")
    _weighted(wires, name, layer, layer.out_channels, False)


def _batch_norm(wires: Wiring, name: str, layer: nn.Module) -> None:
    for part, each in (*layer.named_parameters(), *layer.named_buffers()):
        if each.dim():
            wires.axes[f"{name}{part}"] = (len(wires.units) - 1,)


def _flatten(wires: Wiring, name: str, layer: nn.Flatten) -> None:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        raise TypeError("Flatten of some dimensions")
    wires.flat = True


def _unflatten(wires: Wiring, name: str, layer: nn.Unflatten) -> None:
    if layer.dim != 1 or not wires.flat:
        raise TypeError("Unflatten of a map")
    # Units that become a channel move together.
    wires.units[-1] = math.gcd(wires.units[-1], layer.unflattened_size[0])
    wires.flat = False


def _one_by_one(wires: Wiring, name: str, layer: nn.Module) -> None:
    """Each unit on its own, and all alike."""


Rule = Callable[[Wiring, str, Any], None]
RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    Maxout: _maxout,
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    **dict.fromkeys((nn.Upsample, nn.Dropout, *ELEMENTWISE), _one_by_one),
}
"""How a layer that reads features (n, units) or maps (n, units, height, width) is wired."""


def wiring(network: Flat) -> Wiring:
    """How a sequential network of known layers (`RULES`), which reads features, is wired.

    Raises:
        UsageError: it is another network.
    """
    wires = Wiring()
    try:
        for name, layer in _layers(network.module, ""):
            RULES[type(layer)](wires, name, layer)
        statistics = [name for name, each in network.module.named_buffers() if each.dim()]
        if wires.axes.keys() != {*parts(network, network.vector), *statistics}:
            raise TypeError("frozen or shared parameters")
    except TypeError as found:
        known = ", ".join(each.__name__ for each in RULES if each not in ELEMENTWISE)
        raise UsageError(
            f"units are aligned in a Sequential of plain layers ({known} and elementwise ones), "
            f"and this network has {found}."
        ) from found
    wires.units[-1] = 1
    return wires


def _layers(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    if module._forward_hooks or module._forward_pre_hooks:
        raise TypeError("hooks")
    if type(module).forward is nn.Sequential.forward:
        for key, each in module._modules.items():  # a layer may be there twice
            yield from _layers(cast(nn.Module, each), f"{name}{key}.")
    elif type(module) in RULES:
        yield name, module
    else:
        raise TypeError(type(module).__name__)


def refuses(network: Flat) -> str:
    """Why the units of a network cannot be aligned, for a sentence; an empty text where they can.

    The end of the sentence is the caller's.
    """
    try:
        wiring(network)
    except UsageError as reason:
        return str(reason).rstrip(".")
    return ""
