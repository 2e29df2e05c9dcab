"""Reads the facts of the attach table from both clusters (the decision is `core.copy.attach`)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from replicator.core.copy.attach_facts import Entry, Mapping, SourceLog, Standing, Tail, TargetLog, Writer
from replicator.core.offsets.offset_map import Place
from replicator.engine.copy.displaced import standing_of
from replicator.engine.copy.live_maps import last_source, mapping_of, stepped_back
from replicator.engine.logs.bounds import offsets_of, own_ends_of
from replicator.engine.logs.damage import target_read
from replicator.engine.logs.opening import Unopened, content_at, last_offset, spans_in
from replicator.engine.logs.reading import batches_between, last_data
from replicator.engine.logs.refusals import refused
from replicator.engine.logs.side import Side
from replicator.engine.logs.walking import Log, Walked, walk
from replicator.errors import TooLargeToOpen
from replicator.model.batch import MAGIC_V2
from replicator.obs.logs import get_logger
from replicator.wire import control
from replicator.wire.cluster import Purpose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.engine.copy.partition import Slot
    from replicator.model.names import TopicPartition
    from replicator.wire.connection import Connection


_log = get_logger(__name__)

_COMMIT_LOOKS, _COMMIT_PAUSE_SECONDS = 10, 0.05


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read of one partition."""

    target: TargetLog
    source: SourceLog
    mapping: Mapping | None = None


class _Bounds(NamedTuple):
    """The source's log: its start, the end that is read up to, and its high watermark."""

    start: int
    end: int
    high_watermark: int


class _View(NamedTuple):
    """What the source has where the target ends.

    `content` is the record that the target's last one is a copy of, `epoch` the leader epoch of the last batch before
    the place where the target ends, `unfilled` the offset of the first record that has to be copied and was not, though
    the target goes on behind it. `cleaned` tells that a cleaner surely took the record that the content would be: its
    batch is there without it, or the log ends in a hole there. No other history of a log looks like that.
    """

    content: object | None
    epoch: int
    unfilled: int | None
    cleaned: bool = False


async def read_facts(
    source: Side, target: Side, writer: Writer, slots: Sequence[Slot], *, committed: bool
) -> dict[Slot, Facts]:
    """Read both logs of partitions that share one source leader and one target leader.

    With `committed` the source is seen as a reader of committed records sees it.

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
    starts = await offsets_of(there, [slot.source for slot in slots], control.EARLIEST)
    logs = await _target_logs(target, here, writer, slots)
    ends = await _source_ends(there, slots)
    empty = [slot.source for slot, (_, high_watermark, _) in ends.items() if 0 < starts[slot.source] >= high_watermark]
    own_ends = await own_ends_of(source, there, empty)
    facts: dict[Slot, Facts] = {}
    for slot, log in logs.items():
        stable, high_watermark, epoch_end = ends[slot]
        bounds = _Bounds(starts[slot.source], stable if committed else high_watermark, high_watermark)
        walked = await _walk(source, there, target, here, slot, log, bounds, committed=committed)
        if target.chooser is not None:
            with target_read(target, slot.target):
                tail = await _own_tail(target, here, slot, log, writer, walked.last_target)
            log = replace(log, tail=tail)  # noqa: PLW2901 - what a walk has found first
        mapping, view = await _mapping_and_view(source, there, slot, log, bounds, walked.place, committed=committed)
        standing, compacted = Standing.AS_RECORDED, slot.recorded.cleaning.possible
        if view.content is None and (view.cleaned or compacted):
            there_now = _source_log(source, there, slot, bounds, committed=committed, compacted=compacted)
            here_now = _target_log(target, here, slot, log.start, log.end)
            standing = await standing_of(there_now, here_now, slot, log.tail, mapping)
        facts[slot] = Facts(
            log,
            SourceLog(
                bounds.start,
                bounds.end,
                high_watermark,
                view.content,
                epoch_end,
                view.epoch,
                view.unfilled,
                compacted=compacted or view.cleaned,
                log_end=own_ends.get(slot.source),
                standing=standing,
            ),
            mapping,
        )
    return facts


async def _mapping_and_view(
    source: Side,
    there: Connection,
    slot: Slot,
    log: TargetLog,
    bounds: _Bounds,
    place: Place | None,
    *,
    committed: bool,
) -> tuple[Mapping | None, _View]:
    """Return where the target's end stands in terms of the source, and what the source holds there."""
    mapping = mapping_of(slot, log.end, place, log.tail.last_offset if log.tail is not None else None)
    view = await _source_view(source, there, slot, log, bounds, mapping, committed=committed)
    if view.unfilled is None or mapping is None or not mapping.mapped:
        return mapping, view
    mapping = stepped_back(slot, mapping, log.end)
    return mapping, await _source_view(source, there, slot, log, bounds, mapping, committed=committed)


async def _walk(
    source: Side,
    there: Connection,
    target: Side,
    here: Connection,
    slot: Slot,
    log: TargetLog,
    bounds: _Bounds,
    *,
    committed: bool,
) -> Walked:
    """Bring the map up to the target's end, where offsets are mapped."""
    track = slot.copy.track
    if track is None or not track.mapped:
        return Walked(None)
    return await walk(
        track.offsets,
        _source_log(source, there, slot, bounds, committed=committed),
        _target_log(target, here, slot, log.start, log.end),
    )


def _source_log(
    side: Side, connection: Connection, slot: Slot, bounds: _Bounds, *, committed: bool, compacted: bool = False
) -> Log:
    return Log(
        side,
        connection,
        slot.source,
        bounds.start,
        bounds.end,
        committed,
        slot.copy.reading.missing.given_up,
        compacted,
    )


def _target_log(side: Side, connection: Connection, slot: Slot, start: int, end: int) -> Log:
    return Log(side, connection, slot.target, start, end, committed=False)


# -- the target ---------------------------------------------------------------------------------------------------


async def _target_logs(
    side: Side, connection: Connection, writer: Writer, slots: Sequence[Slot]
) -> dict[Slot, TargetLog]:
    wanted = [slot.target for slot in slots]
    starts = await offsets_of(connection, wanted, control.EARLIEST)
    ends = await offsets_of(connection, wanted, control.LATEST)
    producers = await control.describe_producers(connection, wanted)
    # After the producers: an end that is still the one clients see shows that nothing was appended in between.
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
        untold = producers is None or _is_untold(slot, entry)
        looked_for = end > start and not others_write
        with target_read(side, where):
            tail = await _tail(side, connection, slot, start, end, writer.producer_id) if looked_for else None
        entry = None if untold else entry
        logs[slot] = TargetLog(start, end, entry, tail, entry_known=not untold, log_end=log_ends.get(where))
    return logs


def _is_untold(slot: Slot, entry: Entry | None) -> bool:
    """Return whether the leader remembers a sequence of ours that it does not tell.

    A broker takes any sequence of a producer that it knows nothing of. One that says so, and refuses the sequence that
    followed from it, knows more; then the tail's header has to serve, as where DescribeProducers is not offered.
    """
    if entry is not None and entry.last_sequence >= 0:
        return False
    if slot.copy.refused_at == slot.copy.acked_offset:
        # One refusal tells once: it may have been another daemon's batch that a new leader lost. If what the log tells
        # is refused as well, what the leader tells is believed again.
        slot.copy.refused_at = -1
        slot.attach.untold = not slot.attach.untold
        if slot.attach.untold:
            _log.warning(
                "the target refuses a sequence but reports none (DescribeProducers): its log is relied on instead",
                partition=str(slot.target),
                offset=slot.copy.acked_offset,
            )
    return slot.attach.untold


async def _ends_beyond(
    connection: Connection, wanted: Sequence[TopicPartition], log_ends: dict[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Return the ends of logs that others write to, once what stood in them is committed; or as far as it is.

    Such a leader's own end is ahead of the one that clients see for as long as anybody writes. What of ours may be
    among that was there when the leader was asked.
    """
    for _ in range(_COMMIT_LOOKS):
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
) -> Entry | None:
    code, entries = answer
    if code:
        raise refused(connection.cluster, "DescribeProducers", code, where.topic)
    for entry in entries:
        # A fence is a marker: without a sequence, and what follows under its epoch begins at 0 (ProducerAppendInfo).
        if entry.producer_id == writer.producer_id:
            return Entry(entry.producer_epoch, entry.last_sequence, entry.last_timestamp)
    return None


async def _tail(side: Side, connection: Connection, slot: Slot, start: int, end: int, producer_id: int) -> Tail | None:
    """Return the last data batch below `end`, whatever markers stand behind it.

    Compaction leaves an empty batch where it keeps a producer's last sequence: that sequence is taken from it.
    """
    found = await last_data(side, connection, slot.target, start, end, compacted=slot.recorded.cleaning.possible)
    if found is None:
        return None
    header = found.header
    last = await last_offset(found.frame, header)
    kept = [each.last_sequence for each in found.empty if each.producer_id == producer_id]
    return Tail(
        last,
        header.producer_id,
        header.producer_epoch,
        kept[-1] if kept else header.last_sequence,
        header.max_timestamp,
        await content_at(found.frame, header, last),
    )


async def _own_tail(
    side: Side, connection: Connection, slot: Slot, log: TargetLog, writer: Writer, last_walked: int
) -> Tail | None:
    """Return our last batch of a log that others write to as well: what a walk saw last, or where the map ends.

    A batch of somebody else that stands there shows that the log lost ours: then that one is returned.
    """
    track = slot.copy.track
    if track is None:
        return await _tail(side, connection, slot, log.start, log.end, writer.producer_id)
    recorded = track.offsets.last_run_end.target - 1 if len(track.offsets) else -1
    last = recorded if last_walked < 0 else last_walked
    if last < log.start:
        return None
    async for frame, header, _ in batches_between(side, connection, slot.target, last, last + 1, committed=False):
        if header.is_control or not header.base_offset <= last < header.next_offset:
            continue
        content = await content_at(frame, header, last)
        return Tail(
            last, header.producer_id, header.producer_epoch, header.last_sequence, header.max_timestamp, content
        )
    return None


# -- the source ---------------------------------------------------------------------------------------------------


async def _source_ends(connection: Connection, slots: Sequence[Slot]) -> dict[Slot, tuple[int, int, int | None]]:
    """Return (last stable offset, high watermark, end of the stored epoch) of each partition."""
    wanted = [slot.source for slot in slots]
    stable = await offsets_of(connection, wanted, control.LATEST, committed=True)
    ends = await offsets_of(connection, wanted, control.LATEST)
    stored = {slot.source: slot.recorded.stored_epoch for slot in slots if slot.recorded.stored_epoch >= 0}
    epochs = await control.epoch_ends(connection, stored) if stored else {}
    out: dict[Slot, tuple[int, int, int | None]] = {}
    for slot in slots:
        code, _, end = epochs.get(slot.source, (0, -1, -1))
        if code:
            raise refused(connection.cluster, "OffsetForLeaderEpoch", code, slot.source.topic)
        out[slot] = (stable[slot.source], ends[slot.source], end if end >= 0 else None)
    return out


async def _source_view(
    side: Side,
    connection: Connection,
    slot: Slot,
    log: TargetLog,
    bounds: _Bounds,
    mapping: Mapping | None,
    *,
    committed: bool,
) -> _View:
    """Read what the source has where the target ends: at the offset of its last record, and behind it."""
    last = log.tail.last_offset if log.tail is not None else log.start - 1
    upper = log.end
    mapped = mapping is not None and mapping.mapped
    if mapping is not None:
        place = mapping.place or Place(bounds.start, log.end)
        last = last_source(slot, mapping, log.start)
        upper = place.source if mapped else max(place.source, log.end)
    begin, end = max(last, bounds.start), min(upper, bounds.high_watermark)
    content: object | None = None
    cleaned = False
    epoch, reached = -1, begin
    # Up to what may be read: a copy that was made of uncommitted records may stand above what is committed.
    async for frame, header, aborted in batches_between(
        side,
        connection,
        slot.source,
        begin,
        min(end, bounds.end),
        committed=committed,
        compacted=slot.recorded.cleaning.possible,
    ):
        epoch, reached = _believed_epoch(side, slot.source, header.leader_epoch), header.next_offset
        if aborted or header.is_control or header.record_count == 0:
            continue
        if header.base_offset <= last < header.next_offset or header.magic < MAGIC_V2:
            found = await content_at(frame, header, last)
            content = content if found is None else found
            cleaned = content is None and header.magic == MAGIC_V2
        if header.next_offset > last + 1 and end > last + 1:
            spans = await spans_in(frame, header, last + 1, end, given_up=slot.copy.reading.missing.given_up)
            if spans:
                return _View(_comparable(slot, log, content), epoch, spans[0][0], cleaned)
    cleaned = cleaned or (content is None and reached <= last < min(end, bounds.end))
    # Of offsets that the cleaner took, nothing tells the epoch: it may be later than that of the batch before them.
    return _View(_comparable(slot, log, content), epoch if reached >= end else -1, None, cleaned)


def _comparable(slot: Slot, log: TargetLog, content: object | None) -> object | None:
    """Return what the source has where the target's last record is a copy of it, if the two can be compared.

    Raises:
        TooLargeToOpen: One of the two batches can be opened and the other one cannot.
    """
    if content is None or log.tail is None or isinstance(content, Unopened) is isinstance(log.tail.content, Unopened):
        return content
    raise TooLargeToOpen(
        f"the last record of {slot.target} cannot be compared with the source's",
        why="one of the two stands in a batch that takes too much memory to be opened, the other one does not",
        next_step=f"compare them by hand; `replicator mirror resolve FLOW {slot.source.topic} --how accept` tries anew",
    )


def _believed_epoch(side: Side, where: TopicPartition, epoch: int) -> int:
    """Return a batch's leader epoch, or -1 where it is above its leader's: no checksum covers it.

    The source would be told of it with the first fetch, and refuse every one.
    """
    leader = side.cluster.leader(where)
    return -1 if leader is not None and 0 <= leader.epoch < epoch else epoch
