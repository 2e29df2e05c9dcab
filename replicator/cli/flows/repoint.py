"""`replicator flow repoint`: copy from another cluster, in place."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from replicator.cli import remote
from replicator.cli.flows.flow import DryRunOption, FlowArgument, ReasonOption
from replicator.cli.printing import output
from replicator.cli.printing.output import Format
from replicator.errors import DaemonUnreachable, TimedOut
from replicator.model.operations.lineage import LogComparison, LogStanding, RepointReport
from replicator.model.status.snapshots import SCHEMA_VERSION

if TYPE_CHECKING:
    from replicator.rpc.client.control_client import ControlClient

_LOOK_SECONDS = 0.5
_SHOWN_MAX = 20
_WORDS = {
    LogStanding.AHEAD: "holds more than {to}: it stops there until {to} holds it too, or the mirror is resolved",
    LogStanding.DIFFERENT: "differs from {to}: it stops (content_mismatch)",
    LogStanding.OVERTAKEN: "ends below the start of {to}'s log: it stops (overtaken_by_retention)",
    LogStanding.MAPPED: "has mapped offsets: it is compared by its map once it goes on",
    LogStanding.MISSING: "is not on {to}: it waits (source_missing)",
    LogStanding.UNKNOWN: "was not compared",
}


def flow(
    name: FlowArgument,
    *,
    to: Annotated[
        str, typer.Option("--from", metavar="CLUSTER", help="The cluster to copy from, as in the flow file.")
    ],
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: remote.YesOption = False,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long to wait until it copies from there.")
    ] = "3m",
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Copy from another cluster, in place: nothing is copied again where both logs hold the same.

    For followers of a source that was lost or moved. All daemons of the flow follow, whatever their flow files say.
    """
    seconds = remote.duration(timeout, "--timeout")
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        plan = client.repoint(name, to, actor=remote.actor(), reason=reason, dry_run=True)
        if dry_run or plan.status != "would_move":
            _show(plan, form)
            return
        if not yes:
            _text(plan)
            remote.confirmed("Do it?", next_step="look at it with --dry-run, then repeat with --yes")
        done = client.repoint(name, to, actor=remote.actor(), reason=reason, dry_run=False)
        _await(client, name, to, seconds)
        _show(done, form)


def _await(client: ControlClient, name: str, to: str, seconds: float) -> None:
    """Return once the flow copies from there, as its daemon says."""
    deadline, waits_for = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        try:
            found = next((one for one in client.status(name).flows if one.flow == name), None)
        except DaemonUnreachable as error:
            waits_for = str(error)
        else:
            if found is not None and found.source == to and found.flow_uid:
                return
            waits_for = found.reason or "" if found is not None else ""
        time.sleep(_LOOK_SECONDS)
    raise TimedOut(
        f"flow {name!r} does not copy from {to} yet; the order stands",
        why=waits_for,
        next_step=f"replicator flow status {name}",
    )


def _show(found: RepointReport, form: Format) -> None:
    match form:
        case Format.JSON | Format.YAML:
            output.document(form, {"schema_version": SCHEMA_VERSION, **asdict(found)})
        case Format.NAME:
            output.line(found.flow)
        case Format.TABLE | Format.WIDE:
            _text(found)
            output.line(f"{found.flow}: {found.status.replace('_', ' ')}")


def _text(found: RepointReport) -> None:
    if found.status == "already_there":
        return
    to_copy = f"{found.to_copy:,} offsets to copy"
    output.line(f"from {found.source} to {found.to}: {found.goes_on} partitions go on in place, {to_copy}")
    shown = found.stopped[:_SHOWN_MAX]
    for one in shown:
        output.line(f"  {one.topic}-{one.partition} {_described(one, found.to)}")
    if found.stopped_count > len(shown):
        output.line(f"  and {found.stopped_count - len(shown)} more")


def _described(one: LogComparison, to: str) -> str:
    text = _WORDS.get(one.standing, str(one.standing)).format(to=to)
    if one.ours is not None and one.theirs is not None:
        text += f"; it ends at {one.ours.end}, {to}'s log at {one.theirs.end}"
    if one.difference is not None:
        ours, theirs = (_moment(each) for each in (one.difference.ours_ms, one.difference.theirs_ms))
        text += f"; they differ from offset {one.difference.offset} on (ours: {ours}, there: {theirs})"
    return f"{text}: {one.why}" if one.why else text


def _moment(time_ms: int | None) -> str:
    if time_ms is None:
        return "no record"
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):  # a record's time may be any number
        return f"{time_ms} ms"
