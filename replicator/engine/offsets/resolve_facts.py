"""Reads the facts for a resolution: both logs of each partition, and what their records prove."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from replicator.core.copy.reading.doubt import ResponseBounds
from replicator.core.offsets.map_view import IDENTICAL, MapView
from replicator.core.offsets.offset_map import OffsetPair
from replicator.core.offsets.resolution import ResolutionSnapshot
from replicator.engine.logs.opening import opened
from replicator.engine.logs.ranges.matching import (
    Match,
    after_ours,
    common_end,
    copied_end,
    equal_from,
    repeated_start,
    settled,
)
from replicator.engine.logs.ranges.walking import Log, open_log
from replicator.engine.logs.reading import ends_in_hole, nothing_returned, read_batches
from replicator.errors import CorruptRecords, TooLargeToOpen
from replicator.model.batch import MAGIC_V2
from replicator.model.names import TopicPartition
from replicator.model.operations.resolution import FROM_SCRATCH, How, ResolutionOrder
from replicator.model.spec import Isolation
from replicator.model.status.states import Reason
from replicator.obs.logs import get_logger
from replicator.wire.batches.batch import prove
from replicator.wire.batches.recode import open_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicator.engine.copy.copier import Copier
    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.engine.topics.mirror import Mirror
    from replicator.model.batch import BatchHeader
    from replicator.wire.frames import Frame

_READS_MAX = 64
"""The number of 1 MiB fetches in which an uncopyable batch is searched for: more than one response can hold."""
_MENDED = (-1, -1)
_EPOCH = -2
"""In place of a first offset: the only thing wrong with the batch is its leader epoch."""
_BY_BATCH = frozenset({Reason.RECORD_TOO_LARGE, Reason.CORRUPT_BATCH, Reason.BATCH_TOO_LARGE})

log = get_logger(__name__)


class FactFinder:
    """Reads the facts about the mirrors of one flow."""

    def __init__(self, pump: Copier) -> None:
        self._pump = pump

    async def logs(self, mirror: Mirror, number: int) -> tuple[Log | None, Log | None]:
        """Return both logs of a partition as they are now; None for one that does not exist."""
        pump = self._pump
        origin, where = TopicPartition(mirror.topic, number), TopicPartition(mirror.target_topic, number)
        compacted = mirror.compacted
        there = await open_log(pump.source, origin, isolation=pump.context.isolation, compacted=compacted)
        return there, await open_log(pump.target, where, isolation=Isolation.READ_UNCOMMITTED, compacted=compacted)

    async def of(self, mirror: Mirror, order: ResolutionOrder, *, adopts: bool) -> list[ResolutionSnapshot]:
        """Return the facts of the partitions that the order means."""
        source = await self._pump.source.cluster.describe(mirror.topic)
        await self._pump.target.cluster.describe(mirror.target_topic)
        count = max(mirror.partitions, source.partition_count if source is not None else 0)
        # A topic is deleted, and adopted, as a whole, whichever of its partitions are stopped.
        whole = order.how in FROM_SCRATCH or adopts
        wanted = order.partitions if order.partitions and not whole else range(count)
        return [await self._facts_of(mirror, number, order.how) for number in wanted]

    async def _facts_of(self, mirror: Mirror, number: int, how: How) -> ResolutionSnapshot:
        slot = self._pump.partitions.get(TopicPartition(mirror.topic, number))
        there, here = await self.logs(mirror, number)
        reason = mirror.fault.reason if mirror.fault is not None else None
        if reason is None and slot is not None and slot.copy.is_faulted():
            reason = slot.copy.reason
        if how is How.ACCEPT and reason is Reason.FOREIGN_WRITER and here is None:
            reason = None  # the topic has fewer partitions than the source: this one is created and starts as any other
        place = self._place(slot, here, ours=number in mirror.active)
        found, equal = Match(None), None
        if how is How.ACCEPT and there is not None and here is not None:
            found, equal = await self._proven(mirror, slot, reason, there, here)
        batch = await self._batch(slot, there) if how is How.SKIP and reason in _BY_BATCH else None
        only_epoch = batch is not None and batch[0] == _EPOCH
        return ResolutionSnapshot(
            number,
            reason,
            source_start=there.start if there else None,
            source_end=there.end if there else None,
            target_start=here.start if here else None,
            target_end=here.end if here else None,
            place=place,
            found=found.place,
            unproven=found.why if found.place is None else "",
            equal_from=equal,
            batch=None if batch is _MENDED or only_epoch else batch,
            compacted=mirror.compacted,
            mended=batch is _MENDED and reason is Reason.CORRUPT_BATCH,
            epochs_end=batch[1] if batch is not None and only_epoch else 0,
        )

    def _place(self, slot: PartitionView | None, here: Log | None, *, ours: bool) -> OffsetPair | None:
        if here is None or not ours:
            return None
        track = slot.copy.track if slot is not None else None
        if track is None:
            return OffsetPair(here.end, here.end)
        if self._pump.context.origins is not None:
            return OffsetPair(track.offsets.last_run_end.source, here.end)
        if track.mapped:
            end = track.offsets.end
            return end if end.target == here.end else None
        return OffsetPair(track.offsets.straight_to_source(here.end), here.end)

    async def _proven(
        self, mirror: Mirror, slot: PartitionView | None, reason: Reason | None, there: Log, here: Log
    ) -> tuple[Match, int | None]:
        """Return the place that the records prove, and the offset from which both logs are equal at equal offsets.

        Only decided records count: above the last stable offset of either log, a transaction is open.
        """
        if there.isolation is Isolation.READ_COMMITTED:
            there = await settled(there)
        decided = await settled(here)
        if decided.end < here.end:
            return Match(None, "a transaction is open on the target: its outcome is not known yet"), None
        found = await self._found(mirror, slot, reason, there, decided)
        if found.place is None or found.place.source != found.place.target:
            return found, None
        return found, await equal_from(there, decided, found.place.target)

    async def _found(
        self, mirror: Mirror, slot: PartitionView | None, reason: Reason | None, there: Log, here: Log
    ) -> Match:
        """Return the place where a partition may provably continue, or why none is proven."""
        if reason is None:
            return Match(None)
        to_source = _to_source(slot)
        found = Match(None)
        if reason is Reason.SOURCE_TRUNCATED:
            found = await common_end(there, here, to_source)
        elif reason is Reason.SOURCE_RECREATED:
            found = await copied_end(there, here)
            if found.place is None and not found.ambiguous:
                found = await repeated_start(there, here)
        elif reason is Reason.FOREIGN_WRITER and here.where.partition in mirror.active:
            found = await after_ours(there, here, self._pump.context.writers.flow.producer_id, to_source)
        elif reason in {Reason.FOREIGN_WRITER, Reason.CONTENT_MISMATCH, Reason.OTHER_OWNER}:
            found = await copied_end(there, here)
            if found.place is None and reason is Reason.CONTENT_MISMATCH:
                found = await common_end(there, here, to_source)
        if found.place is None and found.why:
            log.warning("no place proven", partition=str(here.where), why=found.why)
        return found

    async def _batch(self, slot: PartitionView | None, there: Log | None) -> tuple[int, int] | None:
        """Return the first source batch from the partition's position on that cannot be copied.

        It need not lie at that position: what comes before it in the same response is dropped with it. Returns:

        - `_MENDED` if every batch that can have been in that response is sound by now: another replica leads, or only
          the response was damaged;
        - the recorded position of a batch that is too large to be opened;
        - `_EPOCH` and an offset if the first unsound batch is whole but claims a leader epoch above its leader's: what
          is in the log up to that offset may do so.
        """
        if slot is None or there is None or slot.copy.reason is Reason.BATCH_TOO_LARGE:
            return slot.blocking_batch.too_large if slot is not None else None
        position = max(slot.copy.acked_offset, there.start)
        leader = there.side.cluster.leader(there.where)
        edges = ResponseBounds(there.end, leader.epoch if leader is not None else -1, slot.recorded.epochs_unproven)
        for _ in range(_READS_MAX):
            try:
                frame, headers = await read_batches(there.side, there.connection, there.where, position)
            except CorruptRecords:
                return None
            if headers and headers[-1].base_offset > there.end:
                return None  # no batch can start there, and what cannot exist is not stepped over
            found = await _first_unsound(slot, frame, headers, position, edges)
            if found is not None:
                return found
            if not headers:
                if (
                    position >= there.end
                    or there.compacted
                    or await ends_in_hole(
                        there.side, there.where, position, there.end, isolation=Isolation.READ_UNCOMMITTED
                    )
                ):
                    return _MENDED
                raise nothing_returned(there.connection, there.where, position, there.end)
            position = max(position + 1, headers[-1].next_offset)
        return _MENDED


async def _first_unsound(
    slot: PartitionView, frame: Frame, headers: Sequence[BatchHeader], position: int, edges: ResponseBounds
) -> tuple[int, int] | None:
    """Return the first batch of a response that cannot be copied, as `FactFinder._batch` does; None for none."""
    large = slot.copy.reason is Reason.RECORD_TOO_LARGE
    bytes_max = min(slot.copy.limits.batch_bytes_max, (slot.blocking_batch.request_bytes or sys.maxsize) - 1)
    for header in headers:
        if not _is_meant(slot, header, position):
            continue
        if header.size > bytes_max if large else await _is_damaged(frame, header):
            return max(position, header.base_offset), max(position + 1, header.next_offset)
        if not large and edges.epoch_is_above(header) and not edges.ignores_epoch(header):
            return _EPOCH, max(edges.end, header.next_offset)
    return None


def _is_meant(slot: PartitionView, header: BatchHeader, position: int) -> bool:
    """Return whether a batch reaches beyond a position and was not given up already."""
    if header.magic == MAGIC_V2 and header.next_offset <= position:
        return False
    return not any(first <= header.base_offset < end for first, end in slot.mapping.given_up)


async def _is_damaged(frame: Frame, header: BatchHeader) -> bool:
    try:
        prove(frame.view, header)
        await opened(header, partial(open_batch, frame.view, header))
    except CorruptRecords:
        return True
    except TooLargeToOpen:
        return False  # its checksum is right
    return False


def _to_source(slot: PartitionView | None) -> Callable[[int], int]:
    track = slot.copy.track if slot is not None else None
    return (IDENTICAL if track is None else MapView(track.offsets, track.mapped)).to_source
