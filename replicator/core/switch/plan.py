"""A switch in words: what it would do, and how far it is."""

from __future__ import annotations

from collections.abc import Iterable

from replicator.core.switch.machine.machine import (
    NO_RETURN,
    confirmation_digest,
    next_name,
    path_of,
    restorations,
    unknown_text,
)
from replicator.model.switch.journal import Journal, by_topic
from replicator.model.switch.status import CutStatus, RestorationStatus, StepStatus, SwitchPlan, SwitchStatus
from replicator.model.switch.terms import Close, Cut, GroupsNote, LeftOutMirror, Restore, StepName, Verb, left_out_text

_TEXTS = {
    StepName.PREFLIGHT: "check whether it can be carried out",
    StepName.PLAN_LOCKS: "work out which ACLs keep writers off {source}",
    StepName.PLACE_LOCKS: "close {source} to writers",
    StepName.PROVE_QUIESCENCE: "verify that {source} is no longer written to, and no transaction is open",
    StepName.DRAIN: "wait until {target} holds all of {source}",
    StepName.SYNC_GROUPS: "move consumer groups to their positions on {source}",
    StepName.OFFER_WAY_BACK: "record on {source} that it may reopen if {target} is lost now",
    StepName.BEGIN_FENCE: "stop copying",
    StepName.FENCE: "fence every partition on {target}: late writes of this flow are refused from then on",
    StepName.VERIFY_FENCE: "verify the fence on every partition",
    StepName.PROMOTE: "record that {target} is the open side",
    StepName.CLAMP_GROUPS: "take consumer groups back to what was copied",
    StepName.RECORD_CUT: "record where each partition was cut",
    StepName.GIVE_UP_WAY_BACK: "record on {source} that it stays closed",
    StepName.OPEN_TARGET: "open {target}: settings and ACLs that were held back take effect",
    StepName.PREPARE_REVERSE: "prepare flow {reverse} from {target} to {source}",
    StepName.START_REVERSE: "start flow {reverse}, from where each partition was cut",
    StepName.FIND_TAILS: "find what {source} holds beyond the cut",
    StepName.EXPORT_TAILS: "copy that to <topic>.divergent.<epoch> on {target}, and read it back",
    StepName.CONFIRM: "ask you about topics that hold more than was copied, if there are any",
    StepName.RESTORE_TOPICS: "turn the topics on {source} into mirrors, and let flow {reverse} copy to them",
    StepName.CATCH_UP: "wait until {source} holds all of {target}",
    StepName.SWITCH_BACK: "order a switchover of flow {reverse}, with this flow as its way back",
    StepName.WITHDRAW_WAY_BACK: "record on {source} that the switch is withdrawn",
    StepName.REOPEN_SOURCE: "reopen {source} to writers",
    StepName.MARK_SOURCE: "mark {source} where {target} was fenced, so that offsets stay the same",
    StepName.RESUME_COPYING: "copy again",
    StepName.ABORT: "abort",
    StepName.TURN_BACK: "follow the way back that was decided on {source}",
    StepName.MEASURE_TAILS: "measure what {source} holds beyond the cut",
}


def plan_of(
    journal: Journal,
    *,
    names: tuple[str, str] = ("the source", "the target"),
    problems: tuple[str, ...] = (),
    cuts: tuple[Cut, ...] = (),
    now_ms: int = 0,
    already: bool = False,
    topics: tuple[str, ...] = (),
    apart: tuple[LeftOutMirror, ...] = (),
) -> SwitchPlan:
    """Return what a switch that has not begun would do.

    Args:
        journal: The journal it would begin with.
        names: Names of its two clusters.
        problems: What prevents it.
        cuts: What it would cut now.
        now_ms: The time.
        already: Whether it is under way or done.
        topics: Source topics of the mirrors in scope.
        apart: Mirrors of the flow that are not in scope, in addition to those that the journal leaves out.
    """
    path = [step for step in path_of(journal) if step is not StepName.PLAN_LOCKS]
    steps = [_words(step, journal, names) for step in path]
    if journal.verb is not Verb.FAILOVER and journal.options.close is Close.STATED:
        steps.insert(1, f"trust you that nobody writes to {names[0]} any more")
    nothing_copied = journal.verb is Verb.FAILOVER and not cuts and not already
    if nothing_copied:
        steps.insert(1, f"trust you that what {names[0]} took may be lost: this flow copied none of it")
    seen = [cut.observed_ms for cut in cuts if cut.observed_ms is not None]
    turn = NO_RETURN[journal.verb]
    return SwitchPlan(
        journal.verb,
        tuple(steps),
        (path.index(turn) if turn in path else len(path)) + len(steps) - len(path),
        problems,
        sum(cut.loss or 0 for cut in cuts) if journal.verb is Verb.FAILOVER and not nothing_copied else None,
        tuple((cut.topic, cut.partition, cut.loss) for cut in cuts if cut.loss),
        sum(cut.loss is None for cut in cuts),
        max(0.0, (now_ms - min(seen)) / 1000) if seen else None,
        already,
        journal.id if already else "",
        topics,
        _away((*journal.left_out, *apart)),
        tuple((cut.topic, cut.partition, cut.foreign) for cut in cuts if cut.foreign),
    )


def _away(left_out: Iterable[LeftOutMirror]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((one.topic, left_out_text(one.why)) for one in set(left_out)))


def _words(step: StepName, journal: Journal, names: tuple[str, str]) -> str:
    source, target = names
    text = _TEXTS.get(step)
    if text is None:
        return f"{step} (a step of a newer version)"
    return text.format(source=source, target=target, reverse=journal.options.reverse_flow)


def status_of(journal: Journal, *, names: tuple[str, str], waits_for: str | None = None) -> SwitchStatus:
    """Return the status of a switch for an operator.

    Args:
        journal: The switch.
        names: Names of its two clusters.
        waits_for: What holds it up.
    """
    if not journal.finished and journal.unknown_words:
        waits_for = unknown_text(journal)
    seen = [cut.observed_ms for cut in journal.cuts if cut.observed_ms is not None]
    cut_ms = next((one.at_ms for one in journal.history if one.step is StepName.VERIFY_FENCE), None)
    tails = [cut.tail for cut in journal.cuts]
    found = journal.did(StepName.FIND_TAILS)
    carried = journal.groups != GroupsNote() or journal.did(StepName.SYNC_GROUPS) or journal.did(StepName.CLAMP_GROUPS)
    return SwitchStatus(
        id=journal.id,
        flow=journal.flow,
        verb=journal.verb,
        outcome=journal.outcome,
        direction=journal.direction,
        started_ms=journal.started_ms,
        ended_ms=journal.ended_ms,
        actor=journal.actor,
        reason=journal.reason,
        stopped_by=journal.stopped_by,
        epoch=journal.fence_epoch,
        topics=journal.topics,
        left_out=_away(journal.left_out),
        replaces=journal.replaces,
        reverse_flow=journal.options.reverse_flow,
        way_back=journal.options.way_back,
        waits_for=waits_for,
        executor=journal.executor,
        steps=_steps(journal, names),
        groups_exact=journal.groups.exact if carried else None,
        groups_inexact=journal.groups.inexact_count if carried else None,
        groups_detail=journal.groups.inexact,
        known_loss=journal.known_loss,
        unknown_losses=journal.unknown_losses if journal.verb is not Verb.FAILBACK else 0,
        observed_age_seconds=max(0.0, (cut_ms - min(seen)) / 1000) if seen and cut_ms is not None else None,
        known_tail=sum(tail or 0 for tail in tails) if tails and None not in tails else None,
        cuts=tuple(_cut(cut) for cut in journal.cuts),
        restorations=_restorations(journal) if found else (),
        confirm=_to_agree(journal) if found else "",
    )


def _steps(journal: Journal, names: tuple[str, str]) -> tuple[StepStatus, ...]:
    """Return the steps done, and those left as far as this version knows them."""
    done = [StepStatus(one.step, _words(one.step, journal, names), one.at_ms) for one in journal.history]
    ahead = None if journal.finished or journal.unknown_words else next_name(journal)
    if ahead is None:
        return tuple(done)
    path = path_of(journal)
    return (*done, *(StepStatus(one, _words(one, journal, names)) for one in path[path.index(ahead) :]))


def _to_agree(journal: Journal) -> str:
    digest = confirmation_digest(journal)
    return "" if journal.did(StepName.CONFIRM) or journal.confirmed == digest else digest


def _cut(cut: Cut) -> CutStatus:
    return CutStatus(
        cut.topic,
        cut.target_topic,
        cut.partition,
        cut.source,
        cut.target,
        cut.observed_end,
        cut.loss,
        cut.tail,
        cut.foreign,
    )


def _restorations(journal: Journal) -> tuple[RestorationStatus, ...]:
    cuts = by_topic(journal.cuts)
    return tuple(
        RestorationStatus(one.topic, one.how, sum(cut.tail or 0 for cut in cuts[one.topic]))
        for one in restorations(journal)
        if one.how is not Restore.RESUME
    )
