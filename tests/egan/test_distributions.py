"""Scores of images agree with their libraries, with what is known exactly, and stay finite."""

import math

import numpy as np
import prdc
import pytest
import scipy.linalg
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from egan.scores import distributions, manifolds
from egan.scores.classifiers import Sight
from egan.scores.features import Reference
from populations.randomness import generator, seeded


def normal(count, dimensions, index=0):
    return torch.randn(count, dimensions, generator=generator(0, 0, "features", index))


def known(features):
    """What the data are, of features."""
    exact = features.double()
    return Reference(len(features), exact.mean(0), exact.T.cov(), features)


def exactly(mean, covariance, count=60, index=0):
    """Features whose sample mean and covariance are just these."""
    drawn = normal(count, len(mean), index).double()
    drawn = drawn - drawn.mean(0)
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(drawn.T.cov()), drawn.T, upper=False
    )
    return (torch.linalg.cholesky(covariance) @ white).T + mean


def sight(features, logits=None):
    return Sight(features, logits)


class Same(nn.Module):
    def __init__(self, dimensions):
        super().__init__()
        self.num_features = dimensions

    def forward(self, features):
        return features


def frechet(fake, real):
    return distributions.frechet_distance(sight(fake), known(real))


def test_the_frechet_distance_of_gaussians_along_axes_is_known():
    ours, theirs = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 1.0, 9.0]).double()
    mean, other = torch.zeros(3).double(), torch.tensor([1.0, 2.0, 2.0]).double()
    found = frechet(exactly(mean, ours.diag()), exactly(other, theirs.diag(), index=1))
    assert found == pytest.approx(9 + 1 + 1, abs=1e-8)


def test_the_frechet_distance_of_any_gaussians_is_the_formula():
    roots = [normal(5, 5, index).double() for index in (2, 3)]
    covariances = [root @ root.T + torch.eye(5) for root in roots]
    means = [normal(5, 1, index).double()[:, 0] for index in (4, 5)]
    mixed = scipy.linalg.sqrtm((covariances[0] @ covariances[1]).numpy()).real.trace()
    expected = float((means[0] - means[1]).square().sum()) + float(
        covariances[0].trace() + covariances[1].trace() - 2 * mixed
    )
    pair = [exactly(means[place], covariances[place], index=place) for place in (0, 1)]
    assert frechet(*pair) == pytest.approx(expected, rel=1e-8)


def test_the_frechet_distance_is_that_of_its_library():
    fake, real = 1.5 * normal(300, 16), normal(400, 16, 1) + 0.2
    metric = FrechetInceptionDistance(Same(16)).set_dtype(torch.float64)
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    assert frechet(fake, real) == pytest.approx(float(metric.compute()), abs=1e-4)
    assert frechet(fake, real) == frechet(fake, real)
    assert frechet(real, real) == pytest.approx(0, abs=1e-6)


def test_a_collapsed_generator_is_as_far_as_a_point():
    real = normal(200, 8)
    point = torch.full((8,), 3.0)
    expected = (real.double().mean(0) - 3).square().sum() + real.double().T.cov().trace()
    assert frechet(point.expand(50, 8), real) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("count", [2, 5, 30])
def test_few_samples_of_many_dimensions_have_a_finite_distance(count):
    assert 0 <= frechet(normal(count, 64), normal(100, 64, 1)) < distributions.WORST


@pytest.mark.parametrize("fake", [normal(1, 4), torch.full((9, 4), math.nan), normal(9, 4) / 0])
def test_what_has_no_frechet_distance_is_a_million_away_and_told(fake, caplog):
    assert frechet(fake, normal(50, 4, 1)) == 1e6
    assert caplog.messages == [
        "The Frechet distance needs two samples and two real ones with finite features: it is set "
        "to 1,000,000."
    ]


def test_no_reference_and_no_overflow_makes_a_distance_of_nothing():
    real = normal(50, 4)
    nothing = known(real)._replace(covariance=torch.full((4, 4), math.nan).double())
    assert distributions.frechet_distance(sight(real), nothing) == 1e6
    assert frechet(1e160 * normal(50, 4, 1).double(), real.double()) == 1e6


def test_the_kernel_distance_is_that_of_its_library_and_of_its_equation():
    fake, real = normal(80, 6) + 0.3, normal(80, 6, 1)
    found = distributions.kernel_distance(sight(fake), known(real))
    with pytest.warns(UserWarning, match="will save all extracted features"):
        metric = KernelInceptionDistance(Same(6), subsets=1, subset_size=80)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    with seeded(0, 0, "order"):
        assert found == pytest.approx(float(metric.compute()[0]), abs=1e-4)
    x, y = fake.double().numpy(), real.double().numpy()
    within, between = ((a @ a.T / 6 + 1) ** 3 for a in (x, y)), (x @ y.T / 6 + 1) ** 3
    unbiased = [(each.sum() - np.trace(each)) / (80 * 79) for each in within]
    assert found == pytest.approx(sum(unbiased) - 2 * between.mean(), rel=1e-6)


def test_the_kernel_distance_of_many_samples_is_a_mean_over_parts(monkeypatch):
    fake, real = normal(300, 6) + 0.3, normal(300, 6, 1)
    whole = distributions.kernel_distance(sight(fake), known(real))
    monkeypatch.setattr(distributions, "PART", 100)
    found = distributions.kernel_distance(sight(fake), known(real))
    assert found == distributions.kernel_distance(sight(fake), known(real)) != whole
    assert found == pytest.approx(whole, rel=0.15)


def test_the_kernel_distance_takes_as_many_samples_as_real_ones():
    real = normal(40, 3)
    more = distributions.kernel_distance(sight(normal(90, 3, 1)), known(real))
    assert more == distributions.kernel_distance(sight(normal(90, 3, 1)[:40]), known(real))
    assert math.isnan(distributions.kernel_distance(sight(normal(1, 3)), known(real)))


def test_the_inception_score_counts_the_classes_that_are_told_apart():
    def score(logits):
        return distributions.inception_score(sight(logits, logits), None)

    sure = 50.0 * torch.eye(4).repeat(500, 1)
    assert score(sure) == pytest.approx(4, abs=0.05)
    assert score(sure[:1].repeat(100, 1)) == pytest.approx(1, abs=1e-9)
    assert score(torch.zeros(100, 4)) == pytest.approx(1, abs=1e-9)
    assert score(1e6 * torch.eye(4).repeat(5, 1)) == pytest.approx(2, abs=0.5)  # of exactly 0
    assert score(normal(1, 4)) == pytest.approx(1, abs=1e-9)


def test_the_inception_score_is_that_of_its_library():
    logits = 3 * normal(200, 5)
    with pytest.warns(UserWarning, match="will save all extracted features"):
        metric = InceptionScore(Same(5), splits=10)
    metric.update(logits)
    with seeded(0, 0, "inception score"):
        expected = float(metric.compute()[0])
    found = distributions.inception_score(sight(logits, logits), None)
    assert found == pytest.approx(expected, abs=1e-4)


def test_equal_images_are_similar_and_independent_ones_are_not():
    images = normal(40, 32 * 32).view(40, 1, 32, 32).clamp(-1, 1)
    assert distributions.ms_ssim(images[:1].expand(10, 1, 32, 32)) == pytest.approx(1, abs=1e-5)
    assert abs(distributions.ms_ssim(images)) < 0.2
    assert distributions.ms_ssim(images[:3]) == distributions.ms_ssim(images[:2])


def test_structural_similarity_has_as_many_scales_as_fit():
    found = [distributions.scales((side, side)) for side in (8, 21, 22, 28, 32, 64, 98, 99, 512)]
    assert found == [0, 1, 2, 2, 2, 3, 3, 4, 5]
    assert distributions.scales((32, 10)) == 0


@pytest.mark.parametrize("side", [22, 43, 44, 87, 88, 98, 99, 160, 175, 176])
def test_images_of_any_side_are_compared(side):
    images = torch.rand(4, 1, side, side, generator=generator(0, 0, "images")) * 2 - 1
    assert math.isfinite(distributions.ms_ssim(images))


SCORES = {
    "precision": manifolds.precision,
    "recall": manifolds.recall,
    "density": manifolds.density,
    "coverage": manifolds.coverage,
}


@pytest.mark.parametrize("shift", [0.0, 0.7, 3.0])
def test_neighbourhoods_are_those_of_their_library(shift, monkeypatch):
    fake, real = 0.8 * normal(120, 5) + shift, normal(120, 5, 1)
    expected = prdc.compute_prdc(real.numpy(), fake.numpy(), nearest_k=5)
    for chunk in (1024, 7):
        monkeypatch.setattr(manifolds, "CHUNK", chunk)
        found = {name: score(sight(fake), known(real)) for name, score in SCORES.items()}
        assert found == pytest.approx(expected, abs=1e-4)


def test_quality_and_diversity_are_told_apart():
    real = normal(200, 4)
    one_place = real[:1] + 1e-4 * normal(200, 4, 1)
    few = {name: score(sight(one_place), known(real)) for name, score in SCORES.items()}
    assert few["precision"] == 1
    assert few["recall"] < 0.01
    assert few["coverage"] < 0.2
    wide = {
        name: score(sight(6 * normal(200, 4, 2)), known(real)) for name, score in SCORES.items()
    }
    assert wide["precision"] < 0.3
    assert wide["recall"] > 0.9
    far = {name: score(sight(real + 100), known(real)) for name, score in SCORES.items()}
    assert set(far.values()) == {0}
    same = {name: score(sight(real), known(real)) for name, score in SCORES.items()}
    expected = {"precision": 1, "recall": 1, "density": 1, "coverage": 1}
    assert same == pytest.approx(expected, abs=0.01)


def test_copies_are_not_authentic_and_unseen_samples_are():
    real = normal(500, 3)
    for fake, low, high in (
        (real[:100], 0, 0),
        (real[:100] + 1e-6, 0, 0),
        (normal(500, 3, 1), 0.4, 0.6),
        (real[:100] + 50, 1, 1),
    ):
        assert low <= manifolds.authenticity(sight(fake), real) <= high
