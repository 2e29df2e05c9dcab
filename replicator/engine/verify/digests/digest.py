"""Compares source and target by digests of offset ranges; or digests one side only: no record crosses a slow line.

The order of events is that of `engine.verify.compare`. If one side's digests come from a file, they are the older
ones: a file of the source is compared once the target has had time to reach its ends; a file of the target is compared
with a source that was read later, so whatever the target had and the source does not have is extra.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from replicator.admin.topics import TopicAdmin
from replicator.core.topics.selection import matches, target_name
from replicator.core.verify.range_digest import RANGE_OFFSETS_DEFAULT
from replicator.engine.verify.compare import LoadViews, VerifyOptions, compacted_topics, open_reader, reached, survey
from replicator.engine.verify.digests.file import PartitionDigests, SideDigests, TopicDigests
from replicator.engine.verify.digests.partition import DigestComparison, SideTask, digest_side, judged
from replicator.engine.verify.digests.result import DigestResult, PartitionDigestVerdict, TopicDigestVerdict
from replicator.engine.verify.partition import Task
from replicator.engine.verify.pool import Pool, Progress
from replicator.engine.verify.room import Turn, Turns
from replicator.errors import UsageError
from replicator.model.names import TopicPartition
from replicator.model.spec import SideName

if TYPE_CHECKING:
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import FlowSpec

_Pairs: TypeAlias = Pool[Task, PartitionDigestVerdict]
_Sides: TypeAlias = Pool[SideTask, PartitionDigests]


@dataclass(frozen=True, slots=True)
class DigestOptions:
    """How to read, as in `verify`, and how many offsets are in a range."""

    reading: VerifyOptions = field(default_factory=VerifyOptions)
    range_offsets: int = RANGE_OFFSETS_DEFAULT


async def topics_by_target(target: ClusterSpec, flow: FlowSpec) -> dict[str, str]:
    """Return the topics of a flow that its target has, without asking the source: source name -> target name.

    Raises:
        UsageError: The flow renames by a regular expression, which cannot be reversed.
        KafkaError: The target cannot be asked.
    """
    rename = flow.rename
    if rename.regex is not None:
        raise UsageError(
            f"cannot tell from the names which topics on {flow.target} belong to flow {flow.name}",
            why="topics.rename is a regular expression",
            next_step="name the source topics with --topic, or give the source's digests with --against",
        )
    admin = TopicAdmin(target)
    try:
        names = await admin.topics()
    finally:
        await admin.close()
    prefix = rename.prefix or ""
    sources = sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return {name: target_name(rename, name) for name in sources if matches(flow.topics, name)}


async def verify_digests(
    source: ClusterSpec,
    target: ClusterSpec,
    topics: Mapping[str, str],
    options: DigestOptions | None = None,
    progress: Progress | None = None,
    load_views: LoadViews | None = None,
) -> DigestResult:
    """Compare topics (source name -> target name) of two clusters, reading both.

    Raises:
        KafkaError: A cluster cannot be read.
    """
    options = options or DigestOptions()
    began = time.monotonic()
    admins = TopicAdmin(source), TopicAdmin(target)
    try:
        tasks, problems = await survey(*admins, topics, options.reading, load_views)
    finally:
        for admin in admins:
            await admin.close()
    pool: _Pairs = Pool(tasks, progress)
    await pool.run(partial(_compare, source, target, options, pool, Turns()), options.reading.workers)
    found = [
        TopicDigestVerdict(
            topic,
            name,
            tuple(pool.done[task] for task in tasks if task.topic == topic),
            problem=problems[topic].problem if topic in problems else None,
        )
        for topic, name in topics.items()
    ]
    return DigestResult(tuple(found), options.range_offsets, time.monotonic() - began)


def _compare(source: ClusterSpec, target: ClusterSpec, options: DigestOptions, pool: _Pairs, turns: Turns) -> None:
    """Compare partitions until none is left; runs in its own thread."""
    meter, reading = pool.meter(), options.reading
    with (
        Turn(turns) as room,
        open_reader(source, reading, pool.stop, room) as left,
        open_reader(target, reading, pool.stop, room) as right,
    ):
        while (task := pool.take()) is not None:
            comparison = DigestComparison(task, left, right, meter, options.range_offsets)
            pool.done[task] = comparison.run(pool.stop)


async def digest_one_side(
    flow: FlowSpec,
    side: SideName,
    cluster: ClusterSpec,
    topics: Mapping[str, str],
    options: DigestOptions,
    progress: Progress | None = None,
) -> SideDigests:
    """Digest one side of topics (source name -> target name), up to the present ends of its logs.

    Raises:
        UsageError: A topic does not exist there.
        KafkaError: The cluster cannot be read.
    """
    return await _digest(flow, side, cluster, topics, options, progress, None)


async def verify_against(
    flow: FlowSpec,
    file: SideDigests,
    cluster: ClusterSpec,
    options: DigestOptions,
    progress: Progress | None = None,
) -> DigestResult:
    """Compare the digests of a file with the other side, which is read from its cluster now.

    Raises:
        KafkaError: The cluster cannot be read.
    """
    began = time.monotonic()
    topics = {topic.topic: topic.target_topic for topic in file.topics}
    problems = await _missing(file, cluster)
    here = {topic: name for topic, name in topics.items() if topic not in problems}
    fresh = await _digest(flow, file.side.other, cluster, here, options, progress, file)
    read = {topic.topic: topic for topic in fresh.topics}
    found = [
        TopicDigestVerdict(
            topic.topic,
            topic.target_topic,
            () if topic.topic in problems else _judged(file.side, topic, read[topic.topic]),
            problem=problems.get(topic.topic),
        )
        for topic in file.topics
    ]
    return DigestResult(tuple(found), file.range_offsets, time.monotonic() - began)


def _judged(file: SideName, there: TopicDigests, here: TopicDigests) -> tuple[PartitionDigestVerdict, ...]:
    source, target = (there, here) if file is SideName.SOURCE else (here, there)
    return tuple(
        judged(
            _with_side("source", left), _with_side("target", right), file, compacted=there.compacted or here.compacted
        )
        for left, right in zip(source.partitions, target.partitions, strict=True)
    )


def _with_side(side: str, part: PartitionDigests) -> PartitionDigests:
    return part if part.problem is None else replace(part, problem=f"on the {side}, {part.problem}")


async def _missing(file: SideDigests, cluster: ClusterSpec) -> dict[str, str]:
    """Return why topics of a file cannot be compared with this cluster."""
    side = file.side.other
    admin = TopicAdmin(cluster)
    try:
        counts = await admin.topics()
    finally:
        await admin.close()
    problems = {}
    for topic in file.topics:
        name = topic.topic if side is SideName.SOURCE else topic.target_topic
        there = len(topic.partitions)
        if name not in counts:
            problems[topic.topic] = f"topic {name} does not exist on the {side}"
        elif counts[name] != there:
            problems[topic.topic] = f"{there} partitions on the {file.side}, {counts[name]} on the {side}"
    return problems


async def _digest(
    flow: FlowSpec,
    side: SideName,
    cluster: ClusterSpec,
    topics: Mapping[str, str],
    options: DigestOptions,
    progress: Progress | None,
    file: SideDigests | None,
) -> SideDigests:
    names = {topic: topic if side is SideName.SOURCE else name for topic, name in topics.items()}
    admin = TopicAdmin(cluster)
    try:
        bounds = await _bounds(admin, names, options, file)
        compacted = await compacted_topics(admin, names.values())
    finally:
        await admin.close()
    tasks = {topic: _tasks(topic, name, bounds, file) for topic, name in names.items()}
    pool: _Sides = Pool([task for some in tasks.values() for task in some], progress)
    await pool.run(partial(_read, cluster, options, pool, Turns()), options.reading.workers)
    return SideDigests(
        flow=flow.name,
        side=side,
        isolation=options.reading.isolation,
        range_offsets=options.range_offsets,
        topics=tuple(
            TopicDigests(
                topic,
                topics[topic],
                names[topic] in compacted,
                tuple(_covered(pool.done[task], bounds[task.where]) for task in some),
            )
            for topic, some in tasks.items()
        ),
    )


_Bounds: TypeAlias = dict[TopicPartition, tuple[int, int]]


async def _bounds(
    admin: TopicAdmin, names: Mapping[str, str], options: DigestOptions, file: SideDigests | None
) -> _Bounds:
    """Return log start and end of every partition; a target gets time to reach the ends in its source's file."""
    counts = await admin.topics()
    for name in names.values():
        if name not in counts:
            raise UsageError(f"topic {name} does not exist", next_step="give `--topic` the name on the source")
    parts = [TopicPartition(name, number) for name in names.values() for number in range(counts[name])]
    if file is not None and file.side is SideName.SOURCE:
        wanted = {
            TopicPartition(topic.target_topic, part.partition): part.end if part.end > part.start else 0
            for topic in file.topics
            if topic.topic in names
            for part in topic.partitions
        }
        ends, _ = await reached(admin, wanted, options.reading)
    else:
        ends = await admin.end_offsets(parts, options.reading.isolation)
    starts = await admin.start_offsets(parts)
    return {part: (starts[part], ends[part]) for part in parts}


def _tasks(topic: str, name: str, bounds: _Bounds, file: SideDigests | None) -> list[SideTask]:
    """Return what to read of one topic: all of it, or what the file covers too."""
    here = sorted(part for part in bounds if part.topic == name)
    if file is None:
        return [SideTask(topic, part, *bounds[part], bounds[part][1]) for part in here]
    (there,) = (one.partitions for one in file.topics if one.topic == topic)
    tasks = []
    for part, other in zip(here, there, strict=True):
        start, end = max(bounds[part][0], other.start), min(bounds[part][1], other.reached)
        # A source that was read later than the target's file has nothing above its end: those ranges are empty.
        cut = other.reached if file.side is SideName.TARGET else end
        tasks.append(SideTask(topic, part, start, max(start, end), max(start, cut)))
    return tasks


def _covered(found: PartitionDigests, bounds: tuple[int, int]) -> PartitionDigests:
    """Return the digests of a partition with the bounds of its whole log."""
    return replace(found, start=bounds[0], end=max(bounds))


def _read(cluster: ClusterSpec, options: DigestOptions, pool: _Sides, turns: Turns) -> None:
    """Digest partitions until none is left; runs in its own thread."""
    meter, reading = pool.meter(), options.reading
    with Turn(turns) as room, open_reader(cluster, reading, pool.stop, room) as reader:
        while (task := pool.take()) is not None:
            pool.done[task] = digest_side(task, reader, meter, options.range_offsets, pool.stop)
