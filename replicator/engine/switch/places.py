"""Where a target's logs end in terms of the source's offsets: what a switch cuts, or would cut now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.offsets.offset_map import OffsetPair
from replicator.engine.copy.partitions.live_maps import recorded_map
from replicator.engine.groups.positions import CopiedElsewhere
from replicator.engine.logs.bounds import ends_of, starts_of
from replicator.engine.logs.side import Side
from replicator.engine.state import records as state
from replicator.engine.switch.own_places import SearchRange
from replicator.errors import BrokerRefused
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.model.switch.terms import Cut
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicator.core.offsets.offset_map import OffsetMap
    from replicator.core.offsets.own_place import OwnEnd
    from replicator.engine.state.topic.log import StateLog
    from replicator.wire.cluster import Cluster


async def log_ends(
    cluster: Cluster, partitions: Iterable[TopicPartition], *, isolation: Isolation = Isolation.READ_UNCOMMITTED
) -> dict[TopicPartition, int]:
    """Return the end of every log; with `read_committed` its last stable offset.

    Raises:
        KafkaError: The cluster, or one of the leaders, cannot be asked.
    """
    ends, unseen = await ends_of(cluster, partitions, isolation=isolation)
    await _check_seen(cluster, unseen, "end")
    return ends


async def log_starts(cluster: Cluster, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the start of every log.

    Raises:
        KafkaError: The cluster, or one of the leaders, cannot be asked.
    """
    starts, unseen = await starts_of(Side(cluster, cluster.topic_ids), partitions)
    await _check_seen(cluster, unseen, "start")
    return starts


async def _check_seen(cluster: Cluster, unseen: Mapping[TopicPartition, str], what: str) -> None:
    if not unseen:
        return
    where, why = next(iter(unseen.items()))
    await cluster.refresh(sorted({one.topic for one in unseen}))
    raise BrokerRefused(
        f"the {what} of {where} on {cluster.spec.alias} is not known",
        cluster=cluster.spec.alias,
        code=0,
        api="ListOffsets",
        why=why,
        retryable=True,
    )


class ObservedSource:
    """What daemons have recorded about a flow's source: its ends as last seen, and what was copied.

    Args:
        log: The state topic of the flow's target.
        uid: Uid of the flow.
    """

    def __init__(self, log: StateLog, uid: str) -> None:
        self._log = log
        self._uid = uid
        shards = state.shards_of(state.get_flow(log.records, uid))
        self._copied = CopiedElsewhere(log, uid, shards)
        self._ends: dict[TopicPartition, tuple[int, int]] = {}
        for shard in range(shards):
            block = state.source_end_block(log.records, state.source_end_key(uid, shard))
            for one in block.entries:
                # Older records have one time, at which they were written.
                at_ms = one.observed_ms if one.HasField("observed_ms") else block.observed_ms
                self._ends[TopicPartition(one.topic, one.partition)] = (one.end, at_ms)

    def end(self, where: TopicPartition) -> tuple[int, int] | tuple[None, None]:
        """Return the end of a source partition as last seen, and when (ms)."""
        return self._ends.get(where, (None, None))

    def copied(self, where: TopicPartition) -> int | None:
        """Return the source offset up to which a partition is recorded as copied."""
        place = self._copied.place(where)
        return place.source if place is not None else None

    def search_range(
        self, where: TopicPartition, mirror: pb.MirrorRecord, end: int, proven: int | None = None
    ) -> SearchRange:
        """Return which part of a target log to search for the end of our own part.

        Args:
            where: The partition of the target.
            mirror: Its mirror.
            end: The end of its log.
            proven: Source offset up to which a switch has proven it to hold everything, None if none has.

        Raises:
            CorruptRecords: Its offset map is damaged.
        """
        recorded = _map_of(mirror, where.partition)
        offsets = self._offsets(where, recorded) if recorded is not None and not recorded.mapped else None
        place = self._copied.place(TopicPartition(mirror.source_topic, where.partition))
        if place is not None and (recorded is None or offsets is not None):
            stands_at = place.target if offsets is None else offsets.straight_to_source(place.target)
            place = place if place.source == stands_at else None  # else it belongs to an earlier life of this mirror
        begins = [place.target] if place is not None else []
        if recorded is not None:
            # It was proven, and is recorded before anything is copied after it.
            begins.append(recorded.base.target_end)
        if proven is not None and (recorded is None or offsets is not None):
            begins.append(proven if offsets is None else offsets.straight_to_target(proven))
        floor = recorded.judged_from if recorded is not None else 0
        return SearchRange(end, max(begins, default=None), floor, where.partition in mirror.active_partitions)

    def cut(self, where: TopicPartition, mirror: pb.MirrorRecord, own: OwnEnd) -> Cut:
        """Return a partition's cut at the end of our own part of its log, with its source's end as last seen.

        Args:
            where: The partition of the target.
            mirror: Its mirror.
            own: Where our own part ends.

        Raises:
            CorruptRecords: Its offset map is damaged.
        """
        source = TopicPartition(mirror.source_topic, where.partition)
        observed_end, observed_ms = self.end(source)
        recorded = _map_of(mirror, where.partition)
        mapped = recorded is not None and recorded.mapped
        if recorded is None:
            at = own.end
        elif not mapped:
            at = self._offsets(where, recorded).straight_to_source(own.end)
        else:
            at = self._mapped(source, where, recorded, own)
        return Cut(
            source.topic,
            where.partition,
            max(0, at),
            own.end,
            where.topic,
            mapped,
            observed_end,
            observed_ms,
            foreign=own.foreign,
        )

    def _offsets(self, where: TopicPartition, recorded: pb.PartitionMap) -> OffsetMap:
        return recorded_map(self._log.records, self._uid, where, recorded)

    def _mapped(self, source: TopicPartition, where: TopicPartition, recorded: pb.PartitionMap, own: OwnEnd) -> int:
        """Return a lower bound of the source offset at the end of our part: offsets are only ever left out.

        Only records are counted: a marker after the last of them corresponds to no offset of the source.
        """
        known = self._copied.known(source, where, 0)
        end = OffsetPair(recorded.base.source_end, recorded.base.target_end)
        if known is not None and known.end.target > end.target:
            end = known.end
        if own.end < end.target:
            return self._offsets(where, recorded).to_source(own.end)
        return end.source + min(own.records, own.end - end.target)


def _map_of(mirror: pb.MirrorRecord, partition: int) -> pb.PartitionMap | None:
    # A plain lookup would add an empty one to the message.
    return mirror.maps[partition] if partition in mirror.maps else None  # noqa: SIM401
