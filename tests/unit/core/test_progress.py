"""What the log says of progress, look by look."""

from __future__ import annotations

import pytest

from replicator.core.status.progress import CatchingUp, Progress, Stopped
from replicator.model.status.snapshots import PartitionStatus
from replicator.model.status.states import MirrorState, Reason

COPIES = PartitionStatus(0, MirrorState.ACTIVE)
FAULTED = PartitionStatus(1, MirrorState.FAULTED, Reason.UNSUPPORTED_BATCH)
WAITS = PartitionStatus(2, MirrorState.ACTIVE, Reason.WAITING_FOR_ACCESS)
PAUSED = PartitionStatus(3, MirrorState.PAUSED)


def test_a_copy_that_moves_is_told_at_each_look_until_it_is_near() -> None:
    """With rate and what is left to do; nothing once less than a second is missing."""
    progress = Progress(0.0)
    assert progress.observe([COPIES], 500, 1000, 5.0) == [CatchingUp(1000, 100, 10)]
    assert progress.observe([COPIES], 1000, 500, 10.0) == [CatchingUp(500, 100, 5)]
    assert progress.observe([COPIES], 1500, 99, 15.0) == []
    assert progress.observe([COPIES], 1501, 3, 20.0) == [CatchingUp(3, 1, 15)]  # slow is not still
    assert progress.observe([COPIES], 1501, 0, 25.0) == []


def test_a_copy_that_stands_still_is_told_once() -> None:
    """0 records/s says nothing more the second time."""
    progress = Progress(0.0)
    assert progress.observe([COPIES], 0, 9, 5.0) == [CatchingUp(9, 0, None)]
    assert progress.observe([COPIES], 0, 9, 10.0) == []
    assert progress.observe([COPIES], 5, 9, 15.0) == [CatchingUp(9, 1, 9)]
    assert progress.observe([COPIES], 5, 9, 20.0) == [CatchingUp(9, 0, None)]


def test_what_is_stopped_is_told_by_reason_and_again_when_it_changes() -> None:
    """The most frequent reason first; what an operator paused has not stopped."""
    progress = Progress(0.0)
    (said,) = progress.observe([WAITS, FAULTED, FAULTED], 0, 0, 5.0)
    assert str(said) == "3 of 3 partitions stopped: unsupported_batch x2, waiting_for_access x1"
    assert progress.observe([FAULTED, WAITS, FAULTED], 0, 0, 10.0) == []
    (said,) = progress.observe([COPIES, FAULTED, FAULTED], 10, 0, 15.0)
    assert said == Stopped(2, 3, (("unsupported_batch", 2),))
    assert progress.observe([COPIES, COPIES, COPIES], 20, 0, 20.0) == []
    assert progress.observe([COPIES, FAULTED, FAULTED], 30, 0, 25.0) == [said]
    assert Progress(0.0).observe([PAUSED], 0, 0, 5.0) == []


def test_what_copies_is_told_beside_what_is_stopped() -> None:
    """One partition's fault must not hide that the others are behind; one that moves nothing is not behind."""
    progress = Progress(0.0)
    stopped = Stopped(1, 2, (("waiting_for_access", 1),))
    assert progress.observe([COPIES, WAITS], 50, 1000, 5.0) == [stopped, CatchingUp(1000, 10, 100)]
    assert progress.observe([COPIES, WAITS], 100, 950, 10.0) == [CatchingUp(950, 10, 95)]
    assert progress.observe([COPIES, WAITS], 100, 950, 15.0) == []


def test_a_partition_that_tries_again_is_not_told_again() -> None:
    """Without the right to write it is copied for a moment, and refused: still the same matter."""
    progress = Progress(0.0)
    assert len(progress.observe([WAITS], 0, 0, 5.0)) == 1
    assert progress.observe([COPIES], 0, 7, 10.0) == []
    assert progress.observe([WAITS], 0, 0, 15.0) == []


@pytest.mark.parametrize("reason", [Reason.FILLING, Reason.OPEN_TRANSACTION])
def test_what_waits_though_all_is_well_has_not_stopped(reason: Reason) -> None:
    """A fill goes on, and an open transaction has a line of its own."""
    assert Progress(0.0).observe([PartitionStatus(0, MirrorState.ACTIVE, reason)], 0, 0, 5.0) == []
