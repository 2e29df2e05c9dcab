"""What is asked of offset translation, and what is answered."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class TranslationState(enum.StrEnum):
    """What an answer is worth. The first two give an offset, the others give none."""

    EXACT = "exact"
    """Reading the other side from there gives the copy of the first record at or after the asked offset."""
    BELOW_LOG_START = "below_log_start"
    """The other side does not go back that far (any more): the offset is where its log starts."""
    NOT_YET_REPLICATED = "not_yet_replicated"
    """The asked source offset lies beyond what is copied."""
    BEYOND_TARGET_END = "beyond_target_end"
    """The asked target offset lies beyond the target's end."""
    BELOW_MAP = "below_map"
    """It lies below the first place that is known: what stood there was taken over, or there were too many runs."""
    NOT_ATTACHED = "not_attached"
    """The daemon has not looked at this partition since it started."""
    FAULTED = "faulted"
    """The partition stopped because one of its logs is not the one that was copied."""
    SOURCE_UNSEEN = "source_unseen"
    """The source cannot be asked now where the moment stands in its log."""


@dataclass(frozen=True, slots=True)
class OffsetQuestion:
    """One offset of one partition: of the source, or where the direction is reversed of the target.

    An offset is always the *next* record to read, as in a committed offset.
    """

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class TimeQuestion:
    """A moment of a source topic: Unix time in milliseconds; `partition` None stands for all of them."""

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
        source_offset: What was asked, or the answer where the direction is reversed; None where there is none.
        target_offset: The answer, or what was asked.
        state: What the answer is worth.
        behind_records: By how many offsets the question lies beyond what is copied; None for other states.
        detail: The same in words, where there is more to say.
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
        """Whether there is an offset to go on at."""
        return self.source_offset is not None and self.target_offset is not None
