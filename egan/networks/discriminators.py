"""How a discriminator is built of what a pair or a user gives: normed, or several of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from egan.networks.flat import has_spectral_norm
from egan.networks.tape import CONVOLUTIONS
from populations.errors import UsageError


class Ensemble(nn.ModuleList):
    """Several discriminators that see the same samples.

    Durugkar et al. (2017), GMAN, with the mean: losses are means over all logits, and so over the
    members too.

    Shapes: (n, ...) to (n, members, ...), the members' logits side by side.
    """

    def forward(self, samples: Tensor) -> Tensor:
        """The logits of all members."""
        return torch.stack([each(samples) for each in self], dim=1)


def side_by_side(modules: Sequence[nn.Module]) -> nn.Module:
    """An ensemble of several discriminators; a single one as it is.

    Raises:
        UsageError: one is a copy of the first: the two would learn the same.
    """
    first, *others = modules
    if any(_equal(first, each) for each in others):
        raise UsageError(
            f"networks.discriminators is {len(modules)}, and the discriminator's copies have equal "
            "weights: it must be a function that makes another at every call, or a module whose "
            "layers have reset_parameters and no spectral norm (networks.spectral_norm gives one)."
        )
    return Ensemble(modules) if others else first


def _equal(one: nn.Module, other: nn.Module) -> bool:
    """Whether all matrices of weights are; vectors of weights may well begin as a constant."""
    pairs = zip(one.parameters(), other.parameters(), strict=False)
    return all(left.dim() < 2 or torch.equal(left, right) for left, right in pairs)


def norm_spectrally(module: nn.Module) -> None:
    """Divide the weight of every linear and convolutional layer by its largest singular value.

    Miyato et al. (2018), Eq. 8. Layers that have a spectral norm keep theirs.
    """
    for layer in list(module.modules()):
        if isinstance(layer, (nn.Linear, *CONVOLUTIONS)) and not has_spectral_norm(layer):
            parametrizations.spectral_norm(layer)
