"""Questions to offset translation, and its answers."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class TranslationState(enum.StrEnum):
    """What an answer is worth. The first two come with an offset, the others without."""

    EXACT = "exact"
    """Reading the other side from there returns the copy of the first record at or after the given offset."""
    BELOW_LOG_START = "below_log_start"
    """The other side does not go back that far (any more): the offset is where its log starts."""
    NOT_YET_REPLICATED = "not_yet_replicated"
    """The given source offset lies beyond what is copied."""
    BEYOND_TARGET_END = "beyond_target_end"
    """The given target offset lies beyond the target's end."""
    BELOW_MAP = "below_map"
    """It lies below the first known place: those records were taken over, or the map had too many runs."""
    NOT_ATTACHED = "not_attached"
    """The daemon has not attached this partition since it started."""
    FAULTED = "faulted"
    """The partition stopped because one of its logs is not the one that was copied."""
    SOURCE_UNSEEN = "source_unseen"
    """The source does not answer now, so nobody knows where that time lies in its log."""


@dataclass(frozen=True, slots=True)
class OffsetQuestion:
    """One offset of one partition: on the source, or on the target if the direction is reversed.

    An offset is always the *next* record to read, as in a committed offset.
    """

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class TimeQuestion:
    """A point in time in a source topic: Unix time in milliseconds; `partition` None means all partitions."""

    topic: str
    time_ms: int
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Translation:
    """The answer to one question.

    Attributes:
        topic: Name on the source.
        target_topic: Name on the target.
        partition: The same on both.
        source_offset: The given offset, or the answer if the direction is reversed; None if there is none.
        target_offset: The answer, or the given offset if the direction is reversed; None if there is none.
        state: What the answer is worth.
        behind_records: By how many offsets the question lies beyond what is copied; None for other states.
        detail: The same in words, if there is more to say.
    """

    topic: str
    target_topic: str
    partition: int
    source_offset: int | None
    target_offset: int | None
    state: TranslationState
    behind_records: int | None = None
    detail: str | None = None

    @property
    def is_translated(self) -> bool:
        """Whether there is an offset to continue at."""
        return self.source_offset is not None and self.target_offset is not None
