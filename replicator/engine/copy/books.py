"""What one flow's copy has done since it started, as counters."""

from __future__ import annotations

from dataclasses import dataclass, field

from replicator.core.copy.writing.answers import ProduceOutcome


@dataclass(slots=True)
class CopyTotals:
    """Counters of one pump.

    Attributes:
        records: Records that the target acknowledged.
        bytes: The size of their batches.
        batches: The number of those batches.
        filled: Offsets without a record that were filled with markers.
        requests: Produce requests that were sent.
        reattached: Episodes that were started.
        last_progress: Monotonic time of the last acknowledgement or fill; None before the first.
    """

    records: int = 0
    bytes: int = 0
    batches: int = 0
    filled: int = 0
    requests: int = 0
    reattached: int = 0
    last_progress: float | None = None


@dataclass(slots=True)
class CopyCounters:
    """The counters of one pump.

    Attributes:
        totals: Sums since the pump started.
        outcomes: Produce responses per batch, by kind.
    """

    totals: CopyTotals = field(default_factory=CopyTotals)
    outcomes: dict[ProduceOutcome, int] = field(default_factory=lambda: dict.fromkeys(ProduceOutcome, 0))

    def accepted(self, records: int, size: int, batches: int, now: float) -> None:
        """Count accepted batches, with their records and bytes."""
        if not batches:
            return
        totals = self.totals
        totals.records += records
        totals.bytes += size
        totals.batches += batches
        totals.last_progress = now
        self.outcomes[ProduceOutcome.ACCEPTED] += batches

    def filled(self, length: int, now: float) -> None:
        """Count filled offsets."""
        self.totals.filled += length
        self.totals.last_progress = now
