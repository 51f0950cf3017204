"""Protocols are the published experiments: their settings start, and their figures are theirs."""

import pytest
import torch

from egan.assembly import make_world
from egan.config import Config
from egan.data import Stacked, Table, data_sets
from egan.presets import configure
from egan.scores import scores
from egan.settings import build, merge
from egan.snapshot import start
from egan.study.arms import parse_arms
from egan.study.cells import settings_of
from egan.study.compare import compare
from egan.study.plan import Asked
from egan.study.protocols import protocol_of, protocols
from egan.study.records import DataSet
from populations.errors import UsageError

TOYS = [name for name, each in protocols.items() if "stacked" not in name]


def config_of(name, arm_name, data=None):
    protocol = protocol_of(name)
    (arm,) = map(protocol.tailor, parse_arms([arm_name]))
    source = data or protocol.data[0]
    return configure(settings_of(DataSet(source, source, {}, "", 1), arm, protocol.settings, 0))


@pytest.mark.parametrize("name", protocols)
def test_every_arm_has_valid_settings_and_every_figure_an_arm_and_a_score(name):
    protocol = protocols[name]
    for arm in parse_arms(protocol.arms):
        build(Config, merge(protocol.settings, protocol.tailor(arm).settings))
    assert protocol.published.keys() <= set(protocol.arms)
    assert {score for row in protocol.published.values() for score in row} <= scores.keys()
    assert protocol.primary in scores


@pytest.mark.parametrize("name", TOYS)
def test_every_toy_starts_with_every_arm(name):
    for data in protocols[name].data:
        for arm in protocols[name].arms:
            assert start(make_world(config_of(name, arm, data))).generation == 0


@pytest.mark.parametrize("name", [name for name in protocols if name not in TOYS])
def test_every_protocol_of_images_starts_with_every_arm(name, monkeypatch):
    data = Stacked("blank", torch.zeros(9, 1, 28, 28), Table("blank", torch.zeros(9, 1, 28, 28)))
    monkeypatch.setitem(data_sets, protocols[name].data[0], lambda: data)
    for arm in protocols[name].arms:
        world = make_world(config_of(name, arm))
        assert start(world).generation == 0
        assert world.data.shape == (3, 28, 28)


@pytest.mark.parametrize("name", ["pacgan-ring", "pacgan-grid"])
def test_pacgans_toys_are_trained_as_in_its_code(name):
    config = config_of(name, "gan")
    assert (config.variation.lr, config.variation.beta1, config.variation.beta2) == (
        1e-4,
        0.8,
        0.999,
    )
    assert (config.environment.lr, config.environment.beta1) == (1e-4, 0.8)
    assert (config.variation.batch, config.environment.batch, config.lr_final) == (100, 100, 1.0)
    assert config.population.average == 0
    assert not any(config.environment.penalties.values())
    assert config.networks.initial_deviation == 0.02
    game = make_world(config).plan.game
    for player, count in ((game.generator, 484_802), (game.discriminator, 405_201)):
        assert sum(each.numel() for each in player.module.parameters()) == count


def test_batches_count_packs_where_they_did():
    for size, arm in (
        (2, "pacgan-2"),
        (3, "gan[packing=3]"),
        (4, "pacgan-4"),
        (2, "pacgan-2[gamma=0]"),
    ):
        config = config_of("pacgan-grid", arm)
        assert config.variation.batch == config.environment.batch == 100 * size
        assert config.environment.packing == size
    assert config_of("veegan-stacked", "pacgan-4").variation.batch == 256


def test_a_study_of_a_protocol_has_its_data_arms_settings_and_samples(tmp_path):
    small = {"networks": {"width": 8}}
    asked = Asked(protocol="pacgan-ring", seeds=[0], budget="generations=4", looks=2, common=small)
    found = compare(tmp_path / "study", asked, jobs=1)
    study = found.study
    assert [(each.name, each.samples, each.primary) for each in study.data] == [
        ("ring-pacgan", 2_500, "reverse-kl")
    ]
    assert [arm.name for arm in study.arms] == ["gan", "pacgan-2", "gan[packing=3]", "pacgan-4"]
    assert study.common == merge(protocols["pacgan-ring"].settings, small)
    assert found.folder.read() == study
    assert "6.3 ± 0.5" in found.table()
    again = compare(tmp_path / "study", Asked(seeds=[1], arms=["pacgan-2"]), jobs=1)
    assert len(again.cells) == 8
    same = compare(tmp_path / "study", asked, jobs=1)
    assert same.study == again.study
    with pytest.raises(UsageError, match="another protocol, pacgan-ring, not pacgan-grid"):
        compare(tmp_path / "study", Asked(protocol="pacgan-grid"), jobs=1)


def test_an_unknown_protocol_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="unknown protocol 'pacgan-rong': did you mean"):
        compare(tmp_path / "study", Asked(protocol="pacgan-rong"))
