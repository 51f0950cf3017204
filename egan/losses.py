"""Adversarial losses as pure functions of logits: mutations and discriminator objectives.

Every function takes the discriminator's logits on fakes (or on real samples) as a tensor of any
shape and returns a scalar. s is a logit, sigma the sigmoid. A new loss is one function and one
entry in `mutations` or `objectives`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import softplus

Loss = Callable[[Tensor], Tensor]


def minimax(fake: Tensor) -> Tensor:
    """1/2 E log(1 - sigma(s)): the paper's minimax mutation.

    Wang et al. (2018), Eq. 3. Range (-inf, 0); derivative -sigma(s) / 2 per sample, which vanishes
    where the discriminator rejects.
    """
    return -0.5 * softplus(fake).mean()


def heuristic(fake: Tensor) -> Tensor:
    """-1/2 E log sigma(s): the paper's heuristic (non-saturating) mutation.

    Wang et al. (2018), Eq. 4. Range (0, inf); derivative -(1 - sigma(s)) / 2 per sample.
    """
    return 0.5 * softplus(-fake).mean()


def least_squares(fake: Tensor) -> Tensor:
    """E (sigma(s) - 1)^2: the paper's least-squares mutation, on the probability.

    Wang et al. (2018), Eq. 5. Range (0, 1); derivative -2 sigma(s) (1 - sigma(s))^2 per sample:
    through the sigmoid it vanishes as fast as minimax where the discriminator rejects.
    """
    return (fake.sigmoid() - 1).square().mean()


def vanilla(fake: Tensor) -> Tensor:
    """E log(1 - sigma(s)): minimax without the paper's one half, as in the released codes.

    Range (-inf, 0); derivative -sigma(s) per sample.
    """
    return -softplus(fake).mean()


def non_saturating(fake: Tensor) -> Tensor:
    """-E log sigma(s): heuristic without the paper's one half, as in the released codes.

    Goodfellow et al. (2014), section 3. Range (0, inf); derivative -(1 - sigma(s)) per sample.
    """
    return softplus(-fake).mean()


def least_squares_logit(fake: Tensor) -> Tensor:
    """E (s - 1)^2: least squares on the logit, the released PyTorch code's third mutation.

    Range [0, inf); derivative 2 (s - 1) per sample: it pushes logits above 1 back down.
    """
    return (fake - 1).square().mean()


mutations: dict[str, Loss] = {
    "minimax": minimax,
    "heuristic": heuristic,
    "least-squares": least_squares,
    "vanilla": vanilla,
    "non-saturating": non_saturating,
    "least-squares-logit": least_squares_logit,
}


class Objective(NamedTuple):
    """What a discriminator minimises: a term of the real logits plus one of the fake logits.

    Because the two separate, the real half of its gradient serves all children of a generation.
    """

    real: Loss
    fake: Loss
    text: str


def real_as_one(real: Tensor) -> Tensor:
    """-E log sigma(s) on real samples: the real half of Eq. 2."""
    return softplus(-real).mean()


def fake_as_zero(fake: Tensor) -> Tensor:
    """-E log(1 - sigma(s)) on fakes: the fake half of Eq. 2."""
    return softplus(fake).mean()


def real_near_one(real: Tensor) -> Tensor:
    """E (s - 1)^2 on real samples."""
    return (real - 1).square().mean()


def fake_near_zero(fake: Tensor) -> Tensor:
    """E s^2 on fakes."""
    return fake.square().mean()


objectives: dict[str, Objective] = {
    "minimax": Objective(
        real_as_one, fake_as_zero, "-E log sigma(real) - E log(1 - sigma(fake)), the paper's Eq. 2"
    ),
    "least-squares-logit": Objective(
        real_near_one, fake_near_zero, "E (real - 1)^2 + E fake^2 on logits (LSGAN, labels 1 and 0)"
    ),
}
