"""Penalties that are added to the discriminator's objective, each multiplied by its weight.

Expectations are means over logits: where several samples share a logit, their slopes are one row.
What a penalty draws comes from PyTorch's global generators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

DECAY = 0.99  # of the moving averages of logits
JITTER = 0.05  # share of the batch's deviation by which points are moved


@dataclass(eq=False)
class Step:
    """What a penalty may read of a discriminator step.

    `real` and `fake` are the samples shown, (n, ...), equally many, and require gradients; their
    logits are computed with a graph when they are first read. `matrices` are the discriminator's
    parameters of two and more dimensions, and `averages` the moving averages before this step, see
    `moved`. Of what is shown the last `conditions` coordinates or channels are no sample's.
    """

    real: Tensor
    fake: Tensor
    logits: Callable[[Tensor], Tensor]
    matrices: Sequence[Tensor] = ()
    averages: Tensor | None = None
    conditions: int = 0

    def as_real(self, points: Tensor) -> Tensor:
        """Points, (n, d, ...), with the conditions of the real samples, as many as `conditions`."""
        if not self.conditions:
            return points
        return torch.cat([self.samples(points), self.real[:, -self.conditions :]], 1)

    def samples(self, points: Tensor) -> Tensor:
        """Points without their conditions."""
        return points[:, : -self.conditions] if self.conditions else points

    @cached_property
    def real_logits(self) -> Tensor:
        """The discriminator's logits on the real samples."""
        return self.logits(self.real)

    @cached_property
    def fake_logits(self) -> Tensor:
        """The discriminator's logits on the fakes."""
        return self.logits(self.fake)

    @cached_property
    def moved(self) -> Tensor:
        """The moving averages of three numbers, (3,), with this step's; no gradient flows.

        They are the mean logit on real samples, that on fakes, and 1. All begin at 0, and the last
        says how much of the others is known: divided by it, they are averages of what there was.
        """
        means = self.real_logits.mean(), self.fake_logits.mean()
        now = torch.stack([*means, torch.ones_like(means[0])]).detach()
        before = torch.zeros_like(now) if self.averages is None else self.averages
        return before.lerp(now, 1 - DECAY)


def r1(step: Step) -> Tensor:
    """1/2 E ||grad_x D(x)||^2 on real samples.

    Mescheder et al. (2018), Eq. 9. Range [0, inf).
    """
    return 0.5 * _mean_square(_slopes(step.real_logits, step.real))


def r2(step: Step) -> Tensor:
    """1/2 E ||grad_x D(x)||^2 on fakes.

    Mescheder et al. (2018), Eq. 10. Range [0, inf).
    """
    return 0.5 * _mean_square(_slopes(step.fake_logits, step.fake))


def gradient_penalty(step: Step) -> Tensor:
    """E (||grad_x D(x)|| - 1)^2 between real samples and fakes: WGAN-GP.

    Gulrajani et al. (2017), Eq. 3, without its weight (10 there, 0.1 on points). Range [0, inf).
    """
    return (_norms(step, _between(step)) - 1).square().mean()


def gradient_penalty_one_sided(step: Step) -> Tensor:
    """E max(0, ||grad_x D(x)|| - 1)^2 between real samples and fakes: only slopes above 1.

    Gulrajani et al. (2017), section 4, "two-sided penalty"; WGAN-LP of Petzka et al. (2018). Range
    [0, inf).
    """
    return (_norms(step, _between(step)) - 1).relu().square().mean()


def dragan(step: Step) -> Tensor:
    """E (||grad_x D(x)|| - 1)^2 around real samples.

    Kodali et al. (2017), with the noise of the authors' code: x + a s u / 2, where s is the
    deviation of all values of the batch, a ~ U(0, 1) a sample's and u ~ U(0, 1) a value's own. The
    paper's text has N(0, c) with an absolute c, which suits one scale of data only. Range [0, inf).
    """
    real = step.real.detach()
    noise = 0.5 * step.samples(real).std(correction=0) * torch.rand_like(real)
    return (_norms(step, step.as_real(real + _uniform(real) * noise)) - 1).square().mean()


def lecam(step: Step) -> Tensor:
    """E (D(x) - a_fake)^2 + E (D(G(z)) - a_real)^2, a: moving averages of the logits.

    Tseng et al. (2021), Eq. 5, with a decay of 0.99 and this step's logits among the averages. The
    authors' code squares max(0, D(x) - a_fake) and max(0, a_real - D(G(z))) instead. Range
    [0, inf).
    """
    real, fake, known = step.moved.unbind()
    return (step.real_logits - fake / known).square().mean() + (
        step.fake_logits - real / known
    ).square().mean()


def consistency(step: Step) -> Tensor:
    """E ||D(x) - D(T(x))||^2 on real samples x and changed ones T(x).

    Zhang et al. (2020, CR-GAN). Images, (n, channels, height, width), are flipped from left to
    right or not, and shifted by up to an eighth of each side, mirrored at the border. Samples of
    other shapes get Gaussian noise of 5 % of the batch's deviation in each dimension, which is this
    project's own: the paper changes images only. Range [0, inf).
    """
    real = step.real.detach()
    changed = _flipped_and_shifted(real) if real.dim() == 4 else _jittered(real)
    difference = step.real_logits - step.logits(step.as_real(changed))
    return _mean_square(difference.reshape(len(difference), -1))


def orthogonal(step: Step) -> Tensor:
    """Sum of ||W W^T off the diagonal||^2 over the discriminator's weight matrices W.

    Brock et al. (2019), Eq. 3: filters should not be alike, and their lengths are free. Each row of
    W, (outputs, ...) flattened to (outputs, rest), is a filter. Range [0, inf).
    """
    total = step.real.new_zeros(())
    for each in step.matrices:
        total = total + _alike(each.flatten(1)).square().sum()
    return total


def orthogonal_slope(weight: Tensor) -> Tensor:
    """The derivative by W, (outputs, ...), of its own part of `orthogonal`."""
    rows = weight.flatten(1)
    return (4 * _alike(rows) @ rows).view_as(weight)


def _alike(rows: Tensor) -> Tensor:
    """W W^T off the diagonal."""
    gram = rows @ rows.T
    return gram.sub(gram.diagonal().diag())


def _slopes(logits: Tensor, samples: Tensor) -> Tensor:
    """The derivative of each discriminator's logits by the samples, a row for each logit."""
    columns = logits.unbind(1) if logits.dim() > 1 else [logits]
    slopes = [torch.autograd.grad(each.sum(), samples, create_graph=True)[0] for each in columns]
    return torch.cat([each.reshape(len(logits), -1) for each in slopes])


def _mean_square(rows: Tensor) -> Tensor:
    """The mean of the rows' squared norms."""
    return rows.square().sum(1).mean()


def _norms(step: Step, samples: Tensor) -> Tensor:
    """The norms of the discriminator's slopes at samples that nothing else has seen."""
    samples = samples.detach().requires_grad_()
    # Where a slope is zero its norm has no derivative: PyTorch gives 0, not NaN.
    norms: Tensor = torch.linalg.vector_norm(_slopes(step.logits(samples), samples), dim=1)
    return norms


def _between(step: Step) -> Tensor:
    """A random point on the line from each fake to a real sample; from pack to pack, in packs."""
    real = step.real.detach()
    share = _uniform(real[: len(step.real_logits)])
    shares = share.repeat_interleave(len(real) // len(share), 0)
    return step.as_real(torch.lerp(step.fake.detach(), real, shares))


def _uniform(samples: Tensor) -> Tensor:
    """A number from U(0, 1) for each sample, in a shape that multiplies samples."""
    size = (len(samples), *[1] * (samples.dim() - 1))
    return torch.rand(size, dtype=samples.dtype, device=samples.device)


def _jittered(samples: Tensor) -> Tensor:
    return samples + JITTER * samples.std(0, correction=0) * torch.randn_like(samples)


def _flipped_and_shifted(images: Tensor) -> Tensor:
    """Each image flipped from left to right or not, and shifted along both sides."""
    rows = _shifted_places(images, 2)
    columns = _shifted_places(images, 3)
    flips = _uniform(images)[:, 0, 0] < 0.5
    columns = torch.where(flips, columns.flip(1), columns)
    images = images.gather(2, rows[:, None, :, None].expand_as(images))
    return images.gather(3, columns[:, None, None, :].expand_as(images))


def _shifted_places(images: Tensor, dimension: int) -> Tensor:
    """Where each pixel along a dimension comes from, (n, side)."""
    side, device = images.shape[dimension], images.device
    reach = side // 8
    shifts = torch.randint(-reach, reach + 1, (len(images), 1), device=device)
    places = (torch.arange(side, device=device) + shifts).abs()
    return side - 1 - (side - 1 - places).abs()


penalties: dict[str, Callable[[Step], Tensor]] = {
    "r1": r1,
    "r2": r2,
    "gradient-penalty": gradient_penalty,
    "gradient-penalty-one-sided": gradient_penalty_one_sided,
    "dragan": dragan,
    "lecam": lecam,
    "consistency": consistency,
    "orthogonal": orthogonal,
}
SLOPE_FREE = ("lecam", "consistency", "orthogonal")
"""Those of them that leave the discriminator's slope free."""
