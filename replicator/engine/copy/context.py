"""What all parts of one flow's copy share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.engine.copy.books import Books

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.core.copy.attach_facts import Writers
    from replicator.engine.copy.frame_line import FrameLine
    from replicator.engine.copy.live_maps import OffsetMaps
    from replicator.engine.copy.partition import Slot
    from replicator.engine.copy.problems import Problems
    from replicator.engine.copy.producer_state import ShardProducer
    from replicator.engine.copy.view import PartitionView
    from replicator.engine.logs.opening import Opener
    from replicator.engine.logs.side import Side
    from replicator.engine.state.ownership.origins import Origins
    from replicator.engine.work.shards import Shard
    from replicator.model.names import TopicPartition
    from replicator.model.spec import Offsets
    from replicator.wire.topology import Leader


@dataclass(slots=True, kw_only=True)
class CopyContext:
    """The clusters, the flow's policy, and what the parts share; made once per pump.

    Attributes:
        source: Where to read.
        target: Where to write.
        writers: Who the flow is on the target, for each of its mirrors; another one after a switch.
        committed_only: Whether only committed records are copied.
        offsets: Whether target offsets have to be the source's own.
        producers: How this daemon writes to the partitions of each shard.
        maps: Where offsets stand that are not the source's own.
        origins: Whose records the source holds, where those of other flows are not copied.
        line: The frames, and the readers that wait for one.
        opener: Opens batches that have to be encoded anew.
        problems: What is wrong now, by place.
        now: Monotonic time, in seconds.
        now_ms: The wall clock in ms, to compare with record times.
        slots: The partitions, by source name.
        books: Counters.
    """

    source: Side
    target: Side
    writers: Writers
    committed_only: bool
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
    books: Books = field(default_factory=Books)

    def leaders_of(self, slot: PartitionView) -> tuple[Leader | None, Leader | None]:
        """Return who leads a partition on the source and on the target, as known."""
        return self.source.cluster.leader(slot.source), self.target.cluster.leader(slot.target)
