"""`replicator.state` on the target: the facts that must be exact, and how two daemons change them without a lock.

The topic is a compacted log of (key, value) in protobuf (CONTRACTS section 4).
A change that two daemons could contest is a compare-and-set::

    InitProducerId        our epoch rises: a rival's open transaction is aborted, its next step is refused
    read to the end       committed records only: the decision is based on the records in force
    decide                a pure function of the state
    write, commit         refused if a rival's InitProducerId came in between: start again

Facts that only the holder of a claim writes are plain appends.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from replicator.backoff import Backoff
from replicator.core.copy.reading.aborts import Aborts
from replicator.core.copy.writing.answers import ProduceOutcome, classify_produce
from replicator.engine.logs.reading import batches_of, read_once
from replicator.engine.logs.side import Side
from replicator.engine.state.topic import chunks as state_parts
from replicator.engine.state.topic.chunks import BATCH_BYTES_MAX, BATCH_BYTES_MIN, batches, in_parts
from replicator.engine.state.topic.partition import WHERE, StateTopic
from replicator.engine.state.topic.view import Read, StateView
from replicator.errors import BrokerRefused, Conflict, CorruptRecords, KafkaError, TimedOut
from replicator.model.batch import TRANSACTIONAL_BIT
from replicator.model.names import STATE_TOPIC, state_transactional_id
from replicator.model.spec import Isolation
from replicator.obs.logs import get_logger
from replicator.wire.batches.inflate import RECORD_BYTES
from replicator.wire.batches.records import NewRecord, decode, encode
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.messages import control
from replicator.wire.messages.data.produce import Produced, produce_by_name
from replicator.wire.messages.data.transactions import ProducerIdentity, Transaction, init_producer_id
from replicator.wire.protocol.codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from replicator.engine.state.topic.index import StateRecords
    from replicator.model.batch import BatchHeader
    from replicator.wire.frames import Frame
    from replicator.wire.messages.data.fetch import Fetched
    from replicator.wire.transport.connection import Connection

_ROUNDS_MAX = 20
_PAUSE_SECONDS = 0.05
_PAUSE_SECONDS_MAX = 5.0
_CONFLICT_PAUSE_SECONDS = (0.1, 1.0)
_EXPANSION_BYTES_MAX = 4 << 20
"""How far a batch opened on the event loop may expand: ours are not compressed."""
_END_SECONDS_MAX = 60.0
_LONG_POLL_SECONDS_MAX = 5.0

_UNREAD_SECONDS_MAX = 12 * 3600.0
"""A reader that was away for longer starts over: brokers keep tombstones for a day; later, deletions are invisible."""

Change = state_parts.Change
"""A key with its new value; None for a deletion."""
log = get_logger(__name__)


class _Clocks(NamedTuple):
    """A moment by both clocks: the monotonic one stops while the machine sleeps."""

    monotonic_seconds: float
    wall_seconds: float

    @classmethod
    def now(cls) -> Self:
        """Return the current moment."""
        return cls(time.monotonic(), time.time())

    def passed_seconds(self) -> float:
        """Return the time since this moment, by whichever clock shows more."""
        now = _Clocks.now()
        return max(now.monotonic_seconds - self.monotonic_seconds, now.wall_seconds - self.wall_seconds)


class StateLog:
    """One daemon's view of the topic, and its way to change it.

    Args:
        cluster: The cluster with the topic.
        keeps_offsets: Whether to keep the offset of each record.
        topic: Access to the topic; None for the state topic of this cluster.

    Attributes:
        topic: Access to the topic, and whether it was lost.
    """

    def __init__(self, cluster: Cluster, *, keeps_offsets: bool = False, topic: StateTopic | None = None) -> None:
        self.topic = StateTopic(cluster) if topic is None else topic
        self._view = StateView(keeps_offsets=keeps_offsets)
        self._read_at = _Clocks.now()
        self._batch_bytes_max = BATCH_BYTES_MAX
        self._cluster = cluster
        self._side = Side(cluster, cluster.topic_ids)
        self._changing = asyncio.Lock()

    @property
    def records(self) -> StateRecords:
        """Values by key, as committed so far."""
        return self._view.records

    @property
    def position(self) -> int:
        """The offset up to which the log was read; `records` is complete once this is the log end."""
        return self._view.position

    def offset_of(self, key: bytes) -> int:
        """Return the offset of a record; -1 if it is unknown, or there is no such record."""
        return (self._view.offsets or {}).get(key, -1) if key in self.records else -1

    def listen(self, listener: Callable[[bytes], None]) -> None:
        """Call `listener` with the key of every record that is read."""
        self._view.listen(listener)

    def learn_limit(self, batch_bytes_max: int) -> None:
        """Take note of the largest batch the topic accepts; we never write more than `BATCH_BYTES_MAX` anyway."""
        self._batch_bytes_max = max(BATCH_BYTES_MIN, min(batch_bytes_max, BATCH_BYTES_MAX))

    # -- reading ------------------------------------------------------------------------------------------------

    def unread_seconds(self) -> float:
        """Return the time since the topic was last read."""
        return self._read_at.passed_seconds()

    async def read_to_end(self, seconds: float = _END_SECONDS_MAX) -> None:
        """Read everything that is committed now.

        Another flow's transaction may be open on this shared topic; it ends within its time-out.

        Args:
            seconds: How long that may take.

        Raises:
            KafkaError: The topic cannot be read.
            TimedOut: Its end was not reached.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._read_to_end()
        except TimeoutError as error:
            raise TimedOut(
                f"the end of {STATE_TOPIC} was not reached within {seconds:.3g} s",
                why="a transaction may be open on it",
                next_step=f"kafka-transactions --bootstrap-server ... find-hanging --topic {STATE_TOPIC}",
            ) from error

    async def _read_to_end(self) -> None:
        connection = await self.topic.connection(Purpose.CONTROL)
        answer = await self.topic.listed(connection, control.LATEST, isolation=Isolation.READ_UNCOMMITTED)
        if answer.error:
            raise await self.topic.broker_error("ListOffsets", answer.error)
        while self.position < answer.value:
            await self._read(connection, wait_ms=50)

    async def follow(self) -> None:
        """Keep `records` fresh by long polls, until cancelled."""
        backoff = Backoff(_PAUSE_SECONDS, _PAUSE_SECONDS_MAX)
        wait_ms = int(min(_LONG_POLL_SECONDS_MAX, self._cluster.spec.request_timeout_seconds / 2) * 1000)
        while True:
            try:
                await self._read(await self.topic.connection(Purpose.STATE), wait_ms=wait_ms)
                backoff.reset()
            except (KafkaError, CorruptRecords) as error:
                log.debug("state topic", why=str(error))
                await asyncio.sleep(backoff.next_seconds())

    async def _read(self, connection: Connection, *, wait_ms: int) -> None:
        # A long poll and a read to the end may run at once, on two connections: what was applied already is skipped.
        if self._read_at.passed_seconds() > _UNREAD_SECONDS_MAX:
            await self._start_over(connection)
        position = self.position
        try:
            frame, fetched = await read_once(
                self._side,
                connection,
                WHERE,
                position,
                isolation=Isolation.READ_COMMITTED,
                wait_ms=wait_ms,
                read_bytes=BATCH_BYTES_MAX,
            )
        except BrokerRefused as error:
            if error.code == ErrorCode.offset_out_of_range:
                await self._start_over(connection)
                return
            if error.retryable:
                await self._cluster.refresh([STATE_TOPIC])
            raise
        self._read_at = _Clocks.now()
        if self.position < position:
            return  # the reading was started over meanwhile: what lies in between has to be read first
        self._apply(frame, fetched)
        if self.position == position and fetched.start != fetched.end:
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _start_over(self, connection: Connection) -> None:
        """Continue at the log's start: it moved, or the topic was unread for longer than tombstones certainly last.

        Records that do not reappear by the log's current end were deleted meanwhile.
        """
        start = await self.topic.listed(connection, control.EARLIEST, isolation=Isolation.READ_UNCOMMITTED)
        end = await self.topic.listed(connection, control.LATEST, isolation=Isolation.READ_COMMITTED)
        for answer in (start, end):
            if answer.error:
                raise await self.topic.broker_error("ListOffsets", answer.error)
        log.warning("state topic read anew", cluster=self._cluster.spec.alias, start=start.value, end=end.value)
        self._view.start_over(start.value, end.value)
        self._read_at = _Clocks.now()

    def _apply(self, frame: Frame, fetched: Fetched) -> None:
        aborts = Aborts(fetched.aborted or ())
        batches = []
        for header in batches_of(frame, fetched):
            if header.next_offset > fetched.high_watermark:
                break  # no checksum covers its base offset; if the high watermark was stale, the batch is read again
            aborted = aborts.observe(header)
            if header.next_offset <= self.position:
                continue
            batches.append(_read(frame, header, aborted=aborted))
        self._view.take(batches, fetched.last_stable_offset)

    # -- changing -----------------------------------------------------------------------------------------------

    async def change(
        self, flow_uid: str, decide: Callable[[Mapping[bytes, bytes]], list[Change]]
    ) -> Mapping[bytes, bytes]:
        """Change records by compare-and-set.

        Args:
            flow_uid: The flow whose transactional id is used: changes of one flow exclude each other.
            decide: Computes the changes from the committed records; called again with newer records after a conflict.
                If it returns no changes, nothing is written.

        Returns:
            The records after the change.

        Raises:
            Conflict: Others kept changing the records.
            KafkaError: The cluster refuses.
            ReplicatorError: Whatever `decide` raises.
        """
        async with self._changing:  # changes of one daemon would only fence each other
            return await self._change(state_transactional_id(flow_uid), decide)

    async def _change(
        self, transactional_id: str, decide: Callable[[Mapping[bytes, bytes]], list[Change]]
    ) -> Mapping[bytes, bytes]:
        backoff = Backoff(*_CONFLICT_PAUSE_SECONDS)
        for _ in range(_ROUNDS_MAX):
            identity = await init_producer_id(self._cluster, transactional_id)
            await self.read_to_end()
            changes = decide(self.records)
            if not changes:
                return self.records
            limit = self._batch_bytes_max
            try:
                await self._commit(transactional_id, identity, changes)
            except Conflict:
                if self._batch_bytes_max < limit:
                    continue
                await asyncio.sleep(backoff.next_seconds())
                continue
            await self.read_to_end()
            return self.records
        raise Conflict(
            f"the state of this flow on {STATE_TOPIC} could not be changed",
            why=f"others changed it first, {_ROUNDS_MAX} times",
            next_step="check that no more daemons run this flow than intended",
        )

    async def _commit(self, transactional_id: str, identity: ProducerIdentity, changes: Iterable[Change]) -> None:
        """Write changes in one transaction, however many batches that takes."""
        made = await self._in_parts(changes)
        transaction = Transaction(self._cluster, transactional_id, identity)
        await transaction.add(WHERE)
        sequence = 0
        for some in batches(made, self._batch_bytes_max):
            produced = await self._produce(_encode(some, identity, sequence), transactional_id)
            if classify_produce(produced.error) is not ProduceOutcome.ACCEPTED:
                break
            sequence += len(some)
        else:
            await transaction.end(commit=True)
            return
        # Abort even if the outcome is unknown: nothing of this may become visible later.
        await transaction.end(commit=False)
        refusal = await self.topic.broker_error("Produce", produced.error, produced.message)
        outcome = classify_produce(produced.error)
        if outcome is ProduceOutcome.TOO_LARGE and self._takes_less():
            raise Conflict(f"a change of {STATE_TOPIC} was too large for one batch", why=str(refusal))
        if outcome in {ProduceOutcome.REJECTED, ProduceOutcome.TOO_LARGE, ProduceOutcome.CORRUPT}:
            raise refusal
        raise Conflict(f"a change of {STATE_TOPIC} did not go through", why=produced.message)

    async def append(self, changes: Iterable[Change]) -> None:
        """Append without compare-and-set: for facts that only their holder writes. Repeats are harmless.

        If one batch is not enough, several are written: what is left after an interruption is true as well.

        Raises:
            KafkaError: It did not succeed.
        """
        left = list(changes)
        while left:
            made = await self._in_parts(left)
            for some in batches(made, self._batch_bytes_max):
                produced = await self._produce(_encode(some, None), None)
                if produced.error:
                    break
            else:
                return
            outcome = classify_produce(produced.error)
            if outcome is not ProduceOutcome.TOO_LARGE or not self._takes_less():
                raise await self.topic.broker_error("Produce", produced.error, produced.message)

    async def _in_parts(self, changes: Iterable[Change]) -> list[Change]:
        """Return the changes, with values too large for a batch cut into parts (in a thread, as that computes)."""
        changes = list(changes)
        limit, notes = self._batch_bytes_max, self._view.notes
        if notes or any(len(value or b"") >= limit >> 1 for _, value in changes):
            return await asyncio.to_thread(in_parts, changes, limit, dict(notes))
        return changes

    def _takes_less(self) -> bool:
        """Lower the limit after a batch was too large; return whether a smaller batch may be tried."""
        if self._batch_bytes_max <= BATCH_BYTES_MIN:
            return False
        self.learn_limit(self._batch_bytes_max >> 1)
        log.warning("state topic takes smaller batches", cluster=self._cluster.spec.alias, bytes=self._batch_bytes_max)
        return True

    async def _produce(self, batch: bytes, transactional_id: str | None) -> Produced:
        return await produce_by_name(await self.topic.connection(Purpose.CONTROL), WHERE, batch, transactional_id)


def _read(frame: Frame, header: BatchHeader, *, aborted: bool) -> Read:
    if header.is_control:
        return Read(header.base_offset, header.next_offset, ends=header.producer_id)
    if aborted or not header.record_count:
        return Read(header.base_offset, header.next_offset)
    producer_id = header.producer_id if header.attributes & TRANSACTIONAL_BIT else None
    bytes_max = header.size + max(0, header.record_count) * RECORD_BYTES + _EXPANSION_BYTES_MAX
    return Read(header.base_offset, header.next_offset, decode(frame.buffer, header, bytes_max), producer_id)


def _encode(changes: Iterable[Change], identity: ProducerIdentity | None, sequence: int = 0) -> bytes:
    now_ms = time.time_ns() // 1_000_000
    records = [NewRecord(now_ms, key, value) for key, value in changes]
    if identity is None:
        return encode(records)
    return encode(
        records,
        producer_id=identity.producer_id,
        producer_epoch=identity.producer_epoch,
        base_sequence=sequence,
        transactional=True,
    )
