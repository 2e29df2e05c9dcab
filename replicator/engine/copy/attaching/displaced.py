"""Finds out why a batch landed at a higher offset than necessary, and whether one did that nobody remembers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.core.copy.attaching.displaced import displaced_by
from replicator.core.copy.attaching.facts import Fault, Mapping, Remap, Tail, TailPosition, Writer
from replicator.core.copy.values import IN_FLIGHT_BATCHES_MAX
from replicator.core.offsets.offset_map import OffsetMap, OffsetPair
from replicator.core.offsets.pairing import reading_from
from replicator.engine.logs.bounds import offsets_of
from replicator.engine.logs.damage import target_read
from replicator.engine.logs.opening import Unopened, content_at, spans_in
from replicator.engine.logs.ranges.walking import Log, holds_record
from replicator.engine.logs.reading import LastData, batches_between, last_data
from replicator.engine.logs.side import Side
from replicator.errors import TooLargeToOpen
from replicator.model.spec import Isolation
from replicator.wire.messages import control

if TYPE_CHECKING:
    from replicator.engine.copy.partitions.partition import Slot


async def what_displaced(target: Side, writer: Writer, slot: Slot, place: OffsetPair) -> Remap | Fault | None:
    """Return what displaced a batch: markers of a fill that was thought to be over, or somebody else's records.

    None if nothing has to be recorded about it, or if no batch of ours starts at that place, whatever its produce
    response said: then an attach finds out where the batch is.

    Raises:
        KafkaError: The target cannot be read now; try again later.
        CorruptRecords: What the target returned is damaged.
    """
    connection = await target.cluster.leader_connection(slot.target)
    mapped = slot.copy.track is not None and slot.copy.track.mapped
    with target_read(target, slot.target):
        end = (await offsets_of(connection, [slot.target], control.LATEST))[slot.target]
        if place.target >= end:
            return None
        start = (await offsets_of(connection, [slot.target], control.EARLIEST))[slot.target]
        # What retention has deleted meanwhile can never be read, so the reading begins at the log start. If retention
        # deleted the batch as well, its produce response is the only witness, and is believed: without it, the copy
        # would continue in an empty log at the wrong offset.
        begin, stands_there = max(slot.copy.target_end, start), start > place.target
        unseen = start > slot.copy.target_end
        async for _, header, _ in batches_between(
            target, connection, slot.target, begin, place.target + 1, isolation=Isolation.READ_UNCOMMITTED
        ):
            if header.is_control:
                continue
            # There may also be batches of ours before the place: those acknowledged after the episode had ended.
            if header.producer_id == writer.producer_id:
                stands_there |= header.base_offset == place.target
            elif header.base_offset < place.target:
                return displaced_by((header.producer_id, header.base_offset), place, mapped=mapped)
    return displaced_by(None, place, mapped=mapped, unseen=unseen) if stands_there else None


async def tail_position_of(
    source: Log, target: Log, slot: Slot, tail: Tail | None, mapping: Mapping | None
) -> TailPosition:
    """Return whether the last record of a target log is where its map says.

    The question comes up if the source has no record to compare it with. Either a cleaner has taken that record; or the
    target's last record is the copy of another one, landed at a higher offset than necessary, and the daemon that got
    the produce response died before it recorded the difference. In the second case surplus markers precede the record
    on the target, and the source has a different record at its offset, or a record at an offset of those markers. No
    more batches than were in flight can follow such markers.
    The question does not come up below the source's start, which retention has moved, nor in a mapped log, where
    records are counted.

    Args:
        source: The source's log.
        target: The target's log.
        slot: The partition.
        tail: The target's last record.
        mapping: What is known about where that record belongs.

    Raises:
        KafkaError: A log cannot be read now; try again later.
        CorruptRecords: What a broker returned is damaged.
    """
    mapping = mapping or Mapping(None, mapped=False, tail_source=tail.last_offset if tail is not None else None)
    if tail is None or mapping.mapped or mapping.tail_source is None or mapping.tail_source < source.start:
        return TailPosition.AS_RECORDED
    begin = mapping.judged_from if mapping.compared_from is None else mapping.compared_from
    return await _tail_position(source, replace(target, start=max(target.start, begin), end=tail.last_offset + 1), slot)


async def _tail_position(source: Log, target: Log, slot: Slot) -> TailPosition:
    offsets = slot.copy.track.offsets if slot.copy.track is not None else OffsetMap(OffsetPair(0, 0))
    start, upper = max(target.start, offsets.begin.target), target.end
    hidden = False
    for _ in range(IN_FLIGHT_BATCHES_MAX + 1):
        with target_read(target.side, target.where):
            found = await last_data(
                target.side, target.connection, target.where, start, upper, compacted=target.compacted
            )
            markers = await _markers(target, start if found is None else found.header.next_offset, upper)
        for first, end in markers:
            begin, until = offsets.straight_to_source(first), offsets.straight_to_source(end)
            if await holds_record(source, max(begin, source.start), until):
                return TailPosition.FURTHER_ON
            hidden |= reading_from(OffsetPair(begin, first), source.given_up) < min(until, source.start)
        if found is None:
            break
        is_equal = await _is_equal(found, offsets.straight_to_source(found.header.base_offset), source, target.end)
        if is_equal is False:
            return TailPosition.FURTHER_ON
        if is_equal:  # then nothing before this batch has displaced anything
            break
        upper = found.header.base_offset
    return TailPosition.UNPROVEN if hidden else TailPosition.AS_RECORDED


async def _markers(log: Log, begin: int, end: int) -> list[tuple[int, int]]:
    """Return the ranges, (from, to), in which a log holds markers; a cleaner may have taken some of its records."""
    markers: list[tuple[int, int]] = []
    async for _, header, _ in batches_between(
        log.side, log.connection, log.where, begin, end, isolation=Isolation.READ_UNCOMMITTED, compacted=log.compacted
    ):
        if not header.is_control:
            continue
        first = markers.pop()[0] if markers and markers[-1][1] == header.base_offset else header.base_offset
        markers.append((first, header.next_offset))
    return markers


async def _is_equal(found: LastData, begin: int, source: Log, target_end: int) -> bool | None:
    """Return whether the source, from an offset on, has the records of a target batch; None if it has none there.

    One record of each source batch is compared, which is enough.
    """
    shift = found.header.base_offset - begin
    begin, end = max(begin, source.start), min(found.header.next_offset, target_end) - shift
    is_equal = None
    async for frame, header, aborted in batches_between(
        source.side,
        source.connection,
        source.where,
        begin,
        end,
        isolation=source.isolation,
        compacted=source.compacted,
    ):
        if header.is_control:
            return False
        with suppress(TooLargeToOpen):
            spans = await spans_in(frame, header, begin, end, aborted=aborted, given_up=source.given_up)
            if not spans:
                continue
            last = sum(spans[-1]) - 1
            there = await content_at(frame, header, last)
            here = await content_at(found.frame, found.header, last + shift)
            if there == here:
                is_equal = True
            elif here is not None and not isinstance(there, Unopened) and not isinstance(here, Unopened):
                return False
    return is_equal
