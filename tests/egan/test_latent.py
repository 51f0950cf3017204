"""Paths between noises keep to where noise lies, and truncation is the distribution it claims."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from egan.assembly import make_game
from egan.config import Config, Networks
from egan.games import Unconditional
from egan.generator import Generator
from egan.latent import USUAL, interpolations, linear, spherical, truncated
from egan.networks import Flat
from populations.errors import UsageError
from populations.randomness import generator as keyed

SHARES = torch.linspace(0, 1, 9)


def noise(count, size, role="noise"):
    return torch.randn(count, size, generator=keyed(0, 0, role))


def unit(*shape, role="noise"):
    return nn.functional.normalize(noise(*shape, role), dim=1)


@pytest.mark.parametrize("path", interpolations.values())
def test_a_path_begins_and_ends_at_the_very_noises(path):
    start, end = noise(50, 16), noise(50, 16, "end")
    found = path(start, end, SHARES)
    assert found.shape == (9, 50, 16)
    assert found.dtype == torch.float32
    assert torch.equal(found[0], start)
    assert torch.equal(found[-1], end)


def test_a_straight_path_moves_by_equal_steps():
    start, end = noise(5, 16), noise(5, 16, "end")
    steps = linear(start, end, SHARES).diff(dim=0)
    torch.testing.assert_close(steps, ((end - start) / 8).expand(8, 5, 16), rtol=0, atol=1e-6)


def test_on_a_great_circle_the_norm_stays_and_equal_steps_are_equal_angles():
    start, end = 3 * unit(20, 16), 3 * unit(20, 16, role="end")
    path = spherical(start, end, SHARES)
    torch.testing.assert_close(path.norm(dim=2), torch.full((9, 20), 3.0), rtol=0, atol=1e-5)
    cosines = (path[1:] * path[:-1]).sum(2).double() / 9
    whole = torch.acos((start * end).sum(1).double() / 9)
    torch.testing.assert_close(torch.acos(cosines), (whole / 8).expand(8, 20), rtol=0, atol=1e-3)
    straight = linear(start, end, SHARES)[4].norm(dim=1)
    torch.testing.assert_close(straight, 3 * (whole / 2).cos().float(), rtol=0, atol=1e-4)


def test_a_spherical_path_is_whites_formula():
    start, end = noise(7, 5).double(), noise(7, 5, "end").double()
    for row, (one, other) in enumerate(zip(start.numpy(), end.numpy(), strict=True)):
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        angle = np.arccos(cosine)
        for step, share in enumerate(SHARES.tolist()):
            expected = (np.sin((1 - share) * angle) * one + np.sin(share * angle) * other) / np.sin(
                angle
            )
            found = spherical(start, end, SHARES)[step, row].numpy()
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 2.5, -1.0, -0.5, 0.0])
def test_between_vectors_on_one_line_a_spherical_path_is_the_straight_one(factor):
    start = noise(4, 16)
    torch.testing.assert_close(
        spherical(start, factor * start, SHARES), linear(start, factor * start, SHARES),
        rtol=0, atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("angle", [1e-3, 1e-6, 1e-12, math.pi - 1e-3])
def test_between_vectors_nearly_on_one_line_it_is_finite_and_no_longer_than_them(angle):
    start = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    end = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    path = spherical(start, end, SHARES)
    torch.testing.assert_close(path.norm(dim=2), torch.ones(9, 1).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("threshold", [0.04, 0.2, 1.0, 2.0])
def test_truncated_noise_is_the_normal_distribution_within_the_threshold(threshold):
    values = truncated(noise(40_000, 1), threshold, "normal").flatten().double().numpy()
    assert np.abs(values).max() <= threshold * (1 + 1e-6)
    expected = scipy.stats.truncnorm(-threshold, threshold)
    assert values.mean() == pytest.approx(0, abs=4 * expected.std() / 200)
    assert values.var() == pytest.approx(expected.var(), rel=0.04)
    assert scipy.stats.kstest(values, expected.cdf).pvalue > 1e-3


def test_truncated_uniform_noise_is_uniform_within_the_threshold():
    values = 2 * torch.rand(40_000, 1, generator=keyed(0, 0, "uniform")) - 1
    found = truncated(values, 0.25, "uniform").flatten().numpy()
    assert scipy.stats.kstest(found, scipy.stats.uniform(-0.25, 0.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize("distribution", USUAL)
def test_truncation_keeps_sign_and_order_and_a_threshold_beyond_all_keeps_the_noise(distribution):
    values = torch.linspace(-1, 1, 201) * (9 if distribution == "normal" else 1)
    found = truncated(values, 0.7, distribution)
    assert (found.diff() >= 0).all()
    assert torch.equal(found.sign(), values.sign())
    torch.testing.assert_close(found, -found.flip(0), rtol=0, atol=1e-6)
    for threshold in (40.0, math.inf):
        torch.testing.assert_close(truncated(values, threshold, distribution), values)


def shifted(distribution="normal"):
    """A generator whose samples are its noise, moved by one."""
    module = nn.Linear(3, 3)
    with torch.no_grad():
        module.weight.copy_(torch.eye(3))
        module.bias.fill_(1)
    return Generator(Unconditional(Flat(module), Flat(nn.Linear(3, 1)), distribution, 3))


@pytest.mark.parametrize("distribution", USUAL)
def test_a_generator_samples_with_a_truncation_and_from_noise_of_ones_own(distribution):
    generator = shifted(distribution)
    plain = generator.noise(5000, seed=4)
    assert torch.equal(generator.generate(plain), plain + 1)
    assert torch.equal(generator.sample(5000, seed=4), plain + 1)
    cut = generator.sample(5000, seed=4, truncation=0.5)
    assert torch.equal(cut, truncated(plain, 0.5, distribution) + 1)
    assert float((cut - 1).abs().max()) == pytest.approx(0.5, abs=0.01)
    assert not generator.module.training


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 1, 3), (0, 3)])
def test_noise_of_another_shape_is_refused(shape):
    with pytest.raises(UsageError) as error:
        shifted().generate(torch.zeros(shape))
    assert str(error.value) == f"the noise has the shape {shape}: it must be (n, 3), n >= 1."


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan])
def test_a_truncation_is_above_0(threshold):
    with pytest.raises(UsageError, match=r"^truncation is .*: it must be above 0\.$"):
        shifted().sample(2, truncation=threshold)


@pytest.mark.parametrize(("side", "parts"), [(32, [40]), (128, [40]), (256, [16, 16, 8])])
def test_of_large_images_fewer_are_made_at_a_time(side, parts):
    config = Config(networks=Networks(name="convolutional", width=1, noise_dimension=2))
    generator, found = Generator(make_game(config, (3, side, side), "cpu")), []
    generator.module.register_forward_hook(lambda _, given, made: found.append(len(made)))
    assert generator.sample(40).shape == (40, 3, side, side)
    assert found == parts
