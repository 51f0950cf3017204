"""Budgets: what they are written as, and what a generation costs."""

import pytest

from egan.assembly import make_world
from egan.cost import generation_flops
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


def test_a_baseline_costs_less_than_the_evolution_it_is_compared_with():
    flops = {}
    for name in ("default", "gradient-only"):
        world = make_world(configure({"preset": name, "execution": {"engine": "shared"}}))
        flops[name] = generation_flops(start(world), world)
    assert 1.5 < flops["default"] / flops["gradient-only"] < 3
