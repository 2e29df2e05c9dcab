"""Where the offsets of a partition lie on the target if they are not the source's own."""

from __future__ import annotations

from collections import deque

from replicator.core.offsets.offset_map import OffsetMap, OffsetPair, Run


class Track:
    """The place of one partition in both logs: the one proven by responses, and the one of what is queued next.

    Args:
        offsets: The map so far; it grows with each response.
        mapped: Whether source offsets that hold no record to copy are left out, not filled.

    Attributes:
        shift: Target offset less source offset of what is queued next.
        acked: The place at the target's end, as proven by responses.
    """

    __slots__ = ("_drift", "_moves", "_recorded", "acked", "mapped", "offsets", "shift")

    def __init__(self, offsets: OffsetMap, *, mapped: bool) -> None:
        self.offsets = offsets
        self.mapped = mapped
        self.acked = offsets.end
        self.shift = self.acked.target - self.acked.source
        self._recorded = offsets.end
        self._moves: deque[OffsetPair] = deque()
        self._drift = 0

    @property
    def sure(self) -> OffsetPair:
        """The last place that is recorded, or after a record: offsets left out after it may hold records by now."""
        return max(self._recorded, self.offsets.last_run_end)

    def forget_skips(self) -> None:
        """Go back to `sure`: the source's history has changed since the offsets after it were left out."""
        self.offsets.step_back(self.sure)

    def forget_walk(self) -> None:
        """Go back to what responses or records prove: the logs that were walked turned out not to match."""
        if self.mapped and self.offsets.last_run_end.target > self.acked.target:
            self.offsets.cut(self.acked.target)
            self.offsets.pass_over(max(self._recorded, self.offsets.end))

    def begin(self, place: OffsetPair) -> None:
        """Continue at a place that was proven; what was queued after it is gone."""
        self._moves.clear()
        self._drift = 0
        if not self.mapped and place.target < self.offsets.end.target:
            # The log lost its end, or the record went too far (a cut above its true end): the map below is as true as
            # ever, and what is missing above is copied again.
            self.offsets.cut(place.target)
            self._recorded = min(self._recorded, place)
        if not self.mapped:
            # Records and markers alike have one shift, until another is recorded.
            self.offsets.go_straight(place)
        self.acked = place
        self.shift = place.target - place.source
        self.offsets.pass_over(place)

    def skip(self, source: int, length: int) -> int:
        """Leave out `length` offsets: what is queued next begins at `source`.

        Returns:
            The source offset up to which everything is proven to be copied. The offsets left out count as copied as
            soon as everything before them is.
        """
        self.shift -= length
        self._moves.append(OffsetPair(source, source + self.shift))
        self._land()
        return self.acked.source

    def land(self, target_end: int) -> int:
        """Take the target's proven end; return the source offset up to which everything is copied."""
        source, target = self.acked
        run = Run(source, target, target_end - target)
        self.offsets.add(run)
        self.acked = OffsetPair(run.source_end, target_end)
        self._land()
        return self.acked.source

    def land_behind_others(self, target: int, length: int) -> int:
        """Take that a batch was appended at `target`, after records of others.

        What is queued got its offsets without those records, so from here on all of it lands that much further on.

        Returns:
            The source offset up to which everything is copied.
        """
        source, expected = self.acked
        self._drift += target - expected
        self.offsets.add(Run(source, target, length))
        self.acked = OffsetPair(source + length, target + length)
        self._land()
        return self.acked.source

    def _land(self) -> None:
        while self._moves and self._moves[0].target + self._drift <= self.acked.target:
            move = self._moves.popleft()
            self.acked = OffsetPair(move.source, move.target + self._drift)
            self.offsets.pass_over(self.acked)
