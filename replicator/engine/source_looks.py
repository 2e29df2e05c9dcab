"""Looks where the source ends of partitions that nothing is read of now.

Whoever decides on a failover has to know what the source holds, also of what is paused, stopped, or waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.partition_values import Phase
from replicator.engine.look import ends_of
from replicator.engine.translate import OTHER_LOG
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from replicator.engine.pump import Pump
    from replicator.engine.slot import Slot

_LOOKED_SECONDS = 5.0
_ANSWER_SECONDS_MAX = 5.0

log = get_logger(__name__)


class SourceLooks:
    """The looks of one pump; call `look` every few seconds.

    Args:
        pump: Whose partitions.
    """

    def __init__(self, pump: Pump) -> None:
        self._pump = pump

    async def look(self) -> None:
        """Ask for the ends of those that were not seen lately; what cannot be asked for stays as it was, and ages."""
        pump = self._pump
        asked_at = pump.now()
        due = {slot.source: slot for slot in pump.slots.values() if self._is_due(slot, asked_at)}
        if not due:
            return
        told, unseen = await ends_of(
            pump.source.cluster, due, committed=pump.committed_only, timeout_seconds=_ANSWER_SECONDS_MAX
        )
        for where, end in told.items():
            slot = due[where]
            if pump.slots.get(where) is slot:
                slot.lag.reach(slot.copy.acked_offset)
                slot.lag.observe(end, asked_at)
        if unseen:
            where, why = next(iter(unseen.items()))
            log.debug("ends not looked at", partitions=len(unseen), first=str(where), why=why)

    def _is_due(self, slot: Slot, now: float) -> bool:
        pump = self._pump
        pump.take_silence(slot)
        at = slot.lag.observed_at
        if at is not None and now - at < _LOOKED_SECONDS:
            return False
        if slot.copy.phase is Phase.FAULTED and slot.copy.reason in OTHER_LOG:
            return False  # where another log ends tells nothing of what was copied
        topic = pump.source.cluster.topics.get(slot.source.topic)
        meant = pump.source.topic_ids.get(slot.source.topic)
        return topic is None or meant is None or topic.topic_id == meant
