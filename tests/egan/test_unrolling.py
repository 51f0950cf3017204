"""The unrolled discriminator: against textbook steps, finite differences, and between engines."""

import copy
import dataclasses
import io
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from egan.api import evolve_seeds
from egan.breeding import judge
from egan.cost import generation_flops
from egan.engines import engines, reference, shared
from egan.environment import Environment
from egan.evolution import evolve
from egan.games import Unconditional, games
from egan.losses import mutations, objectives, reads
from egan.networks import Flat
from egan.scene import Member, Plan, Scene
from egan.settings import merge
from egan.snapshot import freeze, revive
from egan.traits import find_traits
from egan.variation import anew, breeding_noise
from populations.errors import UsageError
from populations.individual import Individual

KINDS = ["plain", "batch norm", "spectral norm"]
NAMES = ["heuristic", "rasgan", "feature-matching"]
LR, BETAS = 0.05, (0.3, 0.8)  # the discriminator's; the generators have others


def discriminator_of(kind):
    layers = [nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 6, bias=kind != "batch norm"),
              nn.Softplus(), nn.Linear(6, 1)]  # fmt: skip
    if kind == "batch norm":
        layers.insert(3, nn.BatchNorm1d(6))
    if kind == "spectral norm":
        layers[2] = nn.utils.parametrizations.spectral_norm(layers[2])
    return nn.Sequential(*layers)


def member_of(kind, steps, objective="minimax", clip=0.0, discriminator=None):
    """A parent at work, with a discriminator in the middle of its way."""
    torch.manual_seed(0)
    game = Unconditional(
        Flat(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()),
        Flat((discriminator or discriminator_of(kind)).double()),
        "normal", 3,
    )  # fmt: skip
    plan = Plan(
        game=game, traits=find_traits(game, (2,)), seed=7, mu=1, names=NAMES,
        moves=[(place,) for place in range(3)], losses=[mutations[name] for name in NAMES],
        batch=8, betas=(0.5, 0.9), moments="inherited", quality=torch.mean,
        objective=objectives[objective], gamma=0.0, samples=0, shared_noise=True,
        unrolled=steps, environment_betas=BETAS, clip=clip,
    )  # fmt: skip
    random = torch.Generator().manual_seed(1)
    real = 1 + torch.randn((8, 2), generator=random, dtype=torch.float64)
    weights, buffers = game.discriminator.state()
    mean, square = torch.randn((2, len(weights)), generator=random, dtype=torch.float64)
    moments = {"step": 4, "mean": 0.1 * mean, "square": 0.1 * square.square()}
    environment = Environment(weights, buffers, moments)
    scene = Scene(environment, None, None, 3, 0.01, real, environment_lr=LR)
    parent = Individual(game.generator.vector.clone(), game.generator.buffers())
    return Member(parent, 0, plan, scene, losses=(0, 1, 2))


def pieces_of(vector, module):
    """A vector cut into a module's parameters, by name."""
    sizes = [each.numel() for each in module.parameters()]
    named = zip(module.named_parameters(), vector.split(sizes), strict=True)
    return {name: piece.view_as(each) for (name, each), piece in named}


def relativistic(real, fake):
    return nn.functional.softplus(fake - real).mean()


def cross_entropy(real, fake):
    return -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()


def textbook(member, loss, weights, objective=cross_entropy, clip=None, through=True):
    """A loss of a generator with these weights, by the answer of Adam as in the textbook.

    With `through` the answer depends on the weights.
    """
    game, scene = member.plan.game, member.scene
    critic, moments = copy.deepcopy(game.discriminator.module), scene.environment.moments
    fake = functional_call(
        game.generator.module, pieces_of(weights, game.generator.module), breeding_noise(member)
    )
    theta = pieces_of(scene.environment.weights.clone().requires_grad_(), critic)
    means = pieces_of(moments["mean"], critic)
    squares = pieces_of(moments["square"], critic)
    for step in range(moments["step"] + 1, moments["step"] + 1 + member.plan.unrolled):
        shown = fake if through else fake.detach()
        value = objective(*(functional_call(critic, theta, each) for each in (scene.beside, shown)))
        slopes = torch.autograd.grad(value, [*theta.values()], create_graph=through)
        for name, slope in zip(theta, slopes, strict=True):
            means[name] = BETAS[0] * means[name] + (1 - BETAS[0]) * slope
            squares[name] = BETAS[1] * squares[name] + (1 - BETAS[1]) * slope**2
            mean = means[name] / (1 - BETAS[0] ** step)
            square = squares[name] / (1 - BETAS[1] ** step)
            moved = theta[name] - LR * mean / (square.sqrt() + 1e-8)
            theta[name] = moved if clip is None else moved.clamp(-clip, clip)
            if not through:
                theta[name] = theta[name].detach().requires_grad_()
    return loss(**{
        name: answer(critic, theta, scene.beside if "real" in name else fake, "features" in name)
        for name in reads(loss)
    })  # fmt: skip


def answer(critic, theta, samples, features):
    read = []
    hook = critic[-1].register_forward_pre_hook(lambda _, given: read.append(given[0]))
    logits = functional_call(critic, theta, samples)
    hook.remove()
    return read[0] if features else logits


def slopes_of(engine, member):
    (found,) = engines[engine].differentiate([member])
    return found.gradients


def slope_of(member, loss, **options):
    """The gradient of the textbook's loss."""
    weights = member.individual.weights.clone().requires_grad_()
    return torch.autograd.grad(textbook(member, loss, weights, **options), weights)[0]


def close(one, other):
    return torch.allclose(one, other, rtol=1e-7, atol=1e-9 * float(other.abs().max()))


@pytest.mark.parametrize("engine", ["reference", "shared"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_gradients_are_the_textbooks_and_need_the_second_order(engine, kind, steps):
    member = member_of(kind, steps)
    found = slopes_of(engine, member)
    assert len(found) == len(member.plan.losses)
    for loss, slope in zip(member.plan.losses, found, strict=True):
        assert close(slope, slope_of(member, loss))
        assert not close(slope, slope_of(member, loss, through=False))


@pytest.mark.parametrize("engine", ["reference", "shared"])
@pytest.mark.parametrize(("objective", "formula", "clip"), [
    ("rsgan", relativistic, None), ("minimax", cross_entropy, 0.2),
    ("wasserstein", lambda real, fake: fake.mean() - real.mean(), 0.3),
])  # fmt: skip
def test_steps_minimise_any_objective_and_are_clipped(engine, objective, formula, clip):
    member = member_of("plain", 2, objective, clip or 0.0)
    for loss, slope in zip(member.plan.losses, slopes_of(engine, member), strict=True):
        assert close(slope, slope_of(member, loss, objective=formula, clip=clip))
        assert clip is None or not close(slope, slope_of(member, loss, objective=formula))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_gradients_are_the_slopes_of_the_unrolled_loss(steps):
    member = member_of("plain", steps)
    weights, loss, width = member.individual.weights, mutations["heuristic"], 1e-5
    moves = width * torch.eye(len(weights), dtype=torch.float64)
    differences = torch.stack([
        textbook(member, loss, weights + move) - textbook(member, loss, weights - move)
        for move in moves
    ]).detach() / (2 * width)  # fmt: skip
    (found, *_), scale = slopes_of("shared", member), float(differences.abs().max())
    bounds = {"rtol": 1e-6, "atol": 1e-8 * scale}
    torch.testing.assert_close(found, differences, **bounds)
    assert not torch.allclose(slope_of(member, loss, through=False), differences, **bounds)


@pytest.mark.parametrize("engine", ["reference", "shared"])
def test_steps_of_no_length_leave_the_plain_gradients(engine):
    member = member_of("batch norm", 2)
    still = dataclasses.replace(member.scene, environment_lr=0.0)
    plain = dataclasses.replace(member.plan, unrolled=0)
    found = slopes_of(engine, member._replace(scene=still))
    expected = slopes_of("reference", member._replace(plan=plain))
    for one, other in zip(found, expected, strict=True):
        assert close(one, other)


@pytest.mark.parametrize("engine", ["reference", "shared"])
def test_a_dead_unit_has_no_say_in_the_gradient(engine):
    """Its gradient and Adam's square of it are zero, where the root has no derivative."""
    slopes = []
    for width in (6, 7):
        critic = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 1))
        torch.manual_seed(3)
        with torch.no_grad():
            critic[0].weight[:6].normal_()
            critic[2].weight[:, :6].normal_()
            critic[0].bias[:6] = 0.1
            critic[0].bias[6:] = -1e6
            critic[2].bias.zero_()
        member = member_of("", 2, discriminator=critic)
        moments = member.scene.environment.moments
        moments.update(step=0, mean=0 * moments["mean"], square=0 * moments["square"])
        slopes.append(slopes_of(engine, member)[0])
    assert slopes[0].abs().max() > 1e-4
    assert close(*slopes)


@pytest.mark.parametrize("engine", ["reference", "shared"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_environment_stays_as_it_was_to_the_bit(engine, kind):
    member = member_of(kind, 2)
    before = copy.deepcopy(vars(member.scene.environment))
    slopes_of(engine, member)
    torch.testing.assert_close(vars(member.scene.environment), before, rtol=0, atol=0)
    game = member.plan.game
    for each in (game.discriminator, game.generator):
        assert all(isinstance(one, nn.Parameter) and one.grad is None for one in each.parameters)
    after = game.discriminator.buffers()
    if kind == "spectral norm":
        torch.testing.assert_close(after, before["buffers"], rtol=0, atol=0)


def settings_of(steps, kind="plain", **changes):
    """Networks in double precision and batches of 16."""
    layers = [nn.Linear(2, 7, bias=False), nn.Tanh(), nn.Linear(7, 1)]
    if kind == "dropout":
        layers[2:2] = [nn.Dropout(0.5)]
    if kind == "batch norm":
        layers[1:1] = [nn.BatchNorm1d(7)]
    if kind == "spectral norm":
        layers[2] = nn.utils.parametrizations.spectral_norm(layers[2])
    generator = [nn.Linear(4, 7), nn.LeakyReLU(0.2), nn.Linear(7, 2)]
    settings = {
        "networks": {
            "generator": nn.Sequential(*generator).double(),
            "discriminator": nn.Sequential(*layers).double(),
            "noise_dimension": 4,
        },
        "variation": {"unrolled": steps, "mutations": NAMES},
        "environment": {"lr": 0.02},
    }
    return merge(settings, changes)


WAYS = {
    "parents": {"population": {"mu": 2}, "environment": {"fakes": "bred", "batch": 32}},
    "alone": {"variation": {"mutations": ["rasgan"]}},
    "steps": {"variation": {"steps": 2}},
    "relativistic": {"environment": {"objective": "rsgan"}},
    "chain": {"population": {"selection": "chain"}},
    "views": {"environment": {"noise": 0.2}, "networks": {"discriminators": 2}},
}


@pytest.mark.parametrize(
    ("engine", "kind", "way"),
    [
        *[("shared", "dropout", way) for way in WAYS],
        *[("shared", kind, "parents") for kind in KINDS],
        ("compiled", "dropout", "alone"),  # tracing takes seconds
    ],
)
def test_a_generation_is_the_references(make, engine, kind, way):
    settings = settings_of(2, kind, **WAYS[way])
    world, state = make(settings, {"execution": {"engine": "reference"}})
    other, _ = make(settings, {"execution": {"engine": engine}})
    state, _ = list(evolve(state, world, 2))[-1]
    torch.manual_seed(1)
    expected, happened = next(evolve(state, world, 3))
    torch.manual_seed(2)  # nothing may come from what others drew
    found, also = next(evolve(state, other, 3))
    for left, right in zip(happened.offspring, also.offspring, strict=True):
        torch.testing.assert_close(right.weights, left.weights, rtol=0, atol=1e-10)
        assert right.total == pytest.approx(left.total, rel=1e-7, nan_ok=True)
    one, two = expected.environment, found.environment
    torch.testing.assert_close(vars(two), vars(one), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("engine", engines)
def test_without_steps_nothing_is_unrolled(make, engine, monkeypatch):
    for module in (reference, shared):
        monkeypatch.delattr(module, "beginning")
        monkeypatch.delattr(module, "look_ahead")
    settings = settings_of(0, "plain", variation={"mutations": ["heuristic"]})
    world, state = make(settings, {"execution": {"engine": engine}})
    assert world.scene(state, state.environment).beside is None
    assert next(evolve(state, world, 1))[0].generation == 1


@pytest.mark.parametrize("engine", ["reference", "shared"])
def test_a_scene_has_real_samples_and_the_rate_of_the_discriminators_step(make, engine):
    changes = {"horizon": 8, "lr_final": 0.1}
    for names in (["heuristic"], ["rasgan"]):
        settings = settings_of(2, variation={"mutations": names}, **changes)
        world, state = make(settings, {"execution": {"engine": engine}})
        scene = world.scene(dataclasses.replace(state, generation=4), state.environment)
        assert scene.beside.shape == (16, 2)
        assert scene.seen is None
        assert scene.environment_lr == world.rules(4, 0).lr == pytest.approx(0.02 * 0.55)
        assert world.plan.environment_betas == world.rules(4, 0).betas


@pytest.mark.parametrize("engine", ["reference", "shared"])
def test_judging_and_the_discriminators_step_meet_the_discriminator_that_there_is(make, engine):
    layers = {"execution": {"engine": engine}}
    settings = settings_of(3, "batch norm")
    world, state = make(settings, layers)
    plain, _ = make(settings, {"variation": {"unrolled": 0}}, layers)
    children = world.breed(state, state.environment).children
    scene, again = plain.scene(state, state.environment), [anew(child) for child in children]
    judge(engines[engine], [Member(child, 0, plain.plan, scene) for child in again])
    assert [one.total for one in again] == [one.total for one in children]
    first = children[:1]
    one, two = (each.adapt(state.environment, first, 0)[0] for each in (world, plain))
    torch.testing.assert_close(vars(one), vars(two), rtol=0, atol=0)
    others = plain.breed(state, state.environment).children
    assert all(not torch.equal(*pair) for pair in zip(
        [one.weights for one in children], [one.weights for one in others], strict=True
    ))  # fmt: skip


def test_steps_leave_penalties_out(make):
    settings, children = settings_of(2), []
    for weight in (0.0, 5.0):
        world, state = make(settings, {"environment": {"penalties": {"r1": weight, "r2": weight}}})
        children.append(world.breed(state, state.environment).children)
    for one, other in zip(*children, strict=True):
        assert torch.equal(one.weights, other.weights)


def test_stopped_and_resumed_a_run_is_that_which_never_stopped(make):
    layers = {"variation": {"unrolled": 2}}
    world, state = make(layers)
    states = [reached for reached, _ in evolve(state, world, 4)]
    saved = io.BytesIO()
    torch.save(freeze(states[1], None), saved)
    other, _ = make(layers)
    torch.manual_seed(1)
    again, _ = revive(torch.load(io.BytesIO(saved.getvalue()), weights_only=True), other)
    again = [reached for reached, _ in evolve(again, other, 4)][-1]
    for name in ("weights", "moments"):
        for one, two in zip(
            [*states[-1].population, states[-1].environment],
            [*again.population, again.environment], strict=True,
        ):  # fmt: skip
            torch.testing.assert_close(getattr(two, name), getattr(one, name), rtol=0, atol=0)


def test_every_further_step_costs_the_same(make):
    counts = [generation_flops(state, world) for world, state in (
        make({"variation": {"unrolled": steps}}) for steps in range(4)
    )]  # fmt: skip
    assert counts[0] < counts[1] < counts[2]
    assert counts[3] - counts[2] == counts[2] - counts[1]


class Once(torch.autograd.Function):
    """The identity, which can be differentiated once."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        return slope


class Single(nn.Linear):
    """A discriminator whose author ruled out a second derivative."""

    def __init__(self):
        super().__init__(2, 1)

    def forward(self, samples):
        return Once.apply(super().forward(samples))


class Distant(nn.Module):
    """A discriminator of which PyTorch knows no second derivative."""

    def __init__(self):
        super().__init__()
        self.points = nn.Parameter(torch.randn(5, 2))

    def forward(self, samples):
        return -torch.cdist(samples, self.points, p=1.0).amin(1, keepdim=True)


class Listed(nn.Module):
    """A discriminator that keeps its weights in a list as well."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.weights = [self.layer.weight]

    def forward(self, samples):
        return nn.functional.linear(samples, self.weights[0], self.layer.bias)


class Silent(Unconditional):
    """A game whose logits have no slope."""

    def logits(self, samples):
        return super().logits(samples).detach()


class Bare(Unconditional):
    """A game of one's own, whose discriminator has only what a plain generation reads."""

    def __init__(self, generator, whole, *rest):
        own = {name: getattr(whole, name) for name in dir(whole) if name not in ("at", "bound")}
        super().__init__(generator, SimpleNamespace(**own), *rest)


@pytest.mark.parametrize("engine", ["reference", "shared"])
@pytest.mark.parametrize(("discriminator", "game", "words"), [
    (Single, "unconditional", "cannot be unrolled: RuntimeError (trying to differentiate twice a"),
    (Distant, "unconditional", "cannot be unrolled: NotImplementedError (the derivative for '_cdi"),
    (Listed, "unconditional", "keeps weights beside its parameters: it must use those alone."),
    (None, Silent, "cannot be unrolled: RuntimeError (element 0 of tensors does not require grad"),
    (None, Bare, "cannot be unrolled: AttributeError ("),
])  # fmt: skip
def test_what_cannot_be_unrolled_is_refused_in_a_sentence(
    make, monkeypatch, engine, discriminator, game, words
):
    monkeypatch.setitem(games, "own", games.get(game, game))
    layers = {"game": "own", "execution": {"engine": engine}}
    if discriminator:
        layers["networks"] = {"discriminator": discriminator}
    with pytest.raises(UsageError) as error:
        make(layers, {"variation": {"unrolled": 2}})
    said = str(error.value)
    assert said.startswith(f"variation.unrolled is 2: the discriminator {words}")
    assert said.endswith(".")
    assert "\n" not in said


def test_the_batched_engine_refuses_and_auto_takes_another(make):
    with pytest.raises(UsageError, match="'batched' is not for this run: it computes mutations th"):
        make({"variation": {"unrolled": 1}, "execution": {"engine": "batched"}})
    with pytest.raises(UsageError, match="see the discriminator as it is, not unrolled"):
        evolve_seeds([0, 1], generations=1, variation={"unrolled": 1})
    world, _ = make({"variation": {"unrolled": 1}, "execution": {"engine": "auto"}})
    assert world.config.execution.engine == "shared"
    with pytest.raises(UsageError, match=r"variation\.unrolled"):
        make({"variation": {"unrolled": -1}})
