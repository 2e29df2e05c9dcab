"""Looks whether somebody else writes to a mirror that nothing is copied to just now.

Where batches flow, an answer tells: one that landed further on than it had to. An idle mirror would keep a stranger's
records unnoticed until the next batch, or until a switch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.engine.look import ends_of
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from replicator.engine.pump import Pump
    from replicator.engine.slot import Slot

_ASKED_AT_ONCE = 500

log = get_logger(__name__)


class TargetEnds:
    """The ends of the logs that one flow writes to.

    Args:
        pump: Which copies.
        me: This daemon: it looks where it holds the claim, so that nobody else of the flow writes.
    """

    def __init__(self, pump: Pump, me: str) -> None:
        self._pump = pump
        self._me = me

    async def look(self) -> None:
        """Attach every idle partition anew whose log goes on behind our own place: the attach finds out why."""
        slots = [slot for slot in self._pump.slots.values() if self._is_watched(slot)]
        for first in range(0, len(slots), _ASKED_AT_ONCE):
            await self._look_at(slots[first : first + _ASKED_AT_ONCE])

    def _is_watched(self, slot: Slot) -> bool:
        copy = slot.copy
        ours = slot.shard.works and slot.shard.claim.holder == self._me
        return ours and copy.is_copying() and copy.idle and not copy.limits.others_write

    async def _look_at(self, slots: list[Slot]) -> None:
        before = {slot.target: (slot, slot.copy.episode, slot.copy.target_end) for slot in slots}
        ends, unseen = await ends_of(self._pump.target.cluster, before)
        if unseen:
            where, why = next(iter(unseen.items()))
            log.debug("ends not read", partitions=len(unseen), first=str(where), why=why)
        for where, end in ends.items():
            slot, episode, place = before[where]
            now = slot.copy.episode, slot.copy.target_end
            if end > place and now == (episode, place) and self._is_watched(slot):
                self._pump.settle(slot, f"the target's log ends at {end}, our own part of it at {place}")
