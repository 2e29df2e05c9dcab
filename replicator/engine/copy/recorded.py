"""What is known of a partition before its logs are read: whoever begins with one says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What the source's cleaner may take from inside a log.

    Attributes:
        possible: Whether it may take records, as far as is known.
        certain: Whether it is known that it may.
        only: Whether nothing but the cleaner takes records: then the log's start cannot be moved.
    """

    possible: bool = False
    certain: bool = False
    only: bool = False


@dataclass(slots=True)
class Recorded:
    """What is known of one partition before its logs are read: from the state topic, and from both topics' settings.

    Attributes:
        active: Whether the mirror record holds it as ACTIVE: once it does, its offsets are never seeded again.
        begin_at_end: Whether it begins at the source's end (`start: latest`).
        cleaning: What the source's cleaner may take.
        level_ms: When the target last held all that the source was seen to hold (Unix, ms); 0 for never.
        seeded_to: Offset below which the target may hold fillers, as recorded; 0 for none.
        stored_epoch: Last source leader epoch known, from the state topic or from what was read; -1 for none.
        epochs_unproven: Source offset below which batches may claim leader epochs above the leader's: they are ignored.
    """

    active: bool = False
    begin_at_end: bool = False
    cleaning: Cleaning = Cleaning()
    level_ms: int = 0
    seeded_to: int = 0
    stored_epoch: int = -1
    epochs_unproven: int = 0

    def was_level_at(self, unix_ms: int) -> None:
        """Note that the target held all that the source was seen to hold."""
        self.level_ms = max(self.level_ms, unix_ms)
