"""The readers and writers of one pump, and the pair that each partition is routed through."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from replicator.engine.copy.reading.reader import SourceReader
from replicator.engine.copy.writing.writer import TargetWriter

if TYPE_CHECKING:
    from collections.abc import Collection

    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.copy.ports import ReadSupervisor
    from replicator.wire.frames import Frame

_QUEUED_BYTES_MAX = 1 << 20
"""A partition with more unsent bytes than this is not read: one stuck partition must not hold all frames."""


class Routes:
    """One reader per source broker and one writer per target broker; both stay while partitions come and go.

    Args:
        context: What the parts of the pump share.
        supervisor: The pump.

    Attributes:
        queued_bytes_max: A partition with more unsent bytes than this is not read.
    """

    def __init__(self, context: CopyContext, supervisor: ReadSupervisor) -> None:
        self.queued_bytes_max = _QUEUED_BYTES_MAX
        self._context = context
        self._supervisor = supervisor
        self._owing: set[TargetWriter] = set()
        self._readers: dict[int, SourceReader] = {}
        self._writers: dict[int, TargetWriter] = {}
        self._reader_of: dict[Slot, SourceReader] = {}
        self._writer_of: dict[Slot, TargetWriter] = {}

    def __contains__(self, slot: Slot) -> bool:
        return slot in self._writer_of

    def begin(self, slot: Slot, source_node: int, target_node: int) -> None:
        """Route a partition from a source broker to a target broker."""
        reader = self._readers.get(source_node)
        if reader is None:
            reader = self._readers[source_node] = SourceReader(self._context, self._supervisor, source_node)
            self._context.line.serve(len(self._readers))
        writer = self._writers.get(target_node)
        if writer is None:
            writer = self._writers[target_node] = TargetWriter(self._context, self._supervisor, target_node)
        reader.add(slot)
        self._reader_of[slot] = reader
        self._writer_of[slot] = writer

    def end(self, slot: Slot) -> None:
        """Stop reading and writing a partition; responses that are still in flight are dropped."""
        reader = self._reader_of.pop(slot, None)
        if reader is not None:
            reader.remove(slot)
        writer = self._writer_of.pop(slot, None)
        if writer is not None:
            writer.forget(slot)

    def close(self) -> None:
        """Close every connection; safe to call twice."""
        for reader in self._readers.values():
            reader.close()
        for writer in self._writers.values():
            writer.close()

    # -- what there is to do ----------------------------------------------------------------------------------------

    def ready(self, slot: Slot) -> None:
        """Note that this partition has something to send."""
        writer = self._writer_of.get(slot)
        if writer is not None:
            writer.ready(slot)

    def wants_more(self, slot: Slot) -> bool:
        """Return whether to read more of a partition now."""
        return self._writer_of.get(slot) not in self._owing and slot.copy.wants_more(self.queued_bytes_max)

    def readers_kick(self) -> None:
        """Let readers use what has become free, the waiting ones first."""
        self._context.line.kick_all(self._readers.values())

    def writers_kick(self) -> None:
        """Let writers send what has become ready."""
        for writer in self._writers.values():
            writer.kick()

    def note_who_owes(self, now: float) -> None:
        """Read nothing more for target brokers that owe us responses, until they respond.

        Otherwise the batches that wait for one hanging broker would hold every frame, and nothing would be read for the
        other brokers until its requests had timed out.
        """
        before, line = self._owing, self._context.line
        self._owing = {writer for writer in self._writers.values() if writer.owes(now)}
        line.is_owed, line.owed_bytes = bool(self._owing), self._held_for(self._owing)
        if line.frames.is_stuck(line.owed_bytes):
            for reader in self._readers.values():
                reader.give_up_what_waits()
        changed = self._owing ^ before
        for slot, writer in self._writer_of.items() if changed else ():
            if writer in changed and slot in self._reader_of:
                self._reader_of[slot].recheck(slot)

    def _held_for(self, writers: Collection[TargetWriter]) -> int:
        """Return how many bytes of frames are held by batches that some writers have yet to send."""
        if not writers:
            return 0
        slots = [slot for slot, writer in self._writer_of.items() if writer in writers]
        frames = {cast("Frame", batch.owner) for slot in slots for batch in slot.copy.sending.held()}
        return sum(frame.made_bytes for frame in frames)

    # -- what is known ----------------------------------------------------------------------------------------------

    def led_elsewhere(self) -> list[tuple[Slot, str]]:
        """Return the partitions whose leader is no longer the broker they are routed through, with the side of it."""
        source, target = self._context.source.cluster, self._context.target.cluster
        moved: list[tuple[Slot, str]] = []
        for slot, reader in self._reader_of.items():
            leader = source.leader(slot.source)
            if leader is None or leader.node != reader.node:
                moved.append((slot, "source"))
        for slot, writer in self._writer_of.items():
            leader = target.leader(slot.target)
            if leader is None or leader.node != writer.node:
                moved.append((slot, "target"))
        return moved

    def take_silence(self, slot: Slot) -> None:
        """Update a partition's lag meter from what was acknowledged and from what a silent fetch session proves."""
        slot.lag.reach(slot.copy.acked_offset)
        reader = self._reader_of.get(slot)
        at = reader.unchanged_at(slot) if reader is not None else None
        if at is not None:
            slot.lag.confirm(at)

    def waits_for_its_turn(self, slot: Slot) -> bool:
        """Return whether other partitions fill their broker's responses, so that this one has no room in them."""
        reader = self._reader_of.get(slot)
        return reader is not None and reader.is_crowded

    def nodes(self) -> tuple[set[int], set[int]]:
        """Return the brokers that partitions are routed through, on the source and on the target."""
        # Readers and writers know them: a thousand partitions share a handful of brokers.
        return {reader.node for reader in set(self._reader_of.values())}, {
            writer.node for writer in set(self._writer_of.values())
        }
