"""Selections choose by what they promise, and never what is broken."""

import math
import operator
import random
from collections import Counter

import pytest
import torch

from populations.errors import UsageError
from populations.individual import Individual
from populations.randomness import seeded
from populations.selection import Selection, best, resolve, select, selections

REPEATS = 30  # of selections that draw


def child(number, quality, diversity=0.0, gamma=1.0, cases=(), behaviour=()):
    one = Individual(torch.zeros(2), number=number)
    one.judged(quality, diversity, gamma, cases, behaviour)
    return one


def by_cases(*rows):
    """Children whose total is the mean of their cases."""
    return [child(number, sum(row) / len(row), cases=row) for number, row in enumerate(rows)]


def shares(name, totals, draws=20_000):
    """How often each child is drawn, as shares."""
    children = [child(number, total) for number, total in enumerate(totals)]
    with seeded(0, 0, "test"):
        counts = Counter(numbers(selections[name].choose(children, draws)))
    return [counts[number] / draws for number in range(len(totals))]


def dominates(one, other):
    return one != other and all(map(operator.ge, one, other))


def numbers(population):
    return [one.number for one in population]


def choose(name, children, count, draw=0):
    selection = selections[name]
    with seeded(0, draw, "test"):
        return select(selection, children, count, selection.reads_fitness)


def broken_weights():
    nan, inf, buffer = child(100, 9.0, 9.0), child(101, 9.0, 9.0), child(102, 9.0, 9.0)
    nan.weights[1] = math.nan
    inf.weights[0] = -math.inf
    buffer.buffers["running_mean"] = torch.tensor([0.0, math.inf])
    return [nan, inf, buffer]


def broken_fitness():
    return [
        child(200, math.nan, 9.0),
        child(201, 9.0, math.inf),
        child(202, math.inf, math.inf),
        child(203, 9.0, math.nan, gamma=0.0),
        child(205, 9.0, 9.0, cases=(9.0, math.nan)),
        child(206, 9.0, 9.0, cases=(math.inf, 9.0)),
        child(207, 9.0, 9.0, behaviour=(math.nan, 0.5)),
        Individual(torch.zeros(2), number=204),
    ]


def test_best_takes_the_highest_totals():
    children = [child(0, 0.2), child(1, 0.9), child(2, 0.5), child(3, 0.7)]
    assert numbers(best(children, 2)) == [1, 3]


@pytest.mark.parametrize(("gamma", "winner"), [(0.0, 0), (0.35, 0), (0.5, 1), (10.0, 1)])
def test_best_weighs_diversity_with_gamma_and_does_not_rank_quality_first(gamma, winner):
    # Quality ranks child 0 first; from gamma = 0.4 on the diversity of child 1 outweighs that.
    children = [child(0, 0.9, 0.0, gamma), child(1, 0.5, 1.0, gamma), child(2, 0.6, 0.1, gamma)]
    assert numbers(best(children, 1)) == [winner]


@pytest.mark.parametrize("name", selections)
def test_a_child_with_weights_that_are_not_finite_never_survives(name):
    children = [*broken_weights(), *(child(number, number) for number in range(4))]
    for draw in range(REPEATS):
        assert set(numbers(choose(name, children, 3, draw))) <= {0, 1, 2, 3}


@pytest.mark.parametrize("name", [name for name in selections if selections[name].reads_fitness])
def test_a_child_whose_fitness_is_not_finite_never_survives(name):
    fit = [child(number, number, cases=(number, -number)) for number in range(4)]
    children = [*broken_fitness(), *fit]
    for draw in range(REPEATS):
        assert set(numbers(choose(name, children, 3, draw))) <= {0, 1, 2, 3}


@pytest.mark.parametrize("name", selections)
def test_where_fewer_are_fit_than_wanted_all_fit_ones_survive(name):
    children = [*broken_weights(), child(0, 0.1), child(1, 0.2)]
    assert sorted(numbers(choose(name, children, 3))) == [0, 1]


@pytest.mark.parametrize("name", selections)
def test_where_none_is_fit_none_survives(name):
    assert choose(name, broken_weights(), 2) == []


@pytest.mark.parametrize("name", selections)
def test_as_many_survive_as_wanted_and_they_are_the_children_themselves(name):
    children = [child(number, number, -number) for number in range(7)]
    survivors = choose(name, children, 3)
    assert len(survivors) == 3
    assert all(any(one is each for each in children) for one in survivors)


@pytest.mark.parametrize("name", selections)
def test_a_selection_draws_from_the_seeded_generators_only(name):
    children = [child(number, (number * 7) % 5, number % 3) for number in range(12)]
    assert numbers(choose(name, children, 4)) == numbers(choose(name, children, 4))


def test_random_reads_no_fitness():
    assert not selections["random"].reads_fitness
    unjudged = [Individual(torch.zeros(2), number=number) for number in range(8)]
    judged = [child(number, 10.0**number) for number in range(8)]
    assert numbers(choose("random", unjudged, 3)) == numbers(choose("random", judged, 3))


def test_random_draws_without_replacement_and_uniformly():
    children = [child(number, number) for number in range(5)]
    counts = Counter()
    for draw in range(500):
        found = numbers(choose("random", children, 3, draw))
        assert len(set(found)) == 3
        counts.update(found)
    # Each is drawn with probability 3/5: 300 times, standard deviation 11.
    assert all(250 < counts[number] < 350 for number in range(5))


def test_the_worse_of_two_wins_a_tournament_only_against_itself():
    # The worse has the higher quality: only the total says that it is worse.
    children = [child(0, 0.9, 0.0), child(1, 0.1, 2.0)]
    with seeded(0, 0, "test"):
        counts = Counter(numbers(selections["tournament"].choose(children, 1000)))
    assert 200 < counts[0] < 300


def test_nsga2_keeps_the_pareto_front_and_not_the_highest_totals():
    # 2 is on the front with a total of 2; 3 and 4 are dominated with totals of 8.
    values = [(10, 0), (0, 10), (1, 1), (9, -1), (-1, 9)]
    children = [child(number, *each) for number, each in enumerate(values)]
    assert sorted(numbers(choose("nsga2", children, 3))) == [0, 1, 2]


def test_nsga2_thins_a_front_where_it_is_crowded():
    values = [(0, 10), (5, 5), (5.1, 4.9), (10, 0)]
    children = [child(number, *each) for number, each in enumerate(values)]
    survivors = numbers(choose("nsga2", children, 3))
    assert {0, 3} < set(survivors)
    assert len(set(survivors) & {1, 2}) == 1


def test_nsga2_keeps_whole_fronts_before_it_thins_one():
    draw = random.Random(0)
    for _ in range(REPEATS):
        values = [(draw.randrange(8), draw.randrange(8)) for _ in range(14)]
        children = [child(number, *each) for number, each in enumerate(values)]
        front = {
            number
            for number, each in enumerate(values)
            if not any(dominates(other, each) for other in values)
        }
        for count in (len(front), 3, 10):
            survivors = set(numbers(choose("nsga2", children, count)))
            assert survivors <= front if count <= len(front) else survivors >= front


def test_lexicase_keeps_a_specialist_that_truncation_loses():
    # 3 is by far the best on the third group and has the lowest total.
    children = by_cases((5, 5, 0), (5.1, 5, 0.1), (5, 5.1, 0), (0, 0, 9))
    assert 3 not in numbers(choose("best", children, 3))
    assert children[3].total == min(one.total for one in children)
    with seeded(0, 0, "test"):
        counts = Counter(numbers(selections["lexicase"].choose(children, 3000)))
    # The third group comes first in a third of the orders, and leaves the specialist alone.
    assert counts[3] / 3000 == pytest.approx(1 / 3, abs=0.03)


def test_lexicase_takes_those_within_the_median_absolute_deviation_for_equals():
    # On the first group the deviation is 1, and so 9 is as good as 10; on the second it is 2, and 2
    # as good as 4. Child 1 is near the best on both; without tolerance 0 or 2 would win.
    children = by_cases((10, 0), (9, 2), (8, 4))
    with seeded(0, 0, "test"):
        counts = Counter(numbers(selections["lexicase"].choose(children, 3000)))
    assert set(counts) == {1}


def test_map_elites_keeps_the_fittest_of_each_cell_where_truncation_loses_whole_cells():
    # Cells 0, 1 and 2; whoever is fittest in cells 1 and 2 is less fit than all of cell 0.
    behaviours = [(5, 3, 2), (6, 4, 0), (9, 1, 0), (0, 6, 4), (1, 5, 4), (2, 3, 5), (0, 1, 9)]
    totals = [7, 9, 8, 2, 3, 1, 0]
    pairs = zip(totals, behaviours, strict=True)
    children = [child(number, total, behaviour=each) for number, (total, each) in enumerate(pairs)]
    assert numbers(choose("best", children, 3)) == [1, 2, 0]
    assert numbers(choose("map-elites", children, 3)) == [1, 4, 5]
    assert numbers(choose("map-elites", children, 2)) == [1, 4]
    assert numbers(choose("map-elites", children, 5)) == [1, 4, 5, 2, 0]


def test_map_elites_takes_those_whose_behaviour_nobody_saw_for_one_cell():
    children = [child(0, 3.0), child(1, 4.0), child(2, 1.0, behaviour=(0.0, 1.0)), child(3, 2.0)]
    assert numbers(choose("map-elites", children, 2)) == [1, 2]


def test_lexicase_reads_the_total_of_children_judged_on_no_groups():
    children = [child(number, quality) for number, quality in enumerate((0.0, 1.0, 9.0, 0.5))]
    assert numbers(choose("lexicase", children, 3)) == [2, 2, 2]


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        ((1.0, 2.0, 4.0), (0, 1 / 4, 3 / 4)),
        ((-7.0, -6.0, -4.0), (0, 1 / 4, 3 / 4)),
        ((-1e-9, 0.0, 2e-9), (0, 1 / 4, 3 / 4)),
        ((5.0, -3.0, 5.0, 1.0), (0.4, 0, 0.4, 0.2)),
        ((-3.0, -3.0, -3.0), (1 / 3, 1 / 3, 1 / 3)),
        ((0.0, 0.0), (1 / 2, 1 / 2)),
    ],
)
def test_roulette_draws_in_proportion_to_the_total_above_the_worst(totals, expected):
    # Of 20,000 draws a share has a standard deviation of at most 0.0035.
    assert shares("roulette", totals) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        ((1.0, 2.0, 3.0), (1 / 6, 2 / 6, 3 / 6)),
        ((-1.0, -2.0, -1000.0), (3 / 6, 2 / 6, 1 / 6)),
        ((0.0, 9.0, 9.0, -1.0), (5 / 24, 1 / 3, 1 / 3, 1 / 8)),
        ((2.0, 2.0, 2.0), (1 / 3, 1 / 3, 1 / 3)),
    ],
)
def test_rank_draws_in_proportion_to_a_line_over_the_ranks(totals, expected):
    assert shares("rank", totals) == pytest.approx(expected, abs=0.015)


def test_rank_reads_no_scale_and_roulette_does():
    totals = (-2.0, 0.5, 1.0, 3.0)
    stretched = [math.exp(4 * total) - 50 for total in totals]
    assert shares("rank", totals) == shares("rank", stretched)
    assert shares("roulette", totals)[2] > 10 * shares("roulette", stretched)[2]


def test_selections_that_need_more_than_the_total_say_so():
    needs = {name: each.needs for name, each in selections.items() if each.needs}
    assert needs == {"lexicase": "cases", "nsga2": "diversity", "map-elites": "behaviour"}
    assert all(selections[name].reads_fitness for name in needs)


def test_a_bare_callable_is_a_selection_that_reads_the_fitness():
    def last(children, count):
        return list(children[-count:])

    assert resolve(last) == Selection(last, reads_fitness=True)


@pytest.mark.parametrize("name", selections)
def test_a_name_is_resolved_to_its_entry(name):
    assert resolve(name) is selections[name]


def test_an_unknown_selection_is_named_with_the_nearest():
    with pytest.raises(UsageError, match=r"unknown selection 'bets': did you mean 'best'\?"):
        resolve("bets")
