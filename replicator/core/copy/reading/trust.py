"""Which claims of its source's responses one partition believes, and which are suspect (values: `doubt`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.copy.reading.doubt import DOUBTS_MAX, Doubt, Gaps, Impossible, Sound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.core.copy.reading.doubt import Verdict
    from replicator.model.batch import BatchHeader

_UNMOVED_MAX = 3
"""Responses in a row without anything new. One is normal: it was requested before a hole at the log's end was
passed."""


class Trust:
    """What is believed about one source log.

    Attributes:
        doubted: A claim of a response that nothing proves; the next attach examines it first.
        rereads: How often a reread proved offsets without a batch: the next one covers more.
        gaps: Offsets proven to have no batch, from and to.
    """

    __slots__ = ("_beyond_end_at", "_cuts_again", "_doubts", "_edge", "_unmoved", "doubted", "gaps", "rereads")

    def __init__(self) -> None:
        self.doubted: Doubt | None = None
        self.rereads = 0
        self.gaps: dict[int, int] = {}
        self._doubts = (-1, 0)
        self._beyond_end_at = -1
        self._unmoved = 0
        self._edge = -1
        self._cuts_again = False

    def begin_episode(self) -> None:
        """Forget what concerned only the responses of the previous episode."""
        self._beyond_end_at = -1
        self._unmoved = 0

    def overlaps(self, headers: Sequence[BatchHeader], expected: int) -> bool:
        """Return whether the first batch begins below the end of the last batch taken, and ends above it.

        No checksum covers a base offset: one that is too low would move records to other offsets, up to the next batch.
        """
        if not headers or self._cuts_again or self._edge != expected:
            return False
        return headers[0].base_offset < expected < headers[0].next_offset

    def took(self, headers: Sequence[BatchHeader], expected: int, *, moved: bool, stopped: bool) -> str | None:
        """Note how far a response was taken; return why it is suspect, if responses keep bringing nothing new."""
        self._unmoved = 0 if moved or stopped or not headers else self._unmoved + 1
        if moved and not stopped and headers[-1].next_offset == expected:
            self._edge = expected
        if self._unmoved < _UNMOVED_MAX:
            return None
        return f"{_UNMOVED_MAX} responses held only batches below offset {expected}"

    def is_first_beyond_end(self, offset: int) -> bool:
        """Return whether this is the first batch at this offset that lies beyond the end its own response reports."""
        if self._beyond_end_at == offset:
            return False
        self._beyond_end_at = offset
        return True

    def doubt(self, offset: int, detail: str) -> None:
        """Suspect what was claimed at an offset: the log must be read again before anything there is taken."""
        doubted_at, times = self._doubts
        self._doubts = (offset, times + 1 if doubted_at == offset else 1)
        self.doubted = Doubt(offset, detail, self._doubts[1])

    @property
    def detail(self) -> str:
        """What is suspect, in words."""
        return self.doubted.detail if self.doubted is not None else ""

    def reread(self, verdict: Verdict | None) -> str | None:
        """Take the verdict of the reread of what is `doubted`; return why the partition must stop, if it must.

        A verdict of None: the log no longer reaches that offset, in one direction or the other.
        """
        doubted = self.doubted
        if doubted is None:
            return None
        if isinstance(verdict, Impossible):
            why: str | None = verdict.detail
        elif isinstance(verdict, Sound) and doubted.times >= DOUBTS_MAX:
            why = f"{doubted.detail}; {doubted.times} times, and each time its log showed nothing of the kind"
        else:
            why = None
        if isinstance(verdict, Sound) and verdict.begins_below:
            self._cuts_again = True
        if isinstance(verdict, Gaps):
            self.gaps = dict(verdict.ranges)
            self.rereads += 1
        if why is not None:
            self._doubts = (-1, 0)
        self.doubted = None
        return why
