"""What the parts of one flow's copy report to the pump and ask of it. It is a layer above: they do not import it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Iterable

    from replicator.core.copy.attaching.facts import Resume
    from replicator.core.copy.values import Ending, Phase
    from replicator.core.copy.writing.answers import ProduceOutcome
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.model.status.states import Reason


class Supervisor(Protocol):
    """What every part may call."""

    def ended(self, slot: Slot, ending: Ending | None) -> None:
        """Act on what a state machine returned: if a phase has ended, the partition is dealt with; None is ignored."""

    def rest(self, slot: Slot, detail: str, reason: Reason) -> None:
        """End a partition's episode over a condition that will not pass soon, and retry at a slow pace."""

    def stop_over_bug(self, slot: Slot, bug: Exception) -> None:
        """Stop one partition over a bug in this software; the others continue."""

    def answered(self, slot: Slot, outcome: ProduceOutcome, ending: Ending | None = None) -> None:
        """Act on a response of the target, beyond what the state machine made of it."""

    def has_work(self, slot: Slot) -> None:
        """Note that this partition has something to send."""

    def wants_more(self, slot: Slot) -> bool:
        """Return whether to read more of a partition now."""

    def wake_readers(self) -> None:
        """Let readers use what has become free, the waiting ones first."""

    def wake_writers(self) -> None:
        """Let writers send what has become ready."""

    def leaders_stale(self, *, source: bool = True, target: bool = True) -> None:
        """Note that leaders of a side may have moved."""

    def start(self, work: Coroutine[None, None, None], *slots: Slot) -> asyncio.Task[None]:
        """Run a coroutine as a task; an unexpected error stops the partitions it works for, with a named reason."""


class AttachSupervisor(Supervisor, Protocol):
    """What the attach loop calls in addition."""

    def begin_copying(self, slot: Slot, decision: Resume, source_epoch: int) -> bool:
        """Start copying at the place the attach found; return False if a leader was lost in the meantime."""

    def seed(self, slot: Slot, offset: int) -> None:
        """Make a partition's log on the target start at `offset`."""

    def topics_stale(self) -> None:
        """Note that a topic may have been deleted, or become inaccessible."""

    def tick(self, now: float) -> None:
        """Do what is due about once a second, at monotonic time `now`."""


class SeedSupervisor(Supervisor, Protocol):
    """What the seeder calls in addition."""

    async def remember_seed(self, slot: Slot, offset: int) -> None:
        """Record that there may be fillers below `offset`; raises what the state topic raises."""

    def seeded(self, slots: Iterable[Slot]) -> None:
        """Read the facts of partitions again, now that the target's log start is in place."""


class EndCheckSupervisor(Supervisor, Protocol):
    """What the checks of log ends call in addition."""

    def waits_for_its_turn(self, slot: Slot) -> bool:
        """Return whether other partitions fill their broker's responses, so that this one has no room in them."""


class ReadSupervisor(Supervisor, Protocol):
    """What a reader calls in addition."""

    def answered_empty(self, slot: Slot) -> None:
        """Note that a response held nothing of a partition that should have more."""


class Watcher(Protocol):
    """Learns what happens to partitions (the flow runner)."""

    def changed(self, slot: PartitionView, before: Phase, text: str) -> None:
        """A partition has changed its phase."""

    def activated(self, slot: PartitionView) -> None:
        """A partition is copied for the first time."""

    def intact_below(self, slot: PartitionView, source_end: int) -> int:
        """Return the source offset below which cleaned records may have taken tombstones with them; 0 for none."""

    async def seeding(self, slot: PartitionView, offset: int) -> None:
        """A partition is about to be seeded: record it before the first filler."""

    def topics_stale(self) -> None:
        """A topic seems to have been deleted or re-created: check at once."""
