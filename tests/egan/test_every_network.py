"""Every network, told of classes in every way that it can be, trains, is exported and reloaded."""

import functools
import itertools
from typing import NamedTuple

import onnxruntime
import pytest
import safetensors
import safetensors.torch
import torch

import egan
from egan.data import Table
from egan.exports import formats
from egan.networks import conditions, make_pair, networks
from egan.networks.conditions import NORMS
from egan.presets import configure
from populations.errors import UsageError
from populations.randomness import generator as keyed

SIDES, WIDTHS = (4, 8, 16, 32, 64), (4, 8, 16, 32, 64)
GENERATIONS, NOISE, CLASSES = 20, 5, 3


class Way(NamedTuple):
    """How networks are told of classes; no condition: not at all."""

    condition: str | None = None
    norm: bool = False


WAYS = [Way(), *itertools.starmap(Way, itertools.product(conditions, (False, True)))]


class Case(NamedTuple):
    """A network, how it is told of classes, and the format that it is exported to."""

    network: str
    way: Way
    form: str

    @property
    def traits(self):
        """All pairs of these are to be met."""
        return (self.network, self.way.condition, self.way.norm, self.form)

    @property
    def pairs(self):
        return set(itertools.combinations(enumerate(self.traits), 2))


@functools.cache
def sizes(name):
    """The smallest shape that a network takes, and the smallest width."""
    for side, width in itertools.product(SIDES, WIDTHS):
        try:
            networks[name]((1, side, side), NOISE, width, None)
        except UsageError:
            continue
        return (1, side, side), width
    raise AssertionError(f"{name} takes none of the sides {SIDES} at any width of {WIDTHS}")


def settings(name, way):
    """Diversity, which costs as much as the rest, is judged where no class is told."""
    told = way.condition is not None
    return {
        "generations": 1000, "lr_final": 1.0, "game": "conditional" if told else "unconditional",
        "networks": {
            "name": name, "width": sizes(name)[1], "noise_dimension": NOISE,
            "conditional_norm": way.norm, **({"condition": way.condition} if told else {}),
        },
        "variation": {"batch": 6, "lr": 1e-3, "mutations": ["heuristic", "least-squares"]},
        "fitness": {"samples": 6, "real": "training", "gamma": 0.0 if told else 0.01},
        "environment": {
            "batch": 6, "lr": 1e-3, "penalties": {"r1": 0.0, "r2": 0.0}, "fakes": "judged",
        },
        "execution": {"engine": "shared"},
        "records": {"features": "random", "pictures": 1, "score_samples": 8},
    }  # fmt: skip


@functools.cache
def refusal(name, way):
    """The sentence by which it is refused; empty: it is not."""
    own = settings(name, way)
    own["networks"]["classes"] = CLASSES
    try:
        make_pair(configure(own), sizes(name)[0])
    except UsageError as error:
        return str(error)
    return ""


def possible():
    """Every case that is not refused."""
    return [
        Case(name, way, form)
        for name in networks for way in WAYS if not refusal(name, way) for form in formats
    ]  # fmt: skip


def covering(cases):
    """Of each network under each condition one case, and as many more as leave no pair unmet."""
    chosen, missing = [], set().union(*(each.pairs for each in cases))

    def choose(candidates):
        best = max(candidates, key=lambda case: len(case.pairs & missing))
        chosen.append(best)
        missing.difference_update(best.pairs)

    for _, group in itertools.groupby(cases, lambda case: (case.network, case.way.condition)):
        choose(list(group))
    while missing:
        choose(cases)
    return chosen


CASES = covering(possible())
REFUSED = [(name, way) for name in networks for way in WAYS if refusal(name, way)]


@pytest.fixture(autouse=True)
def untold(monkeypatch):
    """Nobody is told beforehand how long a run will take, which takes generations to find out."""
    monkeypatch.setattr("egan.run.estimate", lambda state, world: "")


def table(shape):
    labels = torch.arange(8 * CLASSES) % CLASSES
    noise = torch.randn(len(labels), *shape, generator=keyed(0, 0, "pictures"))
    levels = (labels - 1).view(-1, *[1] * len(shape)) / 2
    return Table("levels", (levels + 0.2 * noise).clamp(-1, 1), labels)


def evolved(path, name, way):
    """A run of as many generations as wanted, as if it were stopped there, and its log."""
    rows = []

    def stop(state, row):
        rows.append(row)
        return state.generation == GENERATIONS

    shape = sizes(name)[0]
    run = egan.evolve(table(shape), config=settings(name, way), run=path, on_generation=stop)
    return run, rows


def reloaded(path, config, shape):
    """A function of noise, made of an exported file."""
    if path.suffix == ".safetensors":
        bare = make_pair(config, shape)[0]
        bare.load_state_dict(safetensors.torch.load_file(path))
        return bare.eval()
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    session = onnxruntime.InferenceSession(path)
    return lambda noise: torch.from_numpy(session.run(["samples"], {"noise": noise.numpy()})[0])


def test_the_cases_meet_every_pair_and_every_network_under_every_condition():
    met = {(each.network, each.way.condition) for each in CASES}
    assert met == {(each.network, each.way.condition) for each in possible()}
    assert {name for name, _ in met} == set(networks)
    assert {each for _, each in met} == {None, *conditions}
    for one, other in itertools.combinations(range(4), 2):
        pairs = {(each.traits[one], each.traits[other]) for each in CASES}
        assert pairs == {(each.traits[one], each.traits[other]) for each in possible()}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.traits)))
def test_it_trains_and_its_export_makes_the_same_samples(tmp_path, case):
    run, rows = evolved(tmp_path / "r", case.network, case.way)
    assert [row["generation"] for row in rows] == list(range(1, GENERATIONS + 1))
    assert all(row["fitness"] and row["barren"] == 0 for row in rows)
    shape = sizes(case.network)[0]
    first = make_pair(run.config, shape)[0]
    for before, after in zip(first.parameters(), run.generator.module.parameters(), strict=True):
        assert not torch.equal(before, after)
    again = reloaded(egan.export(tmp_path / "r", case.form), run.config, shape)
    for count in (1, 4):
        noise = run.generator.noise(count, seed=3)
        samples = run.generator.generate(noise)
        assert samples.shape == (count, *shape)
        torch.testing.assert_close(again(noise).detach(), samples, rtol=0, atol=1e-5)
    assert float(samples.std(0).max()) > 1e-3  # noise matters
    if case.way.condition:
        one, other = (again(run.generator.of_class(noise, each)) for each in (0, 1))
        assert float((one - other).detach().abs().max()) > 5e-5  # and so does the class


@pytest.mark.parametrize(("name", "way"), REFUSED)
def test_what_it_cannot_be_told_is_refused_in_a_sentence_before_anything_is_written(
    tmp_path, name, way
):
    with pytest.raises(UsageError) as error:
        evolved(tmp_path / "r", name, way)
    message = str(error.value)
    assert message == refusal(name, way)
    assert "\n" not in message
    assert message.endswith(".")
    assert "networks." in message
    assert not (tmp_path / "r").exists()
    generator = networks[name](sizes(name)[0], NOISE, sizes(name)[1], None)[0]
    if any(isinstance(each, NORMS) for each in generator.modules()):
        assert name in message  # batch norms are no reason
