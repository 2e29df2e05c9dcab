"""The recorded offset maps of a flow, brought up to the target's ends, for a comparison outside the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.offsets.map_view import MapView
from replicator.core.offsets.offset_map import OffsetPair
from replicator.engine.copy.partitions.live_maps import compared_from, given_up_of, recorded_map
from replicator.engine.logs.choosing import OnlyOurs
from replicator.engine.logs.ranges.walking import Log, holds_more, open_log, paired, walk
from replicator.engine.logs.side import Side
from replicator.engine.state import records as state
from replicator.engine.state.ownership.origins import Origins
from replicator.engine.state.topic.log import StateLog
from replicator.engine.state.topic.source import SourceState
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.model.spec import Isolation
from replicator.wire.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.core.offsets.offset_map import OffsetMap
    from replicator.engine.logs.choosing import Chooser
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import FlowSpec


async def map_views(flow: FlowSpec, source: ClusterSpec, target: ClusterSpec) -> Mapping[TopicPartition, MapView]:
    """Return the maps of partitions whose offsets differ from the source's, by their names on the target.

    Raises:
        KafkaError: A cluster cannot be asked.
        CorruptRecords: What is recorded cannot be read.
    """
    there, here = Cluster(source), Cluster(target)
    try:
        await there.open()
        await here.open()
        if await here.describe(STATE_TOPIC) is None:
            return {}
        log = StateLog(here)
        await log.read_to_end()
        found = state.find_flow(log.records, flow.name, there.cluster_id, here.cluster_id)
        if found is None:
            return {}
        writer = state.get_writer(log.records, found.uid)
        if flow.both_ways and writer is not None:
            ours: tuple[Chooser | None, Chooser | None] = Origins(SourceState(there)), OnlyOurs(writer.producer_id)
        else:
            ours = None, None
        sides = Side(there, there.topic_ids, ours[0]), Side(here, here.topic_ids, ours[1])
        return await _views(flow, found.uid, log, *sides)
    finally:
        there.close()
        here.close()


async def _views(flow: FlowSpec, uid: str, log: StateLog, source: Side, target: Side) -> dict[TopicPartition, MapView]:
    views: dict[TopicPartition, MapView] = {}
    for record in state.mirrors_of(log.records, uid):
        if any(known.mapped for known in record.maps.values()):
            await source.cluster.describe(record.source_topic)
            await target.cluster.describe(record.target_topic)
        for number in {*record.maps, *record.given_up}:
            where = TopicPartition(record.target_topic, number)
            given_up = given_up_of(record, number)
            if number not in record.maps:
                views[where] = MapView(given_up=given_up)
                continue
            known = record.maps[number]
            offsets = recorded_map(log.records, uid, where, known)
            if known.mapped:
                origin = TopicPartition(record.source_topic, number)
                there = await open_log(source, origin, isolation=flow.isolation, given_up=given_up)
                here = await open_log(target, where, isolation=Isolation.READ_UNCOMMITTED)
                if there is not None and here is not None:
                    offsets = await _up_to_ends(offsets, there, here, from_logs=flow.both_ways)
            views[where] = MapView(
                offsets, known.mapped, compared_from(known), given_up, flow.both_ways and known.mapped
            )
    return views


async def _up_to_ends(offsets: OffsetMap, there: Log, here: Log, *, from_logs: bool) -> OffsetMap:
    """Return a map brought up to the ends of both logs.

    Args:
        offsets: What is recorded; it may be changed.
        there: The source's log.
        here: The target's.
        from_logs: Whether the map decides what is compared at all. Then the recorded one is not trusted, as the flow
            under test wrote it: the logs are paired from their first record on, unless retention has removed it.
    """
    begin = offsets.begin
    if from_logs and there.start <= begin.source and here.start <= begin.target:
        offsets = await paired(begin, there, here)
        place: OffsetPair | None = offsets.end
        if offsets.end.source > there.end:  # surplus records of the target are there
            return offsets
    else:
        place = (await walk(offsets, there, here)).place
    if place is not None and not await holds_more(there, place.source):
        offsets.pass_over(OffsetPair(there.end, here.end))
    return offsets
