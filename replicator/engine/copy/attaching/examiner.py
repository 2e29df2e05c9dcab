"""What has to be examined closely, or recorded, before a partition can be attached."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.core.copy.attaching.facts import Fault, Remap
from replicator.core.copy.reading.doubt import DOUBTS_MAX, Sound
from replicator.core.copy.values import Phase
from replicator.engine.copy.attaching.displaced import what_displaced
from replicator.engine.copy.partitions.waiting import waits_for
from replicator.engine.logs.reading import reread
from replicator.errors import AnswerTooLarge, BugError, CorruptRecords, ReplicatorError, TooLargeToOpen
from replicator.model.status.states import Reason
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.core.offsets.offset_map import OffsetPair
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.copy.ports import AttachSupervisor

_READS_AT_ONCE = 4
"""How many partitions of one cluster are examined at a time: each look may read many megabytes."""
_ANOTHER_REPLICA = "let another replica of it lead if this one's disk is bad"

log = get_logger(__name__)


class Examiner:
    """Examines partitions for one attach loop.

    Args:
        context: What the parts of the pump share.
        supervisor: The pump.
        schedule: Lets a partition be attached again after a pause.
    """

    def __init__(self, context: CopyContext, supervisor: AttachSupervisor, schedule: Callable[[Slot], None]) -> None:
        self._context = context
        self._supervisor = supervisor
        self._schedule = schedule
        self._room_on_source = asyncio.Semaphore(_READS_AT_ONCE)
        self._room_on_target = asyncio.Semaphore(_READS_AT_ONCE)

    def met(self, slot: Slot, error: Exception, about: str = "") -> None:
        """Handle an error of one partition that is being attached: one that cannot pass by itself stops the partition.

        Damage is believed once `DOUBTS_MAX` consecutive looks have found it.

        Args:
            slot: The partition.
            error: What was raised.
            about: What was being examined, if the error does not make that clear.
        """
        text = f"{about}{error.with_next_step() if isinstance(error, ReplicatorError) else error}"
        if isinstance(error, BugError) or not isinstance(error, ReplicatorError):
            self._supervisor.stop_over_bug(slot, error)
        elif slot.copy.phase is not Phase.ATTACHING:
            return  # it has been paused meanwhile
        elif isinstance(error, TooLargeToOpen):
            slot.blocking_batch.too_large = None  # skipping the batch would not help: it is needed to find the place
            self._supervisor.ended(slot, slot.copy.fault(Reason.BATCH_TOO_LARGE, text))
        elif isinstance(error, CorruptRecords | AnswerTooLarge) and slot.attach.damaged + 1 >= DOUBTS_MAX:
            slot.attach.damaged = 0
            slot.copy.reading.trust.doubted = None
            reason = Reason.CORRUPT_BATCH if isinstance(error, CorruptRecords) else Reason.BATCH_TOO_LARGE
            self._supervisor.ended(slot, slot.copy.fault(reason, text))
        else:
            # Not every field of a response has a checksum: what one look found may have been damaged in transit.
            slot.attach.damaged = slot.attach.damaged + 1 if isinstance(error, CorruptRecords | AnswerTooLarge) else 0
            slot.copy.wait(waits_for(error), text)
            self._schedule(slot)

    async def record(self, slot: Slot, decision: Fault | Remap) -> None:
        """Record a new difference, or stop the partition; if another daemon recorded one first, attach again."""
        copy = slot.copy
        try:
            changed = await self._context.maps.refresh_from_end(slot)
            if not changed and copy.phase is Phase.ATTACHING:
                if isinstance(decision, Fault):
                    copy.displaced = None
                    if copy.track is not None:
                        copy.track.forget_walk()
                    self._supervisor.ended(slot, slot.copy.fault(decision.reason, decision.detail))
                    return
                await self._context.maps.remap(slot, decision)
                changed = True
            if changed:
                copy.displaced = None  # only now: if the state topic is unreachable, nothing else remembers it
        except Exception as error:  # noqa: BLE001 - a separate task: it would be started again at once, for ever
            if isinstance(error, BugError) or not isinstance(error, ReplicatorError):
                self._supervisor.stop_over_bug(slot, error)
                return
            log.warning("an offset map not recorded yet", partition=str(slot.source), why=str(error))
            copy.say(waits_for(error), f"the state topic cannot be used: {error.with_next_step()}")
        finally:
            slot.attach.is_under_way = False
        self._schedule(slot)

    async def at_doubted(self, slot: Slot, offset: int) -> None:
        """Look again at what a source response claimed, before anything else is read from that log."""
        copy, trust = slot.copy, slot.copy.reading.trust
        try:
            async with self._room_on_source:
                verdict = await reread(
                    self._context.source, slot.source, offset, trust.rereads, slot.recorded.epochs_unproven
                )
        except Exception as error:  # noqa: BLE001 - a separate task: it would be started again at once, for ever
            slot.attach.is_under_way = False
            self.met(slot, error, about=f"{trust.detail}; it cannot be checked: ")
            self._supervisor.leaders_stale(target=False)
            self._supervisor.topics_stale()
            return
        slot.attach.is_under_way, slot.attach.damaged = False, 0
        if isinstance(verdict, Sound) and verdict.begins_below:
            log.info("the source cuts batches anew", partition=str(slot.source), offset=offset)
        elif isinstance(verdict, Sound):
            log.warning("an answer of the source was spoiled", partition=str(slot.source), why=trust.detail)
        # None: retention deleted it meanwhile, or the source lost it. The attach reads both logs and reports which.
        fault = trust.reread(verdict)
        if fault is not None and copy.phase is Phase.ATTACHING:
            self._supervisor.ended(slot, slot.copy.fault(Reason.CORRUPT_BATCH, f"{fault}; {_ANOTHER_REPLICA}"))
            return
        self._schedule(slot)

    async def at_displaced(self, slot: Slot, place: OffsetPair) -> None:
        """Find out what precedes a batch that landed at a higher offset than necessary."""
        try:
            async with self._room_on_target:
                decision = await what_displaced(self._context.target, self._context.writers.flow, slot, place)
        except Exception as error:  # noqa: BLE001 - a separate task: it would be started again at once, for ever
            slot.attach.is_under_way = False
            self.met(slot, error)
            self._supervisor.leaders_stale(source=False)
            return
        if decision is not None:
            await self.record(slot, decision)
            return
        slot.copy.displaced = None
        slot.attach.is_under_way = False
        self._schedule(slot)
