"""Reads the facts of the attach table from both clusters (the decision is `core.attach`)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.core.attach import Entry, SourceLog, Tail, TargetLog, Writer
from replicator.errors import BrokerRefused, CorruptRecords, KafkaError, ProtocolError
from replicator.model.batch import BatchHeader
from replicator.wire import control
from replicator.wire.batch import scan
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.faults import refused
from replicator.wire.fetch import Fetched, FetchSession, Wanted
from replicator.wire.records import decode
from replicator.wire.versions import FETCH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.engine.slot import Slot
    from replicator.model.names import TopicPartition
    from replicator.wire.connection import Connection
    from replicator.wire.frames import Frame

_TAIL_STEPS_MAX = 1000
"""Control batches stepped over at the end of a target log before giving up: a fence or two is usual."""
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read of one partition."""

    target: TargetLog
    source: SourceLog


@dataclass(frozen=True, slots=True)
class Side:
    """One cluster, and the topic ids that are meant there: those of the mirror records, not of today's names."""

    cluster: Cluster
    topic_ids: dict[str, bytes]


async def read_facts(source: Side, target: Side, writer: Writer, slots: Sequence[Slot]) -> dict[Slot, Facts]:
    """Read both logs of partitions that share one source leader and one target leader.

    The order matters: the target's producer state is read before the tail, and both after its end, so that an
    append of another daemon in between shows as a sequence that does not match, never as one that does.
    The source's end is read after the target's, never beside it: another daemon that copies meanwhile would make the
    target seem to be ahead of its source.

    Raises:
        KafkaError: A broker refuses or cannot be reached; the caller tries again later.
    """
    leaders = source.cluster.leader(slots[0].source), target.cluster.leader(slots[0].target)
    if leaders[0] is None or leaders[1] is None:
        return {}
    there, here = await asyncio.gather(
        source.cluster.connection(leaders[0].node, Purpose.CONTROL),
        target.cluster.connection(leaders[1].node, Purpose.CONTROL),
    )
    logs = await _target_logs(target, here, writer, slots)
    ends = await _source_ends(there, slots)
    facts: dict[Slot, Facts] = {}
    for slot, log in logs.items():
        content = await _source_content(source, there, slot, log, ends[slot])
        start, end, high_watermark, epoch_end = ends[slot]
        facts[slot] = Facts(log, SourceLog(start, end, high_watermark, content, epoch_end))
    return facts


# -- the target ---------------------------------------------------------------------------------------------------


async def _target_logs(
    side: Side, connection: Connection, writer: Writer, slots: Sequence[Slot]
) -> dict[Slot, TargetLog]:
    wanted = [slot.target for slot in slots]
    starts = await _offsets(connection, wanted, control.EARLIEST, committed=False)
    ends = await _offsets(connection, wanted, control.LATEST, committed=False)
    producers = await control.describe_producers(connection, wanted)
    logs: dict[Slot, TargetLog] = {}
    for slot in slots:
        where = slot.target
        start, end = starts[where], ends[where]
        entry = _our_entry(connection, producers[where], where, writer) if producers is not None else None
        tail = await _tail(side, connection, where, start, end) if end > start else None
        logs[slot] = TargetLog(start, end, entry, tail, entry_known=producers is not None)
    return logs


def _our_entry(
    connection: Connection,
    answer: tuple[int, tuple[control.ProducerEntry, ...]],
    where: TopicPartition,
    writer: Writer,
) -> Entry | None:
    code, entries = answer
    if code:
        raise refused(connection.cluster, "DescribeProducers", code, where.topic)
    for entry in entries:
        if entry.producer_id == writer.producer_id and entry.last_sequence >= 0:
            return Entry(entry.producer_epoch, entry.last_sequence, entry.last_timestamp)
    return None


async def _tail(side: Side, connection: Connection, where: TopicPartition, start: int, end: int) -> Tail | None:
    """Return the last data batch below `end`, stepping back over control batches."""
    position = end - 1
    for _ in range(_TAIL_STEPS_MAX):
        frame, headers = await read_batches(side, connection, where, position)
        below = [header for header in headers if header.base_offset <= position and header.base_offset < end]
        if not below:
            return None
        header = below[-1]
        if header.is_control or header.record_count <= 0:
            position = header.base_offset - 1
            if position < start:
                return None
            continue
        last = decode(frame.buffer, header)[-1]
        return Tail(
            last.offset,
            header.producer_id,
            header.producer_epoch,
            header.last_sequence,
            header.max_timestamp,
            last.content,
        )
    raise CorruptRecords(f"{where} of the target ends in more than {_TAIL_STEPS_MAX} control batches")


# -- the source ---------------------------------------------------------------------------------------------------


async def _source_ends(connection: Connection, slots: Sequence[Slot]) -> dict[Slot, tuple[int, int, int, int | None]]:
    """Return (start, last stable offset, high watermark, end of the stored epoch) of each partition."""
    wanted = [slot.source for slot in slots]
    starts = await _offsets(connection, wanted, control.EARLIEST, committed=False)
    stable = await _offsets(connection, wanted, control.LATEST, committed=True)
    ends = await _offsets(connection, wanted, control.LATEST, committed=False)
    stored = {slot.source: slot.stored_epoch for slot in slots if slot.stored_epoch >= 0}
    epochs = await control.epoch_ends(connection, stored) if stored else {}
    out: dict[Slot, tuple[int, int, int, int | None]] = {}
    for slot in slots:
        code, _, end = epochs.get(slot.source, (0, -1, -1))
        if code:
            raise refused(connection.cluster, "OffsetForLeaderEpoch", code, slot.source.topic)
        where = slot.source
        out[slot] = (starts[where], stable[where], ends[where], end if end >= 0 else None)
    return out


async def _source_content(
    side: Side, connection: Connection, slot: Slot, log: TargetLog, ends: tuple[int, int, int, int | None]
) -> object | None:
    """Return the source's record at the target tail's last offset, or None where it has none there (any more)."""
    if log.tail is None or not ends[0] <= log.tail.last_offset < ends[2]:
        return None
    offset = log.tail.last_offset
    frame, headers = await read_batches(side, connection, slot.source, offset)
    for header in headers:
        if header.base_offset <= offset < header.next_offset and not header.is_control and header.magic > 1:
            for record in decode(frame.buffer, header):
                if record.offset == offset:
                    return record.content
    return None


# -- both ---------------------------------------------------------------------------------------------------------


async def _offsets(
    connection: Connection, wanted: Sequence[TopicPartition], timestamp: int, *, committed: bool
) -> dict[TopicPartition, int]:
    answers = await control.list_offsets(connection, wanted, timestamp, committed=committed)
    out: dict[TopicPartition, int] = {}
    for where in wanted:
        answer = answers.get(where)
        if answer is None:
            raise ProtocolError(f"no offset of {where} in the answer", cluster=connection.cluster.alias)
        if answer.error:
            raise refused(connection.cluster, "ListOffsets", answer.error, where.topic)
        out[where] = answer.value
    return out


async def read_batches(
    side: Side, connection: Connection, where: TopicPartition, offset: int, *, committed: bool = False
) -> tuple[Frame, list[BatchHeader]]:
    """Read once from `offset`, without a session; return the frame and the whole batches in it.

    Raises:
        KafkaError: The broker refuses.
        CorruptRecords: Its answer cannot be read.
    """
    frame, fetched = await read_once(side, connection, where, offset, committed=committed)
    return frame, scan(frame.buffer, fetched.start, fetched.end)


async def read_once(
    side: Side,
    connection: Connection,
    where: TopicPartition,
    offset: int,
    *,
    committed: bool = False,
    wait_ms: int = 0,
) -> tuple[Frame, Fetched]:
    """Do one fetch without a session.

    Raises:
        KafkaError: The broker refuses.
    """
    version = connection.versions.fetch
    session = FetchSession(version, int(committed), side.topic_ids, ask_anew=True)
    body = session.request(
        {where: Wanted(offset, -1, -1, _READ_BYTES)}, wait_ms=wait_ms, bytes_min=1, bytes_max=_READ_BYTES
    )
    done: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

    def on_answer(frame: Frame | None, error: KafkaError | None) -> None:
        if done.done():
            return
        if frame is not None:
            done.set_result(frame)
        elif error is not None:
            done.set_exception(error)

    connection.send(FETCH, version, [body], len(body), on_answer)
    frame = await done
    code, partitions = session.answer(frame.buffer, frame.size)
    if not code and partitions:
        code = partitions[0].error
    if code or not partitions:
        raise _read_refused(connection, code, where)
    return frame, partitions[0]


def _read_refused(connection: Connection, code: int, where: TopicPartition) -> KafkaError:
    if code:
        return refused(connection.cluster, "Fetch", code, where.topic)
    return BrokerRefused(
        f"no answer for {where}", cluster=connection.cluster.alias, code=0, api="Fetch", retryable=True
    )
