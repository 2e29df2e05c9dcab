"""`replicator flow`: list, status, pause, resume."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from replicator.cli import remote
from replicator.cli.printing import output, views
from replicator.cli.printing.output import Format
from replicator.model.status.events import Desired
from replicator.model.status.snapshots import SCHEMA_VERSION, DaemonStatus, FlowStatus, to_json
from replicator.model.status.states import FlowState

if TYPE_CHECKING:
    from replicator.rpc.client.control_client import ControlClient

app = typer.Typer(no_args_is_help=True, help="Flows: directed copies from one cluster to another.")

_DONE = {Desired.PAUSED: "paused", Desired.ACTIVE: "resumed"}
_ALREADY = {Desired.PAUSED: "already_paused", Desired.ACTIVE: "already_active"}
_COPIES = frozenset({FlowState.ACTIVE, FlowState.STARTING, FlowState.UNREACHABLE})
_WOULD = {Desired.PAUSED: "would_pause", Desired.ACTIVE: "would_resume"}

FlowArgument = Annotated[str, typer.Argument(metavar="FLOW", help="Name of the flow.")]
FlowFilter = Annotated[str | None, typer.Argument(metavar="FLOW", help="One flow only.")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; recorded in the audit log.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait until the change has taken effect.")]
TimeoutOption = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="Longest --wait.")]


@app.command("list")
def list_flows(
    *,
    form: output.FormatOption = Format.TABLE,
    watch: remote.WatchOption = None,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """List the flows of a daemon, one line each."""

    def view(status: DaemonStatus, streaming: bool) -> None:
        match form:
            case Format.JSON | Format.YAML:
                output.document(form, {"schema_version": SCHEMA_VERSION, "flows": _bare(status)}, stream=streaming)
            case Format.NAME:
                output.names(flow.flow for flow in status.flows)
            case Format.TABLE | Format.WIDE:
                _flow_table(status, wide=form is Format.WIDE)

    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        remote.show(client, None, watch, view)


@app.command("status")
def status_of_flows(
    flow: FlowFilter = None,
    *,
    form: output.FormatOption = Format.TABLE,
    watch: remote.WatchOption = None,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Show flows with their mirrors; what has stopped, and why."""

    def view(status: DaemonStatus, streaming: bool) -> None:
        match form:
            case Format.JSON | Format.YAML:
                output.document(form, to_json(status), stream=streaming)
            case Format.NAME:
                output.names(one.flow for one in status.flows)
            case Format.TABLE | Format.WIDE:
                _status_text(status, wide=form is Format.WIDE)

    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        remote.show(client, flow, watch, view)


@app.command("pause")
def pause(
    flow: FlowArgument,
    *,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = "60s",
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Stop copying until `flow resume`, also across restarts."""
    timeout_seconds = remote.duration(timeout, "--timeout") if wait else None
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        outcome = _change(client, flow, Desired.PAUSED, reason, dry_run, timeout_seconds)
    _print_outcome(flow, outcome, reason, form)


@app.command("resume")
def resume(
    flow: FlowArgument,
    *,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = "60s",
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Copy again, starting where the target's log ends."""
    timeout_seconds = remote.duration(timeout, "--timeout") if wait else None
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        outcome = _change(client, flow, Desired.ACTIVE, reason, dry_run, timeout_seconds)
    _print_outcome(flow, outcome, reason, form)


def _change(
    client: ControlClient,
    name: str,
    desired: Desired,
    reason: str,
    dry_run: bool,
    timeout_seconds: float | None,
) -> str:
    """Make the change, wait if a timeout is given, and return the status word.

    The epoch is sent along, so that the change is refused if the flow was switched since we read its status.
    """
    if not dry_run:
        client.about_to_order()
    now = _only(client.status(name))
    if dry_run:
        already = now.state in _COPIES if desired is Desired.ACTIVE else now.state is FlowState.PAUSED
        return _ALREADY[desired] if already else _WOULD[desired]
    changed = client.set_desired(name, desired, actor=remote.actor(), reason=reason, expected_epoch=now.epoch)
    if timeout_seconds is not None:
        _wait(client, name, FlowState(desired), timeout_seconds)
    return _DONE[desired] if changed else _ALREADY[desired]


def _wait(client: ControlClient, name: str, wanted: FlowState, timeout_seconds: float) -> None:
    remote.wait_until(
        wanted,
        lambda: _only(client.status(name)).state,
        timeout_seconds,
        what=f"flow {name!r}",
        why="the change is recorded and will take effect",
        next_step=f"replicator flow status {name} --watch",
    )


def _only(status: DaemonStatus) -> FlowStatus:
    # Asked for one flow, the daemon answers with exactly that flow or with an error.
    return status.flows[0]


def _print_outcome(flow: str, outcome: str, reason: str, form: Format) -> None:
    match form:
        case Format.JSON | Format.YAML:
            output.document(
                form,
                {"schema_version": SCHEMA_VERSION, "flow": flow, "status": outcome, "reason": reason or None},
            )
        case Format.NAME:
            output.line(flow)
        case Format.TABLE | Format.WIDE:
            output.line(f"{flow}: {outcome.replace('_', ' ')}")


def _bare(status: DaemonStatus) -> list[dict[str, Any]]:
    """Return the flows as JSON objects without their mirrors."""
    flows = [asdict(flow) for flow in status.flows]
    for flow in flows:
        del flow["mirrors"]
    return flows


def _flow_table(status: DaemonStatus, *, wide: bool) -> None:
    if status.flows:
        output.table(views.FLOW_COLUMNS, [views.flow_row(flow) for flow in status.flows], wide=wide)
    else:
        output.note("this daemon has no flows")


def _status_text(status: DaemonStatus, *, wide: bool) -> None:
    if not status.flows:
        output.note("this daemon has no flows")
    if not status.ready:
        output.note(f"the daemon is not ready: {output.text(status.not_ready_because)}")
    for at, flow in enumerate(status.flows):
        if at:
            output.line()
        output.line(views.flow_headline(flow))
        if flow.mirrors:
            output.table(views.MIRROR_COLUMNS, [views.mirror_row(mirror) for mirror in flow.mirrors], wide=wide)
        for text in views.fault_lines(flow, views.problems(flow)):
            output.line(text)
        for text in (*views.difference_lines(flow, flow.mirrors), *views.left_out_lines(flow, every=wide)):
            output.line(text)
