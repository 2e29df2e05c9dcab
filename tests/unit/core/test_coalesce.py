"""Which neighbours are merged: small ones of one codec and of about the same time, never more than the target takes."""

from __future__ import annotations

from replicator.core.copy.reading.coalesce import (
    FAR_SECONDS,
    MERGED_BYTES_MAX,
    SMALL_BYTES,
    SPREAD_MS_MAX,
    groups,
    is_far,
)
from replicator.core.copy.reading.pieces import Passes
from replicator.model.batch import LENGTH_PREFIX_BYTES, BatchHeader

NOW = 1_700_000_000_000
LIMIT = 1 << 20


def passes(*batches: tuple[int, int, int, int]) -> Passes:
    """Return batches of these sizes, record counts, codecs, and ages in ms, at consecutive offsets."""
    made: Passes = []
    offset = start = 0
    for size, count, codec, age in batches:
        length = size - LENGTH_PREFIX_BYTES
        header = BatchHeader(offset, length, 0, 2, 0, codec, count - 1, 0, NOW - age, -1, -1, -1, count, start)
        made.append((header, offset))
        offset += count
        start += size
    return made


def shape(found: Passes, limit: int = LIMIT, *, far: bool = False) -> list[tuple[bool, int]]:
    """Return of each run whether it is merged, and its number of batches; all batches are there, in order."""
    divided = groups(found, limit, far=far)
    assert [each for run in divided for each in run.passes] == found
    return [(run.merged, len(run.passes)) for run in divided]


TINY = (170, 1, 0, 0)
LARGE = (SMALL_BYTES + LENGTH_PREFIX_BYTES, 1, 0, 0)


def test_neighbours_that_are_small_become_one() -> None:
    """However large what stands around them is."""
    assert shape(passes(TINY, TINY)) == [(True, 2)]
    assert shape(passes(LARGE, TINY, TINY, TINY, LARGE, LARGE)) == [(False, 1), (True, 3), (False, 2)]


def test_a_batch_alone_is_left_alone() -> None:
    """There is nothing to wait for, and nothing to gain."""
    assert shape(passes(TINY)) == [(False, 1)]
    assert shape(passes(LARGE, TINY, LARGE, TINY)) == [(False, 4)]
    assert shape([]) == []


def test_many_records_in_a_batch_are_left_alone() -> None:
    """Moving them costs more than the batch does; more so when they are compressed."""
    assert shape(passes((3000, 21, 0, 0), (3000, 21, 0, 0))) == [(False, 2)]
    assert shape(passes((3000, 20, 0, 0), (3000, 20, 0, 0))) == [(True, 2)]
    assert shape(passes((3000, 20, 3, 0), (3000, 20, 3, 0))) == [(False, 2)]
    assert shape(passes((170, 1, 1, 0), (170, 1, 1, 0))) == [(True, 2)]


def test_far_away_larger_ones_are_merged() -> None:
    """There a batch costs a fifth of a round trip."""
    usual = passes((16_000, 150, 0, 0), (16_000, 150, 0, 0))
    assert shape(usual) == [(False, 2)]
    assert shape(usual, far=True) == [(True, 2)]
    assert shape(passes((33_000, 300, 0, 0), (33_000, 300, 0, 0)), far=True) == [(False, 2)]
    assert is_far(1, FAR_SECONDS)
    assert not is_far(0, 1.0)  # what was true of the last answer need not be true of an idle target
    assert not is_far(5, FAR_SECONDS / 2)


def test_codecs_are_not_mixed() -> None:
    """A merged batch keeps the codec of its parts; one that nobody knows is not opened."""
    lz4, zstd, unknown = (150, 1, 3, 0), (150, 1, 4, 0), (150, 1, 7, 0)
    assert shape(passes(lz4, lz4, zstd, zstd, lz4)) == [(True, 2), (True, 2), (False, 1)]
    assert shape(passes(TINY, zstd, TINY, lz4, TINY)) == [(True, 3), (True, 2)]  # some do without
    assert shape(passes(unknown, unknown)) == [(False, 2)]


def test_the_size_is_bounded() -> None:
    """By what is worth it, and by what the target takes even if every record grew in its new place."""
    many = passes(*[(4000, 1, 0, 0)] * 140)
    assert shape(many) == [(True, MERGED_BYTES_MAX // 4000)] * 2 + [(True, 10)]
    assert shape(passes(*[(1000, 1, 0, 0)] * 5), limit=8000) == [(True, 2), (True, 2), (False, 1)]
    assert shape(passes(TINY, TINY), limit=200) == [(False, 2)]


def test_old_record_times_stay_apart_from_new_ones() -> None:
    """The target's memory of us ages by the newest record of the latest batch: it must be true of the whole batch."""
    old = (170, 1, 0, SPREAD_MS_MAX + 1)
    assert shape(passes(TINY, TINY, old, old)) == [(True, 2), (True, 2)]
    assert shape(passes(old, old, TINY, TINY)) == [(True, 2), (True, 2)]
    assert shape(passes(TINY, old, TINY, old)) == [(False, 4)]
    assert shape(passes(TINY, (170, 1, 0, SPREAD_MS_MAX))) == [(True, 2)]
