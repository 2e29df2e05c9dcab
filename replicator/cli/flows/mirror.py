"""`replicator mirror`: list, describe, resolve, forget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from replicator.cli import remote
from replicator.cli.flows import forget
from replicator.cli.flows.flow import FlowArgument, FlowFilter
from replicator.cli.flows.resolve import resolve
from replicator.cli.printing import output, views
from replicator.cli.printing.output import Column, Format
from replicator.control.port import find_mirror
from replicator.model.status.events import Event
from replicator.model.status.snapshots import SCHEMA_VERSION, DaemonStatus, FlowStatus, MirrorStatus

app = typer.Typer(no_args_is_help=True, help="Mirrors: the topics of a flow.")

_EVENTS_MAX = 50

TopicArgument = Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the source topic.")]
EventsOption = Annotated[bool, typer.Option("--events", help=f"Also show the last {_EVENTS_MAX} events.")]


@app.command("list")
def list_mirrors(
    flow: FlowFilter = None,
    *,
    form: output.FormatOption = Format.TABLE,
    watch: remote.WatchOption = None,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """List the mirrors of all flows or of one."""

    def view(status: DaemonStatus, streaming: bool) -> None:
        found = [(one, mirror) for one in status.flows for mirror in one.mirrors]
        match form:
            case Format.JSON | Format.YAML:
                rows = [_mirror_json(one, mirror, partitions=False) for one, mirror in found]
                output.document(form, {"schema_version": SCHEMA_VERSION, "mirrors": rows}, stream=streaming)
            case Format.NAME:
                output.names(f"{one.flow}/{mirror.topic}" for one, mirror in found)
            case Format.TABLE | Format.WIDE if found:
                _mirror_table(found, with_flow=flow is None, wide=form is Format.WIDE)
            case _:
                output.note(views.no_mirrors(status))

    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        remote.show(client, flow, watch, view)


@app.command("describe")
def describe(
    flow: FlowArgument,
    topic: TopicArgument,
    *,
    events: EventsOption = False,
    form: output.FormatOption = Format.TABLE,
    watch: remote.WatchOption = None,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Show one mirror with its partitions; what has stopped, and why."""
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:

        def view(status: DaemonStatus, streaming: bool) -> None:
            one = status.flows[0]
            mirror = find_mirror(one, topic)
            happened = client.events(flow, topic, _EVENTS_MAX) if events else None
            match form:
                case Format.JSON | Format.YAML:
                    output.document(form, _describe_json(one, mirror, happened), stream=streaming)
                case Format.NAME:
                    output.line(f"{one.flow}/{mirror.topic}")
                case Format.TABLE | Format.WIDE:
                    _describe_text(one, mirror, happened, wide=form is Format.WIDE)

        remote.show(client, flow, watch, view)


app.command("resolve")(resolve)
app.command("forget")(forget.mirror)


def _mirror_table(found: Sequence[tuple[FlowStatus, MirrorStatus]], *, with_flow: bool, wide: bool) -> None:
    if with_flow:
        columns = (Column("FLOW", folds=True), *views.MIRROR_COLUMNS)
        output.table(columns, [(one.flow, *views.mirror_row(mirror)) for one, mirror in found], wide=wide)
    else:
        output.table(views.MIRROR_COLUMNS, [views.mirror_row(mirror) for _, mirror in found], wide=wide)


def _mirror_json(flow: FlowStatus, mirror: MirrorStatus, *, partitions: bool) -> dict[str, Any]:
    row = {"flow": flow.flow, **asdict(mirror), "lag_records": views.mirror_lag(mirror)}
    if not partitions:
        del row["partitions"]
    return row


def _describe_json(flow: FlowStatus, mirror: MirrorStatus, happened: Sequence[Event] | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "mirror": _mirror_json(flow, mirror, partitions=True),
    }
    if happened is not None:
        document["events"] = [asdict(event) for event in happened]
    return document


def _describe_text(flow: FlowStatus, mirror: MirrorStatus, happened: Sequence[Event] | None, *, wide: bool) -> None:
    output.line(views.flow_headline(flow))
    reason = f"  ({mirror.reason})" if mirror.reason else ""
    eta = f"  seeded in {output.age(mirror.seed_eta_seconds)}" if mirror.seed_eta_seconds is not None else ""
    output.line(f"{mirror.topic} -> {mirror.target_topic}  {mirror.state}{reason}{eta}")
    columns, rows = views.partition_table(mirror.partitions)
    output.table(columns, rows, wide=wide)
    found = [one for one in (*views.problems(flow), *views.fills(flow)) if one[0] is mirror]
    for text in views.fault_lines(flow, found, explained=happened is not None):
        output.line(text)
    for text in views.difference_lines(flow, (mirror,)):
        output.line(text)
    if happened is not None:
        output.line()
        if happened:
            output.table(views.EVENT_COLUMNS, [views.event_row(event) for event in happened], wide=wide)
        else:
            output.note("no events since the daemon started")
