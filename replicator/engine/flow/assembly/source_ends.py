"""The source's ends as last seen, kept on `replicator.state`: a failover derives its loss from them.

Each end comes with the time at which the target last held everything the source was seen to hold.
If a copy of a compacted topic lags for longer than the source keeps tombstones, it may never see some of them, and
deleted keys would live on. That is reported at the first offset that the cleaner took; it is never ignored.
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
    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.engine.state.topic.log import StateLog
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
                # If the number of shards was changed, a partition may have moved to another shard.
                levels[where] = max(one.caught_up_ms, levels.get(where, 0))
        self._levels = levels

    def level_ms(self, where: TopicPartition) -> int:
        """Return when the target held all of a partition (Unix, ms), as recorded at the last `read`; 0 for never."""
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
            pump.sightings.take_silence(slot)
            end, at = slot.lag.observed_end, slot.lag.observed_at
            if end is None or at is None:
                continue
            entry = pb.SourceEndBlock.Entry(
                topic=slot.source.topic,
                partition=slot.source.partition,
                end=end,
                caught_up_ms=pump.sightings.level_ms(slot),
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
    """Return the source offset below which cleaned records may have taken tombstones with them; 0 for none.

    The first copy of a partition starts with an empty target, so there is nothing to delete, unless it takes too long.
    If a source keeps tombstones for less than a minute, any reader may miss them; so less than that never counts.
    """
    if not slot.recorded.cleaning.certain or mirror.delete_retention_ms is None:
        return 0
    level_ms = max(pump.sightings.level_ms(slot), mirror.tombstones_ok_ms.get(slot.source.partition, 0))
    kept_ms = max(mirror.delete_retention_ms, _FORGIVEN_MS)
    return source_end if level_ms and pump.context.now_ms() - level_ms > kept_ms else 0
