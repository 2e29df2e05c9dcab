"""All partitions of one pump at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicator.engine.copy.attaching.attacher import AttachLoop
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.routes import Routes
    from replicator.model.names import TopicPartition


class Overview:
    """What the partitions of one pump do and wait for, taken together."""

    def __init__(self, context: CopyContext, routes: Routes, attach_loop: AttachLoop) -> None:
        self._context = context
        self._routes = routes
        self._attach_loop = attach_loop

    def all_copying(self) -> bool:
        """Return whether all partitions are copied: none is being attached, waits or is stopped."""
        return self._attach_loop.is_empty()

    def lag_records(self) -> int:
        """Return the total lag, in records, of the partitions that are copied."""
        return sum(
            max(0, slot.lag.observed_end - slot.copy.acked_offset)
            for slot in self._context.slots.values()
            if slot.lag.observed_end is not None and slot.copy.is_copying()
        )

    def present_problems(self) -> dict[str, str]:
        """Return the problems by subject, without those of brokers that no partition uses any more."""
        return self._context.problems.present(*self._nodes(self._attach_loop.waiting.asked))

    def leaderless(self) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """Return the flow's partitions without a leader, on the source and on the target."""
        # Partitions that are copied had a leader a moment ago; without one they would no longer be copied.
        return self._attach_loop.waiting.leaderless

    def nodes_in_use(self) -> tuple[set[int], set[int]]:
        """Return the brokers that lead the flow's partitions, on the source and on the target, as far as is known."""
        return self._nodes(self._attach_loop.waiting.leaders)

    def _nodes(self, waiting: tuple[set[int], set[int]]) -> tuple[set[int], set[int]]:
        there, here = self._routes.nodes()
        return there | waiting[0], here | waiting[1]
