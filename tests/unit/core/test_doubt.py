"""What a second look makes of a claim that nothing proves."""

from __future__ import annotations

import pytest

from replicator.core.copy.reading.doubt import Gaps, Impossible, ResponseBounds, Sound, Unseen, judge, sound_length
from replicator.model.batch import LENGTH_PREFIX_BYTES, BatchHeader

EDGES = ResponseBounds(1000, 5)


def header(base: int, span: int = 5, epoch: int = 5) -> BatchHeader:
    """Return a header of a full batch."""
    return BatchHeader(base, 100 - LENGTH_PREFIX_BYTES, epoch, 2, 0, 0, span - 1, 50, 50, 5, 0, 0, span, 0)


@pytest.mark.parametrize(
    ("bases", "believed"),
    [
        ([], 0),
        ([100], 1),
        ([100, 105, 200], 3),
        ([-5], 0),
        ([-5, 100], 0),
        ([100, 104], 0),
        ([100, 105, 109, 115], 1),
        ([100, 1 << 62, 105], 1),
        ([100, 105, 105], 1),
    ],
)
def test_of_two_batches_that_overlap_neither_counts(bases: list[int], believed: int) -> None:
    """Either may be the one that stands elsewhere."""
    assert sound_length([header(base) for base in bases]) == believed


def test_a_batch_at_the_offset_refutes_the_doubt() -> None:
    """Also one that begins below it."""
    assert judge([header(95), header(100)], 100, EDGES) == Sound()
    assert judge([header(98)], 100, EDGES) == Sound(begins_below=True)


def test_gaps_that_the_log_shows_again_are_proven_one_by_one() -> None:
    """All that are seen beside both their neighbours; the one before the last batch is not, but at the log's end."""
    headers = [header(90), header(102), header(107), header(120), header(130)]

    assert judge(headers, 95, EDGES) == Gaps(((95, 102), (112, 120)))
    assert judge(headers, 95, ResponseBounds(135)) == Gaps(((95, 102), (112, 120), (125, 130)))
    assert judge(headers[:2], 95, ResponseBounds(107)) == Gaps(((95, 102),))
    assert judge([header(102), header(107), header(112)], 100, EDGES) == Gaps(((100, 102),))


@pytest.mark.parametrize("bases", [[], [90], [90, 102]])
def test_too_little_proves_nothing(bases: list[int]) -> None:
    """A slow read of tiered storage gives nothing; a batch without its successor may stand anywhere."""
    assert judge([header(base) for base in bases], 95, EDGES) == Unseen()


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ([header(90), header(102), header(104)], "contradict each other"),
        ([header(90), header(-3)], "contradict each other"),
        ([header(90), header(998)], "offsets 998 to 1002, but the log ends at 1000"),
        ([header(90), header(95, epoch=6)], "claims leader epoch 6, its leader is at 5"),
    ],
)
def test_what_the_log_itself_cannot_hold_is_named(headers: list[BatchHeader], why: str) -> None:
    """The disk of the source is damaged."""
    found = judge(headers, 95, EDGES)

    assert isinstance(found, Impossible)
    assert why in found.detail


def test_an_unknown_leader_epoch_bounds_nothing() -> None:
    """Before Kafka 2.1 metadata did not tell it."""
    assert judge([header(95, epoch=6)], 95, ResponseBounds(1000, -1)) == Sound()
