"""`replicator flow damaged`: lists records of `replicator.state` that cannot be read, and clears one of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from replicator.cli import remote
from replicator.cli.flows.flow import DryRunOption, ReasonOption
from replicator.cli.printing import output
from replicator.cli.printing.output import Column, Format
from replicator.errors import PreflightFailed, UsageError
from replicator.model.operations.damage import Clearing
from replicator.model.status.snapshots import SCHEMA_VERSION

if TYPE_CHECKING:
    from replicator.model.operations.damage import Damage, Damaged
    from replicator.rpc.client.control_client import ControlClient

_COLUMNS = (
    Column("CLUSTER"),
    Column("OFFSET", right=True),
    Column("BYTES", right=True),
    Column("WHAT", folds=True),
    Column("WHY", folds=True, wide=True),
    Column("WITHOUT IT", folds=True),
)

ClearOption = Annotated[
    str,
    typer.Option("--clear", metavar="KEY", help="Write a tombstone for this record, unless it has changed since."),
]
ConfirmOption = Annotated[
    str,
    typer.Option(
        "--confirm", metavar="KEY", help="The key again, instead of a prompt. Required if more than the record is lost."
    ),
]
ClusterOption = Annotated[
    str, typer.Option("--cluster", metavar="ALIAS", help="Which cluster, if the key is damaged on both.")
]


def command(
    name: Annotated[str, typer.Argument(metavar="FLOW", help="Name of the flow, or its uid.")],
    *,
    clear: ClearOption = "",
    confirm: ConfirmOption = "",
    cluster: ClusterOption = "",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """List or clear unreadable records of replicator.state.

    Shows what each record was and what is lost without it. If a newer version wrote it, run that version instead.
    """
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        if not clear:
            if confirm or cluster or dry_run:
                raise UsageError("--confirm, --cluster and --dry-run go with --clear", next_step="give --clear KEY")
            _list(name, client.damaged(name), form)
            return
        order = _order(client, name, clear, confirm, cluster)
        found = _found(client.damaged(name), order)
        if found is None:
            _show(name, order, None, form, "already_cleared")
            return
        order = Clearing(found.cluster, found.key, found.offset, order.confirm)
        if dry_run:
            _show(name, order, found, form, "would_clear")
            return
        if not order.confirm:
            _agree(name, found)
        done = client.clear_damaged(name, order, actor=remote.actor(), reason=reason)
    _show(name, order, done, form, "cleared")


def _order(client: ControlClient, name: str, clear: str, confirm: str, cluster: str) -> Clearing:
    """Return the order as far as the options define it.

    Raises:
        UsageError: One of the keys is not a key, or they differ.
    """
    client.about_to_order()
    for option, key in (("--clear", clear), ("--confirm", confirm)):
        try:
            bytes.fromhex(key)
        except ValueError as error:
            raise UsageError(
                f"{option}: {key!r} is not a key",
                why="keys are in hex",
                next_step=f"replicator flow damaged {name}",
            ) from error
    if confirm and confirm.lower() != clear.lower():
        raise UsageError(
            "--confirm and --clear name different keys",
            next_step=f"replicator flow damaged {name} shows what each means",
        )
    return Clearing(cluster, clear.lower(), -1, confirm.lower())


def _found(damage: Damage, order: Clearing) -> Damaged | None:
    """Return the record to clear, or None if no damaged record has that key.

    Raises:
        UsageError: There are several.
        PreflightFailed: It may be on a cluster that does not answer.
    """
    found = [one for one in damage.records if one.key == order.key and order.cluster in {"", one.cluster}]
    if len(found) > 1:
        raise UsageError(
            f"the record of this key is damaged on {' and '.join(one.cluster for one in found)}",
            next_step="add --cluster",
        )
    if not found and damage.unasked:
        raise PreflightFailed(
            f"no damaged record has this key, and {', '.join(damage.unasked)} could not be asked",
            next_step="repeat the command when it answers",
        )
    return found[0] if found else None


def _agree(name: str, found: Damaged) -> None:
    """Return if the operator agrees.

    Raises:
        PreflightFailed: The key has to be given twice, there is no terminal to ask on, or the answer is no.
    """
    again = f"replicator flow damaged {name} --clear {found.key} --confirm {found.key}"
    if found.guarded:
        raise PreflightFailed(f"to clear {found.what}, give its key twice", why=found.clearing, next_step=again)
    _text(found)
    remote.confirmed("Clear it?", next_step=again)


def _list(name: str, damage: Damage, form: Format) -> None:
    match form:
        case Format.JSON | Format.YAML:
            output.document(form, {"schema_version": SCHEMA_VERSION, "flow": name, **asdict(damage)})
        case Format.NAME:
            output.names(one.key for one in damage.records)
        case Format.TABLE | Format.WIDE:
            wide = form is Format.WIDE
            if damage.records:
                rows = [
                    (one.cluster, str(one.offset), output.number(one.size_bytes), one.what, one.why, one.clearing)
                    for one in damage.records
                ]
                output.table(_COLUMNS, rows, wide=wide)
                output.line()
                for one in damage.records:
                    output.line(f"clear offset {one.offset}: {_command(name, one)}")
            else:
                output.line(f"{name}: every record can be read")
    if damage.left_out:
        output.note(f"{damage.left_out:,} more are not shown")
    for alias in damage.unasked:
        output.note(f"{alias} could not be asked: its records are not known")


def _command(name: str, one: Damaged) -> str:
    confirm = f" --confirm {one.key}" if one.guarded else ""
    return f"replicator flow damaged {name} --clear {one.key}{confirm}"


def _show(name: str, order: Clearing, record: Damaged | None, form: Format, outcome: str) -> None:
    match form:
        case Format.JSON | Format.YAML:
            fields = asdict(record) if record is not None else None
            document = {"schema_version": SCHEMA_VERSION, "flow": name, "key": order.key, "status": outcome}
            output.document(form, {**document, "record": fields})
        case Format.NAME:
            output.line(order.key)
        case Format.TABLE | Format.WIDE:
            if record is not None:
                _text(record)
            remark = ", or never damaged" if record is None else ""
            output.line(f"{order.key}: {outcome.replace('_', ' ')}{remark}")


def _text(record: Damaged) -> None:
    output.line(f"{record.what}, {record.size_bytes:,} bytes at offset {record.offset} on {record.cluster}")
    output.line(f"  cannot be read: {record.why}")
    output.line(f"  without it: {record.clearing}")
