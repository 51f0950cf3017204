"""What is said of choices that can be computed and are hardly meant."""

import logging

import pytest
from torch import nn

FREE = {"environment": {"penalties": {"r1": 0.0, "r2": 0.0}}}
CRITIC = {"environment": {"objective": "wasserstein"}}
SPECTRAL = {"networks": {"discriminator": lambda: nn.Sequential(
    nn.utils.parametrizations.spectral_norm(nn.Linear(2, 4)), nn.ReLU(), nn.Linear(4, 1)
)}}  # fmt: skip


@pytest.fixture
def said(make, caplog):
    """A function that makes a world and gives the warnings that were logged."""

    def warnings(*layers):
        caplog.clear()
        make(*layers)
        assert {each[:2] for each in caplog.record_tuples} <= {("egan", logging.WARNING)}
        return [each.message for each in caplog.records]

    return warnings


def penalty(name, weight=0.1):
    return {"environment": {"penalties": {name: weight}}}


@pytest.mark.parametrize(("layer", "objective", "mutations"), [
    (CRITIC, "wasserstein", "minimax, heuristic, least-squares"),
    ({"variation": {"mutations": ["wasserstein", "minimax"]}}, "minimax", "wasserstein, minimax"),
])  # fmt: skip
def test_a_wasserstein_critic_whose_slope_nothing_bounds_is_named(
    said, layer, objective, mutations
):
    (sentence,) = said(FREE, layer)
    assert sentence == (
        f"the objective is {objective!r} and the mutations are {mutations}: 'wasserstein' needs a "
        "discriminator whose slope is bounded; set environment.clip, a gradient penalty, r1 or r2 "
        "(environment.penalties), or use spectral norm."
    )
    for loose in ("lecam", "consistency", "orthogonal"):
        assert said(FREE, layer, penalty(loose)) == [sentence]


@pytest.mark.parametrize("bound", [
    {"environment": {"clip": 0.01}}, SPECTRAL, penalty("r1"), penalty("r2"),
    penalty("gradient-penalty"), penalty("gradient-penalty-one-sided"), penalty("dragan"),
    penalty("egan.penalties:r1"),
])  # fmt: skip
def test_a_wasserstein_critic_whose_slope_is_bounded_is_not(said, bound):
    assert said(FREE, CRITIC, bound) == []


def test_other_objectives_need_no_bound(said):
    assert said(FREE) == []


def test_probability_under_a_relativistic_objective_is_named(said):
    rasgan = {"environment": {"objective": "rasgan"}}
    assert said(rasgan) == [
        "fitness.quality is 'probability', and under the objective 'rasgan' logits mean something "
        "by their differences alone: fitness.quality = 'logit' ranks by those."
    ]
    assert said(rasgan, {"fitness": {"quality": "logit"}}) == []
    assert said(rasgan, {"variation": {"mutations": ["rasgan"]}}) == []  # nobody is judged


@pytest.mark.parametrize(("settings", "says"), [
    ({"variation": {"mutations": ["wasserstein", "hinge"]}}, "wasserstein and hinge are the same"),
    ({"environment": {"lazy": 4, "penalties": {"r1": 0.0, "r2": 0.0}}}, "there are no penalties"),
    ({"environment": {"hall": 2}, "population": {"selection": "random"}}, "nobody is judged"),
    ({"population": {"selection": "lexicase"}}, "reads quality alone"),
    ({"population": {"selection": "map-elites"}},
     "set population.mu = 16 (one a landmark), population.parents = 'compete' (or elites die), "
     "population.mixture"),
])  # fmt: skip
def test_what_is_hardly_meant_is_one_line_of_the_log(make, caplog, settings, says):
    make(settings)
    assert [each for each in caplog.messages if says in each]
    caplog.clear()
    make()
    assert not caplog.messages
