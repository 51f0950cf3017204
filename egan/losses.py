"""Adversarial losses as pure functions of logits: mutations and discriminator objectives.

Every function takes the discriminator's logits as tensors of any shape and returns a scalar. Its
arguments' names say what it reads: `fake` and `real` are logits, `fake_features` and
`real_features` the discriminator's last hidden layer, (n, features). s is a logit on a fake, r one
on a real sample, sigma the sigmoid, sp softplus, E the mean over the batch. A new loss is one
function and one entry in `mutations` or `objectives`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import softplus

Loss = Callable[..., Tensor]
READABLE = ("fake", "real", "fake_features", "real_features")
FAKE = READABLE[:1]
VARIABLE, OPTIONS = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
STEEPEST = 10.0  # logit above which an exponential goes on as its tangent


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


def lsgan(fake: Tensor) -> Tensor:
    """1/2 E (s - 1)^2: the generator's side of LSGAN.

    Mao et al. (2017), Eq. 9 with b = c = 1, a = 0. Range [0, inf); derivative s - 1 per sample.
    """
    return 0.5 * (fake - 1).square().mean()


def wasserstein(fake: Tensor) -> Tensor:
    """-E s: the generator's side of WGAN; `hinge` and `reverse-kl` are the same function.

    Arjovsky et al. (2017), Algorithm 1. Range (-inf, inf); derivative -1 per sample.
    """
    return -fake.mean()


def hinge(fake: Tensor) -> Tensor:
    """-E s: the generator's side of the hinge loss, the same function as `wasserstein`.

    Lim and Ye (2017). Range (-inf, inf); derivative -1 per sample.
    """
    return wasserstein(fake)


def reverse_kl(fake: Tensor) -> Tensor:
    """-E s: KL(p_fake || p_data) under minimax, the same function as `wasserstein`.

    Nowozin et al. (2016), Table 6: at a minimax discriminator's optimum s is log p_data / p_fake.
    Range (-inf, inf); derivative -1 per sample.
    """
    return wasserstein(fake)


def forward_kl(fake: Tensor) -> Tensor:
    """-E e^s: forward KL, which covers modes; above logit 10 its tangent.

    Goodfellow (2016, NIPS tutorial), section 3.2.4, without its factor 1/2: under a minimax
    discriminator at its optimum this weighs a fake by p_data / p_fake, as maximum likelihood
    would. Range (-inf, 0); derivative -e^min(s, 10) per sample.
    """
    return -_exponential(fake).mean()


def f_pearson(fake: Tensor) -> Tensor:
    """-E (s^2 / 4 + s), s at least -2: the generator's side of f-GAN with Pearson's chi-squared.

    Nowozin et al. (2016), Eq. 4 and Table 6; below -2 the conjugate is constant, since densities
    are not negative. Range (-inf, 1]; derivative -(s / 2 + 1) per sample, 0 below -2.
    """
    return -_pearson_conjugate(fake).mean()


def f_neyman(fake: Tensor) -> Tensor:
    """2 E e^(-s / 2): the generator's side of f-GAN with Neyman's chi-squared.

    Nowozin et al. (2016), Eq. 4 and Table 6, less a constant; below logit -20 its tangent. Range
    (0, inf); derivative -e^-max(s / 2, -10) per sample: hardest on what the discriminator rejects.
    """
    return 2 * _exponential(-fake / 2).mean()


def f_total_variation(fake: Tensor) -> Tensor:
    """-1/2 E tanh s: the generator's side of f-GAN with total variation.

    Nowozin et al. (2016), Eq. 4 and Table 6. Range (-1/2, 1/2); derivative -(1 - tanh^2 s) / 2 per
    sample, which vanishes on both sides.
    """
    return -0.5 * fake.tanh().mean()


def rsgan(fake: Tensor, real: Tensor) -> Tensor:
    """E sp(r - s): each fake should look more real than the real sample that it is paired with.

    Jolicoeur-Martineau (2019), RSGAN; the RpGAN loss of Huang et al. (2024, R3GAN). Range
    (0, inf); derivative -sigma(r - s) per sample.
    """
    return softplus(_paired(real, fake)).mean()


def rasgan(fake: Tensor, real: Tensor) -> Tensor:
    """1/2 E sp(r - E s) + 1/2 E sp(E r - s): against the other side's mean.

    Jolicoeur-Martineau (2019), RaSGAN, halved as in the author's code. Range (0, inf); derivative
    -1/2 (sigma(E r - s) + E sigma(r - E s)) per sample.
    """
    return 0.5 * (softplus(real - fake.mean()).mean() + softplus(real.mean() - fake).mean())


def ralsgan(fake: Tensor, real: Tensor) -> Tensor:
    """1/2 E (r - E s + 1)^2 + 1/2 E (s - E r - 1)^2: least squares against the other side's mean.

    Jolicoeur-Martineau (2019), RaLSGAN, halved as in the author's code. Range [0, inf); derivative
    (s - E r - 1) - (E r - E s + 1) per sample.
    """
    return 0.5 * (_squared(real - fake.mean() + 1) + _squared(fake - real.mean() - 1))


def rahinge(fake: Tensor, real: Tensor) -> Tensor:
    """1/2 E relu(1 + r - E s) + 1/2 E relu(1 - s + E r): hinge against the other side's mean.

    Jolicoeur-Martineau (2019), RaHingeGAN, halved as in the author's code. Range [0, inf);
    derivative per sample: minus half the share of r above E s - 1, and -1/2 more where s < E r + 1.
    """
    return 0.5 * ((1 + real - fake.mean()).relu().mean() + (1 - fake + real.mean()).relu().mean())


def feature_matching(fake_features: Tensor, real_features: Tensor) -> Tensor:
    """|| E f(x) - E f(G(z)) ||^2 over the discriminator's last hidden layer f.

    Salimans et al. (2016), Eq. 1. Range [0, inf); derivative 2 (E f(G(z)) - E f(x)) per fake's
    features.
    """
    return (fake_features.mean(0) - real_features.mean(0)).square().sum()


def _exponential(s: Tensor) -> Tensor:
    """e^s, which above `STEEPEST` goes on as its tangent, so that nothing overflows."""
    return s.clamp(max=STEEPEST).exp() * (1 + (s - STEEPEST).relu())


def _pearson_conjugate(s: Tensor) -> Tensor:
    s = s.clamp(min=-2)
    return s.square() / 4 + s


def _squared(s: Tensor) -> Tensor:
    return s.square().mean()


def _paired(one: Tensor, other: Tensor) -> Tensor:
    """The difference of each pair."""
    if one.shape != other.shape:
        raise ValueError(
            f"{len(one)} and {len(other)} samples cannot be paired: real ones and fakes must be "
            "equally many"
        )
    return one - other


mutations: dict[str, Loss] = {
    "minimax": minimax,
    "heuristic": heuristic,
    "least-squares": least_squares,
    "vanilla": vanilla,
    "non-saturating": non_saturating,
    "least-squares-logit": least_squares_logit,
    "lsgan": lsgan,
    "wasserstein": wasserstein,
    "hinge": hinge,
    "reverse-kl": reverse_kl,
    "forward-kl": forward_kl,
    "f-pearson": f_pearson,
    "f-neyman": f_neyman,
    "f-total-variation": f_total_variation,
    "rsgan": rsgan,
    "rasgan": rasgan,
    "ralsgan": ralsgan,
    "rahinge": rahinge,
    "feature-matching": feature_matching,
}


SAME = (
    ("minimax", "vanilla"),
    ("heuristic", "non-saturating"),
    ("least-squares-logit", "lsgan"),
    ("wasserstein", "hinge", "reverse-kl"),
)
"""Mutations that are the same function of the logits but for a factor."""


def value(loss: Loss, seen: Mapping[str, Tensor], readable: tuple[str, ...] = READABLE) -> Tensor:
    """A loss, or another function, of what it reads of all that is seen, by name."""
    names = reads(loss, readable)
    return loss(seen["fake"]) if names == FAKE else loss(**{name: seen[name] for name in names})


def reads(loss: Loss, readable: tuple[str, ...] = READABLE) -> tuple[str, ...]:
    """What a loss, or another function, reads of what it can, in the order of its arguments.

    A function of one argument of another name reads `fake`. An argument with a default is read
    where its name says what.

    Raises:
        ValueError: an argument has no name that says what it reads.
    """
    find = _reads if isinstance(loss, Hashable) else _reads.__wrapped__
    return find(loss, readable)


def read_by(losses: Iterable[Loss]) -> frozenset[str]:
    """What any of these losses reads, of `READABLE`."""
    return frozenset(name for loss in losses for name in reads(loss))


@cache
def _reads(loss: Loss, readable: tuple[str, ...]) -> tuple[str, ...]:
    try:
        found = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss)
    except (TypeError, ValueError):  # of a builtin
        return FAKE
    own = [each for each in found.parameters.values() if each.kind not in (VARIABLE, OPTIONS)]
    names = [each.name for each in own if each.default is each.empty or each.name in readable]
    if not names or (len(names) == 1 and not names[0].startswith(readable)):
        return FAKE
    unknown = [name for name in names if name not in readable]
    if unknown:
        raise ValueError(f"it cannot read {unknown[0]!r}: name its arguments {', '.join(readable)}")
    if len(names) > 1 and any(each.kind is each.POSITIONAL_ONLY for each in own):
        raise ValueError("several arguments are given to it by name: leave out its '/'")
    return tuple(names)


class Objective(NamedTuple):
    """What a discriminator minimises.

    Where it is the sum of a term of the real logits and one of the fake logits, the real half of
    its gradient serves all children of a generation.

    Attributes:
        real: term of the real logits.
        fake: term of the fake logits.
        text: one line on it.
        whole: of `fake` and `real` together, where it does not separate; then nothing calls the
            terms.
    """

    real: Loss
    fake: Loss
    text: str
    whole: Loss | None = None


def real_as_one(real: Tensor) -> Tensor:
    """-E log sigma(r): the real half of Eq. 2. Range (0, inf); derivative -(1 - sigma(r))."""
    return softplus(-real).mean()


def fake_as_zero(fake: Tensor) -> Tensor:
    """-E log(1 - sigma(s)): the fake half of Eq. 2. Range (0, inf); derivative sigma(s)."""
    return softplus(fake).mean()


def real_near_one(real: Tensor) -> Tensor:
    """E (r - 1)^2. Range [0, inf); derivative 2 (r - 1)."""
    return _squared(real - 1)


def fake_near_zero(fake: Tensor) -> Tensor:
    """E s^2. Range [0, inf); derivative 2 s."""
    return _squared(fake)


def real_half_near_one(real: Tensor) -> Tensor:
    """1/2 E (r - 1)^2: Mao et al. (2017), Eq. 9. Range [0, inf); derivative r - 1."""
    return 0.5 * _squared(real - 1)


def fake_half_near_zero(fake: Tensor) -> Tensor:
    """1/2 E s^2: Mao et al. (2017), Eq. 9. Range [0, inf); derivative s."""
    return 0.5 * _squared(fake)


def real_high(real: Tensor) -> Tensor:
    """-E r: Arjovsky et al. (2017), Eq. 2. Range (-inf, inf); derivative -1."""
    return -real.mean()


def fake_low(fake: Tensor) -> Tensor:
    """E s: Arjovsky et al. (2017), Eq. 2. Range (-inf, inf); derivative 1."""
    return fake.mean()


def real_above_margin(real: Tensor) -> Tensor:
    """E relu(1 - r): Lim and Ye (2017). Range [0, inf); derivative -1 below 1, else 0."""
    return (1 - real).relu().mean()


def fake_below_margin(fake: Tensor) -> Tensor:
    """E relu(1 + s): Lim and Ye (2017). Range [0, inf); derivative 1 above -1, else 0."""
    return (1 + fake).relu().mean()


def fake_kl(fake: Tensor) -> Tensor:
    """E e^(s - 1): the conjugate of KL. Range (0, inf); derivative e^(s - 1), constant above 11."""
    return _exponential(fake - 1).mean()


def real_reverse_kl(real: Tensor) -> Tensor:
    """E e^-r: reverse KL's output on real samples. Range (0, inf); derivative -e^min(-r, 10)."""
    return _exponential(-real).mean()


def fake_pearson(fake: Tensor) -> Tensor:
    """E (s^2 / 4 + s), s at least -2. Range [-1, inf); derivative s / 2 + 1, 0 below -2."""
    return _pearson_conjugate(fake).mean()


def fake_hellinger(fake: Tensor) -> Tensor:
    """E e^s - 1: the squared Hellinger's conjugate. Range (-1, inf); derivative e^min(s, 10)."""
    return _exponential(fake).mean() - 1


def fake_neyman(fake: Tensor) -> Tensor:
    """-2 E e^(-s / 2): Neyman's conjugate, less 2. Range (-inf, 0); derivative e^(-s / 2)."""
    return -f_neyman(fake)


def real_total_variation(real: Tensor) -> Tensor:
    """-1/2 E tanh r. Range (-1/2, 1/2); derivative -(1 - tanh^2 r) / 2."""
    return -0.5 * real.tanh().mean()


def fake_total_variation(fake: Tensor) -> Tensor:
    """1/2 E tanh s. Range (-1/2, 1/2); derivative (1 - tanh^2 s) / 2."""
    return 0.5 * fake.tanh().mean()


def relativistic(mutation: Loss, text: str) -> Objective:
    """The discriminator's side of a relativistic loss: the mutation with the sides changed."""

    def whole(fake: Tensor, real: Tensor) -> Tensor:
        return mutation(fake=real, real=fake)

    return Objective(real_as_one, fake_as_zero, text, whole)


def smoothed(objective: Objective, share: float) -> Objective:
    """An objective whose real half is (1 - share) real(r) + share fake(r).

    One-sided label smoothing (Salimans et al., 2016, section 3.4): under minimax that is the
    cross-entropy with the target 1 - share, and the best discriminator is (1 - share) p_data /
    (p_data + p_fake).

    Args:
        objective: a sum of a real and a fake half.
        share: of the real label that is taken away, in [0, 1); 0: the objective stays as it is.

    Raises:
        ValueError: the objective is no such sum.
    """
    if not share:
        return objective
    if objective.whole:
        raise ValueError("it is no sum of a real and a fake half, and so has no real label")

    def real(real: Tensor) -> Tensor:
        return (1 - share) * objective.real(real) + share * objective.fake(real)

    return Objective(real, objective.fake, f"{objective.text}, smoothed by {share:g}")


objectives: dict[str, Objective] = {
    "minimax": Objective(
        real_as_one, fake_as_zero,
        "-E log sigma(r) - E log(1 - sigma(s)), the paper's Eq. 2; f-GAN's Jensen-Shannon",
    ),
    "least-squares-logit": Objective(
        real_near_one, fake_near_zero, "E (r - 1)^2 + E s^2 (LSGAN twice, as released)"
    ),
    "lsgan": Objective(
        real_half_near_one, fake_half_near_zero, "1/2 E (r - 1)^2 + 1/2 E s^2 (Mao et al., 2017)"
    ),
    "wasserstein": Objective(
        real_high, fake_low, "E s - E r (Arjovsky et al., 2017); needs a penalty or a constraint"
    ),
    "hinge": Objective(
        real_above_margin, fake_below_margin, "E relu(1 - r) + E relu(1 + s) (Lim and Ye, 2017)"
    ),
    "f-kl": Objective(
        real_high, fake_kl, "-E r + E e^(s - 1), f-GAN (2016); its mutation is forward-kl over e"
    ),
    "f-reverse-kl": Objective(
        real_reverse_kl, fake_low, "E e^-r + E s, f-GAN (2016); its mutation is reverse-kl"
    ),
    "f-pearson": Objective(
        real_high, fake_pearson, "-E r + E (s^2 / 4 + s), f-GAN (2016); its mutation is f-pearson"
    ),
    "f-hellinger": Objective(
        real_reverse_kl, fake_hellinger, "E e^-r + E e^s - 1, f-GAN (2016); mutation: forward-kl"
    ),
    "f-neyman": Objective(
        real_reverse_kl, fake_neyman, "E e^-r - 2 E e^(-s / 2), f-GAN (2016); mutation: f-neyman"
    ),
    "f-total-variation": Objective(
        real_total_variation, fake_total_variation,
        "-1/2 E tanh r + 1/2 E tanh s, f-GAN (2016); its mutation is f-total-variation",
    ),
    "rsgan": relativistic(rsgan, "E sp(s - r), pair by pair (Jolicoeur-Martineau, 2019)"),
    "rasgan": relativistic(
        rasgan, "1/2 E sp(E s - r) + 1/2 E sp(s - E r) (Jolicoeur-Martineau, 2019)"
    ),
    "ralsgan": relativistic(
        ralsgan, "1/2 E (r - E s - 1)^2 + 1/2 E (s - E r + 1)^2 (Jolicoeur-Martineau, 2019)"
    ),
    "rahinge": relativistic(
        rahinge, "1/2 E relu(1 - r + E s) + 1/2 E relu(1 + s - E r) (Jolicoeur-Martineau, 2019)"
    ),
}  # fmt: skip
