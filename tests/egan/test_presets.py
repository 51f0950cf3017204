"""Presets build, hold the numbers of their sources, and name only what is registered."""

import pytest

from egan.data import data_sets
from egan.fitness import qualities
from egan.games import games
from egan.losses import mutations, objectives
from egan.networks import networks
from egan.penalties import penalties
from egan.presets import configure, presets
from egan.scores import scores
from egan.settings import differences, plain
from populations.errors import UsageError
from populations.selection import selections

BUILDS = [(name, "ring") for name in presets] + [
    (name, data) for name, preset in presets.items() for data in preset.tailored
]
RELEASED = [name for name in presets if name.startswith("released-")]


def names_of(one, other):
    """The dotted settings in which two configurations differ."""
    return [each.split(" ")[0] for each in differences(plain(one), plain(other))]


@pytest.mark.parametrize(("name", "data"), BUILDS)
def test_every_preset_builds_for_every_data_set_it_knows(name, data):
    config = configure({"preset": name, "data": data})
    assert (config.preset, config.data) == (name, data)


@pytest.mark.parametrize(("name", "data"), BUILDS)
def test_every_name_in_a_preset_is_registered(name, data):
    config = configure({"preset": name, "data": data})
    assert config.data in data_sets
    assert config.game in games
    assert config.networks.name in networks
    assert config.population.selection in selections
    assert set(config.variation.mutations) <= set(mutations)
    assert config.fitness.quality in qualities
    assert config.environment.objective in objectives
    assert set(config.environment.penalties) <= set(penalties)
    assert config.records.judge in scores


@pytest.mark.parametrize("name", presets)
def test_a_preset_is_tailored_to_registered_data_only(name):
    assert set(presets[name].tailored) <= set(data_sets)


@pytest.mark.parametrize("data", ["ring", *presets["default"].tailored])
def test_gradient_only_is_the_default_with_one_mutation(data):
    default = configure({"data": data})
    alone = configure({"preset": "gradient-only", "data": data})
    assert names_of(alone, default) == ["preset", "variation.mutations"]
    assert len(alone.variation.mutations) == 1
    assert len(default.variation.mutations) > 1
    assert set(alone.variation.mutations) < set(default.variation.mutations)


def test_without_a_preset_the_default_is_meant():
    assert configure() == configure({"preset": "default", "data": "ring"})


def test_paper_has_the_papers_numbers():
    config = configure({"preset": "paper"})
    variation, environment = config.variation, config.environment
    assert variation.mutations == ("minimax", "heuristic", "least-squares")
    for each in (variation, environment):
        assert (each.lr, each.beta1, each.beta2, each.batch) == (2e-4, 0.5, 0.99, 16)
    assert (environment.steps, environment.fakes, environment.objective) == (2, "fresh", "minimax")
    assert not any(environment.penalties.values())
    assert config.first == "environment"
    assert config.lr_final == 1.0
    assert (config.population.mu, config.population.selection) == (1, "best")
    assert config.population.average == 0.0
    assert (config.fitness.quality, config.fitness.samples) == ("probability", 16)
    assert not config.fitness.shared_noise
    assert config.fitness.gamma == 1.0
    assert config.networks.name == "toy"
    assert config.networks.noise == "normal"


def test_released_theano_has_that_codes_numbers():
    config = configure({"preset": "released-theano"})
    variation, environment = config.variation, config.environment
    assert variation.mutations == ("non-saturating", "vanilla", "least-squares")
    assert (variation.lr, variation.beta1, variation.beta2) == (1e-4, 0.5, 0.999)
    assert (environment.lr, environment.beta1, environment.beta2) == (1e-4, 0.0, 0.999)
    assert (variation.batch, environment.batch, environment.steps) == (64, 64, 1)
    assert variation.moments == "mutation"
    assert (config.fitness.gamma, config.fitness.samples) == (2.0, 256)
    assert config.fitness.real == "training"
    assert (config.networks.name, config.networks.noise) == ("toy-theano", "uniform")
    assert (config.networks.noise_dimension, config.networks.initial_deviation) == (2, 0.02)


def test_released_pytorch_has_that_codes_numbers():
    config = configure({"preset": "released-pytorch"})
    variation, environment = config.variation, config.environment
    assert variation.mutations == ("non-saturating", "vanilla", "least-squares-logit")
    for each in (variation, environment):
        assert (each.lr, each.beta1, each.beta2, each.batch) == (2e-4, 0.5, 0.999, 32)
    assert environment.steps == 3
    assert variation.moments == "inherited"
    assert (config.fitness.gamma, config.fitness.samples) == (0.01, 256)
    assert config.population.initial == "identical"
    assert (config.networks.name, config.networks.noise) == ("toy", "uniform")
    assert (config.networks.noise_dimension, config.networks.initial_deviation) == (100, 0.02)


@pytest.mark.parametrize("name", RELEASED)
def test_released_codes_reuse_judged_fakes_without_penalties_or_schedules(name):
    config = configure({"preset": name})
    assert config.first == "generators"
    assert config.environment.fakes == "judged"
    assert not any(config.environment.penalties.values())
    assert config.lr_final == 1.0
    assert config.population.average == 0.0
    assert not config.fitness.shared_noise


@pytest.mark.parametrize("name", presets)
def test_what_is_given_lies_over_the_preset(name):
    config = configure({"preset": name, "variation": {"lr": 0.125}})
    assert names_of(config, configure({"preset": name})) == ["variation.lr"]


@pytest.mark.parametrize("name", presets)
def test_one_penalty_given_leaves_the_others_as_the_preset_has_them(name):
    config = configure({"preset": name, "environment": {"penalties": {"r1": 0.125}}})
    assert names_of(config, configure({"preset": name})) == ["environment.penalties.r1"]


def test_later_layers_lie_over_earlier_ones():
    layers = {"seed": 1, "variation": {"lr": 0.5, "batch": 8}}, {"variation": {"lr": 0.25}}
    config = configure(*layers)
    assert (config.seed, config.variation.lr, config.variation.batch) == (1, 0.25, 8)


def test_configuring_changes_no_preset():
    before = configure({"preset": "paper"})
    configure({"preset": "paper", "environment": {"penalties": {"r1": 5.0}}, "seed": 3})
    assert configure({"preset": "paper"}) == before


def test_an_unknown_preset_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="unknown preset 'papre': did you mean 'paper'"):
        configure({"preset": "papre"})
