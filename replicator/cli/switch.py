"""`replicator switch`: how far a switch is, undo it, and what there was before."""

from __future__ import annotations

from typing import Annotated

import typer

from replicator.cli import output, remote, switch_views
from replicator.cli.flow import FlowArgument, ReasonOption
from replicator.cli.output import Format
from replicator.model.status import SCHEMA_VERSION
from replicator.model.switch.status import SwitchStatus, to_json

app = typer.Typer(no_args_is_help=True, help="Switches: flows that change, or changed, to their other region.")

TargetLostOption = Annotated[
    bool,
    typer.Option("--target-lost", help="Behind the fence: the target has died, open the closed source again."),
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
    """Show the running switch of a flow, or the last one: steps, groups, cut and loss."""
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
        switch_views.status(switches[-1], wide=form is Format.WIDE)


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
        switch_views.history(switches, wide=form is Format.WIDE)


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
    """Undo the running switch: before the fence the source opens again, and copying goes on."""
    if target_lost and not yes:
        remote.confirmed(
            f"Open the source of {flow} again, and never open its target by this switch?", next_step="repeat with --yes"
        )
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        switch = client.abort_switch(flow, actor=remote.actor(), reason=reason, target_lost=target_lost)
    show(switch, form)


def show(switch: SwitchStatus, form: Format) -> None:
    """Show one switch in the wanted form."""
    if form in {Format.JSON, Format.YAML}:
        output.document(form, {"schema_version": SCHEMA_VERSION, "flow": switch.flow, "switch": to_json(switch)})
    elif form is Format.NAME:
        output.line(switch.id)
    else:
        switch_views.status(switch, wide=form is Format.WIDE)
