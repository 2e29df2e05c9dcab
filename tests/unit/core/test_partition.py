"""The copy machine of one partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest

from replicator.core.copy.answers import ProduceOutcome
from replicator.core.copy.attach_facts import Resume
from replicator.core.copy.doubt import DOUBTS_MAX, Edges, Gaps, Impossible, Sound
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.pieces import FILL_AHEAD_MAX, Fill, Piece
from replicator.core.copy.values import IN_FLIGHT_BATCHES_MAX, Batch, Ending, Phase, TargetLimits
from replicator.core.offsets.offset_map import Place
from replicator.errors import BugError, CorruptRecords
from replicator.model.batch import (
    DELETE_HORIZON_BIT,
    LENGTH_PREFIX_BYTES,
    SEQUENCE_MODULUS,
    TRANSACTIONAL_BIT,
    BatchHeader,
    Unpacked,
)
from replicator.model.names import TopicPartition
from replicator.model.states import Reason

WHERE = TopicPartition("orders", 0)
NOW = 1_700_000_000_000
GUARD_MS = 23 * 3_600_000
OLD = NOW - GUARD_MS
ANY = Edges()
LIMITS = TargetLimits(batch_bytes_max=1000, guard_ms=GUARD_MS)


def header(base: int = 10, count: int = 5, **changes: int) -> BatchHeader:
    """Return a header of a batch of `count` records."""
    plain = BatchHeader(base, 100 - LENGTH_PREFIX_BYTES, 0, 2, 0, 0, count - 1, NOW, NOW, 5, 0, 0, count, 0)
    return plain._replace(**changes)


def attaching() -> PartitionCopy:
    """Return a machine before its first attach, of a log that a cleaner works on."""
    copy = PartitionCopy(WHERE, LIMITS)
    copy.reading.missing.compacted = True
    return copy


def copying(offset: int = 10, state_ms: int | None = NOW, source_epoch: int = -1) -> PartitionCopy:
    """Return a machine in an episode."""
    copy = attaching()
    copy.resume(Resume(offset, offset % SEQUENCE_MODULUS, state_ms), source_epoch)
    return copy


def queue(copy: PartitionCopy, *headers: BatchHeader) -> list[Batch]:
    """Offer headers and queue what was accepted."""
    segments, ending = copy.offer(headers, (), ANY, unopened, unproven)
    assert ending is None
    out: list[Batch] = []
    for segment in segments:
        if isinstance(segment, Fill):
            copy.fill(segment)
            continue
        assert isinstance(segment, list)
        batches = [
            Batch(each.base_offset, each.record_count, each.max_timestamp, each.size, None, None) for each, _ in segment
        ]
        copy.sending.queue(batches)
        out += batches
    return out


def unopened(_: BatchHeader) -> Sequence[Unpacked]:
    """No batch here has to be opened."""
    raise AssertionError("a batch was opened")


def opened(batch: BatchHeader) -> Sequence[Unpacked]:
    """Return the records of a batch."""
    return [SimpleNamespace(offset=offset) for offset in range(batch.base_offset, batch.next_offset)]


def unproven(_: BatchHeader) -> None:
    """No batch here has bytes."""


def marker(base: int, count: int = 1) -> BatchHeader:
    """Return an empty batch, as the cleaner leaves it: its offsets are to be filled."""
    return header(base, count, record_count=0)


def send(copy: PartitionCopy, *, claimed: bool = False) -> list[Batch]:
    """Send all that may be sent."""
    sent = []
    while (batch := copy.sending.next_to_send(NOW, claimed=claimed)) is not None:
        sent.append(batch)
    return sent


def answer(copy: PartitionCopy, batch: Batch, outcome: ProduceOutcome, episode: int | None = None) -> Ending | None:
    """Answer a batch; an accepted one landed where it should."""
    return copy.answered(batch, copy.episode if episode is None else episode, outcome, batch.base_offset, "words")


def in_phase(phase: Phase) -> PartitionCopy:
    """Return a machine in that phase."""
    copy = attaching() if phase in {Phase.ATTACHING, Phase.SEEDING} else copying()
    if phase is Phase.SEEDING:
        copy.seed()
    elif phase is Phase.SETTLING:
        copy.settle("why", doubtful=False)
    elif phase is Phase.PAUSED:
        copy.pause()
    elif phase is Phase.FAULTED:
        copy.fault(Reason.FENCED, "why")
    assert copy.phase is phase
    return copy


# -- claims that nothing proves ---------------------------------------------------------------------------------


def plain(offset: int = 10) -> PartitionCopy:
    """Return a machine in an episode, of a log that no cleaner works on."""
    copy = copying(offset)
    copy.reading.missing.compacted = False
    return copy


def offer(copy: PartitionCopy, *headers: BatchHeader, edges: Edges = ANY) -> list[Piece]:
    """Offer headers; return what was taken."""
    return copy.offer(headers, (), edges, unopened, unproven)[0]


def test_offsets_without_a_batch_end_the_episode_and_are_passed_once_they_are_proven() -> None:
    """A log that was compacted once has them for good; each is proven by itself."""
    copy = plain()
    assert offer(copy, header(15), header(20)) == []
    assert (copy.phase, copy.reading.next_offset) == (Phase.SETTLING, 10)
    assert copy.reading.trust.doubted is not None
    assert (copy.reading.trust.doubted.offset, copy.reading.trust.doubted.times) == (10, 1)
    copy.attach_again()
    assert copy.reading.trust.reread(Gaps(((10, 15),))) is None
    copy.resume(Resume(10, 10, NOW), 0)

    fill, passes = offer(copy, header(15))
    assert (fill, copy.reading.next_offset, copy.reading.trust.rereads) == (Fill(10, 5), 20, 1)
    assert isinstance(passes, list)
    assert offer(copy, header(22)) == []
    assert copy.reading.trust.detail.startswith("the source's response at offset 20 is suspect")


def test_a_doubt_waits_for_what_was_taken_before_it() -> None:
    """The batches before it are sound, and are copied."""
    copy = plain()
    (batch,) = queue(copy, header(10), header(30))
    assert (copy.phase, copy.wants_more(1000)) == (Phase.COPYING, False)
    send(copy, claimed=True)
    answer(copy, batch, ProduceOutcome.ACCEPTED)
    assert copy.wants_more(1000)

    offer(copy, header(30))
    assert copy.phase is Phase.SETTLING
    assert copy.reading.trust.detail.startswith("the source's response at offset 15 is suspect")


def test_a_doubt_that_the_log_refutes_again_and_again_stops_the_partition() -> None:
    """Retrying for ever would be silent."""
    copy = plain()
    whys = []
    for _ in range(DOUBTS_MAX):
        offer(copy, header(15))
        copy.attach_again()
        whys.append(copy.reading.trust.reread(Sound()))
        copy.resume(Resume(10, 10, NOW), 0)

    assert whys[:-1] == [None] * (DOUBTS_MAX - 1)
    assert "3 times, and each time its log showed nothing of the kind" in str(whys[-1])


def test_what_the_log_itself_cannot_hold_stops_the_partition() -> None:
    """Said in the words of the look."""
    copy = plain()
    offer(copy, header(15))
    copy.attach_again()

    assert copy.reading.trust.reread(Impossible("it cannot be")) == "it cannot be"
    assert copy.reading.trust.doubted is None
    assert copy.reading.trust.reread(Sound()) is None


def test_a_batch_that_begins_below_the_end_of_the_one_before_is_doubted() -> None:
    """No checksum covers a base offset: its records would move to other offsets, up to the next batch."""
    copy = plain()
    (batch,) = queue(copy, header(10))
    send(copy, claimed=True)
    answer(copy, batch, ProduceOutcome.ACCEPTED)
    assert offer(copy, header(14)) == []
    assert copy.phase is Phase.SETTLING
    assert copy.reading.trust.detail.endswith("its first batch begins at 14, below the end of the batch before it")

    copy.attach_again()
    assert copy.reading.trust.reread(Sound()) is None
    copy.resume(Resume(15, 15, NOW), 0)
    assert offer(copy, header(14)) == [], "what the log showed is known at the next attach"
    assert copy.phase is Phase.SETTLING


def test_a_broker_that_cuts_batches_anew_is_believed_once_its_log_shows_it() -> None:
    """Some keep batches elsewhere, and give them in other pieces each time: from then on that is no reason to doubt."""
    copy = plain()
    (batch,) = queue(copy, header(10))
    send(copy, claimed=True)
    answer(copy, batch, ProduceOutcome.ACCEPTED)
    assert offer(copy, header(12)) == []
    copy.attach_again()
    assert copy.reading.trust.reread(Sound(begins_below=True)) is None
    copy.resume(Resume(15, 15, NOW), 0)
    for base, end in ((12, 17), (17, 22), (20, 25)):
        pieces, ending = copy.offer([header(base)], (), ANY, opened, unproven)
        assert (len(pieces), ending, copy.reading.next_offset) == (1, None, end)
    assert copy.phase is Phase.COPYING


def test_a_batch_behind_the_answers_end_is_read_again_before_it_is_doubted() -> None:
    """The end may be older than the batches of the same answer."""
    copy = plain()
    assert offer(copy, header(10), edges=Edges(12)) == []
    assert (copy.phase, copy.wants_more(1000)) == (Phase.COPYING, True)
    offer(copy, header(10), edges=Edges(12))

    assert copy.phase is Phase.SETTLING
    assert copy.reading.trust.detail.endswith("a batch claims offsets up to 14, but the log ends at 12")


def test_answers_that_bring_nothing_are_not_asked_for_for_ever() -> None:
    """One may come: it was asked for before a hole at the log's end was passed."""
    copy = plain()
    for _ in range(2):
        offer(copy, header(5))
        assert copy.is_copying()
    offer(copy, header(5))

    assert (copy.phase, copy.reading.next_offset) == (Phase.SETTLING, 10)


def test_a_leader_epoch_that_falls_is_not_told_to_the_source() -> None:
    """It would see a divergence that is none, and this would be called a truncation."""
    copy = copying(source_epoch=4)
    offer(copy, header(10, leader_epoch=2), edges=Edges(100, 4))
    assert (copy.is_copying(), copy.reading.last_epoch) == (True, -1)


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


# -- fills --------------------------------------------------------------------------------------------------


def filling(*headers: BatchHeader) -> tuple[PartitionCopy, list[Batch]]:
    """Return a machine with these queued, and the batches."""
    copy = copying()
    return copy, queue(copy, *headers)


def test_a_fill_waits_for_what_is_before_it_and_holds_up_what_is_behind() -> None:
    """Nothing is in flight beside markers."""
    copy, (first, second) = filling(header(10, 5), marker(15, 2), header(17, 3))
    assert (send(copy), copy.fill_due()) == ([first], None)
    answer(copy, first, ProduceOutcome.ACCEPTED)

    assert (send(copy), copy.fill_due()) == ([], Fill(15, 2))
    fill = copy.begin_fill(1000)
    assert (fill, send(copy), copy.fill_due(), copy.sending.idle) == (Fill(15, 2), [], None, False)
    assert copy.filled(fill, copy.episode, 17) is None

    assert (copy.acked_offset, send(copy)) == (17, [second])


def test_a_long_fill_is_done_in_parts() -> None:
    """Each part is checked before the next."""
    copy, _ = filling(marker(10, 5))
    part = copy.begin_fill(3)
    copy.filled(part, copy.episode, 13)

    assert (part, copy.fill_due(), copy.acked_offset) == (Fill(10, 3), Fill(13, 2), 13)


def test_nothing_behind_a_very_long_fill_is_read_until_it_is_done() -> None:
    """It would hold its frames meanwhile."""
    copy, _ = filling(marker(10, FILL_AHEAD_MAX + 1))
    assert not copy.wants_more(1000)
    copy.filled(copy.begin_fill(1 << 20), copy.episode, 11 + FILL_AHEAD_MAX)

    assert copy.wants_more(1000)


def test_what_was_taken_and_is_not_queued_yet_counts_as_on_its_way() -> None:
    """The next fetch leaves before this answer is carried out: it must not read on behind a long fill."""
    copy = copying()
    (fill,), _ = copy.offer([marker(10, FILL_AHEAD_MAX + 1)], (), ANY, unopened, unproven)

    assert not copy.wants_more(1000)
    assert isinstance(fill, Fill)
    copy.fill(fill)
    assert not copy.wants_more(1000)


@pytest.mark.parametrize("log_end", [11, 13])
def test_markers_missing_or_too_many_end_the_episode_in_doubt(log_end: int) -> None:
    """Nothing may be written behind them before the logs were compared."""
    copy, _ = filling(marker(10, 2), header(12))
    ending = copy.filled(copy.begin_fill(1000), copy.episode, log_end)

    assert ending is not None
    assert (ending.before, [each.base_offset for each in ending.dropped]) == (Phase.COPYING, [12])
    assert (copy.phase, copy.doubtful, copy.sending.outstanding) == (Phase.SETTLING, True, 0)
    assert copy.detail == f"the target's log ends at {log_end} after a fill up to 12"


@pytest.mark.parametrize("doubtful", [True, False])
def test_a_failed_fill_ends_the_episode(*, doubtful: bool) -> None:
    """Refused before anything was appended, or lost."""
    copy, _ = filling(marker(10, 2))
    copy.begin_fill(1000)
    copy.fill_failed(copy.episode, "why", doubtful=doubtful)

    assert (copy.phase, copy.doubtful, copy.detail, copy.sending.idle) == (Phase.SETTLING, doubtful, "why", True)


def test_an_answer_to_a_fill_of_an_ended_episode_is_only_counted() -> None:
    """The next attach waited for it."""
    copy, _ = filling(marker(10, 2))
    fill = copy.begin_fill(1000)
    episode = copy.episode
    copy.settle("why", doubtful=False)
    assert copy.sending.outstanding == 1
    copy.filled(fill, episode, 12)

    assert (copy.sending.outstanding, copy.phase) == (0, Phase.SETTLING)


def test_while_paused_a_fill_may_still_be_acknowledged() -> None:
    """Its place is taken over; nothing else is begun."""
    copy, _ = filling(marker(10, 2))
    fill = copy.begin_fill(1000)
    copy.pause()
    copy.filled(fill, copy.episode, 12)

    assert (copy.acked_offset, copy.fill_due(), copy.phase) == (12, None, Phase.PAUSED)


def test_a_log_that_ends_in_a_hole_is_filled_to_its_end() -> None:
    """What comes behind it is compared like after any change of leader epochs."""
    copy = copying()
    copy.end_of_log(13, 4)
    copy.end_of_log(12, 5)

    assert (copy.fill_due(), copy.reading.next_offset, copy.reading.last_epoch) == (Fill(10, 3), 13, 4)
    assert passed(copy, header(13, leader_epoch=5)) == []


@pytest.mark.parametrize("at_the_end", [True, False])
def test_a_hole_above_the_limit_stops_the_partition(*, at_the_end: bool) -> None:
    """Naming the offsets and the key of the flow file."""
    copy = copying()
    copy.sending.limits = TargetLimits(1000, GUARD_MS, 100)
    if at_the_end:
        copy.end_of_log(111, 0)
    else:
        copy.offer([header(111)], (), ANY, unopened, unproven)

    assert (copy.phase, copy.reason) == (Phase.FAULTED, Reason.UNSUPPORTED_BATCH)
    assert copy.detail == ("the source has no record at the 101 offsets from 10 on, and fill_limit allows 100")


def test_what_is_left_of_a_fill_is_seen_while_a_round_of_it_is_on_its_way() -> None:
    """Nothing is due then, and nothing is forgotten either."""
    copy, _ = filling(marker(10, 20))
    fill = copy.begin_fill(5)
    assert (copy.fill_due(), copy.sending.head_fill) == (None, Fill(10, 20))
    copy.filled(fill, copy.episode, 15)
    assert copy.sending.head_fill == Fill(15, 15)
    copy.pause()
    assert copy.sending.head_fill is None


def test_a_fill_that_is_not_due_is_a_bug() -> None:
    """It would stand anywhere."""
    with pytest.raises(BugError, match="no fill is due"):
        copying().begin_fill(5)


def test_a_sequence_nobody_remembers_follows_the_offset_through_fills() -> None:
    """Until the first record: a daemon that attaches behind the fill has to choose the same."""
    copy = copying(10, state_ms=None)
    assert passed(copy, marker(10, 4), header(14, 2), marker(16), header(17)) == [(14, 14), (17, 16)]


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

    assert copy.displaced == Place(10, 12)
    assert copy.phase is (Phase.PAUSED if stop == "paused" else Phase.SETTLING)


def test_a_batch_that_landed_further_on_stops_where_offsets_have_to_be_identical() -> None:
    """Whoever wrote there is not us."""
    copy = copying()
    queue(copy, header(10))
    (batch,) = send(copy)

    copy.answered(batch, copy.episode, ProduceOutcome.ACCEPTED, 12, "")

    assert (copy.phase, copy.reason, copy.displaced) == (Phase.FAULTED, Reason.FOREIGN_WRITER, None)
