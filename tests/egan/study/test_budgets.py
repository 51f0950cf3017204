"""Budgets: what they are written as, and what a generation costs."""

import pytest
import torch

from egan.assembly import make_world
from egan.cost import Counter, generation_flops
from egan.fitness import distances
from egan.presets import configure
from egan.snapshot import start
from egan.study.budgets import KINDS, Budget, generator_steps, parse_budget, price_of
from populations.errors import UsageError


@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_is_a_kind_and_an_amount_or_what_an_arm_takes(kind):
    assert parse_budget(f"{kind}=1.5e3") == Budget(kind, 1500.0, "")
    found = parse_budget(f"{kind}=egan[gamma=1]:200")
    assert found == Budget(kind, 200.0, "egan[gamma=1]")
    assert parse_budget(str(found)) == found


@pytest.mark.parametrize("text", [
    "flops", "flops=", "flops=-1", "flops=0", "flops=many", "flops=inf", "flops=nan", "flops=egan:",
    "time=3", "",
])  # fmt: skip
def test_what_is_no_budget_is_one_sentence(text):
    with pytest.raises(UsageError, match="budget"):
        parse_budget(text)


@pytest.mark.parametrize(("settings", "steps"), [
    ({}, 3),
    ({"variation": {"mutations": ["heuristic"]}}, 1),
    ({"variation": {"steps": 4}}, 12),
    ({"population": {"mu": 2}}, 6),
    ({"variation": {"choice": "round-robin"}}, 1),
    ({"variation": {"mutations": ["heuristic+noise", "heuristic+minimax", "noise"]}}, 3),
    ({"variation": {"mutations": ["heuristic", "heuristic+minimax"], "choice": "random"}}, 1.5),
])  # fmt: skip
def test_generator_steps_are_the_optimiser_steps_of_all_children(make, settings, steps):
    assert generator_steps(make(settings)[0]) == steps


def test_a_price_names_every_kind_of_budget(make):
    world, state = make({})
    price = price_of(state, world)
    assert price.of("generations") == 1
    assert price.of("generator-steps") == 3
    assert price.of("flops") == generation_flops(state, world) > 0
    assert 0 < price.of("cpu-seconds") < 1
    assert 0 < price.of("seconds") < 5


@pytest.mark.parametrize("choice", ["round-robin", "random", "thompson"])
def test_a_choice_costs_what_its_mutations_cost_on_average_in_any_order(make, choice):
    def flops(*mutations, choice="all"):
        world, state = make({"variation": {"mutations": list(mutations), "choice": choice}})
        return generation_flops(state, world)

    cheap, dear = "heuristic", "heuristic+heuristic"
    found = [flops(*each, choice=choice) for each in ((cheap, dear), (dear, cheap))]
    assert found[0] == found[1]
    alone = [flops(each, each + "+noise", choice=choice) for each in (cheap, dear)]
    assert alone[0] < found[0] < alone[1]


def test_distances_between_samples_are_counted_as_their_product():
    left, right = torch.randn(5, 3, 2), torch.randn(7, 6)
    with Counter() as counter:
        distances(left, right)
    assert counter.total == 2 * 5 * 7 * (6 + 2)


def test_a_budget_is_written_with_all_its_digits():
    for amount in (1234567.0, 151_584_768_123.0, 0.1, 1e16):
        assert parse_budget(str(Budget("flops", amount))).amount == amount


def test_a_baseline_costs_less_than_the_evolution_it_is_compared_with():
    flops = {}
    for name in ("default", "gradient-only"):
        world = make_world(configure({"preset": name, "execution": {"engine": "shared"}}))
        flops[name] = generation_flops(start(world), world)
    assert 1.5 < flops["default"] / flops["gradient-only"] < 3
