"""`replicator offsets`: translate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from replicator.cli import remote
from replicator.cli.flows.flow import FlowArgument
from replicator.cli.printing import output
from replicator.cli.printing.output import Column, Format
from replicator.errors import ReplicatorError, UsageError
from replicator.model.status.snapshots import SCHEMA_VERSION

if TYPE_CHECKING:
    from replicator.model.operations.translation import OffsetQuestion, TimeQuestion, Translation
    from replicator.rpc.client.control_client import ControlClient

app = typer.Typer(no_args_is_help=True, help="Offsets: translate them from one side to the other.")

_PARTITION_MAX = (1 << 31) - 1
_OFFSET_MAX = (1 << 63) - 1
_FORMATS = (Format.TABLE, Format.WIDE, Format.JSON, Format.YAML)

_COLUMNS = (
    Column("TOPIC", names=True, folds=True),
    Column("TARGET TOPIC", names=True, wide=True),
    Column("PART", right=True),
    Column("SOURCE", right=True),
    Column("TARGET", right=True),
    Column("STATE"),
    Column("BEHIND", right=True, rank=1),
    Column("DETAIL", rank=2, folds=True),
)

TopicOption = Annotated[
    str | None,
    typer.Option("--topic", metavar="TOPIC", help="The topic's name on the source; with --reverse on the target."),
]
PartitionOption = Annotated[int | None, typer.Option("--partition", min=0, max=_PARTITION_MAX, help="Its partition.")]
OffsetOption = Annotated[int | None, typer.Option("--offset", min=0, max=_OFFSET_MAX, help="The next record to read.")]
TimeOption = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="TIME",
        help="Instead of an offset: Unix time in ms, or ISO 8601 with a zone. Translates the offset of the source's "
        "first record at or after that time; without --partition, in every partition of the topic.",
    ),
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        "--group", metavar="GROUP", help="Instead of one offset: all offsets the group committed in the flow's topics."
    ),
]
ReverseOption = Annotated[
    bool, typer.Option("--reverse", help="From target to source: --topic and --group are the target's.")
]


@app.command("translate")
def translate(
    flow: FlowArgument,
    *,
    topic: TopicOption = None,
    partition: PartitionOption = None,
    offset: OffsetOption = None,
    time: TimeOption = None,
    group: GroupOption = None,
    reverse: ReverseOption = False,
    form: output.FormatOption = Format.TABLE,
    address: remote.AddressOption = remote.ADDRESS,
    tls_ca: remote.CaOption = None,
    tls_cert: remote.CertOption = None,
    tls_key: remote.KeyOption = None,
) -> None:
    """Translate offsets from one side to the other, exactly.

    An offset is the next record to read, as in a committed offset. States: exact; below_log_start (the other side's log
    starts later); not_yet_replicated; beyond_target_end; below_map; not_attached; faulted; source_unseen.

    --time uses the source's own time index. A lookup by time on the target could find a marker, whose time is the one
    at which it was written.

    Exits with 0 if every offset was translated, with 1 if one was not, or not yet.
    """
    if form not in _FORMATS:
        raise UsageError(f"offsets translate has no output {form}", next_step="use -o table, wide, json or yaml")
    moment = _moment(time, topic, partition, offset, group, reverse=reverse)
    questions = [] if moment is not None else _questions(topic, partition, offset, group)
    with remote.connect(address, tls_ca, tls_cert, tls_key) as client:
        if moment is not None:
            found = client.translate_time(flow, moment)
        else:
            found = _ask(client, flow, questions, group, reverse)
    match form:
        case Format.JSON | Format.YAML:
            output.document(form, _document(flow, found, group, reverse) | _asked_time(moment))
        case _:
            output.table(_COLUMNS, [_row(each, reverse) for each in found], wide=form is Format.WIDE)
    left = [each for each in found if not each.is_translated]
    if left:
        raise ReplicatorError(
            f"{len(left)} of {len(found)} offsets cannot be translated (yet)",
            why=f"{left[0].topic}-{left[0].partition} {left[0].state}: {left[0].detail}",
            next_step=f"replicator mirror describe {flow} {left[0].topic}",
        )


def _moment(
    time: str | None, topic: str | None, partition: int | None, offset: int | None, group: str | None, *, reverse: bool
) -> TimeQuestion | None:
    from replicator.model.operations.translation import TimeQuestion
    from replicator.model.units import TIME_ALLOWED, parse_time_ms

    if time is None:
        return None
    if topic is None or offset is not None or group is not None:
        raise UsageError(
            "--time replaces --offset and needs one topic", next_step="give --topic, and --partition for only one"
        )
    if reverse:
        raise UsageError(
            "--time cannot be combined with --reverse: it uses the source's time index",
            why="the target's time index also covers markers, whose time is the one at which they were written",
            next_step="omit --reverse, and give the topic's name on the source",
        )
    try:
        return TimeQuestion(topic, parse_time_ms(time), partition)
    except ValueError as error:
        raise UsageError(f"--time {time} is not a point in time", why=str(error), next_step=TIME_ALLOWED) from None


def _asked_time(moment: TimeQuestion | None) -> dict[str, Any]:
    return {} if moment is None else {"time_ms": moment.time_ms}


def _questions(topic: str | None, partition: int | None, offset: int | None, group: str | None) -> list[OffsetQuestion]:
    from replicator.model.operations.translation import OffsetQuestion

    if group is not None:
        if group and topic is None and partition is None and offset is None:
            return []
        raise UsageError("--group means all offsets of a group", next_step="omit --topic, --partition and --offset")
    if topic is None or partition is None or offset is None:
        raise UsageError(
            "an offset needs a topic, a partition and a number",
            next_step="give --topic, --partition and --offset, or --group",
        )
    return [OffsetQuestion(topic, partition, offset)]


def _ask(
    client: ControlClient, flow: str, questions: Sequence[OffsetQuestion], group: str | None, reverse: bool
) -> tuple[Translation, ...]:
    if group is not None:
        return client.translate_group(flow, group, reverse=reverse)
    return client.translate(flow, questions, reverse=reverse)


def _row(found: Translation, reverse: bool) -> Sequence[str]:
    return (
        found.target_topic if reverse else found.topic,
        found.target_topic,
        str(found.partition),
        output.number(found.source_offset),
        output.number(found.target_offset),
        found.state,
        output.number(found.behind_records),
        output.text(found.detail),
    )


def _document(flow: str, found: Sequence[Translation], group: str | None, reverse: bool) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "flow": flow,
        "group": group,
        "reverse": reverse,
        "offsets": [asdict(each) for each in found],
    }
