"""`replicator lease list`: which daemon works on which shard."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from replicator.cli import remote
from replicator.cli.flows.flow import FlowFilter
from replicator.cli.printing import output
from replicator.cli.printing.output import Column, Format
from replicator.errors import UsageError
from replicator.model.status.snapshots import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.model.lease import Lease, LeaseTable

app = typer.Typer(no_args_is_help=True, help="Leases: which daemon works on which shard of a flow.")

_COLUMNS = (
    Column("FLOW"),
    Column("SHARD", right=True),
    Column("EPOCH", right=True, rank=2),
    Column("HOLDER"),
    Column("ADDRESS", rank=1),
    Column("GOES TO", rank=3),
    Column("UID", wide=True),
)


@app.callback()
def group() -> None:
    """Keep `list` a command of its own."""


@app.command("list")
def list_leases(
    flow: FlowFilter = None,
    *,
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """List the leases that a coordinator has granted."""
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        tables = client.leases()
    if flow is not None:
        tables = [table for table in tables if table.flow == flow]
        if not tables:
            raise UsageError(f"no daemon has asked for leases of flow {flow!r}", next_step="replicator lease list")
    match form:
        case Format.JSON | Format.YAML:
            output.document(form, {"schema_version": SCHEMA_VERSION, "flows": [asdict(table) for table in tables]})
        case Format.NAME:
            output.names(f"{table.flow}/{lease.shard}" for table in tables for lease in table.leases)
        case Format.TABLE | Format.WIDE:
            output.table(
                _COLUMNS,
                [_row(table, lease) for table in tables for lease in table.leases],
                wide=form is Format.WIDE,
            )


def _row(table: LeaseTable, lease: Lease) -> Sequence[str]:
    holder = table.member(lease.holder)
    return (
        table.flow,
        str(lease.shard),
        str(lease.epoch),
        lease.holder or output.UNKNOWN,
        holder.address if holder is not None else output.UNKNOWN,
        lease.successor or output.UNKNOWN,
        table.flow_uid,
    )
