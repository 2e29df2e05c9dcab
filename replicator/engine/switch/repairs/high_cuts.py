"""Repairs what an earlier version broke: it cut a partition above its fence's marker if that marker began a segment.

The cut counted the marker, and after a failover one record of the old source, as copied. The log shows it without any
guessing: the marker is below the cut, under the fence's epoch. Such a cut is recorded again, one offset lower, and so
is what the reverse flow took from it, so that the skipped record is compared and found.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicator.core.offsets.offset_map import OffsetMap, OffsetPair
from replicator.core.offsets.own_place import OurBatches
from replicator.engine.copy.partitions.live_maps import offset_block, restored
from replicator.engine.logs.reading import batches_between
from replicator.engine.logs.side import Side
from replicator.engine.state import records as state
from replicator.engine.state.cuts import cuts_in, put_cuts, unchecked_cuts
from replicator.engine.state.journal import put_switches, switches_of
from replicator.engine.switch.places import log_starts
from replicator.engine.switch.takeover import taken_by
from replicator.engine.verify.compare import compacted_topics
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.model.switch.terms import Direction, StepName, Verb
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicator.engine.state.topic.log import Change
    from replicator.engine.switch.context import SwitchContext
    from replicator.model.switch.journal import Journal
    from replicator.model.switch.terms import Cut

_NAMED_MAX = 10
_READS_AT_ONCE = 32

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HighCut:
    """A cut that is too high, and by how many offsets."""

    cut: Cut
    by: int

    @property
    def lowered(self) -> Cut:
        """The true cut."""
        return replace(self.cut, source=self.cut.source - self.by, target=self.cut.target - self.by)


async def lower_high_cuts(context: SwitchContext) -> str | None:
    """Lower cuts that an earlier version recorded too high; return what was found, None if nothing.

    Each record is checked once. If the reverse flow may have begun at such a cut, its cluster has to answer first.

    Raises:
        KafkaError: A cluster cannot be asked.
        Conflict: Others kept changing the records.
    """
    await context.log.read_to_end()
    unlooked = unchecked_cuts(context.log.records, context.uid)
    if not unlooked:
        return None
    high = [one for record in unlooked.values() for one in await _high_in(context, record)]
    if high:
        await _lower_way_back(context, high)
    await context.log.change(context.uid, lambda records: lowering(records, context.uid, unlooked, high))
    if not high:
        return None
    names = [f"{one.cut.topic}-{one.cut.partition} at {one.lowered.source}, not {one.cut.source}" for one in high]
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    text = (
        f"an earlier version cut {len(high)} partitions above the marker of its fence: {', '.join(names[:_NAMED_MAX])}"
        f"{more}; after a failover, what {context.flow.source} held there was never copied"
    )
    log.warning("cuts were too high", flow=context.flow.name, why=text)
    return text


async def _high_in(context: SwitchContext, record: pb.CutRecord) -> list[HighCut]:
    """Return the cuts of one topic that have markers of their own fence just below them.

    If offsets are mapped, it is unknown whether the source's side counted them.
    """
    target = context.target
    cuts = [cut for cut in cuts_in(record) if not cut.mapped]
    topics = await target.existing({cut.target_topic for cut in cuts})
    wheres = {
        TopicPartition(cut.target_topic, cut.partition): cut
        for cut in cuts
        if cut.target_topic in topics and cut.partition in topics[cut.target_topic].leaders
    }
    side = Side(target, target.topic_ids)
    starts = await log_starts(target, wheres)
    producer_id = state.get_writer_record(context.log.records, context.uid).producer_id
    ours = OurBatches(producer_id, fence_epoch=record.epoch)
    cleaned = await compacted_topics(context.admins[1], topics)
    room = asyncio.Semaphore(_READS_AT_ONCE)

    async def one(where: TopicPartition, cut: Cut) -> HighCut:
        async with room:
            connection = await target.leader_connection(where)
            below, compacted = cut.target, where.topic in cleaned
            while below > starts[where]:
                found = batches_between(
                    side, connection, where, below - 1, below, isolation=Isolation.READ_UNCOMMITTED, compacted=compacted
                )
                header = await anext(((each) async for _, each, _ in found), None)
                if header is None or not ours.is_fence(header) or header.next_offset != below:
                    break
                below = header.base_offset
        return HighCut(cut, cut.target - below)

    return [each for each in await asyncio.gather(*(one(*item) for item in wheres.items())) if each.by]


def lowering(
    records: Mapping[bytes, bytes], uid: str, unlooked: Mapping[str, pb.CutRecord], high: Iterable[HighCut]
) -> list[Change]:
    """Return the change of the target's records: the checked cuts, and the last switch.

    A switch that is under way goes on from the true cuts: an earlier version may have recorded others, and ended before
    the reverse flow began at them, or while a failback waits for the operator.
    """
    lowered = {one.cut: one.lowered for one in high}
    changes: list[Change] = []
    for topic, record in unchecked_cuts(records, uid).items():
        if record == unlooked.get(topic):
            cuts = [lowered.get(cut, cut) for cut in cuts_in(record)]
            changes += put_cuts(uid, record.switch_id, record.epoch, cuts, record.at_ms)
    switches = switches_of(records, uid)
    current = switches.current
    if current is not None and lowered:
        after = _lowered(current, lowered)
        if after.cuts != current.cuts:
            changes += put_switches(uid, replace(switches, current=after))
    return changes


def _lowered(journal: Journal, lowered: Mapping[Cut, Cut]) -> Journal:
    """Return the last switch with the true cuts; a failback that compared tails with other cuts does so again."""
    known = {(cut.topic, cut.partition, cut.source, cut.target): one.source for cut, one in lowered.items()}
    cuts = []
    for cut in journal.cuts:
        source = known.get((cut.topic, cut.partition, cut.source, cut.target), cut.source)
        cuts.append(replace(cut, source=source, target=cut.target - (cut.source - source)))
    after = replace(journal, cuts=tuple(cuts), revision=journal.revision + 1)
    if journal.finished or journal.verb is not Verb.FAILBACK or journal.direction is not Direction.FORWARD:
        return after
    if journal.did(StepName.CONFIRM):
        return journal  # what the operator agreed to is being carried out
    return replace(after, reached=StepName.PROVE_QUIESCENCE, confirmed="")


async def _lower_way_back(context: SwitchContext, high: Iterable[HighCut]) -> None:
    """Make the reverse flow compare from the true cuts on, if it began at the others."""
    if context.reverse is None or not await context.has_source_log():
        return
    source_log = await context.source_log()
    found = state.find_flow(
        source_log.records, context.reverse.name, context.target.cluster_id, context.source.cluster_id
    )
    if found is not None:
        some = list(high)
        await source_log.change(found.uid, lambda records: lowering_way_back(records, found.uid, some))


def lowering_way_back(records: Mapping[bytes, bytes], uid: str, high: Iterable[HighCut]) -> list[Change]:
    """Return the change of the source's records: mirrors of the reverse flow that were taken over at too high cuts."""
    changed: dict[str, pb.MirrorRecord] = {}
    for one in high:
        cut, lowered = one.cut, one.lowered
        mirror = changed.get(cut.topic) or state.get_mirror(records, uid, cut.topic)
        if mirror is None or cut.partition not in mirror.maps or taken_by(mirror) is None:
            continue
        known = mirror.maps[cut.partition]
        at = known.base.source_end, known.base.target_end, known.judged_from
        if known.mapped or at != (cut.target, cut.source, cut.source):
            continue
        place = OffsetPair(lowered.target, lowered.source)
        before = restored(known.base)
        offsets = OffsetMap.of(before.begin, before.below(place))
        offsets.pass_over(place)
        mirror.map_generation += 1
        mirror.maps[cut.partition].CopyFrom(
            pb.PartitionMap(
                generation=mirror.map_generation, base=offset_block(offsets, place), judged_from=place.target
            )
        )
        changed[cut.topic] = mirror
    for mirror in changed.values():
        mirror.generation += 1
    return [state.put(state.mirror_key(uid, topic), mirror) for topic, mirror in changed.items()]
