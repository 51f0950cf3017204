"""Every engine against the reference engine: one generation from an equal state."""

import itertools
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from egan.cost import Counter
from egan.engines import engines
from egan.engines.judging import judging_noise
from egan.evolution import evolve
from egan.games import Unconditional
from egan.losses import mutations, objectives
from egan.networks import networks
from egan.penalties import penalties
from egan.settings import merge
from egan.world import World
from populations.errors import UsageError

KINDS = ["plain", "batch norm", "spectral norm"]
# Whose fakes the discriminator learns from, and on which real samples children are judged.
SOURCES = [("fresh", "own"), ("fresh", "training"), ("judged", "training"), ("bred", "training"),
           ("bred", "own")]  # fmt: skip
LR = 8e-3


def networks_of(kind, dtype, packing=1):
    """A generator and a discriminator of packs, with what the kind names in each."""

    def layers(inputs, outputs):
        made = [nn.Linear(inputs, 7), nn.LeakyReLU(0.2), nn.Linear(7, 7), nn.Tanh(),
                nn.Linear(7, outputs)]  # fmt: skip
        if kind == "batch norm":
            # Without the bias that batch norm takes out again: its gradient is zero, and Adam
            # turns the rounding of a zero into a step.
            made[2:3] = [nn.Linear(7, 7, bias=False), nn.BatchNorm1d(7)]
        if kind == "spectral norm":
            made[2] = nn.utils.parametrizations.spectral_norm(made[2])
        return nn.Sequential(*made).to(dtype)

    return {"generator": lambda: layers(4, 2), "discriminator": lambda: layers(2 * packing, 1),
            "noise_dimension": 4}  # fmt: skip


def mutations_for(engine):
    """Mutations of each kind that an engine computes; test_engines.py goes through all."""
    own = ["minimax", "heuristic", "least-squares", "rasgan"]
    return own if engine == "batched" else [*own, "feature-matching"]


def settings_of(kind, mu, fakes, real, penalty, dtype=torch.float64, engine="shared"):
    return {
        "networks": networks_of(kind, dtype),
        "population": {"mu": mu, "average": 0.0},
        "variation": {"mutations": mutations_for(engine), "batch": 16, "lr": LR},
        "fitness": {"samples": 16, "real": real, "gamma": 0.3},
        "environment": {
            "batch": 16 * mu,
            "fakes": fakes,
            "lr": LR,
            "penalties": {"r1": penalty, "r2": penalty},
        },
        "lr_final": 1.0,
    }


def worlds_of(make, engine, *layers):
    """The reference's world, its state after four generations, and the engine's world."""
    world, state = make(*layers, {"execution": {"engine": "reference"}})
    state = list(evolve(state, world, 4))[-1][0]
    try:
        other, _ = make(*layers, {"execution": {"engine": engine}})
    except UsageError as error:
        pytest.skip(str(error))
    return world, state, other


@pytest.mark.parametrize("engine", [name for name in engines if name != "reference"])
@pytest.mark.parametrize("mu", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("penalty", [0.0, 0.1])
@pytest.mark.parametrize(("fakes", "real"), SOURCES)
def test_one_generation_is_the_references_in_double_precision(
    make, engine, mu, kind, penalty, fakes, real
):
    settings = settings_of(kind, mu, fakes, real, penalty, engine=engine)
    world, state, other = worlds_of(make, engine, settings)
    expected, happened = next(evolve(state, world, 5))
    found, also = next(evolve(state, other, 5))
    assert len(happened.offspring) == mu * len(mutations_for(engine))
    for left, right in zip(happened.offspring, also.offspring, strict=True):
        assert (left.number, left.mutation) == (right.number, right.mutation)
        torch.testing.assert_close(right.weights, left.weights, rtol=0, atol=1e-8 * LR)
        assert right.fitness.values == pytest.approx(left.fitness.values, rel=1e-9)
        torch.testing.assert_close(right.buffers, left.buffers)
    one, two = expected.environment, found.environment
    torch.testing.assert_close(two.weights, one.weights, rtol=0, atol=1e-8 * LR)
    torch.testing.assert_close(two.buffers, one.buffers)
    assert also.learning == pytest.approx(happened.learning, rel=1e-9)
    assert [one.number for one in found.population] == [one.number for one in expected.population]


@pytest.mark.parametrize("engine", [name for name in engines if name != "reference"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mu", [1, 3])
def test_gradients_and_fitness_are_the_references_in_single_precision(make, engine, kind, mu):
    settings = settings_of(kind, mu, "fresh", "own", 0.0, torch.float32, engine)
    world, state, other = worlds_of(make, engine, settings)
    environment = world.settle(state.environment)
    expected = world.breed(state, environment).children
    found = other.breed(state, environment).children
    parents = {parent.number: parent for parent in state.population}
    for left, right in zip(expected, found, strict=True):
        before = parents[left.parent].moments["inherited"]["mean"]
        gradients = [
            (one.moments["inherited"]["mean"] - 0.5 * before) / 0.5 for one in (left, right)
        ]
        scale = float(gradients[0].abs().max())
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5 * scale)
        assert right.fitness.values == pytest.approx(left.fitness.values, rel=1e-4, abs=1e-6)


def same_generation(state, world, other):
    """The environments after a generation by either world, whose children and steps are equal."""
    expected, happened = next(evolve(state, world, 5))
    found, also = next(evolve(state, other, 5))
    for left, right in zip(happened.offspring, also.offspring, strict=True):
        torch.testing.assert_close(right.weights, left.weights, rtol=0, atol=1e-8 * LR)
        assert right.fitness.values == pytest.approx(left.fitness.values, rel=1e-9)
    one, two = expected.environment, found.environment
    torch.testing.assert_close(two.weights, one.weights, rtol=0, atol=1e-8 * LR)
    return one, two


@pytest.mark.parametrize("engine", [name for name in engines if name != "reference"])
@pytest.mark.parametrize("objective", objectives)
@pytest.mark.parametrize("kind", ["plain", "batch norm"])
@pytest.mark.parametrize("real", ["own", "training"])
def test_a_generation_under_every_objective_is_the_references(make, engine, objective, kind, real):
    settings = settings_of(kind, 1, "judged", real, 0.1, engine=engine)
    settings["environment"]["objective"] = objective
    world, state, other = worlds_of(make, engine, settings)
    one, two = same_generation(state, world, other)
    torch.testing.assert_close(two.buffers, one.buffers)


@pytest.mark.parametrize("engine", [name for name in engines if name != "reference"])
@pytest.mark.parametrize(("fakes", "real"), [("judged", "training"), ("bred", "own")])
def test_smoothing_and_clipping_are_the_references(make, engine, fakes, real):
    settings = settings_of("plain", 1, fakes, real, 0.0, engine=engine)
    settings["environment"] |= {"smoothing": 0.2, "clip": 0.3}
    world, state, other = worlds_of(make, engine, settings)
    same_generation(state, world, other)
    plain, _ = make(settings, {"environment": {"smoothing": 0.0}})
    environment = world.settle(state.environment)
    judged, smooth = (each.breed(state, environment).children for each in (plain, other))
    for one, two in zip(judged, smooth, strict=True):
        assert two.fitness.values[1] != pytest.approx(one.fitness.values[1], rel=1e-3)


def noisy_critic(kind):
    """A discriminator that draws at random, or whose logits depend on the batch."""
    middle = {"dropout": nn.Dropout(0.5), "batch norm": nn.BatchNorm1d(7)}[kind]
    return nn.Sequential(nn.Linear(2, 7, bias=False), middle, nn.Tanh(), nn.Linear(7, 1)).double()


@pytest.mark.parametrize("engine", [name for name in engines if name != "reference"])
@pytest.mark.parametrize("kind", ["dropout", "batch norm"])
def test_lazy_penalties_of_all_kinds_are_the_references(make, engine, kind):
    settings = settings_of("plain", 1, "judged", "training", 0.0, engine=engine)
    settings["networks"]["discriminator"] = lambda: noisy_critic(kind)
    settings["environment"] |= {"penalties": dict.fromkeys(penalties, 0.3), "lazy": 2}
    world, state, other = worlds_of(make, engine, settings)
    for generation in (4, 5):  # with penalties, and without
        environment = world.settle(state.environment)
        lessons = []
        for each in (world, other):
            litter = each.breed(replace(state, generation=generation), environment)
            teachers = litter.children[:1]
            lessons.append(each.adapt(environment, teachers, generation, litter.lesson))
        (one, row), (two, also) = lessons
        torch.testing.assert_close(two.moments, one.moments, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(two.buffers, one.buffers)
        torch.testing.assert_close(two.averages, one.averages)
        assert also == pytest.approx(row, rel=1e-7)
        assert bool(row["penalty"]) == (generation == 4)
        state = replace(state, environment=one)


@pytest.mark.parametrize("engine", [name for name in engines if name != "reference"])
@pytest.mark.parametrize("names", [["rsgan"], ["feature-matching"], ["heuristic", "rasgan"],
                                   ["feature-matching", "heuristic", "rsgan"]])  # fmt: skip
def test_under_dropout_mutations_of_all_kinds_see_what_the_references_see(make, engine, names):
    settings = settings_of("plain", 1, "fresh", "own", 0.0)
    settings["variation"]["mutations"] = names
    settings["networks"]["discriminator"] = lambda: nn.Sequential(
        nn.Linear(2, 7), nn.Dropout(0.5), nn.Tanh(), nn.Linear(7, 1)
    ).double()
    world, state, other = worlds_of(make, engine, settings)
    environment = world.settle(state.environment)
    expected, found = (each.breed(state, environment).children for each in (world, other))
    for left, right in zip(expected, found, strict=True):
        torch.testing.assert_close(right.weights, left.weights, rtol=0, atol=1e-8 * LR)


@pytest.mark.parametrize("engine", ["reference", "shared"])
def test_a_game_without_features_plays_with_losses_that_read_none(make, engine, monkeypatch):
    monkeypatch.delattr(Unconditional, "features")
    settings = settings_of("batch norm", 1, "fresh", "own", 0.0)
    settings["variation"]["mutations"] = ["minimax", "rsgan"]
    world, state = make(settings, {"execution": {"engine": engine}})
    assert next(evolve(state, world, 1))[0].generation == 1
    settings["variation"]["mutations"] = ["feature-matching"]
    with pytest.raises(UsageError, match="the game 'unconditional' has no features, which"):
        make(settings, {"execution": {"engine": engine}})


def convolutions(kind="plain"):
    """Networks with every direction of convolution, strided and not."""
    generator = nn.Sequential(
        nn.Unflatten(1, (4, 1, 1)), nn.ConvTranspose2d(4, 6, 4), nn.ReLU(),
        nn.ConvTranspose2d(6, 3, 4, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(3, 1, 3, padding=1),
        nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(4, 6, 4, 2, 1, groups=2),
        *[nn.BatchNorm2d(6)] * (kind == "batch norm"),
        nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(96, 1),
    )  # fmt: skip
    return {"generator": generator.double, "discriminator": discriminator.double,
            "noise_dimension": 4}  # fmt: skip


@pytest.mark.parametrize("kind", ["plain", "batch norm"])
@pytest.mark.parametrize(("fakes", "real"), SOURCES)
def test_convolutions_too(make, kind, fakes, real):
    settings = settings_of("plain", 1, fakes, real, 0.0)
    settings |= {"data": "digits", "networks": convolutions(kind)}
    world, state, other = worlds_of(make, "shared", settings)
    assert other.plan.traits.generator_tape
    assert other.plan.traits.own_logits is (kind == "plain")
    same_generation(state, world, other)


def published(name):
    """A pair for digits, small and in double precision."""

    def build(place):
        return networks[name]((1, 8, 8), 4, 4, None)[place].double()

    return {"generator": partial(build, 0), "discriminator": partial(build, 1),
            "noise_dimension": 4}  # fmt: skip


PUBLISHED = [
    "dcgan-4x4", "released", "released-pytorch", "sngan", "sagan", "biggan", "r3gan", "stylegan2",
]  # fmt: skip


@pytest.mark.parametrize(("name", "engine", "penalty"), [
    *[(name, "shared", penalty) for name in PUBLISHED for penalty in (0.0, 0.1)],
    ("sagan", "compiled", 0.1), ("biggan", "compiled", 0.0),
])  # fmt: skip
def test_gradients_and_fitness_of_published_pairs_are_the_references(make, name, engine, penalty):
    settings = settings_of("plain", 1, "judged", "own", penalty)
    settings |= {"data": "digits", "networks": published(name)}
    world, state, other = worlds_of(make, engine, settings)
    assert other.config.execution.engine == engine
    (expected, happened), (found, also) = (next(evolve(state, each, 5)) for each in (world, other))
    for left, right in zip(happened.offspring, also.offspring, strict=True):
        assert same_mean(left, right)
        assert right.fitness.values == pytest.approx(left.fitness.values, rel=1e-6)
    assert same_mean(expected.environment, found.environment)


def same_mean(left, right):
    """Whether two first moments are equal but for rounding.

    Weights need not be: a bias that batch norm takes out again has a gradient of zero, and Adam
    turns the rounding of a zero into a step.
    """
    one, two = (each.moments.get("inherited", each.moments)["mean"] for each in (left, right))
    return torch.allclose(two, one, rtol=0, atol=1e-9 * float(one.abs().max()))


VIEWS = {
    "packing": {"environment": {"packing": 4}},
    "noise": {"environment": {"noise": 0.3}},
    "spectral norm": {"networks": {"spectral_norm": True}},
    "discriminators": {"networks": {"discriminators": 2}},
    "all": {
        "environment": {"packing": 2, "noise": 0.3},
        "networks": {"discriminators": 3, "spectral_norm": True},
    },
}


def behind(view, settings):
    """Settings with a view, and networks that fit it."""
    settings = merge(settings, VIEWS[view])
    packing = settings["environment"].get("packing", 1)
    return merge(settings, {"networks": networks_of("plain", torch.float64, packing)})


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("engine", "mu", "fakes", "real", "objective"), [
    ("shared", 1, "judged", "training", "minimax"), ("shared", 1, "judged", "own", "rsgan"),
    ("shared", 2, "bred", "training", "minimax"), ("batched", 2, "judged", "training", "minimax"),
])  # fmt: skip
def test_a_generation_behind_every_view_is_the_references(
    make, engine, view, mu, fakes, real, objective
):
    settings = behind(view, settings_of("plain", mu, fakes, real, 0.1, engine=engine))
    settings["environment"]["objective"] = objective
    if engine == "batched" and view != "packing":
        with pytest.raises(UsageError, match="the engine 'batched' is not for this run"):
            make(settings, {"execution": {"engine": engine}})
        return
    world, state, other = worlds_of(make, engine, settings)
    one, two = same_generation(state, world, other)
    torch.testing.assert_close(two.buffers, one.buffers)


def test_a_compiled_generation_behind_all_views_is_the_references(make):
    settings = behind("all", settings_of("plain", 1, "judged", "own", 0.0))
    settings["variation"]["mutations"] = ["heuristic", "rasgan"]
    world, state, other = worlds_of(make, "compiled", settings)
    assert other.plan.game.compiled.traced
    same_generation(state, world, other)


@pytest.mark.parametrize("engine", ["shared", "compiled"])
def test_a_generation_of_augmented_images_is_the_references(make, engine):
    settings = settings_of("plain", 1, "judged", "training", 0.1) | {"data": "digits"}
    settings |= {"networks": convolutions()}
    settings["variation"]["mutations"] = ["heuristic", "rasgan"]
    settings["environment"]["augmentation"] = "color,translation,cutout"
    world, state, other = worlds_of(make, engine, settings)
    assert other.config.execution.engine == engine
    assert not other.plan.traits.repeatable
    same_generation(state, world, other)


def test_halves_are_shared_behind_the_views_that_allow_it_and_no_others(make):
    """Otherwise the comparisons above would compare a path with itself."""
    shares = {}
    for view in [view for view in VIEWS if view != "all"]:
        settings = behind(view, settings_of("plain", 1, "judged", "training", 0.0))
        world, _ = make(settings, {"execution": {"engine": "shared"}})
        shares[view] = world.plan.halves, world.knows_real_half
    assert shares.pop("noise") == (False, False)
    assert set(shares.values()) == {(True, True)}


def flops(world, state):
    with Counter() as counter:
        next(evolve(state, world, state.generation + 1))
    return counter.total


def passes(world, state):
    """Operations of one forward of 16 samples: the generator's g, the discriminator's d."""
    game = world.plan.game
    found = []
    for network, count in ((game.generator, 4), (game.discriminator, 2)):
        with Counter() as counter, torch.no_grad():
            network.module(torch.zeros(16, count, dtype=torch.float64))
        found.append(counter.total)
    return found


@pytest.mark.parametrize(("fakes", "real", "bound"), [
    # Of three children: g + d forward, d back to the samples, g back through the generator, g a
    # mutation; g and 3 d a child to judge it; 3 d for the real half; the discriminator's step.
    ("judged", "training", (8, 14)),  # is free
    ("fresh", "training", (9, 17)),  # generates, and a pass forward and back on fakes
    ("fresh", "own", (9, 20)),  # and one on real samples
    ("bred", "training", (8, 15)),  # one product a layer
])  # fmt: skip
def test_a_generation_costs_what_the_arithmetic_says(make, fakes, real, bound):
    settings = settings_of("plain", 1, fakes, real, 0.0)
    settings["variation"]["mutations"] = ["minimax", "heuristic", "least-squares"]
    world, state = make(settings, {"execution": {"engine": "shared"}})
    g, d = passes(world, state)
    counted = flops(world, state)
    # The first layer has no input gradient to compute, so a backward is a little less than 2.
    assert counted <= bound[0] * g + bound[1] * d
    assert counted >= 0.85 * (bound[0] * g + bound[1] * d)
    reference, _ = make(settings, {"execution": {"engine": "reference"}})
    assert flops(reference, state) > 1.35 * counted


@pytest.mark.parametrize("engine", engines)
@pytest.mark.parametrize("mu", [1, 4])
def test_breeding_waits_for_the_device_only_once_for_the_whole_table_of_fitness(make, engine, mu):
    world, state = make({"population": {"mu": mu}, "execution": {"engine": engine}})
    with Waits() as counter:
        world.breed(state, state.environment)
    assert counter.total == 0  # one by one; the table goes over whole


class Waits(TorchDispatchMode):
    """Counts single values that go to the host."""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            self.total += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("shared_noise", [True, False])
@pytest.mark.parametrize("engine", [name for name in engines if name != "reference"])
def test_noise_of_their_own_gives_the_references_fitness(make, engine, shared_noise):
    settings = settings_of("plain", 2, "fresh", "own", 0.0)
    settings["fitness"]["shared_noise"] = shared_noise
    world, state, other = worlds_of(make, engine, settings)
    expected = world.breed(replace(state, generation=2), state.environment).children
    found = other.breed(replace(state, generation=2), state.environment).children
    for left, right in zip(expected, found, strict=True):
        assert right.fitness.values == pytest.approx(left.fitness.values, rel=1e-9)


RACE = {"fitness": {"race": 0.9, "samples": 64, "gamma": 0.1}, "population": {"mu": 2}}


def steepness(gradient):
    """A diversity of one's own, of whose derivative a race knows nothing."""
    return -gradient.norm()


@pytest.mark.parametrize("diversity", [steepness, "energy-distance", "novelty"])
def test_only_the_papers_diversity_is_judged_on_parts(make, diversity):
    with pytest.raises(UsageError, match="cannot be judged on parts of the samples"):
        make(RACE, {"fitness": {"diversity": diversity}})
    make(RACE, {"fitness": {"diversity": diversity, "gamma": 0.0}})


def test_who_wins_a_race_was_judged_in_full_and_as_without_one(make):
    given_up = 0
    plain = {"fitness": {**RACE["fitness"], "race": 0.0}, "population": RACE["population"]}
    world, state = make(RACE, {"variation": {"mutations": [*mutations]}})
    other, _ = make(plain, {"variation": {"mutations": [*mutations]}})
    for reached, happened in evolve(state, world, 8):
        full = other.breed(state, state.environment).children
        for raced, judged in zip(happened.offspring, full, strict=True):
            if raced.fitness.valid:
                assert raced.judged_on == 64
                assert raced.fitness.values == pytest.approx(judged.fitness.values, rel=1e-4)
            else:
                assert raced.judged_on < 64
                assert raced.number not in {one.number for one in happened.survivors}
                given_up += 1
        state = reached
    assert given_up > 8


def test_a_race_at_low_confidence_judges_less(make):
    judged = []
    for confidence in (0.0, 0.6, 0.999):
        world, state = make(RACE, {"fitness": {"race": confidence}})
        judged.append(
            sum(
                child.judged_on
                for _, happened in evolve(state, world, 6)
                for child in happened.offspring
            )
        )
    assert judged[0] == 6 * 6 * 64
    assert judged[1] < judged[2] <= judged[0]


def test_chunks_under_batch_norm_are_batches_of_their_own(make):
    """Ghost batches: a child's quality is that of its chunks, each normalised for itself."""
    settings = settings_of("batch norm", 1, "fresh", "own", 0.0)
    settings["fitness"] |= {"samples": 8, "race": 0.9, "chunks": 4}
    world, state = make(settings)
    offspring = world.breed(state, state.environment).children
    child = next(child for child in offspring if child.fitness.valid)
    game, plan = world.plan.game, world.plan
    noise = judging_noise(plan, world.scene(state, state.environment), 0)
    logits = []
    for chunk in noise.chunk(4):
        game.generator.load(child.weights, child.buffers)
        game.discriminator.load(state.environment.weights, state.environment.buffers)
        logits.append(game.logits(game.generate(chunk)))
    quality = torch.cat(logits).sigmoid().mean().item()
    assert child.fitness.values[0] == pytest.approx(quality, rel=1e-9)


def blind(real):
    """A loss of real samples alone."""
    return real.mean()


def greedy(fake, labels):
    """A loss of what there is not."""
    return (fake * labels).mean()


@pytest.mark.parametrize(("layers", "message"), [
    ([{"fitness": {"race": 0.9}, "population": {"selection": "tournament"}}],
     "fitness.race gives up children that the 1 best have left behind: it needs "
     "population.selection = 'best'."),
    ([{"fitness": {"race": 0.9}, "execution": {"executor": "processes"}}],
     "fitness.race compares all children round by round in one process: it needs "
     "execution.executor = 'serial'."),
    ([{"fitness": {"race": 0.9, "samples": 20}}],
     "fitness.samples is 20: in a race it must be a multiple of fitness.chunks (8)."),
    ([{"fitness": {"race": 0.9}, "execution": {"engine": "batched"}}],
     "the engine 'batched' is not for this run: it judges all children in full, without a race."),
    ([{"execution": {"engine": "batched", "executor": "processes"}}],
     "the engine 'batched' (which may have been chosen when the run began) computes all children "
     "at once in one process: it needs execution.executor = 'serial'."),
    ([{"fitness": {"race": 0.9, "samples": 8}}],
     "fitness.samples is 8: a race needs at least two samples in each of its 8 chunks "
     "(fitness.chunks)."),
    ([{"fitness": {"race": 0.3}}],
     "fitness.race is 0.3: it must be 0 or above 0.5 and below 1, the confidence of a one-sided "
     "test."),
    ([{"execution": {"engine": "fast"}}],
     "unknown engine 'fast': valid are batched, compiled, reference, shared."),
    ([{"data": "digits", "networks": {"name": "convolutional"}},
      {"execution": {"engine": "batched"}}],
     "the engine 'batched' is not for this run: it computes stacks of multilayer perceptrons "
     "(Linear, Maxout, BatchNorm1d and elementwise layers in a Sequential), and these networks "
     "are others."),
    ([{"environment": {"objective": "rasgan"}, "execution": {"engine": "batched"}}],
     "the engine 'batched' is not for this run: it computes objectives that are a sum of a real "
     "and a fake half."),
    ([{"variation": {"mutations": ["feature-matching"]}, "execution": {"engine": "batched"}}],
     "the engine 'batched' is not for this run: it computes mutations that read logits, not "
     "features."),
    ([{"environment": {"objective": "rahinge"}, "fitness": {"race": 0.9}}],
     "the objective 'rahinge' is no sum of a real and a fake half, and so diversity cannot be "
     "judged on parts: fitness.race or fitness.gamma must be 0."),
    ([{"environment": {"objective": "rasgan", "smoothing": 0.1}}],
     "environment.smoothing is 0.1: the objective 'rasgan' cannot be smoothed, since it is no sum "
     "of a real and a fake half, and so has no real label: it must be 0."),
    ([{"environment": {"objective": "rsgan"}, "fitness": {"real": "training", "samples": 8}}],
     "the objective 'rsgan' cannot judge 8 fakes beside 16 real samples: ValueError (8 and 16 "
     "samples cannot be paired: real ones and fakes must be equally many)."),
    ([{"variation": {"mutations": ["feature-matching"]},
       "networks": {"generator": lambda: nn.Linear(8, 2), "discriminator": lambda: nn.Linear(2, 1),
                    "noise_dimension": 8}}],
     "the discriminator has one layer only, and so no features to match: give it a hidden layer, "
     "or leave out mutations that read features."),
    ([{"variation": {"mutations": [blind]}}],
     "the mutation 'tests.egan.test_engines_agree:blind' reads no fakes: it moves no generator."),
    ([{"variation": {"mutations": [greedy]}}],
     "the mutation 'tests.egan.test_engines_agree:greedy': it cannot read 'labels': name its "
     "arguments fake, real, fake_features, real_features."),
])  # fmt: skip
def test_what_cannot_be_computed_is_said_before(make, layers, message):
    with pytest.raises(UsageError) as found:
        make(*layers)
    assert str(found.value) == message


def test_the_sources_cover_all_that_can_be_shared(make):
    """Otherwise the comparisons above would compare a path with itself."""
    kept = set()
    for kind, mu, (fakes, real) in itertools.product(KINDS, (1, 3), SOURCES):
        world, _ = make(
            settings_of(kind, mu, fakes, real, 0.0), {"execution": {"engine": "shared"}}
        )
        kept.add((kind, mu, fakes, world.plan.halves, world.knows_real_half))
    assert ("plain", 3, "judged", True, True) in kept
    assert ("batch norm", 1, "judged", True, True) in kept
    assert ("batch norm", 3, "judged", False, True) in kept
    assert ("plain", 1, "bred", True, True) in kept
    assert ("spectral norm", 1, "judged", True, True) in kept


def test_auto_chooses_once_and_writes_down_what_it_chose(make, monkeypatch):
    free = {"execution": {"engine": "auto"}}
    for quicker in ("shared", "batched"):
        spent = {"shared": 1.0, "batched": 1.0, quicker: 0.5}
        now = [0.0]

        def breed(world, *arguments, spent=spent, now=now):
            now[0] += spent[world.config.execution.engine]

        monkeypatch.setattr(World, "breed", breed)
        monkeypatch.setattr("egan.trials.time.perf_counter", lambda now=now: now[0])
        world, _ = make(free)
        assert world.config.execution.engine == quicker


@pytest.mark.parametrize("layers", [
    {"data": "digits", "networks": {"name": "convolutional"}},
    {"execution": {"executor": "processes"}},
    {"fitness": {"race": 0.9}},
])  # fmt: skip
def test_auto_is_the_shared_engine_where_no_other_fits(make, layers):
    world, _ = make(layers, {"execution": {"engine": "auto"}})
    assert world.config.execution.engine == "shared"


def test_bfloat16_rounds_the_fitness_and_leaves_the_children_alone(make):
    world, state = make()
    other, _ = make({"fitness": {"precision": "bfloat16"}})
    expected = world.breed(state, state.environment).children
    found = other.breed(state, state.environment).children
    for left, right in zip(expected, found, strict=True):
        assert torch.equal(left.weights, right.weights)
        assert right.weights.dtype == torch.float32
        assert left.fitness.values != right.fitness.values
        assert right.fitness.values == pytest.approx(left.fitness.values, rel=0.05, abs=0.05)
    assert not any(other.plan.halves for _ in found)


@pytest.mark.parametrize("engine", engines)
def test_a_discriminator_step_waits_for_the_device_only_once_for_its_whole_row(make, engine):
    world, state = make({"execution": {"engine": engine}})
    with Waits() as counter:
        world.adapt(state.environment, state.population, 0)
    assert counter.total == 0


def test_a_race_is_not_won_by_a_child_that_may_not_survive(make):
    def steep(logits):
        """A loss under which Adam's square overflows while the weights stay finite."""
        return -1e22 * logits.mean()

    world, state = make(
        {"fitness": {"race": 0.9, "gamma": 0.0}},
        {"variation": {"mutations": [steep, "heuristic", "minimax"]}},
    )
    for _, happened in evolve(state, world, 10):
        assert [one.mutation in ("heuristic", "minimax") for one in happened.survivors] == [True]
        assert happened.offspring[0].judged_on == 0


def test_a_child_of_nan_fitness_leaves_the_race_in_its_first_round(make):
    seen = []

    def sour(logits):
        """A quality that is NaN on the first chunks of the first child, and over them."""
        seen.append(len(logits))
        return logits.mean() * (math.nan if len(seen) <= 3 else 1.0)

    world, state = make({"fitness": {"race": 0.9, "gamma": 0.0, "quality": sour}})
    offspring = world.breed(state, state.environment).children
    assert offspring[0].judged_on == 4
    assert not offspring[0].fitness.valid
    assert any(child.fitness.valid for child in offspring[1:])


@pytest.mark.parametrize("engine", ["shared", "batched"])
def test_what_a_loss_draws_is_keyed(make, engine):
    def noisy(logits):
        """A loss that draws from the global generator."""
        return torch.nn.functional.softplus(-(logits + torch.randn_like(logits))).mean()

    found = []
    for noise in (1, 2):
        settings = {"variation": {"mutations": [noisy, "minimax"]}, "execution": {"engine": engine}}
        world, state = make(settings)
        torch.manual_seed(noise)
        offspring = world.breed(state, state.environment).children
        found.append(offspring[0].weights)
    assert torch.equal(*found)


def test_dropout_in_a_race_differs_from_chunk_to_chunk(make):
    masks = []

    class Drop(nn.Module):
        def forward(self, x):
            masks.append((torch.rand_like(x) > 0.5).flatten())
            return x * masks[-1].view_as(x)

    def critic():
        return nn.Sequential(nn.Linear(2, 8), Drop(), nn.Linear(8, 1))

    world, state = make(
        {"fitness": {"race": 0.9, "samples": 32, "gamma": 0.0}},
        {"networks": {"discriminator": critic}},
    )
    masks.clear()
    world.breed(state, state.environment)
    chunks = [mask for mask in masks if len(mask) == 4 * 8]
    assert len({tuple(mask.tolist()) for mask in chunks}) == 8


@pytest.mark.parametrize("engine", ["shared", "compiled"])
@pytest.mark.parametrize("objective", ["minimax", "rsgan"])
def test_dropout_draws_the_same_in_every_engine(make, engine, objective):
    def critic():
        layers = [nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 1)]
        return nn.Sequential(*layers).double()

    def maker():
        return nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 2)).double()

    settings = {"networks": {"generator": maker, "discriminator": critic}}
    settings |= {"environment": {"objective": objective}}
    world, state, other = worlds_of(make, engine, settings)
    expected = world.breed(replace(state, generation=5), state.environment).children
    found = other.breed(replace(state, generation=5), state.environment).children
    for left, right in zip(expected, found, strict=True):
        assert right.fitness.values == pytest.approx(left.fitness.values, rel=1e-9)
        torch.testing.assert_close(right.weights, left.weights, rtol=0, atol=1e-8 * LR)
