"""`replicator verify`: compares every record of a flow, source against target."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from replicator.cli import remote
from replicator.cli.printing import output
from replicator.cli.verify.request import Asked, progress, refuse_unread, unknown
from replicator.errors import TimedOut, Undecided, Unequal, UsageError
from replicator.model.spec import SideName

if TYPE_CHECKING:
    from replicator.engine.verify.pool import Progress
    from replicator.engine.verify.result import TopicVerdict, VerifyResult
    from replicator.model.spec import FlowSpec, Spec

FORMATS = (output.Format.TABLE, output.Format.WIDE, output.Format.JSON, output.Format.YAML)

_COLUMNS = (
    output.Column("TOPIC", names=True),
    output.Column("TARGET", names=True, rank=2),
    output.Column("PARTITIONS", right=True, rank=3),
    output.Column("RECORDS", right=True),
    output.Column("BYTES", right=True, rank=4),
    output.Column("DIFFERENCES", right=True),
    output.Column("BEHIND", right=True, rank=1),
    output.Column("RESULT", folds=True),
)
_DIFFERENCE_COLUMNS = (
    output.Column("TOPIC", names=True),
    output.Column("PARTITION", right=True),
    output.Column("OFFSET", right=True),
    output.Column("KIND"),
    output.Column("SOURCE | TARGET", folds=True),
)


def command(
    flow: Annotated[str, typer.Argument(metavar="FLOW", help="Name of the flow.")],
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The flow file.")],
    *,
    topic: Annotated[
        list[str] | None,
        typer.Option("--topic", metavar="TOPIC", help="Only this source topic; repeat for more. Default: all topics."),
    ] = None,
    form: output.FormatOption = output.Format.TABLE,
    wait: Annotated[
        str,
        typer.Option("--wait", metavar="DURATION", help="How long to wait for the target to reach the source's end."),
    ] = "30s",
    digest: Annotated[bool, typer.Option("--digest", help="Compare digests of ranges of offsets.")] = False,
    range_offsets: Annotated[
        int | None,
        typer.Option("--range-offsets", min=1, help="With --digest: offsets per range. Default: 100000."),
    ] = None,
    side: Annotated[
        SideName | None,
        typer.Option("--side", help="With --digest and -o json: read only this side, and print its digests."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="FILE",
            help="With --digest: read only one side, and compare it with the other's digests in FILE.",
        ),
    ] = None,
    continuous: Annotated[
        bool, typer.Option("--continuous", help="Keep comparing new records until something differs.")
    ] = False,
    every: Annotated[
        str, typer.Option("--every", metavar="DURATION", help="With --continuous: time between two rounds.")
    ] = "30s",
) -> None:
    """Compare every record of a flow on both sides.

    Offset, time, key, value and headers are compared. Exits with 0 if all records are equal; with 1, and the first
    differences, if not; with 5 if what is there is equal but the target did not reach the source's end in time.

    --digest compares whole ranges of offsets, by one digest each. `--side source -o json` at one site and
    `--against FILE` at the other send nothing but digests between them.
    """
    from replicator.config.load import load  # pydantic and ruamel.yaml, only when used

    if form not in FORMATS:
        raise UsageError(f"verify does not support -o {form}", next_step="use -o table, wide, json or yaml")
    _refuse_mixed(digest=digest, continuous=continuous, of_digest=(range_offsets, side, against))
    seconds = remote.duration(wait, "--wait")
    pause = remote.duration(every, "--every")
    spec = load(config, os.environ)
    asked = Asked(spec, _flow(spec, flow), tuple(topic or ()), form, seconds, wait)
    if asked.flow.both_ways and (digest or continuous):
        raise UsageError(
            f"flow {flow} leaves records out (loop_guard: origin), but --digest and --continuous compare all of them",
            next_step="use `verify` without --digest and --continuous",
        )
    if digest:
        from replicator.cli.verify import digest as verify_digest

        verify_digest.run(asked, verify_digest.Digests(range_offsets, side, against))
    elif continuous:
        from replicator.cli.verify import continuous as verify_continuous

        verify_continuous.run(asked, pause)
    else:
        result = _compare(asked)
        _print(result, form)
        judge(result, wait)


def _refuse_mixed(*, digest: bool, continuous: bool, of_digest: tuple[object, ...]) -> None:
    if digest and continuous:
        raise UsageError("--digest and --continuous cannot be combined", next_step="use one of them")
    if not digest and any(option is not None for option in of_digest):
        raise UsageError("--range-offsets, --side and --against need --digest", next_step="add --digest")


def _flow(spec: Spec, name: str) -> FlowSpec:
    try:
        flow = spec.flow(name)
    except KeyError:
        raise unknown("flow", name, [flow.name for flow in spec.flows], str(spec.path)) from None
    return flow


def _compare(asked: Asked) -> VerifyResult:
    from replicator.engine.verify.compare import VerifyOptions, flow_topics, verify  # librdkafka, 40 ms

    options = VerifyOptions(isolation=asked.flow.isolation, wait_seconds=asked.wait_seconds)

    async def compare(show: Progress) -> VerifyResult:
        topics = asked.chosen(await flow_topics(asked.source, asked.flow, asked.target))
        return await verify(asked.source, asked.target, topics, options, progress=show, load_views=asked.views)

    with progress() as show:
        return asyncio.run(compare(show))


def _print(result: VerifyResult, form: output.Format) -> None:
    from replicator.engine.verify.result import to_json

    if form in {output.Format.JSON, output.Format.YAML}:
        output.document(form, to_json(result))
        return
    output.table(_COLUMNS, [_row(topic) for topic in result.topics], wide=form is output.Format.WIDE)
    rows = [
        (topic.topic, str(found.partition), str(found.offset), found.kind.value, found.detail)
        for topic in result.topics
        for found in topic.first
    ]
    if rows:
        output.line()
        output.table(_DIFFERENCE_COLUMNS, rows, wide=form is output.Format.WIDE)
    for topic in result.topics:
        if topic.not_comparable:
            output.note(f"{topic.topic}: {topic.not_comparable}")
    rate = int(result.records / result.seconds) if result.seconds else 0
    output.note(f"{output.number(result.records)} records in {result.seconds:.1f} s ({output.number(rate)} records/s)")


def _row(topic: TopicVerdict) -> tuple[str, ...]:
    return (
        topic.topic,
        topic.target_topic,
        str(len(topic.partitions)),
        output.number(topic.records),
        output.number(topic.bytes),
        output.number(topic.differences),
        output.number(topic.behind),
        topic.outcome,
    )


def judge(result: VerifyResult, wait: str) -> None:
    """Return if everything is equal.

    Raises:
        Unequal: Records differ, or a topic cannot be compared.
        TimedOut: All that was compared is equal, but the target does not have everything yet.
        Undecided: There are records but none could be compared, or a batch cannot be read.
    """
    if result.equal is False:
        bad = [topic for topic in result.topics if topic.equal is False]
        total = sum(topic.differences for topic in bad)
        first = bad[0].first[0] if bad[0].first else None
        raise Unequal(
            f"{len(bad)} of {len(result.topics)} topics differ, {output.number(total)} records",
            why=bad[0].problem
            or (f"{bad[0].topic}-{first.partition}@{first.offset} {first.kind}: {first.detail}" if first else ""),
            next_step=f"`replicator mirror describe FLOW {bad[0].topic} --events` shows the mirror's history; "
            "`mirror resolve` repairs it",
        )
    refuse_unread([(topic, part.partition, part.problem) for topic, part in result.unread])
    if result.behind:
        raise TimedOut(
            f"equal so far; after {wait} the target is still {output.number(result.behind)} offsets behind",
            next_step="`replicator flow status` says why; repeat with a longer --wait",
        )
    if result.equal is None:
        raise Undecided(
            "nothing was compared",
            why=next((topic.not_comparable for topic in result.topics if topic.not_comparable), ""),
            next_step="run it again once there are new records",
        )
