"""Which batches of a log a flow ignores."""

from __future__ import annotations

from typing import Protocol


class Chooser(Protocol):
    """Decides which batches of a log a flow ignores."""

    async def leaves_out(self, producer_id: int) -> bool:
        """Return whether batches of this producer are passed over; raises KafkaError if that cannot be decided."""


class OnlyOurs:
    """For a target that others write to as well: passes over everything that we did not write."""

    def __init__(self, producer_id: int) -> None:
        self._producer_id = producer_id

    async def leaves_out(self, producer_id: int) -> bool:
        """See `Chooser`."""
        return producer_id != self._producer_id
