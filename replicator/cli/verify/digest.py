"""`replicator verify --digest`: compares ranges of offsets by their digests, reading both sides or one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from replicator.cli.printing import output
from replicator.cli.printing.output import Column, Format
from replicator.cli.verify.request import Asked, progress, refuse_unread
from replicator.core.topics.selection import target_name
from replicator.core.verify.range_digest import RANGE_OFFSETS_DEFAULT
from replicator.engine.verify.compare import VerifyOptions, flow_topics
from replicator.engine.verify.digests import file as verify_digest_file
from replicator.engine.verify.digests.digest import (
    DigestOptions,
    digest_one_side,
    topics_by_target,
    verify_against,
    verify_digests,
)
from replicator.engine.verify.digests.result import UNDECIDED_COMPACTED, DigestResult, TopicDigestVerdict, to_json
from replicator.errors import TimedOut, Undecided, Unequal, UsageError
from replicator.model.spec import SideName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.core.verify.range_digest import RangePair
    from replicator.engine.verify.digests.file import SideDigests
    from replicator.engine.verify.pool import Progress

_COLUMNS = (
    Column("TOPIC", names=True),
    Column("TARGET", names=True, rank=2),
    Column("PARTITIONS", right=True, rank=3),
    Column("EQUAL RANGES", right=True),
    Column("DIFFERENT", right=True),
    Column("BEHIND", right=True, rank=1),
    Column("RESULT", folds=True),
)
_RANGE_COLUMNS = (
    Column("TOPIC", names=True),
    Column("PARTITION", right=True),
    Column("START", right=True),
    Column("END", right=True),
    Column("SOURCE RECORDS", right=True, rank=1),
    Column("TARGET RECORDS", right=True, rank=2),
    Column("SOURCE DIGEST", rank=3),
    Column("TARGET DIGEST", rank=4),
    Column("RESULT"),
)


@dataclass(frozen=True, slots=True)
class Digests:
    """The options of --digest: offsets per range, the only side to read, the file with the other side's digests."""

    range_offsets: int | None
    side: SideName | None
    against: Path | None


def run(asked: Asked, digests: Digests) -> None:
    """Compare, or write the digests of one side.

    Raises:
        UsageError: Options do not fit each other or the file.
        Unequal: Ranges differ, or a topic cannot be compared.
        TimedOut: All that was compared is equal, but the target does not have everything yet.
        Undecided: Ranges of a compacted topic differ and only one side can be read; or a batch cannot be read.
    """
    if digests.against is not None:
        _finish(asked, _with_file(asked, digests, digests.against))
    elif digests.side is not None:
        side = _one_side(asked, digests.side, digests)
        output.document(asked.form, verify_digest_file.to_json(side))
        refuse_unread([(topic, part.partition, part.problem) for topic, part in side.unread], "digested")
    else:
        _finish(asked, _both(asked, _options(asked, digests.range_offsets)))


def _options(asked: Asked, range_offsets: int | None) -> DigestOptions:
    reading = VerifyOptions(isolation=asked.flow.isolation, wait_seconds=asked.wait_seconds)
    return DigestOptions(reading, range_offsets or RANGE_OFFSETS_DEFAULT)


def _both(asked: Asked, options: DigestOptions) -> DigestResult:
    async def compare(show: Progress) -> DigestResult:
        topics = asked.chosen(await flow_topics(asked.source, asked.flow, asked.target))
        return await verify_digests(asked.source, asked.target, topics, options, show, asked.views)

    with progress() as show:
        return asyncio.run(compare(show))


def _one_side(asked: Asked, side: SideName, digests: Digests) -> SideDigests:
    if asked.form not in {Format.JSON, Format.YAML}:
        raise UsageError("--side prints digests, not a table", next_step="add -o json, or --against FILE")
    flow, options = asked.flow, _options(asked, digests.range_offsets)
    cluster = asked.source if side is SideName.SOURCE else asked.target

    async def digest(show: Progress) -> SideDigests:
        # Only this cluster is asked: the other one may be unreachable from here.
        if side is SideName.SOURCE:
            found = await flow_topics(cluster, flow)
        elif asked.topics and flow.rename.regex is not None:
            found = {name: target_name(flow.rename, name) for name in asked.topics}
        else:
            found = await topics_by_target(cluster, flow)
        return await digest_one_side(flow, side, cluster, asked.chosen(found), options, show)

    with progress() as show:
        return asyncio.run(digest(show))


def _with_file(asked: Asked, digests: Digests, path: Path) -> DigestResult:
    file = verify_digest_file.read(path)
    fresh = file.side.other
    flow = asked.flow
    if file.flow != flow.name:
        raise UsageError(f"--against: {path} holds digests of flow {file.flow}", next_step=f"name flow {file.flow}")
    if digests.side not in {None, fresh}:
        raise UsageError(f"--against: {path} holds the {file.side}, too", next_step=f"use --side {fresh}, or none")
    if digests.range_offsets not in {None, file.range_offsets}:
        raise UsageError(
            f"--against: {path} has ranges of {file.range_offsets} offsets", next_step="omit --range-offsets"
        )
    if file.isolation is not flow.isolation:
        raise UsageError(
            f"--against: {path} was read as {file.isolation}, but flow {flow.name} copies {flow.isolation}",
            next_step="digest that side again",
        )
    chosen = asked.chosen({topic.topic: topic.target_topic for topic in file.topics})
    file = replace(file, topics=tuple(topic for topic in file.topics if topic.topic in chosen))
    cluster = asked.source if fresh is SideName.SOURCE else asked.target
    with progress() as show:
        return asyncio.run(verify_against(flow, file, cluster, _options(asked, file.range_offsets), show))


def _finish(asked: Asked, result: DigestResult) -> None:
    _print(result, asked.form)
    _judge(result, asked.wait)


def _print(result: DigestResult, form: Format) -> None:
    if form in {Format.JSON, Format.YAML}:
        output.document(form, to_json(result))
        return
    wide = form is Format.WIDE
    output.table(_COLUMNS, [_row(topic) for topic in result.topics], wide=wide)
    rows = [row for topic in result.topics for row in _range_rows(topic)]
    if rows:
        output.line()
        output.table(_RANGE_COLUMNS, rows, wide=wide)
    for topic in result.topics:
        for remark in topic.remarks:
            output.note(f"{topic.topic}: {remark}")
    output.note(f"{output.number(result.records)} records in {result.seconds:.1f} s")


def _row(topic: TopicDigestVerdict) -> tuple[str, ...]:
    return (
        topic.topic,
        topic.target_topic,
        str(len(topic.partitions)),
        output.number(topic.equal_ranges),
        output.number(topic.different_ranges),
        output.number(topic.behind),
        topic.outcome,
    )


def _range_rows(topic: TopicDigestVerdict) -> Iterator[tuple[str, ...]]:
    for part in topic.partitions:
        for pair in part.different:
            yield _range_row(topic.topic, part.partition, pair, "DIFFERENT")
        for pair in part.undecided:
            yield _range_row(topic.topic, part.partition, pair, UNDECIDED_COMPACTED)


def _range_row(topic: str, partition: int, pair: RangePair, outcome: str) -> tuple[str, ...]:
    return (
        topic,
        str(partition),
        str(pair.start),
        str(pair.end),
        output.number(pair.source.records),
        output.number(pair.target.records),
        pair.source.digest,
        pair.target.digest,
        outcome,
    )


def _judge(result: DigestResult, wait: str) -> None:
    if result.equal is False:
        bad = [topic for topic in result.topics if topic.equal is False]
        ranges = sum(topic.different_ranges for topic in bad)
        raise Unequal(
            f"{len(bad)} of {len(result.topics)} topics differ, in {output.number(ranges)} ranges",
            why=bad[0].problem or "",
            next_step="`replicator verify FLOW -c FILE` without --digest names the records, "
            "where both sides can be read",
        )
    refuse_unread([(topic, part.partition, part.problem) for topic, part in result.unread])
    if result.behind:
        raise TimedOut(
            f"equal so far; after {wait}, {output.number(result.behind)} offsets could not be compared:"
            " the target was behind",
            next_step="`replicator flow status` says why; repeat with a longer --wait, or with newer digests",
        )
    if result.undecided:
        raise Undecided(
            f"ranges differ, perhaps only by compaction ({UNDECIDED_COMPACTED})",
            why="each cluster's cleaner removes superseded records when it likes",
            next_step="run `replicator verify FLOW -c FILE --digest --topic NAME` where both sides can be read",
        )
    if result.equal is None:
        raise Undecided(
            "nothing was compared",
            why=next((remark for topic in result.topics for remark in topic.remarks), ""),
            next_step="run it again once there are new records",
        )
