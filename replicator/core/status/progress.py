"""What the log reports about a flow's progress, and when: nothing unchanged is reported twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from replicator.model.status.snapshots import PartitionStatus
from replicator.model.status.states import MirrorState, Reason

_NOT_STOPPED = frozenset({Reason.FILLING, Reason.OPEN_TRANSACTION})
"""A fill continues; an open transaction gets a log line of its own."""


@dataclass(frozen=True, slots=True)
class CatchingUp:
    """The copy is behind. `records_per_second` is 0, and `eta_seconds` None, only if it does not move."""

    lag_records: int
    records_per_second: int
    eta_seconds: int | None


@dataclass(frozen=True, slots=True)
class Stopped:
    """Partitions that are faulted or waiting: how many out of how many, and how often for which reason."""

    count: int
    total: int
    reasons: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        why = ", ".join(f"{reason} x{count}" for reason, count in self.reasons)
        return f"{self.count} of {self.total} partitions stopped: {why}"


class Progress:
    """Decides what to report for one flow, at each look.

    Args:
        now: Monotonic time of the start, seconds.
    """

    def __init__(self, now: float) -> None:
        self._moment = now
        self._records = 0
        self._stopped: Stopped | None = None
        self._stood_still = False

    @property
    def is_stopped(self) -> bool:
        """Whether some partition was stopped at the last look."""
        return self._stopped is not None

    def observe(
        self, partitions: Iterable[PartitionStatus], records_total: int, lag_records: int, now: float
    ) -> Sequence[Stopped | CatchingUp]:
        """Return what to report now.

        Args:
            partitions: All partitions of the flow.
            records_total: Records copied and offsets filled since the start.
            lag_records: How many records the partitions being copied are behind.
            now: Monotonic time, later than at the previous look.
        """
        rate = (records_total - self._records) / (now - self._moment)
        self._records, self._moment = records_total, now
        stopped = _stopped(partitions)
        said: list[Stopped | CatchingUp] = []
        if stopped is not None and stopped != self._stopped:
            said.append(stopped)
        # A partition without the right to write looks like one being copied during each attempt.
        if stopped is not None or rate or not lag_records:
            self._stopped = stopped
        if lag_records > rate and (rate or not (stopped or self._stopped or self._stood_still)):
            said.append(CatchingUp(lag_records, ceil(rate), int(lag_records / rate) if rate else None))
        self._stood_still = not rate and lag_records > 0
        return said


def _stopped(partitions: Iterable[PartitionStatus]) -> Stopped | None:
    known = list(partitions)
    reasons = Counter(
        partition.reason.value
        for partition in known
        if partition.reason is not None
        and partition.reason not in _NOT_STOPPED
        # What an operator has switched is stopped by order.
        and partition.state is not MirrorState.STOPPED
    )
    if not reasons:
        return None
    often_first = tuple(sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0])))
    return Stopped(reasons.total(), len(known), often_first)
