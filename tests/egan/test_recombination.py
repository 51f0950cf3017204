"""Crossovers: what each takes from either parent, and that a child's memory is its own."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from egan.config import Config, Networks
from egan.environment import Environment, settled
from egan.games import Unconditional
from egan.networks import Flat, make_pair, networks
from egan.networks.alignment import align
from egan.optimizer import fresh_moments
from egan.recombination import (
    Mating,
    aligned_average,
    crossovers,
    distances,
    distillation,
    layer_swap,
    recombine,
    resolve,
)  # fmt: skip
from populations.errors import UsageError
from populations.individual import Individual, is_finite
from populations.randomness import seeded

NOISE = 4


def normed():
    return nn.Sequential(
        nn.Linear(NOISE, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 5, bias=False),
        nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2),
    )  # fmt: skip


def plain():
    return nn.Sequential(nn.Linear(NOISE, 6), nn.Tanh(), nn.Linear(6, 2))


def judge():
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))


def mating(generator, discriminator=None, noise=None, lr=0.01):
    torch.manual_seed(0)
    modules = generator, discriminator or judge()
    game = Unconditional(*(Flat(each.double()) for each in modules), "normal", NOISE)
    weights, buffers = game.discriminator.state()
    environment = Environment(weights, buffers, fresh_moments(weights))
    for each in (game.generator, game.discriminator):
        each.vector.zero_()  # whoever computes there loads first
    noise = torch.randn(12, NOISE, dtype=torch.float64) if noise is None else noise
    return Mating(game, environment, noise, lr, (0.5, 0.9), "inherited")


def parent(scene, seed):
    """An individual with weights, statistics and moments of its own."""
    torch.manual_seed(seed)
    weights = 0.5 * torch.randn_like(scene.game.generator.vector)
    buffers = {
        name: 1 + torch.rand(each.shape).double() if each.is_floating_point() else each + seed
        for name, each in scene.game.generator.buffers().items()
    }
    moments = {
        name: {
            "step": 3, "mean": 0.1 * torch.randn_like(weights), "square": torch.rand_like(weights)
        }
        for name in ("inherited", "heuristic")
    }  # fmt: skip
    return Individual(weights, buffers, moments, number=seed, parent=1, mutation="heuristic",
                      total=2.0)  # fmt: skip


def pair(scene):
    return parent(scene, 7), parent(scene, 8)


def samples(scene, individual, noise=None):
    """What an individual makes of the noise of a mating."""
    generator = scene.game.generator
    generator.load(individual.weights, individual.buffers)
    with torch.no_grad():
        return generator.module(scene.noise if noise is None else noise)


def content(one):
    return {"weights": one.weights, "buffers": one.buffers, "moments": one.moments}


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [each for part in value.values() for each in tensors(part)]
    return []


def memory(individual):
    return tensors(content(individual))


@pytest.mark.parametrize("name", crossovers)
@pytest.mark.parametrize("make", [plain, normed])
def test_a_childs_memory_is_its_own_and_nobody_else_is_changed(name, make):
    scene = mating(make())
    parents = pair(scene)
    before = copy.deepcopy([content(each) for each in (*parents, scene.environment)])
    noise = scene.noise.clone()
    children = [
        recombine(crossovers[name].cross, name, *parents, scene, number) for number in (20, 21)
    ]
    after = [content(each) for each in (*parents, scene.environment)]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert torch.equal(scene.noise, noise)
    every = [each for one in (*parents, *children, scene.environment) for each in memory(one)]
    every += [scene.game.generator.vector, *scene.game.generator.module.buffers()]
    assert len({each.untyped_storage().data_ptr() for each in every}) == len(every)


@pytest.mark.parametrize("name", crossovers)
def test_a_child_says_where_it_comes_from_and_is_not_judged(name):
    scene = mating(normed())
    fitter, other = pair(scene)
    child = recombine(crossovers[name].cross, name, fitter, other, scene, 20)
    assert (child.number, child.parent, child.mutation) == (20, 7, name)
    assert not child.fitness.valid
    assert child.total != child.total
    assert child.average is child.evidence is child.finite is None
    assert is_finite(child)
    assert child.buffers.keys() == fitter.buffers.keys()
    assert child.moments.keys() == fitter.moments.keys()
    assert not torch.equal(child.weights, fitter.weights)
    assert not torch.equal(child.weights, other.weights)


@pytest.mark.parametrize("name", crossovers)
def test_a_child_is_a_function_of_the_global_generators(name):
    scene = mating(normed())
    parents = pair(scene)
    children = []
    for _ in range(2):
        with seeded(3, 4, "crossover", 5):
            children.append(recombine(crossovers[name].cross, name, *parents, scene, 20))
    torch.testing.assert_close(*map(content, children), rtol=0, atol=0)


@pytest.mark.parametrize("name", crossovers)
@pytest.mark.parametrize("network", networks)
def test_every_registered_generator_can_be_recombined(name, network):
    pairs = make_pair(
        Config(networks=Networks(name=network, width=6, noise_dimension=NOISE)), (1, 8, 8)
    )
    scene = mating(*pairs)
    refusal = crossovers[name].refuses(scene.game.generator)
    plain = network not in ("sngan", "sagan", "biggan", "r3gan", "stylegan2")
    if name == "aligned-average" and not plain:
        assert refusal.startswith("units are aligned in a Sequential of plain layers")
        return
    assert refusal == ""
    child = recombine(crossovers[name].cross, name, *pair(scene), scene, 20)
    assert torch.isfinite(samples(scene, child)).all()


def uniform(fitter, other, mating):
    return torch.where(torch.rand_like(fitter.weights) < 0.5, fitter.weights, other.weights)


def test_a_crossover_of_ones_own_gives_no_more_than_weights():
    scene = mating(normed())
    fitter, other = pair(scene)
    child = recombine(resolve(uniform).cross, "uniform", fitter, other, scene, 20)
    from_fitter, from_other = child.weights == fitter.weights, child.weights == other.weights
    assert (from_fitter ^ from_other).all()
    assert 0.2 < from_fitter.double().mean() < 0.8
    torch.testing.assert_close(child.buffers, fitter.buffers, rtol=0, atol=0)
    torch.testing.assert_close(child.moments, fitter.moments, rtol=0, atol=0)


@pytest.mark.parametrize("cross", [
    lambda fitter, other, mating: fitter.weights,
    lambda fitter, other, mating: other,
    lambda fitter, other, mating: replace(fitter, buffers=other.buffers),
    lambda fitter, other, mating: (2 * fitter.weights.float()).requires_grad_(),
])  # fmt: skip
def test_whatever_a_crossover_gives_is_copied(cross):
    scene = mating(normed())
    parents = pair(scene)
    child = recombine(cross, "own", *parents, scene, 20)
    every = [each for one in (*parents, child) for each in memory(one)]
    assert len({each.untyped_storage().data_ptr() for each in every}) == len(every)
    assert child.weights.dtype == torch.float64
    assert not child.weights.requires_grad
    assert not child.fitness.valid
    assert (child.number, child.parent, child.mutation) == (20, 7, "own")


@pytest.mark.parametrize(("made", "found"), [
    (torch.zeros(3), "weights of shape (3,)"),
    (None, "NoneType"),
    (Individual(torch.zeros(2, 2)), "weights of shape (2, 2)"),
])  # fmt: skip
def test_what_is_no_child_is_refused(made, found):
    scene = mating(plain())
    with pytest.raises(UsageError) as error:
        recombine(lambda *_: made, "own", *pair(scene), scene, 20)
    assert str(error.value) == (
        f"the crossover 'own' makes {found}: it must make a vector of 44 weights, as its parents "
        "have, or an individual that has one."
    )


def test_a_crossover_is_found_by_name_or_given():
    assert resolve("layer-swap").cross is layer_swap
    assert resolve(uniform).refuses(Flat(plain())) == ""
    assert resolve(crossovers["distillation"]) is crossovers["distillation"]
    with pytest.raises(UsageError, match="unknown crossover 'distilation': did you mean 'distill"):
        resolve("distilation")


# Distillation


class Signs(nn.Module):
    """Prefers samples (x, y) in which both have the same sign."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.scale * x[:, 0] * x[:, 1]


def constant(scene, height):
    """A generator that gives (z_0, height)."""
    weights = torch.zeros(2, NOISE + 1, dtype=torch.float64)
    weights[0, 0], weights[1, -1] = 1.0, height
    vector = torch.cat([weights[:, :-1].reshape(-1), weights[:, -1]])
    return replace(parent(scene, 7), weights=vector, moments={})


@pytest.mark.parametrize("heights", [(1.0, -1.0), (-1.0, 1.0)])
def test_distillation_moves_each_sample_to_the_better_parents(heights):
    noise = torch.zeros(8, NOISE, dtype=torch.float64)
    noise[:, 0] = torch.tensor([1.0, -1.0]).repeat(4)
    scene = mating(nn.Linear(NOISE, 2), Signs(), noise)
    fitter, other = (constant(scene, height) for height in heights)
    child = recombine(distillation, "distillation", fitter, other, scene, 20)
    moved = samples(scene, child) - samples(scene, fitter)
    better = torch.sign(noise[:, 0])  # the height that the discriminator prefers
    wanted = better != heights[0]
    assert wanted.sum() == 4
    torch.testing.assert_close(moved[wanted, 1], 0.02 * better[wanted], rtol=1e-6, atol=0)
    torch.testing.assert_close(moved[~wanted, 1], 0 * better[~wanted], rtol=0, atol=1e-9)
    assert not moved[:, 0].any()


def slow_distances(made):
    return torch.stack([
        torch.stack([(one - two).abs().mean() for j, two in enumerate(made) if i != j]).mean()
        for i, one in enumerate(made)
    ])  # fmt: skip


def teacher(module, individual, scene, weight):
    """Samples and their scores, with modules alone."""
    module = copy.deepcopy(module)
    load(module, individual)
    discriminator = copy.deepcopy(scene.game.discriminator.module)
    nn.utils.vector_to_parameters(scene.environment.weights, discriminator.parameters())
    with torch.no_grad():
        made = module(scene.noise)
        return made, discriminator(made) + weight * slow_distances(made)


def load(module, individual):
    nn.utils.vector_to_parameters(individual.weights.clone(), module.parameters())
    module.load_state_dict(individual.buffers, strict=False)


@pytest.mark.parametrize("make", [plain, normed])
@pytest.mark.parametrize("weight", [0.0, 1e-3, 0.5])
def test_distillation_is_adams_step_on_the_distance_to_the_better_samples(make, weight):
    scene = mating(make(), Signs())
    fitter, other = pair(scene)
    module = make().double()
    (one, ours), (two, theirs) = (teacher(module, each, scene, weight) for each in (fitter, other))
    better = theirs > ours
    assert 0 < better.sum() < len(better)
    load(module, fitter)
    adam = torch.optim.Adam(module.parameters(), lr=0.01, betas=(0.5, 0.9))
    squares = (module(scene.noise) - torch.where(better[:, None], two, one)) ** 2
    (squares.sum() / squares.numel()).backward()
    given = fitter.moments["inherited"]
    for name in ("mean", "square"):
        load_moments(adam, module, name, given[name])
    adam.step()

    child = distillation(fitter, other, scene, weight)
    exact = {"rtol": 0, "atol": 1e-12}
    expected = nn.utils.parameters_to_vector(module.parameters())
    torch.testing.assert_close(child.weights, expected, **exact)
    torch.testing.assert_close(child.buffers, dict(module.named_buffers()), **exact)
    found = child.moments["inherited"]
    states = [adam.state[each] for each in module.parameters()]
    for name, theirs in (("mean", "exp_avg"), ("square", "exp_avg_sq")):
        vector = torch.cat([each[theirs].reshape(-1) for each in states])
        torch.testing.assert_close(found[name], vector, **exact)
    assert found["step"] == 4
    assert tensors(child.moments["heuristic"])[0] is tensors(fitter.moments["heuristic"])[0]


def load_moments(adam, module, name, vector):
    key = {"mean": "exp_avg", "square": "exp_avg_sq"}[name]
    pieces = vector.split([each.numel() for each in module.parameters()])
    for each, piece in zip(module.parameters(), pieces, strict=True):
        state = adam.state[each]
        state["step"], state[key] = torch.tensor(3.0), piece.view_as(each).clone()


def test_diversity_weighs_in_the_choice_of_a_teacher():
    scene = mating(plain(), Signs())
    fitter, other = pair(scene)
    children = [distillation(fitter, other, scene, weight).weights for weight in (0.0, 0.5)]
    assert not torch.allclose(*children)
    default = recombine(distillation, "distillation", fitter, other, scene, 20)
    assert torch.equal(default.weights, distillation(fitter, other, scene, 0.001).weights)


def test_distances_are_those_to_the_other_samples():
    made = torch.randn(5, 2, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(distances(made), slow_distances(made))
    assert distances(made[:1]).tolist() == [0.0]


def test_where_scores_are_equal_the_fitter_parent_teaches():
    scene = mating(plain(), Signs())
    scene.environment.weights.zero_()
    fitter, other = (replace(each, moments={}) for each in pair(scene))
    child = distillation(fitter, other, scene, weight=0.0)
    assert torch.equal(child.weights, fitter.weights)
    assert child.moments["inherited"]["step"] == 1


def test_distillation_can_have_moments_of_its_own():
    scene = replace(mating(plain()), memory="distillation")
    fitter, other = pair(scene)
    child = distillation(fitter, other, scene)
    assert child.moments.keys() == {"inherited", "heuristic", "distillation"}
    assert child.moments["distillation"]["step"] == 1
    assert child.moments["inherited"]["step"] == 3
    assert fitter.moments.keys() == {"inherited", "heuristic"}


def spectral():
    return nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(NOISE, 6)), nn.Tanh(),
        parametrizations.spectral_norm(nn.Linear(6, 2, bias=False)),
    )  # fmt: skip


def test_distillation_iterates_a_generators_spectral_norm_once():
    scene = mating(spectral())
    fitter, other = pair(scene)
    _, expected = settled(scene.game.generator, fitter.weights, fitter.buffers)
    child = distillation(fitter, other, scene)
    torch.testing.assert_close(child.buffers, expected, rtol=0, atol=0)
    assert not torch.equal(*(each["0.parametrizations.weight.0._u"]
                             for each in (child.buffers, fitter.buffers)))  # fmt: skip


@pytest.mark.parametrize("shape", [(), (1,), (3, 2)])
def test_a_samples_logits_are_one_or_several(shape):
    layer = nn.Sequential(nn.Linear(2, 6), nn.Unflatten(1, (3, 2))) if shape == (3, 2) else judge()
    scene = mating(plain(), layer if shape else Signs())
    fitter, other = pair(scene)
    assert scene.game.logits(samples(scene, fitter)).shape == (12, *shape)
    child = distillation(fitter, other, scene)
    assert torch.isfinite(child.weights).all()


# Aligned average


def test_an_average_with_a_reordered_copy_is_the_fitter_one():
    scene = mating(normed())
    fitter, order = parent(scene, 7), torch.tensor([3, 0, 5, 1, 4, 2])
    other = replace(fitter, weights=fitter.weights.clone(), buffers=copy.deepcopy(fitter.buffers))
    pieces = scene.game.generator.views(other.weights)
    for each in scene.game.generator.module[0].parameters():
        pieces[id(each)].copy_(pieces[id(each)][order])
    for each in scene.game.generator.module[1].parameters():
        pieces[id(each)].copy_(pieces[id(each)][order])
    following = pieces[id(scene.game.generator.module[3].weight)]
    following.copy_(following[:, order])
    for name in ("1.running_mean", "1.running_var"):
        other.buffers[name] = other.buffers[name][order]
    torch.testing.assert_close(samples(scene, other), samples(scene, fitter))

    child = recombine(aligned_average, "aligned-average", fitter, other, scene, 20)
    torch.testing.assert_close(child.weights, fitter.weights, rtol=0, atol=1e-12)
    torch.testing.assert_close(child.buffers, fitter.buffers, rtol=0, atol=1e-12)
    halfway = replace(fitter, weights=(fitter.weights + other.weights) / 2)
    assert (samples(scene, halfway) - samples(scene, fitter)).abs().max() > 0.05


@pytest.mark.parametrize("make", [plain, normed])
def test_an_average_lies_between_its_aligned_parents(make):
    scene = mating(make())
    fitter, other = pair(scene)
    states = [(each.weights, each.buffers) for each in (fitter, other)]
    weights, buffers = align(scene.game.generator, *states)
    child = recombine(aligned_average, "aligned-average", fitter, other, scene, 20)
    assert not torch.equal(weights, other.weights)
    torch.testing.assert_close(child.weights, (fitter.weights + weights) / 2)
    for name, each in child.buffers.items():
        if name.endswith("num_batches_tracked"):
            assert torch.equal(each, fitter.buffers[name])
        else:
            torch.testing.assert_close(each, (fitter.buffers[name] + buffers[name]) / 2)
    torch.testing.assert_close(child.moments, fitter.moments, rtol=0, atol=0)


def test_generators_that_cannot_be_averaged_are_known_beforehand():
    refused = [name for name, each in crossovers.items() if each.refuses(Flat(spectral()))]
    assert refused == ["aligned-average"]


# Layer swap


def origins(scene, child, fitter, other, layers):
    """Whose each layer (parameters and buffers, by name) is: 0 the fitter one's, 1, or None."""
    every = [{**named(scene, each.weights), **each.buffers} for each in (child, fitter, other)]
    found = []
    for names in layers:
        same = [all(torch.equal(every[0][name], whose[name]) for name in names)
                for whose in every[1:]]  # fmt: skip
        found.append(same.index(True) if sum(same) == 1 else None)
    assert sorted(name for names in layers for name in names) == sorted(every[0])
    return tuple(found)


def named(scene, vector):
    pieces = scene.game.generator.views(vector)
    module = scene.game.generator.module
    return {name: pieces[id(each)] for name, each in module.named_parameters()}


def statistics(layer):
    return [f"{layer}.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")]


def unweighted():
    """Batch norm without parameters; its statistics are of the layer before."""
    return nn.Sequential(
        nn.BatchNorm1d(NOISE, affine=False), nn.Linear(NOISE, 5),
        nn.BatchNorm1d(5, affine=False), nn.Tanh(), nn.Linear(5, 2),
    )  # fmt: skip


class Scaled(nn.Module):
    """Has a parameter of its own, and layers."""

    def __init__(self):
        super().__init__()
        self.body, self.scale = nn.Linear(NOISE, 2), nn.Parameter(torch.ones(2))
        self.register_buffer("shift", torch.zeros(2))

    def forward(self, x):
        return self.scale * self.body(x) + self.shift


LAYERS = {
    normed: [["0.weight", "0.bias"], ["1.weight", "1.bias", *statistics(1)], ["3.weight"],
             ["4.weight", "4.bias", *statistics(4)], ["6.weight", "6.bias"]],
    unweighted: [[*statistics(0), "1.weight", "1.bias", *statistics(2)], ["4.weight", "4.bias"]],
    Scaled: [["scale", "shift"], ["body.weight", "body.bias"]],
    spectral: [
        ["0.bias", *(f"0.parametrizations.weight.{each}" for each in ("original", "0._u", "0._v"))],
        [f"2.parametrizations.weight.{each}" for each in ("original", "0._u", "0._v")],
    ],
}  # fmt: skip


@pytest.mark.parametrize("make", LAYERS)
def test_a_swap_takes_whole_layers_from_both_parents_in_every_way(make):
    scene, layers = mating(make()), LAYERS[make]
    parents = pair(scene)
    torch.manual_seed(1)
    found = [
        origins(scene, recombine(layer_swap, "layer-swap", *parents, scene, 20), *parents, layers)
        for _ in range(40 if len(layers) == 2 else 250)
    ]
    assert len(set(found)) == 2 ** len(layers) - 2
    assert all(set(each) == {0, 1} for each in found)


def test_one_layer_comes_from_either_parent():
    scene = mating(nn.Linear(NOISE, 2))
    parents = pair(scene)
    torch.manual_seed(1)
    children = [recombine(layer_swap, "layer-swap", *parents, scene, 20) for _ in range(20)]
    layers = [["weight", "bias"]]
    assert {origins(scene, each, *parents, layers) for each in children} == {(0,), (1,)}


def test_a_swap_keeps_the_fitter_parents_moments():
    scene = mating(normed())
    fitter, other = pair(scene)
    child = recombine(layer_swap, "layer-swap", fitter, other, scene, 20)
    torch.testing.assert_close(child.moments, fitter.moments, rtol=0, atol=0)
