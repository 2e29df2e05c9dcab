"""Translates an offset of one log of a partition to the other log: exactly, or not at all.

Asked for is always the next record to read. So what holds no copied record (a marker, an aborted record, a hole; on
the target a marker of its own) stands for the next one that was copied.
Nothing is extrapolated: beyond what was acknowledged there is no answer, and below what the map knows only one that
needs no map, since the other log starts further on anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from replicator.core.offsets.map_view import MapView
from replicator.core.offsets.offset_map import OffsetMap, Place
from replicator.model.translation import TranslationState

_SOURCE, _TARGET = 0, 1


class Answer(NamedTuple):
    """What an offset is translated to.

    Attributes:
        state: What it is worth.
        offset: The offset on the other side, None where there is none.
        behind: By how many offsets the question lies beyond what is copied, None for other states.
    """

    state: TranslationState
    offset: int | None = None
    behind: int | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a partition.

    Attributes:
        offsets: Its map; None where offsets are the source's own.
        mapped: Whether the map alone tells. Without, what lies behind its end goes on with the last difference.
        end: What is proven to be copied.
        source_start: Where the source's log starts.
        target_start: Where the target's log starts.
    """

    offsets: OffsetMap | None
    mapped: bool
    end: Place
    source_start: int
    target_start: int

    @property
    def proven_end(self) -> Place:
        """The last place that can be told: what is copied and has its place in the map."""
        if self.offsets is None:
            return Place(*[min(self.end)] * 2)
        known = self.offsets.end
        straight = 0 if self.mapped else min(self.end.source - known.source, self.end.target - known.target)
        if straight > 0:
            return Place(known.source + straight, known.target + straight)
        return min(self.end, known)


def translate(known: Known, offset: int, *, reverse: bool = False) -> Answer:
    """Return where a source offset stands on the target, or with `reverse` a target offset on the source.

    Args:
        known: The partition.
        offset: The asked one, 0 or more.
        reverse: Whether it is one of the target.

    Raises:
        CorruptRecords: A block of the map is damaged.
    """
    asked, other = (_TARGET, _SOURCE) if reverse else (_SOURCE, _TARGET)
    end = known.proven_end
    if offset > end[asked]:
        beyond = TranslationState.BEYOND_TARGET_END if reverse else TranslationState.NOT_YET_REPLICATED
        return Answer(beyond, behind=offset - end[asked])
    start = known.source_start if reverse else known.target_start
    offsets = known.offsets
    if offsets is not None and offset < offsets.begin[asked] and offsets.begin[other] > start:
        return Answer(TranslationState.BELOW_MAP)
    # Both logs keep one order: what lies below the map's begin on one side lies below it on the other.
    view = MapView(offsets, known.mapped)
    found = view.to_source(offset) if reverse else view.to_target(offset)
    if found < start or (offsets is not None and offset < offsets.begin[asked]):
        return Answer(TranslationState.BELOW_LOG_START, start)
    return Answer(TranslationState.EXACT, found)
