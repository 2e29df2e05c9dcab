"""What all parts of one flow's copy share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.engine.copy.books import CopyCounters
from replicator.model.spec import Isolation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.core.copy.attaching.facts import Writers
    from replicator.engine.copy.frame_line import FrameLine
    from replicator.engine.copy.partitions.live_maps import OffsetMaps
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.copy.partitions.producer_state import ShardProducer
    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.engine.copy.problems import Problems
    from replicator.engine.logs.opening import Opener
    from replicator.engine.logs.side import Side
    from replicator.engine.state.ownership.origins import Origins
    from replicator.engine.work.shards import Shard
    from replicator.model.names import TopicPartition
    from replicator.model.spec import Offsets
    from replicator.wire.topology import Leader


@dataclass(slots=True, kw_only=True)
class CopyContext:
    """The clusters, the flow's policy, and what the parts share; created once per pump.

    Attributes:
        source: The side to read from.
        target: The side to write to.
        writers: The flow's producer identity on the target, for each of its mirrors; replaced after a switch.
        isolation: Which records of the source are copied.
        offsets: Whether target offsets have to be the source's own.
        producers: How this daemon writes to the partitions of each shard.
        maps: The offset maps of partitions whose offsets are not the source's own.
        origins: Finds out who wrote a source record; None unless records of other flows are left out.
        line: The frames, and the readers that wait for one.
        opener: Opens batches that have to be re-encoded.
        problems: What is wrong now, by subject.
        now: Monotonic time, in seconds.
        now_ms: The wall clock in ms, to compare with record times.
        slots: The partitions, by source name.
        counters: Counters.
    """

    source: Side
    target: Side
    writers: Writers
    isolation: Isolation
    offsets: Offsets
    producers: Mapping[Shard, ShardProducer]
    maps: OffsetMaps
    origins: Origins | None
    line: FrameLine
    opener: Opener
    problems: Problems
    now: Callable[[], float]
    now_ms: Callable[[], int]
    slots: dict[TopicPartition, Slot] = field(default_factory=dict)
    counters: CopyCounters = field(default_factory=CopyCounters)

    def leaders_of(self, slot: PartitionView) -> tuple[Leader | None, Leader | None]:
        """Return the leaders of a partition on the source and on the target, as far as known."""
        return self.source.cluster.leader(slot.source), self.target.cluster.leader(slot.target)

    def own(self, view: PartitionView) -> Slot | None:
        """Return the partition behind a view; None if it has been removed or re-created since."""
        slot = self.slots.get(view.source)
        return slot if slot is view else None

    def source_topics(self) -> set[str]:
        """Return the topics that are read."""
        return {slot.source.topic for slot in self.slots.values()}

    def target_topics(self) -> set[str]:
        """Return the topics that are written to."""
        return {slot.target.topic for slot in self.slots.values()}


def wall_ms() -> int:
    """Return the wall clock (Unix, ms)."""
    return time.time_ns() // 1_000_000
