"""Brings a target log to the source's start: filler batches up to that offset, then DeleteRecords (DESIGN: The idea).

A new log starts at offset 0, and only records move its end. So a log that has to start at 120,600,000 is filled with
empty records up to that offset and then emptied.
Fillers have a registered producer id of their own, and their sequences follow from the offset: two daemons that seed
the same partition cannot append more than one of them would.
After a crash at any point, the next attach continues: it finds fillers at the end, or an empty log at the right place.
"""

from __future__ import annotations

import asyncio
import time
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from replicator.core.copy.values import Phase
from replicator.core.copy.writing.answers import ProduceOutcome, classify_produce
from replicator.engine.copy.partitions.partition import of_slot
from replicator.engine.logs.opening import beside
from replicator.engine.state.ownership.ours import confirm
from replicator.errors import AuthenticationFailed, AuthorizationFailed, BugError, KafkaError, ReplicatorError
from replicator.model.batch import SEQUENCE_MODULUS
from replicator.model.spec import Isolation
from replicator.model.status.states import Reason
from replicator.obs.logs import get_logger
from replicator.wire.batches.batch import rewrite, scan
from replicator.wire.batches.records import NewRecord, encode
from replicator.wire.cluster import Purpose
from replicator.wire.messages import control
from replicator.wire.messages.data.produce import ProduceCodec
from replicator.wire.protocol.faults import broker_error, error_name
from replicator.wire.protocol.versions import PRODUCE

if TYPE_CHECKING:
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.copy.ports import SeedSupervisor
    from replicator.wire.frames import Frame
    from replicator.wire.transport.connection import Connection

_FILLER_RECORDS_MAX = 100_000
"""Bounded because a broker keeps an object per record while it validates a batch (KAFKA_FACTS K13)."""
_FILLER_BYTES_MAX = 64 << 10
_SMALL_FILLER_RECORDS = 500
"""For topics that accept only small batches: a few hundred bytes."""
_ZSTD = 4
_IN_FLIGHT_MAX = 5
_SEEDS_AT_ONCE_MAX = 8
_CLAIM_POLL_SECONDS = 0.2
_RETRY_SECONDS = 0.5
_ACCESS_SECONDS = 5.0
_FINAL = frozenset(
    {
        ProduceOutcome.TOO_LARGE,
        ProduceOutcome.REJECTED,
        ProduceOutcome.CORRUPT,
        ProduceOutcome.FENCED,
        ProduceOutcome.DENIED,
    }
)

log = get_logger(__name__)


class Seeder:
    """Runs seeds for one pump, a few at a time, under the shard's claim.

    One task at a time seeds a partition, for as long as it is SEEDING: pausing the partition ends the task.
    """

    def __init__(self, context: CopyContext, supervisor: SeedSupervisor) -> None:
        self._context = context
        self._supervisor = supervisor
        self._room = asyncio.Semaphore(_SEEDS_AT_ONCE_MAX)
        self._tasks: dict[Slot, asyncio.Task[None]] = {}

    def begin(self, slot: Slot, offset: int) -> None:
        """Seed a partition so that its log starts and ends at `offset`."""
        last = self._tasks.get(slot)
        self._tasks[slot] = self._supervisor.start(self._run(slot, offset, last), slot)

    def _goes_on(self, slot: Slot) -> bool:
        """Return whether the partition still has to be seeded, and by the current task."""
        return slot.copy.phase is Phase.SEEDING and self._tasks.get(slot) is asyncio.current_task()

    async def _run(self, slot: Slot, offset: int, last: asyncio.Task[None] | None) -> None:
        try:
            if last is not None:
                await asyncio.wait({last})  # by then everything it has sent is answered
            await self._in_turn(slot, offset)
        except ReplicatorError as error:
            if not self._goes_on(slot):
                return
            log.warning("seed interrupted", partition=str(slot.target), why=str(error))
            if isinstance(error, BugError):
                self._supervisor.stop_over_bug(slot, error)
                return
            if isinstance(error, AuthorizationFailed | AuthenticationFailed):
                slot.copy.say(Reason.WAITING_FOR_ACCESS, error.with_next_step())
                await asyncio.sleep(_ACCESS_SECONDS)
            elif isinstance(error, KafkaError) and error.retryable:
                await asyncio.sleep(1.0)
            else:
                self._supervisor.ended(
                    slot,
                    slot.copy.fault(Reason.TARGET_REFUSED, f"the seed to offset {offset} cannot continue: {error}"),
                )
                return
        except Exception as error:  # noqa: BLE001 - a separate task: the partition would stay in SEEDING for ever
            self._supervisor.stop_over_bug(slot, error)
            return
        finally:
            slot.seed_eta_seconds = None
            goes_on = self._goes_on(slot)
            if self._tasks.get(slot) is asyncio.current_task():
                del self._tasks[slot]
        if goes_on:
            self._supervisor.seeded([slot])

    async def _in_turn(self, slot: Slot, offset: int) -> None:
        """Seed once the claim is ours and there is room, unless the partition need not be seeded any more by then."""
        while self._goes_on(slot):
            if not self._may_write(slot):
                # A claim also becomes effective by the passage of time, which no event announces.
                await asyncio.sleep(_CLAIM_POLL_SECONDS)
                continue
            async with self._room:  # only now: those that wait for a claim must not take up room
                if self._may_write(slot):
                    if slot.recorded.seeded_to < offset:
                        await self._supervisor.remember_seed(slot, offset)
                    await self._seed(slot, offset)
                    return

    def _may_write(self, slot: Slot) -> bool:
        return self._goes_on(slot) and slot.shard.claim.effective_since() is not None

    async def _seed(self, slot: Slot, offset: int) -> None:
        where = slot.target
        leader = self._context.target.cluster.leader(where)
        if leader is None:
            return
        connection = await self._context.target.cluster.connection(leader.node, Purpose.CONTROL)
        answers = await control.list_offsets(connection, [where], control.LATEST, isolation=Isolation.READ_UNCOMMITTED)
        answer = control.answer_for(answers, where, self._context.target.cluster.spec, "ListOffsets")
        if answer.error:
            return
        end = answer.value
        if end < offset:
            end = await self._fill(slot, connection, end, offset)
        if end >= offset and self._may_write(slot):
            owned = of_slot(self._context.target, slot)
            await confirm(self._context.target.cluster, owned)
            await control.delete_records(connection, owned, where.partition, offset)

    async def _fill(self, slot: Slot, connection: Connection, end: int, offset: int) -> int:
        """Append fillers from `end` to `offset`; return the proven end.

        Any response other than the expected one ends this attempt: the next attach reads the log and continues there.
        """
        began, first = self._context.now(), end
        small = slot.copy.limits.batch_bytes_max < _FILLER_BYTES_MAX
        records_max = _SMALL_FILLER_RECORDS if small else _FILLER_RECORDS_MAX
        timeout_ms = int(connection.cluster.request_timeout_seconds * 1000)
        codec = ProduceCodec(connection.versions.produce, self._context.target.topic_ids, timeout_ms)
        for count in (min(records_max, offset - end), (offset - end) % records_max):
            if count:
                await beside(partial(_filler, count, _hour()))  # encoded off the event loop; the cache keeps it
        waiting: list[asyncio.Future[Frame]] = []
        sent = end
        while end < offset:
            if not self._may_write(slot):
                await asyncio.gather(*waiting, return_exceptions=True)
                return end
            while sent < offset and len(waiting) < _IN_FLIGHT_MAX:
                count = min(records_max, offset - sent)
                waiting.append(self._append(slot, connection, codec, sent, count))
                sent += count
            frame = await waiting.pop(0)
            answer = codec.answer(frame.buffer, frame.size)[0]
            outcome = classify_produce(answer.error)
            if outcome in _FINAL:
                raise broker_error(connection.cluster, "Produce", answer.error, slot.target.topic, answer.message)
            if outcome is not ProduceOutcome.ACCEPTED or answer.base_offset != end:
                log.info("seed starts again", partition=str(slot.target), why=error_name(answer.error))
                await asyncio.gather(*waiting, return_exceptions=True)
                await asyncio.sleep(_RETRY_SECONDS)
                return end
            end += min(records_max, offset - end)
            rate = (end - first) / max(0.001, self._context.now() - began)
            slot.seed_eta_seconds = int((offset - end) / rate)
        return end

    def _append(
        self, slot: Slot, connection: Connection, codec: ProduceCodec, base: int, count: int
    ) -> asyncio.Future[Frame]:
        batch = bytearray(_filler(count, _hour()))
        header = scan(batch, 0, len(batch))[0]
        sequence = base % SEQUENCE_MODULUS
        rewrite(
            memoryview(batch),
            [(header, sequence)],
            self._context.writers.flow.filler_id,
            self._context.writers.flow.filler_epoch,
        )
        body, size = codec.request({slot.target.topic: {slot.target.partition: (batch, len(batch))}})
        return connection.ask(PRODUCE, connection.versions.produce, body, size)


def _hour() -> int:
    """Return the present hour since 1970."""
    return time.time_ns() // 3_600_000_000_000


@lru_cache(maxsize=4)
def _filler(count: int, hour: int) -> bytes:
    """Return a batch of `count` empty records with the present hour as their time, so that the guard is on."""
    timestamp_ms = hour * 3_600_000
    record = NewRecord(timestamp_ms, None, None)
    return encode((record for _ in range(count)), compression=_ZSTD)
