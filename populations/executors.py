"""Executors: where children are bred. All give the same results in the same order.

A task is a function at the top level of a module; it is called with `shared`, which no task
changes and which every process unpacks only once, and with arguments of its own.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import re
import signal
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool

from populations.errors import RunError, UsageError
from populations.registry import describe_error
from populations.transport import LARGE, Parcels, Store, fetched, remove, unpack

Task = Callable[..., Any]
MEMORY = Path("/dev/shm")  # a folder in memory, where a system has one


class Serial:
    """One task after the other in this process.

    Attributes:
        together: whether one task may do the work of all: nothing is gained by splitting it.
    """

    together = True

    def __init__(
        self, shared: Any, workers: int = 1, threads: int = 1, scheduler: str | None = None
    ) -> None:
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
    broken: tuple[type[Exception], ...] = (BrokenProcessPool,)

    def __init__(
        self, shared: Any, workers: int = 2, threads: int = 1, scheduler: str | None = None
    ) -> None:
        try:
            blob = cloudpickle.dumps(shared)
        except (TypeError, RuntimeError, AttributeError, pickle.PicklingError) as error:
            raise UsageError(
                f"the networks cannot be sent to worker processes ({error}): pass functions "
                "that build them instead of modules, or use the executor serial."
            ) from error
        self.digest = hashlib.sha256(blob).hexdigest()
        self.blob = np.frombuffer(blob, dtype=np.uint8)
        self.workers = workers or max(1, joblib.cpu_count())
        self.threads = threads
        self.scheduler = scheduler
        self.used = False
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __call__(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run the tasks; their results in order."""
        try:
            return self._map(task, arguments)
        except self.broken:
            self._restart()
        try:
            return self._map(task, arguments)
        except self.broken as error:
            raise RunError(
                "a worker process died twice on the same task (killed for want of memory?): "
                "use fewer workers or the executor serial, then resume."
            ) from error

    def _map(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        self.used = True
        parcels = Parcels()
        packed = [parcels.pack(each) for each in arguments]
        store = self._store()
        job = joblib.delayed(_run)
        fixed = task, self.threads, store and store.folder, self.blob, self.digest
        try:
            with self._backend():
                found = joblib.Parallel(
                    n_jobs=self.workers, max_nbytes=LARGE, mmap_mode="c", batch_size=1
                )(
                    job(*fixed, skeleton, *(store.put(arrays) if store else arrays))
                    for skeleton, arrays in packed
                )
        finally:
            if store:
                store.clear()
        made = [(skeleton, fetched(arrays)) for skeleton, arrays in found]
        for _, arrays in found:
            remove(arrays)
        return [unpack(*each) for each in made]

    def _store(self) -> Store | None:
        """Where arrays lie for workers of this machine."""
        if self._folder is None:
            place = MEMORY if os.access(MEMORY, os.W_OK) else None
            self._folder = tempfile.TemporaryDirectory(prefix="egan-", dir=place)
        return Store(self._folder.name)

    def _backend(self) -> AbstractContextManager[Any]:
        return joblib.parallel_config(
            backend="loky", inner_max_num_threads=self.threads, initializer=_ignore_interrupts
        )

    def _restart(self) -> None:
        get_reusable_executor(kill_workers=True).shutdown(wait=True, kill_workers=True)

    def close(self) -> None:
        """End the worker processes."""
        if self.used:
            get_reusable_executor().shutdown(wait=True, kill_workers=True)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


class Dask(Processes):
    """A Dask cluster: the one whose scheduler is named, or one of worker processes made here.

    Raises:
        UsageError: Dask is not installed, or no scheduler answers at that address.
        RunError: a worker died, and so did the one that tried again.
    """

    broken = ()  # Dask itself tries again elsewhere

    def __init__(
        self, shared: Any, workers: int = 2, threads: int = 1, scheduler: str | None = None
    ) -> None:
        super().__init__(shared, workers, threads, scheduler)
        try:
            import distributed
        except ImportError as error:
            raise UsageError("the executor dask needs Dask: pip install 'egan[dask]'.") from error
        self._distributed = distributed
        self._cluster: Any = None
        self._client: Any = None
        if scheduler is not None:
            self._connect(scheduler)

    def _connect(self, scheduler: str) -> None:
        try:
            self._client = self._distributed.Client(scheduler, timeout=10, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise UsageError(
                f"no Dask scheduler answers at {scheduler!r} ({describe_error(error)}): it must be "
                "an address such as tcp://host:8786."
            ) from error

    def __call__(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run the tasks; their results in order."""
        if self._client is None:
            self._cluster = self._distributed.LocalCluster(
                n_workers=self.workers, threads_per_worker=1, dashboard_address=None
            )
            self._client = self._distributed.Client(self._cluster, set_as_default=False)
        try:
            return self._map(task, arguments)
        except self._distributed.KilledWorker as error:
            raise RunError(
                "workers of the Dask cluster died on the same task (killed for want of memory?): "
                "use fewer workers a machine, then resume."
            ) from error

    def _backend(self) -> AbstractContextManager[Any]:
        return joblib.parallel_config(backend="dask", client=self._client)

    def _store(self) -> None:
        """Workers may be other machines, which share no folder."""

    def close(self) -> None:
        """Leave the cluster; end it if it was made here."""
        for each in (self._client, self._cluster):
            if each is not None:
                each.close()
        self._client = self._cluster = None


def local_device(device: str) -> str:
    """Where this process computes: worker i uses GPU i mod n, the main process the one it was told.

    Args:
        device: "cpu", "cuda" or "cuda:1", as the run was told.

    Raises:
        RunError: a worker on a machine without a GPU is told to use one.
    """
    worker = re.search(r"(\d+)$", multiprocessing.current_process().name)
    if not device.startswith("cuda") or multiprocessing.parent_process() is None or not worker:
        return device
    count = torch.cuda.device_count()
    if not count:
        raise RunError(
            "a worker process found no GPU on its machine: start workers on machines with one, or "
            "compute on the CPU."
        )
    return f"cuda:{int(worker[1]) % count}"


def _ignore_interrupts() -> None:
    # Ctrl-C reaches the whole process group; only the main process decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(
    task: Task,
    threads: int,
    folder: str | None,
    blob: Any,
    digest: str,
    skeleton: Any,
    *arrays: Any,
) -> tuple[Any, list[Any]]:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    given = unpack(skeleton, fetched(arrays))
    found, made = Parcels().pack(task(_shared(blob, digest), *given))
    return found, Store(folder).put(made) if folder else list(made)


_cache: dict[str, Any] = {}


def _shared(blob: Any, digest: str) -> Any:
    if digest not in _cache:
        _cache.clear()
        _cache[digest] = cloudpickle.loads(blob.tobytes())
    return _cache[digest]


executors: dict[str, type[Serial] | type[Processes]] = {
    "serial": Serial,
    "processes": Processes,
    "dask": Dask,
}
