"""Individuals are data: they can be packed, saved and read without loss."""

import math

import pytest
import torch

from populations.individual import Fitness, Individual, is_finite, pack, unpack


def individual():
    one = Individual(
        weights=torch.tensor([1.0, -2.0, 3.5]),
        buffers={"1.running_mean": torch.tensor([0.5]), "1.count": torch.tensor(3)},
        moments={
            "inherited": {"step": 4, "mean": torch.tensor([0.1]), "square": torch.tensor([0.2])}
        },
        average=torch.tensor([1.5, -2.5, 3.0]),
        number=12,
        parent=7,
        mutation="heuristic",
        finite=True,
        evidence=torch.ones(2, 2),
    )
    one.judged(0.25, -1.5, 0.5, [0.5, 0.0, -2.0])
    return one


def through_a_file(plain, path):
    torch.save(plain, path)
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("saved", [False, True])
def test_packing_and_unpacking_loses_nothing_but_what_serves_one_generation(saved, tmp_path):
    one = individual()
    plain = through_a_file(pack(one), tmp_path / "one.pt") if saved else pack(one)
    other = unpack(plain)
    assert torch.equal(other.weights, one.weights)
    assert torch.equal(other.average, one.average)
    assert other.buffers.keys() == one.buffers.keys()
    assert all(torch.equal(other.buffers[name], one.buffers[name]) for name in one.buffers)
    assert other.moments["inherited"]["step"] == 4
    assert torch.equal(other.moments["inherited"]["mean"], torch.tensor([0.1]))
    assert torch.equal(other.moments["inherited"]["square"], torch.tensor([0.2]))
    assert (other.number, other.parent, other.mutation) == (12, 7, "heuristic")
    assert other.fitness.valid
    assert other.fitness.values == (0.25, -1.5)
    assert other.total == 0.25 + 0.5 * -1.5
    assert other.cases == (0.5, 0.0, -2.0)
    assert other.evidence is None
    assert other.finite is None


def test_every_attribute_but_those_of_one_generation_is_packed():
    assert set(pack(individual())) == set(vars(individual())) - {"finite", "evidence"}


def test_packing_leaves_the_individual_its_evidence():
    one = individual()
    pack(one)
    assert torch.equal(one.evidence, torch.ones(2, 2))


def test_an_unjudged_individual_stays_unjudged_through_a_file(tmp_path):
    other = unpack(through_a_file(pack(Individual(torch.zeros(2))), tmp_path / "one.pt"))
    assert not other.fitness.valid
    assert math.isnan(other.total)
    assert other.average is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("gamma", [0.0, 0.5])
@pytest.mark.parametrize("place", [0, 1])
def test_a_fitness_that_is_not_finite_stays_invalid(bad, gamma, place):
    values = [0.5, 0.5]
    values[place] = bad
    one = Individual(torch.zeros(2))
    one.judged(*values, gamma)
    assert not one.fitness.valid
    assert math.isnan(one.total)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_fitness_that_is_not_finite_on_one_group_stays_invalid(bad):
    one = Individual(torch.zeros(2))
    one.judged(0.5, 0.5, 1.0, (0.5, bad))
    assert not one.fitness.valid
    assert one.cases == ()


def test_a_total_that_overflows_makes_the_fitness_invalid():
    one = Individual(torch.zeros(2))
    one.judged(1e308, 1e308, 10.0)
    assert not one.fitness.valid


@pytest.mark.parametrize(("gamma", "total"), [(0.0, 0.25), (0.5, 1.25), (2.0, 4.25)])
def test_the_total_is_quality_plus_gamma_times_diversity(gamma, total):
    one = Individual(torch.zeros(2))
    one.judged(0.25, 2.0, gamma)
    assert one.total == total
    assert one.fitness.values == (0.25, 2.0)


def test_both_parts_of_the_fitness_are_maximised():
    assert Fitness((1.0, 0.0)) > Fitness((0.0, 0.0))
    assert Fitness((0.0, 1.0)).dominates(Fitness((0.0, 0.0)))
    assert not Fitness((1.0, 0.0)).dominates(Fitness((0.0, 1.0)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_number_anywhere_makes_an_individual_not_finite(bad):
    weights, buffers = individual(), individual()
    for one in (weights, buffers):
        assert is_finite(one)
        one.finite = None  # nobody has looked
    weights.weights[2] = bad
    buffers.buffers["1.running_mean"][0] = bad
    assert not is_finite(weights)
    assert not is_finite(buffers)


def test_two_individuals_share_no_default():
    left, right = Individual(torch.zeros(2)), Individual(torch.zeros(2))
    left.judged(1.0, 1.0, 1.0)
    left.buffers["mean"] = torch.zeros(1)
    left.moments["inherited"] = {}
    assert not right.fitness.valid
    assert right.buffers == {}
    assert right.moments == {}
