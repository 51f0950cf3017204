"""Randomness is a function of its key, and of nothing else."""

import random

import numpy as np
import pytest
import torch

from populations.randomness import borrowed, generator, key, seeded

KEY = (3, 5, "breeding", 7)
OTHERS = [
    (4, 5, "breeding", 7),
    (3, 6, "breeding", 7),
    (3, 5, "judging", 7),
    (3, 5, "breeding", 8),
    (5, 3, "breeding", 7),
    (35, 0, "breeding", 7),
]


def draws():
    """Numbers from every global generator."""
    return torch.rand(3).tolist(), np.random.random(3).tolist(), [random.random() for _ in range(3)]


def states():
    name, words, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), (name, words.tolist(), *rest), random.getstate()


def test_equal_keys_draw_equal_numbers():
    left = torch.rand(5, generator=generator(*KEY))
    assert torch.equal(left, torch.rand(5, generator=generator(*KEY)))


@pytest.mark.parametrize("other", OTHERS)
def test_a_change_in_any_part_of_the_key_draws_other_numbers(other):
    left = torch.rand(5, generator=generator(*KEY))
    assert not torch.equal(left, torch.rand(5, generator=generator(*other)))


def test_ten_thousand_keys_do_not_collide():
    keys = {
        key(seed, generation, role, index)
        for seed in range(10)
        for generation in range(100)
        for role in ("breeding", "judging")
        for index in range(5)
    }
    assert len(keys) == 10_000


def test_keys_of_numbers_whose_digits_run_together_differ():
    assert len({key(1, 11, "a"), key(11, 1, "a"), key(1, 1, "1/a"), key(1, 1, "a", 1)}) == 4


def test_keys_fill_63_bits_and_no_more():
    keys = [key(0, generation, "bits") for generation in range(1000)]
    assert max(keys) < 2**63
    assert max(keys) > 0.99 * 2**63
    assert min(keys) < 0.01 * 2**63


def test_a_key_is_the_same_number_in_every_release():
    # Whoever changes this number makes it impossible to go on with a saved run.
    assert key(0, 0, "breeding") == 1294509460316718481


def test_a_generator_of_a_key_leaves_the_global_ones_alone():
    before = states()
    torch.rand(3, generator=generator(*KEY))
    assert states() == before


def test_draws_inside_seeded_are_equal_for_equal_keys():
    with seeded(*KEY):
        first = draws()
    draws()
    with seeded(*KEY):
        assert draws() == first


@pytest.mark.parametrize("other", OTHERS)
def test_draws_inside_seeded_differ_for_other_keys_in_every_library(other):
    with seeded(*KEY):
        first = draws()
    with seeded(*other):
        second = draws()
    assert all(left != right for left, right in zip(first, second, strict=True))


def test_seeded_restores_the_global_states():
    before = states()
    with seeded(*KEY):
        draws()
    assert states() == before


def test_borrowed_generators_are_restored_once_and_seeded_as_ever():
    expected = []
    for each in (KEY, *OTHERS):
        with seeded(*each):
            expected.append(draws())
    before = states()
    with borrowed():
        found = []
        for each in (KEY, *OTHERS):
            with seeded(*each), borrowed():
                found.append(draws())
        assert states() != before
    assert found == expected
    assert states() == before
    with seeded(*KEY):
        draws()
    assert states() == before


def test_seeded_restores_the_global_states_after_an_exception():
    before = states()
    with pytest.raises(IndexError), seeded(*KEY):
        draws()[3]
    assert states() == before


def test_the_inner_of_two_nested_seeds_does_not_disturb_the_outer():
    with seeded(*KEY):
        draws()
        expected = draws()
    with seeded(*KEY):
        draws()
        with seeded(*OTHERS[0]):
            draws()
        assert draws() == expected
