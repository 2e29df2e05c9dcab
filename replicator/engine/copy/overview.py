"""All partitions of one pump at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicator.engine.copy.attaching.attacher import AttachLoop
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.routes import Routes
    from replicator.model.names import TopicPartition


class Overview:
    """What the partitions of one pump do and wait for, all together."""

    def __init__(self, context: CopyContext, routes: Routes, attach_loop: AttachLoop) -> None:
        self._context = context
        self._routes = routes
        self._attach_loop = attach_loop

    def all_copying(self) -> bool:
        """Return whether no partition is being attached, waits or stands still."""
        return self._attach_loop.is_empty()

    def lag_records(self) -> int:
        """Return how many records the partitions that are copied are behind, all together."""
        return sum(
            max(0, slot.lag.observed_end - slot.copy.acked_offset)
            for slot in self._context.slots.values()
            if slot.lag.observed_end is not None and slot.copy.is_copying()
        )

    def present_trouble(self) -> dict[str, str]:
        """Return problems by place, without those of brokers which nothing is asked of any more."""
        return self._context.problems.present(*self._nodes(self._attach_loop.waiting.asked))

    def leaderless(self) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """Return the partitions that nobody leads, on the source and on the target, of what the flow copies."""
        # Those that are copied had a leader a moment ago; once theirs is gone they are copied no more.
        return self._attach_loop.waiting.leaderless

    def nodes_in_use(self) -> tuple[set[int], set[int]]:
        """Return the brokers that lead the flow's partitions, on the source and on the target, as far as is known."""
        return self._nodes(self._attach_loop.waiting.leaders)

    def _nodes(self, apart: tuple[set[int], set[int]]) -> tuple[set[int], set[int]]:
        there, here = self._routes.nodes()
        return there | apart[0], here | apart[1]
