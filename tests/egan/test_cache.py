"""What takes long is made once, whole, by one process; without a cache it is made all the same."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch

from egan import cache


@pytest.fixture
def own(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("EGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def counted(calls, value=1.0):
    def make():
        calls.append(value)
        return {"value": torch.tensor([value])}

    return make


def test_what_is_kept_is_made_once(own):
    calls = []
    first = cache.cached("thing", counted(calls))
    again = cache.cached("thing", counted(calls, 2.0))
    assert (first["value"].item(), again["value"].item(), calls) == (1.0, 1.0, [1.0])
    assert cache.cached("other", counted(calls, 3.0))["value"].item() == 3.0


def test_a_damaged_file_is_made_again(own):
    calls = []
    cache.cached("thing", counted(calls))
    path = own / "thing.safetensors"
    path.write_bytes(path.read_bytes()[:-2])
    assert cache.cached("thing", counted(calls, 2.0))["value"].item() == 2.0
    assert cache.cached("thing", counted(calls, 3.0))["value"].item() == 2.0


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("EGAN_CACHE", str(tmp_path / "file" / "cache"))
    calls = []
    for value in (1.0, 2.0):
        assert cache.cached("thing", counted(calls, value))["value"].item() == value


def test_what_could_not_be_made_is_not_kept(own):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.cached("thing", fail)
    assert cache.cached("thing", counted([], 4.0))["value"].item() == 4.0


def test_the_cache_lies_where_the_user_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.delenv("EGAN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "egan"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder() == Path.home() / ".cache" / "egan"


def test_of_those_who_ask_at_once_one_makes_it_and_the_others_wait(own):
    calls, together = [], Barrier(3)

    def make():
        time.sleep(0.05)
        return counted(calls)()

    def ask(number):
        together.wait()
        return cache.cached("thing", make)["value"].item()

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(ask, range(3))) == [1.0] * 3
    assert calls == [1.0]


def filling(calls, value):
    def fill(array):
        calls.append(value)
        array[:] = value

    return fill


def test_bytes_are_filled_once_and_a_damaged_file_again(own):
    calls = []
    assert cache.mapped("bytes", (2, 3), filling(calls, 4)).tolist() == [[4] * 3] * 2
    assert cache.mapped("bytes", (2, 3), filling(calls, 5)).tolist() == [[4] * 3] * 2
    path = own / "bytes.npy"
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.mapped("bytes", (2, 3), filling(calls, 6)).tolist() == [[6] * 3] * 2
    assert cache.mapped("bytes", (3, 2), filling(calls, 7)).tolist() == [[7] * 2] * 3
    assert calls == [4, 6, 7]
    assert not list(own.glob(".*"))


def test_whoever_writes_into_bytes_of_the_cache_changes_no_file(own):
    found = cache.mapped("bytes", (4,), filling([], 1))
    found[0] = 9
    assert cache.mapped("bytes", (4,), filling([], 2)).tolist() == [1] * 4


def test_bytes_need_no_cache(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("EGAN_CACHE", str(tmp_path / "file" / "cache"))
    assert cache.mapped("bytes", (2,), filling([], 3)).tolist() == [3, 3]


def test_what_could_not_be_filled_is_told_once_and_not_kept(own):
    calls = []

    def fill(array):
        calls.append(array.shape)
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        cache.mapped("bytes", (2,), fill)
    assert (calls, list(own.glob("*.npy"))) == ([(2,)], [])
