"""Transport: what goes to another process comes out the same."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from populations.individual import Individual
from populations.transport import LARGE, Parcels, Place, Store, fetched, mapped, remove, unpack


@dataclass
class Case:
    name: str
    values: list


def test_packing_and_unpacking_gives_the_value_back():
    one = Individual(torch.arange(3.0), {"n": torch.tensor(4)}, number=7)
    one.judged(0.5, 1.5, 0.1)
    value = (3, {"a": torch.ones(2, 2)}, Case("x", [one, None, torch.tensor(True)]))
    number, named, case = unpack(*Parcels().pack(value))
    assert number == 3
    assert torch.equal(named["a"], torch.ones(2, 2))
    assert case.name == "x"
    other = case.values[0]
    assert torch.equal(other.weights, one.weights)
    assert (other.number, other.fitness.values, other.total) == (7, (0.5, 1.5), one.total)
    assert other.buffers["n"].dtype == torch.int64
    assert case.values[1:] == [None, torch.tensor(True)]


def test_what_is_packed_holds_no_tensor():
    skeleton, arrays = Parcels().pack([torch.ones(2), {"a": torch.zeros(3)}])
    assert skeleton == [Place(0), {"a": Place(1)}]
    assert [type(each) for each in arrays] == [np.ndarray, np.ndarray]


def test_a_tensor_that_several_values_hold_becomes_one_array():
    shared, parcels = torch.ones(5), Parcels()
    _, (one,) = parcels.pack((1, shared))
    _, (two, three) = parcels.pack([shared, torch.ones(5)])
    assert one is two
    assert three is not two


@pytest.mark.filterwarnings("error")
def test_what_comes_from_read_only_memory_may_be_written_to():
    array = np.ones(3)
    array.flags.writeable = False
    tensor = unpack(Place(0), [array])
    tensor += 1
    assert tensor.tolist() == [2.0, 2.0, 2.0]
    assert array.tolist() == [1.0, 1.0, 1.0]


def test_mapping_changes_leaves_and_keeps_the_rest():
    value = {"a": [1, "b"], "c": (2,)}
    assert mapped(lambda each: each + 1, value, int) == {"a": [2, "b"], "c": (3,)}


def test_bfloat16_travels_as_bits():
    one = torch.tensor([1.5, -2.0, 3e38], dtype=torch.bfloat16)
    skeleton, arrays = Parcels().pack({"a": one})
    assert arrays[0].dtype == np.int16
    assert torch.equal(unpack(skeleton, arrays)["a"], one)


def test_a_store_keeps_large_arrays_once_and_small_ones_out(tmp_path):
    large, small = np.arange(LARGE, dtype=np.float32), np.arange(3)
    store = Store(str(tmp_path))
    away = store.put([large, small, large]) + store.put([large])
    assert [isinstance(each, Path) for each in away] == [True, False, True, True]
    assert len(set(map(str, (away[0], away[2], away[3])))) == len(list(tmp_path.iterdir())) == 1
    found = fetched(away)
    for array, each in zip((large, small, large, large), found, strict=True):
        np.testing.assert_array_equal(each, array)
    store.clear()
    assert not list(tmp_path.iterdir())
    found[0][0] = 7  # what is mapped stays, and can be written to, in this process alone
    assert (found[0][0], found[2][0], large[0]) == (7, 0, 0)


def test_files_that_are_gone_already_can_be_removed(tmp_path):
    away = Store(str(tmp_path)).put([np.zeros(LARGE)])
    remove(away)
    remove([*away, np.zeros(2)])
    assert not list(tmp_path.iterdir())
