"""Samples of a class: both networks are told of it, all engines agree, and the class is made."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations

import egan
from egan.config import Config
from egan.data import Table, make_data
from egan.engines import engines
from egan.evolution import evolve
from egan.games import Conditional, labelled
from egan.games.conditional import balanced
from egan.networks import Flat, conditions, make_pair, networks
from egan.networks.conditions import NORMS, Heads, WithConditionalNorms, parted, with_class
from egan.penalties import Step, dragan, gradient_penalty
from egan.settings import build
from populations.errors import UsageError
from populations.randomness import generator

PUBLISHED = ("dcgan-4x4", "released", "released-pytorch", "sngan", "sagan", "biggan", "r3gan")
TOLD = [(each, norm) for each in conditions for norm in (False, True)]


def keyed(index=0):
    return generator(0, 0, "test", index)


def table(count=60, shape=(1, 8, 8), classes=3):
    """Images whose brightness says the class, of shares 1 to 2 to 3."""
    labels = torch.cat([torch.full((10 * (each + 1),), each) for each in range(classes)])
    levels = (labels / (classes - 1) * 1.4 - 0.7).view(-1, *[1] * len(shape))
    noise = 0.05 * torch.randn(len(labels), *shape, generator=keyed())
    return Table("levels", (levels + noise).clamp(-1, 1), labels)


def settings(condition="projection", norm=False, **more):
    return {
        "game": "conditional",
        "networks": {
            "name": "dcgan" if norm else "convolutional", "width": 4, "noise_dimension": 5,
            "condition": condition, "conditional_norm": norm, **more.pop("networks", {}),
        },
        "variation": {"batch": 8, "lr": 1e-3}, "fitness": {"samples": 8},
        "environment": {"batch": 8, "lr": 1e-3, **more.pop("environment", {})},
        "records": {"score_samples": 16, "final_samples": 16},
        **more,
    }  # fmt: skip


def pair_of(shape=(1, 8, 8), classes=3, **given):
    values = settings(**given)
    values["networks"]["classes"] = classes
    return make_pair(build(Config, values), shape)


# What is shown.


@pytest.mark.parametrize("shape", [(4,), (2, 3, 3)])
def test_samples_and_classes_are_shown_together_and_parted_again(shape):
    samples, numbers = torch.randn(5, *shape, generator=keyed()), torch.tensor([2, 0, 1, 2, 1])
    shown = with_class(samples, numbers)
    assert shown.shape == (5, shape[0] + 1, *shape[1:])
    found, classes = parted(shown, 3)
    assert torch.equal(found, samples)
    assert torch.equal(classes.argmax(1), numbers)
    assert torch.equal(classes.sum(1), torch.ones(5))


def test_classes_are_equally_frequent_and_in_random_order():
    numbers = balanced(12, 3, keyed())
    assert torch.bincount(numbers).tolist() == [4, 4, 4]
    assert torch.bincount(balanced(7, 3, keyed())).sort().values.tolist() == [2, 2, 3]
    assert numbers.tolist() != sorted(numbers.tolist())
    assert not torch.equal(balanced(12, 3, keyed(1)), numbers)
    firsts = {int(balanced(1, 3, keyed(index))) for index in range(30)}
    assert firsts == {0, 1, 2}  # a single sample may be of any class


def test_real_samples_are_shown_with_their_class_and_every_one_is_drawn():
    data = table()
    source = labelled(data)
    assert (source.name, source.shape) == ("levels", (2, 8, 8))
    samples, classes = parted(source.draw(900, keyed()), 3)
    numbers = classes.argmax(1)
    assert torch.bincount(numbers).tolist() == [300, 300, 300]
    rows = {
        row.numpy().tobytes(): label for row, label in zip(data.values, data.labels, strict=True)
    }
    assert all(
        rows[each.contiguous().numpy().tobytes()] == number
        for each, number in zip(samples, numbers, strict=True)
    )
    assert len(samples.flatten(1).unique(dim=0)) == 60
    assert torch.equal(source.draw(9, keyed(3)), source.draw(9, keyed(3)))


def test_data_without_classes_are_refused(tmp_path):
    for data, problem in (
        ("ring", "the game conditional needs classes, and ring has no labels: use game = "),
        (Table("own", torch.zeros(4, 2)), "and own has no labels"),
        (Table("own", torch.zeros(2, 2), torch.tensor([0, 2])), "labels of own go up to 2 and are"),
    ):
        with pytest.raises(UsageError) as error:
            egan.evolve(data, game="conditional", generations=1)
        assert problem in str(error.value)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"environment": {"packing": 2}}, "environment.packing is 2: a conditional game judges"),
        ({"networks": {"classes": 4}}, "networks.classes is 4: it must be 3, those of levels, or"),
        ({"networks": {"conditional_norm": True}}, "the generator must have batch norms."),
        ({"networks": {"condition": "projektion"}}, "did you mean 'projection'?"),
    ],
)
def test_what_a_conditional_game_cannot_do_is_refused(more, problem):
    with pytest.raises(UsageError) as error:
        egan.evolve(table(), config=settings(generations=1, **more))
    assert problem in str(error.value)


# How networks are told.


def test_concatenation_shows_a_channel_for_each_class():
    _, discriminate = pair_of(condition="concatenation")
    samples = torch.randn(2, 1, 8, 8, generator=keyed())
    shown = with_class(samples, torch.tensor([1, 2]))
    planes = torch.zeros(2, 3, 8, 8)
    planes[0, 1] = planes[1, 2] = 1
    expected = discriminate.discriminator(torch.cat([samples, planes], 1))
    assert torch.equal(discriminate(shown), expected)


def test_projection_adds_the_product_of_class_and_features():
    _, discriminate = pair_of(condition="projection")
    inner = discriminate.discriminator
    heads = next(each for each in inner.modules() if isinstance(each, Heads))
    samples = torch.randn(4, 1, 8, 8, generator=keyed())
    numbers = torch.tensor([0, 1, 2, 1])
    features = inner[:-1](samples)
    weight, bias = heads.own.weight[0], heads.own.bias
    expected = features @ weight + bias + (features * heads.embedding.weight[numbers]).sum(1)
    found = discriminate(with_class(samples, numbers))
    assert torch.allclose(found[:, 0], expected, atol=1e-5)
    assert not torch.allclose(found, discriminate(with_class(samples, (numbers + 1) % 3)))


def test_an_auxiliary_classifier_is_not_told_what_it_must_tell():
    _, discriminate = pair_of(condition="auxiliary-classifier")
    samples = torch.randn(4, 1, 8, 8, generator=keyed())
    one, other = (discriminate(with_class(samples, torch.full((4,), each))) for each in (0, 2))
    assert one.shape == (4, 1)
    assert torch.equal(one, other)


def test_heads_have_a_spectral_norm_where_the_layer_has_one():
    normed = nn.Sequential(nn.Flatten(), parametrizations.spectral_norm(nn.Linear(4, 1)))
    assert conditions["projection"].prepare(nn.Linear(1, 1), 3)(torch.zeros(2, 1)).shape == (2, 4)
    for inner, expected in ((nn.Linear(4, 1), False), (normed, True)):
        found = conditions["projection"].prepare(inner, 3)
        embedding = found.embedding if isinstance(found, Heads) else found[-1].embedding
        assert hasattr(embedding, "parametrizations") == expected
        assert found(torch.zeros(2, 4)).shape == (2, 4)
    _, discriminate = pair_of(networks={"spectral_norm": True})
    heads = next(each for each in discriminate.modules() if isinstance(each, Heads))
    assert hasattr(heads.embedding, "parametrizations")


def test_a_last_layer_of_several_outputs_is_refused():
    for inner in (nn.Linear(4, 2), nn.Flatten()):
        with pytest.raises(UsageError, match="must be a linear or convolutional one with one out"):
            conditions["projection"].prepare(inner, 3)


def test_conditional_norms_begin_as_the_norms_they_replace_and_know_classes():
    plain = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh())
    nn.init.normal_(plain[1].weight, generator=keyed())
    noise = torch.randn(6, 5, generator=keyed())
    expected = plain(noise)
    told = WithConditionalNorms(plain, 2)
    classes = torch.eye(2).repeat(3, 1)
    noise = torch.cat([noise, classes], 1)
    assert torch.allclose(told(noise), expected, atol=1e-6)
    with torch.no_grad():
        plain[1].shifts[1] += 1
    moved = told(noise)
    assert torch.allclose(moved[::2], expected[::2], atol=1e-6)
    assert (moved[1::2] > expected[1::2]).all()
    assert plain[1].told is None


def test_views_change_samples_and_not_their_classes():
    environment = {"augmentation": ["color", "translation", "cutout"], "noise": 0.1}
    _, discriminate = pair_of(shape=(3, 8, 8), environment=environment)
    shown = with_class(torch.rand(4, 3, 8, 8, generator=keyed()), torch.tensor([0, 1, 2, 1]))
    changed = discriminate.changed(shown)
    assert torch.equal(changed[:, -1], shown[:, -1])
    assert not torch.equal(changed[:, :-1], shown[:, :-1])
    assert discriminate(shown).shape == (4, 1)


def test_penalties_between_real_and_fake_keep_the_real_class():
    seen = []

    def logits(shown):
        seen.append(shown.detach()[:, -1])
        return shown[:, :-1].square().flatten(1).sum(1, keepdim=True)

    real = with_class(torch.rand(4, 1, 3, 3, generator=keyed()), torch.tensor([0, 1, 2, 3]))
    fake = with_class(torch.rand(4, 1, 3, 3, generator=keyed(1)), torch.tensor([3, 3, 0, 0]))
    step = Step(real.requires_grad_(), fake.requires_grad_(), logits, conditions=1)
    for penalty in (gradient_penalty, dragan):
        assert penalty(step).isfinite()
        assert torch.equal(seen[-1], real.detach()[:, -1])


def test_noise_around_real_samples_is_as_wide_as_these_whatever_their_classes():
    shown = []

    def logits(points):
        shown.append(points.detach()[:, :-1])
        return points[:, :-1].flatten(1).sum(1, keepdim=True)

    samples = 0.1 * torch.randn(64, 1, 3, 3, generator=keyed())
    real = with_class(samples, torch.arange(64) % 10).requires_grad_()
    dragan(Step(real, real, logits, conditions=1))
    noise = shown[-1] - samples
    assert float(noise.min()) >= 0
    assert 0.03 < float(noise.max()) < 0.06  # half of the deviation


def test_a_class_of_many_survives_few_bits():
    numbers = torch.tensor([0, 255, 257, 299])
    shown = with_class(torch.zeros(4, 1, 2, 2, dtype=torch.bfloat16), numbers)
    assert torch.equal(parted(shown, 300)[1].argmax(1), numbers)


def test_the_classifier_learns_at_every_step_of_lazy_penalties(make):
    own = settings("auxiliary-classifier", data=f"{__name__}:table")
    own["environment"] |= {"lazy": 4, "penalties": {"r1": 0.1, "r2": 0.0}}
    world, _ = make(own)
    weights = [[weight for weight, _ in world.rules(each, 0).penalties] for each in range(5)]
    assert weights == [[0.4, 1.0], [1.0], [1.0], [1.0], [0.4, 1.0]]


def test_features_are_those_of_all_discriminators_behind_views():
    generate, discriminate = pair_of(
        networks={"discriminators": 2, "name": "mlp"}, environment={"noise": 0.1}
    )
    game = Conditional(Flat(generate), Flat(discriminate), "normal", 5, 3)
    assert game.features(game.generate(game.draw(6, keyed()))).shape == (6, 8)


@pytest.mark.parametrize("name", networks)
@pytest.mark.parametrize(("condition", "norm"), [("projection", True), ("concatenation", False)])
def test_every_pair_can_be_told_of_classes(name, condition, norm):
    shape = (3, 16, 16) if name in PUBLISHED else (1, 8, 8)
    given = {"condition": condition, "norm": norm, "networks": {"name": name, "width": 4}}
    plain, _ = networks[name](shape, 5, 4, None)
    if norm and not any(isinstance(each, NORMS) for each in plain.modules()):
        with pytest.raises(UsageError, match="the generator must have batch norms"):
            pair_of(shape, **given)
        return
    generate, discriminate = pair_of(shape, **given)
    noise = torch.cat([torch.randn(4, 5, generator=keyed()), torch.eye(4)[:, :3]], 1)
    samples = generate(noise)
    assert samples.shape == (4, *shape)
    shown = with_class(samples, torch.tensor([0, 1, 2, 0]))
    assert discriminate(shown).shape == (4, 1)


# The game.


def test_what_joins_the_losses_is_the_classifiers_on_both_sides():
    generate, discriminate = pair_of(condition="auxiliary-classifier")
    game = Conditional(Flat(generate), Flat(discriminate), "normal", 5, 3, 0.5)
    shown = game.generate(game.draw(6, keyed()))
    logits = discriminate.discriminator(shown[:, :-1])[:, 1:]
    expected = cross_entropy(logits, shown[:, -1, 0, 0].long())
    assert torch.allclose(game.beside(shown), 0.5 * expected)
    real = labelled(table()).draw(6, keyed(1))
    step = Step(real, shown, game.logits, conditions=1)
    on_real = cross_entropy(
        discriminate.discriminator(real[:, :-1])[:, 1:], real[:, -1, 0, 0].long()
    )
    assert torch.allclose(game.classified(step), on_real + expected)


def test_noise_ends_in_the_class_and_samples_are_told_apart_from_it():
    generate, discriminate = pair_of()
    game = Conditional(Flat(generate), Flat(discriminate), "uniform", 5, 3)
    noise = game.draw(9, keyed())
    assert noise.shape == (9, 8)
    assert noise[:, :5].abs().max() <= 1
    assert torch.equal(noise[:, 5:].sum(0), torch.full((3,), 3.0))
    shown = game.generate(noise)
    assert torch.equal(shown[:, -1, 0, 0], noise[:, 5:].argmax(1).float())
    assert torch.equal(game.plain(shown), generate(noise))


@pytest.mark.parametrize("engine", [name for name in engines if name != "reference"])
@pytest.mark.parametrize(("condition", "norm"), TOLD)
@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_engines_agree_on_a_conditional_generation(make, engine, condition, norm, penalty):
    if engine == "compiled" and (norm or penalty):
        pytest.skip("one compilation a condition is enough: each takes seconds")
    own = settings(condition, norm, environment={"penalties": {"r1": penalty, "r2": 0.0}})
    layers = {**own, "lr_final": 1.0, "data": f"{__name__}:table"}
    if engine == "batched":
        with pytest.raises(UsageError, match="it computes games without classes"):
            make(layers, {"execution": {"engine": engine}})
        return
    world, state = make(layers, {"execution": {"engine": "reference"}})
    state = list(evolve(state, world, 2))[-1][0]
    other, _ = make(layers, {"execution": {"engine": engine}})
    expected, happened = next(evolve(state, world, 3))
    found, also = next(evolve(state, other, 3))
    for left, right in zip(happened.offspring, also.offspring, strict=True):
        before = state.population[0].moments["inherited"]["mean"]
        gradients = [one.moments["inherited"]["mean"] - 0.5 * before for one in (left, right)]
        scale = float(gradients[0].abs().max())
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4 * scale)
        assert right.fitness.values == pytest.approx(left.fitness.values, rel=1e-3)
    one, two = (each.environment.moments["mean"] for each in (expected, found))
    torch.testing.assert_close(two, one, rtol=1e-2, atol=1e-3 * float(one.abs().max()))


@pytest.mark.parametrize("engine", ["shared", "compiled"])
def test_engines_agree_on_a_pair_that_brings_its_conditional_norms(make, engine):
    own = settings(norm=True, networks={"name": "biggan", "width": 2, "noise_dimension": 5})
    layers = {**own, "lr_final": 1.0, "data": f"{__name__}:table"}
    world, state = make(layers, {"execution": {"engine": "reference"}})
    other, _ = make(layers, {"execution": {"engine": engine}})
    assert world.plan.game.generator.module.embedding.shape == (3, 128)
    state = list(evolve(state, world, 2))[-1][0]
    expected, happened = next(evolve(state, world, 3))
    _, also = next(evolve(state, other, 3))
    for left, right in zip(happened.offspring, also.offspring, strict=True):
        one, two = (each.moments["inherited"]["mean"] for each in (left, right))
        torch.testing.assert_close(two, one, rtol=1e-2, atol=1e-3 * float(one.abs().max()))
        assert right.fitness.values == pytest.approx(left.fitness.values, rel=1e-3)
        torch.testing.assert_close(right.buffers, left.buffers, rtol=1e-4, atol=1e-5)
    assert not torch.equal(expected.population[0].weights, state.population[0].weights)


@pytest.mark.parametrize(("condition", "norm"), TOLD)
def test_a_killed_run_is_the_run_left_alone_and_processes_are_serial(tmp_path, condition, norm):
    own = settings(condition, norm, data=f"{__name__}:table")
    whole = egan.evolve(config=own, generations=4, run=tmp_path / "whole")
    egan.evolve(
        config=own, generations=4, run=tmp_path / "cut",
        on_generation=lambda state, row: state.generation == 2,
    )  # fmt: skip
    again = egan.evolve(config=own, run=tmp_path / "cut", generations=4)
    assert torch.equal(again.sample(6), whole.sample(6))
    assert torch.equal(egan.load(tmp_path / "whole").sample(6), whole.sample(6))
    assert whole.config.networks.classes == 3
    assert math.isfinite(whole.score(16)["energy-distance"])


@pytest.mark.slow
@pytest.mark.parametrize("condition", conditions)
def test_generators_learn_to_make_the_class_that_is_asked_for(condition):
    own = settings(condition, generations=150, population={"average": 0.0})
    own["variation"] |= {"batch": 16, "lr": 5e-3}
    own["environment"] |= {"batch": 16, "lr": 5e-3, "penalties": {"r1": 0.1}}
    run = egan.evolve(table(), config=own)
    game, data = run.generator.game, table()
    noise = game.draw(90, keyed())
    with torch.no_grad():
        shown = game.generate(noise)
    asked, made = noise[:, 5:].argmax(1), game.plain(shown).mean((1, 2, 3))
    levels = torch.stack([data.values[data.labels == each].mean() for each in range(3)])
    nearest = (made[:, None] - levels).abs().argmin(1)
    assert (nearest == asked).double().mean() > 0.9


def test_digits_are_a_conditional_data_set_too():
    run = egan.evolve("digits", config=settings(generations=2))
    assert run.config.networks.classes == make_data("digits").count == 10
