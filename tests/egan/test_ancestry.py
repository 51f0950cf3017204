"""Ancestry: who descends from whom, and what a thinned picture of it keeps."""

from egan.ancestry import Ancestry, common_ancestor, thinned


def row(generation, *population, between=()):
    def plain(one):
        number, parent, mutation = one
        return {"number": number, "parent": parent, "mutation": mutation, "fitness": 0.0}

    return {
        "generation": generation,
        "population": [plain(one) for one in population],
        "between": [plain(one) for one in between],
    }


def family():
    """Two founders; 1's line dies out in generation 3, and 4 lives on beside its grandchild."""
    ancestry = Ancestry()
    for each in (
        row(1, (2, 0, "minimax"), (3, 1, "heuristic")),
        row(2, (4, 2, "minimax"), (5, 3, "minimax")),
        row(3, (4, 2, "minimax"), (7, 6, "crossover"), between=[(6, 4, "heuristic")]),
        row(4, (8, 7, "minimax"), (9, 4, "heuristic")),
    ):
        ancestry.add(each)
    return ancestry


def test_births_are_those_of_founders_survivors_and_who_came_between():
    births = family().births
    assert set(births) == set(range(10))
    assert births[0] == births[1] == (-1, "initial", 0)
    assert births[4] == (2, "minimax", 2)  # seen twice, born once
    assert births[6] == (4, "heuristic", 3)


def test_a_line_of_descent_leads_to_a_founder():
    assert list(family().descent(8)) == [8, 7, 6, 4, 2, 0]


def test_the_common_ancestor_is_the_youngest_and_may_be_one_of_them():
    ancestry = family()
    assert common_ancestor(ancestry, [8, 9]) == 4
    assert common_ancestor(ancestry, [8, 4]) == 4
    assert common_ancestor(ancestry, [9, 9]) == 9
    assert common_ancestor(ancestry, [8, 5]) is None


def test_all_moments_are_joined_to_the_last_time_an_ancestor_was_shown():
    nodes = thinned(family(), 5)
    assert [(node.generation, node.number) for node in nodes] == [
        (0, 0), (0, 1), (1, 2), (1, 3), (2, 4), (2, 5), (3, 4), (3, 7), (4, 9), (4, 8),
    ]  # fmt: skip
    joined = [None if each.ancestor is None else nodes[each.ancestor] for each in nodes]
    assert [each and (each.generation, each.number) for each in joined] == [
        None, None, (0, 0), (0, 1), (1, 2), (1, 3), (2, 4), (2, 4), (3, 4), (3, 7),
    ]  # fmt: skip
    assert {node.number for node in nodes if not node.lasting} == {1, 3, 5}
    assert [node.lane for node in nodes[:2]] == [-0.5, 0.5]


def test_thinned_lines_skip_what_is_not_shown_and_keep_both_ends():
    nodes = thinned(family(), 2)
    assert [(node.generation, node.number, node.ancestor) for node in nodes] == [
        (0, 0, None), (0, 1, None), (4, 8, 0), (4, 9, 0),
    ]  # fmt: skip
    assert [node.lasting for node in nodes] == [True, False, True, True]


def test_neighbours_are_those_whose_ancestors_were():
    ancestry = Ancestry()
    ancestry.add(row(1, (10, 0, "a"), (11, 1, "a"), (12, 2, "a")))
    ancestry.add(row(2, (20, 12, "a"), (21, 10, "a"), (22, 11, "a")))
    assert [node.number for node in thinned(ancestry, 3)[-3:]] == [21, 22, 20]


def test_a_population_that_goes_back_is_joined_to_where_it_goes_back_to():
    ancestry = Ancestry()
    ancestry.add(row(1, (1, 0, "a")))
    ancestry.add(row(2, (2, 1, "a")))
    ancestry.add(row(3, (1, 0, "a")))
    nodes = thinned(ancestry, 4)
    assert [node.ancestor for node in nodes] == [None, 0, 1, 1]
    assert [node.lasting for node in nodes] == [True, True, False, True]


def test_tens_of_thousands_of_generations_are_thinned_to_what_is_asked_for():
    ancestry = Ancestry()
    for generation in range(1, 20_001):
        ancestry.add(row(generation, (generation, generation - 1, "a")))
    nodes = thinned(ancestry, 120)
    assert len(nodes) == 120
    assert [nodes[0].generation, nodes[-1].generation] == [0, 20_000]
    assert all(node.lasting for node in nodes)
