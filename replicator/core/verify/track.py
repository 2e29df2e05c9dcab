"""How far one partition was verified, what differed, and how long ago everything in it was verified."""

from __future__ import annotations

from replicator.core.status.lag import LagMeter
from replicator.core.verify.record_diff import Difference, Questions, RecordDiff

QUESTIONS_HELD_MAX = 50_000
"""How many one-sided records of one compacted partition are held at a time: about 25 MB."""
_FIRST_MAX = 1


class VerifyTrack:
    """Follows one partition. Offsets are next records, times seconds of one monotonic clock.

    Attributes:
        through: Every record below it, from the start of the verification, was compared; None before the first look.
        differences: How many records differed so far.
        first: The first difference; None if there is none.
    """

    def __init__(self, partition: int) -> None:
        self.through: int | None = None
        self.differences = 0
        self.first: Difference | None = None
        self._skipped = 0
        self._partition = partition
        self._meter = LagMeter()
        self._diff: RecordDiff | None = None
        self._compacted = False
        self._mark: tuple[int, int] | None = None

    def observe(self, end: int, now: float) -> None:
        """Note the end of what is on the target, as seen at `now`; a log that shrank is verified from its start."""
        if self.through is not None and end < self.through:
            self.through, self._diff, self._mark = None, None, None
            self._meter = LagMeter()
        if self.through is not None:
            self._meter.observe(end, now)

    def advance(self, offset: int) -> None:
        """Note that everything below `offset` was compared; safe to call from the thread that compares."""
        self.through = offset

    def observe_reached(self, end: int, now: float) -> None:
        """Note how far it got; the log's end was `end` at `now`, which counts if no end was observed before."""
        if self.through is None:
            return
        self._meter.reach(self.through)
        if self._meter.observed_at is None:
            self._meter.observe(end, now)

    def skip(self, start: int) -> None:
        """Continue at a log start above what was compared."""
        if self.through is not None:
            self._skipped += max(0, start - self.through)
            self.through = max(self.through, start)

    def take_skipped(self) -> int:
        """Return how many offsets log starts have passed before they were compared, since the last call."""
        skipped, self._skipped = self._skipped, 0
        return skipped

    def age_seconds(self, now: float) -> float | None:
        """Return the age of the last moment up to which everything was verified; None if there is none yet."""
        return self._meter.rpo_seconds(now)

    def diff(self, *, compacted: bool) -> RecordDiff:
        """Return the comparison, which continues from look to look: a later record may explain an earlier one."""
        if self._diff is None or (compacted and not self._compacted):
            self._compacted = compacted
            self._diff = RecordDiff(
                self._partition,
                compacted=compacted,
                first_max=_FIRST_MAX,
                questions=Questions(QUESTIONS_HELD_MAX, beyond_differ=False),
                report=self._note,
                digests=False,
            )
        return self._diff

    @property
    def unjudged(self) -> int:
        """One-sided records of a compacted partition that could not be judged, because too many were open."""
        return 0 if self._diff is None else self._diff.unjudged

    @property
    def wants_ends(self) -> bool:
        """Whether `ends` should be called: a one-sided record waits for a later record of its key."""
        return self._mark is None and self._diff is not None and self._diff.open_questions > 0

    def ends(self, end: int) -> None:
        """Note the higher of both log ends, read after everything below `through` was read."""
        if self.through is not None:
            self._mark = (self.through, end)

    def settle(self) -> None:
        """Judge the one-sided records that no later record can explain."""
        if self._mark is None or self._diff is None or self.through is None:
            return
        below, until = self._mark
        if self.through >= until:
            self._diff.settle(below)
            self._mark = None

    def _note(self, found: Difference) -> None:
        self.differences += 1
        if self.first is None:
            self.first = found
