"""Offset maps of one flow on `replicator.state`: read before each attach, changed by compare-and-set, kept in blocks.

The mirror record holds where a map begins, and the whole of it where differences are few: each of those is recorded
before anything is copied behind it, so two daemons agree on it.
A mapped partition goes on from there in blocks, plain appends of the claim's holder. They are facts that the target
acknowledged, so old ones, late ones and doubled ones say the truth too; what was not written yet is found again by
walking both logs (`engine.logs.walking`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from replicator.aio.turns import Turns
from replicator.core.copy.attach_facts import Mapping
from replicator.core.copy.track import Track
from replicator.core.offsets.offset_map import Block, OffsetMap, Place, pack, unpack_runs
from replicator.engine.state import records as state
from replicator.engine.state.damage import read_record
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping as AnyMapping

    from replicator.core.copy.attach_facts import Remap
    from replicator.engine.copy.partition import Slot
    from replicator.engine.state.log import Change, StateLog
    from replicator.model.names import TopicPartition

_BLOCK_BITS = 24
_APPEND_BYTES_MAX = 100 << 10
"""Blocks of many partitions are written together, up to this size but for the last partition's."""

log = get_logger(__name__)


class OffsetMaps:
    """The maps of one flow.

    Args:
        uid: The flow's.
        state_log: Where they are kept.
    """

    def __init__(self, uid: str, state_log: StateLog) -> None:
        self._uid = uid
        self._log = state_log
        self._parsed: dict[str, tuple[bytes, pb.MirrorRecord]] = {}
        self._written: dict[Slot, _Written] = {}

    # -- reading ------------------------------------------------------------------------------------------------

    def refresh(self, slot: Slot) -> bool:
        """Bring a partition's map in line with what is recorded, between two episodes; return whether it changed."""
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
        # What was found by a walk is forgotten too: it may have counted records that had been given up by then.
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
        """Read all that is committed by now; `refresh` then tells for each partition whether it is news.

        Raises:
            KafkaError: The state topic cannot be read.
        """
        await self._log.read_to_end()

    async def refresh_from_end(self, slot: Slot) -> bool:
        """Do the same with all that is committed by now; return whether it changed.

        Raises:
            KafkaError: The state topic cannot be read.
        """
        await self.read_to_end()
        if self.refresh(slot):
            return True
        track = slot.copy.track
        if track is None or not track.mapped:
            return False
        # Others may have written blocks since the map was read: they tell what the logs do not any more.
        offsets = track.offsets
        before = offsets.end, offsets.known_beyond
        offsets.restore(self._blocks(slot, pb.PartitionMap.FromString(slot.mapping.record).generation))
        return (offsets.end, offsets.known_beyond) != before

    def _record(self, topic: str) -> pb.MirrorRecord | None:
        """Return the mirror's record; a thousand partitions of one topic parse it once."""
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
        """This partition is not copied any more."""
        self._written.pop(slot, None)

    # -- changing -----------------------------------------------------------------------------------------------

    async def remap(self, slot: Slot, remap: Remap) -> None:
        """Record where a partition goes on with another difference.

        Whoever else changed the map since it was read was first: then nothing is written.

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
        """Write what mapped partitions copied since the last time; only the claim's holder does.

        Raises:
            KafkaError: It could not be written; the next time writes it.
        """
        changes: list[Change] = []
        written: list[tuple[Slot, _Written, _Written]] = []
        turns = Turns()
        for slot in slots:
            claim = slot.shard.claim
            if not claim.number or claim.effective_since() is None:
                continue
            track = slot.copy.track
            # A map is proven while it is copied by: a walk that ended elsewhere may have paired what does not match.
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
            if self._written.get(slot) is before:  # else it was read anew, or is not copied any more
                self._written[slot] = after

    def _blocks_to_write(self, slot: Slot, offsets: OffsetMap, number: int) -> tuple[list[Change], _Written]:
        """Return the blocks that are new or grew, and the tombstones of those that lie below both logs' starts."""
        known = self._written[slot]
        if known.number != number:
            # Blocks of earlier holders stand; ours go on from where theirs end.
            known = _Written(number, 0, known.end, known.end)
        generation = pb.PartitionMap.FromString(slot.mapping.record).generation
        changes: list[Change] = self._dropped(slot, offsets, generation)
        index, end = known.block, known.end
        # Of a log that others write to too, retention may take all that we wrote: then this alone tells of the rest.
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
    """What stands on the state topic of one partition: up to `end`, the last block that is full up to `sealed`.

    `block` is the number of the one which may still grow, written under the claim `number`.
    """

    number: int
    block: int
    sealed: Place
    end: Place


def mapping_of(slot: Slot, target_end: int, place: Place | None, tail_offset: int | None) -> Mapping | None:
    """Return what the attach has to know of a partition's map; None where it has none."""
    track = slot.copy.track
    if track is None:
        return None
    # A log that ends below what its map tells of lost its end, or was told of too much: nothing is taken for granted
    # there, its last record is compared whoever wrote it.
    compared_from = 0 if not track.mapped and target_end < track.offsets.end.target else slot.mapping.judged_from
    if tail_offset is not None and tail_offset < compared_from:
        tail_offset = None
    if track.mapped:
        found = track.offsets.to_source(tail_offset) if tail_offset is not None and place is not None else None
        return Mapping(place, mapped=True, judged_from=slot.mapping.judged_from, tail_source=found)
    if target_end < track.offsets.begin.target:
        return Mapping(None, mapped=False, judged_from=slot.mapping.judged_from)
    straight = Place(track.offsets.straight_to_source(target_end), target_end)
    found = track.offsets.straight_to_source(tail_offset) if tail_offset is not None else None
    return Mapping(
        straight, mapped=False, judged_from=slot.mapping.judged_from, tail_source=found, compared_from=compared_from
    )


def stepped_back(slot: Slot, mapping: Mapping, target_end: int) -> Mapping:
    """Return the same where the source has a record by now that was not there when its offset was left out."""
    track = slot.copy.track
    if track is None:
        return mapping
    track.forget_skips()
    return replace(mapping, place=Place(track.sure.source, target_end))


def last_source(slot: Slot, mapping: Mapping, target_start: int) -> int:
    """Return the source offset behind which the target holds no record: it holds markers there, or left offsets out.

    Where it holds no record of ours at all, that is so from its log start on.
    """
    track = slot.copy.track
    if mapping.tail_source is not None or track is None:
        return -1 if mapping.tail_source is None else mapping.tail_source
    if mapping.mapped:
        return track.sure.source - 1
    return track.offsets.straight_to_source(max(target_start, slot.mapping.judged_from)) - 1


def _continued(track: Track | None, remap: Remap) -> pb.OffsetBlock:
    """Return the map up to a new place: what was copied with the last difference, and then the place.

    Markers at the end of the map may stand for other offsets than they did: there no record was copied.
    """
    place = remap.place
    if remap.fresh:
        return offset_block(OffsetMap(place), place)
    offsets = OffsetMap(Place(0, 0))
    if track is not None:
        known = track.offsets
        # Cut on the source's side alone: a run beyond the place on the target contradicts it, which `pass_over` tells.
        offsets = OffsetMap.of(known.begin, known.below(Place(place.source, known.end.target)))
        if known.end.source <= place.source:
            offsets.pass_over(known.end)
    if track is None or not track.mapped:
        offsets.go_straight(place)
    offsets.pass_over(place)
    return offset_block(offsets, place)


def offset_block(offsets: OffsetMap, place: Place) -> pb.OffsetBlock:
    """Return a map up to a place as it is recorded."""
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
    """Return a partition's map as far as it is recorded: what the mirror record holds, and the blocks behind it.

    Raises:
        CorruptRecords: It cannot be read.
    """
    offsets = restored(known.base)
    if known.mapped:
        offsets.restore(_recorded_blocks(records, uid, where, known.generation))
    return offsets


def compared_from(known: pb.PartitionMap) -> int:
    """Return the offset of the target from which `verify` compares what was taken over, and all behind it."""
    return known.compared_from if known.HasField("compared_from") else known.judged_from


def given_up_of(record: pb.MirrorRecord, number: int) -> tuple[tuple[int, int], ...]:
    """Return the source offsets that an operator gave up of a partition, from and to."""
    ranges = record.given_up[number].ranges if number in record.given_up else ()
    return tuple((each.first, each.end) for each in ranges)


def restored(base: pb.OffsetBlock) -> OffsetMap:
    """Return the map that a mirror record holds."""
    begin, end = Place(base.source_begin, base.target_begin), Place(base.source_end, base.target_end)
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
        Place(record.source_begin, record.target_begin), Place(record.source_end, record.target_end), record.runs
    )


def _packed(block: Block) -> pb.OffsetBlock:
    return pb.OffsetBlock(
        source_begin=block.begin.source,
        target_begin=block.begin.target,
        source_end=block.end.source,
        target_end=block.end.target,
        runs=block.packed,
    )
