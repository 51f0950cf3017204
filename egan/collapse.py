"""Collapse: seen without labels, told, and undone where that is wished.

Every so often the samples of the fittest are measured against real ones that are set aside when the
run begins: their coverage and their diversity (`neighbourhoods.measure`). There is an alarm where
one of them lies below a share of the highest so far, and below the highest by more than the noise
of both measurements explains:

    highest - now > z * sqrt(2) * the larger of both errors

The larger, since a figure that is low by chance is given too small an error. z is such that a
generator which does not change raises a false alarm with a chance of at most `RISK` in all m
measurements of a run: with two figures and m (m - 1) / 2 pairs of measurements,
1 - Phi(z) = RISK / (m (m - 1)) (Bonferroni). Generators do change, and the share says how much they
may. The alarm stands until both figures have come back to their shares; only then another can be
raised.

The best by coverage is kept: population and discriminator, since a generator is lost again without
the discriminator that it met. Where `population.on_collapse` is "revive" both come back at an
alarm. The number of the generation goes on, and with it the fall of the learning rates and the keys
of randomness, so that the second attempt is another. What came back and is lost again comes back no
more than `RETURNS` times. Before anything is learned coverage swings near 0, nothing is kept and
nothing can collapse.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

from egan.config import Config
from egan.neighbourhoods import SAMPLES, Estimate, measure
from egan.state import Refuge, State
from egan.world import World
from populations.individual import Individual
from populations.randomness import key

LEARNED = 0.1  # the least coverage that can be lost
RISK = 0.01  # chance that noise alone raises an alarm in a run
RETURNS = 3  # times that one refuge comes back
Figures = dict[str, Estimate]


def watched(state: State, world: World) -> tuple[State, dict[str, float]]:
    """The state to go on from, and what was measured, where that is due.

    Args:
        state: after a generation.
        world: of the run.

    Returns:
        The same state, or with what it keeps of a measurement brought up to date, or after an
        alarm with the population and the environment of the refuge. `coverage` and `diversity` of
        the fittest; of each its standard error, `-error`, and the highest before, `-peak`; `alarm`,
        1 or 0; `revived`, the generation that came back, where one did.
    """
    every = world.config.population.collapse_every
    if not every or state.generation % every or world.aside is None:
        return state, {}
    found = measured(state.population[0], world, state.generation)
    peaks = state.peaks or found
    alarm = not state.collapsed and fell(peaks, found, world.config)
    watch = {**_plain(found, peaks), "alarm": int(alarm)}
    if not alarm:
        return _kept(state, found, world.config), watch
    after = _answered(state, world.config)
    return after, watch if after.collapsed else {**watch, "revived": after.alarms[-1][1]}


def measured(individual: Individual, world: World, generation: int) -> Figures:
    """Coverage and diversity of what an individual would be exported as, keyed on the generation.

    That is the average of its lineage where one is kept: as it trains a generator swings, without
    being lost, by several times the noise of a measurement.
    """
    assert world.aside is not None
    seed = key(world.config.seed, generation, "collapse")
    return measure(world.sampler.load(individual).sample(SAMPLES, seed), world.aside)


def fell(peaks: Figures, found: Figures, config: Config) -> bool:
    """Whether a figure lies below its share of a peak, and is no noise."""
    return any(_is_lost(peaks[name], now, config) for name, now in found.items())


def _is_lost(peak: Estimate, now: Estimate, config: Config) -> bool:
    noise = threshold(config) * math.sqrt(2) * max(peak.error, now.error)
    return now.value < config.population.collapse * peak.value and peak.value - now.value > noise


def threshold(config: Config) -> float:
    """Standard errors that noise does not reach, in any pair of a run's measurements."""
    count = max(2, config.horizon // config.population.collapse_every)
    return -NormalDist().inv_cdf(RISK / (count * (count - 1)))


def risen(peaks: Figures, found: Figures) -> Figures:
    """The higher of each figure, with its error; of no peaks, what was found."""
    return {name: max(each, peaks.get(name, each)) for name, each in found.items()}


def _plain(found: Figures, peaks: Figures) -> dict[str, float]:
    plain: dict[str, float] = {}
    for name, each in found.items():
        plain |= {name: each.value, f"{name}-error": each.error, f"{name}-peak": peaks[name].value}
    return plain


def _kept(state: State, found: Figures, config: Config) -> State:
    """The state that remembers the highest figures and the best coverage, if no alarm stands."""
    share = config.population.collapse
    below = any(found[name].value < share * peak.value for name, peak in state.peaks.items())
    if state.collapsed and below:
        return state
    coverage, refuge = found["coverage"].value, state.refuge
    if coverage >= (refuge.coverage if refuge else LEARNED):
        refuge = Refuge(state.generation, coverage, state.population, state.environment)
    peaks = risen(state.peaks, found) if refuge else {}
    return replace(state, refuge=refuge, peaks=peaks, collapsed=False)


def _answered(state: State, config: Config) -> State:
    """The state after an alarm: it has collapsed, or the refuge is back."""
    refuge = state.refuge
    assert refuge is not None  # or there would be no peaks
    alarms = [*state.alarms, (state.generation, refuge.generation)]
    times = sum(origin == refuge.generation for _, origin in alarms)
    if config.population.on_collapse != "revive" or times > RETURNS:
        return replace(state, collapsed=True, alarms=alarms)
    return replace(
        state, population=refuge.population, environment=refuge.environment, alarms=alarms
    )
