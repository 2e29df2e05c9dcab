"""The attach table: every row, every fault, and the waits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicator.core.copy.attaching.attach import decide
from replicator.core.copy.attaching.displaced import displaced_by
from replicator.core.copy.attaching.facts import (
    Decision,
    Fault,
    Mapping,
    OwnProducerState,
    Policy,
    Remap,
    Resume,
    Role,
    SeedTo,
    SourceLog,
    Tail,
    TailPosition,
    TargetLog,
    Wait,
    Writer,
)
from replicator.core.offsets.offset_map import OffsetPair
from replicator.model.batch import SEQUENCE_MODULUS
from replicator.model.status.states import Reason

OURS, FILLER, STRANGER = 100, 101, 7
WRITER = Writer(OURS, 3, Role.COPYING, FILLER, 0, 502)
NOW = 1_700_000_000_000
CONTENT = ("key", "value")
ENTRY = OwnProducerState(producer_epoch=3, last_sequence=9, last_timestamp=NOW)
TAIL = Tail(9, OURS, 3, 9, NOW, CONTENT)
TARGET = TargetLog(0, 10, ENTRY, TAIL)
SOURCE = SourceLog(0, 20, 20, CONTENT, None)
EMPTY = TargetLog(0, 0, None, None)


def attach(
    target: TargetLog = TARGET,
    source: SourceLog = SOURCE,
    writer: Writer = WRITER,
    *,
    ours: bool = True,
    begin_at: int = 0,
) -> Decision:
    """Decide."""
    return decide(writer, target, source, ours=ours, begin_at=begin_at)


def reason_of(decision: Decision) -> Reason:
    """Return why a decision stops or waits."""
    assert isinstance(decision, Fault | Wait)
    assert decision.detail
    return decision.reason


# -- rows of the table ------------------------------------------------------------------------------------------


def test_our_tail_that_ends_at_the_last_sequence_is_gone_on_from() -> None:
    """The usual row: the next sequence follows the broker's."""
    assert attach() == Resume(10, 10, NOW)


def test_the_next_sequence_wraps() -> None:
    """After 2^31 - 1 comes 0."""
    last = SEQUENCE_MODULUS - 1
    target = replace(TARGET, entry=replace(ENTRY, last_sequence=last), tail=replace(TAIL, last_sequence=last))

    assert attach(target) == Resume(10, 0, NOW)


@pytest.mark.parametrize("shown", [8, 10, 0])
def test_a_tail_that_does_not_end_at_the_last_sequence_is_waited_for(shown: int) -> None:
    """Part of what the broker has is not committed yet, or was appended while the facts were read."""
    assert reason_of(attach(replace(TARGET, tail=replace(TAIL, last_sequence=shown)))) is Reason.WAITING_FOR_TAIL


@pytest.mark.parametrize("ours", [True, False])
def test_the_very_first_batches_not_committed_yet_are_waited_for(*, ours: bool) -> None:
    """The end says 0 while the broker has sequence 4: taking both apart would double five records."""
    target = TargetLog(0, 0, replace(ENTRY, last_sequence=4), None)

    assert reason_of(attach(target, ours=ours)) is Reason.WAITING_FOR_TAIL


def test_a_log_emptied_by_retention_is_gone_on_from_where_its_sequence_says_so() -> None:
    """Nothing is left to compare with; the sequence and the end agree."""
    assert attach(TargetLog(10, 10, ENTRY, None)) == Resume(10, 10, NOW)
    assert reason_of(attach(TargetLog(9, 9, ENTRY, None))) is Reason.WAITING_FOR_TAIL


def test_without_producer_state_the_sequence_follows_from_the_offset() -> None:
    """Two daemons that race then collide instead of both fitting."""
    end = SEQUENCE_MODULUS + 5
    target = TargetLog(0, end, None, replace(TAIL, last_offset=end - 1))
    source = SourceLog(0, end + 1, end + 1, CONTENT, None)

    assert attach(target, source) == Resume(end, 5, None)


def test_where_producers_cannot_be_described_the_tail_tells_the_sequence() -> None:
    """And the guard counts as off: nobody can tell whether the broker remembers."""
    target = replace(TARGET, entry=None, entry_known=False, tail=replace(TAIL, last_sequence=41))

    assert attach(target) == Resume(10, 42, None)


def test_a_new_partition_begins_at_the_start() -> None:
    """Empty source, empty target."""
    assert attach(EMPTY, SourceLog(0, 0, 0, None, None), ours=False) == Resume(0, 0, None)


@pytest.mark.parametrize(
    ("entry_epoch", "word"), [(4, "the target has producer epoch 4"), (2, "a fence to epoch 3 was not finished")]
)
def test_another_epoch_on_the_target_is_a_fence(entry_epoch: int, word: str) -> None:
    """A higher one forbids us to write; a lower one is a fence that was never finished."""
    decision = attach(replace(TARGET, entry=replace(ENTRY, producer_epoch=entry_epoch)))

    assert reason_of(decision) is Reason.FENCED
    assert isinstance(decision, Fault)
    assert word in decision.detail


@pytest.mark.parametrize("role", [Role.FENCING, Role.PROMOTED])
def test_a_writer_record_that_does_not_say_copying_refuses(role: Role) -> None:
    """Whatever the log looks like."""
    assert reason_of(attach(writer=replace(WRITER, role=role))) is Reason.FENCED


# -- seeding ------------------------------------------------------------------------------------------


def test_a_source_that_starts_later_is_seeded_to_its_start() -> None:
    """A fresh log begins at 0."""
    assert attach(EMPTY, SourceLog(500, 900, 900, None, None), ours=False, begin_at=500) == SeedTo(500)


def test_a_finished_seed_is_copied_on_from() -> None:
    """The empty log starts and ends at the source's start: seeding again would never end."""
    target = TargetLog(500, 500, None, None)

    assert attach(target, SourceLog(500, 900, 900, None, None), ours=False, begin_at=500) == Resume(500, 500, None)


def test_a_seed_is_extended_when_the_source_moved_on() -> None:
    """Retention went past the place while fillers were written."""
    target = TargetLog(500, 500, None, None)

    assert attach(target, SourceLog(700, 900, 900, None, None), ours=False, begin_at=700) == SeedTo(700)


def test_a_seed_to_the_latest_end_is_not_chased() -> None:
    """The end moves with every record: what was seeded is copied on from there."""
    target = TargetLog(500, 500, None, None)

    assert attach(target, SourceLog(0, 900, 900, None, None), ours=False, begin_at=900) == Resume(500, 500, None)


def test_fillers_at_the_end_are_a_seed_to_be_finished() -> None:
    """A crash between fillers and DeleteRecords is resumed."""
    target = TargetLog(0, 300, None, replace(TAIL, producer_id=FILLER))

    assert attach(target, SourceLog(500, 900, 900, None, None), ours=False, begin_at=500) == SeedTo(500)
    whole = replace(target, end=500)
    assert attach(whole, SourceLog(500, 900, 900, None, None), ours=False, begin_at=500) == SeedTo(500)


def test_an_empty_target_beyond_the_start_of_the_copy_is_not_ours() -> None:
    """Somebody's records were there and are gone."""
    decision = attach(TargetLog(800, 800, None, None), SourceLog(500, 900, 900, None, None), ours=False, begin_at=500)

    assert reason_of(decision) is Reason.FOREIGN_WRITER


# -- faults ------------------------------------------------------------------------------------------


def test_a_tail_of_a_stranger_is_a_foreign_writer() -> None:
    """Also where it makes the target longer than its source."""
    target = replace(TARGET, tail=replace(TAIL, producer_id=STRANGER))

    assert reason_of(attach(target)) is Reason.FOREIGN_WRITER
    assert reason_of(attach(replace(target, end=99))) is Reason.FOREIGN_WRITER


@pytest.mark.parametrize(("ours", "reason"), [(True, Reason.SOURCE_TRUNCATED), (False, Reason.FOREIGN_WRITER)])
def test_a_target_beyond_its_source(*, ours: bool, reason: Reason) -> None:
    """The source lost what we copied; or it was never ours."""
    assert reason_of(attach(source=replace(SOURCE, high_watermark=9, end=9), ours=ours)) is reason


def test_the_high_watermark_counts_and_not_the_stable_offset() -> None:
    """An open transaction hides what was copied before: no truncation."""
    assert attach(source=replace(SOURCE, end=5)) == Resume(10, 10, NOW)


def test_different_content_at_the_same_offset_is_a_mismatch() -> None:
    """The source has another history."""
    assert reason_of(attach(source=replace(SOURCE, content=("key", "other")))) is Reason.CONTENT_MISMATCH


def test_without_a_record_to_compare_the_stored_epoch_decides() -> None:
    """The source's history ends below our end in the epoch we copied from."""
    source = replace(SOURCE, content=None, epoch_end=8, compacted=True)

    assert reason_of(attach(source=source)) is Reason.SOURCE_TRUNCATED
    assert attach(source=replace(source, epoch_end=10)) == Resume(10, 10, NOW)
    assert attach(source=replace(source, epoch_end=None)) == Resume(10, 10, NOW)


def test_a_record_does_not_vanish_from_inside_a_log_that_is_not_compacted() -> None:
    """Below the log's start it may be gone; inside, another history took its place."""
    source = replace(SOURCE, content=None, epoch_end=None)

    assert reason_of(attach(source=source)) is Reason.SOURCE_TRUNCATED
    assert attach(source=replace(source, start=10)) == Resume(10, 10, NOW)


def test_a_record_behind_our_last_one_is_no_place_for_markers() -> None:
    """The target holds markers there: the source was truncated, or a stranger's marker stands on the target."""
    assert reason_of(attach(source=replace(SOURCE, unfilled=9))) is Reason.CONTENT_MISMATCH


def test_a_stored_epoch_that_is_older_than_the_tail_proves_nothing() -> None:
    """It is recorded now and then; after a clean election it ends below what was copied since, and all is well."""
    assert attach(source=replace(SOURCE, epoch_end=4)) == Resume(10, 10, NOW)


def test_a_source_that_begins_behind_our_end_overtook_us() -> None:
    """The gap is named in offsets; with or without data on the target."""
    source = SourceLog(15, 20, 20, None, None)
    decision = attach(source=source)

    assert reason_of(decision) is Reason.OVERTAKEN_BY_RETENTION
    assert isinstance(decision, Fault)
    assert "5 offsets are gone" in decision.detail
    assert reason_of(attach(TargetLog(10, 10, None, None), source)) is Reason.OVERTAKEN_BY_RETENTION


def test_a_source_that_begins_exactly_at_our_end_did_not() -> None:
    """All it dropped was copied."""
    assert attach(source=SourceLog(10, 20, 20, None, 10)) == Resume(10, 10, NOW)


def test_markers_before_anything_was_recorded_are_gone_on_from() -> None:
    """The first offsets held no record, and the daemon died before it could record the partition as active."""
    source = replace(SOURCE, content=None)

    assert attach(TargetLog(0, 3, None, None), source, ours=False) == Resume(3, 3, None)
    assert reason_of(attach(TargetLog(3, 3, None, None), source, ours=False)) is Reason.FOREIGN_WRITER


# -- offsets that are not the source's ------------------------------------------------------------------------------


def test_a_tail_unseen_behind_what_was_taken_over_is_waited_for() -> None:
    """What is below is not compared, but our last sequence has to be seen."""
    stranger = replace(TAIL, producer_id=STRANGER)
    known = Mapping(OffsetPair(4, 10), mapped=True, judged_from=10)

    decision = decide(WRITER, replace(TARGET, tail=stranger), SOURCE, ours=True, begin_at=0, mapping=known)
    assert reason_of(decision) is Reason.WAITING_FOR_TAIL
    seen = decide(WRITER, TARGET, SOURCE, ours=True, begin_at=0, mapping=known)
    assert seen == Resume(4, 10, NOW, shift=6)


def test_a_log_that_ends_below_what_was_taken_over_is_compared() -> None:
    """Others wrote its last record, and yet it has to be the source's: too much may have been recorded."""
    target = TargetLog(0, 10, None, replace(TAIL, producer_id=STRANGER), log_end=10)
    known = Mapping(OffsetPair(10, 10), mapped=False, judged_from=11, tail_source=9, compared_from=0)

    assert decide(WRITER, target, SOURCE, ours=True, begin_at=0, mapping=known) == Resume(10, 10, None)
    other = replace(SOURCE, content="other")
    decision = decide(WRITER, target, other, ours=True, begin_at=0, mapping=known)
    assert reason_of(decision) is Reason.CONTENT_MISMATCH


def test_a_sequence_that_follows_from_the_end_shows_nothing_where_markers_may_be_too_many() -> None:
    """As many markers below the end as there are records behind it look like none of either."""
    target = TargetLog(0, 10, ENTRY, None)
    lenient = Policy(surplus_allowed=True)

    assert decide(WRITER, target, SOURCE, ours=True, begin_at=0) == Resume(10, 10, NOW)
    waits = decide(WRITER, target, SOURCE, ours=True, begin_at=0, policy=lenient)
    assert reason_of(waits) is Reason.WAITING_FOR_TAIL
    known = decide(WRITER, replace(target, log_end=10), SOURCE, ours=True, begin_at=0, policy=lenient)
    assert known == Resume(10, 10, NOW)


def test_the_stored_epoch_speaks_of_what_was_copied_not_of_a_gap() -> None:
    """Behind the last record a gap was given up, over the end of that epoch."""
    target = replace(TARGET, end=30)
    source = SourceLog(30, 40, 40, None, 10)

    assert attach(target, source) == Resume(30, 10, NOW)
    assert reason_of(attach(target, replace(source, epoch_end=9))) is Reason.SOURCE_TRUNCATED


def test_a_displaced_batch_is_recorded_unless_a_stranger_stands_before_it() -> None:
    """Where offsets are mapped nothing has to be recorded: each attach counts records."""
    assert displaced_by(None, OffsetPair(5, 7), mapped=True) is None
    recorded = displaced_by(None, OffsetPair(5, 7), mapped=False)
    assert isinstance(recorded, Remap)
    assert (recorded.place, recorded.mapped) == (OffsetPair(5, 7), False)
    assert recorded.text.startswith("offsets are identical+2 from 5 on: before that are markers")
    unseen = displaced_by(None, OffsetPair(5, 7), mapped=False, unseen=True)
    assert isinstance(unseen, Remap)
    assert "marker" not in unseen.text  # nobody saw any
    stopped = displaced_by((STRANGER, 5), OffsetPair(5, 7), mapped=False)
    assert isinstance(stopped, Fault)
    assert stopped.reason is Reason.FOREIGN_WRITER


@pytest.mark.parametrize(
    ("tail_position", "says"),
    [
        (TailPosition.FURTHER_ON, "is further on than on the source"),
        (TailPosition.UNPROVEN, "below the source's start 7"),
    ],
)
def test_a_last_record_that_need_not_belong_where_it_stands_stops_the_copy(
    tail_position: TailPosition, says: str
) -> None:
    """Whatever else is known of that log: the cleaner may take records of it, and surplus markers are allowed."""
    policy = Policy(may_be_mapped=True, surplus_allowed=True)
    source = replace(SOURCE, start=7, content=None, compacted=True)
    decision = decide(
        WRITER, TARGET, replace(source, tail_position=tail_position), ours=True, begin_at=0, policy=policy
    )

    assert reason_of(decision) is Reason.SOURCE_TRUNCATED
    assert isinstance(decision, Fault)
    assert says in decision.detail
    assert decide(WRITER, TARGET, source, ours=True, begin_at=0, policy=policy) == Resume(10, 10, NOW)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (replace(TARGET, log_end=8), "but its own log end is 8"),
        (replace(EMPTY, start=2**63 - 1, end=2**63 - 1, entry=ENTRY, log_end=10), "but its own log end is 10"),
        (replace(EMPTY, start=11, end=10), "starts at 11 and ends at 10"),
    ],
)
def test_a_target_that_contradicts_itself_is_waited_for(target: TargetLog, says: str) -> None:
    """Nothing is concluded from it, whatever is allowed."""
    policy = Policy(may_be_mapped=True, surplus_allowed=True)
    decision = decide(WRITER, target, SOURCE, ours=True, begin_at=0, policy=policy)

    assert reason_of(decision) is Reason.WAITING_FOR_BROKER
    assert isinstance(decision, Wait)
    assert says in decision.detail


@pytest.mark.parametrize("ours", [True, False])
def test_a_source_that_starts_behind_its_own_end_is_waited_for(*, ours: bool) -> None:
    """It would be a loss, or a seed of a trillion offsets."""
    source = replace(SOURCE, start=10**15, end=10**15, high_watermark=10**15, log_end=10)
    decision = decide(WRITER, TARGET if ours else EMPTY, source, ours=ours, begin_at=10**15)

    assert isinstance(decision, Wait)
    assert "the source contradicts itself" in decision.detail
    assert not isinstance(
        decide(WRITER, TARGET if ours else EMPTY, replace(source, log_end=10**15), ours=ours, begin_at=10**15), Wait
    )
