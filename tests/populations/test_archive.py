"""The archive: how many survivors it keeps, of which generations, and what of them."""

import pytest
import torch

from populations.archive import archived, generations, remembered
from populations.individual import Individual


@pytest.mark.parametrize("size", [0, 1, 2, 5, 16])
def test_an_archive_stays_small_and_evenly_spread_however_long_a_run_gets(size):
    archive = []
    for generation in range(1, 400):
        one = Individual(torch.zeros(1), number=generation)
        archive = archived(archive, one, generation, size)
        kept = [each.number for each in archive]
        assert kept == generations(archive, generation, size)
        assert len(kept) <= size
        assert len(kept) >= min(generation, (size + 1) // 2)
        gaps = {later - earlier for earlier, later in zip([0, *kept], kept, strict=False)}
        assert len(gaps) <= 1
        assert not kept or generation - kept[-1] < gaps.pop()


def test_archiving_leaves_earlier_archives_as_they_are():
    before = [Individual(torch.zeros(1), number=number) for number in (1, 2, 3)]
    after = archived(before, Individual(torch.zeros(1), number=4), 4, 3)
    assert [one.number for one in before] == [1, 2, 3]
    assert [one.number for one in after] == [2, 4]


@pytest.mark.parametrize("averaged", [False, True])
def test_what_is_sampled_is_remembered_and_what_is_trained_is_not(averaged):
    one = Individual(
        torch.ones(2), {"mean": torch.ones(1)}, {"inherited": {"step": 3}},
        average=torch.zeros(2) if averaged else None, number=7, parent=4, evidence="samples",
    )  # fmt: skip
    kept = remembered(one)
    assert torch.equal(kept.weights, torch.zeros(2) if averaged else torch.ones(2))
    assert (kept.average is None) is not averaged
    assert not averaged or kept.average is kept.weights  # one vector, in checkpoints too
    assert kept.buffers == one.buffers
    assert (kept.moments, kept.evidence, kept.number, kept.parent) == ({}, None, 7, 4)
    assert one.moments
