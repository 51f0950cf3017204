"""Penalties: slopes sample by sample, of the right samples, differentiable twice."""

import math

import pytest
import torch
from torch import nn

from egan.penalties import Step, penalties, r1, r2

# Which samples each penalty reads; a new one is checked for the rest all the same.
READS = {"r1": "real", "r2": "fake"}


def step_of(discriminator, real, fake):
    real, fake = real.clone().requires_grad_(), fake.clone().requires_grad_()
    return Step(real, fake, discriminator)


def samples(*size, index=0):
    return torch.randn(
        size or (5, 3), generator=torch.Generator().manual_seed(index), dtype=torch.float64
    )


def network():
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    with torch.no_grad():
        for index, each in enumerate(module.parameters()):
            each.copy_(samples(*each.shape, index=10 + index))
    return module


@pytest.mark.parametrize("penalty", [r1, r2])
def test_of_a_linear_discriminator_the_penalty_is_half_the_squared_weights(penalty):
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    value = penalty(step_of(lambda x: (x @ weights)[:, None], samples(), samples(index=1)))
    assert value.shape == ()
    assert value.item() == pytest.approx((1 + 4 + 0.25) / 2, rel=1e-14)


@pytest.mark.parametrize(("penalty", "place"), [(r1, 0), (r2, 1)])
def test_the_norm_is_each_samples_own_and_not_the_batchs(penalty, place):
    both = samples(7, 3), samples(4, 3, index=1)
    # The slope of |x|^2 / 2 at x is x itself.
    value = penalty(step_of(lambda x: x.square().sum(1) / 2, *both))
    slow = sum(sum(entry**2 for entry in row) for row in both[place].tolist())
    assert value.item() == pytest.approx(slow / 2 / len(both[place]), rel=1e-14)


@pytest.mark.parametrize("penalty", [r1, r2])
def test_the_slope_counts_all_pixels_of_an_image(penalty):
    images = samples(3, 2, 4, 4), samples(3, 2, 4, 4, index=1)
    value = penalty(step_of(lambda x: 0.5 * x.sum((1, 2, 3)), *images))
    assert value.item() == pytest.approx(0.5 * 2 * 4 * 4 * 0.25, rel=1e-14)


@pytest.mark.parametrize(("name", "reads"), list(READS.items()))
def test_a_penalty_reads_its_own_samples_only(name, reads):
    discriminator, real, fake = network(), samples(), samples(index=1)
    value = penalties[name](step_of(discriminator, real, fake))
    blank = torch.full_like(real, math.nan)
    own, other = ((real, blank), (blank, fake))[:: 1 if reads == "real" else -1]
    assert torch.equal(penalties[name](step_of(discriminator, *own)), value)
    assert penalties[name](step_of(discriminator, *other)).isnan()


@pytest.mark.parametrize("name", penalties)
def test_a_penalty_is_never_negative_and_finite_where_the_discriminator_is_flat(name):
    def flat(x):
        return (x * 0).sum(1)

    assert penalties[name](step_of(network(), samples(), samples(index=1))).item() >= 0
    assert torch.isfinite(penalties[name](step_of(flat, samples(), samples(index=1))))


@pytest.mark.parametrize("name", penalties)
def test_the_gradient_by_the_discriminators_weights_is_that_of_the_value(name):
    discriminator, real, fake = network(), samples(), samples(index=1)
    parameters, step = list(discriminator.parameters()), 1e-6

    def value():
        return penalties[name](step_of(discriminator, real, fake))

    # The output's bias moves no slope: autograd has no path to it.
    found = torch.autograd.grad(value(), parameters, allow_unused=True)
    assert found[0].abs().max() > 0.01
    for parameter, piece in zip(parameters, found, strict=True):
        gradient = torch.zeros_like(parameter) if piece is None else piece
        flat = parameter.detach().view(-1)
        for place in range(flat.numel()):
            flat[place] += step
            high = value().item()
            flat[place] -= 2 * step
            low = value().item()
            flat[place] += step
            slope = gradient.view(-1)[place].item()
            assert (high - low) / (2 * step) == pytest.approx(slope, abs=1e-6, rel=1e-6)
