"""Adam as a function agrees with PyTorch's and writes nowhere; rates fall as scheduled."""

import copy

import pytest
import torch

from egan.optimizer import adam, fresh_moments, scheduled

BETAS = [(0.5, 0.999), (0.9, 0.99), (0.0, 0.999), (0.5, 0.0)]


def gradients(count, size, scale=1.0):
    draw = torch.Generator().manual_seed(1)
    return [scale * torch.randn(size, generator=draw, dtype=torch.float64) for _ in range(count)]


@pytest.mark.parametrize("betas", BETAS)
@pytest.mark.parametrize("scale", [1.0, 1e-7])
def test_twenty_steps_agree_with_pytorchs_adam(betas, scale):
    # At the small scale epsilon is of the gradients' own size, so its place matters.
    start = torch.linspace(-1, 1, 17, dtype=torch.float64)
    parameter = torch.nn.Parameter(start.clone())
    theirs = torch.optim.Adam([parameter], betas=betas)
    weights, moments = start, fresh_moments(start)
    for number, gradient in enumerate(gradients(20, 17, scale)):
        lr = 0.01 / (number + 1)
        theirs.param_groups[0]["lr"] = lr
        parameter.grad = gradient.clone()
        theirs.step()
        weights, moments = adam(weights, moments, gradient, lr, betas)
        assert (weights - parameter).abs().max() < 1e-12
    assert moments["step"] == 20
    assert (weights - start).abs().max() > 1e-3


def test_the_first_step_is_as_long_as_the_learning_rate():
    weights = torch.zeros(3, dtype=torch.float64)
    gradient = torch.tensor([5.0, -0.25, 100.0], dtype=torch.float64)
    moved, _ = adam(weights, fresh_moments(weights), gradient, 0.125, (0.5, 0.999))
    assert moved.tolist() == pytest.approx([-0.125, 0.125, -0.125], rel=1e-6)


def tensors_of(weights, moments):
    return weights, moments["mean"], moments["square"]


@pytest.mark.parametrize("betas", BETAS)
def test_nothing_that_is_given_is_written(betas):
    start, first, second = gradients(3, 9)
    weights, moments = adam(start, fresh_moments(start), first, 0.1, betas)
    before = copy.deepcopy((weights, moments, second))
    adam(weights, moments, second, 0.1, betas)
    assert moments["step"] == before[1]["step"]
    assert torch.equal(second, before[2])
    for left, right in zip(tensors_of(weights, moments), tensors_of(*before[:2]), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("betas", BETAS)
def test_nothing_that_is_returned_shares_memory_with_anything(betas):
    start, first, second = gradients(3, 9)
    weights, moments = adam(start, fresh_moments(start), first, 0.1, betas)
    new = tensors_of(*adam(weights, moments, second, 0.1, betas))
    every = [*tensors_of(weights, moments), second, *new]
    assert len({each.untyped_storage().data_ptr() for each in every}) == len(every)


@pytest.mark.parametrize("traced", [False, True])
def test_gradients_flow_through_steps(traced):
    start, mean, first, second = gradients(4, 5)
    square = torch.linspace(0.5, 1, 5, dtype=torch.float64)
    step, lr = (torch.tensor(3.0), torch.tensor(0.1, dtype=torch.float64)) if traced else (3, 0.1)

    def moved(*gradients):
        weights, moments = start, {"step": step, "mean": mean, "square": square}
        for gradient in gradients:
            weights, moments = adam(weights, moments, gradient, lr, (0.5, 0.9))
        return weights

    given = first.requires_grad_(), second.requires_grad_()
    assert torch.autograd.gradcheck(moved, given)
    expected = moved(first.detach(), second.detach())
    torch.testing.assert_close(moved(*given), expected, rtol=1e-14, atol=0)


def test_at_a_gradient_of_zero_the_slope_is_that_of_the_mean():
    gradient = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    weights, _ = adam(torch.ones(2), fresh_moments(gradient), gradient, 1e-9, (0.5, 0.9))
    (slope,) = torch.autograd.grad(weights.sum(), gradient)
    assert slope.tolist() == pytest.approx([-1e-9 / 1e-8] * 2)  # -lr / epsilon, not NaN


def test_fresh_moments_are_zero_and_apart():
    weights = torch.ones(4, dtype=torch.float64)
    moments = fresh_moments(weights)
    assert moments["step"] == 0
    for name in ("mean", "square"):
        assert moments[name].dtype == weights.dtype
        assert moments[name].tolist() == [0.0] * 4
    moments["mean"] += 1
    assert moments["square"].tolist() == [0.0] * 4
    assert weights.tolist() == [1.0] * 4


def test_a_scheduled_rate_falls_on_a_line_and_stays():
    rates = [scheduled(0.1, generation, 100, 0.2) for generation in (0, 25, 50, 100, 101, 5000)]
    assert rates == pytest.approx([0.1, 0.08, 0.06, 0.02, 0.02, 0.02], rel=1e-12)


def test_a_rate_with_a_final_share_of_one_never_moves():
    assert {scheduled(0.1, generation, 7, 1.0) for generation in range(20)} == {0.1}


def test_a_rate_with_a_final_share_of_zero_ends_at_zero():
    assert scheduled(0.1, 7, 7, 0.0) == 0.0
    assert scheduled(0.1, 6, 7, 0.0) == pytest.approx(0.1 / 7)
