"""How the logs of several regions compare, and what moving a flow to another source would mean."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class LogStanding(enum.StrEnum):
    """Where a copy's log ends in terms of another log."""

    EQUAL = "equal"
    BEHIND = "behind"
    AHEAD = "ahead"
    DIFFERENT = "different"
    EMPTY = "empty"
    OVERTAKEN = "overtaken"
    MAPPED = "mapped"
    MISSING = "missing"
    UNKNOWN = "unknown"


GOES_ON = frozenset({LogStanding.EQUAL, LogStanding.BEHIND, LogStanding.EMPTY})
"""Where copying goes on in place."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The start and the end of a log: the next offset to be written."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Difference:
    """The first offset at which two logs differ, and the times (ms) of both records; None where there is none."""

    offset: int
    ours_ms: int | None
    theirs_ms: int | None


@dataclass(frozen=True, slots=True)
class LogComparison:
    """One partition of a mirror beside the log that it would go on from.

    Attributes:
        topic: The source topic.
        partition: Its number.
        standing: Where our log ends.
        ours: Our log's bounds; None if unknown.
        theirs: The other's; None if unknown.
        difference: Where they differ.
        why: Why nothing is known.
    """

    topic: str
    partition: int
    standing: LogStanding
    ours: Bounds | None = None
    theirs: Bounds | None = None
    difference: Difference | None = None
    why: str = ""

    @property
    def records(self) -> int | None:
        """How many offsets our log is behind (positive) or ahead (negative); None if that cannot be said."""
        if self.ours is None or self.theirs is None or self.standing in {LogStanding.MAPPED, LogStanding.UNKNOWN}:
            return None
        return self.theirs.end - self.ours.end


@dataclass(frozen=True, slots=True)
class RepointReport:
    """What moving a flow to another source means, or that it was ordered.

    Attributes:
        flow: Its name.
        source: Alias of the cluster that it copies from.
        to: Alias of the cluster that it would copy from.
        status: `already_there`, `would_move` or `ordered`.
        goes_on: How many partitions go on in place.
        to_copy: How many offsets these are behind, all together.
        stopped: The partitions that would not go on: a bounded number of them.
        stopped_count: How many there are.
    """

    flow: str
    source: str
    to: str
    status: str
    goes_on: int = 0
    to_copy: int = 0
    stopped: tuple[LogComparison, ...] = ()
    stopped_count: int = 0
