"""`replicator mirror forget` and `replicator flow forget`: remove the records of what is no longer copied."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from replicator.cli import remote
from replicator.cli.flows.flow import DryRunOption, FlowArgument, ReasonOption
from replicator.cli.printing import output
from replicator.cli.printing.output import Format
from replicator.model.status.snapshots import SCHEMA_VERSION

if TYPE_CHECKING:
    from replicator.model.operations.forget import Forgotten
    from replicator.rpc.client.control_client import ControlClient


def mirror(
    flow: FlowArgument,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the source topic.")],
    *,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: remote.YesOption = False,
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Remove the records of a mirror that is no longer copied.

    Its source topic is gone, or the flow no longer selects it. The topic on the target stays as it is; its offset map
    and its part in switches are forgotten.
    """
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        _forget(client, flow, topic, reason=reason, dry_run=dry_run, yes=yes, form=form)


def flow(
    name: Annotated[str, typer.Argument(metavar="FLOW", help="Name of the flow, or its uid.")],
    *,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: remote.YesOption = False,
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Remove all records of a flow that no flow file has any more.

    Its topics stay as they are. A new flow of that name starts from scratch.
    """
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        _forget(client, name, None, reason=reason, dry_run=dry_run, yes=yes, form=form)


def _forget(
    client: ControlClient, flow: str, topic: str | None, *, reason: str, dry_run: bool, yes: bool, form: Format
) -> None:
    plan = client.forget(flow, topic, actor=remote.actor(), reason=reason, dry_run=True)
    if not plan.records or dry_run:
        _show(flow, topic, plan, form, "would_forget" if plan.records else "already_forgotten")
        return
    if not yes:
        _text(plan, "would be removed")
        remote.confirmed("Do it?", next_step="look at it with --dry-run, then repeat with --yes")
    done = client.forget(flow, topic, actor=remote.actor(), reason=reason, dry_run=False)
    _show(flow, topic, done, form, "forgotten" if done.records else "already_forgotten")


def _show(flow: str, topic: str | None, found: Forgotten, form: Format, outcome: str) -> None:
    match form:
        case Format.JSON | Format.YAML:
            document = {"schema_version": SCHEMA_VERSION, "flow": flow, "topic": topic, "status": outcome}
            output.document(form, {**document, **asdict(found)})
        case Format.NAME:
            output.line(f"{flow}/{topic}" if topic is not None else flow)
        case Format.TABLE | Format.WIDE:
            if found.records:
                _text(found, "removed" if outcome == "forgotten" else "would be removed")
            remark = ", or never known: there are no records of it" if outcome == "already_forgotten" else ""
            output.line(f"{topic or flow}: {outcome.replace('_', ' ')}{remark}")


def _text(found: Forgotten, done: str) -> None:
    output.line(f"{done} from replicator.state, {found.records:,} records: {', '.join(found.removed)}")
    for text in found.left_behind:
        output.line(f"  stays: {text}")
