"""Where copying continues in two logs that were found to hold the same records.

Pure: what was read of both logs goes in as values, a place comes out (`engine.logs.ranges.matching` reads).
"""

from __future__ import annotations

from collections.abc import Mapping

from replicator.core.offsets.offset_map import OffsetPair


def place_after(last: OffsetPair, target_end: int, next_record: int) -> OffsetPair:
    """Return the place of the target's end, if both logs hold a record and the target none after it.

    The source holds none after that record either, up to its next one: any offset in between is equally true. The one
    that keeps the record's difference is chosen, so a hole at the end of both logs (markers, records that the cleaner
    removed) changes no offset.

    Args:
        last: The place of the record in both logs.
        target_end: The target's log end.
        next_record: The first source offset after the record that holds one; the source's end if none does.
    """
    straight = target_end - (last.target - last.source)
    return OffsetPair(min(max(last.source + 1, straight), next_record), target_end)


def place_without_records(source_start: int, next_record: int, target_start: int, target_end: int) -> OffsetPair | None:
    """Return the place of the end of a target that holds no record; None if nothing tells.

    Args:
        source_start: The source's log start.
        next_record: The first source offset that holds a record; the source's end if none does.
        target_start: The target's log start.
        target_end: The target's log end.
    """
    if target_start > 0 and next_record < target_end:
        return None  # retention removed records there, and nothing says which
    return OffsetPair(min(max(source_start, target_end), next_record), target_end)


def equal_down_to(here: Mapping[int, object], there: Mapping[int, object], lower: int) -> int:
    """Return the offset from which two ranges of logs, both starting at `lower`, hold the same records."""
    differing = [at for at in here.keys() | there.keys() if at not in here or at not in there or here[at] != there[at]]
    return max(differing) + 1 if differing else lower
