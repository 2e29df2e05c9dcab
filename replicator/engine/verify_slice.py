"""Compares one piece of a partition, of bounded size and at a bounded rate, and says how far it came."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from replicator.core.record_diff import RecordDiff, Row, row_bytes
from replicator.core.verify_pace import Pace
from replicator.engine.verify_sides import TwoSides


@dataclass(frozen=True, slots=True)
class Bounds:
    """What to compare: from `start` up to what each side holds, no more than about `bytes_max` over both sides."""

    start: int
    source_end: int
    target_end: int
    bytes_max: int


def compare_slice(sides: TwoSides, diff: RecordDiff, bounds: Bounds, pace: Pace, stop: threading.Event) -> int:
    """Compare what both sides hold, and return the first offset that was not compared; runs in a thread of its own.

    A slice that ends early may be gone on with at that offset: nothing at or above it has been compared.

    Raises:
        OutOfRange: A log does not hold the next offset.
        KafkaError: A cluster cannot be read.
    """
    sides.open(bounds.start, bounds.source_end, bounds.target_end)
    ours: list[Row] = []
    theirs: list[Row] = []
    used = 0
    while not stop.is_set():
        ours, size = (ours, 0) if ours else _sized(sides.source_rows())
        theirs, more = (theirs, 0) if theirs else _sized(sides.target_rows())
        if stop.is_set():
            break  # an empty chunk may have been cut short
        ours, theirs = diff.feed(ours, theirs, source_done=sides.source_done, target_done=sides.target_done)
        if sides.source_done and sides.target_done and not ours and not theirs:
            return min(bounds.source_end, bounds.target_end)
        used += size + more
        if used >= bounds.bytes_max:
            break
        # In small pieces: a long one at full speed would keep the interpreter from those who copy.
        stop.wait(pace.rest_seconds(size + more, time.monotonic()))
    reached = min(
        ours[0][0] if ours else sides.source_position,
        theirs[0][0] if theirs else sides.target_position,
    )
    return min(reached, bounds.source_end, bounds.target_end)


def _sized(rows: list[Row]) -> tuple[list[Row], int]:
    return rows, len(row_bytes(rows)) if rows else 0
