"""Target offsets as source offsets, for comparisons of the two logs."""

from __future__ import annotations

from dataclasses import dataclass

from replicator.core.offsets.offset_map import OffsetMap


@dataclass(frozen=True, slots=True)
class MapView:
    """What is known about one partition's offsets.

    Attributes:
        offsets: Its map; None if offsets are identical.
        mapped: Whether the map alone counts. If not, offsets beyond its end continue with the last difference.
        judged_from: Target offset below which a log was taken over, and is not compared.
        given_up: Ranges of source offsets that may be missing.
        others_write: Whether both logs hold records outside the copy: everything that is not in the map.
    """

    offsets: OffsetMap | None = None
    mapped: bool = False
    judged_from: int = 0
    given_up: tuple[tuple[int, int], ...] = ()
    others_write: bool = False

    @property
    def floor(self) -> int:
        """The source offset below which nothing is compared."""
        if self.offsets is None:
            return 0
        return self.to_source(max(self.judged_from, self.offsets.begin.target))

    def to_source(self, offset: int) -> int:
        """Return the source offset that corresponds to a target offset."""
        if self.offsets is None:
            return offset
        return self.offsets.to_source(offset) if self.mapped else self.offsets.straight_to_source(offset)

    def log_start(self, of_target: int, of_source: int) -> int:
        """Return the source offset at which the target's log starts.

        A target that starts below its map has not lost anything of the source: what the source has below the map is
        left out of the comparison for another reason.

        Args:
            of_target: The target's log start.
            of_source: The source's log start.
        """
        if self.offsets is not None and self.mapped and of_target < self.offsets.begin.target:
            return min(of_source, self.offsets.begin.source)
        return self.to_source(of_target)

    def to_target(self, offset: int) -> int:
        """Return the target offset that corresponds to a source offset."""
        if self.offsets is None:
            return offset
        return self.offsets.to_target(offset) if self.mapped else self.offsets.straight_to_target(offset)

    @property
    def is_partial(self) -> bool:
        """Whether some records of the source may be missing on the target."""
        return bool(self.given_up) or self.others_write

    def may_lack(self, offset: int) -> bool:
        """Return whether a source offset may be missing on the target."""
        if self.others_write and self.offsets is not None and not self.offsets.holds(offset, 0):
            return True
        return any(first <= offset < end for first, end in self.given_up)

    def is_foreign(self, offset: int) -> bool:
        """Return whether a record of the target is not ours."""
        return self.others_write and self.offsets is not None and not self.offsets.holds(offset, 1)


IDENTICAL = MapView()
