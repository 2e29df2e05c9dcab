"""What becomes of the batches of one answer, shape by shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.copy.reading.intake import Intake
from replicator.core.copy.reading.pieces import FILL_AHEAD_MAX, Encode, Fill, Holes, IntakeState, Skip, Stop
from replicator.core.copy.values import TargetLimits
from replicator.errors import CorruptRecords
from replicator.model.batch import (
    CONTROL_BIT,
    LENGTH_PREFIX_BYTES,
    LOG_APPEND_TIME_BIT,
    SEQUENCE_MODULUS,
    TRANSACTIONAL_BIT,
    BatchHeader,
)

LIMIT = 1000
FILL_LIMIT = 5000
LIMITS = TargetLimits(LIMIT, 0, FILL_LIMIT)


class Record(NamedTuple):
    """A record of an opened batch."""

    offset: int


def header(base: int, span: int = 5, **changes: int) -> BatchHeader:
    """Return a header of a batch over `span` offsets, full unless changed."""
    plain = BatchHeader(base, 100 - LENGTH_PREFIX_BYTES, 0, 2, 0, 0, span - 1, 50, 50, 5, 0, 0, span, 0)
    return plain._replace(**changes)


def marker(base: int, producer: int = 5) -> BatchHeader:
    """Return a transaction marker."""
    return header(base, 1, attributes=CONTROL_BIT | TRANSACTIONAL_BIT, producer_id=producer)


def of_transaction(base: int, span: int = 5, producer: int = 5) -> BatchHeader:
    """Return a batch of a transaction."""
    return header(base, span, attributes=TRANSACTIONAL_BIT, producer_id=producer)


def holding(*offsets: int) -> Callable[[BatchHeader], Sequence[Record]]:
    """Return an opener whose batches hold these offsets, as far as they cover them."""
    return lambda of: [Record(each) for each in offsets if of.magic < 2 or of.base_offset <= each < of.next_offset]


def never(_: BatchHeader) -> Sequence[Record]:
    """Fail: this batch has to pass without being opened."""
    raise AssertionError("a batch was opened that can pass as it is")


def intake(expected: int = 10, epoch: int = 0, aborted: Sequence[tuple[int, int]] = (), unpack: Any = never) -> Intake:
    """Return an intake at sequence 0, compared long ago."""
    return Intake(IntakeState(expected, 0, epoch, -1), LIMITS, aborted, unpack)


def shown(taken: Intake) -> list[Any]:
    """Return the pieces in short: passes as (base, sequence), fills as they are, encodings as their offsets."""
    out: list[Any] = []
    for piece in taken.pieces:
        if isinstance(piece, list):
            out += [(each.base_offset, sequence) for each, sequence in piece]
        elif isinstance(piece, Encode):
            out.append([piece.sequence, *[record.offset for record in piece.records]])
        else:
            out.append(piece)
    return out


def take(headers: list[BatchHeader], **settings: Any) -> list[Any]:
    """Take headers to their end."""
    taken = intake(**settings)
    taken.take(headers)
    assert taken.stop is None
    assert taken.expected == headers[-1].next_offset
    return shown(taken)


def test_full_batches_pass_unopened() -> None:
    """One after the other; what is below the expected offset was copied already."""
    assert take([header(5), header(10), header(15)]) == [(10, 0), (15, 5)]


def test_what_is_passed_over_is_compared_with_its_checksum() -> None:
    """One flipped bit makes a marker of a batch, and nothing of it would be copied."""

    def damaged(_: BatchHeader) -> None:
        raise CorruptRecords("damaged")

    for odd in (marker(10), header(10, record_count=0), of_transaction(10)):
        with pytest.raises(CorruptRecords, match="damaged"):
            Intake(IntakeState(10, 0, 0, -1), LIMITS, [(5, 10)], never, damaged).take([odd])


def test_messages_of_old_formats_are_no_more_believed_than_batches() -> None:
    """Nothing covers the offset of a message of format 0 or 1."""
    old = header(12, 1, magic=1, record_count=-1)
    taken = Intake(IntakeState(10, 0, 0, -1, gaps={}), LIMITS, (), holding(12))
    taken.take([old])
    assert (taken.stop, taken.pieces) == (Stop.DOUBT, [])

    proven = Intake(IntakeState(10, 0, 0, -1, gaps={10: 12}), LIMITS, (), holding(12))
    proven.take([old])
    assert shown(proven) == [Fill(10, 2), [0, 12]]


def test_offsets_missing_inside_a_batch_are_under_its_checksum() -> None:
    """So they are a hole in any log."""
    taken = Intake(IntakeState(10, 0, 0, -1, gaps={}), LIMITS, (), holding(10, 13, 14))
    taken.take([header(10, record_count=3)])

    assert shown(taken) == [[0, 10], Fill(11, 2), [1, 13, 14]]


def test_a_batch_that_ends_before_it_begins_is_damaged() -> None:
    """Before anything is reckoned with it."""
    with pytest.raises(CorruptRecords, match="ends before it begins"):
        intake().take([header(10, last_offset_delta=-7)])


def test_markers_empty_batches_and_missing_offsets_are_filled_together() -> None:
    """Sequences count records, not offsets."""
    found = take([header(10), marker(15), header(16, 4, record_count=0), header(23), marker(28)])
    assert found == [(10, 0), Fill(15, 8), (23, 5), Fill(28, 1)]


def test_a_batch_with_holes_is_encoded_in_runs() -> None:
    """Holes before, between and behind the runs are filled."""
    found = take([header(10, 8, record_count=3), header(18)], unpack=holding(11, 12, 16))
    assert found == [Fill(10, 1), [0, 11, 12], Fill(13, 3), [2, 16], Fill(17, 1), (18, 3)]


def test_an_empty_opened_batch_is_filled() -> None:
    """The cleaner may keep a batch whose records are all gone."""
    assert take([header(10, 5, record_count=1)], unpack=holding()) == [Fill(10, 5)]


def test_times_of_the_broker_make_a_batch_encoded() -> None:
    """LogAppendTime: the record times inside are not those that readers see."""
    found = take([header(10, 3, attributes=LOG_APPEND_TIME_BIT)], unpack=holding(10, 11, 12))
    assert found == [[0, 10, 11, 12]]


def test_the_rest_of_a_batch_that_begins_below_is_encoded() -> None:
    """After a copy that was cut inside."""
    assert take([header(8, 5), header(13)], unpack=holding(8, 9, 10, 11, 12)) == [[0, 10, 11, 12], (13, 3)]


def test_old_formats_are_encoded_at_the_offsets_inside() -> None:
    """A wrapper of magic 0 or 1 stands at the offset of its last message."""
    old = BatchHeader(14, 80, -1, 1, 0, 0, 0, -1, -1, -1, -1, -1, -1, 0)
    assert take([old, header(15)], unpack=holding(9, 10, 12, 13, 14)) == [
        [0, 10],
        Fill(11, 1),
        [1, 12, 13, 14],
        (15, 4),
    ]


def test_a_message_of_an_old_format_leaves_the_leader_epoch_unknown() -> None:
    """It has none. The source would see a divergence in the epoch before it, told with an offset behind it."""
    old = BatchHeader(15, 80, -1, 1, 0, 0, 0, -1, -1, -1, -1, -1, -1, 0)
    taken = intake(unpack=holding(15))
    taken.take([header(10), old])

    assert (taken.stop, taken.expected, taken.epoch) == (None, 16, -1)


def test_aborted_batches_are_told_by_the_list_and_the_markers() -> None:
    """A producer's committed batches before and after its aborted ones are copied."""
    log = [
        of_transaction(10),
        marker(15),
        of_transaction(16),
        of_transaction(21, producer=6),
        marker(26),
        of_transaction(27),
        marker(32),
        marker(33, producer=6),
    ]
    found = take(log, aborted=[(5, 16)])
    assert found == [(10, 0), Fill(15, 6), (21, 5), Fill(26, 1), (27, 10), Fill(32, 2)]


def test_two_aborted_transactions_of_one_producer() -> None:
    """The list names both; the first marker ends the first only."""
    log = [of_transaction(10), marker(15), of_transaction(16), marker(21), of_transaction(22), marker(27)]
    assert take(log, aborted=[(5, 22), (5, 10)]) == [Fill(10, 6), (16, 0), Fill(21, 7)]


def test_batches_outside_transactions_are_never_aborted() -> None:
    """The same producer id may also write without a transaction."""
    assert take([header(10), marker(15)], aborted=[(5, 10)]) == [(10, 0), Fill(15, 1)]


def test_nothing_behind_a_long_fill_is_taken() -> None:
    """It would hold its frame for as long as the fill takes."""
    taken = intake()
    taken.take([header(10), header(15 + FILL_AHEAD_MAX + 1), header(9_999)])

    assert shown(taken) == [(10, 0), Fill(15, FILL_AHEAD_MAX + 1)]
    assert (taken.stop, taken.expected) == (Stop.LONG_FILL, 15 + FILL_AHEAD_MAX + 1)


def test_a_hole_above_the_limit_stops() -> None:
    """How long it is, is told."""
    taken = intake()
    taken.take([header(10), header(16 + FILL_LIMIT)])

    assert (shown(taken), taken.stop, taken.refused) == ([(10, 0)], Stop.TOO_LONG_FILL, FILL_LIMIT + 1)


def test_a_batch_above_the_limit_stops() -> None:
    """What came before it is taken."""
    taken = intake()
    taken.take([header(10), header(15, length=LIMIT), header(20)])

    assert (shown(taken), taken.stop, taken.stopped_at) == ([(10, 0)], Stop.TOO_LARGE, header(15, length=LIMIT))


@pytest.mark.parametrize("odd", [header(15, leader_epoch=1), marker(15)._replace(leader_epoch=1)])
def test_a_new_leader_epoch_stops_unless_the_logs_were_just_compared(odd: BatchHeader) -> None:
    """Also where the batch would only be filled."""
    taken = intake()
    taken.take([header(10), odd])
    assert (shown(taken), taken.stop, taken.expected) == ([(10, 0)], Stop.NEW_EPOCH, 15)

    fresh = Intake(IntakeState(15, 0, 0, 15), LIMITS, (), never)
    fresh.take([odd])
    assert (fresh.stop, fresh.epoch) == (None, 1)


def test_sequences_wrap() -> None:
    """From 2^31 - 1 to 0, counting records only."""
    taken = Intake(IntakeState(10, SEQUENCE_MODULUS - 3, 0, -1), LIMITS, (), never)
    taken.take([header(10), marker(15), header(16)])
    assert shown(taken) == [(10, SEQUENCE_MODULUS - 3), Fill(15, 1), (16, 2)]


def test_a_sequence_that_nobody_remembers_follows_the_offset_until_the_first_record() -> None:
    """Two daemons that begin before and behind a fill then collide instead of both fitting."""
    taken = Intake(IntakeState(10, 10, 0, -1, free=True), LIMITS, (), never)
    taken.take([marker(10), marker(11), header(12), marker(17), header(18)])
    assert shown(taken) == [Fill(10, 2), (12, 12), Fill(17, 1), (18, 17)]


def test_what_was_given_up_is_a_hole_and_nothing_around_it() -> None:
    """A damaged batch is left out as a whole, unopened; of one that reaches further the rest is kept."""
    lost = IntakeState(10, 0, 0, -1, given_up=((15, 20),))
    whole = Intake(lost, LIMITS, (), never)
    whole.take([header(10), header(15), header(20)])
    assert shown(whole) == [(10, 0), Fill(15, 5), (20, 5)]

    further = Intake(IntakeState(20, 0, 0, -1, given_up=((10, 20),)), LIMITS, (), holding(*range(15, 25)))
    further.take([header(15, 10), header(25)])
    assert shown(further) == [[0, 20, 21, 22, 23, 24], (25, 5)]


def test_mapped_offsets_leave_holes_out() -> None:
    """What follows moves up; sequences count records."""
    taken = Intake(IntakeState(10, 0, 0, -1, holes=Holes.SKIP), LIMITS, (), never)
    taken.take([header(10), marker(15), marker(16), header(17), marker(122), header(123)])
    assert shown(taken) == [(10, 0), Skip(17, 2), (17, 5), Skip(123, 101), (123, 10)]


def test_surplus_markers_are_made_good_at_a_hole_as_long_as_they_are() -> None:
    """Not at a shorter one, and not where the logs were just compared: there it was tried."""
    short = Intake(IntakeState(10, 0, 0, -1, shift=2, holes=Holes.HEAL), LIMITS, (), never)
    short.take([header(10), marker(15), header(16)])
    assert (shown(short), short.stop) == ([(10, 0), Fill(15, 1), (16, 5)], None)

    long = Intake(IntakeState(10, 0, 0, -1, shift=2, holes=Holes.HEAL), LIMITS, (), never)
    long.take([header(10), header(17)])
    assert (shown(long), long.stop, long.expected) == ([(10, 0)], Stop.HEAL, 15)

    compared = Intake(IntakeState(15, 0, 0, 15, shift=2, holes=Holes.HEAL), LIMITS, (), never)
    compared.take([header(17)])
    assert shown(compared) == [Fill(15, 2), (17, 0)]


@given(data=st.data())
def test_every_offset_is_taken_once_and_every_record_kept(data: st.DataObject) -> None:
    """Any log, any place to begin: records are passed or encoded at their offsets, all else is filled."""
    log: list[BatchHeader] = []
    records: dict[int, set[int]] = {}
    base = data.draw(st.integers(0, 5))
    for _ in range(data.draw(st.integers(1, 8))):
        base += data.draw(st.integers(0, 3))
        span = data.draw(st.integers(1, 6))
        kind = data.draw(st.sampled_from(["full", "holes", "control", "append_time"]))
        offsets = set(range(base, base + span))
        each = header(base, span)
        if kind == "holes":
            offsets = data.draw(st.sets(st.sampled_from(sorted(offsets))))
            each = each._replace(record_count=len(offsets))
        elif kind == "control":
            each, offsets = marker(base), set()
        elif kind == "append_time":
            each = each._replace(attributes=LOG_APPEND_TIME_BIT)
        log.append(each)
        records[base] = offsets
        base = each.next_offset
    begin = data.draw(st.integers(0, base - 1))
    taken = intake(begin, unpack=lambda of: [Record(at) for at in sorted(records[of.base_offset])])
    taken.take([each for each in log if each.next_offset > begin])

    place, sequence, kept = begin, 0, set()
    for piece in shown(taken):
        if isinstance(piece, Fill):
            assert piece.first_offset == place
            place += piece.length
            continue
        if isinstance(piece, tuple):
            offsets_taken = sorted(records[piece[0]])
            assert piece == (place, sequence)
        else:
            assert piece[0] == sequence
            offsets_taken = piece[1:]
        assert offsets_taken == list(range(place, place + len(offsets_taken)))
        place += len(offsets_taken)
        sequence += len(offsets_taken)
        kept |= set(offsets_taken)
    assert place == base
    assert kept == {at for offsets in records.values() for at in offsets if at >= begin}


@pytest.mark.parametrize("odd", [header(17), header(15, 5, record_count=3)], ids=["between", "inside"])
def test_what_the_cleaner_took_stops_a_copy_that_was_away_too_long(odd: BatchHeader) -> None:
    """Tombstones may be among it. Markers and aborted records are none of the cleaner's, and stop nothing."""
    late = Intake(IntakeState(10, 0, 0, -1, intact_below=30), LIMITS, (), holding(17, 18, 19))
    late.take([header(10, 4), marker(14), odd])
    assert (late.stop, late.expected, shown(late)) == (Stop.TOMBSTONES, 15, [(10, 0), Fill(14, 1)])

    in_time = Intake(IntakeState(10, 0, 0, -1, intact_below=15), LIMITS, (), holding(17, 18, 19))
    in_time.take([header(10, 4), marker(14), odd])
    assert in_time.stop is None


def test_only_what_was_given_up_is_left_out() -> None:
    """A batch that lies wholly in it is not even opened; of another one the other records stay."""
    whole = Intake(IntakeState(10, 0, 0, -1, given_up=[(8, 15)]), LIMITS, (), never)
    whole.take([header(10), header(15)])
    assert whole.pieces == [Fill(10, 5), [(header(15), 0)]]

    part = Intake(IntakeState(12, 0, 0, -1, given_up=[(5, 12), (13, 14)]), LIMITS, (), holding(*range(10, 15)))
    part.take([header(10)])
    assert [each.base_offset for each in part.pieces if isinstance(each, Encode)] == [12, 14]
    assert [each for each in part.pieces if isinstance(each, Fill)] == [Fill(13, 1)]
    assert part.expected == 15
