"""A machine that holds at the source's transaction markers."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.core.copy.attaching.facts import Resume
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.reading.intake import Intake
from replicator.core.copy.reading.pieces import FILL_AHEAD_MAX, Fill, Holes, IntakeState, Stop
from replicator.core.copy.values import Batch, Phase, TargetLimits
from replicator.core.copy.writing.answers import ProduceOutcome
from replicator.errors import BugError
from replicator.model.batch import CONTROL_BIT, BatchHeader
from replicator.model.status.states import Reason
from tests.unit.core.hold_rig import ANY, NOW, START, Rig, header, held, marker, unopened, unproven

# -- the intake -----------------------------------------------------------------------------------------------------


def stopped(*headers: BatchHeader, expected: int = START, **policy: Any) -> tuple[Stop | None, int]:
    """Return why and at which offset an answer is not taken on."""
    given = IntakeState(expected, 0, 0, -1, holds_at_markers=True)._replace(**policy)
    intake = Intake(given, TargetLimits(1000, 0, 5000), (), unopened)
    intake.take(headers)
    return intake.stop, intake.expected


def test_an_answer_is_taken_up_to_its_first_marker() -> None:
    """The batches before it are passed on."""
    assert stopped(header(10), header(15), marker(20), header(21)) == (Stop.MARKER, 20)


def test_an_answer_stops_only_where_it_is_told_to_hold() -> None:
    """By default a marker is a hole like others."""
    assert stopped(header(10), marker(15), header(16), holds_at_markers=False) == (None, 21)


def test_one_marker_passes_and_the_next_does_not() -> None:
    """The permission names an offset, not a producer."""
    log = [header(10), marker(15), header(16), marker(21), header(22)]
    assert stopped(*log, passing_marker=15) == (Stop.MARKER, 21)
    assert stopped(*log, passing_marker=21) == (Stop.MARKER, 15)
    assert stopped(*log, expected=16, passing_marker=15) == (Stop.MARKER, 21)


@pytest.mark.parametrize(
    "other",
    [
        marker(15, attributes=CONTROL_BIT),
        marker(15, record_count=0),
        header(15, 1, record_count=0),
    ],
    ids=["no transaction's", "emptied", "no control batch"],
)
def test_what_is_no_marker_is_not_held_at(other: BatchHeader) -> None:
    """A control batch of another kind, a marker of which the cleaner left the header, an empty batch."""
    assert stopped(header(10), other, header(16)) == (None, 21)


def test_a_marker_that_was_given_up_or_copied_is_not_held_at() -> None:
    """Nobody could tell what it says; nobody asks again."""
    assert stopped(header(10), marker(15), header(16), given_up=[(15, 16)]) == (None, 21)
    assert stopped(marker(9), header(10)) == (None, 15)


@pytest.mark.parametrize("holes", [Holes.FILL, Holes.SKIP])
def test_a_hole_before_a_marker_is_taken(holes: Holes) -> None:
    """What the cleaner took there is no part of the marker."""
    assert stopped(header(10), marker(18), holes=holes) == (Stop.MARKER, 18)


def test_other_stops_come_first() -> None:
    """A marker in a new leader epoch, behind a long hole, or behind tombstones that may be lost."""
    assert stopped(header(10), marker(15, leader_epoch=1)) == (Stop.NEW_EPOCH, 15)
    assert stopped(header(10), marker(16 + FILL_AHEAD_MAX)) == (Stop.LONG_FILL, 16 + FILL_AHEAD_MAX)
    assert stopped(header(10), marker(17), intact_below=17) == (Stop.TOMBSTONES, 15)


# -- the machine ----------------------------------------------------------------------------------------------------


def test_a_machine_does_not_hold_unless_it_is_told_to() -> None:
    """The default: a marker is filled, and what comes behind it is taken in the same answer."""
    rig = Rig(holds=False)
    rig.read(header(10), marker(15), header(16))
    assert rig.stands() == (None, None, True)
    rig.land()

    unasked = PartitionCopy(rig.copy.where, rig.copy.limits)
    unasked.reading.missing.compacted = True
    unasked.resume(Resume(START, START, None), 0)
    assert len(unasked.offer([header(10), marker(15), header(16)], (), ANY, unopened, unproven)[0]) == 3
    assert rig.landed == [("records", 10, 5), ("markers", 15, 1), ("records", 16, 5)]
    with pytest.raises(BugError, match="never held there"):
        rig.copy.go_on(15)


def test_it_stands_at_a_marker_only_once_everything_before_is_acknowledged() -> None:
    """Queued, in flight, and taken but not queued yet: none of it is there."""
    rig = Rig()
    ((passes,), _) = rig.copy.offer([header(10), marker(15)], (), ANY, unopened, unproven)
    assert rig.stands() == (None, None, False)
    assert isinstance(passes, list)
    rig.copy.sending.queue([Batch(10, 5, NOW, 100, 0, 0)])
    assert rig.stands() == (None, None, False)
    batch = rig.copy.sending.next_to_send(NOW, claimed=True)
    assert batch is not None
    assert rig.stands() == (None, None, False)
    assert not rig.copy.go_on(15)
    rig.copy.answered(batch, rig.copy.episode, ProduceOutcome.ACCEPTED, 10, "")

    assert rig.stands() == (15, 5, False)


def test_it_stands_until_it_is_told_to_go_on() -> None:
    """The marker is filled then, and what is behind it follows."""
    rig = held()
    rig.read(marker(15), header(16))
    assert rig.stands() == (15, 5, False)
    assert rig.copy.go_on(15)
    assert rig.stands() == (None, None, True)
    rig.read(marker(15), header(16), marker(21, 6))
    rig.land()

    assert rig.landed == [("records", 10, 5), ("markers", 15, 1), ("records", 16, 5)]
    assert rig.stands() == (21, 6, False)


def test_an_answer_may_end_at_the_marker_or_begin_there() -> None:
    """In an answer of its own, the first of an episode too, it is held at the same."""
    rig = Rig()
    rig.read(header(10))
    rig.land()
    assert rig.stands() == (None, None, True)
    rig.read(marker(15))
    assert rig.stands() == (15, 5, False)
    assert rig.copy.go_on(15)
    assert rig.read(marker(15)) == [Fill(15, 1)]
    assert rig.stands() == (None, None, True)
    rig.land()

    assert (rig.copy.acked_offset, rig.stands()) == (16, (None, None, True))


def test_markers_of_several_producers_are_held_at_one_by_one() -> None:
    """In the order of the log, whichever transaction began first; aborted records are holes as ever."""
    rig = Rig()
    log = [
        header(10, producer_id=5),
        header(15, producer_id=6),
        marker(20, 6),
        marker(21, 5),
        header(22, producer_id=6),
        marker(27, 6),
    ]
    asked = []
    while rig.copy.reading.next_offset < 28:
        # A broker names an aborted transaction for as long as its marker is not behind the fetch.
        aborted = [(6, 15)] if rig.copy.reading.next_offset <= 20 else []
        rig.read(*(each for each in log if each.next_offset > rig.copy.reading.next_offset), aborted=aborted)
        rig.land()
        if (at := rig.copy.held_at) is not None:
            asked.append((at, rig.copy.held_producer_id))
            assert rig.copy.go_on(at)

    assert asked == [(20, 6), (21, 5), (27, 6)]
    records = [each for each in rig.landed if each[0] == "records"]
    assert (records, rig.copy.acked_offset) == ([("records", 10, 5), ("records", 22, 5)], 28)


def test_in_a_mapped_partition_the_marker_is_left_out_once_it_may_pass() -> None:
    """Its barrier is the same; it has no place on the target."""
    rig = Rig(mapped=True)
    rig.read(header(10), header(17), marker(22), header(23))
    rig.land()
    assert (rig.stands(), rig.copy.target_end) == ((22, 5, False), 20)
    assert rig.copy.go_on(22)
    rig.read(marker(22), header(23))
    rig.land()

    assert rig.landed == [("records", 10, 5), ("records", 15, 5), ("records", 20, 5)]
    assert (rig.copy.acked_offset, rig.copy.target_end) == (28, 25)


def test_a_hole_that_is_left_out_before_the_marker_holds_nothing_up() -> None:
    """There is no answer to wait for."""
    rig = Rig(mapped=True)
    rig.read(header(12, record_count=0), marker(17))

    assert rig.stands() == (17, 5, False)


def test_a_long_fill_before_the_marker_is_done_first() -> None:
    """Then the marker is read again, and held at."""
    rig = Rig()
    at = START + FILL_AHEAD_MAX + 1
    rig.read(marker(at))
    assert rig.stands() == (None, None, False)
    rig.land()
    assert rig.stands() == (None, None, True)
    rig.read(marker(at))

    assert rig.stands() == (at, 5, False)


def test_another_offset_changes_nothing() -> None:
    """Late words about a marker that passed, or that it does not stand at."""
    rig = held()
    assert not rig.copy.go_on(14)
    assert rig.stands() == (15, 5, False)
    assert rig.copy.go_on(15)
    assert not rig.copy.go_on(15)
    rig.read(marker(15), header(16), marker(21))
    rig.land()
    assert not rig.copy.go_on(15)

    assert rig.stands() == (21, 5, False)


def test_an_offset_it_never_held_at_cannot_be_meant() -> None:
    """Nobody could know of it. The machine still stands where it stood."""
    rig = held()
    with pytest.raises(BugError, match=r"orders-0: go_on at 16, but it never held there"):
        rig.copy.go_on(16)

    assert rig.stands() == (15, 5, False)


def test_a_late_word_about_a_marker_further_on_is_none_that_cannot_be_meant() -> None:
    """A new episode may begin further back, and hold at a marker before the one that was answered."""
    rig = held()
    rig.copy.pause()
    rig.copy.attach_again()
    rig.copy.resume(Resume(8, 8, NOW))
    rig.read(marker(8, 6))
    assert not rig.copy.go_on(15)

    assert rig.stands() == (8, 6, False)


@pytest.mark.parametrize("stop", ["settle", "pause", "fault"])
@pytest.mark.parametrize("permitted", [True, False])
def test_a_new_episode_forgets_where_it_stood_and_what_may_pass(stop: str, *, permitted: bool) -> None:
    """Whatever ended the one before: the marker is asked for again."""
    rig = held()
    if permitted:
        rig.copy.go_on(15)
    if stop == "settle":
        rig.copy.settle("why", doubtful=False)
    elif stop == "pause":
        rig.copy.pause()
    else:
        rig.copy.fault(Reason.FENCED, "why")
    assert rig.stands() == (None, None, False)
    assert not rig.copy.go_on(15)
    rig.attach()
    assert rig.stands() == (None, None, True)
    assert not rig.copy.go_on(15)
    rig.read(marker(15), header(16))

    assert rig.stands() == (15, 5, False)


def test_what_is_acknowledged_while_paused_does_not_make_it_stand() -> None:
    """Only an open episode stands anywhere."""
    rig = Rig()
    rig.read(header(10), marker(15))
    batch = rig.copy.sending.next_to_send(NOW, claimed=True)
    assert batch is not None
    rig.copy.pause()
    rig.copy.answered(batch, rig.copy.episode, ProduceOutcome.ACCEPTED, 10, "")

    assert (rig.copy.acked_offset, rig.stands()) == (15, (None, None, False))


def test_a_marker_is_not_stood_at_before_the_logs_are_compared() -> None:
    """The first batch of a new leader epoch ends the episode, also where it is one; the next one holds there."""
    rig = Rig()
    rig.read(header(10), marker(15, leader_epoch=1))
    rig.land()
    rig.read(marker(15, leader_epoch=1))
    assert (rig.copy.phase, rig.copy.held_at) == (Phase.SETTLING, None)
    rig.attach()
    rig.read(marker(15, leader_epoch=1))

    assert rig.stands() == (15, 5, False)


def test_a_marker_that_the_cleaner_took_while_it_stood_there_is_passed() -> None:
    """What is read next begins behind it: the machine stands nowhere, and reads on."""
    rig = held()
    rig.read(header(20))
    assert rig.stands() == (None, None, False)
    rig.land()
    assert rig.stands() == (None, None, True)

    at_the_end = held()
    at_the_end.copy.end_of_log(18, 0)
    at_the_end.land()
    assert (at_the_end.copy.acked_offset, at_the_end.stands()) == (18, (None, None, True))
