"""Orders about a running switch."""

from __future__ import annotations

from dataclasses import replace

from replicator.core.switch.machine.helps import after_the_end, command, instead_of_abort, status_command
from replicator.core.switch.machine.machine import (
    NO_RETURN,
    SwitchFacts,
    check_known,
    confirmation_digest,
    may_be_undone,
)
from replicator.core.switch.machine.recording import changed, turned
from replicator.errors import Conflict, PreflightFailed, UsageError
from replicator.model.switch.journal import Journal
from replicator.model.switch.terms import Decision, Direction, Outcome, StepName, SwitchOrder, Verb

BOTH_PATHS = (
    StepName.BEGIN_FENCE,
    StepName.FENCE,
    StepName.VERIFY_FENCE,
    StepName.PROMOTE,
    StepName.RECORD_CUT,
    StepName.OPEN_TARGET,
)
"""Steps that a switchover and a failover share, in the order of both."""


def escalated(running: Journal, order: SwitchOrder, now_ms: int) -> Journal:
    """Return a switchover that goes on as a failover because the source died under it.

    What was done is kept: its locks stay recorded (they keep the dead source closed when it returns), and a recorded
    cut stays the cut. The source is no longer asked anything.
    """
    taken = replace(
        running,
        id=order.id,
        verb=Verb.FAILOVER,
        reason=order.reason or running.reason,
        actor=order.actor or running.actor,
        direction=Direction.FORWARD,
        stopped_by=f"this failover replaced switchover {running.id}",
        escalated=True,
        replaces=running.id,
    )
    done = [step for step in BOTH_PATHS if running.did(step)] if running.direction is Direction.FORWARD else []
    # Once the target is open, only the reverse flow was missing, and that needs the source.
    return changed(replace(taken, reached=done[-1] if done else None), SwitchFacts(now_ms))


def aborted(journal: Journal, why: str, now_ms: int) -> Journal:
    """Return the journal on its way to undo everything; if nothing was done yet, ended.

    Raises:
        Conflict: It can no longer be undone.
    """
    if journal.outcome is Outcome.ABORTED or journal.direction is Direction.ABORTING:
        return journal
    if journal.finished:
        raise Conflict(f"{journal.verb} {journal.id} has ended: {journal.outcome}", next_step=after_the_end(journal))
    check_known(journal)
    if not may_be_undone(journal):
        raise Conflict(
            f"{journal.verb} {journal.id} can no longer be aborted",
            why=f"{NO_RETURN[journal.verb]} was recorded, and what follows it cannot be undone",
            next_step=instead_of_abort(journal),
        )
    return changed(turned(journal, Direction.ABORTING, why), SwitchFacts(now_ms))


def way_back(copy: Journal, why: str) -> Journal:
    """Return the source's copy with the decision that the source reopens: the one way out after the fence.

    The copy on the source decides, by compare-and-set: a target that is alive after all finds this decision before it
    opens, and obeys.

    Raises:
        Conflict: The target was opened, or may open any moment.
    """
    if not copy.is_copy:
        raise Conflict(f"switch {copy.id} has no copy on the source to decide on", next_step=status_command(copy.flow))
    if copy.decision is Decision.BACK:
        return copy
    check_known(copy)
    shown = status_command(copy.flow)
    if copy.decision is not Decision.UNDECIDED:
        raise Conflict(
            f"switch {copy.id} no longer has a way back",
            why=f"{copy.decision} was decided on the source",
            next_step=f"let it go on ({shown}), then {command(Verb.FAILBACK, copy.flow, copy.topics)}"
            if copy.decision is Decision.FORWARD
            else f"it is being undone, or was: {shown}",
        )
    return replace(turned(copy, Direction.BACK, why), decision=Decision.BACK, revision=copy.revision + 1)


def decided(copy: Journal | None, journal: Journal, wanted: Decision) -> Journal:
    """Return the source's copy after a compare-and-set from undecided (or nothing) to `wanted`.

    An earlier decision stands. Nothing of another switch's copy is kept: only one runs at a time.
    """
    if copy is None or copy.id != journal.id:
        copy = copy_for_source(journal)
    if copy.decision is not Decision.UNDECIDED or wanted is Decision.UNDECIDED:
        return copy
    return replace(copy, decision=wanted, revision=copy.revision + 1)


def confirmed(journal: Journal, digest: str) -> Journal:
    """Return the journal with the operator's agreement to what it found.

    Raises:
        UsageError: It does not wait for an agreement.
        PreflightFailed: The operator agreed to something else.
    """
    if journal.confirmed == digest and digest:
        return journal
    if journal.finished or not journal.did(StepName.EXPORT_TAILS) or journal.did(StepName.CONFIRM):
        raise UsageError(
            f"{journal.verb} {journal.id} does not wait for a confirmation", next_step=status_command(journal.flow)
        )
    if digest != confirmation_digest(journal):
        raise PreflightFailed(
            "what was confirmed is no longer what was found",
            next_step=f"{status_command(journal.flow)} shows what was found, with the command that agrees to it",
        )
    return replace(journal, confirmed=digest, revision=journal.revision + 1)


def copy_for_source(journal: Journal) -> Journal:
    """Return what OfferWayBack writes to the source's state topic."""
    return replace(journal, is_copy=True, decision=Decision.UNDECIDED, revision=0)
