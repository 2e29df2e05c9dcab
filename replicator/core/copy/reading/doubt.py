"""Suspect claims of a source's responses: when a claim is suspect, and what a second look makes of it.

Base offset, batch length and leader epoch lie outside a batch's checksum, so one flipped bit, or a response that
belongs to another offset, moves records without a trace.
If a claim does not fit, the episode ends and the log is read once more, on another connection and without a session:
what it shows again is true of that log (a topic that was once compacted keeps its holes); everything else was false.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from replicator.model.batch import OFFSET_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.model.batch import BatchHeader

DOUBTS_MAX = 3
"""Suspicions about the same offset, each refuted by a second look, after which the partition stops."""


class ResponseBounds(NamedTuple):
    """Bounds that the batches of a response must fit in.

    Attributes:
        end: The log's own end from the same response: its high watermark.
        leader_epoch: Epoch of the leader that responded, -1 if unknown.
        epochs_unproven: Offset below which, by an operator's decision, higher leader epochs are ignored.
    """

    end: int = OFFSET_MAX
    leader_epoch: int = -1
    epochs_unproven: int = 0

    def epoch_is_above(self, header: BatchHeader) -> bool:
        """Return whether a batch claims a leader epoch above its leader's."""
        return 0 <= self.leader_epoch < header.leader_epoch

    def ignores_epoch(self, header: BatchHeader) -> bool:
        """Return whether such an epoch is treated as unknown."""
        return header.next_offset <= self.epochs_unproven


class Doubt(NamedTuple):
    """A suspect claim: a second look is needed before anything at or above `offset` is taken.

    `times` counts the suspicions about this offset, this one included.
    """

    offset: int
    detail: str
    times: int


class Sound(NamedTuple):
    """The log holds a batch at the suspect offset: nothing is missing there.

    `begins_below`: the batch begins below that offset; the broker re-cuts batches, which Apache's never does.
    """

    begins_below: bool = False


class Gaps(NamedTuple):
    """The log holds no batch at the suspect offset: a cleaner once worked on it.

    `ranges` are all the offsets without a batch that were seen, from and to, that one included.
    """

    ranges: tuple[tuple[int, int], ...]


class Impossible(NamedTuple):
    """What the log itself holds there is impossible; `detail` says it in words."""

    detail: str


class Unseen(NamedTuple):
    """The response shows too little: read more, or read again."""


Verdict = Sound | Gaps | Impossible | Unseen


def sound_length(headers: Sequence[BatchHeader]) -> int:
    """Return how many batches of a response agree with each other: each begins at or above the end of the previous one.

    If two overlap, either may be the wrong one, so neither counts.
    """
    floor = index = 0
    for header in headers:
        if header[0] < floor:
            return max(0, index - 1)
        floor = header[0] + header[6] + 1
        index += 1
    return index


def judge(headers: Sequence[BatchHeader], offset: int, edges: ResponseBounds) -> Verdict:
    """Return what a second look says about a suspect offset.

    Args:
        headers: The batches of one response, starting with the one that holds the previous offset: a base offset that
            is slightly wrong shows only beside its neighbours.
        offset: The suspect offset.
        edges: The log's end and its leader's epoch, as read *after* the response.
    """
    believed = sound_length(headers)
    if believed < len(headers):
        return Impossible(
            f"the batches at offset {headers[believed].base_offset} contradict each other in the source's log"
        )
    at = next((index for index, header in enumerate(headers) if header.next_offset > offset), None)
    if at is None:
        return Unseen()
    impossible = _beyond(headers[at], edges)
    if impossible is not None or headers[at].base_offset <= offset:
        return impossible or Sound(headers[at].base_offset < offset)
    if at + 1 == len(headers) and headers[at].next_offset < edges.end:
        return Unseen()
    # No batch follows the last one to show where it belongs, unless the log ends there.
    shown = headers if headers[-1].next_offset >= edges.end else headers[:-1]
    seen = ((one.next_offset, other.base_offset) for one, other in pairwise(shown))
    gaps = [(offset, headers[at].base_offset), *(each for each in seen if each[0] < each[1])]
    return Gaps(tuple(dict.fromkeys(gaps)))


def _beyond(header: BatchHeader, edges: ResponseBounds) -> Impossible | None:
    """Return what is impossible about a batch of the log itself; None if nothing is."""
    if header.next_offset > edges.end:
        return Impossible(
            f"the source's log holds a batch that claims offsets {header.base_offset} to {header.next_offset - 1}, "
            f"but the log ends at {edges.end}"
        )
    if edges.epoch_is_above(header) and not edges.ignores_epoch(header):
        return Impossible(
            f"the source's batch at offset {header.base_offset} claims leader epoch {header.leader_epoch}, "
            f"its leader is at {edges.leader_epoch}; `--how skip` copies it without that epoch, and loses nothing"
        )
    return None
