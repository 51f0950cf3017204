"""PyTorch's threads give way to other programs."""

import os
import subprocess
import sys

import pytest

WATCH = """
import os, sys

def told(event, arguments):
    if event == "import" and arguments[0] == "torch":
        print(os.environ.get("GOMP_SPINCOUNT"), flush=True)
        os._exit(0)

sys.addaudithook(told)
import egan
"""


@pytest.mark.parametrize(("given", "found"), [
    ({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None"),
])  # fmt: skip
def test_threads_are_told_how_long_to_wait_before_pytorch_is_there(given, found):
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    result = subprocess.run(
        [sys.executable, "-c", WATCH], env={**clean, **given}, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    assert result.stdout.split() == [found]
