"""One catch-up run: a replicator is started on a full source topic and watched until the target has all of it.

The CPU time that counts is that of the copying: from the last look before the first record was visible to the first
look that shows the last one. Start-up is left out, for us as for MirrorMaker, and shown beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.corpus import PARTITIONS
from benchmarks.measure import GIGABYTE, MEGABYTE, BenchmarkError, Child, Cpu, busy_seconds, process_cpu
from benchmarks.same import check_equal
from benchmarks.topics import LogStats, Probe
from replicator.devkit import Cluster

_POLL_SECONDS = 0.02
_SETTLE_SECONDS = 2.0
_STALL_SECONDS = 45.0
"""The longest time without a new record, from the start on, before a run is given up."""


@dataclass(frozen=True, slots=True)
class Task:
    """What has to be copied.

    Attributes:
        source: The cluster read from.
        target: The cluster written to.
        source_topic: It is complete.
        target_topic: It does not exist yet.
        stats: What the source topic's log holds.
        identical: Whether offsets must come out equal; else only records, in order (transactions add markers).
    """

    source: Cluster
    target: Cluster
    source_topic: str
    target_topic: str
    stats: LogStats
    identical: bool


@dataclass(frozen=True, slots=True)
class CopyRun:
    """What one run took. GB and MB are powers of ten, of bytes on the source's wire.

    Attributes:
        stats: What was copied.
        first_record_seconds: From the start of the process to the first record visible on the target.
        seconds: From then to the last record visible.
        cpu: CPU time of the process tree while copying.
        start_cpu: CPU time before that.
        target_cpu: CPU time of the target's broker while copying.
        peak_rss: Peak of resident memory of the process tree, in bytes.
        others: Cores that were busy meanwhile with something else than this benchmark, stolen time included.
        exit_status: How the process ended after SIGTERM.
    """

    stats: LogStats
    first_record_seconds: float
    seconds: float
    cpu: Cpu
    start_cpu: Cpu
    target_cpu: Cpu
    peak_rss: int
    others: float
    exit_status: int = 0

    @property
    def cpu_per_gigabyte(self) -> float:
        """CPU-seconds per GB of source wire bytes."""
        return self.cpu.total * GIGABYTE / self.stats.wire_bytes

    @property
    def megabytes_per_second(self) -> float:
        """MB of source wire bytes per second."""
        return self.stats.wire_bytes / MEGABYTE / self.seconds

    @property
    def records_per_second(self) -> float:
        """Records per second."""
        return self.stats.records / self.seconds


def run_copy(task: Task, start: Callable[[], Child]) -> CopyRun:
    """Run a replicator until everything is copied, stop it, and check the copy.

    Raises:
        BenchmarkError: It ended, got stuck, or the copy is not equal: the run is void.
    """
    with start() as child:
        run = _watch(task, child)
        status = child.stop()
    check_equal(task.source, task.source_topic, task.target, task.target_topic, identical=task.identical)
    return replace(run, exit_status=status)


@dataclass(slots=True)
class _Look:
    """One look at everything: the target's ends, and what had been used just then."""

    at: float
    ends: list[int]
    cpu: Cpu
    target_cpu: Cpu
    others: float

    @classmethod
    def take(cls, task: Task, child: Child, ends: list[int]) -> _Look:
        """Look at the processes, after the ends."""
        cpu, target_cpu = child.cpu(), process_cpu(task.target.broker_pids[1])
        ours = cpu.total + target_cpu.total + process_cpu(task.source.broker_pids[1]).total + time.process_time()
        return cls(time.monotonic(), ends, cpu, target_cpu, busy_seconds() - ours)


def _watch(task: Task, child: Child) -> CopyRun:
    with Probe(task.source, {task.source_topic: PARTITIONS}) as source:
        wanted = list(source.ends().values())
    first_record_seconds = 0.0
    first: _Look | None = None
    last = before = _Look.take(task, child, [])
    with Probe(task.target, {task.target_topic: PARTITIONS}) as target:
        while True:
            ends = list(target.ends().values())
            look = _Look.take(task, child, ends)
            if first is None and any(ends):
                first, first_record_seconds = look, child.age_seconds
            elif first is None:
                before = look
            if ends != last.ends:
                last = look
            complete = all(end >= want for end, want in zip(ends, wanted, strict=True))
            # Markers of transactions can lift the end before the last record is there: wait until nothing moves.
            if complete and (task.identical or look.at - last.at > _SETTLE_SECONDS):
                break
            child.check()
            if look.at - last.at > _STALL_SECONDS:
                raise BenchmarkError(f"nothing new for {_STALL_SECONDS:.0f} s: {ends} of {wanted}\n{child.log_tail()}")
            time.sleep(_POLL_SECONDS)
    if first is None:
        raise BenchmarkError(f"{task.source_topic} is empty")
    seconds = last.at - first.at
    return CopyRun(
        stats=task.stats,
        first_record_seconds=first_record_seconds,
        seconds=max(seconds, _POLL_SECONDS),
        cpu=last.cpu - before.cpu,
        start_cpu=before.cpu,
        target_cpu=last.target_cpu - before.target_cpu,
        peak_rss=child.peak_rss(),
        others=(last.others - before.others) / max(last.at - before.at, _POLL_SECONDS),
    )
