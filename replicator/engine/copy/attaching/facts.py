"""Reads the facts of the attach table from both clusters (the decision is `core.copy.attaching.attach`)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from replicator.core.copy.attaching.facts import Mapping, SourceLog, TailPosition, TargetLog, Writer
from replicator.core.offsets.offset_map import OffsetPair
from replicator.engine.copy.attaching.displaced import tail_position_of
from replicator.engine.copy.attaching.target_facts import own_tail, target_logs
from replicator.engine.copy.partitions.live_maps import last_source, mapping_of, stepped_back
from replicator.engine.logs.bounds import offsets_of, own_ends_of
from replicator.engine.logs.damage import target_read
from replicator.engine.logs.opening import Unopened, content_at, spans_in
from replicator.engine.logs.ranges.walking import Log, Walked, walk
from replicator.engine.logs.reading import batches_between
from replicator.engine.logs.refusals import broker_error
from replicator.engine.logs.side import Side
from replicator.errors import TooLargeToOpen
from replicator.model.batch import MAGIC_V2
from replicator.model.spec import Isolation
from replicator.obs.logs import get_logger
from replicator.wire.cluster import Purpose
from replicator.wire.messages import control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.engine.copy.partitions.partition import Slot
    from replicator.model.names import TopicPartition
    from replicator.wire.transport.connection import Connection


_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AttachFacts:
    """What was read about one partition."""

    target: TargetLog
    source: SourceLog
    mapping: Mapping | None = None


class _Bounds(NamedTuple):
    """The source's log: its start, the end that is read up to, and its high watermark."""

    start: int
    end: int
    high_watermark: int


class _View(NamedTuple):
    """What the source has at the place where the target ends.

    `content` is the record that the target's last record is a copy of. `epoch` is the leader epoch of the last batch
    before the place where the target ends. `unfilled` is the offset of the first record that should have been copied
    and was not, although the target continues beyond it. `cleaned` means that a cleaner certainly took the record that
    `content` would be: its batch is there without it, or the log ends in a hole there. Nothing else leaves such a log.
    """

    content: object | None
    epoch: int
    unfilled: int | None
    cleaned: bool = False


async def read_facts(
    source: Side, target: Side, writer: Writer, slots: Sequence[Slot], *, isolation: Isolation
) -> dict[Slot, AttachFacts]:
    """Read both logs of partitions that share one source leader and one target leader.

    The source is read with `isolation`.

    The order matters. The target's producer state is read before its tail, and both after its end, so that an append by
    another daemon in between shows up as a sequence that does not match, never as one that does. The source's start is
    read before the target and its end after it, never concurrently: if another daemon copies in the meantime, the
    target would otherwise seem to be below the source's start or above its end.

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
    logs = await target_logs(target, here, writer, slots)
    ends = await _source_ends(there, slots)
    empty = [slot.source for slot, (_, high_watermark, _) in ends.items() if 0 < starts[slot.source] >= high_watermark]
    own_ends = await own_ends_of(source, there, empty)
    sides = _Sides(source, there, target, here)
    facts: dict[Slot, AttachFacts] = {}
    for slot, log in logs.items():
        stable, high_watermark, epoch_end = ends[slot]
        end = stable if isolation is Isolation.READ_COMMITTED else high_watermark
        bounds = _Bounds(starts[slot.source], end, high_watermark)
        facts[slot] = await _facts_of(
            sides,
            writer,
            slot,
            log,
            bounds,
            epoch_end=epoch_end,
            own_end=own_ends.get(slot.source),
            isolation=isolation,
        )
    return facts


class _Sides(NamedTuple):
    """Both sides, each with the connection to the leader."""

    source: Side
    there: Connection
    target: Side
    here: Connection


async def _facts_of(
    sides: _Sides,
    writer: Writer,
    slot: Slot,
    log: TargetLog,
    bounds: _Bounds,
    *,
    epoch_end: int | None,
    own_end: int | None,
    isolation: Isolation,
) -> AttachFacts:
    """Return the facts of one partition whose bounds have been read."""
    source, there, target, here = sides
    walked = await _walk(source, there, target, here, slot, log, bounds, isolation=isolation)
    if target.chooser is not None:
        with target_read(target, slot.target):
            tail = await own_tail(target, here, slot, log, writer, walked.last_target)
        log = replace(log, tail=tail)
    mapping, view = await _mapping_and_view(source, there, slot, log, bounds, walked.place, isolation=isolation)
    tail_position, compacted = TailPosition.AS_RECORDED, slot.recorded.cleaning.possible
    if view.content is None and (view.cleaned or compacted):
        there_now = _source_log(source, there, slot, bounds, isolation=isolation, compacted=compacted)
        here_now = _target_log(target, here, slot, log.start, log.end)
        tail_position = await tail_position_of(there_now, here_now, slot, log.tail, mapping)
    seen = SourceLog(
        bounds.start,
        bounds.end,
        bounds.high_watermark,
        view.content,
        epoch_end,
        view.epoch,
        view.unfilled,
        compacted=compacted or view.cleaned,
        log_end=own_end,
        tail_position=tail_position,
    )
    return AttachFacts(log, seen, mapping)


async def _mapping_and_view(
    source: Side,
    there: Connection,
    slot: Slot,
    log: TargetLog,
    bounds: _Bounds,
    place: OffsetPair | None,
    *,
    isolation: Isolation,
) -> tuple[Mapping | None, _View]:
    """Return how the target's end maps to the source, and what the source holds there."""
    mapping = mapping_of(slot, log.end, place, log.tail.last_offset if log.tail is not None else None)
    view = await _source_view(source, there, slot, log, bounds, mapping, isolation=isolation)
    if view.unfilled is None or mapping is None or not mapping.mapped:
        return mapping, view
    mapping = stepped_back(slot, mapping, log.end)
    return mapping, await _source_view(source, there, slot, log, bounds, mapping, isolation=isolation)


async def _walk(
    source: Side,
    there: Connection,
    target: Side,
    here: Connection,
    slot: Slot,
    log: TargetLog,
    bounds: _Bounds,
    *,
    isolation: Isolation,
) -> Walked:
    """Extend the map to the target's end, if offsets are mapped."""
    track = slot.copy.track
    if track is None or not track.mapped:
        return Walked(None)
    return await walk(
        track.offsets,
        _source_log(source, there, slot, bounds, isolation=isolation),
        _target_log(target, here, slot, log.start, log.end),
    )


def _source_log(
    side: Side, connection: Connection, slot: Slot, bounds: _Bounds, *, isolation: Isolation, compacted: bool = False
) -> Log:
    return Log(
        side,
        connection,
        slot.source,
        bounds.start,
        bounds.end,
        isolation,
        slot.copy.reading.missing.given_up,
        compacted,
    )


def _target_log(side: Side, connection: Connection, slot: Slot, start: int, end: int) -> Log:
    return Log(side, connection, slot.target, start, end, isolation=Isolation.READ_UNCOMMITTED)


async def _source_ends(connection: Connection, slots: Sequence[Slot]) -> dict[Slot, tuple[int, int, int | None]]:
    """Return (last stable offset, high watermark, end of the stored epoch) of each partition."""
    wanted = [slot.source for slot in slots]
    stable = await offsets_of(connection, wanted, control.LATEST, isolation=Isolation.READ_COMMITTED)
    ends = await offsets_of(connection, wanted, control.LATEST)
    stored = {slot.source: slot.recorded.stored_epoch for slot in slots if slot.recorded.stored_epoch >= 0}
    epochs = await control.epoch_ends(connection, stored) if stored else {}
    out: dict[Slot, tuple[int, int, int | None]] = {}
    for slot in slots:
        code, _, end = epochs.get(slot.source, (0, -1, -1))
        if code:
            raise broker_error(connection.cluster, "OffsetForLeaderEpoch", code, slot.source.topic)
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
    isolation: Isolation,
) -> _View:
    """Read what the source has where the target ends: at the offset of its last record, and after it."""
    last = log.tail.last_offset if log.tail is not None else log.start - 1
    upper = log.end
    mapped = mapping is not None and mapping.mapped
    if mapping is not None:
        place = mapping.place or OffsetPair(bounds.start, log.end)
        last = last_source(slot, mapping, log.start)
        upper = place.source if mapped else max(place.source, log.end)
    begin, end = max(last, bounds.start), min(upper, bounds.high_watermark)
    content: object | None = None
    cleaned = False
    epoch, reached = -1, begin
    # Only up to what may be read: if uncommitted records were copied before, the target may be above the last stable
    # offset.
    async for frame, header, aborted in batches_between(
        side,
        connection,
        slot.source,
        begin,
        min(end, bounds.end),
        isolation=isolation,
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
    # Nothing shows the epoch of offsets that the cleaner took: it may be later than that of the batch before them.
    return _View(_comparable(slot, log, content), epoch if reached >= end else -1, None, cleaned)


def _comparable(slot: Slot, log: TargetLog, content: object | None) -> object | None:
    """Return the source's counterpart of the target's last record, if the two can be compared.

    Raises:
        TooLargeToOpen: One of the two batches can be opened, and the other cannot.
    """
    if content is None or log.tail is None or isinstance(content, Unopened) is isinstance(log.tail.content, Unopened):
        return content
    raise TooLargeToOpen(
        f"the last record of {slot.target} cannot be compared with the source's",
        why="one of the two is in a batch that takes too much memory to open, and the other is not",
        next_step=f"compare them by hand; `replicator mirror resolve FLOW {slot.source.topic} --how accept` retries",
    )


def _believed_epoch(side: Side, where: TopicPartition, epoch: int) -> int:
    """Return a batch's leader epoch, or -1 if it is above its leader's, because no checksum covers it.

    The first fetch would send that epoch to the source, which would refuse this fetch and all later ones.
    """
    leader = side.cluster.leader(where)
    return -1 if leader is not None and 0 <= leader.epoch < epoch else epoch
