"""The copy machine of one partition: phases, what the source sent, and sending."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from replicator.core.copy.attaching.facts import Resume
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import IN_FLIGHT_BATCHES_MAX, Ending, Phase, TargetLimits
from replicator.core.copy.writing.answers import ProduceOutcome
from replicator.errors import BugError, CorruptRecords
from replicator.model.batch import (
    DELETE_HORIZON_BIT,
    LENGTH_PREFIX_BYTES,
    TRANSACTIONAL_BIT,
    BatchHeader,
    Unpacked,
)
from replicator.model.status.states import Reason
from tests.unit.core.partition_bench import (
    ANY,
    GUARD_MS,
    NOW,
    OLD,
    answer,
    attaching,
    copying,
    header,
    in_phase,
    marker,
    queue,
    send,
    unopened,
    unproven,
)

# -- phases -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.SEEDING, Phase.SETTLING, Phase.PAUSED, Phase.FAULTED])
def test_every_stop_leads_back_to_attaching(phase: Phase) -> None:
    """There is no other way on than reading the log."""
    copy = in_phase(phase)
    copy.attach_again()

    assert copy.phase is Phase.ATTACHING


@pytest.mark.parametrize("phase", [Phase.SEEDING, Phase.COPYING, Phase.SETTLING, Phase.PAUSED, Phase.FAULTED])
def test_only_an_attach_begins_an_episode(phase: Phase) -> None:
    """Resuming from anywhere else is a bug, and says so."""
    if phase is Phase.COPYING:
        return
    with pytest.raises(BugError, match="illegal step"):
        in_phase(phase).resume(Resume(0, 0, None))


@pytest.mark.parametrize("phase", [Phase.COPYING, Phase.SETTLING, Phase.PAUSED, Phase.FAULTED])
def test_only_an_attach_begins_a_seed(phase: Phase) -> None:
    """A seed fills the target's log: never beside anything else."""
    with pytest.raises(BugError, match="illegal step"):
        in_phase(phase).seed()


def test_an_episode_is_not_attached_again_before_it_has_settled() -> None:
    """COPYING has to be settled first."""
    with pytest.raises(BugError, match="illegal step"):
        copying().attach_again()


@pytest.mark.parametrize("phase", list(Phase))
def test_any_phase_can_be_faulted_with_a_reason(phase: Phase) -> None:
    """A loud stop is always possible."""
    copy = in_phase(phase)
    copy.fault(Reason.SOURCE_RECREATED, "another topic")

    assert (copy.phase, copy.reason, copy.detail) == (Phase.FAULTED, Reason.SOURCE_RECREATED, "another topic")


def test_a_fault_is_not_paused_away() -> None:
    """It stays until it is resolved."""
    copy = in_phase(Phase.FAULTED)
    assert copy.pause() is None

    assert (copy.phase, copy.reason) == (Phase.FAULTED, Reason.FENCED)


def test_waiting_says_why_and_stays() -> None:
    """Only while attaching."""
    copy = attaching()
    copy.wait(Reason.WAITING_FOR_TAIL, "a tail")
    assert (copy.phase, copy.reason, copy.detail) == (Phase.ATTACHING, Reason.WAITING_FOR_TAIL, "a tail")

    with pytest.raises(BugError, match="cannot wait while"):
        copying().wait(Reason.WAITING_FOR_TAIL, "a tail")


def test_settling_anywhere_else_only_keeps_the_doubt() -> None:
    """A machine that is not copying has no episode to end."""
    copy = in_phase(Phase.PAUSED)
    assert copy.settle("why", doubtful=True) is None

    assert (copy.phase, copy.doubtful) == (Phase.PAUSED, True)


@pytest.mark.parametrize("stop", ["settle", "pause", "fault"])
def test_what_was_queued_is_dropped_when_an_episode_ends(stop: str) -> None:
    """The target's log is the only memory; the frames go back."""
    copy = copying()
    batches = queue(copy, header(10), header(15))
    if stop == "settle":
        ending = copy.settle("why")
    elif stop == "pause":
        ending = copy.pause()
    else:
        ending = copy.fault(Reason.FENCED, "why")

    assert ending == Ending(Phase.COPYING, batches)
    assert (copy.sending.queued_bytes, copy.sending.idle) == (0, True)


# -- what the source sent -----------------------------------------------------------------------------------


def passed(copy: PartitionCopy, *headers: BatchHeader) -> list[tuple[int, int]]:
    """Offer headers; return (base offset, sequence) of those that pass."""
    segments, _ = copy.offer(headers, (), ANY, unopened, unproven)
    return [
        (each.base_offset, sequence) for segment in segments if isinstance(segment, list) for each, sequence in segment
    ]


def test_batches_are_passed_with_running_sequences() -> None:
    """Each starts where the one before ended, in offsets and in sequences."""
    assert passed(copying(), header(10, 5), header(15, 1), header(16, 3)) == [(10, 10), (15, 15), (16, 16)]


def test_offers_go_on_where_the_last_ended() -> None:
    """Offsets, sequences and fills in between; what is offered again is skipped."""
    copy = copying()
    passed(copy, header(10, 5), marker(15, 3))

    assert passed(copy, marker(15, 3), header(18, 2)) == [(18, 15)]
    assert copy.reading.next_offset == 20


@pytest.mark.parametrize("attributes", [TRANSACTIONAL_BIT, DELETE_HORIZON_BIT, 1, 2, 3, 4])
def test_bits_that_the_rewrite_clears_or_keeps_do_not_stop_a_batch(attributes: int) -> None:
    """Committed transactional batches, delete horizons, every codec."""
    assert passed(copying(), header(attributes=attributes)) == [(10, 10)]


TOO_LARGE = header(15, length=1001 - LENGTH_PREFIX_BYTES)


def test_a_batch_above_the_limit_waits_for_everything_before_it() -> None:
    """What came before is copied first; reading stops meanwhile, or the batch would be read again and again."""
    copy = copying()
    (batch,) = queue(copy, header(10), TOO_LARGE)
    assert (copy.phase, copy.wants_more(10_000)) == (Phase.COPYING, False)
    assert send(copy) == [batch]
    assert not copy.wants_more(10_000)
    answer(copy, batch, ProduceOutcome.ACCEPTED)
    assert copy.wants_more(10_000)

    copy.offer([TOO_LARGE], (), ANY, unopened, unproven)

    assert (copy.phase, copy.reason, copy.acked_offset) == (Phase.FAULTED, Reason.RECORD_TOO_LARGE, 15)
    assert copy.detail is not None
    assert "offsets 15 to 19 has 1001 bytes; the target topic accepts 1000" in copy.detail


def test_the_limit_counts_as_last_told() -> None:
    """A raised limit lets the batch pass."""
    copy = copying(15)
    copy.sending.limits = TargetLimits(2000, GUARD_MS)

    assert passed(copy, TOO_LARGE) == [(15, 15)]
    assert copy.limits.batch_bytes_max == 2000


def test_a_damaged_batch_changes_nothing() -> None:
    """It was offered with sound ones before it: all are offered again after the operator's decision."""

    def damaged(_: BatchHeader) -> Sequence[Unpacked]:
        raise CorruptRecords("damaged")

    copy = copying()
    with pytest.raises(CorruptRecords):
        copy.offer([header(10), header(15, record_count=3)], (), ANY, damaged, unproven)

    assert (copy.reading.next_offset, copy.sending.idle) == (10, True)


def test_reading_pauses_while_enough_is_queued() -> None:
    """A slow target stops the reading, nothing else."""
    copy = copying()
    queue(copy, header(10))

    assert (copy.wants_more(100), copy.wants_more(101)) == (False, True)
    assert not in_phase(Phase.PAUSED).wants_more(101)


# -- source leader epochs -----------------------------------------------------------------------------------


def test_a_new_leader_epoch_is_matched_again() -> None:
    """Once nothing is outstanding, the episode ends without doubt."""
    copy = copying()
    (batch,) = queue(copy, header(10, leader_epoch=1), header(15, leader_epoch=2))
    assert copy.phase is Phase.COPYING
    send(copy)
    answer(copy, batch, ProduceOutcome.ACCEPTED)

    copy.offer([header(15, leader_epoch=2)], (), ANY, unopened, unproven)

    assert (copy.phase, copy.doubtful, copy.reading.last_epoch) == (Phase.SETTLING, False, 1)


def test_a_new_leader_epoch_right_at_the_matched_place_passes() -> None:
    """The logs were compared just there; a second comparison would find the same."""
    copy = copying(10, source_epoch=1)
    accepted = passed(copy, header(10, leader_epoch=2), header(15, leader_epoch=2))

    assert (len(accepted), copy.reading.last_epoch) == (2, 2)


# -- sending ------------------------------------------------------------------------------------------------


def test_at_most_five_batches_are_in_flight() -> None:
    """A broker tells repeats among the last five only."""
    copy = copying()
    batches = queue(copy, *(header(10 + at, 1) for at in range(8)))
    assert IN_FLIGHT_BATCHES_MAX == 5
    assert send(copy) == batches[:5]
    answer(copy, batches[0], ProduceOutcome.ACCEPTED)

    assert send(copy) == batches[5:6]
    assert (copy.sending.outstanding, copy.sending.queued_bytes) == (5, 200)


def test_an_old_batch_needs_the_claim_and_is_alone_in_flight() -> None:
    """The broker may forget it at once: its repeat would be appended again."""
    copy = copying(state_ms=OLD)
    first, second = queue(copy, header(10, max_timestamp=OLD), header(15, max_timestamp=OLD))
    assert (send(copy), copy.sending.waits_for_claim) == ([], True)
    assert send(copy, claimed=True) == [first]
    assert not copy.sending.waits_for_claim
    answer(copy, first, ProduceOutcome.ACCEPTED)

    assert send(copy, claimed=True) == [second]


def test_an_old_batch_waits_for_the_guarded_ones_before_it() -> None:
    """Alone means alone; the next one waits for it too."""
    copy = copying()
    first, second, third = queue(copy, header(10), header(15, max_timestamp=OLD), header(20))
    assert send(copy, claimed=True) == [first]
    answer(copy, first, ProduceOutcome.ACCEPTED)
    assert send(copy, claimed=True) == [second]
    answer(copy, second, ProduceOutcome.ACCEPTED)
    assert not copy.sending.guard_is_on(NOW)

    # The state now rests on an old record: a fresh batch is not guarded either, until it is in the log.
    assert send(copy) == []
    assert send(copy, claimed=True) == [third]
    answer(copy, third, ProduceOutcome.ACCEPTED)
    assert copy.sending.guard_is_on(NOW)


def test_the_guard_ends_exactly_at_its_age() -> None:
    """A record as old as the guard is not guarded, one a millisecond younger is."""
    for age, sent in ((OLD, 0), (OLD + 1, 1)):
        copy = copying()
        queue(copy, header(10, max_timestamp=age))
        assert len(send(copy)) == sent


def test_without_state_only_the_first_batch_of_a_log_is_guarded() -> None:
    """It makes the state; there is nothing before it to be doubled."""
    first = copying(0, state_ms=None)
    queue(first, header(0))
    later = copying(10, state_ms=None)
    queue(later, header(10))

    assert (len(send(first)), len(send(later))) == (1, 0)
