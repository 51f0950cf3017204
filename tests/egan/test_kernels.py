"""Kernels: compiled, they make what they make as they are written."""

import copy
import random
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from egan import kernels
from egan.cost import generation_flops
from egan.environment import Batch, Environment, Rules, learn, slope_kernel
from egan.evolution import advance, evolve
from egan.games import Unconditional
from egan.losses import objectives
from egan.networks import Flat
from egan.optimizer import fresh_moments
from egan.penalties import penalties
from egan.settings import merge
from egan.snapshot import start
from populations.errors import UsageError

COMPILED = {"execution": {"engine": "compiled"}}
SAMPLES = torch.linspace(-1, 1, 128).view(64, 2)


class Normed(nn.Module):
    """A discriminator with batch norm, and smooth, so that rounding moves its slope a little."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x):
        return self.layers(x)


class Undecided(nn.Module):
    """A generator whose way depends on values."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x):
        return self.first(x) if x.sum() > 0 else self.second(x)


def generator():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


def pair(discriminator):
    return {"networks": {
        "generator": generator(), "discriminator": discriminator, "noise_dimension": 8,
    }}  # fmt: skip


def heights(game, weight, samples):
    """A kernel: the discriminator's logits times a weight, and its buffers."""
    return weight * game.logits(samples).detach(), game.discriminator.buffers()


@pytest.mark.slow
@pytest.mark.inductor
# Processors round bfloat16's sums differently, and the logarithm of a slope shows it most.
@pytest.mark.parametrize(("precision", "rounding"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_compiled_generations_are_those_of_the_shared_engine(make, precision, rounding):
    layers = merge(
        pair(Normed()),
        {
            "fitness": {"precision": precision},
            "environment": {"fakes": "bred", "penalties": {"r1": 0.1, "r2": 0.1}},
        },
    )
    world, state = make(layers, {"execution": {"engine": "shared"}})
    other, _ = make(layers, COMPILED)
    many, _ = make(layers, {"execution": {"engine": "compiled", "executor": "processes"}})
    for _ in range(2):
        environment = world.settle(state.environment)
        breed = (state, environment)
        expected, found, spread = (each.breed(*breed).children for each in (world, other, many))
        for one, two, three in zip(expected, found, spread, strict=True):
            compare(one.moments["inherited"]["mean"], two.moments["inherited"]["mean"])
            assert two.fitness.values == pytest.approx(one.fitness.values, rel=rounding)
            assert torch.equal(two.weights, three.weights)
            torch.testing.assert_close(two.buffers, one.buffers)
        lessons = [each.adapt(environment, expected[:1], 0) for each in (world, other)]
        compare(*[environment.moments["mean"] for environment, _ in lessons])
        torch.testing.assert_close(lessons[1][0].buffers, lessons[0][0].buffers)
        state, _ = advance(state, world)
    assert len(other.plan.game.compiled.functions) == 4


def compare(one, other):
    """Gradients, equal but for rounding."""
    torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4 * float(one.abs().max()))


def test_a_kernel_leaves_networks_and_what_it_was_given_as_they_were(make):
    world, state = make(pair(Normed()), COMPILED)
    game, environment = world.plan.game, state.environment
    before = game.discriminator.state(), environment.weights.clone()
    given = {name: each.clone() for name, each in environment.buffers.items()}
    own = environment.weights + 1, environment.buffers
    logits, buffers = kernels.run(game, heights, (2.0,), (SAMPLES,), discriminator=own)
    with kernels.as_written(game):
        expected = kernels.run(game, heights, (2.0,), (SAMPLES,), discriminator=own)
        game.discriminator.load(*before[0])
    torch.testing.assert_close((logits, buffers), expected)
    assert not torch.equal(buffers["layers.1.running_mean"], given["layers.1.running_mean"])
    after = game.discriminator.state()
    torch.testing.assert_close(after, before[0], rtol=0, atol=0)
    torch.testing.assert_close(environment.buffers, given, rtol=0, atol=0)
    assert all(isinstance(each, nn.Parameter) for each in game.discriminator.module.parameters())


def test_a_kernel_is_compiled_once_for_each_shape_and_each_fixed_object(make, monkeypatch):
    world, state = make(COMPILED)
    game = world.plan.game
    built = []
    monkeypatch.setattr(kernels, "built", lambda graph, inputs: built.append(graph) or graph)
    own = state.environment.weights, state.environment.buffers
    one, other = 2.0, 3.0
    counts = []
    for weight, samples in (
        (one, SAMPLES), (one, SAMPLES - 1), (other, SAMPLES), (one, SAMPLES[:5]), (one, SAMPLES),
    ):  # fmt: skip
        made, _ = kernels.run(game, heights, (weight,), (samples,), discriminator=own)
        game.discriminator.load(*own)
        torch.testing.assert_close(made, weight * game.logits(samples).detach())
        counts.append(len(built))
    assert counts == [1, 1, 2, 3, 3]


def test_what_networks_draw_at_random_is_drawn_anew_by_the_same_keys(make):
    def noisy():
        torch.manual_seed(0)
        body = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))
        return pair(body)

    found = {}
    for engine in ("shared", "compiled"):
        world, state = make(noisy(), {"execution": {"engine": engine}})
        found[engine] = [
            [child.total for child in happened.offspring] for _, happened in evolve(state, world, 3)
        ]
    for one, other in zip(found["shared"], found["compiled"], strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert len({value for row in found["compiled"] for value in row}) == 9


class Listed(nn.Module):
    """A generator that keeps its weights in a list as well."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 8), nn.Linear(8, 2)
        self.weights = [self.inner.weight, self.outer.weight]

    def forward(self, x):
        x = functional.linear(x, self.weights[0], self.inner.bias).relu()
        return functional.linear(x, self.weights[1], self.outer.bias)


class Drawing(nn.Module):
    """A generator that draws from Python's generator."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 2)

    def forward(self, x):
        return self.layer(x + random.gauss(0, 1))


class Recurrent(nn.Module):
    """A generator with weights that PyTorch keeps in another place."""

    def __init__(self):
        super().__init__()
        self.cells, self.layer = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x):
        return self.layer(self.cells(x[:, None])[0][:, 0])


@pytest.mark.parametrize(
    ("module", "loss", "words"),
    [
        (Undecided, "minimax", "its tensor operations cannot be listed"),
        (Recurrent, "minimax", "its list of tensor operations does not run (RuntimeError: "),
        (generator, lambda fake: -fake.mean() if fake.mean() > 0 else -fake.sum(),
         "its tensor operations cannot be listed"),
        (Listed, "minimax", "its list of tensor operations does not give what"),
        (Drawing, "minimax", "its list of tensor operations does not give what"),
        (generator, lambda fake: -random.uniform(1, 2) * fake.mean(),
         "its list of tensor operations does not give what"),
    ],
)  # fmt: skip
def test_what_goes_by_more_than_tensors_is_refused_before_any_work(make, module, loss, words):
    layers = pair(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
    layers["networks"]["generator"] = module()
    layers["variation"] = {"mutations": [loss, "heuristic"]}
    make(layers)
    with pytest.raises(UsageError) as error:
        make(layers, COMPILED)
    said = str(error.value)
    assert said.startswith(f"the engine 'compiled' is not for this run: {words}")
    assert said.endswith("use execution.engine = 'shared'.")
    assert "\n" not in said


@pytest.mark.parametrize("lazy", [1, 2])
def test_a_penalty_that_goes_by_more_than_tensors_is_refused_however_lazy(make, monkeypatch, lazy):
    drawn = {"drawn": lambda step: random.uniform(1, 2) * step.real_logits.square().mean()}
    monkeypatch.setitem(penalties, *drawn.popitem())
    layers = {"environment": {"penalties": {"drawn": 1.0}, "lazy": lazy}}
    make(layers)
    with pytest.raises(UsageError, match="its list of tensor operations does not give what"):
        make(layers, COMPILED)


@pytest.mark.parametrize("kind", ["frozen", "tied", "old spectral norm", "new spectral norm"])
def test_networks_of_every_kind_are_computed_as_written(make, kind):
    body = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 1))
    if kind == "frozen":
        body[0].requires_grad_(False)
    if kind == "tied":
        body.append(nn.Identity()).insert(3, body[2])
    if kind == "old spectral norm":
        nn.utils.spectral_norm(body[2])
    if kind == "new spectral norm":
        nn.utils.parametrizations.spectral_norm(body[2])
    found = []
    for engine in ("shared", "compiled"):
        torch.manual_seed(0)
        world, state = make(pair(copy.deepcopy(body)), {"execution": {"engine": engine}})
        found.append([each for each, _ in evolve(state, world, 3)][-1])
    torch.testing.assert_close(found[1].environment.weights, found[0].environment.weights)
    torch.testing.assert_close(found[1].population[0].weights, found[0].population[0].weights)


def test_a_kernel_that_fails_while_it_is_listed_leaves_everything_as_it_was(make):
    world, state = make(COMPILED)
    game = world.plan.game
    before = [(each.vector, each.parameters) for each in (game.generator, game.discriminator)]

    def broken(game, samples):
        raise ArithmeticError("no")

    with pytest.raises(UsageError, match="ArithmeticError"):
        kernels.run(game, broken, (), (SAMPLES,), discriminator=(state.environment.weights + 1, {}))
    after = [(each.vector, each.parameters) for each in (game.generator, game.discriminator)]
    for one, other in zip(before, after, strict=True):
        assert one[0] is other[0]
        assert one[1] is other[1]
    assert all(isinstance(each, nn.Parameter) for each in game.discriminator.module.parameters())


def test_what_fails_as_written_leaves_the_compiled_kernels_in_their_place(make):
    world, _ = make(COMPILED)
    game = world.plan.game

    def fail():
        with kernels.as_written(game):
            assert game.compiled is None
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    assert game.compiled is not None


@pytest.mark.inductor
def test_a_machine_without_a_compiler_says_what_is_missing(make, monkeypatch):
    world, state = make(COMPILED)

    def fail(*arguments, **options):
        raise RuntimeError("no working C++ compiler found\nat all")

    monkeypatch.setattr(torch._inductor, "compile", fail)
    monkeypatch.setattr(kernels, "_BUILT", {})
    with pytest.raises(UsageError) as error:
        next(evolve(state, world, 1))
    assert str(error.value) == (
        "the engine 'compiled' is not for this run: PyTorch's Inductor fails with RuntimeError: no "
        "working C++ compiler found (it needs a C++ compiler); execution.engine = 'shared' needs "
        "none."
    )


@pytest.mark.inductor
def test_equal_lists_are_compiled_once_a_process_and_no_others(monkeypatch):
    def listed(constant, scale):
        fixed = torch.tensor(constant)
        return make_fx(lambda x: [(x + fixed) * scale])(torch.ones(2))

    compiled = []
    monkeypatch.setattr(
        torch._inductor, "compile", lambda graph, *_, **__: compiled.append(graph) or graph
    )
    monkeypatch.setattr(kernels, "_BUILT", {})
    counts = []
    for constant, scale, samples in (
        ([1.0, 2.0], 3.0, torch.ones(2)),
        ([1.0, 2.0], 3.0, torch.zeros(2)),  # equal but for what goes in
        ([1.0, 9.0], 3.0, torch.ones(2)),
        ([1.0, 2.0], 4.0, torch.ones(2)),
        ([1.0, 2.0], 3.0, torch.ones(5, 2)),
        ([[1.0, 2.0]], 3.0, torch.ones(2)),
        ([1, 2], 3.0, torch.ones(2)),
    ):
        made = kernels.built(listed(constant, scale), [samples])(samples)
        torch.testing.assert_close(made[0], (samples + torch.tensor(constant)) * scale)
        counts.append(len(compiled))
    assert counts == [1, 1, 2, 3, 4, 5, 6]


def test_a_compiled_generation_is_counted_as_a_shared_one(make):
    counts = []
    for engine in ("shared", "compiled"):
        world, state = make({"execution": {"engine": engine}})
        counts.append(generation_flops(state, world))
        assert engine == "shared" or not world.plan.game.compiled.functions
        assert (getattr(world.plan.game, "compiled", None) is None) == (engine == "shared")
    assert counts[0] == counts[1] > 0


def test_lazy_penalties_are_counted_at_their_share(make):
    counts = {}
    for lazy, weight in ((1, 0.1), (4, 0.1), (1, 0.0)):
        penalties = {"r1": weight, "r2": weight}
        world, state = make({"environment": {"penalties": penalties, "lazy": lazy}})
        counts[lazy, weight] = generation_flops(state, world)
    assert counts[1, 0.1] > counts[1, 0.0]
    assert counts[4, 0.1] == (counts[1, 0.1] + 3 * counts[1, 0.0]) // 4


@pytest.mark.inductor
def test_replays_on_a_gpu_share_no_memory_and_begin_a_step(monkeypatch):
    memory, begun, asked = torch.zeros(3), [], {}

    class Elsewhere:
        device = torch.device("cuda")

    def compile_(graph, inputs, options):
        asked.update(options)
        return lambda x: (memory.copy_(x),)  # as a CUDA graph does

    monkeypatch.setattr(torch._inductor, "compile", compile_)
    monkeypatch.setattr(
        torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(memory.clone())
    )
    replay = kernels.built(None, [Elsewhere()])
    first, second = replay(torch.ones(3)), replay(torch.full((3,), 2.0))
    assert [first[0].tolist(), second[0].tolist()] == [[1.0] * 3, [2.0] * 3]
    assert len(begun) == 2
    assert asked == {"fallback_random": True, "triton.cudagraphs": True}


def test_kernels_are_traced_once_however_often_a_bound_method_is_looked_up(make, monkeypatch):
    class Mine:
        text, whole = "", None

        def real(self, logits):
            return functional.softplus(-logits).mean()

        def fake(self, logits):
            return functional.softplus(logits).mean()

    monkeypatch.setitem(objectives, "mine", Mine())
    world, state = make({"environment": {"objective": "mine"}}, COMPILED)
    counts = [len(world.plan.game.compiled.traced) for _ in evolve(state, world, 4)]
    assert counts == [counts[0]] * 4


def critic(kind):
    """A discriminator, flat enough and steep enough for every penalty."""
    torch.manual_seed(1)
    middle = {"plain": nn.Identity(), "dropout": nn.Dropout(0.5), "batch norm": nn.BatchNorm1d(8)}
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), middle[kind], nn.Tanh(), nn.Linear(8, 1))
    with torch.no_grad():
        body[-1].weight.mul_(10)
    return body.double()


@pytest.mark.parametrize("name", penalties)
@pytest.mark.parametrize("kind", ["plain", "dropout", "batch norm"])
def test_every_penalty_is_computed_as_written_and_draws_anew_at_every_step(name, kind):
    rules = Rules(objectives["minimax"], [(0.5, penalties[name])], 0.05, (0.5, 0.9))
    ends = []
    for compiled in (None, kernels.Compiled()):
        game = Unconditional(Flat(nn.Linear(3, 64).double()), Flat(critic(kind)), "normal", 3)
        game.compiled = compiled
        weights, buffers = game.discriminator.state()
        environment = Environment(weights, buffers, fresh_moments(weights))
        rows = []
        for step in range(3):
            torch.manual_seed(step)
            batch = Batch(*torch.randn(2, 6, 1, 8, 8, dtype=torch.float64).unbind())
            environment, row = learn(game, environment, batch, rules)
            rows.append(row)
        ends.append(environment)
        assert row["penalty"] > 0
    assert len(compiled.traced) == 1
    torch.testing.assert_close(vars(ends[1]), vars(ends[0]), rtol=0, atol=1e-9)


def test_a_penalty_of_the_users_own_is_compiled_as_well(make):
    found = []
    for engine in ("shared", "compiled"):
        world, _ = make({"execution": {"engine": engine}})
        steep = [(0.5, lambda step: functional.softplus(step.fake_logits).square().mean())]
        world = replace(world, penalties=steep)
        state = [each for each, _ in evolve(start(world), world, 3)][-1]
        found.append(state.environment.weights)
    traced = world.plan.game.compiled.traced
    assert any(key[0] is slope_kernel and steep[0][1] in each.fixed[1][0]
               for key, each in traced.items())  # fmt: skip
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)
