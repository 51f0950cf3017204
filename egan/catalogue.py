"""Everything that has a name, by kind, with one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from egan.data import data_sets
from egan.engines import engines
from egan.exports import formats
from egan.fitness import combinations, diversities, qualities
from egan.gallery import views
from egan.games import games
from egan.losses import mutations, objectives
from egan.networks import augmentations, conditions, networks
from egan.penalties import penalties
from egan.perturbations import perturbations
from egan.presets import presets
from egan.recombination import crossovers
from egan.scores import distances, feature_networks, scores
from egan.study.arms import arms
from egan.study.protocols import protocols
from populations.choice import choices
from populations.executors import executors
from populations.registry import first_line
from populations.selection import selections


def catalogue() -> dict[str, dict[str, str]]:
    """Kinds, such as "mutations", to names to one line."""
    plain: dict[str, Mapping[str, Any]] = {
        "mutations": mutations,
        "perturbations": perturbations,
        "penalties": penalties,
        "qualities": qualities,
        "diversities": diversities,
        "combinations": combinations,
        "networks": networks,
        "augmentations": augmentations,
        "games": games,
        "data sets": data_sets,
        "feature networks": feature_networks,
        "distances": distances,
        "executors": executors,
    }
    lines = {
        kind: {name: first_line(thing) for name, thing in entries.items()}
        for kind, entries in plain.items()
    }
    lines["engines"] = {name: engine.text for name, engine in engines.items()}
    lines["objectives"] = {name: objective.text for name, objective in objectives.items()}
    lines["selections"] = {name: first_line(each.choose) for name, each in selections.items()}
    lines["crossovers"] = {name: first_line(each.cross) for name, each in crossovers.items()}
    lines["choices"] = {name: first_line(each.choose) for name, each in choices.items()}
    lines["scores"] = {name: first_line(score.function) for name, score in scores.items()}
    lines["conditions"] = {name: first_line(each.judge) for name, each in conditions.items()}
    lines["arms"] = {name: arm.text for name, arm in arms.items()}
    lines["protocols"] = {name: protocol.text for name, protocol in protocols.items()}
    lines["views"] = {name: first_line(view.make) for name, view in views.items()}
    lines["formats"] = {name: form.text for name, form in formats.items()}
    lines["presets"] = {name: preset.text for name, preset in presets.items()}
    return lines
