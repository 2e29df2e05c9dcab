"""Compares source and target record by record: offset, time, key, value, headers.

Records of both clusters are read one by one (`engine.logs.ranges.partition_reader`), with a parser that the data path
does not use.

Both ends move while this runs, so the order of events matters: the source's ends are read first, the target is
given time to reach them, then the target's ends are read. Only where a target's end is above the source's end
is the source's end read again: what the source still does not have by then was never the source's, and every record
there is reported as extra.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import TypeAlias

from replicator.admin.topics import TopicAdmin
from replicator.core.offsets.map_view import IDENTICAL, MapView
from replicator.core.topics.selection import target_name
from replicator.core.verify.record_diff import RecordDiff
from replicator.engine.logs.ranges.partition_reader import FETCH_BYTES, PartitionReader
from replicator.engine.state.ownership.provenance import topics_of
from replicator.engine.verify.partition import Comparison, Task
from replicator.engine.verify.pool import Pool, Progress
from replicator.engine.verify.result import PartitionVerdict, TopicVerdict, VerifyResult, summed
from replicator.engine.verify.room import Turn, Turns
from replicator.errors import AuthorizationFailed
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Isolation
from replicator.wire.cluster import Cluster
from replicator.wire.room import Room

_POLL_SECONDS = 0.5

Views: TypeAlias = Mapping[TopicPartition, MapView]
"""Maps of offsets, by partition of the target, for partitions whose offsets differ from the source's."""
LoadViews: TypeAlias = Callable[[], Awaitable[Views]]

_Pool: TypeAlias = Pool[Task, tuple[PartitionVerdict, RecordDiff]]


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How to compare.

    Attributes:
        isolation: The isolation level of the flow; both sides are read with it.
        wait_seconds: How long the target may take to reach the ends that the source had at the start.
        first_max: How many differences are kept for each topic.
        workers: How many partitions are compared at a time; each has one reader for each side.
        fetch_bytes: How much each reader asks for at a time.
    """

    isolation: Isolation = Isolation.READ_COMMITTED
    wait_seconds: float = 0.0
    first_max: int = 10
    workers: int = 2
    fetch_bytes: int = FETCH_BYTES


async def flow_topics(source: ClusterSpec, flow: FlowSpec, target: ClusterSpec | None = None) -> dict[str, str]:
    """Return the topics of a flow as they are now: source name -> target name.

    Args:
        source: The cluster to ask.
        flow: The flow.
        target: Its target; None if it is not to be asked: copies of its own topics are then not recognized.

    Raises:
        KafkaError: A cluster cannot be asked.
    """
    there = Cluster(source)
    here = Cluster(target) if target is not None else None
    try:
        await there.open()
        if here is not None:
            await here.open()
        await there.refresh(None)
        choice, _ = await topics_of(flow, there, here.cluster_id if here is not None else None)
    finally:
        there.close()
        if here is not None:
            here.close()
    return {name: target_name(flow.rename, name) for name in choice.selected}


async def verify(
    source: ClusterSpec,
    target: ClusterSpec,
    topics: Mapping[str, str],
    options: VerifyOptions | None = None,
    progress: Progress | None = None,
    load_views: LoadViews | None = None,
) -> VerifyResult:
    """Compare topics (source name -> target name) of two clusters.

    `progress` is called on the event loop, about twice a second and once at the end.
    `load_views` returns the maps of partitions whose offsets differ from the source's; without it, none are taken to.

    Raises:
        KafkaError: A cluster cannot be read.
    """
    options = options or VerifyOptions()
    began = time.monotonic()
    source_admin, target_admin = TopicAdmin(source), TopicAdmin(target)
    try:
        tasks, verdicts = await survey(source_admin, target_admin, topics, options, load_views)
    finally:
        await source_admin.close()
        await target_admin.close()
    pool: _Pool = Pool(tasks, progress)
    await pool.run(partial(_work, source, target, options, pool, Turns()), options.workers)
    found = [_verdict(topic, name, pool, options) for topic, name in topics.items() if topic not in verdicts]
    every = sorted([*verdicts.values(), *found], key=lambda verdict: verdict.topic)
    return VerifyResult(tuple(every), time.monotonic() - began)


async def survey(
    source: TopicAdmin,
    target: TopicAdmin,
    topics: Mapping[str, str],
    options: VerifyOptions,
    load_views: LoadViews | None = None,
) -> tuple[list[Task], dict[str, TopicVerdict]]:
    """Return the partitions to compare, and the verdicts of topics that cannot be compared.

    Raises:
        KafkaError: A cluster cannot be asked.
    """
    counts, target_counts = await source.topics(), await target.topics()
    verdicts = {
        topic: TopicVerdict(topic, name, problem=problem)
        for topic, name in topics.items()
        if (problem := topic_problem(topic, name, counts, target_counts)) is not None
    }
    pairs = [
        (TopicPartition(topic, number), TopicPartition(name, number))
        for topic, name in topics.items()
        if topic not in verdicts
        for number in range(counts[topic])
    ]
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    source_ends = await source.end_offsets(ours, options.isolation)
    source_starts = await source.start_offsets(ours)
    wanted = {there: source_ends[here] if source_ends[here] > source_starts[here] else 0 for here, there in pairs}
    target_ends, views = await reached(target, wanted, options, load_views)
    source_ends |= await source.end_offsets(
        [here for here, there in pairs if target_ends[there] > source_ends[here]], options.isolation
    )
    target_starts = await target.start_offsets(theirs)
    compacted = await compacted_topics(source, {part.topic for part in ours})
    compacted_there = await compacted_topics(target, {part.topic for part in theirs})
    tasks = [
        Task(
            topic=here.topic,
            source=here,
            target=there,
            source_start=source_starts[here],
            target_start=views.get(there, IDENTICAL).log_start(target_starts[there], source_starts[here]),
            source_end=source_ends[here],
            target_end=target_ends[there],
            compacted=here.topic in compacted or there.topic in compacted_there,
            view=views.get(there, IDENTICAL),
            floor=views.get(there, IDENTICAL).floor,
        )
        for here, there in pairs
    ]
    return tasks, verdicts


async def reached(
    target: TopicAdmin,
    wanted: Mapping[TopicPartition, int],
    options: VerifyOptions,
    load_views: LoadViews | None = None,
) -> tuple[dict[TopicPartition, int], Views]:
    """Return the target's ends in offsets of the source, once all are as far as wanted or the time is up.

    The maps of partitions whose offsets differ from the source's are returned with them.

    Raises:
        KafkaError: A cluster cannot be asked.
    """
    deadline = time.monotonic() + options.wait_seconds
    views: Views = await load_views() if load_views is not None else {}
    while True:
        ends = await target.end_offsets(wanted, options.isolation)
        ends = {part: views[part].to_source(end) if part in views else end for part, end in ends.items()}
        left = deadline - time.monotonic()
        if left <= 0 or all(ends[part] >= end for part, end in wanted.items()):
            return ends, views
        await asyncio.sleep(min(_POLL_SECONDS, left))
        if load_views is not None and any(view.mapped for view in views.values()):
            views = await load_views()  # such a map covers only what was there when it was read


def topic_problem(topic: str, name: str, counts: Mapping[str, int], target_counts: Mapping[str, int]) -> str | None:
    """Return why a topic cannot be compared, from the partition counts of all topics of both sides; None if it can."""
    if topic not in counts:
        return f"topic {topic} does not exist on the source"
    if name not in target_counts:
        return f"topic {name} does not exist on the target"
    if counts[topic] != target_counts[name]:
        return f"{counts[topic]} partitions on the source, {target_counts[name]} on the target"
    return None


async def compacted_topics(admin: TopicAdmin, topics: Iterable[str]) -> set[str]:
    """Return the topics whose cleaner may remove records from inside the log, as far as this user may see."""
    try:
        configs = await admin.describe_configs(sorted(topics))
    except AuthorizationFailed:
        return set()  # reading settings is a separate right; without it every one-sided record counts
    policies = {name: config.effective.get("cleanup.policy") for name, config in configs.items()}
    return {name for name, policy in policies.items() if policy and "compact" in (policy.value or "")}


def open_reader(
    cluster: ClusterSpec, options: VerifyOptions, stop: Event, room: Room, *, rereads: bool = True
) -> closing[PartitionReader]:
    """Return a reader of one side, closed at the end of the `with` block; `stop` ends whatever it waits for."""
    reader = PartitionReader(
        cluster, options.isolation, fetch_bytes=options.fetch_bytes, stop=stop, room=room, rereads=rereads
    )
    return closing(reader)


def _work(source: ClusterSpec, target: ClusterSpec, options: VerifyOptions, pool: _Pool, turns: Turns) -> None:
    """Compare partitions until none is left; runs in its own thread."""
    meter = pool.meter()
    with (
        Turn(turns) as room,
        open_reader(source, options, pool.stop, room) as left,
        open_reader(target, options, pool.stop, room, rereads=False) as right,
    ):
        while (task := pool.take()) is not None:
            comparison = Comparison(task, left, right, meter, first_max=options.first_max)
            pool.done[task] = comparison.run(pool.stop), comparison.diff


def _verdict(topic: str, name: str, pool: _Pool, options: VerifyOptions) -> TopicVerdict:
    done = [pool.done[task] for task in pool.pieces if task.topic == topic]
    first = sorted(
        (found for _, diff in done for found in diff.first), key=lambda found: (found.partition, found.offset)
    )
    return TopicVerdict(
        topic,
        name,
        partitions=tuple(verdict for verdict, _ in done),
        counts=summed([diff.counts for _, diff in done]),
        first=tuple(first[: options.first_max]),
    )
