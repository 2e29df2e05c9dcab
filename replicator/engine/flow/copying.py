"""What a switch may ask about the copying of a flow (`switch.context.Copying`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.model.status.states import MirrorState, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from replicator.engine.flow.assembly.assemble import Assembly
    from replicator.model.names import TopicPartition
    from replicator.model.status.groups import GroupOutcome
    from replicator.model.status.snapshots import FlowStatus


class FlowCopying:
    """Answers for a flow that is up in this daemon.

    Args:
        assembly: What the flow is made of.
        paused: Returns whether the operator paused it.
        whole: Returns the status of the whole flow.
    """

    def __init__(
        self, assembly: Assembly, paused: Callable[[], bool], whole: Callable[[], Awaitable[FlowStatus]]
    ) -> None:
        self._assembly = assembly
        self._paused = paused
        self._whole = whole

    def paused(self) -> bool:
        """See `Copying.paused`."""
        return self._paused()

    def wanted(self) -> Iterable[TopicPartition]:
        """See `Copying.wanted`."""
        return self._assembly.positions.wanted(every=True)

    def behind(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        """See `Copying.behind`."""
        return self._assembly.positions.behind(ends)

    async def stopped(self) -> dict[str, str]:
        """See `Copying.stopped`."""
        return {
            mirror.topic: mirror.reason or mirror.detail or mirror.state
            for mirror in (await self._whole()).mirrors
            if mirror.state is MirrorState.FAULTED and mirror.reason not in {Reason.FENCED, Reason.LEFT_OUT}
        }

    def left_out(self) -> frozenset[str]:
        """See `Copying.left_out`."""
        return frozenset(
            name
            for name, mirror in self._assembly.sync.mirrors.items()
            if mirror.fault is not None and mirror.fault.reason is Reason.LEFT_OUT
        )

    async def final_group_sync(
        self, ends: Mapping[TopicPartition, int] | None, topics: Collection[str], *, timeout_seconds: float
    ) -> tuple[GroupOutcome, ...]:
        """See `Copying.final_group_sync`."""
        return await self._assembly.groups.final_sync(ends, topics, timeout_seconds=timeout_seconds)

    async def forget_groups(self, target_topics: Collection[str]) -> None:
        """See `Copying.forget_groups`."""
        await self._assembly.groups.forget(target_topics)

    def works_first(self) -> bool:
        """See `Copying.works_first`."""
        return self._assembly.shards.shards[0].works
