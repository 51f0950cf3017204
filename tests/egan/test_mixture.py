"""The mixture of generators: what it covers, how it samples, what a run leaves of it."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import egan
import egan.mixture
import egan.run
from egan.cli import main
from egan.data import make_data
from egan.directory import Directory
from egan.games import Unconditional
from egan.generator import Generator
from egan.mixture import GAP, fit_weights, gains, mixture, proportions
from egan.networks import Flat
from egan.run import run_in
from egan.scores.modes import modes_covered
from populations import checkpoint

RING = make_data("ring")


class Modes(nn.Module):
    """Makes samples of some of the ring's modes from uniform noise of three dimensions."""

    def __init__(self, modes, shift=0.0):
        super().__init__()
        self.centres = nn.Parameter(RING.centres[list(modes)] + shift)

    def forward(self, noise):
        count = len(self.centres)
        mode = ((noise[:, 0] + 1) / 2 * count).long().clamp(max=count - 1)
        normal = math.sqrt(2) * torch.erfinv(0.999 * noise[:, 1:])
        return self.centres[mode] + RING.deviation * normal


class Shifted(nn.Module):
    """Noise moved by a number."""

    def __init__(self, shift):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, noise):
        return noise + self.shift


def generator(module, noise="uniform", dimension=3):
    return Generator(Unconditional(Flat(module), Flat(nn.Linear(2, 1)), noise, dimension))


def draw(count, seed=0):
    return RING.draw(count, torch.Generator().manual_seed(seed))


def fitted(members, real=None):
    real = draw(1000) if real is None else real
    return fit_weights([each.sample(1000, seed=3) for each in members], real)


def objective(weights, masses, counts):
    reached = masses.any(0)
    return float((counts[reached] * (weights @ masses[:, reached]).log()).sum()) / float(
        counts[reached].sum()
    )


def test_a_mixture_covers_the_union_of_what_its_members_cover():
    members = [generator(Modes(range(4))), generator(Modes(range(4, 8)))]
    weights = fitted(members)
    torch.testing.assert_close(weights, torch.full((2,), 0.5).double(), rtol=0, atol=0.04)
    assert [modes_covered(each.sample(2000), RING) for each in members] == [4, 4]
    assert modes_covered(mixture(members, weights.tolist()).sample(2000), RING) == 8


def test_members_get_the_share_of_the_data_that_they_alone_cover():
    members = [generator(Modes([0, 1, 2, 3, 4])), generator(Modes([5])), generator(Modes([6, 7]))]
    weights = fitted(members)
    expected = torch.tensor([5 / 8, 1 / 8, 2 / 8]).double()
    torch.testing.assert_close(weights, expected, rtol=0, atol=0.04)


@pytest.mark.parametrize("useless", [Modes(range(8), shift=0.5), Modes([0], shift=100.0)])
def test_a_member_that_reaches_no_real_sample_gets_nothing(useless):
    modules = [Modes(range(4)), useless, Modes(range(4, 8))]
    weights = fitted([generator(each) for each in modules])
    assert weights[1] == 0
    assert weights[0] > 0.45


def test_a_member_that_diverged_gets_nothing():
    samples = [draw(500, 1), torch.full((500, 2), math.nan), torch.full((500, 2), math.inf)]
    assert fit_weights(samples, draw(500)).tolist() == [1, 0, 0]


def test_a_rare_mode_that_one_member_alone_covers_is_not_lost():
    centres, shares = torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([0.97, 0.03])
    rare = egan.Mixture("rare", centres, 0.1, shares)
    random = torch.Generator().manual_seed(0)
    real = rare.draw(1000, random)
    good = torch.randn(1000, 2, generator=random) * 0.1
    poor = torch.randn(1000, 2, generator=random) * 0.3 + torch.tensor([9.0, 0.0])
    weights = fit_weights([good, poor], real)
    share = float((real[:, 0] > 5).double().mean())
    assert share <= weights[1] < share + 2e-3


def test_a_blurred_mean_of_the_data_does_not_pass_for_all_of_them():
    random = torch.Generator().manual_seed(0)
    real, good, blurred = (torch.randn(500, 64, generator=random) for _ in range(3))
    to_mean, to_others = real.norm(dim=1), torch.cdist(real, real).kthvalue(21).values
    assert float((to_mean < to_others).double().mean()) > 0.9  # it lies in nearly every ball
    assert float(fit_weights([good, 0.01 * blurred], real)[1]) < 0.1


def by_loops(samples, real, k):
    """Each sample's neighbourhoods, one pair at a time."""
    masses = np.zeros((len(samples), len(real)))
    for member, each in enumerate(samples):
        for point in each:
            to_real = [math.dist(point, x) for x in real]
            nearest = sorted(range(len(real)), key=to_real.__getitem__)[:k]
            for place in nearest:
                between = sorted(math.dist(real[place], x) for x in real)
                masses[member, place] += (to_real[place] <= between[k]) / len(each)
    return masses


@pytest.mark.parametrize("count", [2, 3])
def test_weights_are_the_optimum_that_a_search_of_the_whole_simplex_finds(count):
    random = np.random.default_rng(count)
    real = random.normal(size=(25, 2))
    places = [(-0.7, 0.0), (0.9, 0.3), (0.2, -0.8)]
    samples = [random.normal(places[member], 0.6, size=(15, 2)) for member in range(count)]
    masses = torch.from_numpy(by_loops(samples, real, 4))
    found = fit_weights([torch.from_numpy(each) for each in samples], torch.from_numpy(real), 4)
    counts, steps = torch.ones(25).double(), 100
    best = max(
        (
            torch.tensor(each).double() / steps
            for each in itertools.product(range(1, steps), repeat=count)
            if sum(each) == steps
        ),
        key=lambda weights: objective(weights, masses, counts),
    )
    torch.testing.assert_close(found, best, rtol=0, atol=0.02)
    assert objective(found, masses, counts) >= objective(best, masses, counts) - GAP


@pytest.fixture
def masses():
    random = torch.Generator().manual_seed(1)
    found = torch.rand(6, 200, generator=random, dtype=torch.float64) ** 4
    return found * (torch.rand(6, 200, generator=random) < 0.3)


def test_the_likelihood_never_falls_and_its_distance_to_the_optimum_is_bounded(masses):
    reached = masses[:, masses.any(0)]
    counts = torch.arange(reached.shape[1]).double() + 1
    best = objective(proportions(reached, counts), reached, counts)
    weights, before = torch.full((6,), 1 / 6).double(), -math.inf
    for _ in range(50):
        gain = gains(weights, reached, counts / counts.sum())
        now = objective(weights, reached, counts)
        assert now >= before - 1e-12
        assert best - now <= float(gain.max()) - 1 + GAP
        assert float(weights @ gain) == pytest.approx(1)
        weights, before = weights * gain, now


def test_equal_real_samples_count_as_often_as_they_come(masses):
    counts = torch.randint(1, 4, (200,), generator=torch.Generator().manual_seed(0))
    repeated = masses.repeat_interleave(counts, dim=1)
    torch.testing.assert_close(
        proportions(masses, counts.double()),
        proportions(repeated, torch.ones(repeated.shape[1]).double()),
        rtol=0, atol=1e-9,
    )  # fmt: skip
    few = draw(30)[:, :1]  # a table of 30 rows, drawn many times over
    table = few.repeat(20, 1)
    near = [few.repeat(5, 1) + 1e-4, torch.full((150, 1), 50.0)]
    assert fit_weights(near, table).tolist() == [1, 0]


def test_where_no_member_reaches_anything_the_weights_stay_equal():
    far = [torch.full((10, 2), 50.0), torch.full((10, 2), -50.0)]
    assert fit_weights(far, draw(100)).tolist() == [0.5, 0.5]


def test_samples_come_from_the_members_in_the_shares_of_their_weights():
    weights, count = [0.5, 0.2, 0.3], 20_000
    members = [generator(Shifted(shift), dimension=2) for shift in (0.0, 10.0, 20.0)]
    mixed = mixture(members, weights)
    samples = mixed.sample(count, seed=5)
    assert torch.equal(samples, mixed.sample(count, seed=5))
    assert not torch.equal(samples, mixed.sample(count, seed=6))
    drawn = (samples[:, 0] / 10).round().long()
    shares = drawn.bincount() / count
    for share, weight in zip(shares.tolist(), weights, strict=True):
        assert share == pytest.approx(weight, abs=4 * math.sqrt(weight * (1 - weight) / count))
    noise = members[0].sample(count, seed=5)  # every row's own, whoever made a sample of it
    torch.testing.assert_close(samples - 10.0 * drawn[:, None], noise, rtol=0, atol=1e-5)
    for place in range(3):  # the draw knows nothing of the noise
        own = noise[drawn == place]
        assert float(own.mean().abs()) < 4 / math.sqrt(3 * own.numel())


@pytest.mark.parametrize("place", [0, 1])
def test_with_all_the_weight_on_one_member_a_mixture_is_that_generator(place):
    members = [generator(Modes(range(4))), generator(Modes(range(4, 8)))]
    weights = [float(place == 0), float(place == 1)]
    samples = mixture(members, weights).sample(1500, seed=2)
    assert torch.equal(samples, members[place].sample(1500, seed=2))


def test_global_generators_are_left_alone():
    mixed = mixture([generator(Modes([0])), generator(Modes([1]))], [0.5, 0.5])
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    mixed.sample(10)
    assert torch.equal(torch.rand(1), expected)


# What a run makes of it.

KEPT = {"population": {"mixture": 4}, "records": {"pictures": 1}}


@pytest.fixture(scope="module")
def settings(small):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(egan.mixture, "SAMPLES", 200)
        yield egan.settings.merge(small, KEPT)


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    """A run that was never stopped."""
    path = tmp_path_factory.mktemp("whole") / "run"
    run_in(Directory(path), settings)
    return path


def test_a_run_keeps_the_fittest_of_generations_spread_over_it(settings):
    seen = {}
    run = egan.evolve(
        config=settings, population={"mu": 2},
        on_generation=lambda state, row: seen.update({state.generation: state.population[0]}),
    )  # fmt: skip
    assert [one.number for one in run.state.archive] == [seen[when].number for when in (4, 8, 12)]
    for one, when in zip(run.state.archive, (4, 8, 12), strict=True):
        assert torch.equal(one.average, seen[when].average)
        assert not one.moments
    assert not egan.evolve(config=settings, population={"mixture": 0}).state.archive


def test_seeds_in_step_keep_archives_of_their_own(settings):
    runs = egan.evolve_seeds([0, 1], config=settings, execution={"engine": "auto"})
    alone = egan.evolve(config=settings, seed=1, execution={"engine": "batched"})
    numbers = [one.number for one in alone.state.archive]
    assert [one.number for one in runs[1].state.archive] == numbers
    assert [len(run.state.archive) for run in runs] == [3, 3]


class Points(nn.Module):
    """A generator of a user's own, with batch norm."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 2))

    def forward(self, noise):
        return self.net(noise)


def test_an_exported_mixture_samples_as_in_memory_and_needs_no_project(settings, tmp_path):
    run = egan.evolve(generator=Points, config=settings, run=tmp_path)
    loaded = egan.load(tmp_path, which="mixture")
    samples = loaded.sample(300, seed=4)
    assert torch.equal(samples, run.mixture().sample(300, seed=4))
    memory = egan.evolve(generator=Points, config=settings)
    assert torch.equal(samples, memory.mixture().sample(300, seed=4))

    tensors = safetensors.torch.load_file(tmp_path / "generator-mixture.safetensors")
    weights, noise = tensors.pop("weights"), torch.randn(50, 8)
    assert float(weights.sum()) == pytest.approx(1)
    assert len(weights) == len(loaded.module.members) > 1
    for place, member in enumerate(loaded.module.members):
        plain, prefix = Points().eval(), f"members.{place}."
        plain.load_state_dict(
            {name.removeprefix(prefix): each for name, each in tensors.items() if prefix in name}
        )
        assert torch.equal(plain(noise), member(noise))


def test_a_member_is_what_would_have_been_exported_in_its_generation(settings, tmp_path):
    egan.evolve(generator=Points, config=settings, run=tmp_path)
    with safetensors.safe_open(tmp_path / "generator-mixture.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["egan"])
        weights = file.get_tensor("weights")
    assert [weight for _, weight in facts["members"]] == weights.tolist()
    mixed = egan.load(tmp_path, which="mixture").module.members
    for place, (generation, _) in enumerate(facts["members"]):
        path = tmp_path / str(generation)
        egan.evolve(
            generator=Points, config=settings, run=path,
            on_generation=lambda state, row, end=generation: state.generation == end,
        )  # fmt: skip
        own = egan.load(path).module.state_dict()
        torch.testing.assert_close(mixed[place].state_dict(), own, rtol=0, atol=0)


def archive(path):
    return checkpoint.load(checkpoint.all_in(path / "checkpoints")[-1])["archive"]


def equal(left, right):
    for one, other in zip(archive(left), archive(right), strict=True):
        torch.testing.assert_close(one["average"], other["average"], rtol=0, atol=0)
        assert (one["number"], one["mutation"]) == (other["number"], other["mutation"])
    files = [Directory(path).weights("mixture").read_bytes() for path in (left, right)]
    assert files[0] == files[1]
    assert Directory(left).scores.read_text() == Directory(right).scores.read_text()


def test_stopped_and_resumed_a_run_ends_with_the_same_archive_and_mixture(
    settings, whole, tmp_path
):
    parts = tmp_path / "parts"
    for stop in (1, 5, 6, 11):
        run_in(
            Directory(parts), settings,
            on_generation=lambda state, row, stop=stop: state.generation >= stop,
        )  # fmt: skip
    assert not Directory(parts).weights("mixture").exists()
    run_in(Directory(parts), {})
    equal(whole, parts)


@pytest.mark.parametrize("moment", ["fit_mixture", "export", "record_scores"])
def test_stopped_while_its_mixture_is_made_a_run_makes_it_again(
    settings, whole, tmp_path, monkeypatch, moment
):
    parts = tmp_path / "parts"
    with monkeypatch.context() as patched:
        patched.setattr(egan.run, moment, lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_in(Directory(parts), settings)
    run_in(Directory(parts), {})
    equal(whole, parts)
    assert run_in(Directory(parts), {}).ran is False


def test_an_extended_run_equals_one_that_was_long_from_the_start(settings, whole, tmp_path):
    short = Directory(tmp_path)
    run_in(short, {**settings, "generations": 7, "horizon": 12})
    run_in(short, {"generations": 12})
    equal(whole, tmp_path)
    run_in(short, {"generations": 14}, on_generation=lambda state, row: True)
    assert not short.weights("mixture").exists()  # it was that of the shorter run


def test_runs_of_versions_without_archives_go_on(small, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    run_in(Directory(new), small)
    run_in(Directory(old), small, on_generation=lambda state, row: state.generation >= 8)
    config = json.loads((old / "config.json").read_text())
    del config["population"]["mixture"]
    (old / "config.json").write_text(json.dumps(config))
    for path in checkpoint.all_in(old / "checkpoints"):
        saved = torch.load(path, weights_only=True)
        del saved["archive"]
        torch.save(saved, path)
    run_in(Directory(old), {})
    files = [(path / "generator.safetensors").read_bytes() for path in (old, new)]
    assert files[0] == files[1]


def test_the_command_line_tells_samples_and_scores_the_mixture(settings, tmp_path, capsys):
    run = tmp_path / "r"
    (tmp_path / "c.json").write_text(json.dumps(settings))
    assert main(["evolve", "--config", str(tmp_path / "c.json"), "--run", str(run)]) == 0
    said = capsys.readouterr().out
    with safetensors.safe_open(run / "generator-mixture.safetensors", "pt") as file:
        members = json.loads(file.metadata()["egan"])["members"]
    parts = ", ".join(f"{weight:.1%} from generation {when}" for when, weight in members)
    assert f"A mixture fitted to cover the data draws {parts}. It covers " in said
    recorded = json.loads((run / "scores.json").read_text())
    assert list(recorded) == ["final", "mixture"]
    assert recorded["mixture"].keys() == recorded["final"].keys()

    out = tmp_path / "a.npy"
    words = ["sample", str(run), "--which", "mixture", "-n", "9", "--seed", "3", "--out", str(out)]
    assert main(words) == 0
    expected = egan.load(run, which="mixture").sample(9, seed=3)
    assert torch.equal(torch.from_numpy(np.load(out)), expected)
    assert main(["score", str(run), "--which", "mixture", "-n", "50"]) == 0
    again = json.loads((run / "scores.json").read_text())
    assert again["mixture"]["samples"] == 50
    assert again["final"] == recorded["final"]


def test_a_run_without_a_mixture_says_how_to_get_one(small, tmp_path, capsys):
    egan.evolve(config=small, generations=1, run=tmp_path)
    assert main(["sample", str(tmp_path), "--which", "mixture", "--out", "a.npy"]) == 2
    assert capsys.readouterr().err == (
        f"egan: the run {tmp_path} has no generator-mixture.safetensors yet: it is made at the end "
        "of a run whose population.mixture is above 0.\n"
    )
    assert not Path("a.npy").exists()
