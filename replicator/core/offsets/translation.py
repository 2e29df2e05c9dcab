"""Translates an offset of one log of a partition to the other log: exactly, or not at all.

The question is always about the next record to read. So an offset without a copied record (a marker, an aborted record,
a hole; on the target, a marker of its own) means the next one that was copied.
Nothing is extrapolated: there is no answer beyond what was acknowledged. Below the map there is one only if it needs no
map, as the other log starts further on anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from replicator.core.offsets.map_view import MapView
from replicator.core.offsets.offset_map import OffsetMap, OffsetPair
from replicator.model.operations.translation import TranslationState

_SOURCE, _TARGET = 0, 1


class OffsetTranslation(NamedTuple):
    """The translation of an offset.

    Attributes:
        state: How far it can be trusted.
        offset: The offset on the other side; None if there is none.
        behind: By how many offsets the question lies beyond what is copied; None for other states.
    """

    state: TranslationState
    offset: int | None = None
    behind: int | None = None


@dataclass(frozen=True, slots=True)
class KnownOffsets:
    """What is known about a partition.

    Attributes:
        offsets: Its map; None if offsets are identical.
        mapped: Whether the map alone counts. If not, offsets beyond its end continue with the last difference.
        end: The place up to which it is proven to be copied.
        source_start: The source's log start.
        target_start: The target's log start.
    """

    offsets: OffsetMap | None
    mapped: bool
    end: OffsetPair
    source_start: int
    target_start: int

    @property
    def proven_end(self) -> OffsetPair:
        """The last place that can be translated: it is copied and in the map."""
        if self.offsets is None:
            return OffsetPair(*[min(self.end)] * 2)
        known = self.offsets.end
        straight = 0 if self.mapped else min(self.end.source - known.source, self.end.target - known.target)
        if straight > 0:
            return OffsetPair(known.source + straight, known.target + straight)
        return min(self.end, known)


def translate(known: KnownOffsets, offset: int, *, reverse: bool = False) -> OffsetTranslation:
    """Return the target offset for a source offset, or with `reverse` the source offset for a target offset.

    Args:
        known: The partition.
        offset: The offset in question, 0 or more.
        reverse: Whether it is a target offset.

    Raises:
        CorruptRecords: A block of the map is damaged.
    """
    asked, other = (_TARGET, _SOURCE) if reverse else (_SOURCE, _TARGET)
    end = known.proven_end
    if offset > end[asked]:
        beyond = TranslationState.BEYOND_TARGET_END if reverse else TranslationState.NOT_YET_REPLICATED
        return OffsetTranslation(beyond, behind=offset - end[asked])
    start = known.source_start if reverse else known.target_start
    offsets = known.offsets
    if offsets is not None and offset < offsets.begin[asked] and offsets.begin[other] > start:
        return OffsetTranslation(TranslationState.BELOW_MAP)
    # Both logs have the same order: what lies below the map's begin on one side lies below it on the other.
    view = MapView(offsets, known.mapped)
    found = view.to_source(offset) if reverse else view.to_target(offset)
    if found < start or (offsets is not None and offset < offsets.begin[asked]):
        return OffsetTranslation(TranslationState.BELOW_LOG_START, start)
    return OffsetTranslation(TranslationState.EXACT, found)
