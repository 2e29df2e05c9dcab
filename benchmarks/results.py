"""What a whole run of the benchmark found: values, and the rows of the tables they become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from benchmarks.copying import CopyRun
from benchmarks.corpus import LARGE_BATCHES, SINGLE_RECORDS, Corpus
from benchmarks.fills import FRAGMENTS, LONG_HOLES, FillRun
from benchmarks.floor import Floor
from benchmarks.holds import HOLD_MS_MAX, Hold
from benchmarks.idle import IdleRun
from benchmarks.latency import SteadyRun
from benchmarks.measure import GIGABYTE, MEGABYTE
from benchmarks.memory import MemoryRun
from benchmarks.soak import SOAK_COUNTS, SoakRun
from benchmarks.targets import (
    FILL_MARKERS_PER_SECOND_MIN,
    FILL_RUNS_PER_SECOND_MIN,
    FIRST_RECORD_SECONDS_MAX,
    IDLE_PERCENT_MAX,
    MERGED_BROKER_MULTIPLE_MAX,
    P99_MULTIPLE_MAX,
    RSS_BYTES_MAX,
    SOAK_COUNT_PER_HOUR_MAX,
    SOAK_RSS_MEGABYTES_PER_HOUR_MAX,
    TRANSACTIONS_P99_MS_MAX,
    Verdict,
    floor_multiple_max,
    peer_ratio_min,
    record_micros_max,
)

US = "replicator"
STEADY, IDLE, TRANSACTIONS, FILLS, HOLDS, MEMORY = "steady", "idle", "transactions", "fills", "holds", "memory"
COMMIT_MS = 100
OTHERS_CORES_MAX = 0.15
"""Cores that others may keep busy during a run before it is called disturbed."""

_THOUSAND = 1e3
_MILLION = 1e6


@dataclass(slots=True)
class CopyResult:
    """All runs on one corpus. Figures of it are medians of the runs.

    Attributes:
        corpus: The corpus.
        runs: Ours, the warm-up dropped.
        floors: The machine's floor, measured between the runs.
        peers: Runs of others, by name, start-up left out.
        problems: Why runs are missing.
    """

    corpus: Corpus
    runs: list[CopyRun] = field(default_factory=list)
    floors: list[Floor] = field(default_factory=list)
    peers: dict[str, CopyRun] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def floor(self) -> float:
        """CPU-seconds per GB of the machine's floor."""
        return median(floor.per_gigabyte.total for floor in self.floors)

    def median(self, figure: Callable[[CopyRun], float]) -> float:
        """Return the median of a figure over our runs."""
        return median(map(figure, self.runs))

    @property
    def cost(self) -> float:
        """Our CPU-seconds per GB."""
        return self.median(lambda run: run.cpu_per_gigabyte)

    @property
    def disturbed(self) -> bool:
        """Whether something else than this benchmark kept the machine busy during a run."""
        return any(run.others > OTHERS_CORES_MAX for run in (*self.runs, *self.peers.values()))

    @property
    def record_micros(self) -> float:
        """Our CPU time per record, in microseconds."""
        return self.median(lambda run: run.cpu.total / run.stats.records) * _MILLION

    @property
    def broker_cost(self) -> float:
        """CPU-seconds per GB of the target's broker."""
        return self.median(lambda run: run.target_cpu.total * GIGABYTE / run.stats.wire_bytes)

    def cost_verdict(self) -> Verdict:
        """Hold our CPU time against its target: a GB's against the floor, or a record's."""
        if limit := record_micros_max(self.corpus):
            return Verdict(f"{self.corpus.name}: CPU, microseconds a record", self.record_micros, limit)
        multiple, limit = self.cost / self.floor, floor_multiple_max(self.corpus)
        return Verdict(f"{self.corpus.name}: CPU, times the floor", multiple, limit)

    @property
    def misses(self) -> bool:
        """Whether it was measured and costs too much."""
        return bool(self.runs) and not self.cost_verdict().met

    def verdicts(self) -> list[Verdict]:
        """Hold the figures against the targets."""
        if not self.runs:
            return []
        name = self.corpus.name
        found = [
            self.cost_verdict(),
            Verdict(f"{name}: peak RSS, MB", max(r.peak_rss for r in self.runs) / MEGABYTE, RSS_BYTES_MAX / MEGABYTE),
            Verdict(
                f"{name}: start to first record, s",
                self.median(lambda run: run.first_record_seconds),
                FIRST_RECORD_SECONDS_MAX,
            ),
        ]
        for peer, run in self.peers.items():
            ratio = run.cpu_per_gigabyte / self.cost
            found.append(
                Verdict(f"{name}: CPU of {peer}, times ours", ratio, peer_ratio_min(self.corpus), at_least=True)
            )
        return found


@dataclass(slots=True)
class Results:
    """Everything; the dictionaries are by name of the replicator, ours first."""

    copies: list[CopyResult] = field(default_factory=list)
    steady: dict[str, SteadyRun] = field(default_factory=dict)
    idle: dict[str, IdleRun] = field(default_factory=dict)
    transactions: dict[str, SteadyRun] = field(default_factory=dict)
    fills: dict[str, FillRun] = field(default_factory=dict)
    holds: list[Hold] = field(default_factory=list)
    memory: list[MemoryRun] = field(default_factory=list)
    soak: SoakRun | None = None
    problems: list[str] = field(default_factory=list)
    profiles: list[str] = field(default_factory=list)

    def verdicts(self) -> list[Verdict]:
        """Hold all figures of ours against the targets."""
        found = [verdict for copy in self.copies for verdict in copy.verdicts()]
        if multiple := self.broker_multiple:
            found.append(
                Verdict(
                    "one-record batches: CPU of the target's broker, times that for 64 KiB",
                    multiple,
                    MERGED_BROKER_MULTIPLE_MAX,
                )
            )
        if US in self.steady:
            steady = self.steady[US]
            multiple = steady.target.p99 / steady.source.p99
            found += [
                Verdict("steady: p99, times a plain consumer's", multiple, P99_MULTIPLE_MAX),
                Verdict("steady: peak RSS, MB", steady.peak_rss / MEGABYTE, RSS_BYTES_MAX / MEGABYTE),
            ]
        if US in self.transactions:
            lag = self.transactions[US].target.p99
            found.append(Verdict(f"transactions of {COMMIT_MS} ms: p99, ms", lag, TRANSACTIONS_P99_MS_MAX))
        if run := self.fills.get(FRAGMENTS):
            pace, least = run.runs_per_second, FILL_RUNS_PER_SECOND_MIN
            found.append(Verdict("fragments filled: runs a second", pace, least, at_least=True))
        if run := self.fills.get(LONG_HOLES):
            pace, least = run.markers_per_second, FILL_MARKERS_PER_SECOND_MIN
            found.append(Verdict("long holes filled: markers a second", pace, least, at_least=True))
        if US in self.idle:
            found.append(Verdict("idle with 1,000 partitions: CPU, %", self.idle[US].cpu_percent, IDLE_PERCENT_MAX))
        if longest := max(self.holds, key=lambda hold: hold.longest_ms, default=None):
            found.append(Verdict(f"{longest.step}: the loop in one piece, ms", longest.longest_ms, HOLD_MS_MAX))
        found += [
            Verdict(f"{run.name}: peak RSS, MB", run.peak_rss / MEGABYTE, RSS_BYTES_MAX / MEGABYTE)
            for run in self.memory
        ]
        return [*found, *self._soak_verdicts()]

    def _soak_verdicts(self) -> list[Verdict]:
        if (run := self.soak) is None:
            return []
        found = [Verdict("soak: peak RSS, MB", run.peak_rss / MEGABYTE, RSS_BYTES_MAX / MEGABYTE)]
        if (growth := run.rss_megabytes_per_hour) is not None:
            found.append(Verdict("soak: RSS, MB more an hour", growth, SOAK_RSS_MEGABYTES_PER_HOUR_MAX))
        for name, figure in SOAK_COUNTS.items():
            if (growth := run.growth_per_hour(figure)) is not None:
                found.append(Verdict(f"soak: {name}, more an hour", growth, SOAK_COUNT_PER_HOUR_MAX))
        return found

    @property
    def broker_multiple(self) -> float | None:
        """CPU of the target's broker for a GB of one-record batches, times that for 64 KiB; None without both."""
        costs = {copy.corpus.name: copy.broker_cost for copy in self.copies if copy.runs}
        single, large = costs.get(SINGLE_RECORDS.name), costs.get(LARGE_BATCHES.name)
        return single / large if single and large else None

    def disturbed(self) -> list[str]:
        """Return what was measured while something else kept the machine busy."""
        single = [(STEADY, run.others) for run in self.steady.values()]
        single += [(IDLE, run.others) for run in self.idle.values()]
        single += [(TRANSACTIONS, run.others) for run in self.transactions.values()]
        single += [(name, run.others) for name, run in self.fills.items()]
        found = [copy.corpus.name for copy in self.copies if copy.disturbed]
        return found + sorted({name for name, others in single if others > OTHERS_CORES_MAX})

    def all_problems(self) -> list[str]:
        """Return why figures are missing."""
        return [*self.problems, *(problem for copy in self.copies for problem in copy.problems)]
