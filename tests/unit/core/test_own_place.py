"""Where our own part of a target log ends."""

from __future__ import annotations

import pytest

from replicator.core.offsets.own_place import OurBatches, OwnEnd, OwnEndSearch
from replicator.model.batch import CONTROL_BIT, MAGIC_V2, BatchHeader

DATA, FILLS, OTHER = 100, 101, 900
EPOCH = 5


def records(offset: int, count: int, producer_id: int = DATA, magic: int = MAGIC_V2) -> BatchHeader:
    """Return a batch of records."""
    return BatchHeader(offset, 0, 0, magic, 0, 0, count - 1, 0, 0, producer_id, 0, 0, count, 0)


def marker(offset: int, producer_id: int = DATA, epoch: int = EPOCH) -> BatchHeader:
    """Return a transaction marker."""
    return BatchHeader(offset, 0, 0, MAGIC_V2, 0, CONTROL_BIT, 0, 0, 0, producer_id, epoch, -1, 1, 0)


def found(*headers: BatchHeader, begin: int = 10, fence: int | None = EPOCH, any_marker: bool = False) -> OwnEnd:
    """Return the place that these batches tell of."""
    search = OwnEndSearch(begin, OurBatches(DATA, frozenset({FILLS}), fence, any_marker))
    for header in headers:
        search.take(header)
    return search.result()


@pytest.mark.parametrize(
    ("headers", "place"),
    [
        ((), OwnEnd(10)),
        ((marker(10),), OwnEnd(10, is_fenced=True)),
        ((records(10, 4), marker(14, FILLS, 3), marker(15)), OwnEnd(15, 4, is_fenced=True)),
        # A fence that was turned back, and then ours again.
        ((marker(10, epoch=4), records(11, 2), marker(13)), OwnEnd(13, 2, is_fenced=True)),
        # Only the first marker counts: what stands behind it was written to an open side.
        ((marker(10), records(11, 3, OTHER), marker(14)), OwnEnd(10, is_fenced=True)),
        ((records(10, 4, OTHER), marker(14)), OwnEnd(10, foreign=4, is_fenced=True)),
        ((records(10, 4, -1), marker(14)), OwnEnd(10, foreign=4, is_fenced=True)),
        # What landed behind somebody else's is not where the source has it.
        ((records(10, 1), records(11, 2, OTHER), records(13, 5), marker(18)), OwnEnd(11, 1, 7, is_fenced=True)),
        ((records(10, 1), marker(11, OTHER, 0), marker(12)), OwnEnd(11, 1, 1, frozenset({OTHER}), is_fenced=True)),
        # The cleaner took what stood before the fence.
        ((records(10, 1), marker(14)), OwnEnd(14, 1, is_fenced=True)),
        # A batch of an old format tells of no producer.
        ((records(10, 1, DATA, magic=1), marker(11)), OwnEnd(10, foreign=1, is_fenced=True)),
    ],
)
def test_whose_a_log_is(headers: tuple[BatchHeader, ...], place: OwnEnd) -> None:
    """Everything up to the first batch of somebody else is ours, below the fence."""
    assert found(*headers) == place


def test_without_a_fence() -> None:
    """A marker under an id that is not recorded may be one of a fill; records never are."""
    assert found(records(10, 1), marker(11, OTHER), fence=None, any_marker=True) == OwnEnd(12, 1)
    assert found(records(10, 1, OTHER), marker(11, OTHER), fence=None, any_marker=True).foreign == 2
    assert found(records(8, 4), fence=None) == OwnEnd(12, 2)
