"""What an operator may order, and when: begin a switch, abort it, take the way back, confirm, archive.

Each order is a pure change of the flow's journal record, made by a compare-and-set. The same order again changes
nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from replicator.core.copy.attaching.facts import Role
from replicator.core.switch.machine.helps import beside, command, status_command
from replicator.core.switch.machine.machine import check_known, kept_locks
from replicator.core.switch.running import escalated
from replicator.errors import Conflict, PreflightFailed, UsageError
from replicator.model.acl import parse
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import (
    PAST_MAX,
    Close,
    Direction,
    LeftOutMirror,
    LeftOutReason,
    Outcome,
    SwitchOrder,
    Verb,
)


@dataclass(frozen=True, slots=True)
class OrderResult:
    """The record once an order was taken.

    Attributes:
        already: There was nothing to do: this order, or an equivalent one, is under way or done.
    """

    switches: Switches
    already: bool = False


def begin(
    switches: Switches,
    order: SwitchOrder,
    *,
    promoted: bool,
    now_ms: int,
    reverse: Journal | None = None,
    was_cut: bool = False,
    reverse_opened: bool = False,
    target_closed: bool = False,
    apart: Collection[str] = (),
    other: str = "",
    as_it_runs: bool = False,
) -> OrderResult:
    """Take an order to switch.

    Args:
        switches: The flow's present record.
        order: What is wanted.
        promoted: Whether the writer record, or those of all mirrors in scope, says promoted.
        now_ms: The time.
        reverse: The running switch of the reverse flow, for a failback.
        was_cut: Whether a switch that is no longer remembered left a cut of what is in scope.
        reverse_opened: Whether the reverse flow took over from the last switch of this one, and was opened since.
        target_closed: Whether rules of the reverse flow's last switch keep this one's target closed.
        apart: Source topics that were switched alone and are not in scope: they stay closed whatever happens.
        other: Name of the reverse flow, if there is one.
        as_it_runs: Whether a running switch of the same kind will do, however it was ordered.

    Raises:
        Conflict: Another switch of this flow is running, or the same with other options, or one of the reverse flow
            that a failback did not order.
        PreflightFailed: The flow is not in a state from which this switch can begin.
        UsageError: The order contradicts itself.
    """
    if any(order.id == journal.id for journal in switches.all):
        return OrderResult(switches, already=True)
    running = switches.running
    if running is not None:
        return _beside(switches, running, order, now_ms, as_it_runs=as_it_runs)
    if switches.current is not None:
        check_known(switches.current)
    if order.verb is Verb.FAILBACK and _came_back(switches.current, order, reverse, promoted=promoted):
        return OrderResult(switches, already=True)
    _check_start(order, promoted=promoted)
    if order.verb is Verb.FAILBACK:
        _check_came_from(switches, order, was_cut=was_cut, reverse_opened=reverse_opened)
    if order.verb is not Verb.FAILBACK and promoted:
        if was_cut or any(_opened(one, order) for one in switches.all):
            return OrderResult(switches, already=True)
        _check_closed(order, other, target_closed=target_closed)
    return OrderResult(archived(switches, _journal(order, now_ms, *_standing(switches.current, order, apart))))


def _journal(order: SwitchOrder, now_ms: int, inherited: tuple[str, ...], others: tuple[str, ...]) -> Journal:
    """Return the journal that an order begins with; the locks are those already in place, its own and others'."""
    return Journal(
        id=order.id,
        verb=order.verb,
        flow=order.flow,
        topics=tuple(sorted(set(order.topics))),
        left_out=tuple(sorted(set(order.left_out))),
        options=order.options,
        actor=order.actor,
        reason=order.reason,
        started_ms=now_ms,
        inherited_locks=inherited,
        other_locks=others,
    )


def _check_start(order: SwitchOrder, *, promoted: bool) -> None:
    if order.verb is not Verb.FAILBACK:
        return
    if not order.options.reverse_flow:
        raise UsageError(
            "a failback needs a reverse flow",
            next_step=f"add a flow with `reverse_of: {order.flow}` to the flow file, and reload the daemon (SIGHUP)",
        )
    if not promoted:
        raise PreflightFailed(
            f"flow {order.flow!r} still copies: there is nothing to come back from",
            next_step=f"to see earlier switches: replicator switch history {order.flow}; to switch it now: "
            f"{command(Verb.SWITCHOVER, order.flow, order.topics)}",
        )


def _check_came_from(switches: Switches, order: SwitchOrder, *, was_cut: bool, reverse_opened: bool) -> None:
    """Refuse a failback of a flow that was never switched: a reverse flow stands by as promoted from the beginning.

    A failback of the wrong flow of a pair would take the open side for an old source, and let a flow copy to it.
    """
    other = order.options.reverse_flow
    if not was_cut and not any(_opened(one, order) for one in switches.all):
        raise PreflightFailed(
            f"flow {order.flow!r} was never switched: there is nothing to come back from",
            why="it stands by because its target is the open side, and none of its topics was ever cut",
            next_step=f"if flow {other!r} is the one that was switched: {command(Verb.FAILBACK, other)}",
        )
    if reverse_opened:
        raise PreflightFailed(
            f"flow {order.flow!r} has already been failed back: its target is the passive side",
            why=f"flow {other!r} took over after its last switch, and has been opened since",
            next_step=command(Verb.FAILBACK, other),
        )


def _check_closed(order: SwitchOrder, other: str, *, target_closed: bool) -> None:
    """Return if a flow that never copied can still open its target: by removing rules that we placed."""
    if order.verb is Verb.FAILOVER and target_closed and not order.topics:
        return
    raise PreflightFailed(
        f"flow {order.flow!r} was never started and has copied nothing: it has nothing to open",
        why="its target is the old source of the other flow, holds what it held when that was switched, and is open "
        "as far as this flow is concerned",
        next_step="if the other side is lost, point the applications at this one: no rule of ours keeps them off; "
        f"while it is up, and once it is back: {command(Verb.FAILBACK, other or 'OTHER-FLOW')}",
    )


def _opened(journal: Journal, order: SwitchOrder) -> bool:
    """Return whether a switch opened what an order names, or some of it."""
    if journal.verb is Verb.FAILBACK or journal.outcome is not Outcome.DONE:
        return False
    return not order.topics or any(topic in journal.scope for topic in order.topics)


def not_selected_then(switches: Switches, topics: Collection[str] = ()) -> tuple[LeftOutMirror, ...]:
    """Return the mirrors that the last switch of the whole flow neither cut nor opened because they were not selected.

    Args:
        switches: The flow's record.
        topics: Source topics in scope; none for the whole flow.
    """
    opened = [one for one in switches.all if not one.topics and one.verb is not Verb.FAILBACK]
    last = next((one for one in reversed(opened) if one.outcome is Outcome.DONE), None)
    left_out = last.left_out if last is not None else ()
    return tuple(
        one for one in left_out if one.why is LeftOutReason.NOT_SELECTED and (not topics or one.topic in topics)
    )


def _came_back(last: Journal | None, order: SwitchOrder, reverse: Journal | None, *, promoted: bool) -> bool:
    """Return whether the last failback was this one: the flow is back, or the switchover for it is under way.

    While that switchover reverses the flows, neither of them copies, and the old source holds what was copied to it: it
    must not be taken for one that has just come back.
    """
    ordered = last is not None and last.verb is Verb.FAILBACK and last.outcome is Outcome.DONE
    same = last if ordered and last is not None and set(last.topics) == set(order.topics) else None
    if reverse is None:
        return same is not None and same.options.switch_back and not promoted
    if same is not None and reverse.id == same.back_id:
        return True
    raise Conflict(
        f"{reverse.verb} {reverse.id} of flow {reverse.flow!r} is running",
        why="it is deciding which side is open",
        next_step=status_command(reverse.flow),
    )


def promoted(order: SwitchOrder, flow: Role, mirrors: Mapping[str, Role]) -> bool:
    """Return whether everything that an order names was opened.

    Args:
        order: What is wanted.
        flow: The role of the flow, which mirrors that were not switched alone follow.
        mirrors: The role of each mirror, by source topic.

    Raises:
        PreflightFailed: Some of it was and some was not: the operator has to name topics.
    """
    named = {topic: mirrors.get(topic, flow) for topic in order.topics}
    opened = sorted(topic for topic, role in named.items() if role is Role.PROMOTED)
    left = sorted(named.keys() - set(opened))
    if opened and left:
        raise PreflightFailed(
            f"{opened[0]} was already switched, but {left[0]} was not",
            next_step=command(order.verb, order.flow, opened if order.verb is Verb.FAILBACK else left),
        )
    if named:
        return bool(opened)
    wanted = Role.PROMOTED if order.verb is Verb.FAILBACK else Role.COPYING
    apart = sorted(topic for topic, role in mirrors.items() if role is wanted)
    if apart and flow in {Role.COPYING, Role.PROMOTED} - {wanted}:
        raise PreflightFailed(
            f"only topics of flow {order.flow!r} that were switched alone can take part, for example {apart[0]}",
            why=f"the rest of it is {'still copied' if order.verb is Verb.FAILBACK else 'on the other side'}",
            next_step=command(order.verb, order.flow, apart),
        )
    return flow is Role.PROMOTED


def _standing(
    last: Journal | None, order: SwitchOrder, apart: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return our locks that may be in place: those of what is being switched, and those of other topics.

    Also those of an aborted switch, since a frozen executor may still place them.
    """
    if last is None:
        return (), ()
    ours = set(kept_locks(last)) if last.outcome is Outcome.DONE else {*last.locks, *last.inherited_locks}
    others = set(last.other_locks)
    if order.topics and last.outcome is Outcome.DONE:
        others, ours = others | ours, set()
    mine = {lock for lock in others if not order.topics or parse(lock).name in order.topics}
    mine |= ours
    stays = {lock for lock in mine if apart and parse(lock).name in apart}
    return tuple(sorted(mine - stays)), tuple(sorted((others - mine) | stays))


def _beside(switches: Switches, running: Journal, order: SwitchOrder, now_ms: int, *, as_it_runs: bool) -> OrderResult:
    same = running.verb is order.verb and set(running.topics) == set(order.topics)
    if same and running.direction is Direction.FORWARD:
        differs = None if as_it_runs else _other_option(running, order)
        if differs is None:
            return OrderResult(switches, already=True)
        raise Conflict(
            f"{running.verb} {running.id} of this flow is running, and was ordered {differs}",
            why="the options of an order can no longer be changed",
            next_step=beside(running),
        )
    check_known(running)
    if order.verb is Verb.FAILOVER and running.verb is Verb.SWITCHOVER and set(running.topics) == set(order.topics):
        return OrderResult(replace(switches, current=escalated(running, order, now_ms)))
    raise Conflict(
        f"{running.verb} {running.id} of this flow is running",
        why=f"it has reached {running.reached or 'nothing yet'}, {running.direction}",
        next_step=beside(running),
    )


def _other_option(running: Journal, order: SwitchOrder) -> str | None:
    """Return in what a running switch differs from an order; None if it was ordered the same way.

    Otherwise an operator who orders it again would agree to something other than what they asked for.
    """
    was, wanted = running.options, order.options
    options = {
        "--append": (was.append, wanted.append),
        "--stay": (not was.switch_back, not wanted.switch_back),
        "--inexact-groups": (not was.groups_exact, not wanted.groups_exact),
        "--producers-stopped": (was.close is Close.STATED, wanted.close is Close.STATED),
        "--reverse": (bool(was.reverse_flow), bool(wanted.reverse_flow)),
    }
    if order.verb is Verb.FAILOVER:  # it has none of these; one that replaced a switchover keeps its options
        return None
    return next(
        (f"{'with' if had else 'without'} {name}" for name, (had, wants) in options.items() if had != wants), None
    )


def archived(switches: Switches, fresh: Journal) -> Switches:
    """Return the record with a new switch; the one before is kept without its details per partition."""
    return replace(without_details(switches), current=fresh)


def without_details(switches: Switches) -> Switches:
    """Return the record with its last switch archived: without locks, and without its details per partition."""
    if switches.current is None:
        return switches
    last = replace(switches.current, locks=(), inherited_locks=(), other_locks=(), ends=(), cuts=(), topic_ids=())
    return Switches(None, (*switches.past, last)[-PAST_MAX:])
