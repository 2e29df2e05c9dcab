"""`replicator group`: list, describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from replicator.cli import remote
from replicator.cli.flows.flow import FlowArgument
from replicator.cli.printing import output
from replicator.cli.printing.output import Column, Format
from replicator.model.status.groups import GroupPartition, GroupState, GroupStatus
from replicator.model.status.snapshots import SCHEMA_VERSION, DaemonStatus
from replicator.model.text import command, printable

app = typer.Typer(no_args_is_help=True, help="Consumer groups: how far their commits have followed.")

_GROUP_COLUMNS = (
    Column("GROUP", names=True, folds=True),
    Column("KIND", rank=4),
    Column("STATE"),
    Column("ON SOURCE", rank=3),
    Column("ON TARGET", rank=2),
    Column("REREAD", right=True),
    Column("AGE", right=True, rank=1),
    Column("DETAIL", rank=5, folds=True),
)
_PARTITION_COLUMNS = (
    Column("TOPIC", names=True, folds=True),
    Column("TARGET TOPIC", names=True, rank=3, folds=True),
    Column("PART", right=True),
    Column("STATE"),
    Column("SOURCE", right=True, rank=1),
    Column("TARGET", right=True, rank=2),
    Column("REREAD", right=True),
    Column("DETAIL", rank=4, folds=True),
)
_NEXT = {
    GroupState.CHANGED_ON_TARGET: "to hand it back: kafka-consumer-groups.sh --delete --group {group} on the target",
    GroupState.ACTIVE_ON_TARGET: "it follows again once its members on the target leave without having committed",
    GroupState.NOT_TRANSLATED: "replicator offsets translate {flow} --group {group}",
}

GroupArgument = Annotated[str, typer.Argument(metavar="GROUP", help="Id of the group.")]


@app.command("list")
def list_groups(
    flow: FlowArgument,
    *,
    form: output.FormatOption = Format.TABLE,
    watch: remote.WatchOption = None,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """List the groups of a flow, and how far each has followed.

    REREAD is how many records a group would read again if the target took over now.
    """
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:

        def view(_: DaemonStatus, streaming: bool) -> None:
            groups, detail = client.groups(flow)
            match form:
                case Format.JSON | Format.YAML:
                    output.document(form, _list_document(flow, groups, detail), stream=streaming)
                case Format.NAME:
                    output.names(group.group for group in groups)
                case Format.TABLE | Format.WIDE if groups:
                    output.table(_GROUP_COLUMNS, [_group_row(group) for group in groups], wide=form is Format.WIDE)
                case _:
                    output.note("no group follows this flow")
            if detail is not None:
                output.note(detail)

        remote.show(client, flow, watch, view)


@app.command("describe")
def describe(
    flow: FlowArgument,
    group: GroupArgument,
    *,
    form: output.FormatOption = Format.TABLE,
    watch: remote.WatchOption = None,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Show one group, partition by partition, on both sides.

    Says why a partition is held back.
    """
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:

        def view(_: DaemonStatus, streaming: bool) -> None:
            found = client.group(flow, group)
            match form:
                case Format.JSON | Format.YAML:
                    document = {"schema_version": SCHEMA_VERSION, "group": asdict(found)}
                    output.document(form, document, stream=streaming)
                case Format.NAME:
                    output.names([found.group])
                case Format.TABLE | Format.WIDE:
                    _describe_text(found, wide=form is Format.WIDE)

        remote.show(client, flow, watch, view)


def _applied(group: GroupStatus) -> str:
    age = group.checkpoint_age_seconds
    return "nothing applied as far as known" if age is None else f"applied as of {output.age(age)} ago"


def _group_row(group: GroupStatus) -> Sequence[str]:
    return (
        group.group,
        group.kind,
        group.state,
        output.text(group.source_state),
        output.text(group.target_state),
        output.number(group.reread_records),
        output.age(group.checkpoint_age_seconds),
        output.text(group.detail),
    )


def _partition_row(one: GroupPartition) -> Sequence[str]:
    return (
        one.topic,
        one.target_topic,
        str(one.partition),
        one.state,
        output.number(one.source_offset),
        output.number(one.target_offset),
        output.number(one.reread_records),
        output.text(one.detail),
    )


def _list_document(flow: str, groups: Sequence[GroupStatus], detail: str | None) -> dict[str, Any]:
    rows = [asdict(group) for group in groups]
    for row in rows:
        del row["partitions"]
    return {"schema_version": SCHEMA_VERSION, "flow": flow, "detail": detail, "groups": rows}


def _describe_text(group: GroupStatus, *, wide: bool) -> None:
    parts = [
        f"{printable(group.group)}  {group.kind}  {group.state}",
        f"source {output.text(group.source_state)}",
        f"target {output.text(group.target_state)}",
        f"would reread {output.number(group.reread_records)}",
        _applied(group),
    ]
    output.line("  ".join(parts))
    if group.partitions:
        output.table(_PARTITION_COLUMNS, [_partition_row(one) for one in group.partitions], wide=wide)
    if group.unmirrored:
        output.line(f"{group.unmirrored} more commits are for topics that this flow does not mirror: left alone")
    if group.detail is not None:
        output.line(f"  why:    {printable(group.detail)}")
    next_step = _NEXT.get(group.state)
    if next_step is not None:
        output.line(f"  next:   {next_step.format(flow=group.flow, group=command(group.group))}")
