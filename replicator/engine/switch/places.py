"""Where the logs of a target end in terms of its source: what a switch cuts, or would cut now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.core.offset_map import Place
from replicator.engine import state
from replicator.engine.look import Side, ends_of, read_batches, starts_of
from replicator.engine.positions import CopiedElsewhere
from replicator.errors import BrokerRefused
from replicator.model.names import TopicPartition
from replicator.model.switch import Cut
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicator.engine.state_log import StateLog
    from replicator.model.batch import BatchHeader
    from replicator.wire.cluster import Cluster

_LOOKS_AT_ONCE = 32
_BACK = 2
"""Records before the end of a log where its last marker is looked for: the marker, and what stands before it."""


async def log_ends(
    cluster: Cluster, partitions: Iterable[TopicPartition], *, committed: bool = False
) -> dict[TopicPartition, int]:
    """Return the end of every log; with `committed` its last stable offset.

    Raises:
        KafkaError: The cluster, or one of the leaders, cannot be asked.
    """
    wanted = list(partitions)
    ends, unseen = await ends_of(cluster, wanted, committed=committed)
    if unseen:
        where, why = next(iter(unseen.items()))
        await cluster.refresh(sorted({one.topic for one in wanted}))
        raise BrokerRefused(
            f"the end of {where} on {cluster.spec.alias} is not known",
            cluster=cluster.spec.alias,
            code=0,
            api="ListOffsets",
            why=why,
            retryable=True,
        )
    return ends


async def below_markers(
    cluster: Cluster, ends: Mapping[TopicPartition, int], producer_id: int, epoch: int
) -> dict[TopicPartition, int]:
    """Return where each log ended before the markers of a fence were appended to it.

    Raises:
        KafkaError: A log cannot be read.
    """
    room = asyncio.Semaphore(_LOOKS_AT_ONCE)
    starts, _ = await starts_of(Side(cluster, {}), ends)

    async def one(where: TopicPartition, end: int) -> int:
        async with room:
            return await _below(cluster, where, starts.get(where, 0), end, producer_id, epoch)

    found = await asyncio.gather(*(one(*item) for item in ends.items()))
    return dict(zip(ends, found, strict=True))


async def _below(cluster: Cluster, where: TopicPartition, start: int, end: int, producer_id: int, epoch: int) -> int:
    connection = await cluster.leader_connection(where)
    side = Side(cluster, cluster.topic_ids)
    while end > start:
        _, headers = await read_batches(side, connection, where, max(start, end - _BACK))
        before = end
        for header in sorted(headers, key=lambda one: one.base_offset, reverse=True):
            if header.next_offset == end and _is_ours(header, producer_id, epoch):
                end = header.base_offset
        if end == before or end > before - _BACK:
            return end
    return end


def _is_ours(header: BatchHeader, producer_id: int, epoch: int) -> bool:
    return header.is_control and header.producer_id == producer_id and header.producer_epoch == epoch


class Observed:
    """What daemons have recorded of a flow's source: its ends as they were last seen, and what was copied.

    Args:
        log: The state topic of the flow's target.
        uid: The flow's.
    """

    def __init__(self, log: StateLog, uid: str) -> None:
        self._log = log
        self._uid = uid
        shards = state.shards_of(state.get_flow(log.records, uid))
        self._copied = CopiedElsewhere(log, uid, shards)
        self._ends: dict[TopicPartition, tuple[int, int]] = {}
        for shard in range(shards):
            raw = log.records.get(state.source_end_key(uid, shard))
            block = pb.SourceEndBlock.FromString(raw) if raw is not None else pb.SourceEndBlock()
            for one in block.entries:
                # Records of before have one time, at which they were written.
                at_ms = one.observed_ms if one.HasField("observed_ms") else block.observed_ms
                self._ends[TopicPartition(one.topic, one.partition)] = (one.end, at_ms)

    def end(self, where: TopicPartition) -> tuple[int, int] | tuple[None, None]:
        """Return the end of a source partition as it was last seen, and when (ms)."""
        return self._ends.get(where, (None, None))

    def copied(self, where: TopicPartition) -> int | None:
        """Return up to which source offset a partition was recorded as copied."""
        place = self._copied.place(where)
        return place.source if place is not None else None

    def cut(self, where: TopicPartition, mirror: pb.MirrorRecord, target: int) -> Cut:
        """Return a partition's cut where its target's log ends, with what the source was last seen to hold.

        Args:
            where: The partition of the target.
            mirror: Which feeds it.
            target: Where its log ends, below any marker of a fence.

        Raises:
            CorruptRecords: Its offset map is damaged.
        """
        source = TopicPartition(mirror.source_topic, where.partition)
        observed_end, observed_ms = self.end(source)
        recorded = _map_of(mirror, where.partition)
        mapped = recorded is not None and recorded.mapped
        if recorded is None:
            at = target
        elif not mapped:
            at = target - (recorded.base.target_end - recorded.base.source_end)
        else:
            at = self._mapped(source, where, recorded, target)
        return Cut(source.topic, where.partition, max(0, at), target, where.topic, mapped, observed_end, observed_ms)

    def _mapped(self, source: TopicPartition, where: TopicPartition, recorded: pb.PartitionMap, target: int) -> int:
        """Return at least which source offset stands at the end of a mapped log: offsets are only ever left out."""
        known = self._copied.known(source, where, 0)
        end = known.end if known is not None else Place(recorded.base.source_end, recorded.base.target_end)
        return end.source + max(0, target - end.target)


def _map_of(mirror: pb.MirrorRecord, partition: int) -> pb.PartitionMap | None:
    # A look-up alone would add an empty one to the message.
    return mirror.maps[partition] if partition in mirror.maps else None  # noqa: SIM401
