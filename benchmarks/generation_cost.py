"""What a generation costs, in gradient-only steps: `python -m benchmarks.generation_cost`.

For each pair of networks and population, one after the other in rounds: an alternating and a
simultaneous gradient-only step, and a generation (one parent and three mutations unless said) by
the reference engine, by the engine that a run would choose, with a small judging batch, and in a
race. CPU time at one thread, medians over the rounds; on a GPU the time between CUDA events.

Counted operations stand beside the time, and the floor: the arithmetic of a generation in which all
that is shared exactly is shared, (10 g + 14 d) / (3 g + 8 d) for three children of one parent,
one parameter gradient a mutation and a free discriminator step, from this pair's counted forward
passes g and d. What lies below it was saved by reading all mutations' gradients off one backward
pass.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.pairs import convolutional32
from benchmarks.presets import commit
from egan.assembly import make_world
from egan.cost import Counter
from egan.evolution import evolve
from egan.kernels import as_written
from egan.losses import mutations, objectives
from egan.penalties import Step
from egan.presets import configure
from egan.settings import merge
from egan.snapshot import start
from egan.state import State
from egan.world import World

Settings = dict[str, Any]
RESULTS = Path(__file__).parent / "results" / "generation_cost.jsonl"

FREE: Settings = {"environment": {"fakes": "judged"}, "fitness": {"real": "training"}}
BRED: Settings = {"environment": {"fakes": "bred"}, "fitness": {"real": "training"}}


@dataclass(frozen=True)
class Case:
    """A pair of networks, a population and the ways to compute its generation.

    Attributes:
        name: in the JSON line.
        settings: of all ways.
        ways: name to settings over those; "reference" is computed by the reference engine.
        pair: makes the networks; None: the settings name them.
        shape: of the data, where the settings name none.
        rounds: measured; another round warms up.
        quick: whether `--quick` measures it.
    """

    name: str
    settings: Settings
    ways: Mapping[str, Settings]
    pair: Callable[[], tuple[nn.Module, nn.Module]] | None = None
    shape: tuple[int, ...] | None = None
    rounds: int = 15
    quick: bool = False


def plain(batch: int, mu: int) -> Settings:
    """Three mutations, no penalty, no average, one discriminator step, everything on `batch`."""
    return {
        "generations": 10**6,
        "lr_final": 1.0,
        "population": {"mu": mu, "average": 0.0},
        "variation": {"batch": batch, "lr": 2e-4, "beta2": 0.999},
        "fitness": {"samples": batch},
        "environment": {
            "batch": batch, "lr": 2e-4, "beta2": 0.999, "penalties": {"r1": 0.0, "r2": 0.0},
        },
    }  # fmt: skip


def ways(judging: int, racing: bool = True) -> dict[str, Settings]:
    """How the arms differ: all that judging makes is reused; or less is judged."""
    found = {
        "reference": merge(FREE, {"execution": {"engine": "reference"}}),
        "": FREE,
        "judging": merge(BRED, {"fitness": {"samples": judging}}),
    }
    return {**found, "racing": merge(FREE, {"fitness": {"race": 0.9}})} if racing else found


def convolutional(channels: int, norm: bool, mu: int, rounds: int, quick: bool = False) -> Case:
    """The released pair at batch 64."""
    return Case(
        f"conv{channels}{'_bn' if norm else ''}_mu{mu}",
        merge(plain(64, mu), {"networks": {"noise_dimension": 100, "noise": "uniform"}}),
        ways(16),
        partial(convolutional32, channels, norm),
        (3, 32, 32),
        rounds,
        quick,
    )


def perceptrons(mu: int, rounds: int, quick: bool = False) -> Case:
    """MLPs, 512 wide, at batch 512 on points."""
    networks = {"name": "toy", "width": 512, "noise_dimension": 2}
    return Case(
        f"mlp512_mu{mu}", merge(plain(512, mu), {"networks": networks}), ways(64),
        rounds=rounds, quick=quick,
    )  # fmt: skip


def released() -> Case:
    """The released PyTorch configuration on its 32x32 images."""
    settings: Settings = {
        "generations": 10**6,
        "preset": "released-pytorch",
        "networks": {"name": "mlp"},
    }
    small: Settings = {
        "fitness": {"samples": 32, "real": "training"},
        "environment": {"fakes": "fresh"},
    }
    reference: Settings = {"execution": {"engine": "reference"}}
    found = {"reference": reference, "": {}, "judging": small}
    return Case("released", settings, found, partial(convolutional32, 128, True), (3, 32, 32), 15)


def default_preset() -> Case:
    """The default preset on the ring, as it comes."""
    ways: dict[str, Settings] = {
        "reference": {"execution": {"engine": "reference"}},
        "": {},
        "compiled": {"execution": {"engine": "compiled"}},
    }
    return Case("default_preset", {"generations": 10**6}, ways, rounds=40, quick=True)


CASES = [
    convolutional(64, False, 1, 15, quick=True),
    convolutional(64, True, 1, 15, quick=True),
    perceptrons(1, 15, quick=True),
    default_preset(),
    perceptrons(4, 15),
    perceptrons(16, 15),
    released(),
    convolutional(64, False, 4, 15),
    convolutional(64, True, 4, 15),
    convolutional(128, False, 1, 15),
    convolutional(128, True, 1, 15),
    convolutional(64, False, 16, 15),
    convolutional(64, True, 16, 15),
    convolutional(128, False, 4, 15),
    convolutional(128, True, 4, 15),
    convolutional(128, False, 16, 15),
    convolutional(128, True, 16, 15),
]


class Gradient:
    """Gradient-only training of one pair, written as it should be.

    The generator is called once a step, and its output serves both sides. An alternating step
    updates the discriminator first and shows it the same fakes again; in a simultaneous one both
    networks step on what one pass of the discriminator said.
    """

    def __init__(self, world: World, alternating: bool) -> None:
        game, config = world.plan.game, world.config
        self.world, self.alternating = world, alternating
        self.generator, self.discriminator = game.generator.module, game.discriminator.module
        self.steps = [_adam(self.generator, config.variation),
                      _adam(self.discriminator, config.environment)]  # fmt: skip

    def __call__(self) -> None:
        """One step."""
        world, config = self.world, self.world.config
        real = world.data.draw(config.environment.batch, torch.Generator()).to(world.device)
        noise = world.plan.game.draw(config.variation.batch, torch.Generator())
        fake = self.generator(noise)
        penalised = bool(world.penalties)
        step = Step(
            real.requires_grad_(penalised),
            fake.detach().requires_grad_(penalised or not self.alternating),
            self.discriminator,
        )
        objective = objectives["minimax"]
        loss = objective.real(step.real_logits) + objective.fake(step.fake_logits)
        for weight, penalty in world.penalties:
            loss = loss + weight * penalty(step)
        if self.alternating:
            loss.backward(inputs=list(self.discriminator.parameters()))
            self._update(1)
            shown = fake.detach().requires_grad_()
            logits = self.discriminator(shown)
            (slope,) = torch.autograd.grad(mutations["heuristic"](logits), shown)
        else:
            slope = self._both(loss, step)
        fake.backward(slope)
        if not self.alternating:
            self._update(1)
        self._update(0)

    def _both(self, loss: Tensor, step: Step) -> Tensor:
        """Both sides' gradients; where logits are the samples' own, by one pass back on fakes."""
        parameters, logits, shown = self.discriminator.parameters(), step.fake_logits, step.fake
        loss.backward(inputs=[*parameters, shown], retain_graph=True)
        if self.world.penalties or not self.world.plan.traits.own_logits or shown.grad is None:
            return torch.autograd.grad(mutations["heuristic"](logits), shown)[0]
        # d heuristic / ds = -(1 - sigma) / 2n, and that of the objective's fake half is sigma / n.
        ratio = -0.5 * torch.exp(-logits.detach())
        return shown.grad * ratio.view(-1, *[1] * (shown.dim() - 1))

    def _update(self, which: int) -> None:
        self.steps[which].step()
        self.steps[which].zero_grad(set_to_none=True)


def _adam(module: nn.Module, settings: Any) -> torch.optim.Optimizer:
    betas = (settings.beta1, settings.beta2)
    return torch.optim.Adam(module.parameters(), lr=settings.lr, betas=betas, fused=True)


class Generations:
    """Generations of one way, one after the other."""

    def __init__(self, state: State, world: World) -> None:
        self.world = world
        self.run: Iterator[Any] = evolve(state, world, 10**9)
        self.judged, self.wanted, self.samples = 0, 0, world.plan.samples

    def __call__(self) -> None:
        """One generation."""
        _, happened = next(self.run)
        self.judged += sum(child.judged_on for child in happened.offspring)
        self.wanted += self.samples * len(happened.offspring)


def worlds_of(case: Case) -> dict[str, tuple[World, State]]:
    """A world and its first state for each way, and for gradient-only training."""
    source = None
    if case.shape is not None:
        source = torch.rand(512, *case.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    networks: Settings = {}
    if case.pair is not None:
        torch.manual_seed(0)
        generator, discriminator = case.pair()
        networks = {"networks": {"generator": generator, "discriminator": discriminator}}
    found = {}
    for name, more in {**case.ways, "gradient": {}}.items():
        world = make_world(configure(merge(case.settings, networks, more)), source)
        found[name] = world, start(world)
    return found


def measure(case: Case, rounds: int, version: str) -> Settings:
    """Median times, counted operations and ratios of a case; `version` is the commit's name."""
    worlds = worlds_of(case)
    steps: dict[str, Gradient | Generations] = {
        name: Generations(state, world) for name, (world, state) in worlds.items()
    }
    for name, alternating in (("alternating", True), ("simultaneous", False)):
        steps[name] = Gradient(worlds["gradient"][0], alternating)
    del steps["gradient"]
    flops = {name: counted(step) for name, step in steps.items()}  # the round that warms up
    if "compiled" in steps:
        steps["compiled"]()  # compiles
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(timed(step, worlds["gradient"][0].device))
    row: Settings = {
        "case": case.name, "rounds": rounds, "commit": version, "device": device_name(worlds),
        "engine": worlds[""][0].config.execution.engine,
        "seconds": {name: statistics.median(each) for name, each in times.items()},
        "ratio": {name: ratio(times[name], times["alternating"]) for name in times},
        "flops": flops,
    }  # fmt: skip
    row |= floor_of(worlds[""][0], flops)
    row["over_reference"] = {
        name: ratio(times[name], times["reference"]) for name in case.ways if name != "reference"
    }
    racing = steps.get("racing")
    if isinstance(racing, Generations):
        row["judged_in_race"] = racing.judged / racing.wanted
    return row


def timed(step: Callable[[], None], device: torch.device) -> float:
    """Seconds of one step: CPU time, or the GPU's between two events."""
    gc.collect()
    if device.type != "cuda":
        began = time.process_time()
        step()
        return time.process_time() - began
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    torch.cuda.synchronize()
    events[0].record()
    step()
    events[1].record()
    torch.cuda.synchronize()
    return float(events[0].elapsed_time(events[1])) / 1000


def ratio(times: list[float], others: list[float]) -> float:
    """The median of the rounds' own ratios: neighbours in time share the machine's mood."""
    return statistics.median(one / two for one, two in zip(times, others, strict=True))


def counted(step: Gradient | Generations) -> int:
    """Operations of one step, nothing compiled; a race's are those of this generation."""
    with Counter() as counter, as_written(step.world.plan.game):
        step()
    return counter.total


def floor_of(world: World, flops: Mapping[str, int]) -> Settings:
    """This pair's g and d (operations of a forward pass of a step's batch), and its floor."""
    game, batch = world.plan.game, world.config.variation.batch
    passes = {}
    with torch.no_grad():
        for name, function, inputs in (
            ("g", game.generate, game.draw(batch, torch.Generator())),
            ("d", game.logits, world.data.draw(batch, torch.Generator()).to(world.device)),
        ):
            with Counter() as counter:
                function(inputs)
            passes[name] = counter.total
    g, d = passes["g"], passes["d"]
    mu, own = world.plan.mu, world.plan.traits.own_logits
    count = len(world.plan.losses)
    # Shared variation, evaluation of all children, one real half; the discriminator's step free.
    variation = mu * (g + (2 if own else 1 + count) * d + 2 * count * g)
    whole = variation + mu * count * (g + 3 * d) + 3 * d
    return {**passes, "floor": whole / flops["alternating"]}


def device_name(worlds: Mapping[str, tuple[World, State]]) -> str:
    """What computed."""
    device = worlds["gradient"][0].device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, one thread"


def table(rows: list[Settings]) -> str:
    """A Markdown table: a line for each case and way."""
    lines = [
        "| case | way | median s | / alternating | / simultaneous | / reference | counted Gflop "
        "| counted / alternating | floor |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        seconds, flops = row["seconds"], row["flops"]
        for name in ("alternating", "simultaneous", *[n for n in seconds if n not in STEPS]):
            title = name or f"default ({row['engine']})"
            cells = [
                row["case"], title, f"{seconds[name]:.4g}", f"{row['ratio'][name]:.2f}",
                f"{seconds[name] / seconds['simultaneous']:.2f}",
                f"{seconds[name] / seconds['reference']:.2f}", f"{flops[name] / 1e9:.3g}",
                f"{flops[name] / flops['alternating']:.2f}",
                f"{row['floor']:.2f}" if name == "" else "",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


STEPS = ("alternating", "simultaneous")


def summary(rows: list[Settings]) -> dict[str, float]:
    """The numbers of the JSON line, named after their cases."""
    found: dict[str, float] = {}
    for row in rows:
        name = row["case"]
        for way, value in row["ratio"].items():
            if way not in ("alternating", "reference"):
                found[f"ratio_{name}{'_' + way if way else ''}"] = value
        if name == "released":
            for way, value in row["over_reference"].items():
                found[f"released_over_reference{'_' + way if way else ''}"] = value
        if "judged_in_race" in row:
            found[f"judged_{name}_racing"] = row["judged_in_race"]
    seconds = {row["case"]: row["seconds"][""] for row in rows}
    for mu in (4, 16):
        if "mlp512_mu1" in seconds and f"mlp512_mu{mu}" in seconds:
            each = seconds[f"mlp512_mu{mu}"] / mu
            found[f"child_mlp512_mu{mu}_over_mu1"] = each / seconds["mlp512_mu1"]
    return {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    """Measure, print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one parent, few rounds, 5 minutes")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES])
    parser.add_argument("--rounds", type=int, help="instead of each case's own")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
    parser.add_argument("--out", type=Path, help="file of finished cases, not measured again")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [
        replace(
            case,
            settings=merge(case.settings, {"execution": {"device": arguments.device}}),
            # Compiling takes a minute.
            ways={n: w for n, w in case.ways.items() if n != "compiled" or not arguments.quick},
        )
        for case in CASES
        if (case.name in arguments.cases if arguments.cases else case.quick or not arguments.quick)
    ]
    done = read(arguments.out)
    version = commit()  # once, since the checkout may move on while it measures
    for case in wanted:
        if case.name not in done:
            rounds = arguments.rounds or (
                min(case.rounds, 2 if case.pair else 15) if arguments.quick else case.rounds
            )
            done[case.name] = measure(case, rounds, version)
            print(table([done[case.name]]), flush=True)
            if arguments.out:
                with arguments.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(done[case.name]) + "\n")
    rows = [done[case.name] for case in wanted]
    print("\n" + table(rows))
    print(json.dumps(summary(rows)))


def read(path: Path | None) -> dict[str, Settings]:
    """Cases that are measured already, by name."""
    if path is None or not path.exists():
        return {}
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {row["case"]: row for row in rows}


if __name__ == "__main__":
    main()
