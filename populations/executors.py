"""Executors: where children are bred. All give the same results in the same order.

A task is a function at the top level of a module; it is called with `shared`, which no task
changes and which every process unpacks only once, and with arguments of its own.
"""

from __future__ import annotations

import hashlib
import pickle
import signal
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle
import joblib
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool

from populations.errors import RunError, UsageError

Task = Callable[..., Any]


class Serial:
    """One task after the other in this process.

    Attributes:
        together: whether one task may do the work of all: nothing is gained by splitting it.
    """

    together = True

    def __init__(self, shared: Any, workers: int = 1, threads: int = 1) -> None:
        self.shared = shared

    def __call__(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run the tasks; their results in order."""
        return [task(self.shared, *each) for each in arguments]

    def close(self) -> None:
        """Nothing to release."""


class Processes:
    """Worker processes on this machine (joblib, loky).

    Raises:
        UsageError: `shared` cannot be sent to another process.
        RunError: a worker process died, and so did the fresh one that tried again.
    """

    together = False

    def __init__(self, shared: Any, workers: int = 2, threads: int = 1) -> None:
        try:
            self.blob = cloudpickle.dumps(shared)
        except (TypeError, RuntimeError, AttributeError, pickle.PicklingError) as error:
            raise UsageError(
                f"the networks cannot be sent to worker processes ({error}): pass functions "
                "that build them instead of modules, or use the executor serial."
            ) from error
        self.digest = hashlib.sha256(self.blob).hexdigest()
        self.workers = workers or max(1, joblib.cpu_count())
        self.threads = threads
        self.used = False

    def __call__(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run the tasks; their results in order."""
        try:
            return self._map(task, arguments)
        except BrokenProcessPool:
            get_reusable_executor(kill_workers=True).shutdown(wait=True, kill_workers=True)
        try:
            return self._map(task, arguments)
        except BrokenProcessPool as error:
            raise RunError(
                "a worker process died twice on the same task (killed for want of memory?): "
                "use fewer workers or the executor serial, then resume."
            ) from error

    def _map(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        self.used = True
        job = joblib.delayed(_run)
        with joblib.parallel_config(
            backend="loky",
            inner_max_num_threads=self.threads,
            initializer=_start_worker,
            initargs=(self.threads,),
        ):
            return joblib.Parallel(n_jobs=self.workers, max_nbytes=None, batch_size=1)(
                job(task, self.blob, self.digest, each) for each in arguments
            )

    def close(self) -> None:
        """End the worker processes."""
        if not self.used:
            return
        get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _start_worker(threads: int) -> None:
    # Ctrl-C reaches the whole process group; only the main process decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)


def _run(task: Task, blob: bytes, digest: str, arguments: tuple[Any, ...]) -> Any:
    return task(_shared(blob, digest), *arguments)


_cache: dict[str, Any] = {}


def _shared(blob: bytes, digest: str) -> Any:
    if digest not in _cache:
        _cache.clear()
        _cache[digest] = cloudpickle.loads(blob)
    return _cache[digest]


executors: dict[str, type[Serial] | type[Processes]] = {"serial": Serial, "processes": Processes}
