"""What becomes of a batch that landed further on than it had to."""

from __future__ import annotations

from replicator.core.copy.attach_facts import Fault, Remap
from replicator.core.offsets.offset_map import Place
from replicator.model.states import Reason


def displaced_by(stranger: tuple[int, int] | None, place: Place, *, mapped: bool) -> Remap | Fault | None:
    """Return what a batch means that was appended further on than it had to be; None for nothing to be recorded.

    Args:
        stranger: Producer and offset of the first record between where the batch had to go and where it went; None
            where only markers stand there.
        place: Where the batch stands in both logs.
        mapped: Whether the partition's offsets are mapped: then each attach finds its place by counting records.
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
    text = f"markers of an earlier fill landed late: the target is {surplus} offsets ahead from {place.source} on"
    return Remap(place, mapped=False, text=text)
