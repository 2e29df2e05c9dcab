"""Watches log starts, and makes mirrors start where their sources do (`follow_log_start`).

Retention works on each side by itself. What is followed is a log start that was moved by hand (`DeleteRecords`) or
because settings differ. Each move is logged; one that is longer than allowed is only reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.engine.copy.partitions.partition import of_slot
from replicator.engine.logs.bounds import starts_of
from replicator.engine.state.ownership.ours import confirm
from replicator.errors import KafkaError
from replicator.obs.logs import get_logger
from replicator.wire.cluster import Purpose
from replicator.wire.messages import control

if TYPE_CHECKING:
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.copy.pump import Pump
    from replicator.engine.logs.side import Side
    from replicator.model.names import TopicPartition
    from replicator.model.spec import FlowSpec

_ASKED_AT_ONCE = 500
_ANSWER_SECONDS_MAX = 5.0

log = get_logger(__name__)


class LogStarts:
    """Watches the log starts of one flow."""

    def __init__(self, flow: FlowSpec, pump: Pump) -> None:
        self._flow = flow
        self._pump = pump
        self._warned: set[Slot] = set()
        self._refused: set[str] = set()

    async def check(self) -> None:
        """Read both log starts of all partitions that are copied, and follow those that may be followed."""
        pump = self._pump
        self._warned.intersection_update(pump.slots.values())
        slots = [slot for slot in pump.slots.values() if slot.copy.is_copying()]
        there = await _read(pump.source, [slot.source for slot in slots])
        here = await _read(pump.target, [slot.target for slot in slots])
        for slot in slots:
            slot.seen.source_start = there.get(slot.source, slot.seen.source_start)
            slot.seen.target_start = here.get(slot.target, slot.seen.target_start)
        for slot in slots:
            if self._flow.follow_log_start and slot.shard.claim.effective_since() is not None:
                await self._follow(slot)

    async def _follow(self, slot: Slot) -> None:
        if slot.seen.source_start is None or slot.seen.target_start is None or not slot.copy.is_copying():
            return
        at = min(slot.seen.source_start, slot.copy.acked_offset)
        to = at if slot.copy.track is None else slot.copy.track.offsets.to_target(at)
        length = to - slot.seen.target_start
        if length <= 0:
            self._warned.discard(slot)
            return
        if slot.recorded.cleaning.only:
            if slot.target.topic not in self._refused:
                self._refused.add(slot.target.topic)
                log.warning(
                    "log start not followed",
                    topic=slot.target.topic,
                    why="brokers refuse DeleteRecords for a topic that is only compacted",
                )
            return
        if length > self._flow.follow_log_start_limit:
            if slot not in self._warned:
                self._warned.add(slot)
                log.warning(
                    "log start not followed",
                    partition=str(slot.target),
                    why=f"{length} offsets would be deleted at once, follow_log_start_limit allows "
                    f"{self._flow.follow_log_start_limit}",
                    next="raise follow_log_start_limit, or delete them by hand with kafka-delete-records",
                )
            return
        await self._move(slot, to)

    async def _move(self, slot: Slot, to: int) -> None:
        cluster = self._pump.target.cluster
        leader = cluster.leader(slot.target)
        if leader is None:
            return
        owned = of_slot(self._pump.target, slot)
        try:
            connection = await cluster.connection(leader.node, Purpose.CONTROL)
            await confirm(cluster, owned)
            await control.delete_records(connection, owned, slot.target.partition, to)
        except KafkaError as error:
            log.warning("log start not followed", partition=str(slot.target), why=str(error), next=error.next_step)
            return
        log.info("log start followed", partition=str(slot.target), before=slot.seen.target_start, now=to)
        slot.seen.target_start = to


async def _read(side: Side, wanted: list[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the log starts that brokers report; a partition that is missing may be in the next look."""
    starts: dict[TopicPartition, int] = {}
    unseen: dict[TopicPartition, str] = {}
    silent: set[int] = set()
    for first in range(0, len(wanted), _ASKED_AT_ONCE):
        known, unknown = await starts_of(
            side, wanted[first : first + _ASKED_AT_ONCE], timeout_seconds=_ANSWER_SECONDS_MAX, silent=silent
        )
        starts |= known
        unseen |= unknown
    if unseen:
        where, why = next(iter(unseen.items()))
        log.debug("starts not read", cluster=side.cluster.spec.alias, partitions=len(unseen), first=str(where), why=why)
    return starts
