"""Finds the open transactions on the source that hold up the records after them, and reports their producers.

A reader of committed records gets nothing above the last stable offset, where the oldest open transaction begins.
If its producer is gone, its coordinator ends it after `transaction.timeout.ms`. A hanging transaction (KIP-664) stays
open until an operator aborts it. From here they all look alike, so the report leaves the decision to the operator.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from replicator.engine.copy.partitions.partition import OpenTransaction
from replicator.errors import ReplicatorError
from replicator.model.spec import Isolation
from replicator.model.text import command
from replicator.model.units import format_bootstrap
from replicator.obs.logs import get_logger
from replicator.wire.cluster import Purpose
from replicator.wire.messages import control
from replicator.wire.protocol.faults import error_name

if TYPE_CHECKING:
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.copy.pump import Pump
    from replicator.wire.transport.connection import Connection

_OPEN_SECONDS_MIN = 10.0
"""Transactions come and go all the time; one that has been open for less than this is not worth a report."""
_ANSWER_SECONDS_MAX = 10.0

log = get_logger(__name__)

_Producers = tuple[int, tuple[control.ProducerEntry, ...]]


class OpenTransactions:
    """Checks the partitions of one pump; call `check` every few seconds.

    Args:
        flow: The flow's name, for the log.
        pump: The pump; it copies committed records only.
    """

    def __init__(self, flow: str, pump: Pump) -> None:
        self._flow = flow
        self._pump = pump

    async def check(self) -> None:
        """Note on each slot what holds it up, and clear what has ended; takes at most `_ANSWER_SECONDS_MAX`.

        A broker that cannot be asked changes nothing: what was known about its partitions stays.
        """
        due: dict[int, list[Slot]] = defaultdict(list)
        for slot in self._pump.slots.values():
            if slot.seen.open_transaction is not None and slot.seen.held_up_by is None:
                self._over(slot)
            if slot.seen.open_since is None or self._pump.context.now() - slot.seen.open_since < _OPEN_SECONDS_MIN:
                continue
            leader = self._pump.source.cluster.leader(slot.source)
            if leader is not None:
                due[leader.node].append(slot)
        await asyncio.gather(*(self._ask(node, slots) for node, slots in due.items()))

    async def _ask(self, node: int, slots: list[Slot]) -> None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                connection = await self._pump.source.cluster.connection(node, Purpose.CONTROL)
                not_moved = await self._not_moved(connection, slots)
                # One that is noted with its producer need not be asked about again: while the last stable offset does
                # not move, it is the same transaction.
                unknown = [
                    slot
                    for slot in not_moved
                    if slot.seen.held_up_by is None or slot.seen.held_up_by.producer_id is None
                ]
                if not unknown:
                    return
                found = await control.describe_producers(connection, [slot.source for slot in unknown])
        except (ReplicatorError, TimeoutError) as error:
            log.debug("open transactions not looked at", flow=self._flow, broker=node, why=str(error))
            return
        for slot in unknown:
            if found is None:
                # Kafka's own tool needs the same request to abort by offset, so no command is offered.
                self._note(slot, "an unknown producer (the source does not offer DescribeProducers)")
            elif slot.source in found:
                self._judge(slot, found[slot.source])

    async def _not_moved(self, connection: Connection, slots: list[Slot]) -> list[Slot]:
        """Return the partitions whose last stable offset has not moved.

        The brokers are asked again, because a partition that is not being read (the target is slow) may have a stale
        last response.
        """
        asked = {slot: slot.seen.stable_offset for slot in slots}
        wanted = [slot.source for slot in slots]
        stable = await control.list_offsets(connection, wanted, control.LATEST, isolation=Isolation.READ_COMMITTED)
        ends = await control.list_offsets(connection, wanted, control.LATEST, isolation=Isolation.READ_UNCOMMITTED)
        not_moved: list[Slot] = []
        for slot, before in asked.items():
            here, end = stable.get(slot.source), ends.get(slot.source)
            if here is None or end is None or here.error or end.error:
                continue
            if slot.seen.stable_offset == before:  # otherwise a fetch has brought newer values meanwhile
                slot.seen.observe_stable(here.value, end.value, self._pump.context.now())
            if slot.seen.open_since is not None and slot.seen.stable_offset == before:
                not_moved.append(slot)
        return not_moved

    def _judge(self, slot: Slot, answer: _Producers) -> None:
        code, producers = answer
        if code:
            producer = f"an unknown producer (the source answers DescribeProducers with {error_name(code)})"
            self._note(slot, producer, begin=slot.seen.stable_offset)
            return
        opened = [each for each in producers if each.open_since_offset >= 0]
        oldest = min(opened, key=lambda each: each.open_since_offset, default=None)
        # Otherwise the transaction has just ended, and its marker is still being replicated.
        if oldest is not None and oldest.open_since_offset <= slot.seen.stable_offset:
            producer = f"producer id {oldest.producer_id}"
            self._note(slot, producer, producer_id=oldest.producer_id, begin=oldest.open_since_offset)

    def _note(self, slot: Slot, producer: str, *, producer_id: int | None = None, begin: int | None = None) -> None:
        """Note what holds this partition up; it is logged once.

        Args:
            slot: The partition.
            producer: The producer, in words.
            producer_id: The producer's id, if it is known.
            begin: The start offset by which Kafka's tool can abort the transaction; None if it cannot.
        """
        if slot.seen.open_since is None:
            return
        known = slot.seen.held_up_by is not None
        ended = "its coordinator" if begin is None else f"if that is gone: {self._abort(slot, begin)}"
        detail = (
            f"open transaction of {producer} since {self._moment(slot.seen.open_since)} "
            f"(offset {slot.seen.stable_offset if begin is None else begin}) on {slot.source}; records after it wait; "
            f"next: wait for its producer, or {ended}"
        )
        slot.seen.open_transaction = OpenTransaction(slot.seen.stable_offset, producer_id, detail)
        if not known:
            log.warning("records wait", flow=self._flow, partition=str(slot.source), why=detail)

    def _moment(self, at: float) -> str:
        """Return a monotonic time as UTC, with the date, because a transaction may hang for days."""
        seconds = self._pump.context.now_ms() / 1000 - (self._pump.context.now() - at)
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    def _abort(self, slot: Slot, start_offset: int) -> str:
        bootstrap = format_bootstrap(self._pump.source.cluster.spec.bootstrap)
        where = slot.source
        words = ["kafka-transactions.sh", "--bootstrap-server", bootstrap, "abort", "--topic", where.topic]
        return command(*words, "--partition", str(where.partition), "--start-offset", str(start_offset))

    def _over(self, slot: Slot) -> None:
        slot.seen.open_transaction = None
        log.info("records wait no longer", flow=self._flow, partition=str(slot.source), why="its transaction has ended")
