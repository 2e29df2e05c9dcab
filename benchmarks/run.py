"""``python -m benchmarks.run``: measure the replicator against this machine's floor, and MirrorMaker 2 beside it.

Two clusters of one node run on this machine. For each corpus: fill a source topic, copy it once to warm up (on a
virtual machine the first touch of memory costs several times the copying; that run is dropped), then again and again
into fresh target topics, the machine's floor measured between. Then steady load, plain and in transactions, fills of
compacted topics, 1,000 idle partitions, and peaks of memory. Every copy is checked, and a wrong one has no figure. A
corpus that misses its CPU target is copied once more under cProfile.

`--quick` is estimated at 11 minutes on two cores shared with others, the whole at 30, MirrorMaker 2 not included.
`--soak 2h` instead loads one daemon for that long, and looks whether anything of it grows.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException

from benchmarks.copying import CopyRun, Task, run_copy
from benchmarks.corpus import CORPORA, DEFAULT_CORPORA, PARTITIONS, Corpus, fill
from benchmarks.fills import FRAGMENTS, LONG_HOLES, run_fills
from benchmarks.floor import DEFAULT_GIGABYTES, measure_floor
from benchmarks.holds import run_holds
from benchmarks.idle import run_idle
from benchmarks.latency import run_steady
from benchmarks.measure import BenchmarkError, Child, describe_machine
from benchmarks.memory import run_memory
from benchmarks.mm2 import MirrorMaker, Tuning
from benchmarks.report import append_results, print_results, write_profile, write_raw
from benchmarks.results import COMMIT_MS, FILLS, HOLDS, IDLE, MEMORY, STEADY, TRANSACTIONS, US, CopyResult, Results
from benchmarks.soak import RESTART_SECONDS, run_soak
from benchmarks.subject import Subject, development_environment, ensure_runtime
from benchmarks.topics import create_topics, delete_topics, log_stats
from replicator.devkit import Cluster, ClusterConfig, free_base_port, start_clusters
from replicator.model.units import parse_duration

_OTHERS = (STEADY, TRANSACTIONS, FILLS, IDLE, HOLDS, MEMORY)
MM2_OFF, MM2_ON = "mm2", "mm2 exactly-once"

_FAILURES = (BenchmarkError, KafkaException, OSError)
"""What ends one measurement, with a remark in its place, and not the others."""

_HEAP_MB = 512
LONG_HOLE = 10_000
"""Offsets."""
_LOW_LINGER_MS, _SHORT_BOUNDARY_MS = 0, 100


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured.

    Attributes:
        scale: Size of the corpora, as a multiple of their own.
        runs: Runs of ours that count, per corpus.
        floor_gigabytes: How much each measurement of the floor relays.
        steady_seconds: Length of the steady load.
        idle_seconds: Length of the look at idle partitions.
        fragments: Runs of one record with a hole behind each, per partition.
        long_holes: Holes of 10,000 offsets, per partition.
    """

    scale: float
    runs: int
    floor_gigabytes: float
    steady_seconds: float
    idle_seconds: float
    fragments: int
    long_holes: int


FULL = Settings(
    scale=1.0,
    runs=5,
    floor_gigabytes=DEFAULT_GIGABYTES,
    steady_seconds=120,
    idle_seconds=60,
    fragments=10_000,
    long_holes=20,
)
QUICK = Settings(
    scale=0.125, runs=1, floor_gigabytes=1.0, steady_seconds=20, idle_seconds=20, fragments=4000, long_holes=10
)


@dataclass(slots=True)
class Bench:
    """One run of the benchmark on two clusters that serve.

    Attributes:
        settings: How much is measured.
        source: The cluster that is copied from.
        target: The cluster that is copied to.
        subject: Our daemon.
        peer: MirrorMaker 2, if it runs too.
        directory: For temporary files.
    """

    settings: Settings
    source: Cluster
    target: Cluster
    subject: Subject
    peer: MirrorMaker | None
    directory: Path
    results: Results = field(default_factory=Results)

    def catch_up(self, corpus: Corpus, *, profile: bool) -> None:
        """Measure everyone on one corpus; profile ours if asked to, or if it misses its target."""
        result = CopyResult(corpus)
        self.results.copies.append(result)
        _say(f"{corpus.name}: filling")
        create_topics(self.source, {corpus.topic: PARTITIONS}, corpus.topic_config)
        try:
            fill(self.source.bootstrap, corpus, self.settings.scale)
            os.sync()  # or writing back the corpus would share the disk with the first runs
            self._our_runs(result)
            if self.peer is not None:
                self._peer_runs(result, self.peer)
            if profile or result.misses:
                self._profile(result)
        except _FAILURES as error:
            result.problems.append(f"{corpus.name}: {error}")
            _say(result.problems[-1])
        finally:
            delete_topics(self.source, [corpus.topic])

    def _our_runs(self, result: CopyResult) -> None:
        self._our_run(result, "warm-up, dropped")
        for number in range(1, self.settings.runs + 1):
            result.floors.append(measure_floor(self.settings.floor_gigabytes))
            result.runs.append(self._our_run(result, f"run {number}"))
        result.floors.append(measure_floor(self.settings.floor_gigabytes))
        _say(
            f"{result.corpus.name}: floor {result.floor:.3f} CPU-s/GB, ours {result.cost / result.floor:.2f} times that"
        )

    def _our_run(self, result: CopyResult, label: str, profile: Path | None = None) -> CopyRun:
        topic, prefix = result.corpus.topic, self.subject.next_prefix()
        return self._copy(
            result, f"{US}, {label}", prefix + topic, lambda: self.subject.start(topic, prefix, profile), identical=True
        )

    def _peer_runs(self, result: CopyResult, peer: MirrorMaker) -> None:
        """Run MirrorMaker 2 once without and once with transactions, after one run that warms the machine up."""
        corpus = result.corpus
        if len(self.results.copies) == 1:
            tuning = Tuning(exactly_once=False, codec=corpus.codec)
            self._peer_run(result, peer, f"{MM2_OFF}, warm-up, dropped", tuning)
        for name, exactly_once in ((MM2_OFF, False), (MM2_ON, True)):
            tuning = Tuning(exactly_once=exactly_once, codec=corpus.codec)
            result.peers[name] = self._peer_run(result, peer, name, tuning)

    def _peer_run(self, result: CopyResult, peer: MirrorMaker, label: str, tuning: Tuning) -> CopyRun:
        topic = result.corpus.topic
        pattern = topic.replace(".", r"\\.")  # a backslash is doubled in properties files
        return self._copy(result, label, topic, lambda: peer.start(pattern, tuning), identical=False)

    def _copy(
        self, result: CopyResult, label: str, target_topic: str, start: Callable[[], Child], *, identical: bool
    ) -> CopyRun:
        """Copy once into a topic that is removed afterwards."""
        topic = result.corpus.topic
        task = Task(self.source, self.target, topic, target_topic, log_stats(self.source, topic), identical)
        try:
            run = run_copy(task, start)
        finally:
            delete_topics(self.target, [target_topic])
        _say(
            f"{result.corpus.name}: {label}: {run.cpu_per_gigabyte:.2f} CPU-s/GB, {run.megabytes_per_second:.0f} MB/s, "
            f"first record {run.first_record_seconds:.2f} s, {run.peak_rss / 1e6:.0f} MB, "
            f"others' load {run.others:.2f} cores, exit {run.exit_status}"
        )
        return run

    def _profile(self, result: CopyResult) -> None:
        raw = self.directory / f"{result.corpus.name}.prof"
        self._our_run(result, "under cProfile", raw)
        self.results.profiles.append(f"benchmarks/profiles/{write_profile(raw, result.corpus.name).name}")

    def steady(self) -> None:
        """Measure the delay of records under steady load."""
        prefix = self.subject.next_prefix()
        self._steady(US, "steady", prefix, lambda: self.subject.start("steady", prefix))
        if (peer := self.peer) is not None:
            off = Tuning(exactly_once=False, linger_ms=_LOW_LINGER_MS)
            self._steady(MM2_OFF, "steady-off", "", lambda: peer.start("steady-off", off))
            on = Tuning(exactly_once=True, linger_ms=_LOW_LINGER_MS, boundary_ms=_SHORT_BOUNDARY_MS)
            self._steady(f"{MM2_ON}, 100 ms", "steady-on", "", lambda: peer.start("steady-on", on))

    def transactions(self) -> None:
        """Measure the delay of records that a transactional source commits."""
        prefix, topic = self.subject.next_prefix(), TRANSACTIONS
        _say(f"steady load in transactions of {COMMIT_MS} ms, {US}")
        seconds, start = self.settings.steady_seconds, lambda: self.subject.start(topic, prefix)
        try:
            run = run_steady(self.source, self.target, topic, prefix + topic, seconds, start, COMMIT_MS)
            self.results.transactions[US] = run
            _say(f"p99 {run.target.p99:.1f} ms, plain consumer {run.source.p99:.1f} ms, CPU {run.cpu_percent:.1f} %")
        except _FAILURES as error:
            self.results.problems.append(f"{TRANSACTIONS}: {error}")
            _say(self.results.problems[-1])
        finally:
            delete_topics(self.source, [topic])
            delete_topics(self.target, [prefix + topic])

    def fills(self) -> None:
        """Measure fills: of many holes of one offset, and of few long ones."""
        self._fills(FRAGMENTS, self.settings.fragments, 1)
        self._fills(LONG_HOLES, self.settings.long_holes, LONG_HOLE)

    def _fills(self, name: str, holes: int, hole: int) -> None:
        topic, prefix = name.replace(" ", "-"), self.subject.next_prefix()
        _say(f"{name}: writing, and waiting for the cleaner")
        try:
            start = lambda: self.subject.start(topic, prefix)  # noqa: E731 - as everywhere here
            run = run_fills(self.source, self.target, topic, prefix + topic, holes, hole, start)
            self.results.fills[name] = run
            _say(f"{run.runs_per_second:.0f} runs/s, {run.markers_per_second:.0f} markers/s in {run.seconds:.1f} s")
        except _FAILURES as error:
            self.results.problems.append(f"{name}: {error}")
            _say(self.results.problems[-1])
        finally:
            delete_topics(self.source, [topic])
            delete_topics(self.target, [prefix + topic])

    def _steady(self, name: str, topic: str, prefix: str, start: Callable[[], Child]) -> None:
        _say(f"steady load, {name}")
        try:
            run = run_steady(self.source, self.target, topic, prefix + topic, self.settings.steady_seconds, start)
            self.results.steady[name] = run
            _say(f"p99 {run.target.p99:.1f} ms, plain consumer {run.source.p99:.1f} ms, CPU {run.cpu_percent:.1f} %")
        except _FAILURES as error:
            self.results.problems.append(f"steady, {name}: {error}")
            _say(self.results.problems[-1])
        finally:
            delete_topics(self.source, [topic])
            delete_topics(self.target, [prefix + topic])

    def idle(self) -> None:
        """Measure what 1,000 partitions cost while nothing happens."""
        prefix = self.subject.next_prefix()
        self._idle(US, "idle", prefix, lambda: self.subject.start("idle.*", prefix))
        if (peer := self.peer) is not None:
            tuning = Tuning(exactly_once=False)
            self._idle(MM2_OFF, "idle-mm2", "", lambda: peer.start(r"idle-mm2\\..*", tuning))

    def holds(self) -> None:
        """Measure how long the steps of a large flow hold up the event loop; no broker takes part."""
        _say("steps of a flow with 1,000 topics and 2,000 groups")
        self.results.holds = run_holds()

    def memory(self) -> None:
        """Measure peaks of memory."""
        _say("memory under bombs, large records and large answers")
        try:
            self.results.memory = run_memory(self.source, self.target, self.subject)
        except _FAILURES as error:
            self.results.problems.append(f"{MEMORY}: {error}")
            _say(self.results.problems[-1])
        for run in self.results.memory:
            _say(f"{run.name}: peak {run.peak_rss / 1e6:.0f} MB")

    def soak(self, seconds: float, restart_seconds: float) -> None:
        """Look for growth under mixed load."""
        prefix = self.subject.next_prefix()
        _say(f"mixed load for {seconds:.0f} s")
        try:
            run = run_soak(
                self.source,
                self.target,
                prefix,
                seconds,
                lambda: self.subject.start("soak.*", prefix),
                restart_seconds=restart_seconds,
            )
        except _FAILURES as error:
            self.results.problems.append(f"soak: {error}")
            _say(self.results.problems[-1])
        else:
            self.results.soak = run
            _say(f"{run.rss_megabytes_per_hour} MB an hour, peak {run.peak_rss / 1e6:.0f} MB")

    def _idle(self, name: str, label: str, prefix: str, start: Callable[[], Child]) -> None:
        _say(f"1,000 idle partitions, {name}")
        try:
            run = run_idle(self.source, self.target, label, prefix, self.settings.idle_seconds, start)
            self.results.idle[name] = run
            _say(f"CPU {run.cpu_percent:.2f} %, all copied after {run.all_copied_seconds:.1f} s")
        except _FAILURES as error:
            self.results.problems.append(f"idle, {name}: {error}")
            _say(self.results.problems[-1])


@contextmanager
def _clusters(directory: Path) -> Iterator[tuple[Cluster, Cluster]]:
    """Give two clusters that serve; they and their data are gone afterwards."""
    overrides = {
        "log.segment.delete.delay.ms": "1000",  # so that memory of finished runs is used again
        "log.cleaner.backoff.ms": "1000",
    }
    one, other = (
        Cluster(
            ClusterConfig(
                name, directory / name, free_base_port(1), heap_mb=_HEAP_MB, jvm_flags=(), overrides=overrides
            )
        )
        for name in ("source", "target")
    )
    start_clusters([one, other])
    try:
        yield one, other
    finally:
        for cluster in (one, other):
            cluster.kill()
            cluster.wipe()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measure the replicator.")
    names = [*CORPORA, *_OTHERS]
    parser.add_argument("--peer", choices=["mm2"], help="run MirrorMaker 2 beside, with and without transactions")
    parser.add_argument("--quick", action="store_true", help="small corpora, one run each: figures are rough")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some of: {', '.join(names)}")
    parser.add_argument("--soak", type=_seconds, metavar="DURATION", help="nothing but mixed load for that long (2h)")
    parser.add_argument(
        "--restart-every", type=_seconds, default=RESTART_SECONDS, metavar="DURATION", help="with --soak (5m)"
    )
    parser.add_argument("--runs", type=int, help="runs that count, per corpus")
    parser.add_argument("--scale", type=float, help="size of the corpora, 1 is 0.5 to 4 GB each")
    parser.add_argument("--profile", action="store_true", help="profile every corpus, not only those that miss")
    parser.add_argument("--dev-venv", action="store_true", help="run the daemon from .venv, not a runtime-only one")
    parser.add_argument("--no-results", action="store_true", help="leave RESULTS.md alone")
    parser.add_argument("--directory", type=Path, help="where the clusters keep their data (some 20 GB at scale 1)")
    return parser.parse_args()


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _settings(arguments: argparse.Namespace) -> Settings:
    base = QUICK if arguments.quick else FULL
    return Settings(
        scale=arguments.scale or base.scale,
        runs=arguments.runs or base.runs,
        floor_gigabytes=base.floor_gigabytes,
        steady_seconds=base.steady_seconds,
        idle_seconds=base.idle_seconds,
        fragments=base.fragments,
        long_holes=base.long_holes,
    )


def main() -> int:
    """Measure, show, and add to RESULTS.md; return 0 even where targets are missed: the figures are the result."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the clusters' data goes too
    settings = _settings(arguments)
    names = () if arguments.soak else arguments.only or (*DEFAULT_CORPORA, *_OTHERS)
    facts = [*describe_machine(), f"`{' '.join(['python -m benchmarks.run', *sys.argv[1:]])}`: {settings}"]
    begun = time.monotonic()
    environment = development_environment() if arguments.dev_venv else ensure_runtime()
    with (
        tempfile.TemporaryDirectory(prefix="replicator-bench-", dir=arguments.directory) as temporary,
        _clusters(Path(temporary)) as (source, target),
    ):
        directory = Path(temporary)
        subject = Subject(environment, directory, source, target)
        peer = MirrorMaker(directory, source, target) if arguments.peer else None
        bench = Bench(settings, source, target, subject, peer, directory)
        if arguments.soak:
            bench.soak(arguments.soak, arguments.restart_every)
        for name in names:
            if name in _OTHERS:
                getattr(bench, name)()
            else:
                bench.catch_up(CORPORA[name], profile=arguments.profile)
    print_results(bench.results)
    if not arguments.no_results:
        load = ", ".join(f"{load:.2f}" for load in os.getloadavg())
        facts.append(f"Took {(time.monotonic() - begun) / 60:.0f} minutes; load averages at the end: {load}")
        facts.append(f"Every run: `benchmarks/raw/{write_raw(bench.results, facts).name}`")
        append_results(bench.results, facts)
    return 0


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
