"""Where a generation's time goes, with each saving left out: `python -m benchmarks.breakdown`.

Seconds of CPU time at one thread of the phases of a generation, medians over interleaved rounds,
for the engine as it is and for engines that lack one saving each. Every saving that the shared
engine makes has its line, so that it can be seen to pay, or be removed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.generation_cost import BRED, CASES, FREE, Case, worlds_of
from benchmarks.presets import commit
from egan import breeding
from egan.evolution import advance
from egan.state import State
from egan.world import World

PHASES = ("real half", "breeding", "judging", "discriminator", "rest")
Times = dict[str, float]


def variants(case: Case) -> dict[str, tuple[World, State]]:
    """Worlds of the engine as it is and without each of its savings."""
    ways = {"reference engine": case.ways["reference"], "shared engine": FREE,
            "shared, fakes of breeding": BRED}  # fmt: skip
    found = worlds_of(replace(case, ways=ways))
    del found["gradient"]
    world, state = found["shared engine"]
    traits = world.plan.traits
    no_tape = replace(traits, generator_tape=False, discriminator_tape=False)
    lacking: dict[str, World] = {
        "without the tape (a backward pass a mutation)": _with(world, traits=no_tape),
        "nor one slope for all (a slope a mutation)": _with(
            world, traits=replace(no_tape, own_logits=False)
        ),
        "without the free step (its own pass on fakes)": _with(world, halves=False),
        "nor the real half for both (its own real pass)": replace(
            _with(world, halves=False), knows_real_half=False
        ),
    }
    return {**found, **{name: (each, state) for name, each in lacking.items()}}


def _with(world: World, **changes: Any) -> World:
    """The same world with another plan."""
    plan = replace(world.plan, **changes)
    executor = type(world.executor)(_Plan(plan))
    return replace(world, plan=plan, executor=executor)


class _Plan:
    """Stands in for `Shared` in a serial executor."""

    def __init__(self, plan: Any) -> None:
        self.get = lambda: plan


class Clock:
    """Adds up the time that functions take, by phase."""

    def __init__(self) -> None:
        self.times: Times = dict.fromkeys(PHASES, 0.0)

    def wrap(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time added to the phase's."""

        def timed(*arguments: Any) -> Any:
            began = time.process_time()
            found = function(*arguments)
            self.times[phase] += time.process_time() - began
            return found

        return timed


def generation(world: World, state: State) -> tuple[Times, State]:
    """Seconds of the phases of one generation, and the state after it."""
    clock = Clock()
    own = {
        (World, "scene"): "real half", (World, "adapt"): "discriminator",
        (breeding, "vary"): "breeding", (breeding, "judge"): "judging",
    }  # fmt: skip
    kept = {place: getattr(*place) for place in own}
    for place, phase in own.items():
        setattr(*place, clock.wrap(phase, kept[place]))
    try:
        began = time.process_time()
        state = advance(state, world)[0]
        whole = time.process_time() - began
    finally:
        for place, function in kept.items():
            setattr(*place, function)
    clock.times["rest"] = whole - sum(clock.times.values())
    return clock.times, state


def main() -> None:
    """Measure, print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", default="conv64_mu1", choices=[case.name for case in CASES])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    (case,) = (case for case in CASES if case.name == arguments.case)
    worlds = variants(case)
    rows: dict[str, list[Times]] = {name: [] for name in worlds}
    for turn in range(arguments.rounds + 1):
        for name, (world, state) in worlds.items():
            times, _ = generation(world, state)
            if turn:
                rows[name].append(times)
    print(f"{case.name}, commit {commit()}, CPU seconds at one thread:\n")
    print(f"| generation | whole | {' | '.join(PHASES)} |\n|{'---|' * (2 + len(PHASES))}")
    medians = {}
    for name, found in rows.items():
        middle = {phase: statistics.median(row[phase] for row in found) for phase in PHASES}
        medians[name] = sum(middle.values())
        cells = " | ".join(f"{value:.4g}" for value in middle.values())
        print(f"| {name} | {medians[name]:.4g} | {cells} |")
    print("\n" + json.dumps({"case": case.name, "seconds": medians}))


if __name__ == "__main__":
    main()
