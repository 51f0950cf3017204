"""The catalogue lists everything that has a name, with one line each."""

import pytest

from egan.catalogue import catalogue
from egan.data import data_sets
from egan.fitness import combinations, diversities, qualities
from egan.games import games
from egan.losses import mutations, objectives
from egan.networks import augmentations, networks
from egan.penalties import penalties
from egan.perturbations import perturbations
from egan.presets import presets
from egan.recombination import crossovers
from egan.scores import distances, scores
from populations.choice import choices
from populations.executors import executors
from populations.selection import selections

REGISTRIES = {
    "mutations": mutations,
    "perturbations": perturbations,
    "objectives": objectives,
    "penalties": penalties,
    "qualities": qualities,
    "diversities": diversities,
    "combinations": combinations,
    "networks": networks,
    "augmentations": augmentations,
    "games": games,
    "data sets": data_sets,
    "distances": distances,
    "executors": executors,
    "selections": selections,
    "crossovers": crossovers,
    "choices": choices,
    "scores": scores,
    "presets": presets,
}
LINES = [(kind, name, line) for kind, lines in catalogue().items() for name, line in lines.items()]


@pytest.mark.parametrize(("kind", "name", "line"), LINES)
def test_every_entry_has_one_line_that_says_what_it_is(kind, name, line):
    assert len(line) > 10
    assert "\n" not in line
    assert line == line.strip()


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_registered_name_is_listed(kind):
    assert list(catalogue()[kind]) == list(REGISTRIES[kind])


def test_no_two_entries_of_a_kind_have_the_same_line():
    for lines in catalogue().values():
        assert len(set(lines.values())) == len(lines)
