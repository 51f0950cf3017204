"""A screen of operators at equal counted compute: `python -m benchmarks.operators`.

Every arm is the default preset without penalties (where runs can collapse, so that operators have
something to mend) and with one operator changed; all get the floating-point operations of the same
number of the base's generations, judges left out. Three seeds of each on the ring and on twelve
modes of unequal weights; then ten other seeds of the best ten arms, the base and two controls.
Finished cells are kept in a file and not run again. `benchmarks.catalogue` writes the page.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import joblib
import numpy as np
import torch
from scipy import stats

from benchmarks.presets import commit, read
from egan.assembly import make_game, make_world
from egan.config import Config
from egan.cost import Counter
from egan.evolution import evolve
from egan.generator import Generator
from egan.mixture import fit_mixture
from egan.monitor import finite
from egan.presets import configure
from egan.scores import evaluate, reference
from egan.settings import merge
from egan.snapshot import start
from egan.state import State
from egan.together import evolve_together, make_worlds
from egan.world import World
from populations.errors import UsageError

Row = dict[str, Any]
Settings = dict[str, Any]

DATA = ("ring", "random")
BASE, CONTROLS = "base", ("random selection", "gradient-only")
BUDGET = 1_000  # generations of the base whose operations every arm gets
SAMPLES, LOOKS, LOOK_SAMPLES = 10_000, 12, 2_000
WARM, COUNTED = 16, 8  # generations before the operations of so many are counted
NAMES = ["modes", "high-quality", "energy-distance"]
RESULTS = Path(__file__).parent / "results" / "operators.jsonl"
UNPENALISED: Settings = {"environment": {"penalties": {"r1": 0.0, "r2": 0.0}}}
SCREENED = 3  # seeds of the screen: 0, 1, 2; the finals have others
FAR = 1e6  # energy distance of a run that diverged
CLEAR, LEVEL = 1.25, 0.05  # ratio of medians, and p, from which a difference is called one


@dataclass(frozen=True)
class Arm:
    """The base with one operator changed.

    Attributes:
        settings: over the base's.
        shows: names in the catalogue that it stands for, "kind: name".
    """

    settings: Settings
    shows: tuple[str, ...] = ()


def _losses() -> Iterator[tuple[str, Arm]]:
    for name in (
        "minimax", "least-squares", "least-squares-logit", "wasserstein", "forward-kl",
        "f-pearson", "f-neyman", "f-total-variation", "rsgan", "rasgan", "ralsgan", "rahinge",
        "feature-matching",
    ):  # fmt: skip
        shows = {
            "minimax": ("minimax", "vanilla"),
            "least-squares-logit": ("least-squares-logit", "lsgan"),
            "wasserstein": ("wasserstein", "hinge", "reverse-kl"),
        }.get(name, (name,))
        yield (
            f"{name} alone",
            Arm(
                {"variation": {"mutations": [name]}}, tuple(f"mutations: {each}" for each in shows)
            ),
        )


def _objectives() -> Iterator[tuple[str, Arm]]:
    logit = {"fitness": {"quality": "logit"}}
    for name in (
        "least-squares-logit", "lsgan", "hinge", "rsgan", "rasgan", "ralsgan", "rahinge", "f-kl",
        "f-reverse-kl", "f-pearson", "f-neyman", "f-hellinger", "f-total-variation",
    ):  # fmt: skip
        settings = merge(logit, {"environment": {"objective": name}})
        yield f"objective {name}", Arm(settings, (f"objectives: {name}",))
    bounded = merge(
        logit, {"environment": {"objective": "wasserstein", "penalties": {"gradient-penalty": 0.1}}}
    )
    yield "objective wasserstein, gradient penalty", Arm(bounded, ("objectives: wasserstein",))
    clipped = merge(logit, {"environment": {"objective": "wasserstein", "clip": 0.1}})
    yield "objective wasserstein, clipped", Arm(clipped, ("settings: environment.clip",))


def _penalties() -> Iterator[tuple[str, Arm]]:
    weights = {
        "r1": 0.05, "r2": 0.05, "gradient-penalty": 0.1, "gradient-penalty-one-sided": 0.1,
        "dragan": 0.1, "lecam": 0.1, "consistency": 10.0, "orthogonal": 1e-4,
    }  # fmt: skip
    for name, weight in weights.items():
        yield name, Arm({"environment": {"penalties": {name: weight}}}, (f"penalties: {name}",))
    both = {"penalties": {"r1": 0.05, "r2": 0.05}}
    yield "r1 and r2", Arm({"environment": both}, ("preset: default",))
    yield (
        "lazy r1 and r2",
        Arm({"environment": {**both, "lazy": 4}}, ("settings: environment.lazy",)),
    )
    for text, group, setting, value in (
        ("smoothing 0.1", "environment", "smoothing", 0.1),
        ("instance noise 0.05", "environment", "noise", 0.05),
        ("packing 2", "environment", "packing", 2),
        ("packing 4", "environment", "packing", 4),
        ("spectral norm", "networks", "spectral_norm", True),
        ("no average", "population", "average", 0.0),
        ("two discriminators", "networks", "discriminators", 2),
        ("hall of fame of 4", "environment", "hall", 4),
        ("revival", "population", "on_collapse", "revive"),
        ("unrolled 1", "variation", "unrolled", 1),
        ("unrolled 5", "variation", "unrolled", 5),
    ):
        yield text, Arm({group: {setting: value}}, (f"settings: {group}.{setting}",))


def _selections() -> Iterator[tuple[str, Arm]]:
    for name in ("tournament", "rank", "roulette", "lexicase", "nsga2", "chain"):
        yield (
            f"selection {name}",
            Arm({"population": {"selection": name}}, (f"selections: {name}",)),
        )
    yield CONTROLS[0], Arm({"population": {"selection": "random"}}, ("selections: random",))
    yield (
        "parents compete",
        Arm({"population": {"parents": "compete"}}, ("settings: population.parents",)),
    )
    yield "4 parents", Arm({"population": {"mu": 4}}, ("settings: population.mu",))
    for name in ("tournament", "lexicase", "nsga2", "random"):
        yield f"4 parents, selection {name}", Arm({"population": {"mu": 4, "selection": name}})


def _outcomes() -> Iterator[tuple[str, Arm]]:
    mixed = {"population": {"mixture": 8}}
    yield "mixture", Arm(mixed, ("settings: population.mixture",))
    eight = merge(mixed, {"population": {"mu": 8}, "variation": {"choice": "round-robin"}})
    compete = merge(eight, {"population": {"parents": "compete"}})
    elites = {"population": {"selection": "map-elites"}, "fitness": {"landmarks": 8}}
    yield "8 competing parents, mixture", Arm(compete)
    yield "8 elites, mixture", Arm(merge(compete, elites), ("selections: map-elites",))


def _choices() -> Iterator[tuple[str, Arm]]:
    for name in ("round-robin", "random", "probability-matching", "ucb", "thompson"):
        yield f"choice {name}", Arm({"variation": {"choice": name}}, (f"choices: {name}",))


def _fitness() -> Iterator[tuple[str, Arm]]:
    yield "quality logit", Arm({"fitness": {"quality": "logit"}}, ("qualities: logit",))
    for gamma in (0.0, 0.1, 1.0):
        yield f"gamma {gamma:g}", Arm({"fitness": {"gamma": gamma}}, ("diversities: gradient",))
    for name in ("pairwise", "energy-distance", "kernel-distance", "coverage", "novelty"):
        yield (
            f"diversity {name}",
            Arm({"fitness": {"diversity": name, "gamma": 1.0}}, (f"diversities: {name}",)),
        )
        if name != "pairwise":
            yield (
                f"{name} alone",
                Arm(
                    {"fitness": {"quality": "none", "diversity": name, "gamma": 1.0}},
                    ("qualities: none",),
                ),
            )
    yield (
        "ranks",
        Arm({"fitness": {"combination": "ranks", "gamma": 0.5}}, ("combinations: ranks",)),
    )


def _variations() -> Iterator[tuple[str, Arm]]:
    three = ["minimax", "heuristic", "least-squares"]
    for name, settings, shows in (
        ("3 steps a generation", {"steps": 3}, "settings: variation.steps"),
        ("moments of their own", {"moments": "mutation"}, "settings: variation.moments"),
        ("gradient noise 0.3", {"gradient_noise": 0.3}, "settings: variation.gradient_noise"),
        ("gradient noise 1", {"gradient_noise": 1.0}, "settings: variation.gradient_noise"),
        ("own rates 0.2", {"adaptation": 0.2}, "settings: variation.adaptation"),
        ("weight noise as a mutation", {"mutations": [*three, "noise"]}, "perturbations: noise"),
        (
            "weight noise after each step",
            {"mutations": [f"{each}+noise" for each in three], "strength": 0.005},
            "perturbations: noise",
        ),
        (
            "wide choice of losses",
            {"mutations": ["heuristic", "least-squares-logit", "wasserstein", "forward-kl"]},
            "settings: variation.mutations",
        ),
    ):
        yield name, Arm({"variation": settings}, (shows,))


def _recombinations() -> Iterator[tuple[str, Arm]]:
    for name in ("distillation", "aligned-average", "layer-swap"):
        yield (
            f"crossover {name}",
            Arm({"population": {"crossover": name}}, (f"crossovers: {name}",)),
        )
        if name != "aligned-average":  # alignment of four parents takes longer than all else
            yield f"4 parents, crossover {name}", Arm({"population": {"mu": 4, "crossover": name}})


ARMS: dict[str, Arm] = {
    BASE: Arm({}),
    CONTROLS[1]: Arm(
        {"variation": {"mutations": ["heuristic"]}},
        ("mutations: heuristic", "mutations: non-saturating"),
    ),
    **dict(_losses()),
    **dict(_objectives()),
    **dict(_penalties()),
    **dict(_selections()),
    **dict(_outcomes()),
    **dict(_choices()),
    **dict(_fitness()),
    **dict(_variations()),
    **dict(_recombinations()),
}


def config_of(arm: str, data: str, generations: int = 1_000) -> Config:
    """An arm's configuration."""
    horizon = {"data": data, "generations": generations, "horizon": generations}
    return configure(merge(UNPENALISED, ARMS[arm].settings, horizon))


def cost_of(arm: str, data: str) -> int:
    """Mean operations of a generation, counted when the run has begun to keep what it keeps."""
    config = config_of(arm, data)
    shared = replace(config, execution=replace(config.execution, engine="shared"))
    world = make_world(shared)
    state = deque(evolve(start(world), world, WARM), maxlen=1)[0][0]
    with Counter() as counter:
        deque(evolve(state, world, WARM + COUNTED), maxlen=0)
    return counter.total // COUNTED


def run_cell(arm: str, data: str, seeds: Sequence[int], budget: int, version: str) -> list[Row]:
    """All seeds of an arm at the budget: in step where its networks can be batched."""
    torch.set_num_threads(1)
    flops = cost_of(arm, data)
    generations = max(1, budget // flops)
    config = config_of(arm, data, generations)
    began = time.process_time()
    rows = []
    for group, states in _runs(config, seeds):
        rows += [_judged(config, seed, looks) for seed, looks in zip(group, states, strict=True)]
    seconds = (time.process_time() - began) / len(seeds)
    about = {
        "arm": arm, "data": data, "budget": budget, "generations": generations,
        "flops": flops, "cpu_seconds": round(seconds, 1), "commit": version,
    }  # fmt: skip
    return [{**about, **row} for row in rows]


def _runs(
    config: Config, seeds: Sequence[int]
) -> Iterator[tuple[Sequence[int], list[list[State]]]]:
    """Groups of seeds, and the states of each at every look."""
    every = max(1, config.generations // LOOKS)

    def due(generation: int) -> bool:
        return generation % every == 0 or generation == config.generations

    try:
        worlds = make_worlds(config, seeds)
    except UsageError:
        for seed in seeds:
            shared = replace(config.execution, engine="shared")
            world = make_world(replace(config, seed=seed, execution=shared))
            steps = evolve(start(world), world, config.generations)
            yield [seed], [[state for state, _ in steps if due(state.generation)]]
        return
    states = [start(world) for world in worlds]
    looks: list[list[State]] = [[] for _ in seeds]
    for happened in evolve_together(states, worlds, config.generations):
        if due(happened[0][0].generation):
            for found, (state, _) in zip(looks, happened, strict=True):
                found.append(state)
    yield seeds, looks


def _judged(config: Config, seed: int, looks: list[State]) -> Row:
    """Final scores, and the best along the way by energy distance."""
    shared = replace(config.execution, engine="shared")
    world = make_world(replace(config, seed=seed, execution=shared))
    real = reference(world.data, LOOK_SAMPLES)
    found = [
        evaluate(_outcome(each, world).sample(LOOK_SAMPLES, seed=1), world.data, NAMES, real)
        for each in looks
    ]
    final = _outcome(looks[-1], world).sample(SAMPLES)
    return {
        "seed": seed,
        "final": evaluate(final, world.data, NAMES),
        "best": min(found, key=lambda look: look["energy-distance"]),
    }


def _outcome(state: State, world: World) -> Generator:
    """What a run has come to: its mixture, where it fits one, or the fittest."""
    if world.config.population.mixture:
        return fit_mixture(state, world)[0]
    return Generator(make_game(world.config, world.data.shape, "cpu")).load(state.population[0])


def run_all(
    arms: Sequence[str],
    data_sets: Sequence[str],
    seeds: Sequence[int],
    generations: int,
    path: Path,
    jobs: int,
) -> list[Row]:
    """All cells; those that `path` already has at the same budget are not run again."""
    budgets = {data: cost_of(BASE, data) * generations for data in data_sets}
    done = {cell_of(row): row for row in read(path)}
    wanted = []
    for arm in arms:
        for data in data_sets:
            left = [seed for seed in seeds if (arm, data, seed, budgets[data]) not in done]
            if left:
                wanted.append((arm, data, left, budgets[data]))
    path.parent.mkdir(parents=True, exist_ok=True)
    version = commit()  # once, since the checkout may move on while the cells run
    work = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(
        joblib.delayed(run_cell)(*cell, version) for cell in wanted
    )
    for rows in work:
        for row in rows:
            done[cell_of(row)] = row
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(finite(row), allow_nan=False) + "\n")
        print(rows[0]["arm"], rows[0]["data"], f"{rows[0]['cpu_seconds']} s a run", flush=True)
    kept = set(budgets.items())
    return [row for row in done.values() if (row["data"], row["budget"]) in kept]


def cell_of(row: Row) -> tuple[str, str, int, int]:
    """What makes a row the same cell."""
    return row["arm"], row["data"], row["seed"], row["budget"]


def distances(rows: Sequence[Row], arm: str) -> dict[tuple[str, int], float]:
    """Final energy distances by data set and seed; a run that diverged is infinitely far."""
    return {
        (row["data"], row["seed"]): np.inf if found is None else max(found, 1e-6)
        for row in rows
        if row["arm"] == arm
        for found in [row["final"]["energy-distance"]]
    }


def ratio_to_base(rows: Sequence[Row], arm: str) -> tuple[float, float, int]:
    """Median ratio of an arm's final energy distance to the base's, paired; p; pairs.

    p is that of Wilcoxon's signed-rank test of the logarithms of the ratios, two-sided.
    """
    own, base = distances(rows, arm), distances(rows, BASE)
    pairs = sorted(own.keys() & base.keys())
    # Finalists are judged on seeds by which they were not chosen.
    pairs = [pair for pair in pairs if pair[1] >= SCREENED] or pairs
    logs = np.array([np.log(min(own[pair], FAR) / min(base[pair], FAR)) for pair in pairs])
    if arm == BASE or len(logs) < 2 or not logs.any():
        return 1.0, 1.0, len(logs)
    return float(np.exp(np.median(logs))), float(stats.wilcoxon(logs).pvalue), len(logs)


def verdict(rows: Sequence[Row], arm: str) -> str:
    """`use`, `harmful` or `no effect seen`, by the ratio to the base and its test."""
    ratio, p, _ = ratio_to_base(rows, arm)
    if p < LEVEL and ratio < 1 / CLEAR:
        return "use"
    if p < LEVEL and ratio > CLEAR:
        return "harmful"
    return "no effect seen"


def best_arms(rows: Sequence[Row], count: int = 10) -> list[str]:
    """The arms of lowest ratio to the base, with the base and the controls before them."""
    others = [arm for arm in ARMS if arm not in (BASE, *CONTROLS) and distances(rows, arm)]
    ordered = sorted(others, key=lambda arm: ratio_to_base(rows, arm)[0])
    return [BASE, *CONTROLS, *ordered[:count]]


def table(rows: Sequence[Row]) -> str:
    """A Markdown table: medians over seeds, the ratio to the base, the verdict."""
    sets = list(dict.fromkeys(row["data"] for row in rows))
    heads = [
        f"{data}: {what}" for data in sets for what in ("modes", "high quality", "energy distance")
    ]
    lines = [
        f"| arm | cost | {' | '.join(heads)} | ratio to base | p | runs | verdict |",
        "|" + "---|" * (len(heads) + 6),
    ]
    arms = [arm for arm in ARMS if distances(rows, arm)]
    for arm in sorted(arms, key=lambda arm: ratio_to_base(rows, arm)[0]):
        ratio, p, pairs = ratio_to_base(rows, arm)
        cells = [arm, f"{cost_ratio(rows, arm):.2f}"]
        for data in sets:
            own = [row["final"] for row in rows if (row["arm"], row["data"]) == (arm, data)]
            cells += [_median(own, "modes", "{:g}"), _median(own, "high-quality", "{:.2f}")]
            cells += [_median(own, "energy-distance", "{:.4f}")]
        cells += [f"{ratio:.2f}", f"{p:.3f}", str(pairs), verdict(rows, arm)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _median(found: Sequence[Row], name: str, form: str) -> str:
    values = [each[name] for each in found if each[name] is not None]
    return form.format(median(values)) if values else "none"


def cost_ratio(rows: Sequence[Row], arm: str) -> float:
    """Operations of an arm's generation over those of the base's."""
    own, base = (
        {row["data"]: row["flops"] for row in rows if row["arm"] == each} for each in (arm, BASE)
    )
    data = min(own.keys() & base.keys())
    return float(own[data] / base[data])


def main() -> None:
    """Run what is missing, print the tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=DATA)
    parser.add_argument(
        "--seeds",
        type=int,
        default=SCREENED,
        choices=range(1, SCREENED + 1),
        help="of the screen (default: 3)",
    )
    parser.add_argument("--final-seeds", type=int, default=10, help="of the best (0: no finals)")
    parser.add_argument("--generations", type=int, default=BUDGET, help="of the base, a budget")
    parser.add_argument("--jobs", type=int, default=joblib.cpu_count(), help="processes")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of finished cells")
    given = parser.parse_args()
    rest = given.generations, given.out, given.jobs
    rows = run_all(given.arms, given.data, range(min(given.seeds, SCREENED)), *rest)
    if given.final_seeds:
        seeds = range(SCREENED, SCREENED + given.final_seeds)
        rows = run_all(best_arms(rows), given.data, seeds, *rest)
    print(table(rows))
    ratios = {arm: round(ratio_to_base(rows, arm)[0], 3) for arm in ARMS if distances(rows, arm)}
    print(json.dumps({"energy_distance_ratio_to_base": ratios}))


if __name__ == "__main__":
    main()
