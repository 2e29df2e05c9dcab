"""What the parts of one flow's copy tell the pump, and ask of it: the pump is above them, and they do not know it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Iterable

    from replicator.core.copy.answers import ProduceOutcome
    from replicator.core.copy.attach_facts import Resume
    from replicator.core.copy.values import Ending
    from replicator.engine.copy.partition import Slot
    from replicator.model.states import Reason


class Supervisor(Protocol):
    """What every part may call."""

    def ended(self, slot: Slot, ending: Ending | None) -> None:
        """Take what a machine returned: where a phase ended, the partition is looked at again; None changes nothing."""

    def rest(self, slot: Slot, detail: str, reason: Reason) -> None:
        """End a partition's episode over what will not pass soon; look again at a slow pace."""

    def stop_over_bug(self, slot: Slot, bug: Exception) -> None:
        """Stop one partition over an error of this software; the others go on."""

    def answered(self, slot: Slot, outcome: ProduceOutcome, ending: Ending | None = None) -> None:
        """Take what an answer of the target brought, beside what the machine made of it."""

    def has_work(self, slot: Slot) -> None:
        """Something of this partition can be sent."""

    def wants_more(self, slot: Slot) -> bool:
        """Return whether more of a partition is to be read now."""

    def wake_readers(self) -> None:
        """Let readers use what became free: those that wait for it first."""

    def wake_writers(self) -> None:
        """Let writers send what became ready."""

    def leaders_stale(self, *, source: bool = True, target: bool = True) -> None:
        """The leaders of a side may have moved."""

    def start(self, work: Coroutine[None, None, None], *slots: Slot) -> asyncio.Task[None]:
        """Run a coroutine beside the loop; an unexpected error stops the partitions that it works for, by name."""


class AttachSupervisor(Supervisor, Protocol):
    """What the attach loop calls besides."""

    def begin_copying(self, slot: Slot, decision: Resume, source_epoch: int) -> bool:
        """Open an episode at the place the attach found; False where a leader was lost meanwhile."""

    def seed(self, slot: Slot, offset: int) -> None:
        """Let a partition's log on the target start at `offset`."""

    def topics_stale(self) -> None:
        """A topic may be gone, or out of our reach."""

    def look_around(self, now: float) -> None:
        """Do what is due about once a second, at monotonic time `now`."""


class SeedSupervisor(Supervisor, Protocol):
    """What the seeder calls besides."""

    async def remember_seed(self, slot: Slot, offset: int) -> None:
        """Record that fillers may stand below `offset`; raises what the state topic raises."""

    def seeded(self, slots: Iterable[Slot]) -> None:
        """The target's log start is in place: read the facts again."""


class LookSupervisor(Supervisor, Protocol):
    """What the looks at log ends call besides."""

    def waits_for_its_turn(self, slot: Slot) -> bool:
        """Return whether the broker of a partition gives so much of others that there is no room for its own."""


class ReadSupervisor(Supervisor, Protocol):
    """What a reader calls besides."""

    def answered_empty(self, slot: Slot) -> None:
        """An answer held nothing of a partition that should have more."""
