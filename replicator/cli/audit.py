"""`replicator audit`: what operators did, and whether the log of it is intact."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from replicator.cli import remote
from replicator.cli.printing import output
from replicator.cli.printing.output import Column, Format
from replicator.errors import Unequal, UsageError
from replicator.model.status.snapshots import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.model.operations.audit import AuditEntry

app = typer.Typer(no_args_is_help=True, help="Audit: what operators did.")

_COLUMNS = (
    Column("SEQ", right=True),
    Column("AT"),
    Column("PHASE"),
    Column("ACTOR"),
    Column("METHOD"),
    Column("FLOW"),
    Column("BEFORE", rank=3),
    Column("AFTER", rank=2),
    Column("OUTCOME"),
    Column("TEXT", folds=True, rank=1),
    Column("KNOWN BY", wide=True),
    Column("PEER", wide=True),
)


@app.command("show")
def show(
    *,
    flow: Annotated[str | None, typer.Option("--flow", help="One flow only.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Number of entries.")] = 50,
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Show the latest entries of a daemon's audit log, newest last."""
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        entries = client.audit(flow, limit)
    match form:
        case Format.JSON | Format.YAML:
            output.document(form, {"schema_version": SCHEMA_VERSION, "entries": [asdict(entry) for entry in entries]})
        case Format.NAME:
            output.names(str(entry.seq) for entry in entries)
        case Format.TABLE | Format.WIDE:
            output.table(_COLUMNS, [_row(entry) for entry in entries], wide=form is Format.WIDE)


def _row(entry: AuditEntry) -> Sequence[str]:
    what = "; ".join(text for text in (entry.topic, entry.reason, entry.error) if text)
    cells = (entry.phase, entry.actor, entry.method, entry.flow, entry.before, entry.after, entry.outcome, what)
    return (
        str(entry.seq),
        entry.at,
        *(cell or output.UNKNOWN for cell in cells),
        entry.actor_known_by or output.UNKNOWN,
        entry.peer or output.UNKNOWN,
    )


@app.command("verify")
def verify(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="The daemon's state directory, or one file of the log.")
    ] = Path("state"),
    expect_last: Annotated[
        str | None, typer.Option("--expect-last", metavar="HASH", help="The last hash that you noted elsewhere.")
    ] = None,
) -> None:
    """Check the hash chain of the audit files, without a daemon.

    Prints the last hash: keep it elsewhere. Exits with 1 at the first line that was changed, added or removed.
    """
    from replicator.core.acl.audit_chain import verify as follow
    from replicator.obs.audit import REFUSALS, files_of, lines_of

    files = [path] if path.is_file() else files_of(path)
    refused = [] if path.is_file() else files_of(path, REFUSALS)
    if not files and not refused:
        raise UsageError(f"there is no audit log in {path}", next_step="name the daemon's state directory")
    chain = follow(lines_of(files))
    output.line(
        f"unbroken: entries {chain.first_seq} to {chain.last_seq} in {len(files)} files" if files else "no orders yet"
    )
    output.line(f"last hash: {chain.last_hash}")
    if chain.first_seq > 1:
        output.line(f"missing: entries 1 to {chain.first_seq - 1}, in files that were moved or deleted")
    if chain.torn:
        output.line(f"partly written or changed lines that the daemon recorded as such: {chain.torn}")
    if refused:
        refusals = follow(lines_of(refused))
        output.line(
            f"refused orders: {refusals.first_seq} to {refusals.last_seq}, in their own chain; old ones are dropped"
        )
    if chain.open_calls:
        shown = ", ".join(map(str, chain.open_calls[:10]))
        output.line(f"begun, outcome not recorded (the daemon ended in between): {shown}")
    if expect_last is not None and expect_last != chain.last_hash:
        raise Unequal(
            "the log does not end with the expected hash",
            why="entries were added since it was noted, or the whole log was rewritten",
            next_step="replicator audit show",
        )
