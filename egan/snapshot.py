"""The state of a run as a plain dict: how it starts, is frozen and comes back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from egan.directory import Directory
from egan.environment import Environment, clipped
from egan.neighbourhoods import Estimate
from egan.networks import Flat
from egan.state import Refuge, State
from egan.world import World
from populations import checkpoint
from populations.errors import RunError, UsageError
from populations.individual import Individual, Moments, pack, unpack
from populations.transport import mapped


@dataclass
class Best:
    """The best generator so far by the chosen score, and when it was."""

    individual: Individual
    score: float
    generation: int


def start(world: World) -> State:
    """The state before the first generation.

    Raises:
        UsageError: `init_from` names a run whose networks are others.
    """
    source = world.config.init_from
    population, environment = world.first_population()
    if source is None:
        return State(0, population, environment)
    old = _last_state(Directory(Path(source)), world)
    chosen = [old.population[slot % len(old.population)] for slot in range(len(population))]
    heirs = [
        unpack({**pack(one), "number": number, "parent": -1, "mutation": "initial"})
        for number, one in enumerate(chosen)
    ]
    for heir in heirs:  # their averages begin anew, and landmarks are another run's
        heir.behaviour = ()
        heir.rates = heir.rates if world.plan.adaptation else {}
        heir.average = heir.weights.clone() if world.config.population.average else None
    weights = clipped(old.environment.weights, world.config.environment.clip)
    return State(0, heirs, replace(old.environment, weights=weights))


def _last_state(directory: Directory, world: World) -> State:
    directory.read_config()
    found = checkpoint.load_latest(directory.checkpoints, lambda saved: saved)
    if found is None:
        raise UsageError(f"the run {directory.path} has no checkpoint to start from.")
    try:
        return revive(found[0], world)[0]
    except (RunError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(
            f"the run {directory.path} has other networks than this one: start from a run with the "
            "same networks and data shape."
        ) from error


def freeze(state: State, best: Best | None) -> dict[str, Any]:
    """A checkpoint: plain dicts of tensors, numbers and strings."""
    return {
        "generation": state.generation,
        "barren": state.barren,
        "history": [list(pair) for pair in state.history],
        "population": [pack(one) for one in state.population],
        "archive": [pack(one) for one in state.archive],
        "hall": [dict(vars(one)) for one in state.hall],
        "behaviours": [list(each) for each in state.behaviours],
        "refuge": state.refuge
        and {
            **vars(state.refuge),
            "population": [pack(one) for one in state.refuge.population],
            "environment": dict(vars(state.refuge.environment)),
        },
        "peaks": {name: list(each) for name, each in state.peaks.items()},
        "collapsed": state.collapsed,
        "alarms": [list(pair) for pair in state.alarms],
        "environment": dict(vars(state.environment)),
        "best": best and {**vars(best), "individual": pack(best.individual)},
    }


def revive(saved: dict[str, Any], world: World) -> tuple[State, Best | None]:
    """The state that `freeze` made plain.

    Raises:
        RunError: its networks are not this world's.
    """
    saved = mapped(lambda tensor: tensor.to(world.device), saved)
    game, refuge = world.plan.game, saved.get("refuge")  # `get`: older checkpoints lack it
    best = saved["best"] and Best(
        **{**saved["best"], "individual": unpack(saved["best"]["individual"])}
    )
    state = State(
        generation=saved["generation"],
        population=_individuals(game, saved["population"]),
        environment=_environment(game, saved["environment"]),
        barren=saved["barren"],
        history=[(name, gain) for name, gain in saved.get("history", ())],
        archive=_individuals(game, saved.get("archive", ())),
        hall=[_past(game, each) for each in saved.get("hall", ())],
        behaviours=[tuple(each) for each in saved.get("behaviours", ())],
        refuge=refuge and Refuge(
            refuge["generation"],
            refuge["coverage"],
            _individuals(game, refuge["population"]),
            _environment(game, refuge["environment"]),
        ),
        peaks={name: Estimate(*each) for name, each in saved.get("peaks", {}).items()},
        collapsed=saved.get("collapsed", False),
        alarms=[(now, then) for now, then in saved.get("alarms", ())],
    )  # fmt: skip
    return state, best or None


def _individuals(game: Any, plain: Iterable[dict[str, Any]]) -> list[Individual]:
    found = [unpack(each) for each in plain]
    for one in found:
        _check_fit(game.generator, one.weights, one.buffers, list(one.moments.values()))
    return found


def _environment(game: Any, plain: dict[str, Any]) -> Environment:
    _check_fit(game.discriminator, plain["weights"], plain["buffers"], [plain["moments"]])
    return Environment(**plain)


def _past(game: Any, plain: dict[str, Any]) -> Environment:
    """A discriminator without moments."""
    _check_fit(game.discriminator, plain["weights"], plain["buffers"], [])
    return Environment(**plain)


def _check_fit(
    network: Flat, weights: Tensor, buffers: dict[str, Tensor], moments: list[Moments]
) -> None:
    """Raise unless these are a state of that network."""
    shapes = {name: each.shape for name, each in network.buffers().items()}
    vectors = [weights, *(each[part] for each in moments for part in ("mean", "square"))]
    fits = all(vector.shape == network.vector.shape for vector in vectors)
    if not fits or {name: each.shape for name, each in buffers.items()} != shapes:
        raise RunError("the checkpoint holds networks of other sizes.")
    if not all(isinstance(each["step"], int) for each in moments):
        raise RunError("the checkpoint holds moments without a step.")


def open_state(world: World, directory: Directory) -> tuple[State, Best | None, list[str]]:
    """The state from which a run goes on, and sentences on checkpoints that were passed over.

    Raises:
        UsageError: its data are no more what they were.
        RunError: no checkpoint can be read.
    """
    found = checkpoint.load_latest(
        directory.checkpoints, lambda saved: (*revive(saved, world), saved.get("data"))
    )
    if found is None:
        return start(world), None, []
    (state, best, known), skipped = found
    if known not in (None, world.fingerprint):  # older checkpoints do not tell
        raise UsageError(
            f"the data {world.config.data} have changed since the run {directory.path} learned "
            "them: give what they were, or start another run from this one (--init_from)."
        )
    return state, best, skipped
