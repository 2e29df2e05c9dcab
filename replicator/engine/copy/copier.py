"""A way of copying, as the rest of the engine knows it.

An order names the very view that it is about: one whose partition was made again meanwhile belongs to nobody any more,
and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Coroutine, Mapping

    from replicator.core.copy.values import TargetLimits
    from replicator.core.verify.track import VerifyTrack
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.recorded import Cleaning, Recorded
    from replicator.engine.copy.view import PartitionView
    from replicator.engine.logs.side import Side
    from replicator.engine.work.shards import Shard, Shards
    from replicator.model.names import TopicPartition
    from replicator.model.states import Reason


class Copier(Protocol):
    """Copies the partitions of one flow."""

    @property
    def context(self) -> CopyContext:
        """The clusters, the clocks, the counters."""

    @property
    def shards(self) -> Shards:
        """The flow's shards, with this daemon's rights on each."""

    @property
    def source(self) -> Side:
        """Where it reads."""

    @property
    def target(self) -> Side:
        """Where it writes."""

    @property
    def partitions(self) -> Mapping[TopicPartition, PartitionView]:
        """The partitions, by source name."""

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
        """Begin with a partition; it is attached as soon as its leaders are known.

        Args:
            source: The partition on the source.
            target: The partition on the target.
            limits: What the target accepts.
            recorded: What is known of it; nothing where it is new.
            doubt_until: Monotonic time until which a write of its predecessor may still arrive; None where none may.
        """

    def renew(self, view: PartitionView, limits: TargetLimits, cleaning: Cleaning) -> None:
        """Take what both topics' settings say by now."""

    def remove(self, view: PartitionView) -> None:
        """End with a partition for good."""

    def pause(self, view: PartitionView, text: str = "paused") -> None:
        """Stop a partition by wish; `text` says whose."""

    def resume(self, view: PartitionView) -> None:
        """Let a paused or faulted partition begin again, once no answer of before is outstanding."""

    def fault(self, view: PartitionView, reason: Reason, detail: str) -> None:
        """Stop a partition with a named reason."""

    async def drain(self, views: Collection[PartitionView], seconds: float, text: str) -> bool:
        """Send nothing new of some partitions and wait for answers; return whether none is missing."""

    async def persist_maps(self, shards: Collection[Shard]) -> None:
        """Write what is known of offsets that are not the source's own; raises what the state topic raises."""

    # -- orders: what was seen elsewhere ----------------------------------------------------------------------------

    def take_silence(self, view: PartitionView) -> None:
        """Note up to when the source surely ended where it was last told to end, as its leader said nothing since."""

    def note_end(self, view: PartitionView, end: int, at: float) -> None:
        """Note where the source ended at monotonic time `at`."""

    def note_starts(self, view: PartitionView, source: int | None = None, target: int | None = None) -> None:
        """Note where logs begin; None leaves what is known."""

    def level_ms(self, view: PartitionView) -> int:
        """Return when the target last held all that the source was seen to hold (Unix, ms), 0 for never."""

    def track_of(self, view: PartitionView) -> VerifyTrack:
        """Return how far a partition's copy was verified; from now on somebody looks."""

    # -- the whole ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Copy until cancelled."""

    def close(self) -> None:
        """Stop everything; safe to call twice."""

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run a coroutine beside the copy; an unexpected error of it belongs to the flow."""

    def wake_writers(self) -> None:
        """Let writers send what became ready."""

    def leaders_stale(self, *, source: bool = True, target: bool = True) -> None:
        """The leaders of a side may have moved."""

    def all_copying(self) -> bool:
        """Return whether no partition is being attached, waits or stands still."""

    def lag_records(self) -> int:
        """Return how many records the partitions that are copied are behind, all together."""

    def present_trouble(self) -> dict[str, str]:
        """Return problems by place, without those of brokers which nothing is asked of any more."""

    def leaderless(self) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """Return the partitions that nobody leads, on the source and on the target."""

    def nodes_in_use(self) -> tuple[set[int], set[int]]:
        """Return the brokers that lead the flow's partitions, on the source and on the target."""
