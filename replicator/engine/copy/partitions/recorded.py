"""What is known about a partition before its logs are read; whoever adds the partition supplies it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What the source's log cleaner may remove from inside a log.

    Attributes:
        possible: Whether it may remove records, as far as is known.
        certain: Whether it is known that it may.
        only: Whether only the cleaner removes records (no retention): then the log start cannot be moved.
    """

    possible: bool = False
    certain: bool = False
    only: bool = False


@dataclass(slots=True)
class Recorded:
    """What is known about a partition before its logs are read: from the state topic and both topics' settings.

    Attributes:
        active: Whether the mirror record lists it as ACTIVE: once it does, the partition is never seeded again.
        begin_at_end: Whether it starts at the source's end (`start: latest`).
        cleaning: What the source's cleaner may remove.
        level_ms: When the target last held everything the source was seen to hold (Unix, ms); 0 for never.
        seeded_to: Offset below which the target may hold fillers, as recorded; 0 for none.
        stored_epoch: Last known source leader epoch, from the state topic or from what was read; -1 for none.
        epochs_unproven: Source offset below which leader epochs that batches claim above the leader's are ignored.
    """

    active: bool = False
    begin_at_end: bool = False
    cleaning: Cleaning = Cleaning()
    level_ms: int = 0
    seeded_to: int = 0
    stored_epoch: int = -1
    epochs_unproven: int = 0

    def was_level_at(self, unix_ms: int) -> None:
        """Note that the target held everything the source was seen to hold."""
        self.level_ms = max(self.level_ms, unix_ms)
