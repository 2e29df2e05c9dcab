"""Compares source and target record by record: offset, time, key, value, headers.

Reads both clusters with librdkafka (`replicator.admin.reader`), which shares no code with the data path.

Both ends move while this runs, so the order of events matters: the source's ends are read first, the target is
given time to reach them, then the target's ends are read. Only where a target's end lies beyond the source's end
is the latter read again: what the source still does not have by then was never the source's, and every record
there is reported as extra.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from replicator.admin.reader import PartitionReader
from replicator.admin.topics import TopicAdmin
from replicator.core.record_diff import RecordDiff
from replicator.core.selection import matches, target_name
from replicator.engine.verify_partition import Comparison, Meter, Task
from replicator.engine.verify_result import PartitionVerdict, TopicVerdict, VerifyResult, summed
from replicator.errors import AuthorizationFailed
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Isolation

_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How to compare.

    Attributes:
        isolation: Which records of the source count; the flow's own. The target is read with the same.
        wait_seconds: How long the target may take to reach the ends the source had when this began.
        first_max: How many differences are kept for each topic.
        workers: Partitions compared at a time; each has one reader for each side.
        queue_bytes: Fetched records kept by each reader.
    """

    isolation: Isolation = Isolation.READ_COMMITTED
    wait_seconds: float = 0.0
    first_max: int = 10
    workers: int = 2
    queue_bytes: int = 8 << 20


@dataclass(frozen=True, slots=True)
class VerifyProgress:
    """How far it has come. `offsets_total` counts offsets to compare, an upper bound of the records."""

    partitions_done: int
    partitions_total: int
    records: int
    offsets_done: int
    offsets_total: int
    seconds: float


@dataclass(slots=True)
class _Shared:
    """What the worker threads and the event loop share; counters are only ever read for display."""

    tasks: queue.SimpleQueue[Task]
    done: dict[TopicPartition, tuple[PartitionVerdict, RecordDiff]] = field(default_factory=dict)
    meters: list[Meter] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


async def flow_topics(source: ClusterSpec, flow: FlowSpec) -> dict[str, str]:
    """Return the topics of a flow as they are now: source name -> target name.

    Raises:
        KafkaError: The source cannot be asked.
    """
    admin = TopicAdmin(source)
    try:
        names = await admin.topics()
    finally:
        await admin.close()
    return {name: target_name(flow.rename, name) for name in sorted(names) if matches(flow.topics, name)}


async def verify(
    source: ClusterSpec,
    target: ClusterSpec,
    topics: Mapping[str, str],
    options: VerifyOptions | None = None,
    progress: Callable[[VerifyProgress], None] | None = None,
) -> VerifyResult:
    """Compare topics (source name -> target name) of two clusters.

    `progress` is called on the event loop, about twice a second and once at the end.

    Raises:
        KafkaError: A cluster cannot be read.
    """
    options = options or VerifyOptions()
    began = time.monotonic()
    source_admin, target_admin = TopicAdmin(source), TopicAdmin(target)
    try:
        tasks, verdicts = await _survey(source_admin, target_admin, topics, options)
    finally:
        await source_admin.close()
        await target_admin.close()
    shared = _Shared(queue.SimpleQueue())
    for task in tasks:
        shared.tasks.put(task)
    tell = partial(_tell, shared, tasks, began, progress) if progress else _silent
    await _run(partial(_work, source, target, options, shared), min(options.workers, len(tasks)), shared, tell)
    found = [_verdict(topic, name, tasks, shared, options) for topic, name in topics.items() if topic not in verdicts]
    every = sorted([*verdicts.values(), *found], key=lambda verdict: verdict.topic)
    return VerifyResult(tuple(every), time.monotonic() - began)


async def _survey(
    source: TopicAdmin, target: TopicAdmin, topics: Mapping[str, str], options: VerifyOptions
) -> tuple[list[Task], dict[str, TopicVerdict]]:
    """Return the partitions to compare, and the verdicts of topics that cannot be compared."""
    counts, target_counts = await source.topics(), await target.topics()
    verdicts = {
        topic: TopicVerdict(topic, name, problem=problem)
        for topic, name in topics.items()
        if (problem := _problem(topic, name, counts, target_counts)) is not None
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
    target_ends = await _reached(target, wanted, options)
    source_ends |= await source.end_offsets(
        [here for here, there in pairs if target_ends[there] > source_ends[here]], options.isolation
    )
    target_starts = await target.start_offsets(theirs)
    compacted = await _compacted(source, {part.topic for part in ours})
    compacted_there = await _compacted(target, {part.topic for part in theirs})
    tasks = [
        Task(
            topic=here.topic,
            source=here,
            target=there,
            source_start=source_starts[here],
            target_start=target_starts[there],
            source_end=source_ends[here],
            target_end=target_ends[there],
            compacted=here.topic in compacted or there.topic in compacted_there,
        )
        for here, there in pairs
    ]
    return tasks, verdicts


def _problem(topic: str, name: str, counts: Mapping[str, int], target_counts: Mapping[str, int]) -> str | None:
    if topic not in counts:
        return f"topic {topic} does not exist on the source"
    if name not in target_counts:
        return f"topic {name} does not exist on the target"
    if counts[topic] != target_counts[name]:
        return f"{counts[topic]} partitions on the source, {target_counts[name]} on the target"
    return None


async def _reached(
    target: TopicAdmin, wanted: Mapping[TopicPartition, int], options: VerifyOptions
) -> dict[TopicPartition, int]:
    """Return the target's ends, once all are as far as wanted or the time is up."""
    deadline = time.monotonic() + options.wait_seconds
    while True:
        ends = await target.end_offsets(wanted, options.isolation)
        left = deadline - time.monotonic()
        if left <= 0 or all(ends[part] >= end for part, end in wanted.items()):
            return ends
        await asyncio.sleep(min(_POLL_SECONDS, left))


async def _compacted(admin: TopicAdmin, topics: Iterable[str]) -> set[str]:
    try:
        configs = await admin.describe_configs(sorted(topics))
    except AuthorizationFailed:
        return set()  # reading settings is a right of its own; without it every one-sided record counts
    policies = {name: config.effective.get("cleanup.policy") for name, config in configs.items()}
    return {name for name, policy in policies.items() if policy and "compact" in (policy.value or "")}


async def _run(work: Callable[[], None], workers: int, shared: _Shared, tell: Callable[[], None]) -> None:
    """Run the workers in threads and tell of their progress; on any way out, stop them and wait for them."""
    running = [asyncio.create_task(asyncio.to_thread(work)) for _ in range(workers)]
    try:
        while running:
            finished, _ = await asyncio.wait(running, timeout=_POLL_SECONDS)
            for worker in finished:
                worker.result()
            tell()
            if len(finished) == len(running):
                break
    finally:
        shared.stop.set()
        await asyncio.gather(*running, return_exceptions=True)


def _silent() -> None:
    return


def _tell(shared: _Shared, tasks: Sequence[Task], began: float, progress: Callable[[VerifyProgress], None]) -> None:
    progress(
        VerifyProgress(
            partitions_done=len(shared.done),
            partitions_total=len(tasks),
            records=sum(meter.records for meter in shared.meters),
            offsets_done=sum(meter.offsets for meter in shared.meters),
            offsets_total=sum(max(0, task.end - task.start) for task in tasks),
            seconds=time.monotonic() - began,
        )
    )


def _work(source: ClusterSpec, target: ClusterSpec, options: VerifyOptions, shared: _Shared) -> None:
    """Compare partitions until none is left; runs in a thread of its own."""
    meter = Meter()
    shared.meters.append(meter)
    with (
        closing(PartitionReader(source, options.isolation, queue_bytes=options.queue_bytes)) as left,
        closing(PartitionReader(target, options.isolation, queue_bytes=options.queue_bytes)) as right,
    ):
        while not shared.stop.is_set():
            try:
                task = shared.tasks.get_nowait()
            except queue.Empty:
                return
            comparison = Comparison(task, left, right, meter, first_max=options.first_max)
            shared.done[task.source] = comparison.run(shared.stop), comparison.diff


def _verdict(topic: str, name: str, tasks: Sequence[Task], shared: _Shared, options: VerifyOptions) -> TopicVerdict:
    done = [shared.done[task.source] for task in tasks if task.topic == topic]
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
