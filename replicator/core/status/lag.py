"""Numbers that cannot lie: lag in records and seconds of data at risk.

`rpo` is the time since the latest moment whose source end, as observed at that moment, has been reached on the target.
It depends on our own clock and on offsets, never on record times, and grows while the source is unseen.
"""

from __future__ import annotations

FRESH_SECONDS = 15.0
"""How long "nothing is behind" holds: the end of every source partition is read every few seconds."""


class LagMeter:
    """Follows one partition. Times are seconds of one monotonic clock; offsets are next records.

    Attributes:
        observed_end: Last source end seen; None before the first.
        observed_at: When it was last seen, reported by the source or proven by its silence.
        caught_up_at: Latest observation whose end the target has reached; None before the first.
    """

    __slots__ = ("_mark_at", "_mark_end", "_reached", "caught_up_at", "observed_at", "observed_end")

    def __init__(self) -> None:
        self.observed_end: int | None = None
        self.observed_at: float | None = None
        self.caught_up_at: float | None = None
        self._reached = 0
        self._mark_end: int | None = None
        self._mark_at = 0.0

    def observe(self, end: int, at: float) -> None:
        """Take a source end as seen at `at`: when it was requested, since the response may be processed late.

        A response to a request older than the last observation says nothing new, whenever it is processed.
        """
        if self.observed_at is not None and at < self.observed_at:
            return
        self.observed_end = end
        self.observed_at = at
        if end <= self._reached:
            self.caught_up_at = at
            self._mark_end = None
        elif self._mark_end is None:
            # One mark is followed at a time: the oldest observation not reached yet, so the figure is never smaller
            # than the truth.
            self._mark_end = end
            self._mark_at = at

    def confirm(self, at: float) -> None:
        """Note that at `at` the source still ended where it was last seen to end."""
        if self.observed_end is not None:
            self.observe(self.observed_end, at)

    def reach(self, offset: int) -> None:
        """Note the target's proven end."""
        self._reached = offset
        if self._mark_end is None or offset < self._mark_end:
            return
        self.caught_up_at = self._mark_at
        self._mark_end = None
        if self.observed_end is not None and self.observed_at is not None:
            if offset >= self.observed_end:
                self.caught_up_at = self.observed_at
            else:
                self._mark_end = self.observed_end
                self._mark_at = self.observed_at

    def lag_records(self) -> int | None:
        """Records behind the last observed end; None while no end was observed."""
        return None if self.observed_end is None else max(0, self.observed_end - self._reached)

    def lag_records_at(self, now: float) -> int | None:
        """Records certainly behind at `now`; None if an observation that is too old showed none."""
        lag = self.lag_records()
        if lag == 0 and self.observed_at is not None and now - self.observed_at > FRESH_SECONDS:
            return None
        return lag

    def rpo_seconds(self, now: float) -> float | None:
        """Seconds of data at risk; None while the target never reached an observed end."""
        return None if self.caught_up_at is None else max(0.0, now - self.caught_up_at)
