"""What we promise ourselves: each target with its number, and how a measurement is held against it."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.corpus import Corpus
from benchmarks.measure import MEGABYTE
from benchmarks.subject import IN_FLIGHT_BYTES

RSS_BYTES_MAX = int(110 * MEGABYTE) + IN_FLIGHT_BYTES
FIRST_RECORD_SECONDS_MAX = 1.5
P99_MULTIPLE_MAX = 3.0
"""Of a plain consumer's p99, measured in the same seconds."""

IDLE_PERCENT_MAX = 1.0

_BY_BATCH_KIB = {16: 4.8, 4: 9.6}
_BY_CODEC = {"lz4": 3.1, "zstd": 4.0}
_KIB = 1024
_BY_RECORD_BYTES = {_KIB: 2.7, 100: 3.3}

_PEER_PLAIN_1K, _PEER_OTHER = 8.0, 20.0
_MERGED_MICROS_MAX, _ENCODED_MICROS_MAX = 5.0, 2.5
MERGED_BROKER_MULTIPLE_MAX = 2.0
"""CPU of the target's broker for a GB of one-record batches, times that for batches of 64 KiB."""

TRANSACTIONS_P99_MS_MAX = 300.0
SOAK_RSS_MEGABYTES_PER_HOUR_MAX = 1.0
SOAK_COUNT_PER_HOUR_MAX = 1.0
"""Growth of descriptors, threads and tasks: a slope through samples that come and go with connections."""

FILL_RUNS_PER_SECOND_MIN = 2_000.0
FILL_MARKERS_PER_SECOND_MIN = 10_000.0


def record_micros_max(corpus: Corpus) -> float | None:
    """Return the microseconds of CPU that a record may cost where records, not batches, are what is worked on."""
    if corpus.append_time:
        return _ENCODED_MICROS_MAX
    return _MERGED_MICROS_MAX if corpus.batch_records else None


def floor_multiple_max(corpus: Corpus) -> float:
    """Return how many times the machine's floor a GB of this corpus may cost, where batches pass as they are.

    The cost is per batch, so small batches decide first; then the codec, then the size of the records.
    """
    return _BY_BATCH_KIB.get(corpus.batch_kib) or _BY_CODEC.get(corpus.codec) or _BY_RECORD_BYTES[corpus.record_bytes]


def peer_ratio_min(corpus: Corpus) -> float:
    """Return how many times our CPU time MirrorMaker 2 must need for this corpus."""
    return _PEER_PLAIN_1K if corpus.record_bytes == _KIB and not corpus.compressed else _PEER_OTHER


@dataclass(frozen=True, slots=True)
class Verdict:
    """One measurement against its target.

    Attributes:
        what: Which one, with its unit.
        measured: The figure.
        limit: The target.
        at_least: Whether the figure has to reach the target; else it must not exceed it.
    """

    what: str
    measured: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        sign = "at least" if self.at_least else "at most"
        return f"{'met' if self.met else 'MISSED'}: {self.what} {self.measured:.3g} ({sign} {self.limit:.3g})"
