"""How an operator resolves a fault: what may be done about which reason, what it does, and what it costs.

Pure: facts in, a plan out, which states its losses in offsets before anything is done. `engine.offsets.resolve` carries
the plan out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from replicator.core.offsets.offset_map import OffsetPair
from replicator.errors import PreflightFailed, UsageError
from replicator.model.operations.resolution import ALLOWED, FROM_SCRATCH, How, Loss, Resolution
from replicator.model.status.states import Reason

_ELSEWHERE = {
    Reason.UNSUPPORTED_BATCH: "raise fill_limit, or set `offsets: auto`, in the flow file",
    Reason.NOT_MAPPABLE: "copy compacted topics in a flow of their own, with `offsets: auto`",
    Reason.SOURCE_MISSING: "there is nothing to do: the target keeps what was copied; `replicator mirror forget` "
    "removes the mirror's records",
    Reason.TARGET_TAKEN: "do what its text in `replicator mirror describe` says: it names the other topic, or flow",
    Reason.PARTITION_COUNT: "give the source topic as many partitions, or mirror it under another name (topics.rename)",
    Reason.TARGET_REFUSED: "fix what the target refuses; copying continues by itself, or after a restart",
    Reason.LEFT_OUT: "list it in topics.include by its full name to copy it all the same, or exclude it",
    Reason.INTERNAL_ERROR: "it is a bug of this software: report what the log says; a restart tries again",
    Reason.FENCED: "the target was opened, and nothing is copied to it: `replicator failback` brings the flow back",
}
"""What helps if there is nothing to resolve; all other reasons are waits."""


_ALLOWED_BESIDE_OTHERS: Mapping[Reason, frozenset[How]] = {
    **{reason: hows - FROM_SCRATCH for reason, hows in ALLOWED.items()},
    Reason.OVERTAKEN_BY_RETENTION: frozenset({How.ACCEPT}),
    Reason.TARGET_RECREATED: frozenset({How.ACCEPT}),
    Reason.TARGET_MISSING: FROM_SCRATCH,
}
"""`ALLOWED`, for targets that others write to as well: nothing deletes their topics."""
OF_OTHERS = frozenset({Reason.FOREIGN_WRITER, Reason.OTHER_OWNER})
"""Faults of a topic that others have written to, or own."""
_UNLIKE = OF_OTHERS | {Reason.SOURCE_RECREATED, Reason.CONTENT_MISMATCH, Reason.TARGET_RECREATED}
"""Faults which mean that the target may hold different records than the source at the same offsets."""
_REMAPPED = frozenset({Reason.OVERTAKEN_BY_RETENTION, Reason.TARGET_RECREATED})


@dataclass(frozen=True, slots=True)
class ResolutionSnapshot:
    """One partition as it is now. Offsets are next records; None if a topic does not exist.

    Attributes:
        partition: Its number.
        reason: Why it is stopped; None if it is not.
        place: The place of the target's end as far as is recorded; None if nothing tells.
        found: The place proven for `accept`: by comparing records, or by our own last batch.
        unproven: Why there is no such place, if one was searched for; empty if nothing speaks against continuing.
        equal_from: Target offset from which both logs were found equal, offset for offset, up to `found`; None if that
            was not checked.
        batch: The source's batch that cannot be copied: its first offset and its end.
        compacted: Whether the source's cleaner removes records.
        mended: Whether the source's log was read again, and no batch of it is damaged any more.
        epochs_end: The end of a source log with batches that claim leader epochs above their leader's, and have no
            other fault; 0 if it holds none.
    """

    partition: int
    reason: Reason | None = None
    source_start: int | None = None
    source_end: int | None = None
    target_start: int | None = None
    target_end: int | None = None
    place: OffsetPair | None = None
    found: OffsetPair | None = None
    unproven: str = ""
    equal_from: int | None = None
    batch: tuple[int, int] | None = None
    compacted: bool = False
    mended: bool = False
    epochs_end: int = 0


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Source offsets that may be missing from now on; with `dead_letter`, their records are set aside first."""

    partition: int
    first: int
    end: int
    dead_letter: bool = False


@dataclass(frozen=True, slots=True)
class GoOn:
    """Continue at a place; the target is no longer compared below it, except for what was found equal."""

    partition: int
    place: OffsetPair
    mapped: bool
    equal_from: int | None = None


_TOMBSTONES = "tombstones that the source's cleaner removed may be missing: deleted keys may live on the target"
_TWICE = "of the source's records from here on, those that were copied last may be copied twice"
_UP_TO_NOW = frozenset({_TOMBSTONES, _TWICE})
"""Losses that extend to the source's current end."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Let the partition try again; with `tombstones`, accept whatever was cleaned away until now.

    `epochs_unproven`: leader epochs above the leader's are ignored in the source's batches below that offset.
    """

    partition: int
    tombstones: bool = False
    epochs_unproven: int = 0


@dataclass(frozen=True, slots=True)
class TakeSource:
    """Accept today's source topic as the one that is meant."""


@dataclass(frozen=True, slots=True)
class Recreate:
    """Delete the target topic, create it again, and copy everything the source holds."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Make the target topic this flow's from now on, with what is known about it; `owner` is the previous owner."""

    owner: str


Step = GiveUp | GoOn | Retry | TakeSource | Recreate | Adopt


@dataclass(frozen=True, slots=True)
class ResolutionPlan:
    """What will be done, in order, and what it costs."""

    how: How
    reasons: tuple[Reason, ...]
    steps: tuple[Step, ...]
    losses: tuple[Loss, ...] = ()
    changes: tuple[str, ...] = ()
    """What will be changed on a target topic that becomes ours: one sentence each, from and to."""

    @property
    def digest(self) -> str:
        """A short name of exactly this plan: either the confirmed plan is carried out, or nothing is.

        A loss that extends to the source's current end is named without its end: otherwise a topic that is written to
        could never be resolved.
        """
        losses = [replace(loss, end=0) if loss.text in _UP_TO_NOW else loss for loss in self.losses]
        return hashlib.sha256(repr((self.how, self.steps, losses, self.changes)).encode()).hexdigest()[:16]


def described(how: How, plan: ResolutionPlan | None, topic: str) -> Resolution:
    """Return a plan as it is shown; None means that no partition is stopped."""
    if plan is None:
        return Resolution(how.value)
    return Resolution(
        how.value,
        tuple(reason.value for reason in plan.reasons),
        (*(_sentence(step, topic) for step in plan.steps), *plan.changes),
        plan.losses,
        plan.digest,
    )


def _sentence(step: Step, topic: str) -> str:
    match step:
        case GiveUp(partition, first, end, dead_letter):
            aside = " once its records are set aside" if dead_letter else ""
            return (
                f"{topic}-{partition} continues at offset {end} of the source{aside}; {end - first} offsets are given "
                "up"
            )
        case GoOn(partition, place, mapped):
            offsets = "mapped from there on" if mapped else "the same"
            return (
                f"{topic}-{partition} continues with the source's offset {place.source} at {place.target} of the "
                "target: "
                f"offsets are {offsets}"
            )
        case Retry(partition, epochs_unproven=end):
            epochs = (
                f", and ignores leader epochs above their leader's below offset {end} of the source; "
                "the records are copied"
            )
            return f"{topic}-{partition} tries again{epochs if end else ''}"
        case TakeSource():
            return f"today's source topic {topic} is the one that is meant"
        case Adopt(owner):
            return f"the target topic of {topic} is taken over from {owner}, which no longer copies to it"
        case Recreate():
            return f"the target topic of {topic} is deleted, created again, and filled with everything the source holds"


def plan_resolution(
    topic: str, how: How, facts: Sequence[ResolutionSnapshot], *, others_write: bool = False, owner: str = ""
) -> ResolutionPlan | None:
    """Return what `how` does about the faults of a mirror; None if no partition is stopped.

    Args:
        topic: Its source topic, for messages.
        how: What the operator wants.
        facts: All its partitions, or those that are meant.
        others_write: Whether others write to the target topic as well: then it is never deleted.
        owner: The other flow that owns the target topic, which may be adopted; empty for none.

    Raises:
        UsageError: That cannot be done about such a fault.
        PreflightFailed: It can in general, but the facts do not allow it.
    """
    faulted = [one for one in facts if one.reason is not None]
    if not faulted:
        return None
    reasons = tuple(dict.fromkeys(one.reason for one in faulted if one.reason is not None))
    for reason in reasons:
        _check(topic, reason, how, _ALLOWED_BESIDE_OTHERS if others_write else ALLOWED)
    if how in FROM_SCRATCH:
        return ResolutionPlan(
            how, reasons, (Recreate(),), tuple(loss for one in facts for loss in _lost_by_recreation(one))
        )
    steps: list[Step] = [TakeSource()] if Reason.SOURCE_RECREATED in reasons else []
    losses: list[Loss] = []
    if Reason.OTHER_OWNER in reasons:
        steps.append(Adopt(owner))
        if all(one.target_end is None for one in facts):  # the topic is gone: there is nothing to continue in
            return ResolutionPlan(how, reasons, (*steps, Recreate()))
    for one in faulted:
        if others_write and one.reason in _REMAPPED:
            step, lost = _remap(one)
        else:
            step, lost = _skip(topic, one) if how is How.SKIP else _accept(topic, one, others_write=others_write)
        steps.append(step)
        losses += lost
    return ResolutionPlan(how, reasons, tuple(steps), tuple(losses))


def _check(topic: str, reason: Reason, how: How, by_reason: Mapping[Reason, frozenset[How]]) -> None:
    allowed = by_reason.get(reason)
    if not allowed:
        raise UsageError(
            f"{topic} is stopped with {reason}, which is not resolved here",
            next_step=_ELSEWHERE.get(reason, "it continues by itself"),
        )
    if how not in allowed:
        words = ", ".join(sorted(allowed))
        raise UsageError(f"{topic} is stopped with {reason}: --how {how} does not help", next_step=f"use --how {words}")


def _remap(one: ResolutionSnapshot) -> tuple[Step, list[Loss]]:
    """Start a new map at the target's end, as the logs no longer tell which records below it are ours."""
    known = one.place.source if one.place is not None and one.reason is not Reason.TARGET_RECREATED else 0
    start = one.source_start or 0
    losses = []
    if one.reason is Reason.OVERTAKEN_BY_RETENTION and known < start:
        text = "the source's records, deleted by retention before they were copied"
        losses.append(Loss(one.partition, known, start, text))
    losses.append(Loss(one.partition, max(known, start), one.source_end or start, _TWICE))
    return GoOn(one.partition, OffsetPair(max(known, start), one.target_end or 0), mapped=True), losses


def _lost_by_recreation(one: ResolutionSnapshot) -> list[Loss]:
    """Return what only the target holds, as far as the logs tell: all of it if they may hold different records."""
    if one.target_start is None or one.target_end is None:
        return []
    if one.reason in _UNLIKE:
        text = "the target's records, which the source may not have"
        return (
            [Loss(one.partition, one.target_start, one.target_end, text)] if one.target_end > one.target_start else []
        )
    end = one.target_end if one.source_start is None else min(one.target_end, one.source_start)
    losses = []
    if one.target_start < end:
        losses.append(
            Loss(one.partition, one.target_start, end, "the target's records, which the source does not have any more")
        )
    if one.source_end is not None and one.target_end > max(one.source_end, one.target_start):
        first = max(one.source_end, one.target_start, end)
        if first < one.target_end:
            losses.append(Loss(one.partition, first, one.target_end, "the target's records beyond the source's end"))
    return losses


def _skip(topic: str, one: ResolutionSnapshot) -> tuple[Step, list[Loss]]:
    where = f"{topic}-{one.partition}"
    if one.reason is Reason.OVERTAKEN_BY_RETENTION:
        if one.place is None or one.source_start is None:
            raise PreflightFailed(
                f"it is not known how much of {where} is missing: its offset map does not reach far enough",
                next_step="use --how reseed",
            )
        first, end = one.place.source, one.source_start
        text = "the source's records, deleted by retention before they were copied"
        return GiveUp(one.partition, first, end), [Loss(one.partition, first, end, text)]
    if one.epochs_end:
        return Retry(one.partition, epochs_unproven=one.epochs_end), []
    if one.mended:
        return Retry(one.partition), []
    if one.batch is None and one.reason is Reason.BATCH_TOO_LARGE:
        raise PreflightFailed(
            f"the batch of {where} is larger than any response that is read: its end is unknown",
            next_step="have its records written again in smaller batches; copying continues once the source's log "
            "starts after it (retention, or kafka-delete-records.sh)",
        )
    if one.batch is None:
        raise PreflightFailed(
            f"the end of the batch of {where} that cannot be copied is not readable",
            next_step="use `mirror describe` for its offset; a damaged log has to be repaired on the source",
        )
    first, end = one.batch
    if one.reason is Reason.RECORD_TOO_LARGE:
        text = "records too large for the target; they are set aside in its dead-letter topic"
        return GiveUp(one.partition, first, end, dead_letter=True), [Loss(one.partition, first, end, text)]
    if one.reason is Reason.BATCH_TOO_LARGE:
        text = "the records of a batch that takes more memory than may be used to open it; it stays on the source"
        return GiveUp(one.partition, first, end), [Loss(one.partition, first, end, text)]
    text = "the records of a damaged batch"
    return GiveUp(one.partition, first, end), [Loss(one.partition, first, end, text)]


def _accept(topic: str, one: ResolutionSnapshot, *, others_write: bool) -> tuple[Step, list[Loss]]:
    if one.reason in {Reason.RECORD_TOO_LARGE, Reason.BATCH_TOO_LARGE}:
        return Retry(one.partition), []
    if one.reason is Reason.TOMBSTONES_MAY_BE_LOST:
        place = one.place.source if one.place is not None else 0
        return Retry(one.partition, tombstones=True), [Loss(one.partition, place, one.source_end or place, _TOMBSTONES)]
    where = f"{topic}-{one.partition}"
    if not one.target_end and one.reason in OF_OTHERS and not others_write:
        return Retry(one.partition), []  # nothing was ever written there: it starts like any other
    found = _found(where, one, others_write=others_write)
    mapped = others_write or found.source != found.target
    if mapped and one.compacted:
        raise PreflightFailed(
            f"{where} would continue at offset {found.target} of the target with the source's {found.source}, and "
            "topics with mapped offsets must not be compacted",
            next_step="use --how recreate",
        )
    return GoOn(one.partition, found, mapped, None if mapped else one.equal_from), _kept(one, found)


def _found(where: str, one: ResolutionSnapshot, *, others_write: bool) -> OffsetPair:
    if one.found is not None:
        return one.found
    if one.reason is Reason.SOURCE_RECREATED and not one.unproven:
        return OffsetPair(one.source_start or 0, one.target_end or 0)
    if one.reason is Reason.CONTENT_MISMATCH and one.place is not None and one.place.source <= (one.source_end or 0):
        return one.place
    raise PreflightFailed(
        f"no record of the source proves where {where} continues",
        why=one.unproven
        or "the last records of the target were searched for on the source, and not found there exactly once",
        next_step="mirror it under another name (`rename`)"
        if others_write or one.reason is Reason.OTHER_OWNER
        else "use --how recreate, or mirror it under another name (`rename`)",
    )


def _kept(one: ResolutionSnapshot, found: OffsetPair) -> list[Loss]:
    """Return what stays on the target although the source has no such records there."""
    first = one.target_start or 0
    if one.reason is Reason.SOURCE_TRUNCATED and one.place is not None:
        shift = one.place.target - one.place.source
        return [
            Loss(one.partition, found.source + shift, found.target, "stay on the target only: the source lost them")
        ]
    if one.reason is Reason.SOURCE_RECREATED:
        text = "stay on the target, from the topic that was deleted"
        if found.source > (one.source_start or 0):
            text += f"; the new one's offsets below {found.source} are among them, and are not copied again"
        return [Loss(one.partition, first, found.target, text)]
    end = found.target if one.equal_from is None else min(found.target, one.equal_from)
    if end <= first and one.equal_from is not None:
        return []
    return [Loss(one.partition, first, end, "stay on the target as they are, and are not compared")]
