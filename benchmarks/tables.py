"""Results as tables: text in rows, for a terminal and for Markdown alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.fills import FillRun
from benchmarks.holds import Hold
from benchmarks.idle import IdleRun
from benchmarks.latency import SteadyRun
from benchmarks.measure import GIGABYTE, MEGABYTE
from benchmarks.memory import MemoryRun
from benchmarks.results import COMMIT_MS, CopyResult, Results
from benchmarks.soak import SOAK_COUNTS, Sample, SoakRun
from benchmarks.targets import peer_ratio_min, record_micros_max

_THOUSAND = 1e3
_STEADY_TITLE = "Steady, 2,000 records of 1 KB a second, from the due time of each"


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows, for a terminal and for Markdown alike."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(results: Results) -> list[Table]:
    """Return the tables that have rows."""
    found = (
        _copy_table(results.copies),
        _peer_table(results.copies),
        _steady_table(_STEADY_TITLE, results.steady),
        _steady_table(f"{_STEADY_TITLE}, in transactions committed every {COMMIT_MS} ms", results.transactions),
        _fill_table(results.fills),
        _idle_table(results.idle),
        _hold_table(results.holds),
        _memory_table(results.memory),
        _soak_table(results.soak),
    )
    return [table for table in found if table.rows]


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


def _hold_table(holds: Iterable[Hold]) -> Table:
    rows = [(hold.step, f"{hold.longest_ms:.1f}", f"{hold.whole_ms:.1f}") for hold in holds]
    columns = ("1,000 topics, 10,000 partitions, 2,000 groups", "longest piece ms of CPU", "whole step ms of CPU")
    return Table("The event loop in steps of ours", columns, rows)


def _memory_table(runs: Iterable[MemoryRun]) -> Table:
    rows = [(run.name, f"{run.peak_rss / MEGABYTE:.0f}", f"{run.seconds:.1f}", f"{run.others:.2f}") for run in runs]
    columns = ("load", "peak RSS MB", "start to all done s", "others' load, cores")
    return Table("Memory at its peak, in_flight_bytes at its default of 64 MiB", columns, rows)


def _soak_table(run: SoakRun | None) -> Table:
    columns = ("figure", "at 10 min", "at the end", "lowest", "median", "highest", "more an hour")
    rows: list[tuple[str, ...]] = []
    figures: dict[str, Callable[[Sample], float | None]] = {
        "RSS, MB": lambda sample: sample.rss / MEGABYTE,
        **SOAK_COUNTS,
    }
    for name, figure in figures.items() if run else ():
        values = [value for sample in run.settled() if (value := figure(sample)) is not None] if run else []
        if run and len(values) > 1:
            shown = (values[0], values[-1], min(values), median(values), max(values))
            rows.append((name, *(f"{value:.1f}" for value in shown), f"{run.growth_per_hour(figure):+.2f}"))
    length = f"{run.seconds / 60:.0f} minutes, {run.restarts} restarts, {run.reloads} reloads" if run else ""
    return Table(f"Mixed load, {length}, after the first ten minutes", columns, rows)
