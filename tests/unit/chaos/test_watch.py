"""Recovery is the time until the last partition that matters has moved."""

from __future__ import annotations

import time

from chaos.clients import Admin
from chaos.faults import Fault
from chaos.records import TOPICS
from chaos.watch import Watch

OLD = next(topic.name for topic in TOPICS if topic.old)
PRESENT = next(topic.name for topic in TOPICS if not topic.old)
NOBODY = "127.0.0.1:1"


def make() -> Watch:
    """Return a watch that saw 5 of 10 copied, and then the end of a fault."""
    watch = Watch(Admin(NOBODY), Admin(NOBODY), TOPICS)
    watch.take({(PRESENT, 0): 10, (PRESENT, 1): 10, (OLD, 0): 10}, {(PRESENT, 0): 5, (PRESENT, 1): 5, (OLD, 0): 5}, 0)
    watch.healed(Fault.TARGET_KILL)
    return watch


def test_every_partition_has_to_move() -> None:
    """Old records have a time of their own."""
    watch = make()
    recovery = watch.recoveries[0]
    begun = recovery.healed_at

    watch.take({}, {(PRESENT, 0): 6}, begun + 1)
    assert (recovery.seconds, recovery.old_seconds) == (None, None)
    watch.take({}, {(PRESENT, 1): 6}, begun + 2)
    assert (recovery.seconds, recovery.old_seconds) == (2.0, None)
    watch.take({}, {(OLD, 0): 6}, begun + 3)
    assert (recovery.seconds, recovery.old_seconds) == (2.0, 3.0)


def test_a_pause_by_command_does_not_count() -> None:
    """What had not moved when the flow went on again is counted from there; what had moved is left alone."""
    watch = make()
    recovery = watch.recoveries[0]
    recovery.healed_at -= 100

    watch.resumed()
    watch.take({}, {(PRESENT, 0): 6, (PRESENT, 1): 6, (OLD, 0): 6}, recovery.healed_at + 1)
    watch.resumed()

    assert (recovery.seconds, recovery.old_seconds) == (1.0, 1.0)


def test_without_load_the_end_is_enough() -> None:
    """A partition that has nothing left to copy need not move."""
    watch = make()
    same = {(PRESENT, 0): 5, (PRESENT, 1): 5, (OLD, 0): 5}

    watch.take(same, same, time.monotonic())
    assert watch.recoveries[0].seconds is None
    watch.load_ended.set()
    watch.take(same, same, time.monotonic())
    assert watch.recoveries[0].seconds is not None


def test_lag_names_what_differs() -> None:
    """Only partitions whose ends differ, target first."""
    watch = make()
    watch.take({}, {(PRESENT, 0): 10}, time.monotonic())

    assert watch.lag() == {(PRESENT, 1): (5, 10), (OLD, 0): (5, 10)}
