"""What becomes of a batch that landed further on than it should."""

from __future__ import annotations

from replicator.core.copy.attaching.facts import Fault, Remap, SourceLog, TailPosition
from replicator.core.offsets.offset_map import OffsetPair
from replicator.model.status.states import Reason


def displaced_by(
    stranger: tuple[int, int] | None, place: OffsetPair, *, mapped: bool, unseen: bool = False
) -> Remap | Fault | None:
    """Return what follows from a batch that was appended further on than it should; None if nothing must be recorded.

    Args:
        stranger: Producer and offset of the first record between where the batch belongs and where it landed; None if
            only markers lie there.
        place: Where the batch lies in both logs.
        mapped: Whether the partition's offsets are mapped: then each attach finds its place by counting records.
        unseen: Whether retention removed some of what lay there before anybody looked at it.
    """
    if stranger is not None:
        producer_id, offset = stranger
        return Fault(
            Reason.FOREIGN_WRITER,
            f"producer {producer_id} wrote offset {offset} of the target, "
            f"where the source's offset {place.source} belongs",
        )
    if mapped:
        return None
    surplus = place.target - place.source
    why = (
        "retention removed what was before that, unseen" if unseen else "before that are markers, none of the source's"
    )
    return Remap(place, mapped=False, text=f"offsets are identical+{surplus} from {place.source} on: {why}")


def not_proven_by(source: SourceLog, last_offset: int) -> Fault | None:
    """Return the fault of a target whose last record is not where it belongs, or is not proven to be.

    No shift can be recorded for it: nothing here says how large it is. Comparing records may show it (`accept`).

    Args:
        source: What the source shows about it.
        last_offset: Offset of the last record on the target.
    """
    if source.tail_position is TailPosition.AS_RECORDED:
        return None
    if source.tail_position is TailPosition.FURTHER_ON:
        why = "what precedes it is further on than on the source"
    else:
        why = f"the markers before it belong to source offsets below the source's start {source.start}"
    return Fault(
        Reason.SOURCE_TRUNCATED,
        f"the source no longer has a record that proves where offset {last_offset} of the target belongs: {why}",
    )
