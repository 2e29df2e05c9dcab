"""How the journal records the result of a step of the switch machine: the other half of `machine`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.core.switch.machine.helps import command, source_was_written_to, status_command
from replicator.core.switch.machine.machine import ENDS, SwitchFacts, next_name, next_step, path_of
from replicator.errors import BugError, Conflict, PreflightFailed
from replicator.model.switch.journal import Journal
from replicator.model.switch.terms import Cut, Decision, Direction, Outcome, StepName, StepRecord, Verb

GROUPS_LISTED_MAX = 50
_TURNED = "the way back was taken"


def applied(
    journal: Journal, step: do.Step, result: got.Result, *, revision: int, facts: SwitchFacts, executor: str = ""
) -> Journal:
    """Return the journal after a step; the same one if the step has to be retried.

    Args:
        journal: The present one, read by the compare-and-set that writes the new one.
        step: What was carried out, as returned by `next_step`.
        result: Its result.
        revision: Revision of the journal that asked for the step.
        facts: The facts when the step was asked for.
        executor: Who did it, for the history.

    Raises:
        Conflict: The journal has changed since: someone else was faster.
        PreflightFailed: The result does not allow it to go on; why, and what can be done instead.
        BugError: The step has no such result.
    """
    if journal.revision != revision or next_step(journal, facts) != step:
        raise Conflict(f"switch {journal.id} was advanced by someone else", next_step="read it again")
    if isinstance(result, got.NotYet):
        return journal
    if journal.finished:
        return _later(journal, result, facts, executor)
    turn = _turn(journal, step, result, facts)
    if turn is not None:
        return changed(turn, facts, executor)
    note = _NOTES.get((type(step), type(result)))
    if note is None:
        raise BugError(f"{type(result).__name__} is not a result of {type(step).__name__}")
    return _recorded(note(journal, step, result), do.NAMES[type(step)], facts, executor)


def turned(journal: Journal, direction: Direction, why: str) -> Journal:
    """Return it at the beginning of another direction."""
    return replace(journal, direction=direction, reached=None, stopped_by=why)


def changed(journal: Journal, facts: SwitchFacts, executor: str = "") -> Journal:
    """Return it one revision further; ended if nothing is left to do."""
    journal = replace(journal, revision=journal.revision + 1, executor=executor or journal.executor)
    if not journal.finished and next_name(journal) is None:
        return replace(journal, outcome=ENDS[journal.direction], ended_ms=facts.now_ms)
    return journal


def _later(journal: Journal, result: got.Result, facts: SwitchFacts, executor: str) -> Journal:
    """Return an ended journal with later results. Locks that were placed late and removed leave no trace in it."""
    if isinstance(result, got.TailsFound):
        return changed(replace(journal, cuts=tuple(sorted(result.cuts))), facts, executor)
    if isinstance(result, got.Decided):
        return changed(replace(journal, decision=result.decision), facts, executor)
    return journal


def _turn(journal: Journal, step: do.Step, result: got.Result, facts: SwitchFacts) -> Journal | None:
    """Return the journal if it goes somewhere other than to the next step, else None."""
    match step, result:
        case do.Preflight(), got.Refused(why):
            ended = replace(journal, outcome=Outcome.ABORTED, ended_ms=facts.now_ms)
            return turned(ended, Direction.ABORTING, why)
        case do.Abort(why), got.Ok():
            return turned(journal, Direction.ABORTING, why)
        case ((do.ProveQuiescence() | do.Drain() | do.SyncGroups() | do.BeginFence()), got.SourceMoved()):
            return _closed_again(journal, result)
        case do.TurnBack(), got.Ok():
            return turned(journal, Direction.BACK, _TURNED)
        case ((do.GiveUpWayBack() | do.WithdrawWayBack() | do.OfferWayBack()), got.Decided(Decision.BACK)):
            return turned(journal, Direction.BACK, _TURNED)
    return None


def _closed_again(journal: Journal, moved: got.SourceMoved) -> Journal:
    """Return to where the source is closed: its locks may be gone, or new topics may have none.

    Mirrors that drop out are recorded here, before the fence begins: it does not touch them.
    """
    known = {one.topic for one in journal.left_out}
    left_out = (*journal.left_out, *(one for one in moved.left_out if one.topic not in known))
    journal = replace(journal, left_out=tuple(sorted(left_out)), stopped_by=moved.why)
    if journal.scope.is_empty:
        return turned(journal, Direction.ABORTING, f"none of the named topics is left: {moved.why}")
    path = path_of(journal)
    first = StepName.PLAN_LOCKS if StepName.PLAN_LOCKS in path else StepName.PROVE_QUIESCENCE
    return replace(journal, reached=path[path.index(first) - 1], ends=())


def _recorded(journal: Journal, name: StepName, facts: SwitchFacts, executor: str) -> Journal:
    record = StepRecord(name, facts.now_ms, executor)
    history = (*(each for each in journal.history if each.step is not name), record)
    return changed(replace(journal, reached=name, history=history), facts, executor)


# -- what each result leaves behind ----------------------------------------------------------------------------------


def _nothing(journal: Journal, _step: do.Step, _result: got.Ok) -> Journal:
    return journal


def _locks(journal: Journal, _step: do.PlanLocks, result: got.LocksPlanned) -> Journal:
    before = tuple(sorted({*journal.inherited_locks, *journal.locks} - set(result.locks)))
    return replace(journal, locks=tuple(sorted(result.locks)), inherited_locks=before)


def _ends(journal: Journal, _step: do.ProveQuiescence, result: got.Quiescent) -> Journal:
    return replace(journal, ends=tuple(sorted(result.ends)))


def _drained(journal: Journal, step: do.Drain, result: got.Drained) -> Journal:
    come = {(end.topic, end.partition): end.source for end in result.ends}
    behind = [end for end in step.ends if come.get((end.topic, end.partition), -1) < end.source]
    if behind:
        raise PreflightFailed(
            f"{len(behind)} partitions of the target do not hold all of the source",
            why=f"{behind[0].topic}-{behind[0].partition} has to reach {behind[0].source}",
            next_step=f"replicator mirror describe {journal.flow} {behind[0].topic}",
        )
    return journal


def _groups(journal: Journal, step: do.SyncGroups | do.ClampGroups, result: got.GroupsSynced) -> Journal:
    groups = result.groups
    if isinstance(step, do.SyncGroups) and journal.options.groups_exact and groups.inexact_count:
        raise PreflightFailed(
            f"{groups.inexact_count} groups cannot be carried over exactly",
            why="; ".join(groups.inexact[:3]),
            next_step=f"stop their members on the target (replicator group list {journal.flow}); or replicator switch "
            f"abort {journal.flow}, and {command(Verb.SWITCHOVER, journal.flow, journal.topics)} --inexact-groups",
        )
    return replace(journal, groups=replace(groups, inexact=groups.inexact[:GROUPS_LISTED_MAX]))


def _begun(journal: Journal, step: do.BeginFence, result: got.FenceBegun) -> Journal:
    if step.epoch is not None and result.epoch != step.epoch:
        raise BugError(f"the fence of switch {journal.id} has epoch {step.epoch}, not {result.epoch}")
    return replace(journal, fence_epoch=result.epoch)


def _verified(journal: Journal, _step: do.VerifyFence, result: got.FenceVerified) -> Journal:
    if journal.direction is Direction.BACK:
        return journal
    if journal.verb is Verb.SWITCHOVER:
        _check_whole(journal, result.cuts)
    return replace(journal, cuts=tuple(sorted(result.cuts)))


def _check_whole(journal: Journal, cuts: Iterable[Cut]) -> None:
    """Refuse a cut that is not where the source was proven quiet, or a source that has been written to since."""
    seen = {(cut.topic, cut.partition): cut for cut in cuts}
    for end in journal.ends:
        cut = seen.pop((end.topic, end.partition), None)
        if cut is None or cut.source < end.source or (cut.observed_end or 0) > end.source:
            _refuse_late(journal, f"{end.topic}-{end.partition}")
    for cut in seen.values():
        if cut.source or cut.observed_end:
            _refuse_late(journal, f"{cut.topic}-{cut.partition}")


def _refuse_late(journal: Journal, where: str) -> None:
    raise PreflightFailed(
        f"{where} on the source goes beyond what was proven to be on the target",
        why="someone wrote to it after it was closed",
        next_step=source_was_written_to(journal),
    )


def _decided(journal: Journal, step: do.Step, result: got.Decided) -> Journal:
    wanted = _WANTED[type(step)]
    if result.decision is not wanted:
        raise PreflightFailed(
            f"the source's copy of switch {journal.id} says {result.decision}, not {wanted}",
            next_step=f"{status_command(journal.flow)}; if it does not go on: "
            f"{command(Verb.FAILOVER, journal.flow, journal.topics)}, which does not need the source",
        )
    return replace(journal, decision=result.decision)


def _tails(journal: Journal, step: do.FindTails, result: got.TailsFound) -> Journal:
    found = {(cut.topic, cut.partition): cut.tail_end for cut in result.cuts}
    for end in step.ends:
        if found.get((end.topic, end.partition)) != end.source:
            raise PreflightFailed(
                f"the tail of {end.topic}-{end.partition} is not known up to the end of the old source",
                why="it has no recorded cut, or was written to after it was closed",
                next_step=f"replicator switch abort {journal.flow}, then "
                f"{command(Verb.FAILBACK, journal.flow, journal.topics)} again",
            )
    return replace(journal, cuts=tuple(sorted(result.cuts)), topic_ids=tuple(sorted(result.topic_ids)))


def _agreed(journal: Journal, step: do.Confirm, _result: got.Ok) -> Journal:
    if step.digest != journal.confirmed:
        raise PreflightFailed(
            "nobody has agreed to what happens to the topics with a tail",
            next_step=f"{status_command(journal.flow)} shows it, with the command that agrees to it",
        )
    return journal


_WANTED: dict[type[do.Step], Decision] = {
    do.OfferWayBack: Decision.UNDECIDED,
    do.GiveUpWayBack: Decision.FORWARD,
    do.WithdrawWayBack: Decision.WITHDRAWN,
}
_Note = Callable[[Journal, Any, Any], Journal]
_PLAIN: tuple[type[do.Step], ...] = (
    do.Preflight,
    do.PlaceLocks,
    do.Fence,
    do.Promote,
    do.RecordCut,
    do.OpenTarget,
    do.PrepareReverse,
    do.StartReverse,
    do.ReopenSource,
    do.MarkSource,
    do.ResumeCopying,
    do.ExportTails,
    do.RestoreTopics,
    do.CatchUp,
    do.SwitchBack,
)
"""Steps that are only recorded as done."""
_NOTES: dict[tuple[type[do.Step], type[got.Result]], _Note] = {
    (do.PlanLocks, got.LocksPlanned): _locks,
    (do.ProveQuiescence, got.Quiescent): _ends,
    (do.Drain, got.Drained): _drained,
    (do.SyncGroups, got.GroupsSynced): _groups,
    (do.ClampGroups, got.GroupsSynced): _groups,
    (do.BeginFence, got.FenceBegun): _begun,
    (do.VerifyFence, got.FenceVerified): _verified,
    (do.FindTails, got.TailsFound): _tails,
    (do.Confirm, got.Ok): _agreed,
}
_NOTES.update({(step, got.Decided): _decided for step in _WANTED})
_NOTES.update({(step, got.Ok): _nothing for step in _PLAIN})
