"""Perturbations: moves of a generator's weights that read no gradient.

A function of `layers`, the generator's weight tensors one by one, and `strength`
(`variation.strength`); it returns new tensors of the same shapes, and draws from the global
generators. A new one is one function and one entry in `perturbations`; mutations name it like a
loss, alone or after others: `noise`, `heuristic+noise`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Perturbation = Callable[[Sequence[Tensor], float], Sequence[Tensor]]


def noise(layers: Sequence[Tensor], strength: float) -> list[Tensor]:
    """Gaussian noise on every weight, scaled by the root mean square of its layer.

    The mutation of evolution strategies (Rechenberg, 1973), whose step each layer scales; a layer
    of zeros stays as it is.
    """
    return [each + strength * _size(each) * _draw(each) for each in layers]


def gradient_noise(gradients: Sequence[Tensor], strength: float) -> list[Tensor]:
    """Gaussian noise on every derivative, scaled by the root mean square of its layer's.

    After Neelakantan et al. (2015), whose noise is the same for all layers and falls over time.
    """
    return noise(gradients, strength)


def _draw(tensor: Tensor) -> Tensor:
    """A normal draw of that shape, the same however the tensor lies in memory."""
    return torch.randn_like(tensor, memory_format=torch.contiguous_format)


def _size(tensor: Tensor) -> Tensor:
    return tensor.square().mean().sqrt()


def perturbs(thing: Any) -> bool:
    """Whether a function is a perturbation: whether an argument of it is named `layers`."""
    try:
        return "layers" in inspect.signature(thing).parameters
    except (TypeError, ValueError):  # of a builtin
        return False


perturbations: dict[str, Perturbation] = {"noise": noise}
