"""Whether to wait because the broker remembers more of ours than the committed log of a target shows."""

from __future__ import annotations

from replicator.core.copy.attaching.facts import OwnProducerState, Tail, TargetLog, Wait
from replicator.model.batch import SEQUENCE_MODULUS, sequence_after
from replicator.model.status.states import Reason


def unseen_tail(target: TargetLog, *, by_sequence: bool) -> Wait | None:
    """Wait where the broker remembers a sequence of ours, but no data below the end shows it.

    The first batches of a log may be appended but not committed yet: the high watermark is still 0.
    Where the log end is known, it was found equal to the high watermark: there is no such tail, and the log holds only
    markers, or was emptied by retention. Elsewhere a sequence that follows from the end proves the same.
    """
    entry = target.entry
    if (
        entry is None
        or _only_marked(entry)
        or target.log_end is not None
        or (by_sequence and sequence_after(entry.last_sequence, 1) == target.end % SEQUENCE_MODULUS)
    ):
        return None
    return Wait(
        Reason.WAITING_FOR_TAIL,
        f"the broker remembers our sequence {entry.last_sequence}, the committed log shows no data below {target.end}",
    )


def uncommitted_tail(target: TargetLog, tail: Tail) -> Wait | None:
    """Wait where the broker remembers another batch of ours than the last one of the committed log."""
    entry = target.entry
    if entry is None or _only_marked(entry):
        return None
    # Sequences start at 0 under each epoch: equal ones of two epochs prove nothing.
    if (tail.producer_epoch, tail.last_sequence) == (entry.producer_epoch, entry.last_sequence):
        return None
    return Wait(
        Reason.WAITING_FOR_TAIL,
        f"the broker remembers our sequence {entry.last_sequence}, the committed log ends with {tail.last_sequence}",
    )


def _only_marked(entry: OwnProducerState) -> bool:
    """Return whether only a marker was written under the present epoch: that of a fence, after which we may write."""
    return entry.last_sequence < 0
