"""What one reader reads: which partitions, from which offset, and which of them separately from the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.wire.messages.data.fetch import Wanted

if TYPE_CHECKING:
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.copy.ports import ReadSupervisor
    from replicator.model.names import TopicPartition

_PARTITION_BYTES_MAX = 2 << 20
_PARTITION_BYTES_MIN = 128 << 10


class ReadPlan:
    """The partitions of one reader.

    Attributes:
        slots: The partitions that are read, by source name.
        wanted: What the fetch session was last asked to read of each.
        asking_whose: Partitions for which it has to be found out first who wrote the next batch.
        opening: Partitions with a batch that is being opened off the event loop.
        waits_to_open: Partitions with a batch that has to be opened once others are done.
    """

    def __init__(self, context: CopyContext, supervisor: ReadSupervisor) -> None:
        self.slots: dict[TopicPartition, Slot] = {}
        self.wanted: dict[TopicPartition, Wanted] = {}
        self.asking_whose: set[Slot] = set()
        self.opening: set[Slot] = set()
        self.waits_to_open: set[Slot] = set()
        self._context = context
        self._supervisor = supervisor
        self._recheck: dict[TopicPartition, None] = {}
        self._listed: set[TopicPartition] = set()
        self._bytes_needed: dict[Slot, int] = {}
        self._alone: dict[Slot, None] = {}

    def add(self, slot: Slot) -> None:
        """Read this partition from now on."""
        self.slots[slot.source] = slot
        self._recheck[slot.source] = None

    def remove(self, slot: Slot) -> None:
        """Stop reading it."""
        self.slots.pop(slot.source, None)
        self._bytes_needed.pop(slot, None)
        self._alone.pop(slot, None)
        self.waits_to_open.discard(slot)
        self._recheck[slot.source] = None

    def reads(self, slot: Slot) -> bool:
        """Return whether this very partition is read, and not another one of the same name."""
        return self.slots.get(slot.source) is slot

    def recheck(self, *partitions: TopicPartition) -> None:
        """Check with the next request whether to read these, and from which offset."""
        self._recheck.update(dict.fromkeys(partitions))

    def forget_later(self, *partitions: TopicPartition) -> None:
        """Have the session forget these with the next request: the one that should have said so was not sent.

        The broker still lists them, from old offsets: it would answer every request with what nobody takes, at once.
        """
        self._listed.update(partitions)
        self.recheck(*partitions)

    def ask_alone(self, *slots: Slot) -> None:
        """Fetch each of these alone, after those that already wait for that."""
        self._alone.update(dict.fromkeys(slots))

    def next_alone(self) -> Slot | None:
        """Return the next partition to fetch alone, and take it off the list."""
        while self._alone:
            slot = next(iter(self._alone))
            del self._alone[slot]
            if self._supervisor.wants_more(slot) and self.may_be_read(slot):
                return slot
        return None

    def make_room_for(self, slot: Slot, claimed_bytes: int) -> None:
        """Ask for more bytes of a partition whose next batch was cut off; if that does not help, fetch it alone."""
        known_bytes = self._bytes_needed.get(slot, 0)
        if known_bytes < claimed_bytes <= frame_payload_bytes(self._context.line.frames.frame_bytes):
            self._bytes_needed[slot] = claimed_bytes
        else:
            self.ask_alone(slot)

    def changes(self) -> tuple[dict[TopicPartition, Wanted], list[TopicPartition]]:
        """Bring `wanted` up to date; return what has changed and what is gone since the last request.

        Only partitions that something happened to are examined: a thousand idle ones cost nothing here.
        """
        leader = self._context.source.cluster.leader
        share = frame_payload_bytes(self._context.line.frames.frame_bytes) // len(self.slots)
        bytes_max = max(_PARTITION_BYTES_MIN, min(_PARTITION_BYTES_MAX, share))
        changed: dict[TopicPartition, Wanted] = {}
        gone: list[TopicPartition] = []
        blocked: dict[TopicPartition, None] = {}
        for where in self._recheck:
            slot = self.slots.get(where)
            wants = slot is not None and self._supervisor.wants_more(slot) and self.may_be_read(slot)
            known = leader(where) if wants else None
            if slot is None or known is None:
                if self.wanted.pop(where, None) is not None or slot is None or where in self._listed:
                    gone.append(where)
                if slot is not None:
                    blocked[where] = None  # examined again with every request, until it wants more
                continue
            reading = slot.copy.reading
            share_bytes = max(bytes_max, self._bytes_needed.get(slot, 0))
            changed[where] = self.wanted[where] = Wanted(
                reading.next_offset, known.epoch, reading.last_epoch, share_bytes
            )
        self._recheck = blocked
        self._listed.clear()
        return changed, gone

    def may_be_read(self, slot: Slot) -> bool:
        """Return whether nothing remains to be found out, or done, about what was read last."""
        if slot in self.asking_whose or slot in self.opening:
            return False
        return slot not in self.waits_to_open or not self._context.opener.is_busy


def frame_payload_bytes(frame_bytes: int) -> int:
    """Return how many bytes of records to ask for, so that the whole response fits into a frame."""
    return frame_bytes - (frame_bytes >> 4)
