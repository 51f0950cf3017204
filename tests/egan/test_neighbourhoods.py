"""Coverage, diversity and their standard errors, against plain loops and repeated draws."""

import math
import statistics

import pytest
import torch

from egan.data import Table, make_data
from egan.neighbourhoods import SAMPLES, measure, set_aside
from populations.randomness import generator

RING = make_data("ring")


def draw(count, seed, dimensions=2):
    return torch.randn(count, dimensions, generator=generator(seed, 0, "draw"))


def by_hand(fake, real):
    """Coverage and relative mean distance, pair by pair."""
    radii = [sorted(math.dist(x, y) for y in real)[20] for x in real]
    covered = [min(math.dist(x, y) for y in fake) <= r for x, r in zip(real, radii, strict=True)]
    means = [
        statistics.fmean(math.dist(x, y) for i, x in enumerate(rows) for y in rows[:i])
        for rows in (fake, real)
    ]
    return statistics.fmean(covered), means[0] / means[1]


def jackknifed(values):
    """The standard error that leave-one-out values give, by its definition."""
    mean = statistics.fmean(values)
    return math.sqrt((len(values) - 1) / len(values) * sum((v - mean) ** 2 for v in values))


def test_both_figures_and_their_errors_are_those_of_leaving_out_one_fake_after_the_other():
    real = set_aside(Table("own", draw(40, 0)), seed=3)
    fake = 1 + 0.7 * draw(12, 1)
    found, plain = measure(fake, real), real.real.tolist()
    whole = by_hand(fake.tolist(), plain)
    without = [by_hand(fake[torch.arange(12) != i].tolist(), plain) for i in range(12)]
    for name, value, left in zip(("coverage", "diversity"), whole, zip(*without, strict=True),
                                 strict=True):  # fmt: skip
        assert found[name] == pytest.approx((value, jackknifed(left)), rel=1e-5)
        assert found[name].error > 0.01


@pytest.mark.parametrize("share", [0.01, 0.03, 0.1])
def test_the_error_is_that_of_repeated_measurements_and_not_that_of_independent_hits(share):
    aside, found = set_aside(RING, seed=0), []
    for seed in range(60):
        fake = RING.draw(SAMPLES, generator(seed, 0, "fake"))
        lost = torch.rand(SAMPLES, generator=generator(seed, 0, "lost")) > share
        found.append(
            measure(torch.where(lost[:, None], fake + 50 + draw(SAMPLES, seed), fake), aside)
        )
    hits = [each["coverage"].value for each in found]
    deviation, mean = statistics.stdev(hits), statistics.fmean(hits)
    told = statistics.fmean(each["coverage"].error for each in found)
    assert 0.8 * deviation < told < 1.6 * deviation
    assert deviation > 1.15 * math.sqrt(mean * (1 - mean) / SAMPLES)


def test_the_error_of_diversity_is_that_of_repeated_measurements():
    aside = set_aside(Table("own", draw(500, 0)), seed=0)
    found = [measure(0.5 * draw(100, seed), aside)["diversity"] for seed in range(1, 61)]
    deviation = statistics.stdev(each.value for each in found)
    assert statistics.fmean(each.error for each in found) == pytest.approx(deviation, rel=0.3)


def test_diversity_falls_with_the_fakes_spread_and_more_than_the_datas_counts_as_that():
    aside = set_aside(Table("own", draw(500, 0)), seed=0)
    wide = draw(SAMPLES, 1)
    found = [measure(scale * wide, aside)["diversity"] for scale in (0.0, 0.5, 3.0)]
    assert [each.value for each in found] == pytest.approx([0, 0.5, 1], abs=0.03)
    assert found[0].error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_fakes_that_are_not_finite_cover_nothing(bad):
    fake = draw(SAMPLES, 1)
    fake[3, 1] = bad
    found = measure(fake, set_aside(Table("own", draw(500, 0)), seed=0))
    assert found == {"coverage": (0, 0), "diversity": (0, 0)}


def test_what_is_set_aside_is_different_and_keyed_on_the_seed():
    rows = draw(40, 0)
    twice = Table("own", torch.cat([rows, rows]))  # a neighbourhood of equals would be a point
    found = set_aside(twice, seed=5).real
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, rows.tolist()))
    first, again, other = (set_aside(RING, seed).real for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (SAMPLES, 2)
    assert set_aside(Table("own", rows[:20]), seed=0) is None
    assert len(set_aside(Table("own", rows[:21]), seed=0).real) == 21
