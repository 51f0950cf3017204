"""Executors: same results, same order, and what happens when a worker dies."""

import os
import signal
import threading

import pytest

from populations.errors import RunError, UsageError
from populations.executors import Processes, executors


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
