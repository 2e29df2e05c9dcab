"""The readers and writers of one pump, and which of them each partition goes through."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from replicator.engine.copy.reading.reader import SourceReader
from replicator.engine.copy.writing.writer import TargetWriter

if TYPE_CHECKING:
    from collections.abc import Collection

    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.partition import Slot
    from replicator.engine.copy.ports import ReadSupervisor
    from replicator.wire.frames import Frame

_QUEUED_BYTES_MAX = 1 << 20
"""A partition with more than this unsent is not read: one that is stuck must not hold all frames."""


class Routes:
    """One reader for each source broker, one writer for each target broker; both stay, a partition comes and goes.

    Args:
        context: What the parts of the pump share.
        supervisor: The pump.

    Attributes:
        queued_bytes_max: A partition with more than this unsent is not read.
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
        """Let a partition go from a source broker to a target broker."""
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
        """Read and write nothing of a partition any more; answers on their way find nobody."""
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
        """Something of this partition can be sent."""
        writer = self._writer_of.get(slot)
        if writer is not None:
            writer.ready(slot)

    def wants_more(self, slot: Slot) -> bool:
        """Return whether more of a partition is to be read now."""
        return self._writer_of.get(slot) not in self._owing and slot.copy.wants_more(self.queued_bytes_max)

    def readers_kick(self) -> None:
        """Let readers use what became free: those that wait for it first."""
        self._context.line.kick_all(self._readers.values())

    def writers_kick(self) -> None:
        """Let writers send what became ready."""
        for writer in self._writers.values():
            writer.kick()

    def note_who_owes(self, now: float) -> None:
        """Read nothing more for target brokers that owe their answers, until they give them.

        Else a single one that hangs would hold every frame with what waits for it, and nothing would be read for the
        others until its requests had timed out.
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
                self._reader_of[slot].look_at(slot)

    def _held_for(self, writers: Collection[TargetWriter]) -> int:
        """Return how many bytes of frames are held by what is to be sent by some writers."""
        if not writers:
            return 0
        slots = [slot for slot, writer in self._writer_of.items() if writer in writers]
        frames = {cast("Frame", batch.owner) for slot in slots for batch in slot.copy.sending.held()}
        return sum(frame.made_bytes for frame in frames)

    # -- what is known ----------------------------------------------------------------------------------------------

    def led_elsewhere(self) -> list[tuple[Slot, str]]:
        """Return the partitions that another broker leads by now than they go through, with the side it is on."""
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
        """Bring a partition's lag meter up to date: with what was acknowledged, and what a silent session proves."""
        slot.lag.reach(slot.copy.acked_offset)
        reader = self._reader_of.get(slot)
        at = reader.unchanged_at(slot) if reader is not None else None
        if at is not None:
            slot.lag.confirm(at)

    def waits_for_its_turn(self, slot: Slot) -> bool:
        """Return whether the broker of a partition gives so much of others that there is no room for its own."""
        reader = self._reader_of.get(slot)
        return reader is not None and reader.is_crowded

    def nodes(self) -> tuple[set[int], set[int]]:
        """Return the brokers that partitions go through, on the source and on the target."""
        # Of those that are copied the readers and writers know; a thousand of them are a handful of brokers.
        return {reader.node for reader in set(self._reader_of.values())}, {
            writer.node for writer in set(self._writer_of.values())
        }
