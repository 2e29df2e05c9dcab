"""How far a log and the log it would go on from agree, at identical offsets.

Two logs of one lineage are equal up to some offset, and differ from there on, if at all: every copy is a prefix of what
its source held. So the first difference is found by bisection. `engine.lineage.compare` reads, this module decides.
"""

from __future__ import annotations

from replicator.model.operations.lineage import Bounds, Difference, LogStanding


def by_bounds(ours: Bounds | None, theirs: Bounds | None, *, mapped: bool) -> LogStanding | None:
    """Return what the bounds of two logs alone decide; None if records have to be compared.

    Args:
        ours: The copy's; None if the topic or partition does not exist.
        theirs: The other log's; None if it does not exist.
        mapped: Whether the copy's offsets are not those of its source.
    """
    if theirs is None:
        return LogStanding.MISSING
    if ours is None or ours.end == 0:
        return LogStanding.EMPTY
    if mapped:
        return LogStanding.MAPPED
    if ours.end < theirs.start:
        return LogStanding.OVERTAKEN
    return None


def by_records(ours: Bounds, theirs: Bounds, difference: Difference | None) -> LogStanding:
    """Return where a log ends whose records were compared up to the lower of both ends."""
    if difference is not None:
        return LogStanding.DIFFERENT
    if ours.end == theirs.end:
        return LogStanding.EQUAL
    return LogStanding.BEHIND if ours.end < theirs.end else LogStanding.AHEAD


class Bisection:
    """Finds the first offset at which two logs differ: they are equal below it, and differ from there on.

    Args:
        equal_to: An offset below which they are known to be equal: where both logs start.
        differs_at: An offset at which they differ.

    Attributes:
        equal_to: All below is equal.
        differs_at: The lowest offset known to differ.
    """

    def __init__(self, equal_to: int, differs_at: int) -> None:
        self.equal_to = equal_to
        self.differs_at = differs_at

    @property
    def done(self) -> bool:
        """Whether nothing is left to compare."""
        return self.equal_to >= self.differs_at

    @property
    def middle(self) -> int:
        """The offset to compare next."""
        return (self.equal_to + self.differs_at) // 2

    def take(self, compared_from: int, compared_to: int, difference: int | None) -> None:
        """Note what a comparison of the records between two offsets has found.

        Args:
            compared_from: The first offset compared; it is at or below `middle`.
            compared_to: The offset after the last one compared; it is above `middle`.
            difference: The first offset at which they differ; None if they are equal.
        """
        if difference is None:
            self.equal_to = max(self.equal_to, compared_to)
        else:
            self.differs_at = min(self.differs_at, difference)
            if difference > compared_from:
                self.equal_to = max(self.equal_to, min(compared_to, difference))
