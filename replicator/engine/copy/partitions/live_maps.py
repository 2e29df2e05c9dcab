"""Offset maps of one flow on `replicator.state`: read before each attach, changed by compare-and-set, kept in blocks.

The mirror record holds the beginning of a map, or the whole map if differences are few. Each of these differences is
recorded before anything is copied above it, so two daemons agree on it.
The map of a mapped partition continues from there in blocks, which the claim's holder simply appends. Blocks are facts
that the target acknowledged, so stale, late and duplicate blocks are still correct. What was not written yet is
recovered by walking both logs (`engine.logs.ranges.walking`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from replicator.aio.turns import Turns
from replicator.core.copy.attaching.facts import Mapping
from replicator.core.copy.track import Track
from replicator.core.offsets.offset_map import Block, OffsetMap, OffsetPair, pack, unpack_runs
from replicator.engine.state import records as state
from replicator.engine.state.topic.damage import read_record
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping as AnyMapping

    from replicator.core.copy.attaching.facts import Remap
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.state.topic.log import Change, StateLog
    from replicator.model.names import TopicPartition

_BLOCK_BITS = 24
_APPEND_BYTES_MAX = 100 << 10
"""Blocks of many partitions are written together, up to this size; only the last partition's may exceed it."""

log = get_logger(__name__)


class OffsetMaps:
    """The maps of one flow.

    Args:
        uid: The flow's uid.
        state_log: The state topic that holds them.
    """

    def __init__(self, uid: str, state_log: StateLog) -> None:
        self._uid = uid
        self._log = state_log
        self._parsed: dict[str, tuple[bytes, pb.MirrorRecord]] = {}
        self._written: dict[Slot, _Written] = {}

    # -- reading ------------------------------------------------------------------------------------------------

    def refresh(self, slot: Slot) -> bool:
        """Bring a partition's map up to date with the records, between two episodes; return whether it changed."""
        record = self._record(slot.target.topic)
        number = slot.source.partition
        found = record.maps[number] if record is not None and number in record.maps else None
        raw = found.SerializeToString(deterministic=True) if found is not None else b""
        before, is_known = slot.mapping.given_up, raw == slot.mapping.record
        slot.mapping.given_up = slot.copy.reading.missing.given_up = (
            given_up_of(record, number) if record is not None else ()
        )
        if is_known and slot.mapping.given_up == before:
            return False
        # What a walk found is forgotten, too: the walk may have counted records that had been given up by then.
        slot.mapping.record = raw
        if found is None:
            slot.copy.track, slot.mapping.judged_from, slot.mapping.compared_from = None, 0, 0
            return True
        offsets = restored(found.base)
        if found.mapped:
            offsets.restore(self._blocks(slot, found.generation))
        if not is_known:
            self._written[slot] = _Written(0, 0, offsets.end, offsets.end)
        slot.copy.track, slot.mapping.judged_from = Track(offsets, mapped=found.mapped), found.judged_from
        slot.mapping.compared_from = compared_from(found)
        return True

    async def read_to_end(self) -> None:
        """Read everything committed by now; `refresh` then returns for each partition whether its map changed.

        Raises:
            KafkaError: The state topic cannot be read.
        """
        await self._log.read_to_end()

    async def refresh_from_end(self, slot: Slot) -> bool:
        """Refresh a partition's map from everything committed by now; return whether it changed.

        Raises:
            KafkaError: The state topic cannot be read.
        """
        await self.read_to_end()
        if self.refresh(slot):
            return True
        track = slot.copy.track
        if track is None or not track.mapped:
            return False
        # Others may have written blocks since the map was read: they know what the logs no longer show.
        offsets = track.offsets
        before = offsets.end, offsets.known_beyond
        offsets.restore(self._blocks(slot, pb.PartitionMap.FromString(slot.mapping.record).generation))
        return (offsets.end, offsets.known_beyond) != before

    def _record(self, topic: str) -> pb.MirrorRecord | None:
        """Return the mirror's record; it is parsed once for all partitions of its topic."""
        raw = self._log.records.get(state.mirror_key(self._uid, topic))
        if raw is None:
            return None
        known = self._parsed.get(topic)
        if known is None or known[0] is not raw:
            known = self._parsed[topic] = (raw, read_record(pb.MirrorRecord, state.mirror_key(self._uid, topic), raw))
        return known[1]

    def _blocks(self, slot: Slot, generation: int) -> list[Block]:
        return _recorded_blocks(self._log.records, self._uid, slot.target, generation)

    def forget(self, slot: Slot) -> None:
        """Forget a partition that is no longer copied."""
        self._written.pop(slot, None)

    # -- changing -----------------------------------------------------------------------------------------------

    async def remap(self, slot: Slot, remap: Remap) -> None:
        """Record the place from which a partition continues with another difference.

        If somebody else has changed the map since it was read, nothing is written.

        Raises:
            ReplicatorError: The state topic cannot be changed.
        """
        number, before = slot.source.partition, slot.mapping.record
        base = _continued(slot.copy.track, remap)
        was_first = False

        def decide(records: AnyMapping[bytes, bytes]) -> list[Change]:
            nonlocal was_first
            was_first = False
            record = state.get_mirror(records, self._uid, slot.target.topic)
            if record is None:
                return []
            stored = record.maps[number].SerializeToString(deterministic=True) if number in record.maps else b""
            if stored != before:
                return []
            was_first = True
            record.map_generation += 1
            record.maps[number].CopyFrom(
                pb.PartitionMap(
                    generation=record.map_generation,
                    mapped=remap.mapped,
                    base=base,
                    judged_from=record.maps[number].judged_from,
                    compared_from=compared_from(record.maps[number]),
                )
            )
            return [state.put(state.mirror_key(self._uid, slot.target.topic), record)]

        await self._log.change(self._uid, decide)
        if was_first:
            log.warning("offsets mapped", partition=str(slot.source), why=remap.text, source=remap.place.source,
                        target=remap.place.target)  # fmt: skip

    async def persist(self, slots: Iterable[Slot]) -> None:
        """Write what mapped partitions have copied since the last call; only the claim's holder writes.

        Raises:
            KafkaError: It could not be written; the next call writes it.
        """
        changes: list[Change] = []
        written: list[tuple[Slot, _Written, _Written]] = []
        turns = Turns()
        for slot in slots:
            claim = slot.shard.claim
            if not claim.number or claim.effective_since() is None:
                continue
            track = slot.copy.track
            # Only a map that is being copied by is proven: a walk that ended elsewhere may have paired records that do
            # not match.
            if track is None or not track.mapped or not slot.copy.is_copying() or slot not in self._written:
                continue
            before = self._written[slot]
            some, after = self._blocks_to_write(slot, track.offsets, claim.number)
            changes += some
            written.append((slot, before, after))
            if sum(len(key) + len(value or b"") for key, value in changes) >= _APPEND_BYTES_MAX:
                await self._append(changes, written)
                changes, written = [], []
            await turns.give()
        await self._append(changes, written)

    async def _append(self, changes: list[Change], written: list[tuple[Slot, _Written, _Written]]) -> None:
        """Write the blocks of many partitions at once."""
        if changes:
            await self._log.append(changes)
        for slot, before, after in written:
            if self._written.get(slot) is before:  # otherwise it was read again, or is no longer copied
                self._written[slot] = after

    def _blocks_to_write(self, slot: Slot, offsets: OffsetMap, number: int) -> tuple[list[Change], _Written]:
        """Return the blocks that are new or have grown, and tombstones for those below the starts of both logs."""
        known = self._written[slot]
        if known.number != number:
            # Blocks of earlier holders stay; ours continue where theirs end.
            known = _Written(number, 0, known.end, known.end)
        generation = pb.PartitionMap.FromString(slot.mapping.record).generation
        changes: list[Change] = self._dropped(slot, offsets, generation)
        index, end = known.block, known.end
        # In a log that others write to as well, retention may delete everything we wrote; then only this block shows
        # how far we had come.
        proven = offsets.end.target if slot.copy.limits.others_write else 0
        sealed = [block for block in offsets.sealed if block.end.target > known.sealed.target]
        for block in (*sealed, offsets.open_block(target_end=proven)):
            if block.end.target > end.target:
                key = state.segment_key(self._uid, *slot.target, number << _BLOCK_BITS | index)
                changes.append(state.put(key, pb.SegmentBlock(generation=generation, block=_packed(block))))
                end = block.end
            index += 1
        return changes, _Written(number, index - 1, sealed[-1].end if sealed else known.sealed, end)

    def _dropped(self, slot: Slot, offsets: OffsetMap, generation: int) -> list[Change]:
        if slot.seen.source_start is None or slot.seen.target_start is None:
            return []
        if offsets.drop_below(slot.seen.source_start, slot.seen.target_start) == 0:
            return []
        return [
            (key, None)
            for key, record in state.segments_of(self._log.records, self._uid, *slot.target)
            if record.generation < generation or record.block.target_end <= offsets.begin.target
        ]


class _Written(NamedTuple):
    """How much of one partition's map is on the state topic: all up to `end`, and in full blocks up to `sealed`.

    `block` is the number of the block that may still grow; it is written under the claim `number`.
    """

    number: int
    block: int
    sealed: OffsetPair
    end: OffsetPair


def mapping_of(slot: Slot, target_end: int, place: OffsetPair | None, tail_offset: int | None) -> Mapping | None:
    """Return what the attach has to know about a partition's map; None if it has no map."""
    track = slot.copy.track
    if track is None:
        return None
    # If a log ends below the end of its map, it has lost its end, or the map says too much. Nothing is taken for
    # granted then: the last record is compared, whoever wrote it.
    compared_from = 0 if not track.mapped and target_end < track.offsets.end.target else slot.mapping.judged_from
    if tail_offset is not None and tail_offset < compared_from:
        tail_offset = None
    if track.mapped:
        found = track.offsets.to_source(tail_offset) if tail_offset is not None and place is not None else None
        return Mapping(place, mapped=True, judged_from=slot.mapping.judged_from, tail_source=found)
    if target_end < track.offsets.begin.target:
        return Mapping(None, mapped=False, judged_from=slot.mapping.judged_from)
    straight = OffsetPair(track.offsets.straight_to_source(target_end), target_end)
    found = track.offsets.straight_to_source(tail_offset) if tail_offset is not None else None
    return Mapping(
        straight, mapped=False, judged_from=slot.mapping.judged_from, tail_source=found, compared_from=compared_from
    )


def stepped_back(slot: Slot, mapping: Mapping, target_end: int) -> Mapping:
    """Return the mapping for a source that now has a record at an offset that was left out as empty before."""
    track = slot.copy.track
    if track is None:
        return mapping
    track.forget_skips()
    return replace(mapping, place=OffsetPair(track.sure.source, target_end))


def last_source(slot: Slot, mapping: Mapping, target_start: int) -> int:
    """Return the source offset after which the target holds no record: what follows are markers, or was left out.

    If it holds no record of ours at all, that is the case from its log start on.
    """
    track = slot.copy.track
    if mapping.tail_source is not None or track is None:
        return -1 if mapping.tail_source is None else mapping.tail_source
    if mapping.mapped:
        return track.sure.source - 1
    return track.offsets.straight_to_source(max(target_start, slot.mapping.judged_from)) - 1


def _continued(track: Track | None, remap: Remap) -> pb.OffsetBlock:
    """Return the map up to a new place: what was copied with the last difference, and then the place.

    Markers at the end of the map may now stand for other offsets than before, because no record was copied there.
    """
    place = remap.place
    if remap.fresh:
        return offset_block(OffsetMap(place), place)
    offsets = OffsetMap(OffsetPair(0, 0))
    if track is not None:
        known = track.offsets
        # Cut on the source's side only: a run beyond the place on the target is a contradiction, and `pass_over`
        # raises over it.
        offsets = OffsetMap.of(known.begin, known.below(OffsetPair(place.source, known.end.target)))
        if known.end.source <= place.source:
            offsets.pass_over(known.end)
    if track is None or not track.mapped:
        offsets.go_straight(place)
    offsets.pass_over(place)
    return offset_block(offsets, place)


def offset_block(offsets: OffsetMap, place: OffsetPair) -> pb.OffsetBlock:
    """Return a map up to a place, in the form in which it is recorded."""
    begin = offsets.begin
    return pb.OffsetBlock(
        source_begin=begin.source,
        target_begin=begin.target,
        source_end=place.source,
        target_end=place.target,
        runs=pack(begin, offsets.runs()),
    )


def recorded_map(
    records: AnyMapping[bytes, bytes], uid: str, where: TopicPartition, known: pb.PartitionMap
) -> OffsetMap:
    """Return a partition's map as far as it is recorded: what the mirror record holds, and the blocks after it.

    Raises:
        CorruptRecords: It cannot be read.
    """
    offsets = restored(known.base)
    if known.mapped:
        offsets.restore(_recorded_blocks(records, uid, where, known.generation))
    return offsets


def compared_from(known: pb.PartitionMap) -> int:
    """Return the target offset from which `verify` compares; part of what was taken over may be above it."""
    return known.compared_from if known.HasField("compared_from") else known.judged_from


def given_up_of(record: pb.MirrorRecord, number: int) -> tuple[tuple[int, int], ...]:
    """Return the source offsets of a partition that an operator gave up, as (from, to)."""
    ranges = record.given_up[number].ranges if number in record.given_up else ()
    return tuple((each.first, each.end) for each in ranges)


def restored(base: pb.OffsetBlock) -> OffsetMap:
    """Return the map that a mirror record holds."""
    begin, end = OffsetPair(base.source_begin, base.target_begin), OffsetPair(base.source_end, base.target_end)
    offsets = OffsetMap.of(begin, unpack_runs(begin, base.runs))
    offsets.pass_over(end)
    return offsets


def _recorded_blocks(
    records: AnyMapping[bytes, bytes], uid: str, where: TopicPartition, generation: int
) -> list[Block]:
    return [
        _block(record.block) for _, record in state.segments_of(records, uid, *where) if record.generation == generation
    ]


def _block(record: pb.OffsetBlock) -> Block:
    return Block(
        OffsetPair(record.source_begin, record.target_begin),
        OffsetPair(record.source_end, record.target_end),
        record.runs,
    )


def _packed(block: Block) -> pb.OffsetBlock:
    return pb.OffsetBlock(
        source_begin=block.begin.source,
        target_begin=block.begin.target,
        source_end=block.end.source,
        target_end=block.end.target,
        runs=block.packed,
    )
