"""Gradients accumulated over the parts of a batch are those of the batch."""

import pytest
import torch

from egan.engines import engines
from egan.evolution import evolve
from egan.losses import mutations, objectives
from egan.presets import configure
from populations.errors import UsageError

SETTINGS = {
    "variation": {"mutations": ["minimax", "heuristic", "least-squares"]},
    "fitness": {"gamma": 0.1},
    "environment": {"penalties": {"r1": 0.1, "r2": 0.1}},
}
IN_PARTS = {"execution": {"accumulation": 4}}
WHOLE = ("feature-matching", "rasgan", "ralsgan", "rahinge")  # what reads means over a batch


def generation(make, *layers):
    """The children and the discriminator of a first generation."""
    world, state = make(*layers)
    after, happened = next(evolve(state, world, 1))
    return happened.offspring, after.environment


def same(one, other):
    """First moments of one step, equal but for rounding."""
    assert torch.allclose(one, other, rtol=1e-3, atol=1e-5 * float(one.abs().max()))


@pytest.mark.parametrize("engine", engines)
@pytest.mark.parametrize("layers", [
    SETTINGS, {"environment": {"fakes": "bred"}}, {"population": {"mu": 2}},
    {"environment": {"fakes": "judged"}, "fitness": {"real": "training"}},
    {"environment": {"packing": 2, "penalties": {"gradient-penalty": 0.1}, "lazy": 2}},
    {"variation": {"mutations": ["rsgan", "wasserstein"]}, "environment": {"objective": "rsgan"}},
    {"variation": {"steps": 2}},
], ids=str)  # fmt: skip
def test_a_generation_in_parts_is_that_of_the_whole_batch(make, engine, layers):
    if engine == "batched" and "objective" in layers.get("environment", {}):
        pytest.skip("the batched engine computes objectives that are sums")
    settings = layers, {"execution": {"engine": engine}}
    children, environment = generation(make, *settings)
    parts, other = generation(make, *settings, IN_PARTS)
    for left, right in zip(children, parts, strict=True):
        same(left.moments["inherited"]["mean"], right.moments["inherited"]["mean"])
        assert right.fitness.values == pytest.approx(left.fitness.values, rel=1e-3, abs=1e-5)
    same(environment.moments["mean"], other.moments["mean"])


@pytest.mark.parametrize("settings", [
    {"networks": {"name": "sngan", "width": 4, "noise_dimension": 6}},
    {"networks": {"name": "r3gan", "width": 4, "noise_dimension": 6}, "game": "conditional"},
], ids=str)  # fmt: skip
def test_images_in_parts_leave_norms_and_classes_as_they_are(make, settings):
    layers = SETTINGS, {"data": "digits"}, settings
    children, environment = generation(make, *layers)
    parts, other = generation(make, *layers, IN_PARTS)
    ghost = settings["networks"]["name"] == "sngan"  # whose generator has batch norm
    for left, right in zip(children, parts, strict=True):
        one, two = (each.moments["inherited"]["mean"] for each in (left, right))
        assert float(torch.cosine_similarity(one, two, dim=0)) > (0.5 if ghost else 0.999)
        tracked = [value for name, value in right.buffers.items() if "tracked" in name]
        assert set(map(int, tracked)) == ({4} if ghost else set())
    vectors = [name for name in environment.buffers if name.endswith(("_u", "_v"))]
    assert bool(vectors) is ghost
    assert all(torch.equal(environment.buffers[name], other.buffers[name]) for name in vectors)


def test_passes_hold_a_part_of_the_batch_only(make):
    sizes = []

    class Seen(torch.nn.Linear):
        def forward(self, x):
            if torch.is_grad_enabled():
                sizes.append(len(x))
            return super().forward(x)

    layers = {"networks": {"discriminator": lambda: Seen(2, 1)}}, {"fitness": {"gamma": 0.0}}
    world, state = make(*layers, IN_PARTS)
    sizes.clear()
    next(evolve(state, world, 1))
    assert set(sizes) == {4}
    assert len(sizes) == 4 + 2 * 4  # breeding; the discriminator's real samples and fakes


@pytest.mark.parametrize("name", mutations)
def test_losses_that_read_the_whole_batch_are_refused(make, name):
    layers = {"variation": {"mutations": [name]}}, {"execution": {"accumulation": 2}}
    if name in WHOLE:
        with pytest.raises(UsageError, match=f"the mutation '{name}' reads its whole batch"):
            make(*layers)
    else:
        make(*layers)


@pytest.mark.parametrize("name", objectives)
def test_objectives_that_read_the_whole_batch_are_refused(make, name):
    layers = {"environment": {"objective": name}}, {"execution": {"accumulation": 2}}
    if name in WHOLE:
        with pytest.raises(UsageError, match="the objective reads its whole batch"):
            make(*layers)
    else:
        make(*layers)


def test_a_penalty_that_reads_the_whole_batch_is_refused(make):
    with pytest.raises(UsageError, match="the penalty 'lecam' reads means of its whole batch"):
        make({"environment": {"penalties": {"lecam": 0.1}}}, IN_PARTS)


def test_unrolling_and_unequal_parts_are_refused_in_a_sentence(make):
    with pytest.raises(UsageError, match=r"execution\.accumulation must be 1"):
        make({"variation": {"unrolled": 2}}, IN_PARTS)
    with pytest.raises(UsageError, match=r"variation\.batch is 10: it must be a multiple of 4"):
        configure({"variation": {"batch": 10}}, IN_PARTS)
    with pytest.raises(UsageError, match=r"environment\.batch is 12: it must be a multiple of 8"):
        configure({"variation": {"batch": 16}, "environment": {"batch": 12, "packing": 2}},
                  IN_PARTS, {"fitness": {"samples": 16}})  # fmt: skip
