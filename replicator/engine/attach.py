"""Reads the facts of the attach table from both clusters (the decision is `core.attach`)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.core.attach import Entry, SourceLog, Tail, TargetLog, Writer
from replicator.engine.access import refused
from replicator.errors import BrokerRefused, CorruptRecords, KafkaError, ProtocolError
from replicator.model.batch import BatchHeader
from replicator.wire import control
from replicator.wire.batch import scan
from replicator.wire.cluster import Cluster, Purpose
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
    The source's start is read before the target and its end after it, never beside it: another daemon that copies
    meanwhile would make the target seem to be behind the one or ahead of the other.

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
    starts = await _offsets(there, [slot.source for slot in slots], control.EARLIEST, committed=False)
    logs = await _target_logs(target, here, writer, slots)
    ends = await _source_ends(there, slots)
    facts: dict[Slot, Facts] = {}
    for slot, log in logs.items():
        start = starts[slot.source]
        end, high_watermark, epoch_end = ends[slot]
        content, epoch = await _source_content(source, there, slot, log, (start, high_watermark))
        facts[slot] = Facts(log, SourceLog(start, end, high_watermark, content, epoch_end, epoch))
    return facts


# -- the target ---------------------------------------------------------------------------------------------------


async def _target_logs(
    side: Side, connection: Connection, writer: Writer, slots: Sequence[Slot]
) -> dict[Slot, TargetLog]:
    wanted = [slot.target for slot in slots]
    starts = await _offsets(connection, wanted, control.EARLIEST, committed=False)
    ends = await _offsets(connection, wanted, control.LATEST, committed=False)
    log_ends = await _log_ends(side, connection, wanted)
    producers = await control.describe_producers(connection, wanted)
    logs: dict[Slot, TargetLog] = {}
    for slot in slots:
        where = slot.target
        start, end = starts[where], ends[where]
        entry = _our_entry(connection, producers[where], where, writer) if producers is not None else None
        tail = await _tail(side, connection, where, start, end, writer.producer_id) if end > start else None
        logs[slot] = TargetLog(start, end, entry, tail, entry_known=producers is not None, log_end=log_ends.get(where))
    return logs


async def _log_ends(side: Side, connection: Connection, wanted: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Return each leader's own log end, committed or not, where it can be had.

    A leader answers OffsetForLeaderEpoch of its present epoch with its log end (Kafka's LeaderEpochFileCache);
    ListOffsets would only tell the high watermark.
    """
    epochs: dict[TopicPartition, int] = {}
    for where in wanted:
        leader = side.cluster.leader(where)
        if leader is not None and leader.epoch >= 0:
            epochs[where] = leader.epoch
    if not epochs:
        return {}
    answers = await control.epoch_ends(connection, epochs)
    return {
        where: end for where, (code, epoch, end) in answers.items() if not code and epoch == epochs[where] and end >= 0
    }


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
        fenced = entry.producer_epoch != writer.producer_epoch  # a fence is a marker: it has no sequence
        if entry.producer_id == writer.producer_id and (fenced or entry.last_sequence >= 0):
            return Entry(entry.producer_epoch, entry.last_sequence, entry.last_timestamp)
    return None


async def _tail(
    side: Side, connection: Connection, where: TopicPartition, start: int, end: int, producer_id: int
) -> Tail | None:
    """Return the last data batch below `end`, stepping back over control batches.

    Compaction leaves an empty batch where it keeps a producer's last sequence: that sequence is taken from it.
    """
    position = end - 1
    last_sequence: int | None = None
    for _ in range(_TAIL_STEPS_MAX):
        frame, headers = await read_batches(side, connection, where, position)
        below = [header for header in headers if header.base_offset <= position and header.base_offset < end]
        if not below:
            return None
        header = below[-1]
        if header.is_control or header.record_count <= 0:
            if header.producer_id == producer_id and not header.is_control and last_sequence is None:
                last_sequence = header.last_sequence
            position = header.base_offset - 1
            if position < start:
                return None
            continue
        last = decode(frame.buffer, header)[-1]
        return Tail(
            last.offset,
            header.producer_id,
            header.producer_epoch,
            header.last_sequence if last_sequence is None else last_sequence,
            header.max_timestamp,
            last.content,
        )
    raise CorruptRecords(f"{where} of the target ends in more than {_TAIL_STEPS_MAX} control batches")


# -- the source ---------------------------------------------------------------------------------------------------


async def _source_ends(connection: Connection, slots: Sequence[Slot]) -> dict[Slot, tuple[int, int, int | None]]:
    """Return (last stable offset, high watermark, end of the stored epoch) of each partition."""
    wanted = [slot.source for slot in slots]
    stable = await _offsets(connection, wanted, control.LATEST, committed=True)
    ends = await _offsets(connection, wanted, control.LATEST, committed=False)
    stored = {slot.source: slot.stored_epoch for slot in slots if slot.stored_epoch >= 0}
    epochs = await control.epoch_ends(connection, stored) if stored else {}
    out: dict[Slot, tuple[int, int, int | None]] = {}
    for slot in slots:
        code, _, end = epochs.get(slot.source, (0, -1, -1))
        if code:
            raise refused(connection.cluster, "OffsetForLeaderEpoch", code, slot.source.topic)
        out[slot] = (stable[slot.source], ends[slot.source], end if end >= 0 else None)
    return out


async def _source_content(
    side: Side, connection: Connection, slot: Slot, log: TargetLog, bounds: tuple[int, int]
) -> tuple[object | None, int]:
    """Return the source's record at the target tail's last offset with its leader epoch; (None, -1) without one."""
    if log.tail is None or not bounds[0] <= log.tail.last_offset < bounds[1]:
        return None, -1
    offset = log.tail.last_offset
    frame, headers = await read_batches(side, connection, slot.source, offset)
    for header in headers:
        if header.base_offset <= offset < header.next_offset and not header.is_control and header.magic > 1:
            for record in decode(frame.buffer, header):
                if record.offset == offset:
                    return record.content, header.leader_epoch
    return None, -1


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
    frame = await connection.ask(FETCH, version, [body], len(body))
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
