"""`replicator switchover`, `failover` and `failback`: tell what will be done, ask, order it, and show how it goes."""

from __future__ import annotations

import contextlib
import sys
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from replicator.cli import findings, output, remote, switch_views
from replicator.cli.flow import DryRunOption, FlowArgument, ReasonOption
from replicator.cli.output import Format
from replicator.cli.switch import show
from replicator.errors import Conflict, PreflightFailed, ReplicatorError, TimedOut, UsageError
from replicator.model.report import to_json as report_to_json
from replicator.model.status import SCHEMA_VERSION
from replicator.model.switch import Close, Options, Order, Outcome, Verb, back_id
from replicator.model.switch_status import plan_to_json

if TYPE_CHECKING:
    from replicator.model.switch_status import SwitchPlan, SwitchStatus
    from replicator.rpc.client import ControlClient

_POLL_SECONDS = 0.3

TopicsOption = Annotated[
    list[str] | None, typer.Option("--topics", help="Only this source topic; repeat for more. Default: the whole flow.")
]
StoppedOption = Annotated[
    bool,
    typer.Option("--producers-stopped", help="You state that nobody writes to the source: no rules close it."),
]
ReverseOption = Annotated[
    bool, typer.Option("--reverse", help="Afterwards the flow with `reverse_of` copies what is written to the target.")
]
InexactOption = Annotated[
    bool, typer.Option("--inexact-groups", help="Go on though a consumer group cannot be carried over exactly.")
]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Return once it is done, or as soon as ordered.")]
TimeoutOption = Annotated[
    str, typer.Option("--timeout", metavar="DURATION", help="Longest way to the fence; then the source opens again.")
]
RehearseOption = Annotated[
    bool, typer.Option("--rehearse", help="Only look whether it could be done now, and what stands in the way.")
]
ConfirmFlowOption = Annotated[
    str | None, typer.Option("--confirm", metavar="FLOW", help="The flow's name once more, where nobody can be asked.")
]
AppendOption = Annotated[
    bool, typer.Option("--append", help="Append to topics with a tail (mapped) rather than re-create them (identical).")
]
StayOption = Annotated[bool, typer.Option("--stay", help="Mirror back, and leave the target the open side.")]
AgreeOption = Annotated[
    str | None, typer.Option("--confirm", metavar="DIGEST", help="Agree to what `switch status` shows.")
]


@dataclass(frozen=True, slots=True)
class _Manner:
    """How an order is given: what is asked, waited for and shown."""

    dry_run: bool
    yes: bool
    wait: bool
    timeout_seconds: float
    form: Format


def switchover(
    flow: FlowArgument,
    *,
    topics: TopicsOption = None,
    producers_stopped: StoppedOption = False,
    reverse: ReverseOption = False,
    inexact_groups: InexactOption = False,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: remote.YesOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = "10m",
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Move a flow to its target, with nothing lost and nothing doubled; both sides are up.

    Until the fence `replicator switch abort` undoes all of it.
    """
    manner = _Manner(dry_run, yes, wait, remote.duration(timeout, "--timeout"), form)
    options = Options(
        close=Close.STATED if producers_stopped else Close.LOCK,
        reverse_flow="?" if reverse else "",
        groups_exact=not inexact_groups,
        timeout_ms=int(manner.timeout_seconds * 1000),
    )
    order = _order(Verb.SWITCHOVER, flow, topics, options, reason)
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        _carry_out(client, order, manner)


def failover(
    flow: FlowArgument,
    *,
    rehearse: RehearseOption = False,
    topics: TopicsOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    confirm: ConfirmFlowOption = None,
    wait: WaitOption = True,
    timeout: TimeoutOption = "2m",
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Open the target of a flow whose source is lost; what was not copied is lost, and told first.

    With --rehearse nothing is changed; it exits with 3 if a finding is red.
    """
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        if rehearse:
            _rehearse(client, flow, form)
            return
        if confirm is not None and confirm != flow:
            raise UsageError(f"--confirm names {confirm!r}, not {flow!r}")
        manner = _Manner(dry_run, confirm == flow, wait, remote.duration(timeout, "--timeout"), form)
        _carry_out(client, _order(Verb.FAILOVER, flow, topics, Options(), reason), manner)


def failback(
    flow: FlowArgument,
    *,
    topics: TopicsOption = None,
    producers_stopped: StoppedOption = False,
    append: AppendOption = False,
    stay: StayOption = False,
    inexact_groups: InexactOption = False,
    confirm: AgreeOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: remote.YesOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = "10m",
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Bring a flow back to its source after a failover or switchover.

    What the old source holds beyond the cut is exported and shown; you agree before anything of it is replaced.
    """
    manner = _Manner(dry_run, yes, wait, remote.duration(timeout, "--timeout"), form)
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        if confirm is not None:
            running = client.confirm_switch(flow, confirm, actor=remote.actor())
            if manner.wait:
                _follow(client, running, manner)
            else:
                show(running, manner.form)
            return
        options = Options(
            close=Close.STATED if producers_stopped else Close.LOCK,
            groups_exact=not inexact_groups,
            timeout_ms=int(manner.timeout_seconds * 1000),
            append=append,
            switch_back=not stay,
        )
        _carry_out(client, _order(Verb.FAILBACK, flow, topics, options, reason), manner)


def _order(verb: Verb, flow: str, topics: list[str] | None, options: Options, reason: str) -> Order:
    return Order(
        uuid.uuid4().hex[:16],
        verb,
        flow=flow,
        topics=tuple(topics or ()),
        options=options,
        actor=remote.actor(),
        reason=reason,
    )


def _rehearse(client: ControlClient, flow: str, form: Format) -> None:
    if form is Format.NAME:
        raise UsageError("a rehearsal has no output name", next_step="use -o table, json or yaml")
    report = client.rehearse(flow)
    if form in {Format.JSON, Format.YAML}:
        output.document(form, {"schema_version": SCHEMA_VERSION, **report_to_json(report)})
    else:
        findings.show(report)
    findings.judge(report)


def _carry_out(client: ControlClient, order: Order, manner: _Manner) -> None:
    """Tell what an order does, ask, give it, and follow it.

    Raises:
        PreflightFailed: It is refused, or the operator does not want it.
        TimedOut: It is not done within the time-out; it goes on.
    """
    epoch = client.status(order.flow).flows[0].epoch
    plan = client.plan_switch(order)
    if plan.already:
        _already(client, order, plan, manner)
        return
    if manner.dry_run and manner.form in {Format.JSON, Format.YAML}:
        document = {"schema_version": SCHEMA_VERSION, "flow": order.flow, "status": f"would_{order.verb}"}
        output.document(manner.form, {**document, "plan": plan_to_json(plan)})
    elif manner.dry_run or manner.form in {Format.TABLE, Format.WIDE}:
        switch_views.plan(order, plan)
    if plan.problems:
        raise PreflightFailed(
            f"{order.verb} of {order.flow!r} cannot begin", why="; ".join(plan.problems), next_step="see what helps"
        )
    if manner.dry_run:
        return
    if not manner.yes:
        _ask(order)
    switch, already = client.start_switch(order, epoch)
    if switch is None or already:
        _already(client, order, plan, manner)
        return
    if not manner.wait:
        show(switch, manner.form)
        return
    _follow(client, switch, manner)


def _ask(order: Order) -> None:
    if order.verb is not Verb.FAILOVER:
        remote.confirmed("Do it?", next_step="look at it with --dry-run, then repeat with --yes")
        return
    if not sys.stdin.isatty():
        raise PreflightFailed(
            f"nobody can be asked whether {order.flow} may lose what was not copied",
            next_step=f"look at it with --dry-run, then repeat with --confirm {order.flow}",
        )
    if typer.prompt(f"Type the flow's name to fail over ({order.flow})") != order.flow:
        raise PreflightFailed("that is not the flow's name: nothing was done")


def _already(client: ControlClient, order: Order, plan: SwitchPlan, manner: _Manner) -> None:
    """Say that nothing is to be done; follow the switch if it is under way."""
    switches = client.switches(order.flow)
    last = switches[-1] if switches else None
    if last is not None and last.verb is Verb.FAILBACK:
        last = _running_back(client, last) or last
    if last is not None and last.outcome is Outcome.RUNNING and manner.wait and not manner.dry_run:
        _follow(client, last, manner)
        return
    under_way = last is not None and last.outcome is Outcome.RUNNING
    word = "already_under_way" if under_way else "already_done"
    match manner.form:
        case Format.JSON | Format.YAML:
            document = {"schema_version": SCHEMA_VERSION, "flow": order.flow, "status": word}
            output.document(manner.form, {**document, "switch": plan.switch_id or None})
        case Format.NAME:
            output.line(order.flow)
        case Format.TABLE | Format.WIDE:
            output.line(f"{order.flow}: {order.verb} {word.replace('_', ' ')}")


def _running_back(client: ControlClient, switch: SwitchStatus) -> SwitchStatus | None:
    """Return the switchover that a failback ordered, where it is under way in this daemon."""
    with contextlib.suppress(ReplicatorError):  # the other flow has a daemon of its own
        switches = client.switches(switch.reverse_flow)
        ordered = (one for one in switches if one.id == back_id(switch.id) and one.outcome is Outcome.RUNNING)
        return next(ordered, None)
    return None


def _follow(client: ControlClient, switch: SwitchStatus, manner: _Manner) -> None:
    """Show steps as they are done, until the switch has ended or needs the operator.

    Raises:
        PreflightFailed: It was undone, or waits for a confirmation.
        TimedOut: It is not done within the time-out; it goes on.
    """
    told, waits = 0, None
    quiet = manner.form not in {Format.TABLE, Format.WIDE}
    deadline = time.monotonic() + manner.timeout_seconds + _POLL_SECONDS
    while True:
        switch = _now(client, switch)
        done = [step for step in switch.steps if step.at_ms is not None]
        if not quiet:
            for step in done[told:]:
                output.line(switch_views.step_line(step))
            if switch.waits_for and switch.waits_for != waits:
                output.note(f"waits for: {switch.waits_for}")
        told, waits = len(done), switch.waits_for
        if switch.finished or (switch.confirm and _waits_for_agreement(switch)):
            break
        if time.monotonic() >= deadline:
            raise TimedOut(
                f"{switch.verb} {switch.id} is not done after {output.age(manner.timeout_seconds)}",
                why=switch.waits_for or "it goes on",
                next_step=f"replicator switch status {switch.flow}",
            )
        time.sleep(_POLL_SECONDS)
    _ended(client, switch, manner)


def _waits_for_agreement(switch: SwitchStatus) -> bool:
    ahead = next((step.step for step in switch.steps if step.at_ms is None), "")
    return ahead == "confirm"


def _ended(client: ControlClient, switch: SwitchStatus, manner: _Manner) -> None:
    if not switch.finished:
        _agree(client, switch, manner)
        return
    if manner.form in {Format.TABLE, Format.WIDE}:
        switch_views.outcome(switch)
        output.line(switch_views.headline(switch))
    else:
        show(switch, manner.form)
    if switch.outcome is not Outcome.DONE:
        raise PreflightFailed(
            switch_views.headline(switch),
            why=switch.stopped_by,
            next_step=f"replicator switch status {switch.flow}",
        )
    if switch.verb is Verb.FAILBACK and any(step.step == "switch_back" for step in switch.steps):
        _follow_back(client, switch, manner)


def _agree(client: ControlClient, switch: SwitchStatus, manner: _Manner) -> None:
    """Ask the operator about topics with a tail, and go on."""
    if manner.form in {Format.TABLE, Format.WIDE}:
        switch_views.outcome(switch)
    else:
        show(switch, manner.form)
    remote.confirmed(
        "Do that with these topics?", next_step=f"replicator failback {switch.flow} --confirm {switch.confirm}"
    )
    _follow(client, client.confirm_switch(switch.flow, switch.confirm, actor=remote.actor()), manner)


def _follow_back(client: ControlClient, switch: SwitchStatus, manner: _Manner) -> None:
    """Follow the switchover of the reverse flow, if this daemon runs that too."""
    try:
        back = next((one for one in client.switches(switch.reverse_flow) if one.id == f"{switch.id}-back"), None)
    except ReplicatorError as error:
        output.note(
            f"the switchover of {switch.reverse_flow} goes on in its own daemon ({error.what}): "
            f"`replicator switch status {switch.reverse_flow}` there tells how far it is"
        )
        return
    if back is not None:
        _follow(client, back, manner)


def _now(client: ControlClient, switch: SwitchStatus) -> SwitchStatus:
    """Return a switch as it is now.

    Raises:
        Conflict: A failover took over from it: it is no more.
    """
    switches = client.switches(switch.flow)
    for one in switches:
        if one.id == switch.id:
            return one
        if one.replaces == switch.id:
            raise Conflict(
                f"{switch.verb} {switch.id} of {switch.flow!r} was replaced by {one.verb} {one.id}",
                why=f"{one.actor or 'somebody'} ordered it{f': {one.reason}' if one.reason else ''}",
                next_step=f"replicator switch status {switch.flow}",
            )
    return switch
