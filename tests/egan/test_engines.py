"""Breeding and judging by every engine, against a slow and obvious computation in float64."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn

from egan.breeding import breed
from egan.engines import engines
from egan.environment import Environment, half, sight_kernel
from egan.games import Unconditional
from egan.kernels import Compiled
from egan.losses import mutations, objectives, reads
from egan.networks import Flat
from egan.optimizer import fresh_moments
from egan.scene import Member, Plan, Scene
from egan.traits import find_traits
from populations.individual import Individual
from populations.randomness import generator as keyed
from populations.randomness import seeded

LR, BETAS, GENERATION = 0.01, (0.5, 0.9), 3


def discriminator_of(kind):
    layers = [nn.Linear(2, 6), nn.LeakyReLU(0.2), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 1)]
    if kind == "batch norm":
        layers.insert(3, nn.BatchNorm1d(6))
    if kind == "spectral norm":
        layers[2] = nn.utils.parametrizations.spectral_norm(layers[2])
    return nn.Sequential(*layers)


def generator_of(kind):
    layers = [nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)]
    return nn.Sequential(*layers[:1], *[nn.BatchNorm1d(5)] * (kind == "batch norm"), *layers[1:])


# The batched engine computes those that read no features.
READERS = {name: loss for name, loss in mutations.items() if "fake_features" not in reads(loss)}
BESIDE = torch.linspace(-1, 2, 16, dtype=torch.float64).view(8, 2)


def plan_of(kind="plain", generator=None, discriminator=None, **changes):
    torch.manual_seed(0)
    game = Unconditional(
        Flat((generator or generator_of(kind)).double()),
        Flat((discriminator or discriminator_of(kind)).double()),
        "normal",
        3,
    )
    plan = Plan(
        game=game, traits=find_traits(game, (2,)), seed=7, mu=2,
        names=list(READERS), moves=[], losses=list(READERS.values()), batch=8,
        betas=BETAS, moments="inherited", quality=lambda logits: logits.sigmoid().mean(),
        objective=objectives["minimax"], gamma=0.5, samples=10, shared_noise=True,
    )  # fmt: skip
    plan = dataclasses.replace(plan, **changes)
    return dataclasses.replace(plan, moves=[(place,) for place in range(len(plan.losses))])


def scene(plan):
    """A parent with used moments, an environment, a real batch and its half of the gradient."""
    weights, buffers = plan.game.generator.state()
    random = torch.Generator().manual_seed(1)
    draw = lambda: torch.randn(weights.shape, generator=random, dtype=torch.float64)  # noqa: E731
    moments = {"step": 4, "mean": 0.1 * draw(), "square": 0.1 * draw().square()}
    parent = Individual(weights + 0.1 * draw(), buffers, {"inherited": moments}, number=1)
    d_weights, d_buffers = plan.game.discriminator.state()
    environment = Environment(d_weights, d_buffers, fresh_moments(d_weights))
    real = torch.randn(10, 2, generator=random, dtype=torch.float64)
    return parent, environment, real


def brood(engine, plan, parent, environment, real, slot=1):
    if engines[engine].refuses(plan):
        pytest.skip(engines[engine].refuses(plan))
    plan.game.compiled = Compiled() if engines[engine].compiles else None
    known = None
    if real is not None and engines[engine].shares:
        with seeded(7, GENERATION, "judging real"):
            known = half(plan.game, environment, real, plan.objective.real)
    names = [name for name in plan.read() if name.startswith("real")]
    plan.game.discriminator.load(environment.weights, environment.buffers)
    seen = sight_kernel(plan.game, names, BESIDE)
    scene = Scene(environment, real, known, GENERATION, LR, BESIDE, seen)
    (found,) = breed(engines[engine], [Member(parent, slot, plan, scene)])
    return found.children


def unflatten(module, vector, buffers):
    """A copy of a network with these weights and buffers, made the obvious way."""
    module = copy.deepcopy(module)
    offset = 0
    for parameter in module.parameters():
        parameter.data = vector[offset : offset + parameter.numel()].view_as(parameter).clone()
        offset += parameter.numel()
    for name, buffer in module.named_buffers():
        buffer.copy_(buffers[name])
    return module


@pytest.mark.parametrize("engine", engines)
@pytest.mark.parametrize("kind", ["plain", "batch norm", "spectral norm"])
@pytest.mark.parametrize("name", mutations)
def test_a_child_is_one_adam_step_of_its_parent_on_its_own_loss(engine, kind, name):
    alone = {} if name in READERS else {"names": [name], "losses": [mutations[name]]}
    plan = plan_of(kind, **alone)
    parent, environment, real = scene(plan)
    child = brood(engine, plan, parent, environment, real)[plan.names.index(name)]

    generator = unflatten(plan.game.generator.module, parent.weights, parent.buffers)
    discriminator = unflatten(
        plan.game.discriminator.module, environment.weights, environment.buffers
    )
    adam = torch.optim.Adam(generator.parameters(), lr=LR, betas=BETAS)
    offset, moments = 0, parent.moments["inherited"]
    for parameter in generator.parameters():
        part = slice(offset, offset + parameter.numel())
        adam.state[parameter] = {
            "step": torch.tensor(4.0),
            "exp_avg": moments["mean"][part].view_as(parameter).clone(),
            "exp_avg_sq": moments["square"][part].view_as(parameter).clone(),
        }
        offset += parameter.numel()
    noise = torch.randn(8, 3, dtype=torch.float64, generator=keyed(7, 3, "breeding noise", 1))
    fake = generator(noise)
    mutations[name](**{
        each: discriminator[: -1 if "features" in each else None](
            BESIDE if each.startswith("real") else fake
        )
        for each in reads(mutations[name])
    }).backward()  # fmt: skip
    adam.step()

    expected = nn.utils.parameters_to_vector(generator.parameters())
    torch.testing.assert_close(child.weights, expected, rtol=0, atol=1e-12)
    assert child.mutation == name
    assert child.parent == parent.number
    for key, buffer in generator.named_buffers():
        torch.testing.assert_close(child.buffers[key], buffer)
    if kind == "batch norm":
        assert int(child.buffers["1.num_batches_tracked"]) == 1


@pytest.mark.parametrize("engine", engines)
@pytest.mark.parametrize("kind", ["plain", "batch norm", "spectral norm"])
def test_fitness_is_mean_probability_and_minus_log_norm_of_the_whole_gradient(engine, kind):
    plan = plan_of(kind)
    parent, environment, real = scene(plan)
    noise = torch.randn(10, 3, dtype=torch.float64, generator=keyed(7, 3, "judging noise", 0))
    for child in brood(engine, plan, parent, environment, real):
        discriminator = unflatten(
            plan.game.discriminator.module, environment.weights, environment.buffers
        )
        generator = unflatten(plan.game.generator.module, child.weights, child.buffers)
        probability_real = torch.sigmoid(discriminator(real))
        probability_fake = torch.sigmoid(discriminator(generator(noise).detach()))
        loss = -probability_real.log().mean() - (1 - probability_fake).log().mean()
        loss.backward()
        squares = sum(float((each.grad**2).sum()) for each in discriminator.parameters())
        quality, diversity = child.fitness.values
        assert quality == pytest.approx(probability_fake.mean().item(), rel=1e-12)
        assert diversity == pytest.approx(-math.log(math.sqrt(squares)), rel=1e-10)
        assert child.total == pytest.approx(quality + 0.5 * diversity, rel=1e-12)


@pytest.mark.parametrize("engine", engines)
@pytest.mark.parametrize("moments", ["inherited", "mutation"])
def test_siblings_and_parent_share_no_memory(engine, moments):
    plan = plan_of(moments=moments)
    parent, environment, real = scene(plan)
    if moments == "mutation":
        parent.moments = {}

    def storages(individual):
        tensors = [individual.weights, *individual.buffers.values()]
        tensors += [
            each[part] for each in individual.moments.values() for part in ("mean", "square")
        ]
        return {tensor.untyped_storage().data_ptr() for tensor in tensors}

    family = [parent, *brood(engine, plan, parent, environment, real)]
    pointers = [pointer for one in family for pointer in storages(one)]
    assert len(pointers) == len(set(pointers))


@pytest.mark.parametrize("engine", engines)
def test_breeding_changes_neither_parent_nor_environment(engine):
    plan = plan_of("batch norm")
    parent, environment, real = scene(plan)
    before = copy.deepcopy((parent.weights, parent.buffers, parent.moments, vars(environment)))
    brood(engine, plan, parent, environment, real)
    after = (parent.weights, parent.buffers, parent.moments, vars(environment))
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert all(each.grad is None for each in plan.game.discriminator.parameters)
    assert all(each.grad is None for each in plan.game.generator.parameters)


@pytest.mark.parametrize("engine", engines)
@pytest.mark.parametrize("legacy", [False, True])
def test_every_child_meets_the_same_spectral_norm(engine, legacy):
    norm = nn.utils.spectral_norm if legacy else nn.utils.parametrizations.spectral_norm
    module = nn.Sequential(norm(nn.Linear(2, 6)), nn.ReLU(), norm(nn.Linear(6, 1)))
    plan = plan_of(discriminator=module)
    parent, environment, real = scene(plan)
    brood(engine, plan, parent, environment, real)
    torch.testing.assert_close(
        plan.game.discriminator.buffers(), environment.buffers, rtol=0, atol=0
    )


@pytest.mark.parametrize("engine", engines)
def test_equal_children_get_equal_fitness_on_shared_noise_only(engine):
    twins = {"names": ["one", "two"], "losses": [mutations["heuristic"]] * 2}
    for shared in (True, False):
        plan = plan_of(shared_noise=shared, **twins)
        parent, environment, real = scene(plan)
        first, second = brood(engine, plan, parent, environment, real)
        assert torch.equal(first.weights, second.weights)
        assert (first.fitness.values == second.fitness.values) is shared


@pytest.mark.parametrize("engine", engines)
def test_judging_noise_is_not_the_breeding_noise(engine, monkeypatch):
    plan = plan_of(samples=8)
    parent, environment, real = scene(plan)
    drawn, draw = [], plan.game.draw

    def listen(*arguments):
        drawn.append(draw(*arguments))
        return drawn[-1]

    monkeypatch.setattr(plan.game, "draw", listen)
    brood(engine, plan, parent, environment, real)
    different = {tuple(noise.flatten().tolist()) for noise in drawn if len(noise) > 4}
    assert len(different) == 2


@pytest.mark.parametrize("engine", engines)
def test_parents_in_different_slots_breed_on_different_noise(engine):
    plan = plan_of()
    parent, environment, real = scene(plan)
    left = brood(engine, plan, parent, environment, real, slot=0)
    right = brood(engine, plan, parent, environment, real, slot=1)
    assert not torch.equal(left[0].weights, right[0].weights)
    assert not {one.number for one in left} & {one.number for one in right}


@pytest.mark.parametrize("engine", engines)
def test_moments_of_a_mutation_advance_with_its_child_whoever_survives(engine):
    plan = plan_of(moments="mutation")
    parent, environment, real = scene(plan)
    parent.moments = {}
    children = brood(engine, plan, parent, environment, real)
    for child in children:
        assert list(child.moments) == plan.names
        assert [each["step"] for each in child.moments.values()] == [1] * len(plan.names)
    means = [children[0].moments[name]["mean"] for name in plan.names]
    assert torch.equal(means[1], children[1].moments[plan.names[1]]["mean"])
    assert not torch.equal(means[0], means[1])
    grandchildren = brood(engine, plan, children[0], environment, real)
    assert grandchildren[1].moments[plan.names[1]]["step"] == 2


@pytest.mark.parametrize("engine", engines)
def test_a_child_of_a_loss_that_is_nan_has_no_fitness(engine):
    plan = plan_of(names=["bad", "good"], losses=[lambda logits: logits.mean() * math.nan,
                                                  mutations["heuristic"]])  # fmt: skip
    parent, environment, real = scene(plan)
    bad, good = brood(engine, plan, parent, environment, real)
    assert not bad.fitness.valid
    assert good.fitness.valid


@pytest.mark.parametrize("engine", engines)
def test_without_diversity_fitness_is_quality(engine):
    plan = plan_of(gamma=0.0)
    parent, environment, _ = scene(plan)
    for child in brood(engine, plan, parent, environment, None):
        assert child.fitness.values == (child.total, 0.0)


@pytest.mark.parametrize("engine", engines)
def test_dropout_is_keyed_and_equal_for_siblings(engine):
    module = nn.Sequential(nn.Linear(2, 6), nn.Dropout(0.5), nn.Linear(6, 1))
    twins = {"names": ["one", "two"], "losses": [mutations["heuristic"]] * 2}
    plan = plan_of(discriminator=module, **twins)
    parent, environment, real = scene(plan)
    torch.manual_seed(1)
    first, second = brood(engine, plan, parent, environment, real)
    torch.manual_seed(2)
    again, _ = brood(engine, plan, parent, environment, real)
    assert first.fitness.values == second.fitness.values == again.fitness.values


@pytest.mark.parametrize("engine", engines)
def test_a_generators_spectral_norm_iterates_once_in_breeding(engine):
    norm = nn.utils.parametrizations.spectral_norm
    plan = plan_of(generator=nn.Sequential(norm(nn.Linear(3, 6)), nn.Linear(6, 2)))
    parent, environment, real = scene(plan)
    parent.moments = {}
    child = brood(engine, plan, parent, environment, real)[0]
    name = "0.parametrizations.weight.0._u"
    weight = unflatten(plan.game.generator.module, parent.weights, parent.buffers)[0]
    original = weight.parametrizations.weight.original
    u = original @ parent.buffers["0.parametrizations.weight.0._v"]
    torch.testing.assert_close(child.buffers[name], (u / u.norm()).detach())
