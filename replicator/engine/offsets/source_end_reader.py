"""Reads the source's log ends for partitions that are not being fetched.

Whoever decides on a failover has to know what the source holds, also in partitions that are paused, stopped or waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.copy.values import Phase
from replicator.engine.logs.bounds import ends_of
from replicator.engine.offsets.translate import OTHER_LOG
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from replicator.engine.copy.copier import Copier
    from replicator.engine.copy.partitions.view import PartitionView

_FRESH_SECONDS = 5.0
_ANSWER_SECONDS_MAX = 5.0
_PARTITIONS_PER_REQUEST = 500
"""A request for ten thousand would block the event loop for as long as it takes to write and to parse."""

log = get_logger(__name__)


class SourceEndReader:
    """Reads the ends for one pump; call `refresh` every few seconds.

    Args:
        pump: The pump that has the partitions.
    """

    def __init__(self, pump: Copier) -> None:
        self._pump = pump

    async def refresh(self) -> None:
        """Ask for the ends that were not seen lately; one that cannot be had stays as it was, and ages.

        A broker that does not answer costs one time-out, and delays only its own partitions.
        """
        now = self._pump.context.now()
        due = [slot for slot in self._pump.partitions.values() if self._is_due(slot, now)]
        silent: set[int] = set()
        for first in range(0, len(due), _PARTITIONS_PER_REQUEST):
            await self._ask(due[first : first + _PARTITIONS_PER_REQUEST], silent)

    async def _ask(self, slots: list[PartitionView], silent: set[int]) -> None:
        pump = self._pump
        asked_at = pump.context.now()
        found, unseen = await ends_of(
            pump.source.cluster,
            [slot.source for slot in slots],
            isolation=pump.context.isolation,
            timeout_seconds=_ANSWER_SECONDS_MAX,
            silent=silent,
        )
        for slot in slots:
            if slot.source in found:
                pump.sightings.note_end(slot, found[slot.source], asked_at)
        if unseen:
            where, why = next(iter(unseen.items()))
            log.debug("ends not looked at", partitions=len(unseen), first=str(where), why=why)

    def _is_due(self, slot: PartitionView, now: float) -> bool:
        pump = self._pump
        pump.sightings.take_silence(slot)
        at = slot.lag.observed_at
        if at is not None and now - at < _FRESH_SECONDS:
            return False
        if slot.copy.phase is Phase.FAULTED and slot.copy.reason in OTHER_LOG:
            return False  # the end of a different log says nothing about what was copied
        topic = pump.source.cluster.topics.get(slot.source.topic)
        meant = pump.source.topic_ids.get(slot.source.topic)
        return topic is None or meant is None or topic.topic_id == meant
