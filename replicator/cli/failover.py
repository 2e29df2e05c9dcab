"""`replicator failover`: so far the rehearsal."""

from __future__ import annotations

from typing import Annotated

import typer

from replicator.cli import findings, output, remote
from replicator.cli.flow import FlowArgument
from replicator.cli.output import Format
from replicator.errors import NotAvailable, UsageError
from replicator.model.report import to_json
from replicator.model.status import SCHEMA_VERSION

RehearseOption = Annotated[
    bool, typer.Option("--rehearse", help="Only look whether it could be done now, and what stands in the way.")
]


def command(
    flow: FlowArgument,
    *,
    rehearse: RehearseOption = False,
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Look whether a flow could be moved to its target now; nothing is changed.

    Exits with 3 if a finding is red: the move would fail, or lose more than the flow's objectives allow.
    """
    if not rehearse:
        raise NotAvailable(
            "failover is not available in this version", next_step=f"replicator failover --rehearse {flow}"
        )
    if form is Format.NAME:
        raise UsageError("a rehearsal has no output name", next_step="use -o table, json or yaml")
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        report = client.rehearse(flow)
    if form in {Format.JSON, Format.YAML}:
        output.document(form, {"schema_version": SCHEMA_VERSION, **to_json(report)})
    else:
        findings.show(report)
    findings.judge(report)
