"""Breeding: what moves make of a child, who is judged, and in which order."""

import itertools
import math
from collections import Counter

import pytest
import torch

from egan.cost import generation_flops
from egan.engines import engines
from egan.evolution import evolve
from egan.losses import heuristic, value
from egan.optimizer import adam, scheduled
from egan.snapshot import freeze, revive
from egan.variation import mutated_rates
from populations.choice import choices
from populations.errors import UsageError
from populations.randomness import generator as keyed

ENGINES = [name for name in engines if name != "reference"]


def away(fake):
    """A harmful loss: it makes the discriminator surer of itself."""
    return 3 * torch.nn.functional.softplus(fake).mean()


def bigger(layers, strength):
    """A perturbation of one's own: all weights grow."""
    return [each * (1 + strength) for each in layers]


def run(make, generations, *layers, source=None):
    """All that happened in some generations."""
    world, state = make(*layers, source=source)
    return world, [state, *[after for after, _ in evolve(state, world, generations)]]


def child_of(world, state, name):
    """The child that a mutation makes in the next generation."""
    environment = world.settle(state.environment)
    (child,) = [each for each in world.breed(state, environment).children if each.mutation == name]
    return child


def by_hand(world, state, losses, moments, phase=0):
    """Weights after Adam's steps on these losses, the obvious way."""
    game, weights = world.plan.game, state.population[0].weights
    game.discriminator.load(state.environment.weights, state.environment.buffers)
    for place, loss in enumerate(losses, phase):
        game.generator.load(weights, {})
        role = f"breeding noise {place}" if place else "breeding noise"
        noise = game.draw(world.plan.batch, keyed(world.plan.seed, state.generation, role, 0))
        found = value(loss, {"fake": game.logits(game.generate(noise))})
        gradient = game.generator.gradient(found)
        lr = scheduled(8e-3, state.generation, world.config.horizon, 0.05)
        weights, moments = adam(weights, moments, gradient, lr, world.plan.betas)
    return weights


def close(left, right, tolerance=1e-4):
    torch.testing.assert_close(left, right, rtol=0, atol=tolerance * 8e-3)


def test_k_steps_a_generation_are_steps_on_fresh_noise_in_a_row(make):
    world, (*_, state) = run(make, 2, {"variation": {"mutations": ["heuristic"], "steps": 3}})
    moments = state.population[0].moments["inherited"]
    assert moments["step"] == 6
    child = child_of(world, state, "heuristic")
    close(child.weights, by_hand(world, state, [heuristic] * 3, moments), 1e-3)
    assert child.moments["inherited"]["step"] == 9


@pytest.mark.parametrize("engine", engines)
def test_orthogonal_regularisation_joins_the_gradient_of_every_loss(make, engine):
    """The weights of linear layers, by autograd; at first Adam's mean is half of the gradient."""
    settings = {"variation": {"mutations": ["heuristic", "minimax"], "orthogonal": 0.3}}
    world, state = make(settings, {"execution": {"engine": engine}})
    plain, _ = make({"variation": {"mutations": ["heuristic", "minimax"]}})
    network = world.plan.game.generator
    network.load(state.population[0].weights, {})
    products = [each @ each.T for each in network.parameters if each.dim() > 1]
    penalty = sum((each - each.diagonal().diag()).square().sum() for each in products)
    expected = 0.3 * network.gradient(penalty)
    assert len(products) == 3
    for name in ("heuristic", "minimax"):
        with_it, without = (
            child_of(each, state, name).moments["inherited"]["mean"] for each in (world, plain)
        )
        torch.testing.assert_close(2 * (with_it - without), expected, rtol=1e-3, atol=1e-5)
    assert expected.abs().max() > 0.1


def test_one_step_is_the_plain_generation(make):
    ends = [
        run(make, 3, {"variation": {"mutations": ["heuristic", "minimax"], **steps}})[1][-1]
        for steps in ({}, {"steps": 1})
    ]
    assert torch.equal(ends[0].population[0].weights, ends[1].population[0].weights)


def test_a_composition_makes_its_moves_in_order(make):
    names = ["heuristic", "heuristic+noise", "noise"]
    world, (*_, state) = run(make, 2, {"variation": {"mutations": names, "strength": 0.1}})
    plain, both, noise = (child_of(world, state, name) for name in names)
    views = world.plan.game.generator.views
    parent = state.population[0]
    for origin, child in ((plain, both), (parent, noise)):
        pairs = zip(views(origin.weights).values(), views(child.weights).values(), strict=True)
        for before, after in pairs:
            size = before.square().mean().sqrt()
            if before.numel() > 100:
                assert (after - before).std() / size == pytest.approx(0.1, rel=0.25)
    assert both.moments["inherited"]["step"] == plain.moments["inherited"]["step"]
    assert torch.equal(noise.moments["inherited"]["mean"], parent.moments["inherited"]["mean"])
    assert noise.moments["inherited"]["mean"].data_ptr() != (
        parent.moments["inherited"]["mean"].data_ptr()
    )


def test_a_perturbation_of_ones_own_is_a_move_like_any_other(make):
    world, (*_, state) = run(
        make, 1, {"variation": {"mutations": [bigger, "heuristic"], "strength": 0.5}}
    )
    child = child_of(world, state, f"{__name__}:bigger")
    torch.testing.assert_close(child.weights, 1.5 * state.population[0].weights)


def test_gradient_noise_turns_siblings_into_directions_of_their_own(make):
    def cosine(noise):
        world, (*_, state) = run(
            make, 3,
            {"variation": {"mutations": ["heuristic", "non-saturating"], "gradient_noise": noise}},
        )  # fmt: skip
        one, other = world.breed(state, world.settle(state.environment)).children
        steps = [each.weights - state.population[0].weights for each in (one, other)]
        return float(torch.cosine_similarity(*steps, dim=0))

    assert cosine(0.0) > 0.95
    assert cosine(3.0) < 0.8


def test_own_rates_are_those_of_the_step_and_are_inherited(make):
    world, (*_, before, state) = run(
        make, 3, {"variation": {"mutations": ["heuristic"], "adaptation": 0.3}}
    )
    parent = state.population[0]
    assert parent.rates != before.population[0].rates
    assert all(len(one.rates) == 3 for one in (parent, before.population[0]))
    child = child_of(world, state, "heuristic")
    lr = world._lr(8e-3, state.generation) * child.rates["lr"]
    gradient = (
        child.moments["inherited"]["mean"]
        - child.rates["beta1"] * parent.moments["inherited"]["mean"]
    ) / (1 - child.rates["beta1"])
    betas = child.rates["beta1"], child.rates["beta2"]
    expected, _ = adam(parent.weights, parent.moments["inherited"], gradient, lr, betas)
    close(child.weights, expected, 1e-2)
    random = keyed(world.plan.seed, state.generation, "rates", child.number)
    assert child.rates == mutated_rates(parent.rates, world.plan.betas, 0.3, random)


def test_mutated_rates_are_log_normal_and_stay_in_their_ranges():
    random = torch.Generator().manual_seed(0)
    first = [mutated_rates({}, (0.5, 0.9), 0.2, random) for _ in range(2000)]
    logs = torch.tensor([[math.log(each["lr"]), math.log((1 - each["beta2"]) / 0.1)]
                         for each in first])  # fmt: skip
    assert logs.mean(0).abs().max() < 0.02
    assert logs.std(0).tolist() == pytest.approx([0.2, 0.2], rel=0.06)
    rates = {}
    for _ in range(300):
        rates = mutated_rates(rates, (0.5, 0.9), 3.0, random)
        assert 0.01 <= rates["lr"] <= 100
        assert 0 <= rates["beta1"] <= 0.9999
        assert 0 <= rates["beta2"] <= 0.9999


PLAIN = {"fitness": {"gamma": 0.0}}  # so that a harmful step makes a child less fit
COMPETE = {"population": {"parents": "compete"}, **PLAIN}


def test_a_parent_that_is_fitter_than_its_children_survives(make):
    harmful = {"variation": {"mutations": [away]}}
    _, states = run(make, 3, COMPETE, harmful)
    assert {state.population[0].number for state in states} == {0}
    _, states = run(make, 3, harmful)
    assert len({state.population[0].number for state in states}) == 4


def test_parents_are_judged_again_in_todays_environment_on_the_same_noise(make):
    world, states = run(make, 2, COMPETE, {"variation": {"mutations": [away]}})
    state = states[-1]
    environment = world.settle(state.environment)
    (again,) = world.breed(state, environment).again
    game, plan = world.plan.game, world.plan
    game.generator.load(again.weights, again.buffers)
    game.discriminator.load(environment.weights, environment.buffers)
    noise = game.draw(plan.samples, keyed(plan.seed, state.generation, "judging noise"))
    with torch.no_grad():
        quality = game.logits(game.generate(noise)).sigmoid().mean()
    assert again.fitness.values[0] == pytest.approx(float(quality), rel=1e-5)
    assert again.total != state.population[0].total


def test_survivors_that_are_parents_keep_their_number_and_are_told_apart(make):
    world, state = make(COMPETE, {"variation": {"mutations": [away, "heuristic"]}})
    origins = Counter()
    for after, happened in evolve(state, world, 12):
        (survivor,) = happened.survivors
        origins[happened.origin(survivor)] += 1
        young = survivor.number in {one.number for one in happened.offspring}
        assert young is (survivor.number > state.population[0].number)
        state = after
    assert set(origins) <= set(world.operators.origins())
    assert world.operators.origins()[-1] == "parent"


def test_the_average_of_a_parent_that_survives_goes_on(make):
    average = {"population": {"parents": "compete", "average": 0.5}, **PLAIN}
    _, states = run(make, 3, average, {"variation": {"mutations": [away]}})
    one = states[-1].population[0]
    assert torch.equal(one.weights, states[0].population[0].weights)
    torch.testing.assert_close(one.average, one.weights)


@pytest.mark.parametrize("selection", ["random", "best"])
def test_parents_may_survive_whether_anybody_is_judged_or_not(make, selection):
    world, states = run(
        make, 20, {"population": {"parents": "compete", "selection": selection}},
        {"variation": {"mutations": [away]}},
    )  # fmt: skip
    stays = sum(
        one.population[0].number == other.population[0].number
        for one, other in itertools.pairwise(states)
    )
    assert world.operators.judged is (selection == "best")
    assert stays > 4


@pytest.mark.parametrize("choice", [name for name in choices if name != "all"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_choice_makes_as_many_children_as_it_is_told(make, choice, count):
    names = ["minimax", "heuristic", "least-squares"]
    world, state = make(
        {"variation": {"mutations": names, "choice": choice, "children": count}},
        {"population": {"mu": 2}},
    )
    tried = Counter()
    for _, happened in evolve(state, world, 9):
        assert len(happened.offspring) == 2 * count
        assert len({one.number for one in happened.offspring}) == 2 * count
        tried.update(one.mutation for one in happened.offspring)
    assert set(tried) == set(names)
    if choice == "round-robin":
        assert len(set(tried.values())) == 1


@pytest.mark.parametrize("choice", [name for name in choices if choices[name].reads_gains])
def test_an_adaptive_choice_finds_the_mutation_that_gains(make, choice):
    world, state = make(
        {"variation": {"mutations": [away, "heuristic"], "choice": choice}}, {"generations": 200}
    )
    names = [happened.offspring[0].mutation for _, happened in evolve(state, world, 80)][20:]
    assert names.count("heuristic") > 0.6 * len(names)


def test_the_history_of_gains_survives_a_checkpoint(make):
    settings = {"variation": {"choice": "thompson"}}
    world, (*_, state) = run(make, 5, settings)
    assert len(state.history) == 5
    again, _ = revive(freeze(state, None), world)
    assert again.history == state.history


def test_choices_that_read_no_gains_judge_no_parents(make):
    world, state = make({"variation": {"choice": "round-robin"}})
    assert not world.operators.judged
    assert not world.breed(state, state.environment).again


CHAIN = {"population": {"selection": "chain"}, **PLAIN}


def test_in_a_chain_every_child_is_bred_from_the_last_one_accepted(make):
    settings = {"variation": {"mutations": ["heuristic", away, "minimax"]}}
    world, (*_, state) = run(make, 3, CHAIN, settings)
    litter = world.breed(state, world.settle(state.environment))
    first, second, third = litter.children
    assert first.parent == state.population[0].number
    assert second.parent == first.number
    assert second.total < first.total
    assert third.parent == first.number
    (accepted,) = litter.pool
    assert accepted is max((first, third), key=lambda one: one.total)
    moments = state.population[0].moments["inherited"]
    close(first.weights, by_hand(world, state, [heuristic], moments), 1e-3)
    assert third.moments["inherited"]["step"] == first.moments["inherited"]["step"] + 1


def test_the_first_of_a_chain_is_accepted_though_its_parent_was_fitter(make):
    world, (*_, state) = run(make, 3, CHAIN, {"variation": {"mutations": [away, "minimax"]}})
    litter = world.breed(state, world.settle(state.environment))
    assert litter.children[1].parent == litter.children[0].number


def test_every_mutation_of_a_chain_advances_moments_of_its_own(make):
    settings = {"variation": {"mutations": ["heuristic", away, "minimax"], "moments": "mutation"}}
    _, (*_, state) = run(make, 4, CHAIN, settings)
    assert [each["step"] for each in state.population[0].moments.values()] == [4, 4, 4]


WAYS = {
    "three steps": {"variation": {"steps": 3}},
    "composition": {"variation": {"mutations": ["heuristic+noise", "minimax+heuristic", "noise"]}},
    "noisy gradients": {"variation": {"gradient_noise": 0.3}},
    "own rates": {"variation": {"adaptation": 0.2}},
    "own moments": {"variation": {"steps": 2, "moments": "mutation"}},
    "parents compete": {"population": {"parents": "compete", "mu": 2}},
    "bandit": {"variation": {"choice": "ucb", "children": 2}, "population": {"mu": 2}},
    "chain": {"population": {"selection": "chain"}},
    "lexicase": {"population": {"selection": "lexicase", "mu": 2}},
    "energy distance": {"fitness": {"diversity": "energy-distance", "gamma": 1.0}},
    "coverage alone": {"fitness": {"quality": "none", "diversity": "coverage"}},
    "novelty": {"fitness": {"diversity": "novelty", "gamma": 1.0, "archive": 2}},
    "elites": {
        "population": {"selection": "map-elites", "mu": 2, "parents": "compete"},
        "fitness": {"landmarks": 4},
    },
    "ranks": {"fitness": {"combination": "ranks"}, "population": {"mu": 2}},
    "revival": {"population": {"on_collapse": "revive", "collapse": 0.99, "collapse_every": 1}},
    "hall of fame": {
        "environment": {"hall": 2},
        "population": {"crossover": "layer-swap", "parents": "compete"},
    },
    "hall of fame and lexicase": {
        "environment": {"hall": 3},
        "population": {"selection": "lexicase", "mu": 2},
    },
    "distillation": {"population": {"crossover": "distillation", "crossovers": 2}},
    "averages": {"population": {"crossover": "aligned-average", "mu": 2, "parents": "compete"}},
    "swaps of random pairs": {"population": {"crossover": "layer-swap", "selection": "random"}},
    "distillation by own moments": {
        "population": {"crossover": "distillation"},
        "variation": {"moments": "mutation"},
    },
    "judged fakes": {
        "fitness": {"diversity": "kernel-distance", "real": "training"},
        "environment": {"fakes": "judged"},
    },
    "bred fakes": {"variation": {"steps": 2}, "environment": {"fakes": "bred"}},
}


# Tracing takes seconds: the compiled engine is tried where its kernels are given other things.
TRACED = ["composition", "bandit", "energy distance", "bred fakes", "hall of fame and lexicase"]


@pytest.mark.parametrize(
    ("engine", "way"),
    [(engine, way) for engine in ENGINES for way in (TRACED if engine == "compiled" else WAYS)],
)
def test_every_engine_breeds_as_the_reference_does(make, engine, way):
    world, (*_, state) = run(make, 3, WAYS[way], {"execution": {"engine": "reference"}})
    other, _ = make(WAYS[way], {"execution": {"engine": engine}})
    expected, found = (each.breed(state, each.settle(state.environment)) for each in (world, other))
    for one, two in zip(expected.children, found.children, strict=True):
        assert (one.number, one.parent, one.mutation) == (two.number, two.parent, two.mutation)
        close(one.weights, two.weights, 0.05)
        assert two.total == pytest.approx(one.total, rel=1e-4, nan_ok=True)
        assert two.cases == pytest.approx(one.cases, rel=1e-4)
        assert two.behaviour == pytest.approx(one.behaviour)
        assert two.rates == one.rates
    for one, two in zip(expected.again, found.again, strict=True):
        assert two.total == pytest.approx(one.total, rel=1e-4, nan_ok=True)
    assert [one.number for one in expected.pool] == [one.number for one in found.pool]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_in_processes_and_after_a_checkpoint_what_it_gives_at_once(make, way):
    world, states = run(make, 4, WAYS[way])
    spread, _ = make(WAYS[way], {"execution": {"executor": "processes", "workers": 1}})
    state, _ = revive(freeze(states[2], None), world)
    for after, _ in evolve(state, spread, 4):  # noqa: B007
        pass
    for one, other in zip(states[-1].population, after.population, strict=True):
        assert torch.equal(one.weights, other.weights)
        assert one.number == other.number
        assert one.rates == other.rates
        assert one.behaviour == other.behaviour
    assert after.history == states[-1].history
    assert after.behaviours == states[-1].behaviours


def nearness(fake, real):
    """A diversity of one's own."""
    return -(fake.mean(0) - real.mean(0)).norm()


@pytest.mark.parametrize("diversity", [nearness, "energy-distance", "pairwise", "coverage"])
def test_diversity_by_samples_reads_the_judged_ones_and_the_real_batch(make, diversity):
    settings = {"fitness": {"diversity": diversity, "gamma": 0.5}}
    world, (*_, state) = run(make, 2, settings)
    environment, plan = world.settle(state.environment), world.plan
    child = world.breed(state, environment).children[1]
    game, found = plan.game, plan.diversity
    game.generator.load(child.weights, child.buffers)
    noise = game.draw(plan.samples, keyed(plan.seed, state.generation, "judging noise"))
    with torch.no_grad():
        fake = game.generate(noise)
    real = world._judging_real(state.generation)
    expected = found(fake) if diversity == "pairwise" else found(fake, real)
    quality, variety = child.fitness.values
    assert variety == pytest.approx(float(expected), rel=1e-5)
    assert child.total == pytest.approx(quality + 0.5 * variety)


def per_dimension(fake):
    """A diversity that is no scalar."""
    return fake.std(dim=0)


def test_a_diversity_that_is_no_scalar_is_one_sentence(make):
    with pytest.raises(UsageError, match="per_dimension' cannot judge 16 fakes beside 16 real"):
        make({"fitness": {"diversity": per_dimension}})


def test_without_quality_and_gradient_judging_asks_no_discriminator(make):
    costs = []
    for fitness in ({}, {"quality": "none", "diversity": "pairwise", "gamma": 1.0}):
        world, state = make({"fitness": fitness})
        costs.append(generation_flops(state, world))
    assert costs[1] < 0.7 * costs[0]


def test_ranks_are_taken_among_all_candidates_of_a_generation(make):
    settings = {"fitness": {"combination": "ranks", "gamma": 0.5}, "population": {"mu": 2}}
    world, (*_, state) = run(make, 2, settings)
    litter = world.breed(state, world.settle(state.environment))
    qualities, varieties = zip(*(one.fitness.values for one in litter.children), strict=True)
    by_hand = [
        (sum(other < one for other in values) + sum(other == one for other in values) / 2 - 0.5)
        / 5
        * weight
        for values, weight in ((qualities, 1.0), (varieties, 0.5))
        for one in values
    ]
    expected = [by_hand[place] + by_hand[6 + place] for place in range(6)]
    assert [one.total for one in litter.children] == pytest.approx(expected)


def halves(fitter, other, mating):
    """A crossover of one's own: half of the weights from either parent."""
    half = len(fitter.weights) // 2
    return torch.cat([fitter.weights[:half], other.weights[half:]])


def test_a_crossover_joins_the_best_pairs_and_its_children_compete(make):
    settings = {"population": {"crossover": halves, "crossovers": 2, "mu": 2}}
    world, (*_, state) = run(make, 2, settings)
    litter = world.breed(state, world.settle(state.environment))
    *bred, one, two = litter.children
    first, second, third, *_ = sorted(bred, key=lambda child: -child.total)
    for child, (fitter, other) in ((one, (first, second)), (two, (first, third))):
        assert torch.equal(child.weights, halves(fitter, other, None))
        assert child.parent == fitter.number
        assert child.mutation == world.operators.names()[-1] == f"{__name__}:halves"
        assert child.fitness.valid
        assert litter.roots[child.number] is litter.roots[fitter.number]
        assert any(child is candidate for candidate in litter.pool)
    numbers = [child.number for child in litter.children]
    assert len(set(numbers)) == 8


def test_children_by_crossover_are_judged_like_all_others(make):
    settings = {"population": {"crossover": halves}}
    world, (*_, state) = run(make, 2, settings)
    environment = world.settle(state.environment)
    child = world.breed(state, environment).children[-1]
    game, plan = world.plan.game, world.plan
    game.generator.load(child.weights, child.buffers)
    game.discriminator.load(environment.weights, environment.buffers)
    noise = game.draw(plan.samples, keyed(plan.seed, state.generation, "judging noise"))
    with torch.no_grad():
        quality = game.logits(game.generate(noise)).sigmoid().mean()
    assert child.fitness.values[0] == pytest.approx(float(quality), rel=1e-5)


def test_a_child_by_crossover_that_survives_goes_on_with_its_lineages_average(make):
    def best_of_all(children, count):
        """Those by crossover."""
        return sorted(children, key=lambda one: one.mutation != "layer-swap")[:count]

    _, states = run(make, 4, {"population": {"crossover": "layer-swap", "selection": best_of_all}})
    assert all(state.population[0].mutation == "layer-swap" for state in states[1:])
    assert all(state.population[0].average is not None for state in states)


def explode(fake):
    """A loss without a finite gradient."""
    return fake.mean() * math.inf


def certain():
    """Logits far beyond the hinge's margins for fakes near 0 and real samples near 2."""
    layer = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(layer.weight, 100.0)
    torch.nn.init.constant_(layer.bias, -200.0)
    return torch.nn.Sequential(layer)


def near_zero():
    """A generator of points no farther off than some tenths."""
    layer = torch.nn.Linear(8, 2)
    torch.nn.init.normal_(layer.weight, std=0.01)
    return torch.nn.Sequential(layer)


@pytest.mark.parametrize(
    ("engine", "race"),
    [*[(each, 0.0) for each in engines], ("shared", 0.9), ("compiled", 0.9)],
)
def test_children_that_meet_a_hinge_without_a_slope_are_ranked_by_their_quality(make, engine, race):
    settings = {
        "networks": {"generator": near_zero, "discriminator": certain},
        "environment": {"objective": "hinge", "penalties": {"r1": 0.0, "r2": 0.0}},
        "variation": {"mutations": ["heuristic", "minimax"]},
        "fitness": {"quality": "logit", "gamma": 0.5, "race": race},
        "execution": {"engine": engine},
    }
    world, (before, after) = run(make, 1, settings, source=2 + 0.01 * torch.randn(512, 2))
    assert torch.equal(after.environment.weights, before.environment.weights)
    (best,) = after.population
    quality, diversity = best.fitness.values
    assert diversity == pytest.approx(-math.log(torch.finfo(torch.float32).tiny))
    children = world.breed(before, world.settle(before.environment)).children
    assert quality == max(each.fitness.values[0] for each in children) < 0


def test_parents_that_survive_alone_count_as_generations_without_a_child(make):
    settings = {"variation": {"mutations": [explode]}, "population": {"parents": "compete"}}
    _, states = run(make, 3, settings)
    assert [state.barren for state in states] == [0, 1, 2, 3]
    assert {state.population[0].number for state in states} == {0}


def test_distillation_scores_the_samples_of_a_pack_alike(make):
    settings = {"population": {"crossover": "distillation"}, "environment": {"packing": 4}}
    world, (*_, state) = run(make, 2, settings)
    assert world.breed(state, world.settle(state.environment)).children[-1].fitness.valid


def test_lexicase_reads_the_quality_of_each_group_of_samples(make):
    world, (*_, state) = run(make, 1, {"population": {"selection": "lexicase"}})
    child = world.breed(state, world.settle(state.environment)).children[0]
    assert len(child.cases) == 8
    assert sum(child.cases) / 8 == pytest.approx(child.fitness.values[0], rel=1e-5)
    assert len(set(child.cases)) > 1


@pytest.mark.parametrize(("settings", "says"), [
    ({"variation": {"choice": "ucb", "children": 4}}, "has only 3 to choose from"),
    ({"population": {"selection": "chain", "parents": "compete"}}, "population.parents = 'die'"),
    ({"population": {"selection": "chain"}, "variation": {"choice": "ucb"}}, "variation.choice"),
    ({"population": {"selection": "lexicase"}, "fitness": {"groups": 5}}, "must be a multiple"),
    ({"population": {"selection": "nsga2"}, "fitness": {"gamma": 0.0}}, "two objectives"),
    ({"variation": {"mutations": ["noise"]}, "environment": {"fakes": "bred"}}, "begin with a"),
    ({"variation": {"mutations": ["heuristic+nois"]}}, "did you mean 'noise'"),
    ({"fitness": {"diversity": "coverage", "samples": 4}}, "more than 5 real samples"),
    ({"fitness": {"diversity": "coverage", "race": 0.9}}, "on parts of the samples"),
    ({"fitness": {"combination": "ranks", "race": 0.9}}, "fitness.combination = 'sum'"),
    ({"fitness": {"combination": "ranks"}, "population": {"selection": "chain"}}, "= 'sum'"),
    ({"fitness": {"quality": "none", "gamma": 0.0}}, "nothing is left to judge by"),
    ({"fitness": {"diversity": lambda real: real.mean()}}, "reads no fakes"),
    ({"fitness": {"diversity": lambda fake, weights: 0}}, "cannot read 'weights'"),
    ({"population": {"selection": "lexicase"}, "fitness": {"groups": 8},
      "environment": {"packing": 4}}, "multiple of 32"),
    ({"population": {"selection": "lexicase"},
      "fitness": {"quality": "none", "diversity": "pairwise"}}, "compares qualities"),
    ({"fitness": {"diversity": "pairwise", "samples": 1}}, "is nan: it may need more"),
    ({"variation": {"children": 2}}, "one child by each mutation"),
    ({"variation": {"mutations": ["heuristic+", "minimax"]}}, "'heuristic\\+' has an empty part"),
    ({"variation": {"mutations": ["noise"], "unrolled": 1}}, "no mutation steps on a loss"),
    ({"population": {"selection": "chain", "crossover": "layer-swap"}}, "needs two candidates"),
    ({"population": {"crossover": "layer-swap"}, "variation": {"mutations": ["minimax"]}},
     "needs two candidates"),
    ({"population": {"crossover": lambda one, other, mating: 3}}, "it must make a vector"),
    ({"population": {"crossover": lambda one, other, mating: 1 / 0}}, "ZeroDivisionError"),
    ({"population": {"crossover": "aligned-average"},
      "networks": {"generator": lambda: torch.nn.Sequential(
          torch.nn.Linear(8, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 2))}}, "LayerNorm"),
    ({"variation": {"choice": "bandit"}}, "unknown choice"),
])  # fmt: skip
def test_what_does_not_go_together_is_one_sentence(make, settings, says):
    with pytest.raises(UsageError, match=says) as error:
        make(settings)
    assert str(error.value).count("\n") == 0
