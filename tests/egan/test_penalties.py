"""Penalties: slopes sample by sample, of the right samples, differentiable twice."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from egan.penalties import SLOPE_FREE, Step, penalties, r1, r2

# Which samples each penalty reads.
READS = {
    "r1": "real", "r2": "fake", "gradient-penalty": "real fake",
    "gradient-penalty-one-sided": "real fake", "dragan": "real", "lecam": "real fake",
    "consistency": "real", "orthogonal": "",
}  # fmt: skip
NORMS = ["gradient-penalty", "gradient-penalty-one-sided", "dragan"]


def matrices_of(module):
    return [each for each in module.parameters() if each.dim() > 1]


def step_of(discriminator, real, fake, averages=None):
    real, fake = real.clone().requires_grad_(), fake.clone().requires_grad_()
    weights = matrices_of(discriminator) if isinstance(discriminator, nn.Module) else []
    return Step(real, fake, discriminator, weights, averages)


def samples(*size, index=0):
    return torch.randn(
        size or (5, 3), generator=torch.Generator().manual_seed(index), dtype=torch.float64
    )


def network():
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    with torch.no_grad():
        for index, each in enumerate(module.parameters()):
            each.copy_(samples(*each.shape, index=10 + index))
    return module


def linear(weights):
    weights = torch.tensor(weights, dtype=torch.float64)
    return lambda x: (x @ weights)[:, None]


def seeded_value(name, step):
    """A penalty's value; what it draws is the same each time."""
    torch.manual_seed(0)
    return penalties[name](step)


class Recorder:
    """A discriminator that keeps what it is shown."""

    def __init__(self, inner):
        self.inner, self.shown = inner, []

    def __call__(self, x):
        self.shown.append(x.detach().clone())
        return self.inner(x)


def squared_norms(module, points):
    """||grad_x D(x)||^2 of `network` at each point, by the chain rule written out."""
    first, bias, last = (each.detach().numpy() for each in list(module.parameters())[:3])
    found = []
    for point in points.numpy():
        hidden = np.tanh(first @ point + bias)
        slope = first.T @ (last[0] * (1 - hidden**2))
        found.append(float(slope @ slope))
    return np.array(found)


@pytest.mark.parametrize("penalty", [r1, r2])
def test_of_a_linear_discriminator_the_penalty_is_half_the_squared_weights(penalty):
    value = penalty(step_of(linear([1.0, -2.0, 0.5]), samples(), samples(index=1)))
    assert value.shape == ()
    assert value.item() == pytest.approx((1 + 4 + 0.25) / 2, rel=1e-14)


@pytest.mark.parametrize(("penalty", "place"), [(r1, 0), (r2, 1)])
def test_the_norm_is_each_samples_own_and_not_the_batchs(penalty, place):
    both = samples(7, 3), samples(4, 3, index=1)
    # The slope of |x|^2 / 2 at x is x itself.
    value = penalty(step_of(lambda x: x.square().sum(1) / 2, *both))
    slow = sum(sum(entry**2 for entry in row) for row in both[place].tolist())
    assert value.item() == pytest.approx(slow / 2 / len(both[place]), rel=1e-14)


@pytest.mark.parametrize("penalty", [r1, r2])
def test_the_slope_counts_all_pixels_of_an_image(penalty):
    images = samples(3, 2, 4, 4), samples(3, 2, 4, 4, index=1)
    value = penalty(step_of(lambda x: 0.5 * x.sum((1, 2, 3)), *images))
    assert value.item() == pytest.approx(0.5 * 2 * 4 * 4 * 0.25, rel=1e-14)


@pytest.mark.parametrize("name", NORMS)
def test_norms_are_each_samples_own_at_the_points_that_are_shown(name):
    module = network()
    shown = Recorder(module)
    value = penalties[name](step_of(shown, samples(64, 3), samples(64, 3, index=1)))
    points = shown.shown[-1]
    above = np.sqrt(squared_norms(module, points)) - 1
    above = np.maximum(above, 0) if name == "gradient-penalty-one-sided" else above
    assert (above > 0).any()
    assert value.item() == pytest.approx((above**2).mean(), rel=1e-12)


@pytest.mark.parametrize("name", ["gradient-penalty", "gradient-penalty-one-sided"])
@pytest.mark.parametrize("size", [(64, 3), (64, 2, 4, 4)])
def test_the_points_lie_between_a_real_sample_and_a_fake_each_at_a_place_of_its_own(name, size):
    real, fake = samples(*size), samples(*size, index=1)
    shown = Recorder(lambda x: x.square().flatten(1).sum(1))
    penalties[name](step_of(shown, real, fake))
    shares = ((shown.shown[-1] - fake) / (real - fake)).flatten(1)
    torch.testing.assert_close(shares, shares[:, :1].expand_as(shares))
    places = shares[:, 0]
    assert 0 < places.min() < 0.1
    assert 0.9 < places.max() < 1
    assert len(places.unique()) == 64


def test_dragans_points_lie_around_real_samples_by_the_authors_noise():
    real = samples(64, 1000) * 3 + 1
    shown = Recorder(lambda x: x.sum(1))
    penalties["dragan"](step_of(shown, real, real * math.nan))
    noise = (shown.shown[-1] - real) / (0.5 * real.numpy().std())
    assert noise.min() >= 0
    lengths = noise.amax(1)  # of each sample, but for a thousandth
    assert lengths.max() < 1
    assert lengths.mean() == pytest.approx(0.5, abs=0.12)
    assert lengths.std() == pytest.approx(12**-0.5, abs=0.08)
    shares = noise / lengths[:, None]
    assert shares.mean() == pytest.approx(0.5, abs=0.01)
    assert shares.std() == pytest.approx(12**-0.5, abs=0.01)


@pytest.mark.parametrize(("length", "two", "one"), [(0.9, 0.01, 0.0), (1.0, 0.0, 0.0),
                                                    (1.5, 0.25, 0.25)])  # fmt: skip
def test_the_one_sided_penalty_is_zero_up_to_a_norm_of_one(length, two, one):
    step = step_of(linear([0.6 * length, -0.8 * length]), samples(5, 2), samples(5, 2, index=1))
    assert penalties["gradient-penalty"](step).item() == pytest.approx(two, abs=1e-14)
    assert penalties["dragan"](step).item() == pytest.approx(two, abs=1e-14)
    assert penalties["gradient-penalty-one-sided"](step).item() == pytest.approx(one, abs=1e-14)


@pytest.mark.parametrize("name", NORMS)
def test_where_a_slope_is_zero_its_gradient_is_zero_and_the_others_are_exact(name):
    weights = torch.tensor([1.2, -1.6], dtype=torch.float64, requires_grad=True)
    shown = Recorder(lambda x: (x @ weights).relu())
    value = penalties[name](step_of(shown, samples(32, 2), samples(32, 2, index=1)))
    alive = float((shown.shown[-1] @ weights > 0).double().mean())
    assert 0 < alive < 1
    dead = 0.0 if name == "gradient-penalty-one-sided" else 1 - alive
    assert value.item() == pytest.approx(alive * (2 - 1) ** 2 + dead, rel=1e-14)
    (gradient,) = torch.autograd.grad(value, weights)
    torch.testing.assert_close(gradient, alive * 2 * (2 - 1) * weights.detach() / 2)


@pytest.mark.parametrize("name", ["r1", "r2", *NORMS])
def test_samples_that_share_a_logit_share_a_norm(name):
    weights = torch.tensor([3.0, 0.0, 0.0, 4.0], dtype=torch.float64)  # of two points
    step = step_of(lambda x: x.view(-1, 4) @ weights, samples(6, 2), samples(6, 2, index=1))
    expected = 25 / 2 if name in ("r1", "r2") else (5 - 1) ** 2
    assert penalties[name](step).item() == pytest.approx(expected, rel=1e-14)


def test_lecam_holds_logits_near_the_other_sides_average():
    real, fake = samples(7, 3), samples(7, 3, index=1)
    module = network()
    step = step_of(module, real, fake)
    before, sums, known = None, np.zeros(2), 0.0
    for _ in range(3):
        step = step_of(module, real, fake, before)
        value, before = penalties["lecam"](step), step.moved
        a, s = (module(each).detach().numpy()[:, 0] for each in (real, fake))
        sums, known = 0.99 * sums + 0.01 * np.array([a.mean(), s.mean()]), 0.99 * known + 0.01
        average_real, average_fake = sums / known
        slow = ((a - average_fake) ** 2).mean() + ((s - average_real) ** 2).mean()
        assert value.item() == pytest.approx(slow, rel=1e-12)
        assert before.tolist() == pytest.approx([*sums, known], rel=1e-12)
        assert not before.requires_grad
        real = real + 1  # the averages lag behind
    assert abs(average_real - a.mean()) > 1e-3


def moved_images(image):
    """All that a flip and shifts of up to an eighth of a side, mirrored, make of an image."""
    reach = image.shape[-1] // 8
    for flip in (False, True):
        turned = image[:, :, ::-1] if flip else image
        wide = np.pad(turned, [(0, 0), (reach, reach), (reach, reach)], mode="reflect")
        for top in range(2 * reach + 1):
            for left in range(2 * reach + 1):
                piece = wide[:, top : top + image.shape[1], left : left + image.shape[2]]
                yield (flip, top, left), piece


@pytest.mark.parametrize("side", [4, 16])
def test_consistency_flips_and_shifts_every_image_by_itself(side):
    real = samples(100, 2, side, side)
    shown = Recorder(lambda x: (x * samples(2, side, side, index=2)).sum((1, 2, 3)))
    value = penalties["consistency"](step_of(shown, real, real * math.nan))
    changed = shown.shown[1].numpy()
    found = []
    for image, other in zip(real.numpy(), changed, strict=True):
        (way,) = [way for way, each in moved_images(image) if (each == other).all()]
        found.append(way)
    counts = [len(set(column)) for column in zip(*found, strict=True)]
    assert counts == ([2, 5, 5] if side == 16 else [2, 1, 1])
    assert len(set(found)) > (30 if side == 16 else 1)
    weights = samples(2, side, side, index=2).numpy()
    slow = (((real.numpy() - changed) * weights).sum((1, 2, 3)) ** 2).mean()
    assert value.item() == pytest.approx(slow, rel=1e-10)


def test_consistency_jitters_points_by_a_twentieth_of_their_deviation():
    scale = torch.tensor([1.0, 100.0], dtype=torch.float64)
    real = samples(4000, 2) * scale
    shown = Recorder(lambda x: x)
    value = penalties["consistency"](step_of(shown, real, real * math.nan))
    noise = (shown.shown[1] - real) / (0.05 * real.std(0))
    assert noise.mean(0).abs().max() < 0.05
    assert (noise.std(0) - 1).abs().max() < 0.05
    # Two logits a sample: the squared norm of their difference.
    expected = (shown.shown[1] - real).square().sum(1).mean()
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)


def test_orthogonal_counts_the_products_of_different_filters():
    module = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    module = module.double()
    step = step_of(module, samples(1, 2, 3, 3), samples(1, 2, 3, 3))
    slow = 0.0
    for layer in (module[0], module[3]):
        rows = layer.weight.detach().reshape(len(layer.weight), -1).tolist()
        for one, first in enumerate(rows):
            for other, second in enumerate(rows):
                product = sum(x * y for x, y in zip(first, second, strict=True))
                slow += product**2 if one != other else 0.0
    assert penalties["orthogonal"](step).item() == pytest.approx(slow, rel=1e-12)


def test_it_is_known_which_samples_each_penalty_reads():
    assert set(READS) == set(penalties)
    assert set(SLOPE_FREE) == set(penalties) - {"r1", "r2", *NORMS}


@pytest.mark.parametrize(("name", "reads"), list(READS.items()))
@pytest.mark.parametrize("blanked", ["real", "fake"])
def test_a_penalty_reads_its_own_samples_only(name, reads, blanked):
    discriminator, both = network(), {"real": samples(), "fake": samples(index=1)}
    value = seeded_value(name, step_of(discriminator, **both))
    blank = both | {blanked: torch.full_like(both[blanked], math.nan)}
    found = seeded_value(name, step_of(discriminator, **blank))
    assert found.isnan() if blanked in reads.split() else torch.equal(found, value)


@pytest.mark.parametrize("name", penalties)
def test_a_penalty_is_never_negative_and_finite_where_the_discriminator_is_flat(name):
    module = network()
    assert penalties[name](step_of(module, samples(), samples(index=1))).item() >= 0
    with torch.no_grad():
        module[2].weight.zero_()
    value = penalties[name](step_of(module, samples(), samples(index=1)))
    assert torch.isfinite(value)
    for each in torch.autograd.grad(value, list(module.parameters()), allow_unused=True):
        assert each is None or torch.isfinite(each).all()


@pytest.mark.parametrize("name", penalties)
def test_the_gradient_by_the_discriminators_weights_is_that_of_the_value(name):
    discriminator, real, fake = network(), samples(), samples(index=1)
    parameters, step = list(discriminator.parameters()), 1e-6
    averages = step_of(discriminator, real, fake).moved  # through which no gradient flows

    def value():
        now = step_of(discriminator, real, fake)
        now.moved = averages
        return seeded_value(name, now)

    # The output's bias moves no slope: autograd has no path to it.
    found = torch.autograd.grad(value(), parameters, allow_unused=True)
    assert found[0].abs().max() > 0.005
    for parameter, piece in zip(parameters, found, strict=True):
        gradient = torch.zeros_like(parameter) if piece is None else piece
        flat = parameter.detach().view(-1)
        for place in range(flat.numel()):
            flat[place] += step
            high = value().item()
            flat[place] -= 2 * step
            low = value().item()
            flat[place] += step
            slope = gradient.view(-1)[place].item()
            assert (high - low) / (2 * step) == pytest.approx(slope, abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("name", ["r1", "r2", "gradient-penalty", "dragan"])
def test_several_discriminators_are_penalised_each_for_itself(name):
    torch.manual_seed(0)
    one = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    real, fake = (torch.randn(8, 2, dtype=torch.float64).requires_grad_() for _ in range(2))

    def penalty(critic):
        torch.manual_seed(1)
        return float(penalties[name](Step(real, fake, critic)).detach())

    assert penalty(lambda x: torch.cat([one(x)] * 3, dim=1)) == pytest.approx(penalty(one))
    both = penalty(lambda x: torch.cat([one(x), 3 * one(x)], dim=1))
    apart = (penalty(one) + penalty(lambda x: 3 * one(x))) / 2
    assert both == pytest.approx(apart)


def test_packs_are_joined_by_one_straight_line():
    met = []

    def critic(samples):
        met.append(samples.detach())
        return samples.reshape(-1, 4).sum(1, keepdim=True)

    real, fake = torch.ones(8, 2, requires_grad=True), torch.zeros(8, 2, requires_grad=True)
    penalties["gradient-penalty"](Step(real, fake, critic))
    shares = met[-1].reshape(4, 4)
    assert bool((shares == shares[:, :1]).all())
    assert len(shares[:, 0].unique()) == 4
