"""`replicator switch`: progress of a switch, how to undo it, and its history."""

from __future__ import annotations

from typing import Annotated

import typer

from replicator.cli import remote
from replicator.cli.flows.flow import FlowArgument, ReasonOption
from replicator.cli.printing import output
from replicator.cli.printing.output import Format
from replicator.cli.switch import views
from replicator.model.status.snapshots import SCHEMA_VERSION
from replicator.model.switch.status import SwitchStatus, to_json

app = typer.Typer(no_args_is_help=True, help="Switches of a flow to its other side: status, history, abort.")

TargetLostOption = Annotated[
    bool,
    typer.Option("--target-lost", help="Even after the fence: the target is lost, so reopen the closed source."),
]


@app.command("status")
def status(
    flow: FlowArgument,
    *,
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Show the running or last switch of a flow.

    Its steps, consumer groups, cut and loss.
    """
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        switches = client.switches(flow)
    if form in {Format.JSON, Format.YAML}:
        last = to_json(switches[-1]) if switches else None
        output.document(form, {"schema_version": SCHEMA_VERSION, "flow": flow, "switch": last})
    elif not switches:
        output.note(f"flow {flow!r} was never switched")
    elif form is Format.NAME:
        output.line(switches[-1].id)
    else:
        views.status(switches[-1], wide=form is Format.WIDE)


@app.command("history")
def history(
    flow: FlowArgument,
    *,
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Show the switches of a flow, newest last."""
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        switches = client.switches(flow)
    if form in {Format.JSON, Format.YAML}:
        document = [to_json(one) for one in switches]
        output.document(form, {"schema_version": SCHEMA_VERSION, "flow": flow, "switches": document})
    elif form is Format.NAME:
        output.names(one.id for one in switches)
    else:
        views.history(switches, wide=form is Format.WIDE)


@app.command("abort")
def abort(
    flow: FlowArgument,
    *,
    reason: ReasonOption = "",
    target_lost: TargetLostOption = False,
    yes: remote.YesOption = False,
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Undo the running switch, up to its fence.

    The source opens again, and copying goes on.
    """
    if target_lost and not yes:
        remote.confirmed(
            f"Reopen the source of {flow}, and never open its target by this switch?", next_step="repeat with --yes"
        )
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        switch = client.abort_switch(flow, actor=remote.actor(), reason=reason, target_lost=target_lost)
    show(switch, form)


def show(switch: SwitchStatus, form: Format) -> None:
    """Show one switch in the requested format."""
    if form in {Format.JSON, Format.YAML}:
        output.document(form, {"schema_version": SCHEMA_VERSION, "flow": switch.flow, "switch": to_json(switch)})
    elif form is Format.NAME:
        output.line(switch.id)
    else:
        views.status(switch, wide=form is Format.WIDE)
