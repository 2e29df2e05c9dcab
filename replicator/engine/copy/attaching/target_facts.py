"""Reads what the target reports about partitions: log ends, the last record, and the leader's producer state for us."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.core.copy.attaching.facts import OwnProducerState, Tail, TargetLog, Writer
from replicator.engine.logs.bounds import offsets_of, own_ends_of
from replicator.engine.logs.damage import target_read
from replicator.engine.logs.opening import content_at, last_offset
from replicator.engine.logs.reading import batches_between, last_data
from replicator.engine.logs.refusals import broker_error
from replicator.engine.logs.side import Side
from replicator.model.spec import Isolation
from replicator.obs.logs import get_logger
from replicator.wire.messages import control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.engine.copy.partitions.partition import Slot
    from replicator.model.names import TopicPartition
    from replicator.wire.transport.connection import Connection


_log = get_logger(__name__)

_COMMIT_POLLS, _COMMIT_PAUSE_SECONDS = 10, 0.05


async def target_logs(
    side: Side, connection: Connection, writer: Writer, slots: Sequence[Slot]
) -> dict[Slot, TargetLog]:
    """Read what one leader reports about the logs it leads.

    Raises:
        KafkaError: It refuses or cannot be reached; the caller tries again later.
    """
    wanted = [slot.target for slot in slots]
    starts = await offsets_of(connection, wanted, control.EARLIEST)
    ends = await offsets_of(connection, wanted, control.LATEST)
    producers = await control.describe_producers(connection, wanted)
    # Asked for after the producers: if the log end equals the end that clients see, nothing was appended in between.
    log_ends = await own_ends_of(side, connection, wanted)
    others_write = side.chooser is not None
    if others_write:
        ends = await _ends_beyond(connection, wanted, log_ends)
        log_ends = {where: max(end, ends[where]) for where, end in log_ends.items()}
    logs: dict[Slot, TargetLog] = {}
    for slot in slots:
        where = slot.target
        start, end = starts[where], ends[where]
        entry = _our_entry(connection, producers[where], where, writer) if producers is not None else None
        unreported = producers is None or is_unreported(slot, entry)
        wants_tail = end > start and not others_write
        with target_read(side, where):
            tail = await _tail(side, connection, slot, start, end, writer.producer_id) if wants_tail else None
        entry = None if unreported else entry
        logs[slot] = TargetLog(start, end, entry, tail, entry_known=not unreported, log_end=log_ends.get(where))
    return logs


def is_unreported(slot: Slot, entry: OwnProducerState | None) -> bool:
    """Return whether the leader remembers a sequence of ours that it does not report.

    A broker accepts any sequence of a producer that it does not know. A broker that claims not to know us, and then
    refuses the sequence that follows from that, does know more. Then the header of the tail has to serve instead, as it
    does if DescribeProducers is not offered.
    """
    if entry is not None and entry.last_sequence >= 0:
        return False
    if slot.copy.refused_at == slot.copy.acked_offset:
        # Each refusal counts once: it may have been about another daemon's batch, which a new leader has lost. If the
        # sequence taken from the log is refused as well, the leader's report is believed again.
        slot.copy.refused_at = -1
        slot.attach.unreported = not slot.attach.unreported
        if slot.attach.unreported:
            _log.warning(
                "the target refuses a sequence but reports none (DescribeProducers): its log is relied on instead",
                partition=str(slot.target),
                offset=slot.copy.acked_offset,
            )
    return slot.attach.unreported


async def _ends_beyond(
    connection: Connection, wanted: Sequence[TopicPartition], log_ends: dict[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Return the high watermarks of logs that others write to, once they have reached the log ends; or as they are.

    While anybody writes, the leader's log end is ahead of the high watermark. Any batch of ours above the high
    watermark was already in the log when the leader was asked for its end.
    """
    for _ in range(_COMMIT_POLLS):
        ends = await offsets_of(connection, wanted, control.LATEST)
        if all(end >= log_ends.get(where, end) for where, end in ends.items()):
            break
        await asyncio.sleep(_COMMIT_PAUSE_SECONDS)
    return ends


def _our_entry(
    connection: Connection,
    answer: tuple[int, tuple[control.ProducerEntry, ...]],
    where: TopicPartition,
    writer: Writer,
) -> OwnProducerState | None:
    code, entries = answer
    if code:
        raise broker_error(connection.cluster, "DescribeProducers", code, where.topic)
    for entry in entries:
        # A fence is a marker: it has no sequence, and batches under its epoch start at sequence 0 (ProducerAppendInfo).
        if entry.producer_id == writer.producer_id:
            return OwnProducerState(entry.producer_epoch, entry.last_sequence, entry.last_timestamp)
    return None


async def _tail(side: Side, connection: Connection, slot: Slot, start: int, end: int, producer_id: int) -> Tail | None:
    """Return the last data batch below `end`, whatever markers follow it.

    Compaction leaves an empty batch to keep a producer's last sequence: epoch and sequence are taken from that batch.
    """
    found = await last_data(side, connection, slot.target, start, end, compacted=slot.recorded.cleaning.possible)
    if found is None:
        return None
    header = found.header
    last = await last_offset(found.frame, header)
    kept = [each for each in found.empty if each.producer_id == producer_id]
    remembered = kept[-1] if kept else header
    return Tail(
        last,
        header.producer_id,
        remembered.producer_epoch,
        remembered.last_sequence,
        header.max_timestamp,
        await content_at(found.frame, header, last),
    )


async def own_tail(
    side: Side, connection: Connection, slot: Slot, log: TargetLog, writer: Writer, last_walked: int
) -> Tail | None:
    """Return our last batch in a log that others write to as well: the last that a walk saw, or the last of the map.

    If there is a batch of somebody else instead, the log has lost ours: then that batch is returned.
    """
    track = slot.copy.track
    if track is None:
        return await _tail(side, connection, slot, log.start, log.end, writer.producer_id)
    recorded = track.offsets.last_run_end.target - 1 if len(track.offsets) else -1
    last = recorded if last_walked < 0 else last_walked
    if last < log.start:
        return None
    async for frame, header, _ in batches_between(
        side, connection, slot.target, last, last + 1, isolation=Isolation.READ_UNCOMMITTED
    ):
        if header.is_control or not header.base_offset <= last < header.next_offset:
            continue
        content = await content_at(frame, header, last)
        return Tail(
            last, header.producer_id, header.producer_epoch, header.last_sequence, header.max_timestamp, content
        )
    return None
