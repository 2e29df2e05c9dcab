"""Where our own part of a target log ends: what a switch may count as copied, and no more.

A mirror that is not open has one writer. Everything up to the first batch of another producer came from the source.
What is after that batch does not, whoever wrote it: the source's records for those offsets are not there. The markers
of the fence that stops us count as neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.model.batch import MAGIC_V2

if TYPE_CHECKING:
    from replicator.model.batch import BatchHeader


@dataclass(frozen=True, slots=True)
class OurBatches:
    """How our own batches in a target log are distinguished from those of others.

    Attributes:
        producer_id: The id of the copied records, and of the markers of fences.
        others: Our other producer ids: those of fills and of fillers.
        fence_epoch: Epoch from which on a marker of `producer_id` is the fence's; None if there is no fence.
        any_marker: Whether any marker counts as ours: fills may be written by transactions, under an id that is not
            recorded.
    """

    producer_id: int
    others: frozenset[int] = frozenset()
    fence_epoch: int | None = None
    any_marker: bool = False

    def is_fence(self, header: BatchHeader) -> bool:
        """Return whether a batch is a marker of the fence."""
        return (
            self.fence_epoch is not None
            and header.magic == MAGIC_V2
            and header.is_control
            and header.producer_id == self.producer_id
            and header.producer_epoch >= self.fence_epoch
        )

    def wrote(self, header: BatchHeader) -> bool:
        """Return whether a batch counts as ours."""
        return self.surely_wrote(header) or (self.any_marker and header.magic == MAGIC_V2 and header.is_control)

    def surely_wrote(self, header: BatchHeader) -> bool:
        """Return whether a batch carries one of our ids."""
        known = header.producer_id == self.producer_id or header.producer_id in self.others
        return known and header.magic == MAGIC_V2


@dataclass(frozen=True, slots=True)
class OwnEnd:
    """Where our own part of a log ends.

    Attributes:
        end: The offset after it.
        records: How many of our records were seen up to there.
        foreign: Offsets from there up to the fence, or to the end; another producer took the first of them.
        strangers: Producers of the markers among those.
        is_fenced: Whether a marker of the fence was seen.
    """

    end: int
    records: int = 0
    foreign: int = 0
    strangers: frozenset[int] = frozenset()
    is_fenced: bool = False


class OwnEndSearch:
    """Takes the batches of a log in order, from a place up to which the log is known to be ours.

    Args:
        begin: That place.
        ours: How our batches are recognized.

    Attributes:
        is_foreign: Whether a batch of another producer was seen: what follows changes nothing but the count.
        is_fenced: Whether a marker of the fence was seen: nothing that follows matters.
    """

    def __init__(self, begin: int, ours: OurBatches) -> None:
        self.is_foreign = False
        self.is_fenced = False
        self._begin = begin
        self._ours = ours
        self._end = begin
        self._behind = begin
        self._records = 0
        self._strangers: set[int] = set()

    def take(self, header: BatchHeader) -> None:
        """Take the next batch."""
        if self.is_fenced:
            return
        if self._ours.is_fence(header):
            self.is_fenced = True
            if not self.is_foreign:
                # In a compacted log there may be a hole before it: what the cleaner removed there was ours.
                self._end = max(self._end, header.base_offset)
            self._behind = max(self._behind, header.base_offset)
            return
        self._behind = header.next_offset
        if not self._ours.wrote(header):
            self.is_foreign = True
            if header.magic == MAGIC_V2 and header.is_control:
                self._strangers.add(header.producer_id)
        elif not self.is_foreign:
            self._end = header.next_offset
            if not header.is_control:
                self._records += min(header.record_count, header.next_offset - self._begin)

    def result(self) -> OwnEnd:
        """Return where our own part ends, judging by the batches taken so far."""
        foreign = self._behind - self._end if self.is_foreign else 0
        return OwnEnd(self._end, self._records, foreign, frozenset(self._strangers), self.is_fenced)
