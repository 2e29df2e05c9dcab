"""The copy machine of one partition: responses of the target."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicator.core.copy.attaching.facts import Resume
from replicator.core.copy.values import Ending, Phase
from replicator.core.copy.writing.answers import ProduceOutcome
from replicator.core.offsets.offset_map import OffsetPair
from replicator.errors import BugError
from replicator.model.status.states import Reason
from tests.unit.core.partition_bench import LIMITS, NOW, OLD, answer, attaching, copying, header, queue, send

# -- answers ------------------------------------------------------------------------------------------------


def test_an_accepted_batch_moves_the_proven_end() -> None:
    """By what the broker said, not by what was sent."""
    copy = copying()
    (batch,) = queue(copy, header(10))
    send(copy)

    assert answer(copy, batch, ProduceOutcome.ACCEPTED) is None
    assert (copy.acked_offset, copy.sending.outstanding, copy.sending.idle) == (15, 0, True)


def test_the_short_way_does_the_same_and_refuses_the_rest() -> None:
    """What is not plainly accepted at its place is left to `answered`."""
    copy = copying()
    (batch,) = queue(copy, header(10))
    send(copy)
    assert not copy.accepted(batch, copy.episode, 11)
    assert not copy.accepted(batch, copy.episode - 1, 10)
    assert copy.accepted(batch, copy.episode, 10)

    assert (copy.acked_offset, copy.sending.outstanding, copy.sending.idle) == (15, 0, True)


def test_a_batch_that_landed_elsewhere_stops_the_partition() -> None:
    """Someone else wrote to the target."""
    copy = copying()
    batch, queued = queue(copy, header(10), header(15, max_timestamp=OLD))
    send(copy)

    assert copy.answered(batch, copy.episode, ProduceOutcome.ACCEPTED, 11, "") == Ending(Phase.COPYING, [queued])
    assert (copy.phase, copy.reason) == (Phase.FAULTED, Reason.FOREIGN_WRITER)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (ProduceOutcome.FENCED, Reason.FENCED),
        (ProduceOutcome.TOO_LARGE, Reason.RECORD_TOO_LARGE),
        (ProduceOutcome.CORRUPT, Reason.CORRUPT_BATCH),
        (ProduceOutcome.REJECTED, Reason.TARGET_REFUSED),
    ],
)
def test_refusals_that_a_repeat_would_meet_again_stop_the_partition(outcome: ProduceOutcome, reason: Reason) -> None:
    """With the broker's words."""
    copy = copying()
    (batch,) = queue(copy, header(10))
    send(copy)
    answer(copy, batch, outcome)

    assert (copy.phase, copy.reason) == (Phase.FAULTED, reason)
    assert "words" in (copy.detail or "")


@pytest.mark.parametrize(
    ("outcome", "doubtful"),
    [
        (ProduceOutcome.OUT_OF_ORDER, False),
        (ProduceOutcome.DENIED, False),
        (ProduceOutcome.MOVED, True),
        (ProduceOutcome.MISSING, True),
        (ProduceOutcome.UNKNOWN, True),
        (ProduceOutcome.DUPLICATE, True),
    ],
)
def test_other_refusals_end_the_episode(outcome: ProduceOutcome, *, doubtful: bool) -> None:
    """With doubt wherever the batch may be in the log: a leader that lost its place says so after the append too."""
    copy = copying()
    batch, queued = queue(copy, header(10), header(15, max_timestamp=OLD))
    send(copy)

    assert answer(copy, batch, outcome) == Ending(Phase.COPYING, [queued])
    assert (copy.phase, copy.doubtful) == (Phase.SETTLING, doubtful)


@pytest.mark.parametrize("stop", ["settle", "pause", "fault"])
def test_a_doubtful_answer_after_the_episode_still_counts(stop: str) -> None:
    """The next attach has to know of it, or it would not wait out the doubt time."""
    copy = copying()
    (batch,) = queue(copy, header(10))
    send(copy)
    if stop == "settle":
        copy.settle("the leader moved", doubtful=False)
    elif stop == "pause":
        copy.pause()
    else:
        copy.fault(Reason.SOURCE_MISSING, "gone")
    answer(copy, batch, ProduceOutcome.UNKNOWN)

    copy.attach_again()

    assert copy.doubtful


def test_a_lost_answer_is_doubt_and_ends_the_episode() -> None:
    """All of one connection are lost together."""
    copy = copying()
    first, second = queue(copy, header(10), header(15))
    send(copy)
    copy.lost(first, copy.episode, "reset")
    copy.lost(second, copy.episode, "reset")

    assert (copy.phase, copy.doubtful, copy.sending.outstanding) == (Phase.SETTLING, True, 0)
    assert "offset 10: reset" in (copy.detail or "")


def test_no_attach_while_an_answer_is_outstanding() -> None:
    """Its batch may still move the log's end."""
    copy = copying()
    queue(copy, header(10))
    send(copy)
    copy.settle("why", doubtful=False)

    with pytest.raises(BugError, match="1 responses outstanding"):
        copy.attach_again()


def test_answers_after_the_end_of_an_episode_change_nothing_but_the_count() -> None:
    """What they say is in the log, and the log is read next."""
    copy = copying()
    first, second = queue(copy, header(10), header(15))
    send(copy)
    answer(copy, first, ProduceOutcome.OUT_OF_ORDER)
    answer(copy, second, ProduceOutcome.OUT_OF_ORDER)

    assert (copy.phase, copy.sending.outstanding, copy.acked_offset) == (Phase.SETTLING, 0, 10)


def test_a_new_episode_starts_clean() -> None:
    """Doubt, queue and window of the one before are gone."""
    copy = copying(state_ms=OLD)
    (batch,) = queue(copy, header(10, max_timestamp=OLD))
    send(copy, claimed=True)
    copy.lost(batch, copy.episode, "reset")
    copy.attach_again()
    copy.resume(Resume(15, 15, NOW))

    assert (copy.episode, copy.doubtful, copy.reading.next_offset, copy.acked_offset) == (2, False, 15, 15)
    queue(copy, header(15))
    assert len(send(copy)) == 1


def test_while_paused_what_is_in_flight_may_still_be_acknowledged() -> None:
    """And after a resume the copy goes on from the log."""
    copy = copying()
    first, second = queue(copy, header(10), header(15))
    send(copy)
    copy.pause()
    answer(copy, first, ProduceOutcome.ACCEPTED)
    answer(copy, second, ProduceOutcome.ACCEPTED)

    assert (copy.acked_offset, copy.phase) == (20, Phase.PAUSED)
    copy.attach_again()
    copy.resume(Resume(20, 20, NOW))
    assert copy.is_copying()


def test_while_paused_a_refusal_and_the_answers_behind_it_are_taken() -> None:
    """They stop nothing that is not stopped, and are no bug."""
    copy = copying()
    first, second, third = queue(copy, header(10), header(15), header(20))
    send(copy)
    copy.pause()
    answer(copy, first, ProduceOutcome.OUT_OF_ORDER)
    answer(copy, second, ProduceOutcome.OUT_OF_ORDER)
    copy.lost(third, copy.episode, "reset")

    assert (copy.phase, copy.sending.outstanding, copy.acked_offset, copy.doubtful) == (Phase.PAUSED, 0, 10, True)


def test_while_paused_a_foreign_writer_is_still_a_fault() -> None:
    """A pause hides nothing."""
    copy = copying()
    (batch,) = queue(copy, header(10))
    send(copy)
    copy.pause()
    copy.answered(batch, copy.episode, ProduceOutcome.ACCEPTED, 99, "")

    assert copy.reason is Reason.FOREIGN_WRITER


def test_answers_out_of_order_are_a_bug() -> None:
    """One connection answers in order; anything else would let a wrong batch count as acknowledged."""
    copy = copying()
    _, second = queue(copy, header(10), header(15))
    send(copy)

    with pytest.raises(BugError, match="out of order"):
        answer(copy, second, ProduceOutcome.ACCEPTED)


def test_more_answers_than_requests_are_a_bug() -> None:
    """Each callback comes once."""
    copy = copying()
    (batch,) = queue(copy, header(10))
    send(copy)
    answer(copy, batch, ProduceOutcome.ACCEPTED)

    with pytest.raises(BugError, match="more responses"):
        answer(copy, batch, ProduceOutcome.ACCEPTED)


def test_an_attach_with_answers_outstanding_is_a_bug() -> None:
    """The engine never does it; the machine would not survive it."""
    copy = attaching()
    copy.sending.outstanding = 1

    with pytest.raises(BugError, match="outstanding"):
        copy.resume(Resume(0, 0, None))


# -- batches that land further on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", ["copying", "settling", "paused"])
def test_a_batch_that_landed_further_on_is_noted_whatever_the_phase(stop: str) -> None:
    """Nothing else tells where it went; only the first one counts, those behind it follow."""
    copy = copying()
    copy.sending.limits = replace(LIMITS, surplus_allowed=True)
    queue(copy, header(10), header(15))
    first, second = send(copy)
    if stop == "settling":
        copy.settle("why", doubtful=False)
    elif stop == "paused":
        copy.pause()

    copy.answered(first, copy.episode, ProduceOutcome.ACCEPTED, 12, "")
    copy.answered(second, copy.episode, ProduceOutcome.ACCEPTED, 19, "")

    assert copy.displaced == OffsetPair(10, 12)
    assert copy.phase is (Phase.PAUSED if stop == "paused" else Phase.SETTLING)


def test_a_batch_that_landed_further_on_stops_where_offsets_have_to_be_identical() -> None:
    """Whoever wrote there is not us."""
    copy = copying()
    queue(copy, header(10))
    (batch,) = send(copy)

    copy.answered(batch, copy.episode, ProduceOutcome.ACCEPTED, 12, "")

    assert (copy.phase, copy.reason, copy.displaced) == (Phase.FAULTED, Reason.FOREIGN_WRITER, None)
