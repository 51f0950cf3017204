"""Choices of operators keep what they promise, and adaptive ones beat chance where it drifts."""

import math
import random
from collections import Counter
from statistics import fmean

import pytest
import torch

from populations.choice import (
    FLOOR,
    WINDOW,
    Choice,
    choices,
    probability_matching,
    remember,
    resolve,
    rewards,
    thompson,
    ucb,
)
from populations.errors import UsageError
from populations.randomness import seeded

OPERATORS = ["minimax", "heuristic", "least-squares", "hinge"]
ADAPTIVE = [name for name in choices if choices[name].reads_gains]
TURNS = 600


def choose(name, history, count=1, turn=0, draw=0, operators=OPERATORS):
    with seeded(0, draw, "test"):
        return choices[name].choose(history, operators, count, turn)


def some_history(length=120):
    """Gains in which later operators of the list do better."""
    draw = random.Random(0)
    names = [draw.choice(OPERATORS) for _ in range(length)]
    return [(name, OPERATORS.index(name) + draw.gauss(0, 1)) for name in names]


def play(name, seed):
    """The mean merit, in [0, 1], of the operators chosen one at a time on drifting gains.

    Merits change places in the middle; all the while the scale of gains falls to a thousandth and
    most gains are losses.
    """
    history, got = [], []
    with seeded(seed, 0, "test"):
        merits = random.sample([0.0, 1 / 3, 2 / 3, 1.0], 4)
        for turn in range(TURNS):
            if turn == TURNS // 2:
                merits = [1 - merit for merit in merits]
            (chosen,) = choices[name].choose(history, OPERATORS, 1, turn)
            merit = merits[OPERATORS.index(chosen)]
            gain = 10 ** (-3 * turn / TURNS) * (1.5 * merit - 1.2 + random.gauss(0, 1))
            history = remember(history, [(chosen, gain)], len(OPERATORS))
            got.append(merit)
    return fmean(got)


@pytest.mark.parametrize(
    ("name", "least"), [("probability-matching", 0.53), ("ucb", 0.67), ("thompson", 0.7)]
)
def test_an_adaptive_choice_beats_a_uniform_one_where_merits_and_scale_drift(name, least):
    uniform = [play("random", seed) for seed in range(8)]
    adaptive = [play(name, seed) for seed in range(8)]
    assert fmean(uniform) == pytest.approx(0.5, abs=0.02)
    assert fmean(adaptive) > least


@pytest.mark.parametrize("name", choices)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("history", [[], some_history(1), some_history(3), some_history()], ids=len)
def test_as_many_different_operators_are_chosen_as_wanted(name, count, history):
    for turn in range(12):
        chosen = choose(name, history, count, turn, draw=turn)
        assert len(chosen) == len(set(chosen)) == (4 if name == "all" else count)
        assert set(chosen) <= set(OPERATORS)
        assert all(type(each) is str for each in chosen)


@pytest.mark.parametrize("name", choices)
def test_of_one_operator_that_one_is_chosen(name):
    assert choose(name, [("minimax", 0.0)] * 3, operators=["minimax"]) == ["minimax"]


@pytest.mark.parametrize("name", choices)
def test_a_choice_draws_from_the_seeded_generators_only_and_changes_no_history(name):
    history = some_history()
    assert choose(name, history, 2, 5) == choose(name, history, 2, 5)
    assert history == some_history()


@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_choices_prefer_what_gained_most(name):
    counts = Counter(choose(name, some_history(), draw=draw)[0] for draw in range(400))
    assert counts.most_common(1)[0][0] == "hinge"


@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_scale_of_gains_plays_no_part(name):
    history = some_history()
    rescaled = [(operator, math.exp(gain) * 1e-6) for operator, gain in history]
    for draw in range(20):
        assert choose(name, history, 2, draw=draw) == choose(name, rescaled, 2, draw=draw)


def test_all_are_all_in_order():
    assert choose("all", some_history()) == OPERATORS


@pytest.mark.parametrize("count", [1, 2, 3])
def test_round_robin_visits_all_equally_and_in_order(count):
    turns = [choose("round-robin", [], count, turn) for turn in range(4)]
    assert [name for turn in turns for name in turn] == OPERATORS * count


def test_random_is_uniform_whatever_was_gained():
    history = [("hinge", 9.0), ("minimax", -9.0)] * 40
    counts = Counter()
    for draw in range(1000):
        counts.update(choose("random", history, 2, draw=draw))
    # Each is chosen with probability 1/2: 500 times, standard deviation 16.
    assert all(435 < counts[name] < 565 for name in OPERATORS)


def test_probability_matching_never_falls_below_its_floor_and_is_proportional_above_it():
    # The ranks of these gains are 0, 1/3, 2/3 and 1; their sum is 2.
    gains = {"minimax": -math.inf, "heuristic": -1.0, "least-squares": 0.5, "hinge": 80.0}
    means = dict(zip(OPERATORS, (0.0, 1 / 3, 2 / 3, 1.0), strict=True))
    with seeded(0, 0, "test"):
        drawn = [probability_matching(list(gains.items()), OPERATORS, 1, 0)[0] for _ in range(8000)]
    for name, count in Counter(drawn).items():
        expected = FLOOR / 4 + (1 - FLOOR) * means[name] / 2
        assert count / 8000 == pytest.approx(expected, abs=0.02)
    assert Counter(drawn)["minimax"] / 8000 > 0.75 * FLOOR / 4


def test_ucb_tries_each_operator_first():
    history, chosen = [], []
    for turn in range(4):
        (name,) = choose("ucb", history, draw=turn)
        chosen.append(name)
        history = remember(history, [(name, 100.0 if not turn else -100.0)], 4)
    assert sorted(chosen) == sorted(OPERATORS)


def test_ucb_weighs_the_mean_against_how_rarely_an_operator_was_tried():
    # 20 rewards of .65 against one of .26: the bounds are .65 + .32 and .26 + 1.41.
    history = [("minimax", 1.0)] * 20 + [("hinge", 0.5)] + [("heuristic", 0.0)] * 7
    with seeded(0, 0, "test"):
        order = ucb(history, ["minimax", "hinge", "heuristic"], 3, 0)
    bounds = {}
    for name, own in rewards(history, ["minimax", "hinge", "heuristic"]).items():
        bounds[name] = sum(own) / len(own) + math.sqrt(0.6 * math.log(28) / len(own))
    assert order == sorted(bounds, key=bounds.get, reverse=True)
    assert order[0] == "hinge"


def test_thompson_draws_from_the_posterior_of_fractional_rewards():
    # Four rewards of 3/4 against three of 1/6: Beta(4, 2) against Beta(1.5, 3.5).
    history = [("minimax", 2.0)] * 4 + [("hinge", 1.0)] * 3
    own = rewards(history, ["minimax", "hinge"])
    posteriors = [
        torch.distributions.Beta(1.0 + sum(each), 1.0 + len(each) - sum(each))
        for each in own.values()
    ]
    with seeded(1, 0, "test"):
        left, right = (each.sample((20_000,)) for each in posteriors)
        wins = [thompson(history, ["minimax", "hinge"], 1, 0) == ["minimax"] for _ in range(8000)]
    assert fmean(wins) == pytest.approx((left > right).float().mean().item(), abs=0.02)


def test_a_reward_is_the_rank_of_a_gain_among_all_in_the_window():
    history = [("a", 5.0), ("b", -math.inf), ("a", 1e9), ("b", 5.0), ("gone", -2.0)]
    assert rewards(history, ["a", "b", "c"]) == {"a": [0.625, 1.0], "b": [0.0, 0.625], "c": []}


def test_the_window_keeps_the_most_recent_gains_of_all_operators_together():
    history = []
    for turn in range(500):
        history = remember(history, [("a", turn), ("b", -turn)], 3)
    assert len(history) == 3 * WINDOW
    assert history[0] == ("a", 500 - 3 * WINDOW / 2)
    assert history[-1] == ("b", -499.0)


def test_remembering_changes_no_history_and_takes_what_is_no_number_for_the_worst():
    before = [("a", 1.0)]
    after = remember(before, [("b", math.nan), ("b", -math.inf)], 2)
    assert before == [("a", 1.0)]
    assert after == [("a", 1.0), ("b", -math.inf), ("b", -math.inf)]


def test_a_history_is_plain_data(tmp_path):
    history = remember(some_history(), [("minimax", -math.inf), ("hinge", 3)], 4)
    torch.save(history, tmp_path / "history.pt")
    assert torch.load(tmp_path / "history.pt", weights_only=True) == history
    assert all(type(name) is str and type(gain) is float for name, gain in history)


def test_only_adaptive_choices_read_gains():
    assert ADAPTIVE == ["probability-matching", "ucb", "thompson"]
    for name in set(choices) - set(ADAPTIVE):
        assert choose(name, [], 2, 3) == choose(name, some_history(), 2, 3)


def test_a_bare_callable_is_a_choice_that_reads_gains():
    def first(history, operators, count, turn):
        return operators[:count]

    assert resolve(first) == Choice(first, reads_gains=True)


@pytest.mark.parametrize("name", choices)
def test_a_name_is_resolved_to_its_entry(name):
    assert resolve(name) is choices[name]


def test_an_unknown_choice_is_named_with_the_nearest():
    with pytest.raises(UsageError, match=r"unknown choice 'ubc': did you mean 'ucb'\?"):
        resolve("ubc")
