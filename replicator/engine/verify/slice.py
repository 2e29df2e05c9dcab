"""Compares one piece of a partition, of bounded size and at a bounded rate, and reports how far it got."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from replicator.core.verify.pace import Pace
from replicator.core.verify.record_diff import RecordDiff
from replicator.core.verify.rows import Row
from replicator.engine.verify.sides import TwoSides

_BATCH_SHARES = 8


@dataclass(frozen=True, slots=True)
class Bounds:
    """What to compare: from `start` up to what each side holds, about `bytes_max` over both sides at most.

    A batch that was started is compared to its end, since it would have to be opened again otherwise, unless that
    takes `_BATCH_SHARES` times as much.
    """

    start: int
    source_end: int
    target_end: int
    bytes_max: int


def compare_slice(
    sides: TwoSides,
    diff: RecordDiff,
    bounds: Bounds,
    pace: Pace,
    stop: threading.Event,
    advanced: Callable[[int], None],
) -> bool:
    """Compare what both sides hold; return whether that was all. Runs in its own thread.

    `advanced` is called with the first offset that was not compared, after each chunk and so before any error is
    raised: a slice that ended early continues there, and no record is compared twice.

    Raises:
        OutOfRange: A log does not hold the next offset.
        KafkaError: A cluster cannot be read.
    """
    sides.open(bounds.start, bounds.source_end, bounds.target_end)
    end = min(bounds.source_end, bounds.target_end)
    ours: list[Row] = []
    theirs: list[Row] = []
    used = 0
    while used < bounds.bytes_max or (sides.are_inside_a_batch and used < _BATCH_SHARES * bounds.bytes_max):
        before = sides.opened_bytes
        ours, theirs = sides.more(ours, theirs)
        if stop.is_set():  # an empty chunk may have been cut short
            return False
        ours, theirs = diff.feed(ours, theirs, source_done=sides.source_done, target_done=sides.target_done)
        source_next = ours[0][0] if ours else sides.source_position
        target_next = theirs[0][0] if theirs else sides.target_position
        advanced(min(source_next, target_next, end))
        if sides.source_done and sides.target_done and not ours and not theirs:
            return True
        size = sides.opened_bytes - before
        used += size
        # In small pieces: a long one at full speed would keep the copy from the interpreter.
        stop.wait(pace.rest_seconds(size, time.monotonic()))
    return False
