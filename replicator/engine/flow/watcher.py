"""What the pump of one flow tells about its partitions is recorded (`copy.pump.Watcher`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.engine.flow.source_ends import intact_below

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.core.copy.values import Phase
    from replicator.engine.copy.view import PartitionView
    from replicator.engine.flow.inputs import FlowInputs
    from replicator.engine.flow.standing import Standing


class PumpWatcher:
    """The watcher of one flow's pump; see `Watcher`.

    Args:
        inputs: What the flow works with.
        standing: How it stands.
        unrecorded: Called when a partition is copied for the first time, which has to be recorded.
        topics_stale: Called when topics have to be looked at.
    """

    def __init__(
        self,
        inputs: FlowInputs,
        standing: Standing,
        unrecorded: Callable[[], None],
        topics_stale: Callable[[], None],
    ) -> None:
        self._inputs = inputs
        self._standing = standing
        self._unrecorded = unrecorded
        self.topics_stale = topics_stale

    def changed(self, slot: PartitionView, before: Phase, text: str) -> None:
        """A partition changed its phase (`pump.Watcher`)."""
        self._inputs.history.changed(slot, before, text)

    def activated(self, slot: PartitionView) -> None:
        """A partition is copied for the first time (`pump.Watcher`)."""
        del slot
        self._unrecorded()

    def intact_below(self, slot: PartitionView, source_end: int) -> int:
        """Return below which source offset nothing may have been cleaned away (`pump.Watcher`)."""
        parts = self._standing.parts
        mirror = parts.sync.mirrors.get(slot.source.topic) if parts is not None else None
        if parts is None or mirror is None:
            return 0
        return intact_below(slot, mirror, source_end, parts.pump)

    async def seeding(self, slot: PartitionView, offset: int) -> None:
        """A partition is going to be seeded (`pump.Watcher`)."""
        parts = self._standing.parts
        if parts is None:
            return
        mirror = parts.sync.mirrors[slot.source.topic]
        mirror.seeded[slot.source.partition] = max(offset, mirror.seeded.get(slot.source.partition, 0))
        await parts.sync.records.write()
