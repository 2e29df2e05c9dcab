"""The copy machine of one partition: claims of a response that nothing proves."""

from __future__ import annotations

from replicator.core.copy.attaching.facts import Resume
from replicator.core.copy.reading.doubt import DOUBTS_MAX, Gaps, Impossible, ResponseBounds, Sound
from replicator.core.copy.reading.pieces import Fill
from replicator.core.copy.values import Phase
from replicator.core.copy.writing.answers import ProduceOutcome
from tests.unit.core.partition_bench import (
    ANY,
    NOW,
    answer,
    copying,
    header,
    offer,
    opened,
    plain,
    queue,
    send,
    unproven,
)


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
    assert offer(copy, header(10), edges=ResponseBounds(12)) == []
    assert (copy.phase, copy.wants_more(1000)) == (Phase.COPYING, True)
    offer(copy, header(10), edges=ResponseBounds(12))

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
    offer(copy, header(10, leader_epoch=2), edges=ResponseBounds(100, 4))
    assert (copy.is_copying(), copy.reading.last_epoch) == (True, -1)
