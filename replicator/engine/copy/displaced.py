"""Finds out why a batch landed further on than it had to, and whether one did of which nobody knows any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.copy.attach_facts import Fault, Remap, Writer
from replicator.core.copy.displaced import displaced_by
from replicator.core.copy.values import IN_FLIGHT_BATCHES_MAX
from replicator.core.offsets.offset_map import Place
from replicator.engine.logs.bounds import offsets_of
from replicator.engine.logs.damage import target_read
from replicator.engine.logs.reading import batches_between, last_data
from replicator.engine.logs.side import Side
from replicator.engine.logs.walking import Log, holds_record
from replicator.wire import control

if TYPE_CHECKING:
    from replicator.engine.copy.partition import Slot


async def what_displaced(target: Side, writer: Writer, slot: Slot, place: Place) -> Remap | Fault | None:
    """Return what a batch landed behind: markers of a fill that was thought to be over, or another's records.

    None where nothing has to be recorded of it; and where no batch of ours begins at that place, whatever the answer to
    its produce said: an attach finds where it is.

    Raises:
        KafkaError: The target cannot be read; later.
        CorruptRecords: What it gives cannot be read.
    """
    connection = await target.cluster.leader_connection(slot.target)
    mapped = slot.copy.track is not None and slot.copy.track.mapped
    with target_read(target, slot.target):
        end = (await offsets_of(connection, [slot.target], control.LATEST))[slot.target]
        if place.target >= end:
            return None
        start = (await offsets_of(connection, [slot.target], control.EARLIEST))[slot.target]
        # What retention took meanwhile is asked for in vain for ever. Where it took the batch as well, its answer is
        # the only witness: forgotten, an empty log would be gone on with at the wrong offset.
        begin, stands_there = max(slot.copy.target_end, start), start > place.target
        async for _, header, _ in batches_between(
            target, connection, slot.target, begin, place.target + 1, committed=False
        ):
            if header.is_control:
                continue
            # Ours may be before it too: of what was acknowledged after the episode had ended.
            if header.producer_id == writer.producer_id:
                stands_there |= header.base_offset == place.target
            elif header.base_offset < place.target:
                return displaced_by((header.producer_id, header.base_offset), place, mapped=mapped)
    return displaced_by(None, place, mapped=mapped) if stands_there else None


async def stands_further_on(source: Log, target: Log, slot: Slot) -> bool:
    """Return whether the last batches of a target log stand behind markers that are none of the source's.

    That is asked where the source has no record for the target's last one: a cleaner may have taken it, or the last one
    is a copy of a record further up, and whoever was told that it had landed there has died before it was recorded.
    Then the source has a record where the markers stand. No more batches than were in flight can stand behind them.

    Raises:
        KafkaError: A log cannot be read; later.
        CorruptRecords: What is given cannot be read.
    """
    upper = target.end
    with target_read(target.side, target.where):
        for _ in range(IN_FLIGHT_BATCHES_MAX + 1):
            found = await last_data(
                target.side, target.connection, target.where, target.start, upper, compacted=target.compacted
            )
            lower = target.start if found is None else found.header.next_offset
            # The first one may have markers behind it, and those stand for whatever the source has there.
            if lower < upper < target.end:
                break
            if found is None:
                return False
            upper = found.header.base_offset
        else:
            return False
    track = slot.copy.track
    begin, end = (
        (lower, upper)
        if track is None
        else (track.offsets.straight_to_source(lower), track.offsets.straight_to_source(upper))
    )
    return await holds_record(source, max(begin, source.start), end)
