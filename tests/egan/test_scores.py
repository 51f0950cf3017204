"""Judges against known ceilings, constructed cases and slow computations."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch

from egan.data import Mixture, Stacked, Table, data_sets, has_option, make_data
from egan.scores import (
    applicable,
    energy_distance,
    evaluate,
    floors,
    full_cover,
    look_samples_of,
    primary_of,
    reference,
    samples_of,
    scores,
)
from egan.scores.classes import judge_of, modes_of
from egan.scores.modes import (
    deviation_ratio,
    high_quality,
    high_quality_box,
    modes_covered,
    modes_lenient,
    reverse_kl,
    reverse_kl_all,
    total_variation,
)
from populations.randomness import generator

# The others need a download.
OFFLINE = {
    name: make_data(name)
    for name in data_sets
    if name != "hub" and not has_option(name, "data_dir")
}
MIXTURES = {name: data for name, data in OFFLINE.items() if isinstance(data, Mixture)}
MANY = 20_000


def draw(data, count, index=0):
    return data.draw(count, generator(0, 0, "test", index))


@pytest.fixture(scope="module")
def table():
    """Digits, whose classifier is trained once for this table."""
    return OFFLINE["digits"]


@pytest.mark.parametrize("name", MIXTURES)
def test_real_samples_reach_the_known_ceilings(name):
    mixture = MIXTURES[name]
    samples, dimensions = draw(mixture, MANY), mixture.shape[0]
    # 98.89 % in the plane and, by the choice of the radius, in every other dimension.
    assert high_quality(samples, mixture) == pytest.approx(1 - math.exp(-4.5), abs=0.004)
    box = math.erf(mixture.box / math.sqrt(2)) ** dimensions  # 99.46 % in the plane
    sigma = math.sqrt(box * (1 - box) / MANY)
    assert high_quality_box(samples, mixture) == pytest.approx(box, abs=5 * sigma)
    assert modes_covered(samples, mixture) == len(mixture.centres)
    assert modes_lenient(samples, mixture) == len(mixture.centres)
    assert reverse_kl(samples, mixture) == pytest.approx(0, abs=0.003)
    assert reverse_kl_all(samples, mixture) == pytest.approx(0, abs=0.003)
    assert total_variation(samples, mixture) == pytest.approx(0.0111, abs=0.02)
    assert deviation_ratio(samples, mixture) == pytest.approx(0.98, abs=0.02)


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("mode", [0, -1])
def test_samples_of_one_mode_only_are_seen_as_collapsed(name, mode):
    mixture = MIXTURES[name]
    weight = mixture.weights[mode].item()  # 1/k for the rings and grids
    samples = mixture.centres[mode].repeat(200, 1)
    assert modes_covered(samples, mixture) == 1
    assert modes_lenient(samples, mixture) == 1
    assert reverse_kl(samples, mixture) == pytest.approx(-math.log(weight), rel=1e-5)
    assert reverse_kl_all(samples, mixture) == pytest.approx(-math.log(weight), rel=1e-5)
    assert total_variation(samples, mixture) == pytest.approx(1 - weight, rel=1e-5)
    assert high_quality(samples, mixture) == 1.0
    assert deviation_ratio(samples, mixture) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("name", "modes"), [("ring", 8), ("grid", 25)])
def test_of_k_equal_modes_one_scores_log_k_and_one_minus_one_kth(name, modes):
    mixture = MIXTURES[name]
    samples = mixture.centres[:1].repeat(100, 1)
    assert reverse_kl(samples, mixture) == pytest.approx(math.log(modes), rel=1e-5)
    assert total_variation(samples, mixture) == pytest.approx(1 - 1 / modes, rel=1e-5)


@pytest.mark.parametrize("count", [100, 700, 1000, 2500, 10_000])
def test_a_mode_counts_from_one_percent_of_all_samples_on(count):
    ring = MIXTURES["ring"]
    for hits, modes in ((count // 100 - 1, 1), (count // 100, 2)):
        samples = ring.centres[[0] * (count - hits) + [1] * hits]
        assert modes_covered(samples, ring) == modes
        assert modes_lenient(samples, ring) == 1 + (hits > 0)


def test_the_percent_is_of_all_samples_and_not_of_the_good_ones():
    ring = MIXTURES["ring"]
    hits = ring.centres[[0] * 200 + [1] * 9]
    samples = torch.cat([hits, torch.zeros(791, 2)])  # the middle belongs to no mode
    assert modes_covered(samples, ring) == 1


def test_a_mode_of_little_weight_counts_from_half_its_weight_on():
    weights = torch.tensor([0.99, 0.01])
    mixture = Mixture("two", torch.tensor([[0.0, 0.0], [9.0, 0.0]]), 0.1, weights)
    for hits, modes in ((4, 1), (5, 2)):
        samples = mixture.centres[[0] * (1000 - hits) + [1] * hits]
        assert modes_covered(samples, mixture) == modes


def test_quality_is_measured_from_the_nearest_centre_within_three_deviations():
    ring = MIXTURES["ring"]
    for distance, share in ((2.99, 1.0), (3.01, 0.0)):
        samples = ring.centres + torch.tensor([distance * ring.deviation, 0.0])
        assert high_quality(samples, ring) == share
        assert high_quality_box(samples, ring) == share
    corner = ring.centres + 2.9 * ring.deviation  # in the box, and 4.1 deviations away
    assert high_quality(corner, ring) == 0.0
    assert high_quality_box(corner, ring) == 1.0


def test_divergences_of_unequal_modes_have_their_closed_form():
    weights = torch.tensor([0.5, 0.25, 0.25])
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    mixture = Mixture("three", centres, 0.1, weights)
    samples = centres[[0] * 60 + [1] * 40]
    expected = 0.6 * math.log(0.6 / 0.5) + 0.4 * math.log(0.4 / 0.25)
    assert reverse_kl(samples, mixture) == pytest.approx(expected, rel=1e-5)
    assert total_variation(samples, mixture) == pytest.approx(0.25, rel=1e-5)


def test_only_the_divergence_over_all_samples_reads_those_of_low_quality():
    ring = MIXTURES["ring"]
    near = ring.centres[:1] * 1.5
    samples = torch.cat([ring.centres, near.repeat(8, 1)])
    assert reverse_kl(samples, ring) == pytest.approx(0, abs=1e-6)
    share = [9 / 16] + [1 / 16] * 7
    expected = sum(each * math.log(each * 8) for each in share)
    assert reverse_kl_all(samples, ring) == pytest.approx(expected, rel=1e-5)
    # Half of the samples are of no mode at all.
    assert total_variation(samples, ring) == pytest.approx(0.5, rel=1e-5)


def test_without_a_good_sample_the_worst_is_scored():
    ring = MIXTURES["ring"]
    samples = torch.full((50, 2), 100.0)
    assert modes_covered(samples, ring) == 0
    assert modes_lenient(samples, ring) == 0
    assert high_quality(samples, ring) == 0
    assert reverse_kl(samples, ring) == math.inf
    assert total_variation(samples, ring) == pytest.approx(1)
    assert math.isnan(deviation_ratio(samples, ring))


@pytest.mark.parametrize("name", MIXTURES)
def test_modes_of_half_the_spread_have_half_the_deviation(name):
    mixture = MIXTURES[name]
    shrunken = replace(mixture, deviation=mixture.deviation / 2)
    assert deviation_ratio(draw(shrunken, MANY), mixture) == pytest.approx(0.5, abs=0.01)


def test_the_deviation_ratio_is_around_the_modes_own_means():
    ring = MIXTURES["ring"]
    shrunken = Mixture("ring", ring.centres, ring.deviation / 2, ring.weights)
    moved = draw(shrunken, MANY) + 0.5 * ring.deviation
    assert deviation_ratio(moved, ring) == pytest.approx(0.5, abs=0.01)


def slow_energy_distance(left, right):
    """2 E|X-Y| - E|X-X'| - E|Y-Y'| over all pairs, in float64, pair by pair."""

    def mean(one, other):
        return math.fsum(math.dist(a, b) for a in one for b in other) / len(one) / len(other)

    return 2 * mean(left, right) - mean(left, left) - mean(right, right)


@pytest.mark.parametrize("shape", [(1,), (2,), (1, 3, 3)])
def test_the_energy_distance_agrees_with_a_slow_computation(shape):
    left = torch.randn(37, *shape, generator=generator(0, 0, "left"))
    right = 0.5 + torch.randn(53, *shape, generator=generator(0, 0, "right"))
    slow = slow_energy_distance(left.flatten(1).tolist(), right.flatten(1).tolist())
    assert energy_distance(left, right) == pytest.approx(slow, rel=1e-5)


def test_the_energy_distance_of_many_samples_is_the_sum_over_all_parts():
    left, right = torch.randn(2500, 1, generator=generator(0, 0, "left")), torch.ones(1100, 1)
    x, y = left.double(), right.double()
    slow = 2 * (x - y.T).abs().mean() - (x - x.T).abs().mean() - (y - y.T).abs().mean()
    assert energy_distance(left, right) == pytest.approx(slow.item(), rel=1e-5)


def test_the_energy_distance_of_equal_sets_is_zero():
    points = torch.randn(300, 2, generator=generator(0, 0, "points"))
    assert energy_distance(points, points) == 0
    assert energy_distance(points.flip(0), points) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shift", [0.5, 2.0, 100.0])
def test_the_energy_distance_of_two_points_is_twice_their_distance(shift):
    left, right = torch.zeros(5, 1), torch.full((9, 1), shift)
    assert energy_distance(left, right) == pytest.approx(2 * shift, rel=1e-6)


def test_the_energy_distance_of_two_shifted_pairs_has_its_closed_form():
    # Over all pairs E|X-Y| = (2 + 3 + 1 + 2) / 4 and E|X-X'| = E|Y-Y'| = 1/2.
    left, right = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
    assert energy_distance(left, right) == pytest.approx(2 * 2 - 0.5 - 0.5, rel=1e-6)


def test_the_energy_distance_reads_the_first_5000_samples_of_each_set():
    left = torch.zeros(5001, 1)
    left[5000] = 1e6
    assert energy_distance(left, torch.ones(2, 1)) == pytest.approx(2, rel=1e-6)
    assert energy_distance(torch.ones(2, 1), left) == pytest.approx(2, rel=1e-6)
    left[4999] = 1e6
    assert energy_distance(left, torch.ones(2, 1)) > 2.05


def test_the_energy_distance_grows_with_a_collapse():
    ring = MIXTURES["ring"]
    real = draw(ring, 1000)
    collapsed = draw(ring, 1000, 1)[:1].repeat(1000, 1)
    assert energy_distance(draw(ring, 1000, 1), real) < 0.05 < energy_distance(collapsed, real)


def test_real_digits_score_high(table):
    samples = draw(table, 1797)
    assert scores["confidence"].function(samples, table) > 0.95
    assert scores["class-entropy"].function(samples, table) == pytest.approx(math.log(10), abs=0.02)
    assert scores["classes"].function(samples, table) == 10


def test_collapsed_digits_have_no_entropy(table):
    samples = table.values[:1].repeat(200, 1, 1, 1)
    assert scores["class-entropy"].function(samples, table) == pytest.approx(0, abs=1e-6)
    assert scores["classes"].function(samples, table) == 1


def test_two_classes_of_digits_have_the_entropy_of_their_shares(table):
    zero, one = (table.values[table.labels == label][:1] for label in (0, 1))
    samples = torch.cat([zero.repeat(199, 1, 1, 1), one])
    entropy = -(0.995 * math.log(0.995) + 0.005 * math.log(0.005))
    assert scores["class-entropy"].function(samples, table) == pytest.approx(entropy, abs=1e-5)
    assert scores["classes"].function(samples, table) == 1
    more = torch.cat([zero.repeat(99, 1, 1, 1), one])
    assert scores["classes"].function(more, table) == 2


def test_noise_is_judged_with_less_confidence_than_digits(table):
    noise = torch.rand(500, 1, 8, 8, generator=generator(0, 0, "noise")) * 2 - 1
    confidence = scores["confidence"].function
    assert 0.1 <= confidence(noise, table) < confidence(draw(table, 500), table)


@pytest.fixture(scope="module")
def stack():
    """Stacked digits, and one digit of each class that the classifier sees as that."""
    data = OFFLINE["stacked-digits"]
    seen = judge_of(data).probabilities(data.pool).argmax(1)
    right = [
        torch.nonzero((data.table.labels == label) & (seen == label))[0, 0] for label in range(10)
    ]
    return data, data.pool[torch.stack(right), 0]


def test_every_triple_of_classes_is_a_mode_of_its_own(stack):
    data, digits = stack
    triples = torch.tensor(list(product(range(10), repeat=3)))
    samples = digits[triples]
    assert samples.shape == (1000, 3, 8, 8)
    assert torch.equal(modes_of(samples, data), torch.arange(1000))
    found = evaluate(samples, data, ["modes", "reverse-kl", "total-variation"])
    assert found["modes"] == 1000
    assert found["reverse-kl"] == pytest.approx(0, abs=1e-6)
    assert found["total-variation"] == pytest.approx(0, abs=1e-6)


def test_modes_of_stacked_images_count_from_one_sample_on(stack):
    data, digits = stack
    triples = torch.tensor([[1, 2, 3]] * 990 + [[3, 2, 1]] * 9 + [[0, 0, 7]])
    found = evaluate(digits[triples], data)
    assert found["modes"] == 3
    shares = [0.99, 0.009, 0.001]
    expected = sum(share * math.log(1000 * share) for share in shares)
    assert found["reverse-kl"] == pytest.approx(expected, rel=1e-5)
    assert found["total-variation"] == pytest.approx(0.997, abs=1e-6)
    assert found["classes"] == 3  # 0 and 7 are not one in a hundred of the channels


def test_samples_that_have_changed_are_seen_anew(stack):
    data, digits = stack
    samples = digits[torch.zeros(20, 3, dtype=torch.long)].clone()
    assert evaluate(samples, data, ["modes"]) == {"modes": 1.0}
    samples[0] = digits[[0, 0, 5]]
    assert evaluate(samples, data, ["modes"]) == {"modes": 2.0}


@pytest.mark.parametrize("count", [2_600, 26_000])
def test_real_stacked_digits_have_the_divergence_of_their_number(stack, count):
    data = stack[0]
    found = evaluate(draw(data, count), data, ["modes", "reverse-kl"])
    missing = 1000 * math.exp(-count / 1000)  # on average, of as many equal modes
    assert found["modes"] == pytest.approx(1000 - missing, abs=1 + 5 * math.sqrt(missing))
    # E[KL] of n draws of k equal modes; (k - 1) / 2n where n is large.
    rate = count / 1000
    log_factorials = [math.lgamma(each + 1) for each in range(200)]
    poisson = [math.exp(-rate + n * math.log(rate) - log_factorials[n]) for n in range(200)]
    expected = sum(p * n / rate * math.log(n / rate) for n, p in enumerate(poisson) if n)
    assert found["reverse-kl"] == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", OFFLINE)
def test_every_applicable_score_judges_real_data_with_a_number(name):
    data = OFFLINE[name]
    found = evaluate(draw(data, 500), data)
    assert list(found) == applicable(data)
    assert all(math.isfinite(value) for value in found.values())
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize("name", OFFLINE)
def test_scores_apply_to_what_they_need(name):
    data = OFFLINE[name]
    stacked = isinstance(data, Stacked)
    has = {
        "real": True,
        "mixture": isinstance(data, Mixture),
        "modes": isinstance(data, Mixture) or stacked,
        "labels": stacked or (isinstance(data, Table) and data.labels is not None),
        "nothing": len(data.shape) == 3 and min(data.shape[1:]) >= 22,
    }
    seen = ["features", "logits"] if name == "digits" else []
    assert applicable(data) == [
        *[each for each, score in scores.items() if has.get(score.needs)],
        *[f"{each}/classifier" for each, score in scores.items() if score.needs in seen],
    ]


def test_a_table_without_labels_is_judged_by_distance_only():
    assert applicable(Table("own", torch.zeros(3, 2))) == [
        name for name, score in scores.items() if score.needs == "real"
    ]


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_samples_that_are_not_finite_score_nan(name, bad):
    data = OFFLINE[name]
    samples = draw(data, 20)
    samples.view(-1)[3] = bad
    found = evaluate(samples, data)
    assert list(found) == applicable(data)
    assert all(math.isnan(value) for value in found.values())


def test_only_the_scores_asked_for_are_computed():
    ring = MIXTURES["ring"]
    assert list(evaluate(draw(ring, 50), ring, ["energy-distance"])) == ["energy-distance"]


def test_real_samples_that_are_given_are_compared_with():
    ring = MIXTURES["ring"]
    samples = draw(ring, 50)
    found = evaluate(samples, ring, ["energy-distance"], real=samples)
    assert found == {"energy-distance": 0.0}


def test_the_reference_is_the_same_for_every_run_and_another_for_every_index():
    ring, again = make_data("ring"), make_data("ring")
    assert torch.equal(reference(ring, 10), reference(again, 10))
    assert not torch.equal(reference(ring, 10), reference(ring, 10, 1))


@pytest.mark.parametrize("name", OFFLINE)
def test_floors_are_what_real_samples_score(name):
    data, count = OFFLINE[name], 600
    floor = floors(data, count)
    found = [evaluate(draw(data, count, index), data) for index in range(3)]
    assert list(floor) == applicable(data)
    assert 0 < floor["energy-distance"] < 0.2
    for score, value in floor.items():
        spread = {row[score] for row in found}
        room = 0.05 + 2 * (max(spread) - min(spread))
        assert value == pytest.approx(sum(row[score] for row in found) / 3, abs=room)


CASES = [
    (name, data)
    for name in scores
    for data in ("ring", "digits", "stacked-digits")
    if name in applicable(OFFLINE[data])
]


@pytest.mark.parametrize(("name", "data"), CASES)
def test_every_score_prefers_real_samples_to_collapsed_ones_or_ties(name, data):
    # A collapse onto one real sample fools quality and confidence, and nothing else.
    data = OFFLINE[data]
    real, collapsed = draw(data, 400), draw(data, 400, 1)[:1].repeat(400, *[1] * len(data.shape))
    good, bad = (evaluate(each, data, [name])[name] for each in (real, collapsed))
    if name in ("high-quality", "high-quality-box", "confidence"):
        assert 0.9 < good <= 1
    elif scores[name].better == "real":
        assert abs(good - 1) < abs(bad - 1)
    else:
        assert good > bad if scores[name].better == "higher" else good < bad


@pytest.mark.parametrize(("name", "primary", "final", "look", "modes"), [
    ("ring", "energy-distance", 10_000, 2_000, 8),
    ("grid", "energy-distance", 10_000, 2_000, 25),
    ("digits", "frechet-distance/classifier", 10_000, 2_000, None),
    ("stacked-digits", "reverse-kl", 26_000, 10_000, 1_000),
])  # fmt: skip
def test_methods_are_compared_by_what_the_data_can_tell(name, primary, final, look, modes):
    data = OFFLINE[name]
    assert (primary_of(data), samples_of(data)) == (primary, final)
    assert (look_samples_of(data), full_cover(data)) == (look, modes)
    assert primary in applicable(data)


def test_a_look_has_enough_samples_for_real_images_to_cover_all_modes():
    data = OFFLINE["stacked-digits"]
    found = modes_covered(reference(data, look_samples_of(data)), data)
    assert found >= 0.998 * full_cover(data)  # 999.95 are expected, less what is misjudged
