"""Where children are bred: what is sent to worker processes, and what they do with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from egan.breeding import breed
from egan.engines import engines
from egan.scene import Brood, Member, Plan, Scene
from populations.executors import local_device
from populations.individual import Individual
from populations.randomness import borrowed
from populations.transport import mapped


class Shared:
    """A plan that is rebuilt, not copied, in a worker process: networks need not be picklable."""

    def __init__(self, make: Callable[[str], Plan], device: str) -> None:
        self.make, self.device = make, device
        self.plan: Plan | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Shared, (self.make, self.device)

    def get(self) -> Plan:
        """The plan, made at the first call in each process."""
        if self.plan is None:
            self.plan = self.make(local_device(self.device))
        return self.plan


def breed_task(
    shared: Shared, engine: str, parents: list[tuple[int, Individual]], scene: Scene
) -> list[Brood]:
    """Breed as executors run it, on the device of the process that it runs in."""
    plan = shared.get()
    device = plan.game.generator.vector.device
    if scene.environment.weights.device != device:
        parents, scene = mapped(partial(torch.Tensor.to, device=device), (parents, scene))
    with borrowed():
        return breed(engines[engine], members_of(plan, parents, scene))


def members_of(plan: Plan, parents: list[tuple[int, Individual]], scene: Scene) -> list[Member]:
    """Parents at work in a scene."""
    return [Member(parent, slot, plan, scene) for slot, parent in parents]


def pairs_of(parents: list[Individual]) -> list[tuple[int, Individual]]:
    """Parents with their places, without what breeding does not read."""
    return [
        (slot, replace(parent, average=None, evidence=None)) for slot, parent in enumerate(parents)
    ]
