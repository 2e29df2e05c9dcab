"""How switches are printed: what one would do, how far it is, and what it cost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from replicator.cli.printing import output
from replicator.cli.printing.output import Column
from replicator.model.switch.terms import Direction, Outcome, Verb
from replicator.model.text import printable

if TYPE_CHECKING:
    from replicator.model.switch.status import StepStatus, SwitchPlan, SwitchStatus
    from replicator.model.switch.terms import SwitchOrder

_LOSSES_SHOWN_MAX = 20
_TOPICS_SHOWN_MAX = 5
_PLANNED_MAX = 50
_CUTS = (
    Column("TOPIC", names=True, folds=True),
    Column("PARTITION", right=True),
    Column("CUT", right=True),
    Column("TARGET END", right=True),
    Column("SEEN END", right=True, wide=True),
    Column("LOSS", right=True),
    Column("TAIL", right=True),
    Column("FOREIGN", right=True, wide=True),
)
_HISTORY = (
    Column("ID", wide=True),
    Column("VERB"),
    Column("OUTCOME"),
    Column("STARTED"),
    Column("TOOK", right=True),
    Column("EPOCH", right=True, wide=True),
    Column("ACTOR", folds=True, wide=True),
    Column("REASON", folds=True),
)


def plan(order: SwitchOrder, found: SwitchPlan) -> None:
    """Show what an order would do."""
    output.line(f"{found.verb} of {_meant(order.flow, order.topics)}:")
    for number, step in enumerate(found.steps, 1):
        output.line(f"  {number:>2}. {step}")
        if number == found.undone_until and number < len(found.steps):
            output.line("      -- up to here, `replicator switch abort` undoes all of it --")
    if found.topics and not order.topics:
        output.line(f"topics ({len(found.topics):,}): {_some(found.topics, _PLANNED_MAX)}")
    left_out(found.left_out)
    losses(found)
    for problem in found.problems:
        output.line(f"refused: {problem}")


def left_out(topics: tuple[tuple[str, str], ...]) -> None:
    """Show which mirrors of the flow a switch leaves out."""
    for topic, why in topics[:_TOPICS_SHOWN_MAX]:
        output.line(f"left out: {topic} {why}")
    if len(topics) > _TOPICS_SHOWN_MAX:
        output.line(f"left out: {len(topics) - _TOPICS_SHOWN_MAX} more topics")


def losses(found: SwitchPlan) -> None:
    """Show what a failover would lose now."""
    if found.known_loss is None:
        return
    age = f", as seen {output.age(found.observed_age_seconds)} ago" if found.observed_age_seconds is not None else ""
    if found.observed_age_seconds is None and found.unseen:
        output.line("loss if done now: not known")
    else:
        least = "at least " if found.unseen else ""
        output.line(f"loss if done now: {least}{found.known_loss:,} offsets{age}")
    for topic, partition, offsets in found.lossy[:_LOSSES_SHOWN_MAX]:
        output.line(f"  {topic}-{partition}: {offsets:,}")
    if len(found.lossy) > _LOSSES_SHOWN_MAX:
        output.line(f"  and {len(found.lossy) - _LOSSES_SHOWN_MAX} more partitions")
    if found.unseen:
        output.line(f"for {found.unseen} partitions the source's end was never seen: their loss is not known")
    for topic, partition, offsets in found.foreign[:_LOSSES_SHOWN_MAX]:
        output.line(f"  {topic}-{partition}: someone else wrote {offsets:,} offsets to the target: they stay there")
    if len(found.foreign) > _LOSSES_SHOWN_MAX:
        output.line(f"  and {len(found.foreign) - _LOSSES_SHOWN_MAX} more partitions that someone else wrote to")
    output.line("also lost: what the source took after it was last seen; its tail shows the exact loss when it returns")


def headline(switch: SwitchStatus) -> str:
    """Return one line about a switch."""
    if switch.outcome is Outcome.RUNNING:
        ways = {
            Direction.FORWARD: "is under way",
            Direction.ABORTING: "is being undone",
            Direction.BACK: "is being turned back",
        }
        how = ways.get(switch.direction, f"is under way ({switch.direction})")
    else:
        how = {
            Outcome.DONE: "is done",
            Outcome.ABORTED: "was undone",
            Outcome.FAILED_FORWARD: "was turned back: the source is open again",
        }.get(switch.outcome, f"has ended: {switch.outcome}")
    return f"{switch.verb} {printable(switch.id)} of {_meant(switch.flow, switch.topics)} {how}"


def _meant(flow: str, topics: tuple[str, ...]) -> str:
    """Return a flow, with its topics if only some are switched."""
    return f"{flow} (only {_some(topics, _TOPICS_SHOWN_MAX)})" if topics else flow


def _some(topics: tuple[str, ...], shown_max: int) -> str:
    more = f" and {len(topics) - shown_max} more" if len(topics) > shown_max else ""
    return f"{', '.join(topics[:shown_max])}{more}"


def step_line(step: StepStatus) -> str:
    """Return one line about a step."""
    done = "      " if step.at_ms is None else "done  "
    return f"  {done}{printable(step.text)}"


def status(switch: SwitchStatus, *, wide: bool) -> None:
    """Show one switch."""
    output.line(headline(switch))
    if switch.reason or switch.actor:
        reason = f": {printable(switch.reason)}" if switch.reason else ""
        output.line(f"  ordered by {printable(switch.actor) or 'unknown'}{reason}")
    if switch.stopped_by:
        output.line(f"  {printable(switch.stopped_by)}")
    for step in switch.steps:
        output.line(step_line(step))
    if switch.waits_for:
        output.line(f"waits for: {printable(switch.waits_for)}")
    outcome(switch)
    if switch.cuts and wide:
        rows = [
            (
                cut.topic,
                str(cut.partition),
                str(cut.source),
                str(cut.target),
                output.number(cut.observed_end),
                output.number(cut.loss),
                output.number(cut.tail),
                str(cut.foreign),
            )
            for cut in switch.cuts
        ]
        output.table(_CUTS, rows, wide=True)


def outcome(switch: SwitchStatus) -> None:
    """Show what a switch cost, and what it left out."""
    left_out(switch.left_out)
    if switch.groups_exact or switch.groups_inexact:
        output.line(f"consumer groups: {switch.groups_exact or 0} exact, {switch.groups_inexact or 0} not")
    for text in switch.groups_detail:
        output.line(f"  {text}")
    if not switch.cuts:
        return
    partitions = f"{len(switch.cuts)} partitions"
    foreign = [cut.foreign for cut in switch.cuts if cut.foreign]
    if switch.verb is Verb.FAILBACK:
        _restorations(switch)
    elif switch.verb is Verb.SWITCHOVER:
        output.line(f"cut: {partitions}, nothing is lost")
    else:
        age = switch.observed_age_seconds
        seen = f", with the source as seen {output.age(age)} before" if age is not None else ""
        # An older daemon does not send a loss of 0; then the cuts have it.
        losses = [cut.loss for cut in switch.cuts if cut.loss is not None]
        known = sum(losses) if switch.known_loss is None and losses else switch.known_loss
        lost = "loss not known"
        if known is not None:
            lost = f"{known:,} offsets are lost as far as is known{seen}"
        output.line(f"cut: {partitions}, {lost}")
        if switch.unknown_losses:
            output.line(f"  for {switch.unknown_losses} partitions the source was never seen")
        tail = "not known until the source returns" if switch.known_tail is None else f"{switch.known_tail:,} offsets"
        output.line(f"tail of the old source (the exact loss): {tail}")
    if foreign:
        output.line(f"someone else wrote {sum(foreign):,} offsets to {len(foreign)} partitions before the fence")
        lost = "what the source had at these offsets is not on the target"
        output.line(f"  they stay: {lost if switch.verb is Verb.FAILOVER else 'they count as written after it'}")


def _restorations(switch: SwitchStatus) -> None:
    if not switch.restorations:
        output.line("no partition of the old source holds more than was copied")
        return
    words = {"recreate": "deleted there and mirrored again", "append": "kept and appended to (offsets are mapped)"}
    for one in switch.restorations:
        output.line(f"  {one.topic}: holds {one.tail:,} offsets that were never copied; {words.get(one.how, one.how)}")
    if switch.confirm:
        output.line(f"to agree: replicator failback {switch.flow} --confirm {switch.confirm}")


def history(switches: tuple[SwitchStatus, ...], *, wide: bool) -> None:
    """Show switches, one line each, newest last."""
    if not switches:
        output.note("this flow was never switched")
        return
    rows = [
        (
            one.id[:12],
            str(one.verb),
            str(one.outcome),
            _time(one.started_ms),
            "-" if one.ended_ms is None else output.age((one.ended_ms - one.started_ms) / 1000),
            output.number(one.epoch),
            one.actor,
            one.reason or one.stopped_by,
        )
        for one in switches
    ]
    output.table(_HISTORY, rows, wide=wide)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")
