"""Checks whether somebody else writes to a mirror while nothing is being copied to it.

While batches flow, produce responses show it: a batch lands at a higher offset than necessary. In an idle mirror,
foreign records would stay unnoticed until the next batch, or until a switch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.engine.logs.bounds import ends_of

if TYPE_CHECKING:
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.copy.pump import Pump

_ASKED_AT_ONCE = 500
_ANSWER_SECONDS_MAX = 5.0
_UNKNOWN_SECONDS = 15.0
"""An end that could not be read for this long is reported as unknown; a leader change takes less."""


class TargetEnds:
    """Watches the ends of the logs that one flow writes to.

    Args:
        pump: The pump that writes them.
        me: This daemon's name. It checks only shards whose claim it holds, as no other daemon of the flow writes there.
    """

    def __init__(self, pump: Pump, me: str) -> None:
        self._pump = pump
        self._me = me
        self._unseen_since: dict[Slot, float] = {}

    async def check(self) -> None:
        """Attach every idle partition again whose log extends beyond our own place: the attach finds out why."""
        slots = [slot for slot in self._pump.slots.values() if self._is_watched(slot)]
        silent: set[int] = set()
        unseen: dict[Slot, str] = {}
        for first in range(0, len(slots), _ASKED_AT_ONCE):
            unseen |= await self._check_some(slots[first : first + _ASKED_AT_ONCE], silent)
        self._report(unseen)

    def _report(self, unseen: dict[Slot, str]) -> None:
        """Report the partitions for which it is unknown whether somebody else writes to them."""
        now, since = self._pump.context.now(), self._unseen_since
        self._unseen_since = {slot: since.get(slot, now) for slot in unseen}
        unknown = [slot for slot, at in self._unseen_since.items() if now - at >= _UNKNOWN_SECONDS]
        subject = f"{self._pump.target.cluster.spec.alias} ends of idle mirrors"
        if not unknown:
            self._pump.context.problems.is_over(subject)
            return
        self._pump.context.problems.by_subject[subject] = (
            f"it is unknown whether somebody else writes to {len(unknown)} idle partitions: "
            f"the end of {unknown[0].target} cannot be read ({unseen[unknown[0]]})"
        )

    def _is_watched(self, slot: Slot) -> bool:
        copy = slot.copy
        ours = slot.shard.works and slot.shard.claim.holder == self._me
        return ours and copy.is_copying() and copy.sending.idle and not copy.limits.others_write

    async def _check_some(self, slots: list[Slot], silent: set[int]) -> dict[Slot, str]:
        """Check some partitions; return those whose end is unknown now, and why."""
        before = {slot.target: (slot, slot.copy.episode, slot.copy.target_end) for slot in slots}
        ends, unseen = await ends_of(
            self._pump.target.cluster, before, timeout_seconds=_ANSWER_SECONDS_MAX, silent=silent
        )
        for where, end in ends.items():
            slot, episode, place = before[where]
            now = slot.copy.episode, slot.copy.target_end
            if end > place and now == (episode, place) and self._is_watched(slot):
                self._pump.settle(slot, f"the target's log ends at {end}, our own part of it at {place}")
        return {before[where][0]: why for where, why in unseen.items()}
