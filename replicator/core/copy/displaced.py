"""What becomes of a batch that landed further on than it had to."""

from __future__ import annotations

from replicator.core.copy.attach_facts import Fault, Remap, SourceLog, Standing
from replicator.core.offsets.offset_map import Place
from replicator.model.states import Reason


def displaced_by(
    stranger: tuple[int, int] | None, place: Place, *, mapped: bool, unseen: bool = False
) -> Remap | Fault | None:
    """Return what a batch means that was appended further on than it had to be; None for nothing to be recorded.

    Args:
        stranger: Producer and offset of the first record between where the batch had to go and where it went; None
            where only markers stand there.
        place: Where the batch stands in both logs.
        mapped: Whether the partition's offsets are mapped: then each attach finds its place by counting records.
        unseen: Whether retention took some of what stood there before it was looked at.
    """
    if stranger is not None:
        producer_id, offset = stranger
        return Fault(
            Reason.FOREIGN_WRITER,
            f"producer {producer_id} wrote offset {offset} of the target, "
            f"where the source's offset {place.source} had to go",
        )
    if mapped:
        return None
    surplus = place.target - place.source
    why = (
        "retention took what stood before that, unseen" if unseen else "markers stand before that, none of the source's"
    )
    return Remap(place, mapped=False, text=f"offsets are identical+{surplus} from {place.source} on: {why}")


def not_proven_by(source: SourceLog, last_offset: int) -> Fault | None:
    """Return the fault of a target whose last record does not stand where it should, or of which nothing proves it.

    It is no difference to be recorded: nothing here tells how large it is. Comparing records may (`accept`).

    Args:
        source: What the source tells of it.
        last_offset: The last record's offset on the target.
    """
    if source.standing is Standing.AS_RECORDED:
        return None
    if source.standing is Standing.FURTHER_ON:
        why = "what stands before it stands further on than on the source"
    else:
        why = f"what the markers before it stand for lies below the source's start {source.start}"
    return Fault(
        Reason.SOURCE_TRUNCATED,
        f"the source has no record any more that proves where offset {last_offset} of the target belongs: {why}",
    )
