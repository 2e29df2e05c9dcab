"""`replicator switchover`, `failover` and `failback`: show the plan, ask, order it, and follow it."""

from __future__ import annotations

import sys
import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from replicator.cli import remote
from replicator.cli.flows.flow import DryRunOption, FlowArgument, ReasonOption
from replicator.cli.printing import findings, output
from replicator.cli.printing.output import Format
from replicator.cli.switch import views
from replicator.cli.switch.follow import OrderOptions, follow, follow_back, is_switching_back
from replicator.cli.switch.switch import show
from replicator.errors import PreflightFailed, UsageError
from replicator.model.operations.report import to_json as report_to_json
from replicator.model.status.snapshots import SCHEMA_VERSION
from replicator.model.switch.status import plan_to_json
from replicator.model.switch.terms import Close, Options, Outcome, SwitchOrder, Verb

if TYPE_CHECKING:
    from replicator.model.switch.status import SwitchPlan
    from replicator.rpc.client.control_client import ControlClient

TopicsOption = Annotated[
    list[str] | None,
    typer.Option("--topics", metavar="TOPIC", help="Only this source topic; repeat for more. Default: the whole flow."),
]
StoppedOption = Annotated[
    bool,
    typer.Option("--producers-stopped", help="You assert that nobody writes to the source: it is not closed by ACLs."),
]
ReverseOption = Annotated[
    bool, typer.Option("--reverse", help="Afterwards, start the flow with `reverse_of`, which copies back.")
]
InexactOption = Annotated[
    bool, typer.Option("--inexact-groups", help="Continue even if a consumer group cannot keep its exact position.")
]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Return once it is done, or once it is ordered.")]
TimeoutOption = Annotated[
    str,
    typer.Option(
        "--timeout", metavar="DURATION", help="Longest time up to the fence; after that the source opens again."
    ),
]
FailoverTimeoutOption = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="Longest --wait.")]
RehearseOption = Annotated[
    bool, typer.Option("--rehearse", help="Only check whether it could be done now, and what would prevent it.")
]
ConfirmFlowOption = Annotated[
    str | None, typer.Option("--confirm", metavar="FLOW", help="The flow's name again, instead of a prompt.")
]
AppendOption = Annotated[
    bool,
    typer.Option("--append", help="Append to topics with a tail (mapped) instead of re-creating them (identical)."),
]
StayOption = Annotated[bool, typer.Option("--stay", help="Mirror back, but leave the target open.")]
AgreeOption = Annotated[
    str | None, typer.Option("--confirm", metavar="DIGEST", help="Agree to what `replicator switch status` shows.")
]


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
    """Move a flow to its target while both sides are up.

    Nothing is lost, nothing is duplicated. Up to the fence, `replicator switch abort` undoes all of it.
    """
    manner = OrderOptions(dry_run, yes, wait, remote.duration(timeout, "--timeout"), form)
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
    timeout: FailoverTimeoutOption = "2m",
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Open the target of a flow whose source is lost.

    What was not copied is lost; the loss is shown first. --rehearse changes nothing, and exits with 3 if a check
    fails.
    """
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        if rehearse:
            _rehearse(client, flow, form)
            return
        if confirm is not None and confirm != flow:
            raise UsageError(f"--confirm names {confirm!r}, not {flow!r}")
        manner = OrderOptions(dry_run, confirm == flow, wait, remote.duration(timeout, "--timeout"), form)
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
    """Bring a flow back to its source after a switch.

    What the old source holds beyond the cut is exported and shown; nothing of it is replaced before you agree.
    """
    manner = OrderOptions(dry_run, yes, wait, remote.duration(timeout, "--timeout"), form)
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        if confirm is not None and dry_run:
            raise UsageError(
                "--confirm agrees for real: it cannot be combined with --dry-run",
                next_step=f"to see what you agree to: replicator switch status {flow}",
            )
        if confirm is not None:
            if append or stay or inexact_groups or topics:
                raise UsageError(
                    "--confirm agrees to what was ordered: it takes no --append, --stay, --inexact-groups or --topics",
                    next_step=f"to see what you agree to: replicator switch status {flow}; to order something else: "
                    f"replicator switch abort {flow}, then replicator failback {flow} with what you want",
                )
            running = client.confirm_switch(flow, confirm, actor=remote.actor())
            if manner.wait:
                follow(client, running, manner)
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


def _order(verb: Verb, flow: str, topics: list[str] | None, options: Options, reason: str) -> SwitchOrder:
    return SwitchOrder(
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
        raise UsageError("--rehearse does not support -o name", next_step="use -o table, json or yaml")
    report = client.rehearse(flow)
    if form in {Format.JSON, Format.YAML}:
        output.document(form, {"schema_version": SCHEMA_VERSION, **report_to_json(report)})
    else:
        findings.show(report)
    findings.judge(report)


def _carry_out(client: ControlClient, order: SwitchOrder, manner: OrderOptions) -> None:
    """Show what an order does, ask, give it, and follow it.

    Raises:
        PreflightFailed: It is refused, or the operator declines.
        TimedOut: It is not done within the timeout; it goes on.
    """
    client.about_to_order()
    epoch = client.status(order.flow).flows[0].epoch
    plan = client.plan_switch(order)
    if plan.already:
        _already(client, order, plan, manner)
        return
    if manner.dry_run and manner.form in {Format.JSON, Format.YAML}:
        document = {"schema_version": SCHEMA_VERSION, "flow": order.flow, "status": f"would_{order.verb}"}
        output.document(manner.form, {**document, "plan": plan_to_json(plan)})
    elif manner.dry_run or manner.form in {Format.TABLE, Format.WIDE}:
        views.plan(order, plan)
    if plan.problems:
        raise PreflightFailed(
            f"{order.verb} of {order.flow!r} cannot begin",
            why="; ".join(plan.problems),
            next_step="fix that, then repeat the command",
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
    follow(client, switch, manner)


def _ask(order: SwitchOrder) -> None:
    if order.verb is not Verb.FAILOVER:
        remote.confirmed("Do it?", next_step="look at it with --dry-run, then repeat with --yes")
        return
    if not sys.stdin.isatty():
        raise PreflightFailed(
            f"no terminal to ask on whether {order.flow} may lose what was not copied",
            next_step=f"look at it with --dry-run, then repeat with --confirm {order.flow}",
        )
    if typer.prompt(f"Type the flow's name to fail over ({order.flow})") != order.flow:
        raise PreflightFailed("not the flow's name: nothing was done")


def _already(client: ControlClient, order: SwitchOrder, plan: SwitchPlan, manner: OrderOptions) -> None:
    """Say that there is nothing to do; follow the switch if it is under way."""
    switches = client.switches(order.flow)
    last = switches[-1] if switches else None
    waits = manner.wait and not manner.dry_run
    if last is not None and last.outcome is Outcome.RUNNING and waits:
        follow(client, last, manner)
        return
    switching_back = last is not None and last.verb is Verb.FAILBACK and is_switching_back(client, last)
    if last is not None and switching_back and waits:
        follow_back(client, last, manner)
        return
    under_way = last is not None and (last.outcome is Outcome.RUNNING or switching_back)
    word = "already_under_way" if under_way else "already_done"
    match manner.form:
        case Format.JSON | Format.YAML:
            document = {"schema_version": SCHEMA_VERSION, "flow": order.flow, "status": word}
            output.document(manner.form, {**document, "switch": plan.switch_id or None})
        case Format.NAME:
            output.line(order.flow)
        case Format.TABLE | Format.WIDE:
            output.line(f"{order.flow}: {order.verb} {word.replace('_', ' ')}")
