"""Offsets of a target as offsets of its source, for whoever compares the two."""

from __future__ import annotations

from dataclasses import dataclass

from replicator.core.offsets.offset_map import OffsetMap


@dataclass(frozen=True, slots=True)
class MapView:
    """What is known of one partition's offsets.

    Attributes:
        offsets: Its map; None where offsets are the source's own.
        mapped: Whether the map alone tells. Without, what lies behind its end goes on with the last difference.
        judged_from: Offset on the target below which a log was taken over, and is not compared.
        given_up: Source offsets that may be missing, from and to.
        others_write: Whether both logs hold records that are no part of the copy: all that the map does not tell of.
    """

    offsets: OffsetMap | None = None
    mapped: bool = False
    judged_from: int = 0
    given_up: tuple[tuple[int, int], ...] = ()
    others_write: bool = False

    @property
    def floor(self) -> int:
        """Source offset below which nothing is compared."""
        if self.offsets is None:
            return 0
        return self.to_source(max(self.judged_from, self.offsets.begin.target))

    def to_source(self, offset: int) -> int:
        """Return the source offset that a target offset stands for."""
        if self.offsets is None:
            return offset
        return self.offsets.to_source(offset) if self.mapped else self.offsets.straight_to_source(offset)

    def log_start(self, of_target: int, of_source: int) -> int:
        """Return the source offset at which the target's log begins.

        Where that is below what the map tells of, it took nothing of the source away: what the source has below the map
        is not compared for another reason.

        Args:
            of_target: Where the target's log begins.
            of_source: Where the source's does.
        """
        if self.offsets is not None and self.mapped and of_target < self.offsets.begin.target:
            return min(of_source, self.offsets.begin.source)
        return self.to_source(of_target)

    def to_target(self, offset: int) -> int:
        """Return the target offset at which a source offset stands."""
        if self.offsets is None:
            return offset
        return self.offsets.to_target(offset) if self.mapped else self.offsets.straight_to_target(offset)

    @property
    def is_partial(self) -> bool:
        """Whether some records of the source need not stand on the target."""
        return bool(self.given_up) or self.others_write

    def may_lack(self, offset: int) -> bool:
        """Return whether a source offset may be missing on the target."""
        if self.others_write and self.offsets is not None and not self.offsets.holds(offset, 0):
            return True
        return any(first <= offset < end for first, end in self.given_up)

    def is_foreign(self, offset: int) -> bool:
        """Return whether a record of the target is none of ours."""
        return self.others_write and self.offsets is not None and not self.offsets.holds(offset, 1)


IDENTICAL = MapView()
