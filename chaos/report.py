"""What a run found: the table a person reads, and the line a machine does."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from chaos.ledger import Ledger, Outcome, TransactionLedger
from chaos.watch import Recovery


@dataclass(slots=True)
class Result:
    """One run.

    Attributes:
        seed: Of the plan.
        minutes: Length of the faults.
        commit: Of the working tree.
        daemons: How many ran the flow.
        source_nodes: Nodes of the source.
        faults: Fault to how often it was used.
        left_out: Fault to why it was not used.
        unplaced: Uses of faults that could not be placed, each with the reason.
        recovery_seconds: Fault to the times until everything moved again; None where it did not before the end.
        old_recovery_seconds: The same for old records.
        records: Acknowledged by the source.
        checked: Compared on the target.
        deleted: Of these, deleted on the source since.
        unknown: Whose delivery to the source failed.
        untold: Acknowledged without an offset; where they stand was read.
        unknown_found: Records of unknown fate that stand on the target, those of transactions included.
        filled: Offsets of the target that hold no record, where none may be.
        transactions: Outcome to how many transactions ended so.
        megabytes: Of acknowledged values.
        cpu_seconds: Of all daemons.
        peak_rss_megabytes: Of the daemon that took most.
        drain_seconds: From the last heal until both sides ended at the same offsets; None if they never did.
        problems: Why there is no verdict, or why it is not equal.
        unsound: What went wrong beside: daemons that ended by themselves, partitions that stand still at the end.
        equal: The verdict on the records.
    """

    seed: int
    minutes: float
    commit: str
    daemons: int
    source_nodes: int
    faults: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    unplaced: list[str] = field(default_factory=list)
    recovery_seconds: dict[str, list[float | None]] = field(default_factory=dict)
    old_recovery_seconds: dict[str, list[float | None]] = field(default_factory=dict)
    records: int = 0
    checked: int = 0
    deleted: int = 0
    unknown: int = 0
    untold: int = 0
    unknown_found: int = 0
    filled: int = 0
    transactions: dict[str, int] = field(default_factory=dict)
    megabytes: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss_megabytes: float = 0.0
    drain_seconds: float | None = None
    problems: list[str] = field(default_factory=list)
    unsound: list[str] = field(default_factory=list)
    equal: bool = False

    @property
    def passed(self) -> bool:
        """Whether nothing at all went wrong."""
        return self.equal and not self.unsound

    def take_recoveries(self, recoveries: Sequence[Recovery]) -> None:
        """Sort recoveries by their faults."""
        present, old = defaultdict(list), defaultdict(list)
        for recovery in recoveries:
            present[str(recovery.fault)].append(_rounded(recovery.seconds))
            old[str(recovery.fault)].append(_rounded(recovery.old_seconds))
        self.recovery_seconds, self.old_recovery_seconds = dict(present), dict(old)

    def take_ledger(self, ledger: Ledger) -> None:
        """Add what one of the loads has sent."""
        self.records += ledger.records
        self.unknown += len(ledger.unknown)
        self.untold += len(ledger.unplaced)
        self.megabytes = round(self.megabytes + ledger.value_bytes / 1e6, 1)
        if isinstance(ledger, TransactionLedger):
            self.transactions = {str(outcome): ledger.count(outcome) for outcome in Outcome}


def append_line(result: Result, file: Path) -> None:
    """Add the result to a file, as one line of JSON.

    Raises:
        OSError: The file cannot be written.
    """
    with file.open("a") as out:
        out.write(json.dumps(asdict(result)) + "\n")


def show(result: Result, console: Console) -> None:
    """Print the table, what was left out, the totals, and the verdict.

    Recovery is the median time from a fault's end until every partition had moved. Other faults may have begun
    meanwhile: a run of one fault alone (`--faults`) tells what that one costs.
    """
    table = Table(title=f"chaos, seed {result.seed}, {result.minutes:g} min", title_justify="left")
    table.add_column("fault", no_wrap=True)
    for name in ("used", "recovery s", "max", "old records s", "max"):
        table.add_column(name, justify="right")
    for fault, used in sorted(result.faults.items()):
        cells = [*_cells(result.recovery_seconds, fault), *_cells(result.old_recovery_seconds, fault)]
        table.add_row(fault, str(used), *cells)
    console.print(table)
    for fault, why in sorted(result.left_out.items()):
        console.print(f"left out: {fault}: {why}", markup=False)
    for text in result.unplaced:
        console.print(f"not placed: {text}", markup=False, highlight=False, soft_wrap=True)
    for name, value in _totals(result).items():
        console.print(f"{name:28} {value}", markup=False, highlight=False)
    for text in [f"problem: {text}" for text in result.problems] + [f"unsound: {text}" for text in result.unsound]:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"equal: {'yes' if result.equal else 'no'}", highlight=False)


def _totals(result: Result) -> dict[str, Any]:
    drain = "never" if result.drain_seconds is None else f"{result.drain_seconds:.1f}"
    return {
        "records acknowledged": result.records,
        "records compared": f"{result.checked}, of which {result.deleted} were deleted on the source meanwhile",
        "deliveries of unknown fate": result.unknown,
        "of unknown fate, but there": result.unknown_found,
        "acknowledged without offset": result.untold,
        "transactions": ", ".join(f"{count} {name}" for name, count in result.transactions.items()) or "none",
        "offsets without a record": result.filled,
        "MB": f"{result.megabytes:.1f}",
        "CPU-s of the daemons": f"{result.cpu_seconds:.1f}",
        "peak RSS of a daemon, MB": f"{result.peak_rss_megabytes:.0f}",
        "drained after, s": drain,
    }


def _cells(times: Mapping[str, list[float | None]], fault: str) -> tuple[str, str]:
    found = times.get(fault)
    if not found:
        return "-", "-"
    known = [seconds for seconds in found if seconds is not None]
    never = len(found) - len(known)
    longest = f"never ({never})" if never else f"{max(known):.1f}"
    return (f"{median(known):.1f}" if known else "-"), longest


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
