"""A way of copying, as the rest of the engine knows it.

An order carries the very view that it is about. If the partition was re-created since, that view is obsolete, and the
order changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Coroutine, Mapping

    from replicator.core.copy.attaching.facts import Writers
    from replicator.core.copy.values import TargetLimits
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.overview import Overview
    from replicator.engine.copy.partitions.recorded import Cleaning, Recorded
    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.engine.copy.sightings import Sightings
    from replicator.engine.logs.side import Side
    from replicator.engine.work.shards import Shard, Shards
    from replicator.model.names import TopicPartition
    from replicator.model.status.states import Reason


class Copier(Protocol):
    """Copies the partitions of one flow."""

    @property
    def context(self) -> CopyContext:
        """The clusters, the clocks, the counters."""

    @property
    def shards(self) -> Shards:
        """The flow's shards, with the rights this daemon has on each."""

    @property
    def source(self) -> Side:
        """The side it reads from."""

    @property
    def target(self) -> Side:
        """The side it writes to."""

    @property
    def partitions(self) -> Mapping[TopicPartition, PartitionView]:
        """The partitions, by source name."""

    @property
    def sightings(self) -> Sightings:
        """Accepts what other rooms have seen."""

    @property
    def overview(self) -> Overview:
        """All partitions at a glance."""

    # -- orders: partitions -----------------------------------------------------------------------------------------

    def add(
        self,
        source: TopicPartition,
        target: TopicPartition,
        limits: TargetLimits,
        recorded: Recorded | None = None,
        *,
        doubt_until: float | None = None,
    ) -> PartitionView:
        """Add a partition; it is attached as soon as its leaders are known.

        Args:
            source: The partition on the source.
            target: The partition on the target.
            limits: What the target accepts.
            recorded: What is recorded about it; None for a new partition.
            doubt_until: Monotonic time until which a write of its predecessor may still arrive; None if there is none.
        """

    def renew(self, view: PartitionView, limits: TargetLimits, cleaning: Cleaning) -> None:
        """Apply what the settings of both topics say now."""

    def remove(self, view: PartitionView) -> None:
        """Remove a partition for good."""

    def pause(self, view: PartitionView, text: str = "paused") -> None:
        """Stop a partition on request; `text` says who asked."""

    def resume(self, view: PartitionView) -> None:
        """Let a paused or faulted partition start again, once no response to an earlier request is outstanding."""

    def fault(self, view: PartitionView, reason: Reason, detail: str) -> None:
        """Stop a partition with a named reason."""

    def write_as(self, writers: Writers) -> None:
        """Write under these identities from now on; partitions whose own changed have to be removed, or stopped."""

    async def drain(self, views: Collection[PartitionView], seconds: float, text: str) -> bool:
        """Send nothing new for some partitions and wait for outstanding responses; return whether all have arrived."""

    async def persist_maps(self, shards: Collection[Shard]) -> None:
        """Write the offset maps as far as they are known; raises what the state topic raises."""

    # -- the whole ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Copy until cancelled."""

    def close(self) -> None:
        """Stop everything; safe to call twice."""

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run a coroutine beside the copy; if it fails unexpectedly, the flow does."""

    def wake_writers(self) -> None:
        """Let writers send what has become ready."""

    def leaders_stale(self, *, source: bool = True, target: bool = True) -> None:
        """Note that leaders of a side may have moved."""
