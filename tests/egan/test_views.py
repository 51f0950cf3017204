"""What the discriminator is shown: packs, noise and augmentations, each against its definition."""

import itertools
import math
import statistics

import pytest
import torch
from torch import nn

import egan
from egan.evolution import evolve
from egan.losses import mutations, objectives, reads, value
from egan.networks import Ensemble
from egan.networks.views import Augment, InstanceNoise, Pack, augmentations
from egan.settings import merge
from populations.errors import UsageError
from populations.randomness import generator, seeded

DOUBLE = torch.float64
LOGIT_MUTATIONS = [name for name, loss in mutations.items() if "fake_features" not in reads(loss)]


def images(count=6, channels=3, height=8, width=16):
    size = (count, channels, height, width)
    return torch.randn(size, generator=generator(0, 0, "images"), dtype=DOUBLE)


def changed(name, shown, seed=0):
    with seeded(seed, 0, "views"):
        return Augment([name])(shown)


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4), (3, 2, 5)])
def test_a_pack_keeps_each_samples_coordinates_together_and_in_order(shape):
    samples = torch.arange(6 * math.prod(shape)).view(6, *shape)
    packs = Pack(3)(samples)
    assert packs.shape == (2, 3 * shape[0], *shape[1:])
    for index, sample in enumerate(samples):
        start = index % 3 * shape[0]
        assert torch.equal(packs[index // 3, start : start + shape[0]], sample)


def test_gradients_reach_every_sample_of_a_pack_in_its_place():
    samples = torch.zeros(6, 2, requires_grad=True)
    weights = torch.arange(12.0).view(3, 4)
    (Pack(2)(samples) * weights).sum().backward()
    assert samples.grad.tolist() == torch.arange(12.0).view(6, 2).tolist()


def test_packs_of_one_are_the_samples():
    samples = images()
    assert torch.equal(Pack(1)(samples), samples)


def test_samples_that_fill_no_pack_are_refused():
    with pytest.raises(RuntimeError):
        Pack(4)(torch.zeros(6, 2))


class Variance(nn.Module):
    """A discriminator that compares the samples of a pack: the variance of their first number."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, packs):
        return self.scale * packs[:, ::2].var(dim=1, keepdim=True)


def test_a_packed_discriminator_sees_that_a_generator_has_collapsed(make):
    settings = {"networks": {"discriminator": Variance}, "environment": {"packing": 4}}
    world, _ = make(settings)
    varied = torch.linspace(-1, 1, 16).view(8, 2)
    collapsed = varied[:1].expand(8, 2)
    first = [statistics.variance(pack) for pack in varied[:, 0].view(2, 4).tolist()]
    assert world.plan.game.logits(varied).flatten().tolist() == pytest.approx(first)
    assert world.plan.game.logits(collapsed).tolist() == [[0.0], [0.0]]


def test_noise_has_its_deviation_on_every_number_and_is_drawn_anew():
    layer, samples = InstanceNoise(0.3), torch.full((500, 3, 8, 8), 7.0)
    with seeded(0, 0, "views"):
        first, again = layer(samples) - samples, layer(samples) - samples
    for each in (first, again):
        assert each.mean().item() == pytest.approx(0, abs=0.005)
        assert each.std().item() == pytest.approx(0.3, rel=0.01)
        assert each.std(dim=0).min() > 0.25
    assert torch.corrcoef(torch.stack([first.flatten(), again.flatten()]))[0, 1].abs() < 0.02


def test_noise_leaves_the_gradient_as_it_is():
    samples = torch.zeros(4, 2, requires_grad=True)
    weights = torch.arange(8.0).view(4, 2)
    (InstanceNoise(0.5)(samples) * weights).sum().backward()
    assert torch.equal(samples.grad, weights)


def test_real_samples_and_fakes_are_shown_under_noise_of_their_own(make):
    shown = []

    class Watching(nn.Linear):
        def forward(self, samples):
            shown.append(samples.detach().clone())
            return super().forward(samples)

    settings = {"networks": {"discriminator": lambda: Watching(2, 1)},
                "environment": {"noise": 0.2, "penalties": {"r1": 0.0, "r2": 0.0}}}  # fmt: skip
    world, state = make(settings)
    shown.clear()
    world.adapt(state.environment, state.population, 3)
    samples = world._real("real", 16, 3), world._fakes(state.population, [None], 3, 0)
    noise = [one - other for one, other in zip(shown, samples, strict=True)]
    assert all(0.1 < each.std() < 0.3 for each in noise)
    assert not torch.allclose(*noise)


def parts_of(image, shown):
    """Brightness, saturation and contrast, by least squares: changed images are b plus multiples of
    three parts that are orthogonal."""
    middle, gray = image.mean(), image.mean(0, keepdim=True).expand_as(image)
    parts = [torch.ones_like(image), gray - middle, image - gray]
    level, contrast, both = (
        ((shown - middle) * part).sum() / part.square().sum() for part in parts
    )
    found = middle + level + contrast * parts[1] + both * parts[2]
    torch.testing.assert_close(found, shown)
    return level.item(), (both / contrast).item(), contrast.item()


def test_color_changes_brightness_saturation_and_contrast_of_each_image_within_its_range():
    shown = images(400)
    found = [parts_of(*pair) for pair in zip(shown, changed("color", shown), strict=True)]
    for values, (low, high) in zip(
        zip(*found, strict=True), [(-0.5, 0.5), (0, 2), (0.5, 1.5)], strict=True
    ):
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high
        assert statistics.fmean(values) == pytest.approx((low + high) / 2, abs=0.1)


def test_color_in_the_middle_of_its_ranges_changes_nothing(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *size, **options: torch.full(size, 0.5, dtype=DOUBLE))
    torch.testing.assert_close(changed("color", images()), images())


def shifted(image, down, right):
    """An image moved, with 0 where nothing comes from."""
    height, width = image.shape[1:]
    wide = nn.functional.pad(image, (2, 2, 1, 1))
    return wide[:, 1 - down : 1 - down + height, 2 - right : 2 - right + width]


def test_translation_moves_each_image_by_up_to_an_eighth_of_its_sides():
    shown = images(100, 1)  # 8 high and 16 wide
    steps = list(itertools.product([-1, 0, 1], [-2, -1, 0, 1, 2]))
    found = []
    for image, moved in zip(shown, changed("translation", shown), strict=True):
        found += [step for step in steps if torch.equal(shifted(image, *step), moved)]
    assert len(found) == 100  # each by one step and no other
    assert set(found) == set(steps)


def test_translation_of_images_too_small_to_move_changes_nothing():
    shown = images(height=7, width=4)
    assert torch.equal(changed("translation", shown), shown)


def pierced(image, top, left):
    """An image with a hole of half its sides, as much of it as lies inside."""
    height, width = image.shape[1:]
    found = image.clone()
    found[:, max(top, 0) : top + height // 2, max(left, 0) : left + width // 2] = 0
    return found


@pytest.mark.parametrize(("height", "width"), [(4, 6), (6, 4)])
def test_cutout_pierces_each_image_once_with_the_middle_anywhere(height, width):
    shown = images(400, 1, height, width)
    # The middle of a hole of 2 is one of the 5 edges along a side of 4, that of 3 one of 6 pixels.
    begins = {4: [-1, 0, 1, 2, 3], 6: [-1, 0, 1, 2, 3, 4]}
    places = list(itertools.product(begins[height], begins[width]))
    found = []
    for image, cut in zip(shown, changed("cutout", shown), strict=True):
        found += [place for place in places if torch.equal(pierced(image, *place), cut)]
    assert len(found) == 400
    assert set(found) == set(places)


@pytest.mark.parametrize("name", augmentations)
def test_equal_images_of_a_batch_are_changed_each_in_its_own_way(name):
    shown = images(1).expand(20, -1, -1, -1)
    found = changed(name, shown)
    assert found.shape == shown.shape
    assert found.dtype == shown.dtype
    assert len({tuple(each.flatten().tolist()) for each in found}) > 5
    assert not torch.equal(found, changed(name, shown, seed=1))


@pytest.mark.parametrize("name", augmentations)
def test_the_gradient_through_an_augmentation_is_its_finite_difference(name):
    shown = images(2, 2, 8, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: changed(name, x), shown)


def test_augmentations_follow_one_another_in_the_order_of_their_names():
    def halved(shown):
        """One's own."""
        return shown / 2

    names = ["cutout", halved, "color"]
    with seeded(0, 0, "views"):
        found = Augment(names)(images())
    with seeded(0, 0, "views"):
        slow = augmentations["color"](halved(augmentations["cutout"](images())))
    assert torch.equal(found, slow)


OWN = {"networks": {"generator": lambda: nn.Linear(8, 2), "noise_dimension": 8}}


def critic(inputs=2):
    return lambda: nn.Sequential(nn.Linear(inputs, 6), nn.ReLU(), nn.Linear(6, 1))


@pytest.mark.parametrize("engine", ["reference", "shared", "batched"])
def test_a_run_behind_packs_of_one_is_the_plain_run_bit_for_bit(make, engine):
    found = []
    for views in ([], [Pack(1)]):
        own = {"discriminator": lambda views=views: nn.Sequential(*views, *critic()())}
        world, state = make(OWN, {"networks": own, "execution": {"engine": engine}})
        *_, (state, _) = evolve(state, world, 5)
        found.append((state.environment.weights, state.population[0].weights))
    for left, right in zip(*found, strict=True):
        assert torch.equal(left, right)


def test_all_views_at_once_stand_in_front_of_the_discriminator_in_one_order(make):
    def same(shown):
        """Changes nothing."""
        return shown

    views = {"augmentation": [same], "noise": 0.1, "packing": 2}
    world, _ = make(OWN, {"networks": {"discriminator": critic(4)}, "environment": views})
    kinds = [type(each) for each in world.plan.game.discriminator.module]
    assert kinds == [Augment, InstanceNoise, Pack, nn.Sequential]


@pytest.mark.parametrize("name", LOGIT_MUTATIONS)
def test_a_mutation_is_the_same_over_an_ensemble_of_equal_members(name):
    logits = images(8, 2, 1, 1).flatten(1)
    seen = {"fake": logits[:, :1], "real": logits[:, 1:]}
    twice = {side: torch.stack([each] * 3, dim=1) for side, each in seen.items()}
    torch.testing.assert_close(value(mutations[name], twice), value(mutations[name], seen))


@pytest.mark.parametrize("name", objectives)
def test_an_objective_is_the_same_over_an_ensemble_of_equal_members(name):
    fake, real = images(8, 2, 1, 1).flatten(1).split(1, dim=1)
    objective = objectives[name]

    def of(fake, real):
        if objective.whole:
            return objective.whole(fake=fake, real=real)
        return objective.real(real) + objective.fake(fake)

    three = (torch.stack([each] * 3, dim=1) for each in (fake, real))
    torch.testing.assert_close(of(*three), of(fake, real))


def test_two_equal_discriminators_breed_and_teach_as_one_does(make):
    settings = {"environment": {"penalties": {"r1": 0.0, "r2": 0.0}}, "fitness": {"gamma": 0.3}}
    world, state = make(settings)
    other, _ = make(settings, {"networks": {"discriminators": 2}})
    one = state.environment
    two = type(one)(
        one.weights.repeat(2), one.buffers,
        {name: each.repeat(2) if isinstance(each, torch.Tensor) else each
         for name, each in one.moments.items()},
    )  # fmt: skip
    expected = world.breed(state, one).children
    found = other.breed(state, two).children
    for left, right in zip(expected, found, strict=True):
        torch.testing.assert_close(right.weights, left.weights, rtol=0, atol=1e-6)
        quality, variety = left.fitness.values
        # The norm of a gradient's two halves, side by side, is the gradient's over root 2.
        assert right.fitness.values == pytest.approx((quality, variety + math.log(2) / 2), rel=1e-4)
    plain, _ = world.adapt(one, state.population, 0)
    both, _ = other.adapt(two, state.population, 0)
    scale = float(plain.moments["mean"].abs().max())
    for half in both.moments["mean"].chunk(2):
        torch.testing.assert_close(2 * half, plain.moments["mean"], rtol=1e-4, atol=1e-5 * scale)


def test_an_ensembles_members_see_the_same_samples_and_answer_side_by_side(make):
    members = [nn.Linear(2, 1) for _ in range(3)]
    samples = torch.randn(5, 2)
    logits = Ensemble(members)(samples)
    assert logits.shape == (5, 3, 1)
    for index, each in enumerate(members):
        assert torch.equal(logits[:, index], each(samples))
    world, _ = make({"networks": {"discriminators": 3}, "environment": {"noise": 0.5}})
    module = world.plan.game.discriminator.module
    for each in module[-1][1:]:
        each.load_state_dict(module[-1][0].state_dict())
    logits = world.plan.game.logits(samples)
    torch.testing.assert_close(logits[:, 1:], logits[:, :1].expand(5, 2, 1))


def test_the_features_of_an_ensemble_are_its_members_side_by_side(make):
    views = {"networks": {"discriminators": 2}, "environment": {"packing": 2}}
    game = make(views, {"variation": {"mutations": ["feature-matching", "heuristic"]}})[0].plan.game
    samples = torch.randn(6, 2)
    packs = samples.view(3, 4)
    hidden = [each[:-1](packs) for each in game.discriminator.module[-1]]
    torch.testing.assert_close(game.features(samples), torch.cat(hidden, dim=1))


@pytest.mark.parametrize("data", [{}, {"data": "digits", "networks": {"name": "convolutional"}}])
def test_spectral_norms_hold_the_largest_singular_values_near_one_through_a_run(make, data):
    settings = merge(data, {"networks": {"spectral_norm": True, "width": 4}})
    world, state = make(settings)
    *_, (state, _) = evolve(state, world, 20)
    flat = world.plan.game.discriminator
    flat.load(state.environment.weights, state.environment.buffers)
    own = []
    for layer in flat.module.modules():
        if hasattr(layer, "parametrizations"):
            used, raw = layer.weight, layer.parametrizations.weight.original
            assert largest(used) == pytest.approx(1, abs=0.1)
            own.append(largest(raw))
    assert max(abs(each - 1) for each in own) > 0.3  # as they would be without


def largest(weight):
    """The largest singular value of a layer's weight, an output a row."""
    return torch.linalg.matrix_norm(weight.flatten(1), 2).item()


@pytest.mark.parametrize(("layers", "message"), [
    ({"environment": {"augmentation": "color"}},
     "the augmentation 'color' needs images (channels, height, width), and the data have the shape "
     "(2,): leave environment.augmentation empty."),
    ({"environment": {"augmentation": "colour"}},
     "unknown augmentation 'colour': did you mean 'color'? valid are color, cutout, translation."),
    ({"environment": {"packing": 2}, "networks": {"discriminator": critic(2)}},
     "the discriminator must accept packs of shape (4,), 2 samples side by side "
     "(environment.packing), and raises RuntimeError (mat1 and mat2 shapes cannot be multiplied "
     "(4x4 and 2x6))."),
    ({"environment": {"packing": 2}, "networks": {"discriminator": lambda: nn.Sequential(
        nn.Linear(4, 2), nn.Flatten(0))}},
     "the discriminator turns 4 packs into logits of shape (8,): the first dimension must be the "
     "number of packs."),
    ({"environment": {"packing": 2}, "fitness": {"race": 0.9, "samples": 16}},
     "fitness.samples is 16: a race needs at least two packs in each of its 8 chunks "
     "(fitness.chunks)."),
    ({"environment": {"packing": 2, "objective": "rsgan"},
      "fitness": {"real": "training", "samples": 8}},
     "the objective 'rsgan' cannot judge 8 fakes beside 16 real samples: ValueError (4 and 8 "
     "samples cannot be paired: real ones and fakes must be equally many)."),
    ({"environment": {"packing": 2}, "variation": {"mutations": ["feature-matching"]},
      "networks": {"discriminator": lambda: nn.Linear(4, 1)}},
     "the discriminator has one layer only, and so no features to match: give it a hidden layer, "
     "or leave out mutations that read features."),
    ({"networks": {"discriminators": 2, "discriminator": Variance}},
     "networks.discriminators is 2, and the discriminator's copies have equal weights: it must be "
     "a function that makes another at every call, or a module whose layers have reset_parameters "
     "and no spectral norm (networks.spectral_norm gives one)."),
])  # fmt: skip
def test_views_that_do_not_fit_are_refused_in_one_sentence(make, layers, message):
    with pytest.raises(UsageError) as found:
        make(OWN, layers)
    assert str(found.value) == message


@pytest.mark.parametrize("layers", [
    {"environment": {"noise": 0.1}}, {"networks": {"spectral_norm": True}},
    {"networks": {"name": "pacgan", "spectral_norm": True}}, {"networks": {"discriminators": 2}},
    {"environment": {"augmentation": [lambda shown: shown]}},
])  # fmt: skip
def test_what_cannot_be_stacked_is_left_to_the_shared_engine(make, layers):
    with pytest.raises(UsageError, match="it computes stacks of multilayer perceptrons"):
        make(layers, {"execution": {"engine": "batched"}})
    world, _ = make(layers, {"execution": {"engine": "auto"}})
    assert world.config.execution.engine == "shared"


@pytest.mark.parametrize("packing", [2, 3])
@pytest.mark.parametrize("name", ["mlp", "toy", "toy-theano", "pacgan"])
def test_packed_perceptrons_can_be_stacked_whatever_the_packs(make, name, packing):
    sizes = {"variation": {"batch": 12}, "fitness": {"samples": 12}}
    world, _ = make(sizes, {"networks": {"name": name, "width": 6},
                            "environment": {"packing": packing, "batch": 12}})  # fmt: skip
    traits = world.plan.traits
    assert traits.stackable
    assert traits.repeatable
    assert not traits.own_logits
    assert not traits.discriminator_tape


def test_a_run_loads_without_the_augmentation_that_was_given_in_python(small, tmp_path):
    own = {"environment": {"augmentation": [lambda shown: 2 * shown]}}
    settings = merge(small, own, {"generations": 2})
    egan.evolve(config=settings, run=tmp_path)
    assert egan.load(tmp_path).sample(3).shape == (3, 2)
