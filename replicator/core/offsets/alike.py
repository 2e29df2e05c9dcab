"""Where a copy goes on in two logs that were found to hold the same records.

Pure: what was read of both comes in as values, a place comes out (`engine.logs.matching` reads).
"""

from __future__ import annotations

from collections.abc import Mapping

from replicator.core.offsets.offset_map import Place


def place_behind(last: Place, target_end: int, next_record: int) -> Place:
    """Return what the target's end stands for, where both logs hold a record and the target none behind it.

    Behind that record the source holds none either, up to its next one: any offset in between is as true as another.
    The one with the difference of that record is taken, so a hole at the end of both (markers, what the cleaner took)
    changes no offset.

    Args:
        last: Where the record stands in both logs.
        target_end: Where the target's log ends.
        next_record: The first source offset behind the record that holds one; the source's end where none does.
    """
    straight = target_end - (last.target - last.source)
    return Place(min(max(last.source + 1, straight), next_record), target_end)


def place_without_records(source_start: int, next_record: int, target_start: int, target_end: int) -> Place | None:
    """Return what the end of a target that holds no record stands for; None where nothing tells.

    Args:
        source_start: Where the source's log starts.
        next_record: The first source offset that holds a record; the source's end where none does.
        target_start: Where the target's log starts.
        target_end: Where it ends.
    """
    if target_start > 0 and next_record < target_end:
        return None  # retention took records there, and which ones nothing tells
    return Place(min(max(source_start, target_end), next_record), target_end)


def equal_down_to(here: Mapping[int, object], there: Mapping[int, object], lower: int) -> int:
    """Return the offset from which two ranges of logs, that begin at `lower`, hold the same records."""
    differing = [at for at in here.keys() | there.keys() if at not in here or at not in there or here[at] != there[at]]
    return max(differing) + 1 if differing else lower
