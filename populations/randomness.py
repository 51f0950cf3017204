"""Randomness as a function of (seed, generation, role, index).

No generator state is ever stored: whoever knows the key draws the same numbers, in whichever
process, in whatever order, before or after an interruption.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

import numpy as np
import torch


def key(seed: int, generation: int, role: str, index: int = 0) -> int:
    """A 63-bit seed for one purpose.

    Args:
        seed: the run's seed, >= 0.
        generation: >= 0.
        role: what the numbers are for, such as "breeding".
        index: which of several equal purposes, >= 0.
    """
    text = f"{seed}/{generation}/{role}/{index}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def generator(seed: int, generation: int, role: str, index: int = 0) -> torch.Generator:
    """A CPU generator of its own for one purpose; see `key`."""
    return torch.Generator().manual_seed(key(seed, generation, role, index))


@contextmanager
def seeded(seed: int, generation: int, role: str, index: int = 0) -> Iterator[None]:
    """Seed the global generators of torch, numpy and random by key, and restore them afterwards.

    For code that knows no other: weight initialisation, dropout, DEAP's tournaments. Within
    `borrowed` it only seeds.
    """
    number = key(seed, generation, role, index)
    with nullcontext() if _borrowed.get() else restored():
        # Not torch.manual_seed: without a GPU in use it costs a millisecond (formats a traceback).
        for each in _globals():
            each.manual_seed(number)
        random.seed(number)
        np.random.seed(number % 2**32)
        yield


_borrowed = ContextVar("borrowed", default=False)


@contextmanager
def borrowed() -> Iterator[None]:
    """Restore the global generators once, afterwards, instead of after every `seeded` within it.

    Saving and restoring costs ten times as much as seeding. Nothing within may read them but in a
    `seeded` block, before another begins in it.
    """
    if _borrowed.get():
        yield
        return
    token = _borrowed.set(True)
    try:
        with restored():
            yield
    finally:
        _borrowed.reset(token)


@contextmanager
def restored() -> Iterator[None]:
    """Restore the global generators of torch, numpy and random afterwards."""
    saved = random.getstate(), np.random.get_state(), [each.get_state() for each in _globals()]
    try:
        yield
    finally:
        random.setstate(saved[0])
        np.random.set_state(saved[1])
        for each, state in zip(_globals(), saved[2], strict=False):
            each.set_state(state)


def _globals() -> list[torch.Generator]:
    """Torch's global generators: the CPU's, and those of GPUs in use."""
    devices = list(torch.cuda.default_generators) if torch.cuda.is_initialized() else []
    return [torch.default_generator, *devices]
