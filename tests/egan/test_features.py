"""Images are seen through a network that says its name, the same in any order and company."""

import json
import sys
import types

import pytest
import torch
from torch import nn

import egan
from egan.data import Table, make_data
from egan.scores import applicable, classifiers, evaluate, features, floors, named, scores
from egan.scores.classifiers import Sight
from egan.scores.features import (
    FeatureNetwork,
    features_of,
    look,
    nearest,
    network_of,
    reference_of,
)
from populations.errors import UsageError
from populations.randomness import generator, seeded


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """A cache of its own, nothing remembered, and quick training."""
    monkeypatch.setenv("EGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(classifiers, "LEAST", 2_000)
    remembered = (
        classifiers.judge_for, features._usual, features._network_of, reference_of, features_of,
    )  # fmt: skip
    for each in remembered:
        each.cache_clear()
    yield tmp_path / "cache"
    for each in remembered:
        each.cache_clear()


def images(count=120, channels=1, side=8, labelled=True, index=0):
    """Images that are bright on the left or on the right."""
    labels = torch.arange(count) % 2
    values = 0.2 * torch.randn(count, channels, side, side, generator=generator(0, 0, "v", index))
    values[..., : side // 2] += (1 - 2 * labels).view(-1, 1, 1, 1) * 0.5
    return Table("halves", values.clamp(-1, 1), labels if labelled else None)


def bases(names):
    return [name.partition("/")[0] for name in names]


def test_labelled_images_are_seen_by_their_classifier_and_others_by_random_weights():
    assert network_of(images()).name == "classifier"
    assert network_of(images(labelled=False)).name == "random"
    assert "frechet-distance/classifier" in applicable(images())
    assert "frechet-distance/random" in applicable(images(labelled=False))
    assert "confidence" in applicable(images())
    assert "confidence" not in applicable(images(), "random")  # no classifier is trained for it
    assert "inception-score/classifier" in applicable(images())
    assert "inception-score" not in bases(applicable(images(labelled=False)))
    assert not any("/" in name for name in applicable(make_data("ring")))
    assert not any("/" in name for name in applicable(make_data("stacked-digits")))


def test_labels_that_cannot_be_learnt_are_no_reason_to_stop(caplog):
    data = images()
    tossed = torch.randint(2, (120,), generator=generator(0, 0, "labels"))
    mixed = Table("mixed", data.values, tossed)
    assert network_of(mixed).name == "random"
    assert "confidence" not in applicable(mixed)
    assert caplog.messages[-1].startswith(
        "Classes are not judged: the classifier of mixed is right in "
    )


def test_every_score_by_features_is_in_the_table_of_scores_and_judges_these_images():
    found = evaluate(images(60, side=24, index=1).values, images(side=24))
    by_network = {name for name, each in scores.items() if each.needs in ("features", "logits")}
    assert by_network <= set(bases(found))
    assert "ms-ssim" in found
    assert all(value == value and abs(value) < 1e5 for value in found.values())


def test_authenticity_is_judged_where_unseen_samples_tell_what_it_should_be():
    table = images()
    tested = Table("halves", table.values, table.labels, images(index=1))
    assert "authenticity/classifier" not in applicable(table)
    assert "authenticity/classifier" in applicable(tested)
    assert floors(tested, 100)["authenticity/classifier"] > 0.2


def test_copies_of_any_image_are_told_from_authentic_ones(monkeypatch):
    monkeypatch.setattr(features, "KEPT", 10)
    values = torch.randint(256, (60, 1, 8, 8), dtype=torch.uint8)
    table = Table("own", values, unseen=Table("own", values[:5]))
    copies, noise = values.float() / 127.5 - 1, torch.rand(60, 1, 8, 8) * 2 - 1
    found = [evaluate(each, table, names=["authenticity/random"]) for each in (copies, noise)]
    assert found[0]["authenticity/random"] == 0
    assert found[1]["authenticity/random"] > 0.2


@pytest.mark.parametrize("name", ["classifier", "random"])
def test_what_is_seen_does_not_depend_on_company(name, monkeypatch):
    data = images()
    network = network_of(data, name)
    whole = look(data.values, network)
    monkeypatch.setattr(features, "CHUNK", 7)
    parts = look(data.values.clone(), network)
    alone = look(data.values[5:6].clone(), network)
    assert torch.allclose(parts.features, whole.features, atol=1e-5)
    assert torch.allclose(alone.features, whole.features[5:6], atol=1e-5)
    assert not whole.features.requires_grad


@pytest.mark.parametrize(("side", "parts"), [(64, [40]), (256, [16, 16, 8])])
def test_of_large_images_fewer_are_seen_at_a_time(side, parts):
    found = []

    def see(images):
        found.append(len(images))
        return Sight(images.flatten(1)[:, :2], None)

    samples = torch.zeros(40, 3, side, side)
    assert look(samples, FeatureNetwork("own", see, "own", False)).features.shape == (40, 2)
    assert found == parts


def test_the_classifiers_features_are_its_last_maps_and_its_logits_its_own():
    data = images()
    judge, sight = classifiers.judge_for(data), look(data.values, network_of(data))
    with torch.no_grad():
        maps = judge.network[0](data.values)
    assert torch.allclose(sight.features, maps.mean((2, 3)), atol=1e-5)
    assert torch.allclose(sight.logits.softmax(1), judge.probabilities(data.values), atol=1e-5)


def test_random_features_are_the_same_everywhere_and_touch_no_other_randomness():
    before = torch.get_rng_state()
    first = look(images().values, network_of(images(labelled=False)))
    assert torch.equal(torch.get_rng_state(), before)
    features._network_of.cache_clear()
    with seeded(9, 0, "elsewhere"):
        again = look(images().values, network_of(images(30, side=8, labelled=False, index=4)))
    assert torch.equal(first.features, again.features)
    assert first.features.shape == (120, 256)
    assert (first.features.std(0) > 1e-3).double().mean() > 0.9


def test_pixels_are_seen_as_they_are_drawn():
    pixels = torch.randint(256, (20, 1, 8, 8), generator=generator(0, 0, "pixels")).byte()
    network = network_of(images(labelled=False))
    scaled = pixels.float() / 127.5 - 1
    assert torch.allclose(look(pixels, network).features, look(scaled, network).features, atol=1e-5)


def test_what_the_data_are_is_kept_and_tied_to_data_and_network(own):
    data = images(labelled=False)
    network = network_of(data)
    found = reference_of(data, network)
    seen = look(data.values, network).features.double()
    assert found.size == 120
    assert torch.allclose(found.mean, seen.mean(0))
    assert torch.allclose(found.covariance, seen.T.cov())
    assert sorted(found.features.sum(1).tolist()) == pytest.approx(sorted(seen.sum(1).tolist()))
    reference_of.cache_clear()
    assert torch.equal(reference_of(data, network).features, found.features)
    assert len(list(own.glob("reference-*.safetensors"))) == 1
    reference_of(images(labelled=False, index=1), network)
    reference_of(images(), network_of(images()))
    assert len(list(own.glob("reference-*.safetensors"))) == 3


def test_of_many_images_a_part_stands_for_all(monkeypatch):
    monkeypatch.setattr(features, "STATISTICS", 50)
    monkeypatch.setattr(features, "KEPT", 20)
    data = images(labelled=False)
    found = reference_of(data, network_of(data))
    assert (found.size, len(found.features)) == (50, 20)
    rows = {tuple(row) for row in look(data.values, network_of(data)).features.tolist()}
    assert all(any(torch.allclose(torch.tensor(r), f) for r in rows) for f in found.features[:3])


class Counting(nn.Module):
    """A feature network that knows how many images it has seen."""

    seen = 0

    def forward(self, samples):
        Counting.seen += len(samples)
        return samples.flatten(1)[:, :5]


def test_images_are_looked_at_once_for_statistics_and_neighbours_alike(own, monkeypatch):
    data, name = images(labelled=False), Counting()
    network = network_of(data, name)
    Counting.seen = 0
    reference_of(data, network)
    assert 120 <= Counting.seen <= 121  # one more tells how many dimensions there are
    found = nearest(data.values[7:8], data, 3, name)
    features_of.cache_clear()  # as in another process
    before = Counting.seen
    again = nearest(data.values[7:8].clone(), data, 3, name)
    assert Counting.seen - before == 2
    assert found[0].tolist() == again[0].tolist()
    assert found[0][0, 0] == 7
    assert torch.equal(features_of(data, network), look(data.values, network).features)
    assert len(list(own.glob("features-*.npy"))) == 1
    monkeypatch.setattr(features, "WHOLE", 100)
    reference_of(images(labelled=False, index=1), network)
    assert len(list(own.glob("features-*.npy"))) == 1  # of so many they would fill the disk


def test_other_images_and_other_networks_have_other_neighbours():
    data, others = images(labelled=False), images(labelled=False, index=1)
    for table, name in ((data, Scaled(1.0)), (others, Scaled(1.0)), (data, Scaled(-3.0))):
        network = network_of(table, name)
        assert torch.equal(features_of(table, network), look(table.values, network).features)


class Mean(nn.Module):
    """A feature network of one's own: the mean of each half."""

    def forward(self, samples):
        return torch.stack([half.mean((1, 2, 3)) for half in samples.chunk(2, dim=3)], dim=1)


class Scaled(nn.Module):
    """A network whose behaviour is not all in its weights."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, samples):
        return self.factor * samples.flatten(1)[:, :4]


def test_what_the_data_are_is_tied_to_all_that_a_network_computes_with():
    digests = {network_of(images(), Scaled(each)).digest for each in (1.0, 100.0)}
    assert len(digests) == 2
    assert network_of(images(), Scaled(1.0)).digest in digests
    found = evaluate(images(index=1).values, images(), features=Scaled(2.0))
    assert sum("/" in name for name in found) > 5


def test_a_score_is_computed_by_its_name_alone_and_in_inference_mode():
    data, others = images(), images(index=1).values
    (value,) = evaluate(others, data, ["frechet-distance"]).values()
    (same,) = evaluate(others, data, ["frechet-distance/classifier"]).values()
    (other,) = evaluate(others, data, ["frechet-distance"], features="random").values()
    assert value == same != other
    with torch.inference_mode():
        assert evaluate(data.values + 0, data, ["precision"]) == {"precision": 1.0}


def test_test_images_without_classes_leave_a_quarter_to_test_the_classifier_on():
    table = images()
    told = Table("halves", table.values, table.labels, images(labelled=False, index=1))
    assert classifiers.judge_for(told).accuracy > 0.95


def wrong():
    return Table


class Flat(nn.Module):
    def forward(self, samples):
        return samples


def test_a_network_of_ones_own_gives_scores_its_name():
    name = f"{__name__}:Mean"
    names = applicable(images(), name)
    assert f"frechet-distance/{name}" in names
    found = evaluate(images(index=1).values, images(), features=name)
    assert 0 <= found[f"frechet-distance/{name}"] < 0.1
    assert found[f"precision/{name}"] > 0.9


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("clasifier", "unknown feature network 'clasifier': did you mean 'classifier'?"),
        (f"{__name__}:wrong", "makes type: it must be a torch.nn.Module."),
        (f"{__name__}:Flat", "must map images to features, (n, dimensions)."),
    ],
)
def test_a_wrong_network_is_refused(name, problem):
    with pytest.raises(UsageError) as error:
        evaluate(images().values, images(), features=name)
    assert problem in str(error.value)


class Extractor(nn.Module):
    """torch-fidelity's Inception, of which only the form is known here."""

    given: tuple = ()

    def __init__(self, name, wanted, feature_extractor_weights_path=None):
        super().__init__()
        Extractor.given = (name, wanted, feature_extractor_weights_path)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, pixels):
        assert (pixels.dtype, pixels.shape[1]) == (torch.uint8, 3)
        flat = pixels.float().flatten(1)
        return flat[:, :6] * self.weight, flat[:, :3]


def test_inception_is_asked_as_its_library_wants_it(monkeypatch):
    library = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    library.FeatureExtractorInceptionV3 = Extractor
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, library.__name__, library)
    monkeypatch.setenv("EGAN_INCEPTION", "weights.pth")
    found = evaluate(images(60, index=1).values, images(), features="inception")
    assert Extractor.given == ("inception-v3-compat", ["2048", "logits_unbiased"], "weights.pth")
    assert {"frechet-distance/inception", "inception-score/inception"} <= set(found)
    network = network_of(images(), "inception")
    ends = torch.tensor([-1.0, 1.0, 0.0, 3.0]).view(1, 1, 2, 2)
    assert look(ends, network).features[0, :4].tolist() == [0, 255, 128, 255]


def test_without_its_library_inception_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(UsageError) as error:
        network_of(images(), "inception")
    assert str(error.value) == (
        "the feature network inception needs torch-fidelity: pip install 'egan[inception]'."
    )


def test_a_score_is_meant_by_its_name_with_and_without_the_network():
    names = ["energy-distance", "precision/random", "recall/random"]
    assert named("precision", names) == "precision/random"
    assert named("precision/random", names) == "precision/random"
    assert named("precision/classifier", names) is None
    assert named("energy-distance", names) == "energy-distance"


def test_the_best_generator_by_features_is_kept_and_both_are_reported(tmp_path):
    small = {"generations": 6, "networks": {"name": "convolutional", "width": 2}}
    records = {
        "judge": "precision", "score_every": 2, "score_samples": 60, "final_samples": 60,
        "checkpoint_every": 6, "pictures": 1, "features": "random",
    }  # fmt: skip
    egan.evolve("digits", config={**small, "records": records}, run=tmp_path / "r")
    from egan.directory import Directory
    from egan.findings import paragraph, recorded_scores
    from egan.generator import exported
    from egan.monitor import read_log

    directory = Directory(tmp_path / "r")
    looks = {
        row["generation"]: row["score"]["precision/random"]
        for row in read_log(directory.log)
        if "score" in row
    }
    kept = exported(directory, "best").generation
    assert looks[kept] == max(looks.values())
    found = recorded_scores(directory)
    assert "precision/random" in found["final"]
    assert ("best" in found) == (kept != 6)
    for best, told in ((0.9, True), (0.4, False)):
        found["best"] = {**found["final"], "precision/random": {"score": best, "real": 1.0}}
        found["final"]["precision/random"]["score"] = 0.5
        directory.scores.write_text(json.dumps(found))
        text = paragraph(directory, make_data("digits"))
        assert (
            f"By precision/random the generator of generation {kept:,} is better" in text
        ) == told
    assert "Its Frechet distance by features of the network random is " in text
