"""Fitness terms agree with other ways to compute them, and rank what they promise to rank."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist, pdist
from torch.fx.experimental.proxy_tensor import make_fx

from egan.fitness import (
    SEEN,
    combinations,
    coverage,
    diversities,
    energy_distance,
    kernel_distance,
    pairwise,
    qualities,
    ranks,
    weighted_sum,
)
from egan.losses import reads, value

OF_SAMPLES = [name for name, each in diversities.items() if "fake" in reads(each, SEEN)]
PAIRS = [((20, 2), (31, 2)), ((12, 3, 4, 4), (9, 3, 4, 4)), ((40, 1), (40, 1))]


def draw(*shape, seed=0, deviation=1.0, mean=0.0, dtype=torch.float32):
    random = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=random, dtype=torch.float64) * deviation + mean).to(dtype)


def two_sets(shapes, **options):
    return draw(*shapes[0], **options), draw(*shapes[1], seed=1, deviation=1.3, **options)


def flat(samples):
    return samples.double().flatten(1).numpy()


def of(name, fake, real):
    seen = {"fake": fake, "real": real, "gradient": None}
    return value(diversities[name], seen, SEEN).item()


def by_pairs(fake, real):
    """Mean absolute difference per dimension, pair by pair."""
    return pdist(flat(fake), "cityblock").mean() / flat(fake).shape[1]


def by_means(fake, real):
    """Minus the energy distance, its means over different samples."""
    x, y = flat(fake), flat(real)
    return -2 * cdist(x, y).mean() + pdist(x).mean() + pdist(y).mean()


def by_kernels(fake, real):
    """Minus the squared maximum mean discrepancy, pair by pair."""
    x, y = flat(fake), flat(real)
    width = np.quantile(pdist(y), 0.5, method="inverted_cdf")

    def kernel(each):
        return np.exp(-(each**2) / (2 * width**2)).mean()

    return 2 * kernel(cdist(x, y)) - kernel(pdist(x)) - kernel(pdist(y))


def by_balls(fake, real):
    """The share of real samples with a fake among them and their five nearest."""
    x, y = flat(fake), flat(real)
    covered = 0
    for each in y:
        radius = sorted(np.linalg.norm(y - each, axis=1))[5]
        covered += any(np.linalg.norm(x - each, axis=1) <= radius)
    return covered / len(y)


INDEPENDENT = {
    "pairwise": by_pairs,
    "energy-distance": by_means,
    "kernel-distance": by_kernels,
    "coverage": by_balls,
}


@pytest.mark.parametrize("shapes", PAIRS, ids=str)
@pytest.mark.parametrize("name", OF_SAMPLES)
def test_each_agrees_with_a_computation_pair_by_pair(name, shapes):
    fake, real = two_sets(shapes)
    assert of(name, fake, real) == pytest.approx(INDEPENDENT[name](fake, real), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_samples_far_from_zero_lose_nothing_but_their_own_rounding(name):
    # A single-precision distance from one matrix product would be off by 0.5 here.
    fake, real = two_sets(PAIRS[1], mean=1000.0)
    assert of(name, fake, real) == pytest.approx(INDEPENDENT[name](fake, real), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", OF_SAMPLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_is_a_scalar_of_the_samples_type(name, dtype):
    fake, real = two_sets(PAIRS[0], dtype=dtype)
    found = value(diversities[name], {"fake": fake, "real": real}, SEEN)
    assert (found.shape, found.dtype) == ((), dtype)


def test_in_one_dimension_the_energy_distance_is_that_of_scipy():
    fake, real = two_sets(((50, 1), (70, 1)), dtype=torch.float64)
    x, y = flat(fake)[:, 0], flat(real)[:, 0]
    # Scipy's is the root of the V-statistic, in which every sample is paired with itself too.
    paired_with_itself = pdist(x[:, None]).mean() / 50 + pdist(y[:, None]).mean() / 70
    expected = paired_with_itself - stats.energy_distance(x, y) ** 2
    assert energy_distance(fake, real).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["energy-distance", "kernel-distance"])
def test_distances_between_equal_distributions_are_zero_on_average(name):
    found = [of(name, draw(8, 2, seed=2 * n), draw(8, 2, seed=2 * n + 1)) for n in range(1000)]
    error = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * error
    assert error < 0.015


@pytest.mark.parametrize("name", ["energy-distance", "kernel-distance"])
def test_distances_grow_with_what_separates_the_distributions(name):
    real = draw(200, 2)
    found = [of(name, draw(200, 2, seed=1, mean=mean), real) for mean in (0.0, 0.5, 1.0, 2.0)]
    assert found == sorted(found, reverse=True)
    assert of(name, draw(200, 2, seed=1, deviation=0.2), real) < found[0]


def test_the_kernel_is_as_wide_as_real_samples_lie_apart():
    real = draw(60, 2)
    for scale in (1e-4, 1.0, 1e4):
        found = kernel_distance(scale * draw(60, 2, seed=1, mean=1.0), scale * real)
        assert found.item() == pytest.approx(by_kernels(draw(60, 2, seed=1, mean=1.0), real), 1e-4)
    # Real samples most of which are one still tell fakes there from fakes elsewhere.
    real = torch.zeros(20, 2)
    assert kernel_distance(torch.ones(20, 2), real) < kernel_distance(torch.zeros(20, 2), real)


def clusters(*places):
    """Ten samples in a small cluster at each place."""
    return torch.cat([draw(10, 2, seed=at, deviation=0.01) + 5 * at for at in places])


@pytest.mark.parametrize(
    ("places", "share"), [((0, 1, 2, 3), 1.0), ((0, 2), 0.5), ((3, 3, 3), 0.25), ((7, 9), 0.0)]
)
def test_coverage_is_the_share_of_clusters_that_hold_a_fake(places, share):
    assert coverage(clusters(*places), clusters(0, 1, 2, 3)).item() == share


def test_one_fake_covers_those_real_samples_to_which_it_is_as_near_as_their_fifth_neighbour():
    real = torch.arange(20.0)[:, None]
    # Within, the fifth nearest is 3 away; nearer to an end up to 5.
    for place, covered in ((10.0, 7), (10.5, 6), (0.0, 4)):
        assert round(20 * coverage(torch.tensor([[place]]), real).item(), 4) == covered


def test_pairwise_ranks_by_spread_and_reads_no_real_samples():
    tight, wide = draw(30, 2, deviation=0.1), draw(30, 2)
    assert pairwise(wide).item() == pytest.approx(10 * pairwise(tight).item(), rel=1e-5)
    assert pairwise(torch.ones(5, 3)).item() == 0
    assert pairwise(torch.tensor([[0.0, 0.0], [1.0, 3.0]])).item() == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", OF_SAMPLES)
def test_a_fake_that_is_not_finite_makes_the_term_not_finite(name, bad):
    fake, real = two_sets(PAIRS[0], mean=-10.0)
    fake[3, 1] = bad
    assert not math.isfinite(of(name, fake, real))


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_each_is_a_list_of_tensor_operations_that_branches_on_no_data(name):
    seen = dict(zip(("fake", "real"), two_sets(PAIRS[1]), strict=True))
    found = make_fx(partial(value, diversities[name], readable=SEEN))(seen)
    fake, real = two_sets(PAIRS[1], mean=3.0)
    assert found({"fake": fake, "real": real}).item() == of(name, fake, real)


def test_what_a_diversity_reads_is_known_beforehand():
    assert {name: reads(each, SEEN) for name, each in diversities.items()} == {
        "gradient": ("gradient",),
        "pairwise": ("fake",),
        "energy-distance": ("fake", "real"),
        "kernel-distance": ("fake", "real"),
        "coverage": ("fake", "real"),
        "novelty": ("behaviour", "past"),
    }


@pytest.mark.parametrize(
    ("own", "names", "expected"),
    [
        (lambda samples: samples.std(), ("fake",), 2.0),
        (lambda real, fake: (real.mean() - fake.mean()).abs(), ("real", "fake"), 3.0),
        (lambda gradient, fake: gradient.sum() + fake.std(), ("gradient", "fake"), 9.0),
    ],
)
def test_the_arguments_of_a_diversity_of_ones_own_say_what_it_reads(own, names, expected):
    seen = {
        "fake": torch.tensor([[-1.0], [1.0], [3.0]]),
        "real": torch.full((3, 1), 4.0),
        "gradient": torch.tensor([3.0, 4.0]),
    }
    assert reads(own, SEEN) == names
    assert value(own, seen, SEEN).item() == expected


def test_a_diversity_that_asks_for_what_is_not_there_is_told_what_is():
    for own in (lambda fake, logits: fake.mean(), lambda gradients: gradients.norm()):
        with pytest.raises(
            ValueError, match=r"cannot read '\w+': name its arguments fake, real, g"
        ):
            reads(own, SEEN)


def test_the_gradients_term_is_minus_the_logarithm_of_its_norm():
    found = value(diversities["gradient"], {"gradient": torch.tensor([3.0, -4.0])}, SEEN)
    assert found.item() == pytest.approx(-math.log(5))


def test_without_quality_all_are_equal():
    assert qualities["none"](torch.tensor([[5.0], [math.nan]])).item() == 0
    assert qualities["none"](torch.zeros(3, dtype=torch.float64)).dtype == torch.float64


QUALITIES, DIVERSITIES = [0.4, 0.1, 0.9, 0.1], [-3.0, 2.0, -8.0, 1.0]


@pytest.mark.parametrize("gamma", [0.0, 0.05, 3.0])
def test_the_sum_weighs_diversity_with_gamma(gamma):
    found = weighted_sum(QUALITIES, DIVERSITIES, gamma)
    assert found == [q + gamma * d for q, d in zip(QUALITIES, DIVERSITIES, strict=True)]


def test_ranks_are_mid_ranks_and_weighed_with_gamma():
    found = ranks(QUALITIES, DIVERSITIES, 0.5)
    assert found == pytest.approx([2 / 3 + 0.5 / 3, 1 / 6 + 0.5, 1.0, 1 / 6 + 0.5 * 2 / 3])


def test_ranks_read_no_scale_and_the_sum_does():
    stretched = [math.exp(20 * quality) for quality in QUALITIES]
    assert ranks(stretched, DIVERSITIES, 0.5) == ranks(QUALITIES, DIVERSITIES, 0.5)
    orders = [np.argsort(weighted_sum(each, DIVERSITIES, 0.5)) for each in (QUALITIES, stretched)]
    assert orders[0].tolist() != orders[1].tolist()


@pytest.mark.parametrize("combine", combinations.values(), ids=combinations)
def test_totals_are_plain_numbers_one_a_candidate(combine):
    assert combine([], [], 1.0) == []
    for length in (1, 4):
        totals = combine(QUALITIES[:length], DIVERSITIES[:length], 1.0)
        assert [type(each) for each in totals] == [float] * length


@pytest.mark.parametrize("combine", combinations.values(), ids=combinations)
def test_a_candidate_that_is_better_in_both_has_the_higher_total(combine):
    for gamma in (0.0, 0.3, 10.0):
        best, _, worst = combine([3.0, 2.0, 1.0], [3.0, 4.0, -1.0], gamma)
        assert best > worst
