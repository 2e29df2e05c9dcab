"""Which batches of a log are none of a flow's business."""

from __future__ import annotations

from typing import Protocol


class Chooser(Protocol):
    """Tells which batches of a log are none of a flow's business."""

    async def leaves_out(self, producer_id: int) -> bool:
        """Return whether batches of this producer are passed over; raises KafkaError where that cannot be told."""


class OnlyOurs:
    """Of a target that others write to as well: all that we did not write is passed over."""

    def __init__(self, producer_id: int) -> None:
        self._producer_id = producer_id

    async def leaves_out(self, producer_id: int) -> bool:
        """See `Chooser`."""
        return producer_id != self._producer_id
