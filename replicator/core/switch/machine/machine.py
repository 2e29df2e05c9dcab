"""The switch machine: what to do next, and what the journal says once it was done.

Pure: a journal in, a step out; a result in, a journal out (`recording`). The executor carries steps out
(`steps` says what it must guarantee), and writes each new journal by a compare-and-set: of two executors
one wins each step, the other reads again. The operator's orders are in `core.switch.orders`.

What holds at every moment, whoever dies:

- We never open both sides. The target is opened only after the way back was given up on the source; the source is
  reopened only before the fence begins, or after the way back was taken there.
- The target is never opened before every partition shows the fence's epoch.
- A switchover opens only if nothing is missing, and a late write to the source stops it.
- Exactly our locks are removed, as the journal recorded them before they were placed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from replicator.core.switch.machine import steps as do
from replicator.errors import BugError, Conflict
from replicator.model.switch.journal import Journal, by_topic
from replicator.model.switch.terms import (
    Close,
    Cut,
    Decision,
    Direction,
    End,
    Outcome,
    Restoration,
    Restore,
    StepName,
    Verb,
)

_LOCKS = (StepName.PLAN_LOCKS, StepName.PLACE_LOCKS)
_SWITCHOVER = (
    StepName.PREFLIGHT,
    *_LOCKS,
    StepName.PROVE_QUIESCENCE,
    StepName.DRAIN,
    StepName.SYNC_GROUPS,
    StepName.OFFER_WAY_BACK,
    StepName.BEGIN_FENCE,
    StepName.FENCE,
    StepName.VERIFY_FENCE,
    StepName.PROMOTE,
    StepName.RECORD_CUT,
    StepName.GIVE_UP_WAY_BACK,
    StepName.OPEN_TARGET,
    StepName.PREPARE_REVERSE,
    StepName.START_REVERSE,
)
_FAILOVER = (
    StepName.PREFLIGHT,
    StepName.BEGIN_FENCE,
    StepName.FENCE,
    StepName.VERIFY_FENCE,
    StepName.PROMOTE,
    StepName.CLAMP_GROUPS,
    StepName.RECORD_CUT,
    StepName.OPEN_TARGET,
)
_FAILBACK = (
    StepName.PREFLIGHT,
    *_LOCKS,
    StepName.PROVE_QUIESCENCE,
    StepName.FIND_TAILS,
    StepName.EXPORT_TAILS,
    StepName.CONFIRM,
    StepName.RESTORE_TOPICS,
    StepName.CATCH_UP,
    StepName.SWITCH_BACK,
)
_PATHS = {Verb.SWITCHOVER: _SWITCHOVER, Verb.FAILOVER: _FAILOVER, Verb.FAILBACK: _FAILBACK}
_RESTORING = frozenset(
    {*_LOCKS, *_FAILBACK[_FAILBACK.index(StepName.PROVE_QUIESCENCE) : _FAILBACK.index(StepName.CATCH_UP)]}
)
_ABORT = (StepName.WITHDRAW_WAY_BACK, StepName.REOPEN_SOURCE)
_BACK_ON_TARGET = (StepName.FENCE, StepName.VERIFY_FENCE, StepName.RESUME_COPYING)
_BACK_ON_SOURCE = (StepName.MARK_SOURCE, StepName.REOPEN_SOURCE)
ENDS = {
    Direction.FORWARD: Outcome.DONE,
    Direction.ABORTING: Outcome.ABORTED,
    Direction.BACK: Outcome.FAILED_FORWARD,
}
NO_RETURN = {
    Verb.SWITCHOVER: StepName.BEGIN_FENCE,
    Verb.FAILOVER: StepName.BEGIN_FENCE,
    Verb.FAILBACK: StepName.CONFIRM,
}
"""Once this is recorded, what comes next cannot be undone. It is recorded before that begins."""


UNKNOWN_HELP = "let a daemon of that version continue it: start one, or upgrade this one"


@dataclass(frozen=True, slots=True)
class SwitchFacts:
    """What the executor sees apart from the journal.

    Attributes:
        now_ms: The time, on the clock of journals.
        decision: The decision in the source's copy; None if it was not read, or cannot be.
        standing_locks: Those of the journal's locks that are in place on the source.
        source_seen: Whether the source answers.
        another_source: Text saying that another cluster answers as the source; empty if none does.
    """

    now_ms: int
    decision: Decision | None = None
    standing_locks: frozenset[str] = frozenset()
    source_seen: bool = False
    another_source: str = ""


def path_of(journal: Journal) -> tuple[StepName, ...]:
    """Return the steps of a switch in its current direction, in order."""
    options = journal.options
    if journal.direction is Direction.BACK:
        if journal.is_copy:
            return _BACK_ON_SOURCE
        # Without a fence, copying never stopped, and it fills the source's markers like any others.
        return _BACK_ON_TARGET if journal.fence_epoch is not None else ()
    if journal.direction is Direction.ABORTING and not (journal.verb is Verb.SWITCHOVER or journal.escalated):
        # A failover has not touched the source yet. At a failback the other side is open, so this one stays shut.
        return ()
    left_out: set[StepName] = set()
    if options.close is Close.STATED and not _ours(journal):
        left_out |= {*_LOCKS, StepName.REOPEN_SOURCE}
    if not options.way_back:
        left_out |= {StepName.OFFER_WAY_BACK, StepName.GIVE_UP_WAY_BACK, StepName.WITHDRAW_WAY_BACK}
    if not options.reverse_flow:
        left_out |= {StepName.PREPARE_REVERSE, StepName.START_REVERSE}
    if journal.verb is Verb.FAILBACK:
        left_out |= _RESTORING if options.restored else set()
        left_out |= set() if options.switch_back else {StepName.SWITCH_BACK}
    return tuple(step for step in _whole_path(journal) if step not in left_out)


def _whole_path(journal: Journal) -> tuple[StepName, ...]:
    """Return all steps of a switch in its direction, whatever its options; none for a verb of a newer version."""
    if journal.direction is Direction.BACK:
        return _BACK_ON_SOURCE if journal.is_copy else _BACK_ON_TARGET
    return _ABORT if journal.direction is Direction.ABORTING else _PATHS.get(journal.verb, ())


def check_known(journal: Journal) -> None:
    """Return if this version knows all words of a journal.

    Raises:
        Conflict: A newer version wrote words that this one does not know: it would omit what they ask for.
    """
    words = journal.unknown_words
    if words:
        raise Conflict(unknown_text(journal), next_step=UNKNOWN_HELP)


def unknown_text(journal: Journal) -> str:
    """Return why this version cannot advance a switch."""
    words = ", ".join(repr(word) for word in journal.unknown_words)
    return f"{journal.verb} {journal.id} was written by a newer version of the daemon: {words} is not known here"


def may_be_undone(journal: Journal) -> bool:
    """Return whether everything done so far can be undone."""
    turn = NO_RETURN.get(journal.verb)
    return turn is not None and not journal.did(turn) and journal.direction is not Direction.BACK


def kept_locks(journal: Journal) -> frozenset[str]:
    """Return the locks of a finished switch that belong there: they keep the passive side closed.

    Those that a reverse flow took over are its own.
    """
    ours = frozenset(journal.locks) | frozenset(journal.inherited_locks)
    if journal.did(StepName.START_REVERSE) or journal.did(StepName.RESTORE_TOPICS):
        return frozenset()
    if journal.outcome is Outcome.DONE:
        return ours
    return ours if journal.outcome is Outcome.ABORTED and journal.verb is Verb.FAILBACK else frozenset()


def next_step(journal: Journal, facts: SwitchFacts) -> do.Step:
    """Return what to do next. It depends only on the journal, apart from the time and unsolicited events."""
    if journal.unknown_words:
        return do.Nothing(journal.outcome)
    if journal.finished:
        return _after_the_end(journal, facts)
    if journal.direction is Direction.FORWARD:
        if journal.is_copy:
            return do.Nothing(journal.outcome)
        if facts.decision is Decision.BACK and not _opening(journal):
            return do.TurnBack()
        why = _ends_because(journal, facts)
        if why:
            return do.Abort(why)
    name = next_name(journal)
    if name is None:
        raise BugError(f"switch {journal.id} is running but has nothing left to do")
    return _STEPS[name](journal)


def _after_the_end(journal: Journal, facts: SwitchFacts) -> do.Step:
    """Return what may be left once a switch has ended: locks of a late executor, and the source after a failover."""
    # After the way back the locks belong to the copy: if they went before its markers, offsets would differ.
    undone = journal.outcome is Outcome.FAILED_FORWARD and journal.is_copy
    gone = undone or (journal.outcome is Outcome.ABORTED and journal.verb is not Verb.FAILBACK)
    left = facts.standing_locks & (frozenset(journal.locks) | frozenset(journal.inherited_locks))
    if gone and left - kept_locks(journal):
        return do.ReopenSource(tuple(sorted(left - kept_locks(journal))))
    if _undecided_on_the_source(journal) and facts.source_seen:
        return do.GiveUpWayBack()
    unmeasured = any(cut.tail_end is None for cut in journal.cuts)
    if journal.outcome is Outcome.DONE and journal.verb is Verb.FAILOVER and unmeasured and facts.source_seen:
        return do.MeasureTails(journal.cuts)
    return do.Nothing(journal.outcome)


def _undecided_on_the_source(journal: Journal) -> bool:
    """Return whether a failover replaced a switchover that had offered a way back, which nobody may take now."""
    offered = journal.escalated and journal.options.way_back and journal.outcome is Outcome.DONE
    return offered and journal.decision in {None, Decision.UNDECIDED}


def _opening(journal: Journal) -> bool:
    """Return whether the target may have been opened, or its opening was decided."""
    return journal.decision is Decision.FORWARD or journal.verb is Verb.FAILOVER


def _ends_because(journal: Journal, facts: SwitchFacts) -> str:
    """Return why a switch undoes itself; empty while it goes on."""
    if journal.verb is Verb.FAILBACK:
        # Whatever it has done is on the cluster that is gone; the target is the open side and stays open.
        return facts.another_source
    if journal.verb is Verb.SWITCHOVER and may_be_undone(journal) and _overdue(journal, facts.now_ms):
        return "it did not reach the fence within its time-out"
    return ""


def _overdue(journal: Journal, now_ms: int) -> bool:
    return now_ms >= journal.started_ms + journal.options.timeout_ms


def next_name(journal: Journal) -> StepName | None:
    """Return the first step after the one reached."""
    path = path_of(journal)
    if journal.reached is None:
        return path[0] if path else None
    order = _whole_path(journal)
    if journal.reached not in order:
        return None
    # An earlier version may have reached a step that is left out here.
    behind = order[order.index(journal.reached) + 1 :]
    return next((step for step in behind if step in path), None)


def restorations(journal: Journal) -> tuple[Restoration, ...]:
    """Return what a failback does with each topic: in place unless some partition has a tail."""
    ids = dict(journal.topic_ids)
    ways = []
    for topic, cuts in by_topic(journal.cuts).items():
        how = Restore.RESUME
        if any(cut.is_lost_below for cut in cuts):
            how = Restore.RECREATE
        elif any(cut.tail for cut in cuts):
            how = Restore.APPEND if journal.options.append else Restore.RECREATE
        ways.append(Restoration(topic, how, ids.get(topic, "")))
    return tuple(ways)


def confirmation_digest(journal: Journal) -> str:
    """Return a digest of what a failback found and will do; empty if nobody needs to agree."""
    ways = restorations(journal)
    if all(one.how is Restore.RESUME for one in ways):
        return ""
    return hashlib.sha256(repr((ways, _tails(journal))).encode()).hexdigest()[:16]


def _tails(journal: Journal) -> tuple[Cut, ...]:
    return tuple(cut for cut in journal.cuts if cut.tail)


def _ours(journal: Journal) -> tuple[str, ...]:
    return tuple(sorted({*journal.locks, *journal.inherited_locks}))


def _scope(journal: Journal) -> tuple[End, ...]:
    """Return what a switchover proved to be drained: it must not fence anything else."""
    return journal.ends if journal.verb is Verb.SWITCHOVER and journal.direction is Direction.FORWARD else ()


def _epoch(journal: Journal) -> int:
    if journal.fence_epoch is None:
        raise BugError(f"switch {journal.id} has no fence epoch after its fence had begun")
    return journal.fence_epoch


_STEPS: dict[StepName, Callable[[Journal], do.Step]] = {
    StepName.PREFLIGHT: lambda _: do.Preflight(),
    StepName.PLAN_LOCKS: lambda j: do.PlanLocks(j.scope, _ours(j)),
    StepName.PLACE_LOCKS: lambda j: do.PlaceLocks(j.locks),
    StepName.PROVE_QUIESCENCE: lambda j: do.ProveQuiescence(j.scope),
    StepName.DRAIN: lambda j: do.Drain(j.ends),
    StepName.SYNC_GROUPS: lambda j: do.SyncGroups(j.ends),
    StepName.OFFER_WAY_BACK: lambda _: do.OfferWayBack(),
    StepName.BEGIN_FENCE: lambda j: do.BeginFence(j.scope, j.fence_epoch, _scope(j)),
    StepName.FENCE: lambda j: do.Fence(_epoch(j), j.scope),
    StepName.VERIFY_FENCE: lambda j: do.VerifyFence(_epoch(j), j.scope),
    StepName.PROMOTE: lambda j: do.Promote(_epoch(j), j.scope),
    StepName.CLAMP_GROUPS: lambda j: do.ClampGroups(j.cuts),
    StepName.RECORD_CUT: lambda j: do.RecordCut(_epoch(j), j.cuts),
    StepName.GIVE_UP_WAY_BACK: lambda _: do.GiveUpWayBack(),
    StepName.OPEN_TARGET: lambda j: do.OpenTarget(j.scope),
    StepName.PREPARE_REVERSE: lambda j: do.PrepareReverse(j.options.reverse_flow, j.scope),
    StepName.START_REVERSE: lambda j: do.StartReverse(j.options.reverse_flow, j.scope, _ours(j)),
    StepName.WITHDRAW_WAY_BACK: lambda _: do.WithdrawWayBack(),
    StepName.REOPEN_SOURCE: lambda j: do.ReopenSource(_ours(j)),
    StepName.MARK_SOURCE: lambda j: do.MarkSource(tuple(end for end in j.ends if end.identical)),
    StepName.RESUME_COPYING: lambda j: do.ResumeCopying(_epoch(j), j.scope),
    StepName.FIND_TAILS: lambda j: do.FindTails(j.ends),
    StepName.EXPORT_TAILS: lambda j: do.ExportTails(_tails(j)),
    StepName.CONFIRM: lambda j: do.Confirm(confirmation_digest(j)),
    StepName.RESTORE_TOPICS: lambda j: do.RestoreTopics(j.options.reverse_flow, restorations(j), _ours(j)),
    StepName.CATCH_UP: lambda j: do.CatchUp(j.options.reverse_flow),
    StepName.SWITCH_BACK: lambda j: do.SwitchBack(j.options.reverse_flow, j.back_id),
}
