"""Classifiers are good on what they have not seen, are kept, and judge nothing where they fail."""

import logging
from functools import partial

import pytest
import torch

from egan.data import Stacked, Table, make_data
from egan.scores import accuracy, applicable, classifiers, evaluate
from egan.scores.classes import judge_of
from egan.scores.classifiers import judge_for
from populations.errors import UsageError
from populations.randomness import generator


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A cache of its own, and quick training."""
    monkeypatch.setenv("EGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(classifiers, "LEAST", 4_000)
    judge_for.cache_clear()
    yield tmp_path / "cache"
    judge_for.cache_clear()


def halves(count=200, shape=(1, 8, 8), noise=0.3):
    """Images that are bright on the left or on the right."""
    labels = torch.arange(count) % 2
    values = torch.randn(count, *shape, generator=generator(0, 0, "values")) * noise
    values[..., : shape[-1] // 2] += (1 - 2 * labels).view(-1, *[1] * len(shape)) * 0.5
    return Table("halves", values.clamp(-1, 1), labels)


def test_the_judge_of_digits_is_right_in_97_percent_of_a_quarter_it_has_not_seen():
    table = make_data("digits")
    judge = judge_for(table)
    assert judge.accuracy >= 0.97
    assert judge is judge_for(table)
    assert round(judge.accuracy * 450) == pytest.approx(judge.accuracy * 450)  # 450 of 1,797
    assert judge_of(make_data("stacked-digits")).accuracy == judge.accuracy


def test_the_accuracy_is_that_of_the_samples_kept_apart(own):
    table = halves()
    seen, unseen = classifiers._parts(table)
    (values, labels), judge = unseen, judge_for(table)
    assert len(labels) == 50
    assert torch.bincount(labels).tolist() == [25, 25]
    found = judge.probabilities(values).argmax(1)
    assert judge.accuracy == pytest.approx((found == labels).double().mean().item())
    rows = {each.numpy().tobytes() for each in seen[0]}
    assert not any(each.numpy().tobytes() in rows for each in values)


def test_samples_that_come_with_the_data_are_the_test(own):
    table, test = halves(), halves(60)
    wrong = Table("halves", test.values, 1 - test.labels)
    assert judge_for(Table("halves", table.values, table.labels, test)).accuracy == 1
    with pytest.raises(UsageError, match=r"right in only 0\.0% of held-out samples"):
        judge_for(Table("halves", table.values, table.labels, wrong))


@pytest.mark.parametrize("shape", [(4,), (1, 4, 4), (3, 9, 6)])
def test_a_judge_sees_points_and_images_of_any_shape(own, shape):
    table = halves(shape=shape)
    found = judge_for(table).probabilities(table.values)
    assert found.shape == (200, 2)
    assert torch.allclose(found.sum(1), torch.ones(200))
    assert (found.argmax(1) == table.labels).double().mean() > 0.95


def test_a_judge_of_pixels_sees_samples_as_they_are_drawn(own):
    table = halves()
    pixels = ((table.values + 1) * 127.5).round().to(torch.uint8)
    judge = judge_for(Table("halves", pixels, table.labels))
    assert judge.accuracy > 0.95
    assert (judge.probabilities(table.values).argmax(1) == table.labels).double().mean() > 0.95


def test_a_judge_is_trained_once_and_told_of(own, caplog):
    with caplog.at_level(logging.WARNING, "egan"):
        first = judge_for(halves())
        judge_for.cache_clear()
        again = judge_for(halves())
    assert [each.message for each in caplog.records] == [
        "A classifier that judges halves is trained, once on this machine."
    ]
    assert first is not again
    assert first.accuracy == again.accuracy
    images = halves().values
    assert torch.equal(first.probabilities(images), again.probabilities(images))
    assert len(list(own.glob("classifier-*.safetensors"))) == 1


def test_other_data_have_another_judge(own):
    judge_for(halves())
    judge_for(halves(noise=0.2))
    table = halves()
    judge_for(Table("halves", table.values, table.labels, halves(60)))
    assert len(list(own.glob("classifier-*.safetensors"))) == 3


def test_training_leaves_the_global_generators_and_threads_alone(own):
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    judge_for(halves())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_a_table_without_labels_has_no_judge():
    table = Table("own", torch.zeros(3, 2))
    with pytest.raises(UsageError, match="the data set own has no labels"):
        judge_for(table)
    assert accuracy(table) is None
    assert accuracy(make_data("ring")) is None


def test_labels_that_cannot_be_learnt_have_no_judge(own):
    labels = torch.arange(200) % 2
    values = torch.randn(200, 2, generator=generator(0, 0, "values"))
    table = Table("own", values, labels)
    assert accuracy(table) is None
    with pytest.raises(UsageError, match=r"classifier of own is right in only .* 95% to judge"):
        accuracy(Stacked("stacked", values, table))


def test_a_class_of_one_sample_has_no_judge(own):
    table = Table("own", torch.zeros(9, 2), torch.tensor([0] * 8 + [1]))
    with pytest.raises(UsageError, match=r"^the classes of own cannot be judged: "):
        judge_for(table)


@pytest.mark.parametrize(("name", "wanted"), [("digits", "97%"), ("mnist", "99%")])
def test_the_judges_of_digits_and_mnist_must_be_better_than_others(own, name, wanted):
    table = halves()
    labels = table.labels.clone()
    labels[:12] = 1 - labels[:12]  # 6 % are wrong, also where they are held out
    with pytest.raises(UsageError, match=f"it must reach {wanted} to judge"):
        judge_for(Table(name, table.values, labels))


def narrow(monkeypatch, width, **changes):
    """The recipe of the large classifier, for a network of so many maps."""
    recipe = classifiers.recipes["resnet9"]
    made = recipe._replace(make=partial(classifiers.resnet9, width=width), **changes)
    monkeypatch.setitem(classifiers.recipes, "resnet9", made)


def test_resnet9_has_the_published_number_of_parameters():
    network = classifiers.resnet9((3, 32, 32), 10)
    assert sum(each.numel() for each in network.parameters()) == 6_573_130


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 33, 48)])
def test_resnet9_is_of_images_of_any_sides_from_8_on(shape):
    network = classifiers.resnet9(shape, 7, 4).eval()
    assert network(torch.zeros(2, *shape)).shape == (2, 7)


def test_resnet9_refuses_what_is_no_image(own):
    with pytest.raises(UsageError, match=r"samples have the shape \(1, 4, 4\)"):
        judge_for(halves(shape=(1, 4, 4)), "resnet9")
    with pytest.raises(UsageError, match=r"samples have the shape \(4,\)"):
        judge_for(halves(shape=(4,)), "resnet9")


@pytest.mark.slow
def test_resnet9_learns_digits_that_it_sees_moved(own, monkeypatch, caplog):
    narrow(monkeypatch, 8, batch=64)
    table = make_data("digits")
    with caplog.at_level(logging.WARNING, "egan"):
        judge = judge_for(table, "resnet9")
    hours = "" if torch.cuda.is_available() else ", which takes hours without a GPU"
    assert caplog.messages == [
        f"A classifier that judges digits is trained, once on this machine{hours}."
    ]
    assert judge.accuracy >= 0.97
    assert len(list(own.glob("resnet9-*.safetensors"))) == 1
    # Moved by a pixel, as it saw them: the small classifier, which saw none moved, loses more.
    moved = table.values.roll(1, dims=3)
    right = (judge.probabilities(moved).argmax(1) == table.labels).double().mean()
    other = (judge_for(table).probabilities(moved).argmax(1) == table.labels).double().mean()
    assert right > other + 0.05


@pytest.mark.parametrize(("channels", "mirrored"), [(1, 0), (3, 100)])
def test_images_in_colour_are_learned_mirrored_too(channels, mirrored):
    images = torch.ones(200, channels, 16, 16)
    images[..., 8:] = -1
    moved = classifiers._moved(images)
    left, right = moved[:, 0, 8, 3], moved[:, 0, 8, 12]  # far from what the move brings in
    assert torch.equal(left, -right)
    assert int((left < 0).sum()) == pytest.approx(mirrored, abs=20 if mirrored else 0)
    assert not torch.equal(moved, images)


def test_scores_by_resnet9_have_its_name(own, monkeypatch):
    narrow(monkeypatch, 4, epochs=1, wanted={"halves": 0.0})
    table = halves()
    names = applicable(table, "resnet9")
    assert "inception-score/resnet9" in names
    assert not {"confidence", "classes"} & {*names}  # of the small classifier
    found = evaluate(table.values[:100], table, names=names, features="resnet9")
    assert found["frechet-distance/resnet9"] >= 0
    assert judge_for(table, "resnet9").see(table.values[:5]).features.shape == (5, 32)
