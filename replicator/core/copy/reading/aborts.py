"""Which batches of a fetch response belong to aborted transactions."""

from __future__ import annotations

from collections.abc import Sequence

from replicator.model.batch import TRANSACTIONAL_BIT, BatchHeader


class Aborts:
    """Finds the batches of aborted transactions, from the broker's list and the markers in between.

    It works like Kafka's own consumer (CompletedFetch): a producer's batches are aborted from its listed first offset
    up to its next marker, which can only be the one that aborted them.
    """

    __slots__ = ("_active", "_coming")

    def __init__(self, aborted: Sequence[tuple[int, int]]) -> None:
        self._coming = sorted(aborted, key=lambda each: each[1], reverse=True)
        self._active: set[int] = set()

    def observe(self, header: BatchHeader) -> bool:
        """Take the next batch of the response; return whether it was aborted."""
        while self._coming and self._coming[-1][1] < header.next_offset:
            self._active.add(self._coming.pop()[0])
        if header.is_control:
            self._active.discard(header.producer_id)
            return False
        return bool(header.attributes & TRANSACTIONAL_BIT) and header.producer_id in self._active
