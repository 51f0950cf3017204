"""Checkpoints are whole, or they are passed over with a sentence."""

import os

import pytest
import torch

from populations.checkpoint import load, load_latest, path_of, save, write_whole
from populations.errors import RunError


def state(generation):
    return {"generation": generation, "weights": torch.full((5000,), float(generation))}


def accept(plain):
    return plain["generation"], float(plain["weights"].mean())


def truncate(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def flip(path, share):
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 1
    path.write_bytes(data)


def names(folder):
    return sorted(os.listdir(folder))


class Spy:
    """What a checkpoint must never hold: reading it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_checkpoint_holds_what_was_saved(tmp_path):
    plain = load(save(tmp_path / "new" / "folder", 7, state(7)))
    assert plain["generation"] == 7
    assert torch.equal(plain["weights"], torch.full((5000,), 7.0))


def test_checkpoints_sort_by_generation(tmp_path):
    generations = [0, 9, 10, 99_999, 100_000, 123_456_789]
    paths = [path_of(tmp_path, generation) for generation in generations]
    assert sorted(paths) == paths


def test_the_newest_checkpoint_is_read(tmp_path):
    for generation in (9, 10, 100):
        save(tmp_path, generation, state(generation))
    assert load_latest(tmp_path, accept) == ((100, 100.0), [])


def test_only_the_two_newest_are_kept(tmp_path):
    for generation in (5, 10, 15, 20):
        save(tmp_path, generation, state(generation))
    assert names(tmp_path) == ["000000015.pt", "000000020.pt"]


def test_without_checkpoints_there_is_nothing_to_read(tmp_path):
    assert load_latest(tmp_path, accept) is None
    assert load_latest(tmp_path / "missing", accept) is None


def test_a_failed_write_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"old and whole")

    def half(part):
        part.write_bytes(b"new and ha")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        write_whole(path, half)
    assert path.read_bytes() == b"old and whole"
    assert names(tmp_path) == ["state.pt"]


def test_while_a_file_is_written_readers_find_the_old_one(tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"old")
    seen = []

    def slow(part):
        part.write_bytes(b"n")
        seen.append(path.read_bytes())
        part.write_bytes(b"new")

    write_whole(path, slow)
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


def test_the_checkpoints_survive_a_save_that_fails(tmp_path):
    save(tmp_path, 1, state(1))
    save(tmp_path, 2, state(2))
    with pytest.raises(Exception, match="pickle"):
        save(tmp_path, 3, {**state(3), "last": lambda: None})
    assert names(tmp_path) == ["000000001.pt", "000000002.pt"]
    assert load_latest(tmp_path, accept) == ((2, 2.0), [])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_checkpoint_is_passed_over_with_a_sentence(share, tmp_path):
    save(tmp_path, 1, state(1))
    truncate(save(tmp_path, 2, state(2)), share)
    sentence = f"the checkpoint {path_of(tmp_path, 2)} cannot be read."
    assert load_latest(tmp_path, accept) == ((1, 1.0), [sentence])


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_one_flipped_bit_in_the_middle_is_detected(share, tmp_path):
    save(tmp_path, 1, state(1))
    path = save(tmp_path, 2, state(2))
    flip(path, share)
    with pytest.raises(RunError, match=f"the checkpoint {path} is damaged in .*data/0"):
        load(path)
    found, skipped = load_latest(tmp_path, accept)
    assert found == (1, 1.0)
    assert len(skipped) == 1
    assert str(path) in skipped[0]


def test_a_checkpoint_of_something_else_is_passed_over_with_a_sentence(tmp_path):
    save(tmp_path, 1, state(1))
    path = save(tmp_path, 2, {"something": "else"})
    sentence = f"the checkpoint {path} is not of this run."
    assert load_latest(tmp_path, accept) == ((1, 1.0), [sentence])


def test_where_no_checkpoint_is_good_the_run_cannot_go_on(tmp_path):
    truncate(save(tmp_path, 1, state(1)), 0.5)
    flip(save(tmp_path, 2, state(2)), 0.5)
    with pytest.raises(RunError) as error:
        load_latest(tmp_path, accept)
    assert str(error.value) == f"none of the checkpoints in {tmp_path} can be read."


def test_a_damaged_newer_checkpoint_is_not_counted_among_the_two_that_are_kept(tmp_path):
    # A run that fell back to 500 and is interrupted at 600 still needs 500 behind 600.
    save(tmp_path, 500, state(500))
    truncate(save(tmp_path, 1000, state(1000)), 0.5)
    truncate(save(tmp_path, 600, state(600)), 0.5)
    assert load_latest(tmp_path, accept)[0] == (500, 500.0)


def test_reading_a_checkpoint_runs_no_code(tmp_path):
    path = path_of(tmp_path, 1)
    torch.save({"generation": Spy(tmp_path / "written")}, path)
    with pytest.raises(RunError, match="cannot be read"):
        load(path)
    assert not (tmp_path / "written").exists()


def test_a_missing_checkpoint_cannot_be_read(tmp_path):
    with pytest.raises(RunError, match="cannot be read"):
        load(path_of(tmp_path, 1))
