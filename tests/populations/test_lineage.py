"""Numbers, shares and pedigrees of lineages."""

import pytest
import torch

from populations.individual import Individual
from populations.lineage import between, birth, child_number, pedigree, shares


@pytest.mark.parametrize(("mu", "mutations"), [(1, 1), (1, 3), (4, 3), (3, 6)])
def test_no_two_individuals_of_a_run_have_the_same_number(mu, mutations):
    numbers = list(range(mu)) + [
        child_number(generation, slot * mutations + mutation, mu, mu * mutations)
        for generation in range(50)
        for slot in range(mu)
        for mutation in range(mutations)
    ]
    assert len(set(numbers)) == mu + 50 * mu * mutations


@pytest.mark.parametrize(("mu", "mutations"), [(1, 1), (2, 3)])
def test_children_have_larger_numbers_than_their_parents(mu, mutations):
    parents = set(range(mu))
    for generation in range(5):
        children = {
            child_number(generation, slot * mutations + mutation, mu, mu * mutations)
            for slot in range(mu)
            for mutation in range(mutations)
        }
        assert min(children) > max(parents)
        parents = children


def test_shares_count_each_mutation_in_the_order_asked_for():
    found = shares(["a", "b", "a", "a"], ["b", "a", "c"])
    assert found == {"b": 0.25, "a": 0.75, "c": 0.0}
    assert list(found) == ["b", "a", "c"]


def test_shares_leave_out_what_is_no_mutation():
    assert shares(["initial", "a", "b", "initial"], ["a", "b"]) == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize("names", [[], ["initial", "initial"]])
def test_shares_of_nothing_are_zero(names):
    assert shares(names, ["a", "b"]) == {"a": 0.0, "b": 0.0}


def test_shares_read_iterators_as_well():
    assert shares(iter("aab"), iter("ab")) == {"a": pytest.approx(2 / 3), "b": pytest.approx(1 / 3)}


@pytest.mark.parametrize(("mu", "most"), [(1, 1), (4, 12), (3, 19)])
def test_a_number_tells_the_generation_of_birth(mu, most):
    for generation in range(5):
        for place in range(most):
            assert birth(child_number(generation, place, mu, most), mu, most) == generation
    assert [birth(number, mu, most) for number in range(mu)] == [-1] * mu


def test_a_pedigree_has_one_row_an_individual():
    population = [
        Individual(torch.zeros(1), number=5, parent=1, mutation="minimax", total=0.5),
        Individual(torch.zeros(1), total=-1.0),
    ]
    assert pedigree(population) == [
        {"number": 5, "parent": 1, "mutation": "minimax", "fitness": 0.5},
        {"number": 0, "parent": -1, "mutation": "initial", "fitness": -1.0},
    ]


def test_between_survivors_and_their_parents_are_children_that_died():
    ways = {4: 1, 5: 1, 6: 5, 7: 6, 8: 4, 9: 2}
    born = [Individual(torch.zeros(1), number=each, parent=up) for each, up in ways.items()]
    children = {one.number: one for one in born}
    parent = Individual(torch.zeros(1), number=2)

    def found(*survivors):
        return [one.number for one in between([children[each] for each in survivors], born)]

    assert found(4, 5, 9) == []
    assert found(7) == found(7, 7) == [5, 6]
    assert found(7, 6) == [5]
    assert found(7, 8) == [4, 5, 6]
    assert between([parent, children[8]], born) == [children[4]]
