"""What a whole run of the benchmark found: values, and the rows of the tables they become."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.copying import CopyRun
from benchmarks.corpus import LARGE_BATCHES, SINGLE_RECORDS, Corpus
from benchmarks.fills import FRAGMENTS, LONG_HOLES, FillRun
from benchmarks.floor import Floor
from benchmarks.idle import IdleRun
from benchmarks.latency import SteadyRun
from benchmarks.measure import GIGABYTE, MEGABYTE
from benchmarks.targets import (
    FILL_MARKERS_PER_SECOND_MIN,
    FILL_RUNS_PER_SECOND_MIN,
    FIRST_RECORD_SECONDS_MAX,
    IDLE_PERCENT_MAX,
    MERGED_BROKER_MULTIPLE_MAX,
    P99_MULTIPLE_MAX,
    RSS_BYTES_MAX,
    TRANSACTIONS_P99_MS_MAX,
    Verdict,
    floor_multiple_max,
    peer_ratio_min,
    record_micros_max,
)

US = "replicator"
STEADY, IDLE, TRANSACTIONS, FILLS = "steady", "idle", "transactions", "fills"
COMMIT_MS = 100
OTHERS_CORES_MAX = 0.15
"""Cores that others may keep busy during a run before it is called disturbed."""

_THOUSAND = 1e3
_MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows, for a terminal and for Markdown alike."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


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

    def tables(self) -> list[Table]:
        """Return the tables that have rows."""
        tables = (
            _copy_table(self.copies),
            _peer_table(self.copies),
            _steady_table(_STEADY_TITLE, self.steady),
            _steady_table(f"{_STEADY_TITLE}, in transactions committed every {COMMIT_MS} ms", self.transactions),
            _fill_table(self.fills),
            _idle_table(self.idle),
        )
        return [table for table in tables if table.rows]


def _copy_table(copies: Iterable[CopyResult]) -> Table:
    columns = (
        *("corpus", "GB", "batch KiB", "CPU-s/GB (min to max)", "user + system", "floor", "x floor", "target"),
        *("us/record", "MB/s", "krec/s", "peak RSS MB", "first record s", "start CPU-s", "target broker CPU-s/GB"),
        "others' load, cores",
    )
    rows = []
    for copy in copies:
        if not copy.runs:
            continue
        costs = [run.cpu_per_gigabyte for run in copy.runs]
        verdict = copy.cost_verdict()
        unit = " us/record" if record_micros_max(copy.corpus) else ""
        gigabytes = copy.runs[0].stats.wire_bytes / GIGABYTE
        user, system = copy.median(lambda r: r.cpu.user), copy.median(lambda r: r.cpu.system)
        rows.append(
            (
                copy.corpus.name,
                f"{gigabytes:.2f}",
                f"{copy.runs[0].stats.batch_bytes / 1024:.1f}",
                f"{copy.cost:.2f} ({min(costs):.2f} to {max(costs):.2f})",
                f"{user / gigabytes:.2f} + {system / gigabytes:.2f}",
                f"{copy.floor:.3f}",
                f"{copy.cost / copy.floor:.2f}",
                f"{verdict.limit}{unit} {'met' if verdict.met else 'MISSED'}",
                f"{copy.record_micros:.2f}",
                f"{copy.median(lambda r: r.megabytes_per_second):.0f}",
                f"{copy.median(lambda r: r.records_per_second) / _THOUSAND:.0f}",
                f"{max(run.peak_rss for run in copy.runs) / MEGABYTE:.0f}",
                f"{copy.median(lambda r: r.first_record_seconds):.2f}",
                f"{copy.median(lambda r: r.start_cpu.total):.2f}",
                f"{copy.broker_cost:.2f}",
                f"{copy.median(lambda r: r.others):.2f}",
            )
        )
    return Table("Catch-up", columns, rows)


def _peer_table(copies: Iterable[CopyResult]) -> Table:
    columns = (
        *("corpus", "peer", "CPU-s/GB", "user + system", "x ours", "target", "MB/s", "krec/s"),
        *("peak RSS MB", "first record s", "start CPU-s", "others' load, cores"),
    )
    rows = []
    for copy in copies:
        for peer, run in copy.peers.items():
            gigabytes = run.stats.wire_bytes / GIGABYTE
            ratio = run.cpu_per_gigabyte / copy.cost if copy.runs else 0.0
            limit = peer_ratio_min(copy.corpus)
            rows.append(
                (
                    copy.corpus.name,
                    peer,
                    f"{run.cpu_per_gigabyte:.1f}",
                    f"{run.cpu.user / gigabytes:.1f} + {run.cpu.system / gigabytes:.1f}",
                    f"{ratio:.1f}" if copy.runs else "-",
                    f"{limit:.0f} {'met' if ratio >= limit else 'MISSED'}" if copy.runs else "-",
                    f"{run.megabytes_per_second:.0f}",
                    f"{run.records_per_second / _THOUSAND:.0f}",
                    f"{run.peak_rss / MEGABYTE:.0f}",
                    f"{run.first_record_seconds:.1f}",
                    f"{run.start_cpu.total:.1f}",
                    f"{run.others:.2f}",
                )
            )
    return Table("Catch-up, others on the same corpora (one run each, start-up left out)", columns, rows)


_STEADY_TITLE = "Steady, 2,000 records of 1 KB a second, from the due time of each"


def _steady_table(title: str, steady: dict[str, SteadyRun]) -> Table:
    columns = (
        *("replicator", "target p50 ms", "p99 ms", "max ms", "plain consumer p50 ms", "p99 ms", "max ms"),
        *("p99 x plain", "CPU %", "user + system CPU-s", "peak RSS MB", "seconds", "others' load, cores"),
    )
    rows = [
        (
            name,
            *(f"{figure:.1f}" for figure in (run.target.p50, run.target.p99, run.target.highest)),
            *(f"{figure:.1f}" for figure in (run.source.p50, run.source.p99, run.source.highest)),
            f"{run.target.p99 / run.source.p99:.1f}",
            f"{run.cpu_percent:.1f}",
            f"{run.cpu.user:.2f} + {run.cpu.system:.2f}",
            f"{run.peak_rss / MEGABYTE:.0f}",
            f"{run.seconds:.0f}",
            f"{run.others:.2f}",
        )
        for name, run in steady.items()
    ]
    return Table(title, columns, rows)


def _fill_table(fills: dict[str, FillRun]) -> Table:
    columns = (
        *("12 compacted partitions", "offsets", "runs/s", "markers/s", "CPU-s", "user + system"),
        *("target broker CPU-s", "seconds", "others' load, cores"),
    )
    rows = [
        (
            name,
            f"{run.offsets}",
            f"{run.runs_per_second:.0f}",
            f"{run.markers_per_second:.0f}",
            f"{run.cpu.total:.2f}",
            f"{run.cpu.user:.2f} + {run.cpu.system:.2f}",
            f"{run.target_cpu.total:.2f}",
            f"{run.seconds:.1f}",
            f"{run.others:.2f}",
        )
        for name, run in fills.items()
    ]
    return Table("Fills, from the first twentieth of all offsets on", columns, rows)


def _idle_table(idle: dict[str, IdleRun]) -> Table:
    columns = (
        *("replicator", "CPU %", "user + system CPU-s", "seconds", "start to all copied s", "peak RSS MB"),
        "others' load, cores",
    )
    rows = [
        (
            name,
            f"{run.cpu_percent:.2f}",
            f"{run.cpu.user:.2f} + {run.cpu.system:.2f}",
            f"{run.seconds:.0f}",
            f"{run.all_copied_seconds:.1f}",
            f"{run.peak_rss / MEGABYTE:.0f}",
            f"{run.others:.2f}",
        )
        for name, run in idle.items()
    ]
    return Table("Idle with 1,000 partitions (100 topics of 10)", columns, rows)
