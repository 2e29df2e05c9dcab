"""What a source's answer claims and nothing proves: when it is doubted, and what a second look makes of it.

Base offset, batch length and leader epoch stand outside a batch's checksum, so one flipped bit, or an answer that
belongs to another place, moves records without a trace.
Where a claim does not fit, the episode ends and the log is read once more, on another connection and without a session:
what it shows again is true of that log (a topic that was compacted once has holes for good), everything else was not.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from replicator.model.batch import OFFSET_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.model.batch import BatchHeader

DOUBTS_MAX = 3
"""Doubts about the same offset, each of which a second look refuted, after which the partition stops."""


class Edges(NamedTuple):
    """What the batches of an answer have to fit in.

    Attributes:
        end: The log's own end, from the same answer: its high watermark.
        leader_epoch: That of the leader that answered, -1 where it is unknown.
        epochs_unproven: Offset below which an operator let leader epochs above that be ignored.
    """

    end: int = OFFSET_MAX
    leader_epoch: int = -1
    epochs_unproven: int = 0

    def epoch_is_above(self, header: BatchHeader) -> bool:
        """Return whether a batch claims a leader epoch that its leader does not know of."""
        return 0 <= self.leader_epoch < header.leader_epoch

    def ignores_epoch(self, header: BatchHeader) -> bool:
        """Return whether that is to be taken as an unknown one."""
        return header.next_offset <= self.epochs_unproven


class Doubt(NamedTuple):
    """A claim that has to be looked at once more before anything at or behind `offset` is taken.

    `times` counts the doubts about this offset, this one included.
    """

    offset: int
    detail: str
    times: int


class Sound(NamedTuple):
    """The log holds a batch at the doubted offset: nothing is missing there.

    `begins_below` tells that it begins before it: the broker cuts batches anew, as Kafka's own never does.
    """

    begins_below: bool = False


class Gaps(NamedTuple):
    """The log holds no batch at the doubted offset: a cleaner worked on it once.

    `ranges` are all the offsets without a batch that were seen, from and to, that one included.
    """

    ranges: tuple[tuple[int, int], ...]


class Lie(NamedTuple):
    """What the log itself holds there cannot be: in words."""

    detail: str


class Unseen(NamedTuple):
    """The answer shows too little; it has to hold more, or to come again."""


Verdict = Sound | Gaps | Lie | Unseen


def sound_length(headers: Sequence[BatchHeader]) -> int:
    """Return how many batches of an answer agree with each other: each begins at or behind the end of the one before.

    Of two that overlap either may be the wrong one, so neither counts.
    """
    floor = index = 0
    for header in headers:
        if header[0] < floor:
            return max(0, index - 1)
        floor = header[0] + header[6] + 1
        index += 1
    return index


def judge(headers: Sequence[BatchHeader], offset: int, edges: Edges) -> Verdict:
    """Return what a second look says of a doubted offset.

    Args:
        headers: The batches of one answer, from the one that holds the offset before on: only beside its neighbours
            does a base offset that is slightly wrong show.
        offset: The doubted offset.
        edges: The log's end and its leader's epoch, as read *after* the answer.
    """
    believed = sound_length(headers)
    if believed < len(headers):
        return Lie(f"the batches at offset {headers[believed].base_offset} contradict each other in the source's log")
    at = next((index for index, header in enumerate(headers) if header.next_offset > offset), None)
    if at is None:
        return Unseen()
    lie = _beyond(headers[at], edges)
    if lie is not None or headers[at].base_offset <= offset:
        return lie or Sound(headers[at].base_offset < offset)
    if at + 1 == len(headers) and headers[at].next_offset < edges.end:
        return Unseen()
    # The last batch has no neighbour behind it that would show where it stands, unless the log ends there.
    shown = headers if headers[-1].next_offset >= edges.end else headers[:-1]
    seen = ((one.next_offset, other.base_offset) for one, other in pairwise(shown))
    gaps = [(offset, headers[at].base_offset), *(each for each in seen if each[0] < each[1])]
    return Gaps(tuple(dict.fromkeys(gaps)))


def _beyond(header: BatchHeader, edges: Edges) -> Lie | None:
    """Return what is wrong with a batch of the log itself."""
    if header.next_offset > edges.end:
        return Lie(
            f"the source's log holds a batch that claims offsets {header.base_offset} to {header.next_offset - 1}, "
            f"and ends at {edges.end}"
        )
    if edges.epoch_is_above(header) and not edges.ignores_epoch(header):
        return Lie(
            f"the source's batch at offset {header.base_offset} claims leader epoch {header.leader_epoch}, "
            f"its leader is in {edges.leader_epoch}; `--how skip` takes it without that, and loses nothing"
        )
    return None
