"""Records what the pump of one flow reports about its partitions (`copy.ports.Watcher`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.engine.flow.assembly.source_ends import intact_below

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.core.copy.values import Phase
    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.engine.flow.assembly.inputs import FlowInputs
    from replicator.engine.flow.assembly.run_state import RunState


class PumpWatcher:
    """The watcher of one flow's pump; see `Watcher`.

    Args:
        inputs: What the flow works with.
        run_state: The state of the flow in this daemon.
        unrecorded: Called when a partition is copied for the first time, which has to be recorded.
        topics_stale: Called when a pass over topics is due at once.
    """

    def __init__(
        self,
        inputs: FlowInputs,
        run_state: RunState,
        unrecorded: Callable[[], None],
        topics_stale: Callable[[], None],
    ) -> None:
        self._inputs = inputs
        self._run_state = run_state
        self._unrecorded = unrecorded
        self.topics_stale = topics_stale

    def changed(self, slot: PartitionView, before: Phase, text: str) -> None:
        """Record that a partition has changed its phase (`Watcher.changed`)."""
        self._inputs.history.changed(slot, before, text)

    def activated(self, slot: PartitionView) -> None:
        """Record that a partition is copied for the first time (`Watcher.activated`)."""
        del slot
        self._unrecorded()

    def intact_below(self, slot: PartitionView, source_end: int) -> int:
        """Return the source offset below which tombstones may have been lost (`Watcher.intact_below`)."""
        assembly = self._run_state.assembly
        mirror = assembly.sync.mirrors.get(slot.source.topic) if assembly is not None else None
        if assembly is None or mirror is None:
            return 0
        return intact_below(slot, mirror, source_end, assembly.pump)

    async def seeding(self, slot: PartitionView, offset: int) -> None:
        """Record that a partition is about to be seeded (`Watcher.seeding`)."""
        assembly = self._run_state.assembly
        if assembly is None:
            return
        mirror = assembly.sync.mirrors[slot.source.topic]
        mirror.seeded[slot.source.partition] = max(offset, mirror.seeded.get(slot.source.partition, 0))
        await assembly.sync.records.write()
