"""What is known of the source's ends, kept on `replicator.state`: what a failover states its loss by.

With each end goes the time at which the target last held all that the source was seen to hold.
A copy of a compacted topic that falls behind for longer than the source keeps tombstones may never see some of them:
then deleted keys would live on. That is told at the first offset that the cleaner took, never passed over.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from replicator.aio.turns import Turns
from replicator.core.work.shards import SHARDS_MAX
from replicator.engine.offsets.translate import copied_place
from replicator.engine.state import records as state
from replicator.model.names import TopicPartition
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Collection

    from replicator.engine.copy.copier import Copier
    from replicator.engine.copy.view import PartitionView
    from replicator.engine.state.log import StateLog
    from replicator.engine.topics.mirror import Mirror
    from replicator.engine.work.shards import Shard

_FORGIVEN_MS = 60_000
_ENTRIES_A_TURN = 100


class SourceEnds:
    """The ends of one flow's partitions, as recorded and as seen."""

    def __init__(self, uid: str, state_log: StateLog) -> None:
        self._uid = uid
        self._keys = [state.source_end_key(uid, shard) for shard in range(SHARDS_MAX)]
        self._log = state_log
        self._levels: dict[tuple[str, int], int] = {}

    async def read(self) -> None:
        """Read what is recorded now, for `level_ms`."""
        levels: dict[tuple[str, int], int] = {}
        turns = Turns()
        for key in self._keys:
            for number, one in enumerate(state.source_end_block(self._log.records, key).entries):
                if number % _ENTRIES_A_TURN == 0:
                    await turns.give()
                where = (one.topic, one.partition)
                # A partition has moved between shards where a flow was given another number of them.
                levels[where] = max(one.caught_up_ms, levels.get(where, 0))
        self._levels = levels

    def level_ms(self, where: TopicPartition) -> int:
        """Return when the target was recorded to hold all of a partition (Unix, ms) at the last `read`, 0 for never."""
        return self._levels.get(where, 0)

    async def record(self, pump: Copier, shards: Collection[Shard]) -> None:
        """Append the ends of some shards as last seen, each with the time at which it was seen.

        Raises:
            KafkaError: They could not be written.
        """
        entries: dict[int, list[pb.SourceEndBlock.Entry]] = defaultdict(list)
        turns = Turns()
        for slot in list(pump.partitions.values()):
            await turns.give()
            if slot.shard not in shards or pump.partitions.get(slot.source) is not slot:
                continue
            now, now_ms = pump.context.now(), pump.context.now_ms()
            pump.take_silence(slot)
            end, at = slot.lag.observed_end, slot.lag.observed_at
            if end is None or at is None:
                continue
            entry = pb.SourceEndBlock.Entry(
                topic=slot.source.topic,
                partition=slot.source.partition,
                end=end,
                caught_up_ms=pump.level_ms(slot),
                observed_ms=now_ms - int((now - at) * 1000),
                copied=place.source if (place := copied_place(slot)) is not None else None,
                copied_target=place.target if place is not None else None,
            )
            entries[slot.shard.number].append(entry)
        changes = [
            state.put(
                state.source_end_key(self._uid, shard),
                pb.SourceEndBlock(shard=shard, observed_ms=min(one.observed_ms for one in ends), entries=ends),
            )
            for shard, ends in entries.items()
        ]
        if changes:
            await self._log.append(changes)


def intact_below(slot: PartitionView, mirror: Mirror, source_end: int, pump: Copier) -> int:
    """Return below which source offset nothing may have been cleaned away, 0 where tombstones cannot be lost.

    The first copy of a partition begins with an empty target: there is nothing to delete, until it takes too long.
    A source that keeps tombstones for less than a minute loses them to any reader: that much is forgiven everywhere.
    """
    if not slot.recorded.cleaning.certain or mirror.delete_retention_ms is None:
        return 0
    level_ms = max(pump.level_ms(slot), mirror.tombstones_ok_ms.get(slot.source.partition, 0))
    kept_ms = max(mirror.delete_retention_ms, _FORGIVEN_MS)
    return source_end if level_ms and pump.context.now_ms() - level_ms > kept_ms else 0
