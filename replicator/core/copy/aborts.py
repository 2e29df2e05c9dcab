"""Which batches of an answer belong to aborted transactions."""

from __future__ import annotations

from collections.abc import Sequence

from replicator.model.batch import TRANSACTIONAL_BIT, BatchHeader


class Aborts:
    """Which batches belong to aborted transactions, from the broker's list and the markers in between.

    As Kafka's own consumer does it (CompletedFetch): a producer's batches are aborted from its first offset on until
    its next marker, which can only be the one that aborted them.
    """

    __slots__ = ("_active", "_coming")

    def __init__(self, aborted: Sequence[tuple[int, int]]) -> None:
        self._coming = sorted(aborted, key=lambda each: each[1], reverse=True)
        self._active: set[int] = set()

    def observe(self, header: BatchHeader) -> bool:
        """Take the next batch of the answer; return whether it was aborted."""
        while self._coming and self._coming[-1][1] < header.next_offset:
            self._active.add(self._coming.pop()[0])
        if header.is_control:
            self._active.discard(header.producer_id)
            return False
        return bool(header.attributes & TRANSACTIONAL_BIT) and header.producer_id in self._active
