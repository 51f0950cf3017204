"""Arms: every one is a run that can start, and a name says which settings it has."""

import pytest
import yaml

from egan.presets import configure
from egan.settings import differences, plain
from egan.snapshot import start
from egan.study.arms import USUAL, arms, parse_arms
from egan.study.cells import settings_of, world_of
from egan.study.records import DataSet
from populations.errors import UsageError

RING = DataSet("ring", "ring", {}, "energy-distance", 100)


def config_of(text, common=None):
    (arm,) = parse_arms([text])
    return configure(settings_of(RING, arm, common or {}, 0))


@pytest.mark.parametrize("name", arms)
def test_every_arm_is_a_run_that_can_start(name):
    (arm,) = parse_arms([name])
    world = world_of(RING, arm, settings_of(RING, arm, {}, 3))
    assert start(world).generation == 0
    assert world.config.seed == 3


@pytest.mark.parametrize("name", arms)
def test_no_arm_lacks_the_aids_of_evolution(name):
    config, own = config_of(name), config_of("egan")
    assert config.networks == own.networks
    assert (config.lr_final, config.population.average) == (own.lr_final, own.population.average)
    assert (config.variation.lr, config.environment.lr) == (own.variation.lr, own.environment.lr)
    assert any(config.environment.penalties.values())


@pytest.mark.parametrize("name", ["gan", "pacgan-2", "unrolled-5", "minimax-alone"])
def test_settings_of_all_arms_reach_arms_that_are_not_about_them(name):
    config = config_of(name, {"environment": {"objective": "rsgan", "steps": 2}})
    assert (config.environment.objective, config.environment.steps) == ("rsgan", 2)


@pytest.mark.parametrize(("name", "penalty"), [
    ("wgan-gp", "gradient-penalty"), ("dragan", "dragan"),
])  # fmt: skip
def test_penalties_are_weighed_for_images_as_published(name, penalty):
    (arm,) = parse_arms([name])
    digits = DataSet("digits", "digits", {}, "energy-distance", 100)
    for data, weight in ((RING, 0.1), (digits, 10.0)):
        found = configure(settings_of(data, arm, {}, 0)).environment.penalties
        assert found == {"r1": 0.0, "r2": 0.0, penalty: weight}
    (own,) = parse_arms([f"{name}[penalties.{penalty}=3]"])
    assert configure(settings_of(digits, own, {}, 0)).environment.penalties[penalty] == 3


@pytest.mark.parametrize("name", USUAL)
def test_the_usual_arms_are_arms(name):
    assert name in arms


def test_the_controls_differ_from_evolution_in_what_they_control_alone():
    own = plain(config_of("egan"))
    for name, setting in (
        ("random-selection", "population.selection"),
        ("round-robin", "variation.choice"),
        ("random-mutation", "variation.choice"),
        ("gan", "variation.mutations"),
    ):
        (only,) = differences(plain(config_of(name)), own)
        assert only.startswith(setting)


def test_presets_and_files_are_arms_too(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"fitness": {"gamma": 0.7}}))
    assert config_of(str(path)).fitness.gamma == 0.7
    assert config_of("paper").networks.name == "toy"
    assert config_of(f"{path}[samples=32]").fitness.samples == 32


def test_a_setting_may_be_written_by_the_end_of_its_name():
    assert config_of("egan[gamma=0.5]").fitness.gamma == 0.5
    assert config_of("egan[fitness.gamma=0.5]").fitness.gamma == 0.5
    assert config_of("egan[penalties.r1=0]").environment.penalties == {"r1": 0.0, "r2": 0.05}
    assert config_of("egan[first=environment]").first == "environment"


def test_settings_of_all_arms_lie_under_each_arms_own():
    common = {"environment": {"penalties": {"r1": 0.3, "r2": 0.0}}, "population": {"average": 0.9}}
    assert config_of("egan", common).environment.penalties == {"r1": 0.3, "r2": 0.0}
    assert config_of("dragan", common).environment.penalties == {
        "r1": 0.0, "r2": 0.0, "dragan": 0.1,
    }  # fmt: skip
    assert config_of("dragan", common).population.average == 0.9


@pytest.mark.parametrize(("texts", "says"), [
    (["egna"], "unknown arm 'egna': did you mean 'egan'"),
    (["egan[gama=1]"], "unknown setting 'gama'"),
    (["egan[lr=1]"], "the setting lr is variation.lr or environment.lr: write which"),
    (["egan", "gan", "egan"], "the arm egan is there twice"),
    (["egan[records.judge=modes]"], "sets records, which is the study's: leave it out"),
    (["egan[seed=1,2]"], r"the arm egan\[seed=1\] sets seed"),
    (["egan[gamma=0;gamma=1]"], "has a setting twice"),
    (["nowhere.yaml"], "nowhere.yaml does not exist"),
])  # fmt: skip
def test_what_is_no_arm_is_one_sentence(texts, says):
    with pytest.raises(UsageError, match=says):
        parse_arms(texts)
