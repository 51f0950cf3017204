"""Executors: same results, same order, and what happens when a worker dies."""

import os
import signal
import threading
from pathlib import Path

import pytest

from populations.errors import RunError, UsageError
from populations.executors import Processes, executors, local_device


def add(shared, number):
    return shared["base"] + number


def die_once(shared, number):
    """Kill the worker the first time."""
    if not os.path.exists(shared["flag"]):
        open(shared["flag"], "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(shared, number):
    os.kill(os.getpid(), signal.SIGKILL)


def threads(shared):
    import torch

    return torch.get_num_threads()


def where(shared, tensor, number):
    """The file that a tensor's memory is a map of, if any, and the process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        bounds, *_, path = line.split(maxsplit=5)
        low, high = (int(each, 16) for each in bounds.split("-"))
        if low <= tensor.data_ptr() < high:
            name = path.strip() if path.strip().startswith("/") else None
            return number, name, os.getpid()
    return number, None, os.getpid()


def fail(shared):
    raise ValueError("as the task said")


@pytest.mark.parametrize("name", executors)
@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(name, workers):
    executor = executors[name]({"base": 10}, workers)
    assert executor(add, [(number,) for number in range(7)]) == list(range(10, 17))
    executor.close()


@pytest.mark.parametrize("name", executors)
def test_an_error_in_a_task_reaches_the_caller(name):
    executor = executors[name](None, 2)
    with pytest.raises(ValueError, match="as the task said"):
        executor(fail, [(), ()])
    executor.close()


def test_a_worker_that_dies_is_replaced_once(tmp_path):
    executor = Processes({"flag": str(tmp_path / "flag")}, 2)
    assert executor(die_once, [(1,), (2,)]) == [1, 2]
    executor.close()


def test_a_worker_that_dies_again_ends_the_run_in_one_sentence():
    executor = Processes(None, 2)
    with pytest.raises(
        RunError, match=r"^a worker process died twice on the same task .* resume\.$"
    ):
        executor(die, [(1,), (2,)])
    executor.close()


def test_workers_use_the_threads_they_are_given():
    executor = Processes(None, 2, threads=2)
    assert executor(threads, [(), ()]) == [2, 2]
    executor.close()


def test_what_cannot_be_sent_is_named_at_once():
    with pytest.raises(UsageError, match="cannot be sent to worker processes"):
        Processes(threading.Lock(), 2)


def test_a_large_tensor_is_mapped_into_the_workers_once_for_all_tasks():
    import torch

    executor = Processes(None, 2)
    big, small = torch.ones(1_000_000), torch.ones(10)
    found = executor(where, [(big, 1), (big, 2), (torch.zeros(1_000_000), 3), (small, 4)])
    executor.close()
    files = [name for _, name, _ in found]
    assert files[0] == files[1]
    assert files[2] not in (None, files[0])
    assert files[3] is None
    assert os.getpid() not in {process for _, _, process in found}


def test_files_of_earlier_calls_do_not_pile_up():
    import torch

    executor = Processes(None, 2)
    files = [
        executor(where, [(torch.ones(1_000_000), 1), (torch.ones(1), 2)])[0][1] for _ in range(4)
    ]
    executor.close()
    assert len(set(map(str, files))) == 4
    assert [os.path.exists(name) for name in files] == [False] * 4


@pytest.mark.parametrize("task", [add])
def test_a_named_dask_cluster_is_used_and_left_alone(task):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as own:
        executor = executors["dask"]({"base": 1}, scheduler=own.scheduler_address)
        assert executor(task, [(1,), (2,)]) == [2, 3]
        executor.close()
        with distributed.Client(own, set_as_default=False) as client:
            assert client.submit(abs, -3).result() == 3


def test_an_address_without_a_scheduler_is_named():
    pytest.importorskip("distributed")
    with pytest.raises(UsageError, match="no Dask scheduler answers at 'nowhere'"):
        executors["dask"](None, scheduler="nowhere")


def test_a_process_that_is_no_worker_computes_where_it_was_told():
    assert local_device("cpu") == "cpu"
    assert local_device("cuda:1") == "cuda:1"


def test_worker_i_uses_gpu_i_modulo_their_number(monkeypatch):
    import multiprocessing
    import types

    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "somebody")
    for name, device in (("LokyProcess-2", "cuda:2"), ("LokyProcess-7", "cuda:1")):
        worker = types.SimpleNamespace(name=name)
        monkeypatch.setattr(multiprocessing, "current_process", lambda worker=worker: worker)
        assert local_device("cuda") == device
        assert local_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(RunError, match="a worker process found no GPU on its machine"):
        local_device("cuda")
