"""The rules by which groups follow, one by one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from replicator.core.groups.sync import (
    RENEW_AFTER_MS,
    Barrier,
    GroupSyncFacts,
    Reading,
    TranslatedCommit,
    WrittenCommit,
    decide,
    recorded,
    reread,
    worst,
)
from replicator.errors import BugError
from replicator.model.names import TopicPartition
from replicator.model.operations.translation import TranslationState
from replicator.model.status.groups import Committed, GroupKind, GroupPartition, GroupState

NOW = 1_790_000_000_000
EXACT, NOT_YET = TranslationState.EXACT, TranslationState.NOT_YET_REPLICATED
ORDERS = TopicPartition("orders", 0)


def facts(
    source: int | None = 50,
    target: int | None = None,
    ours: int | None = None,
    *,
    before: int | None = None,
    translated: TranslatedCommit | None = None,
    written_ms: int = NOW - 1000,
) -> GroupSyncFacts:
    """Return a partition with identical offsets."""
    if translated is None and source is not None:
        translated = TranslatedCommit(EXACT, source)
    return GroupSyncFacts(
        None if source is None else Committed(source, "meta", 7),
        translated,
        None if target is None else Committed(target, "meta"),
        None if ours is None else WrittenCommit(ours, before, written_ms),
    )


@pytest.mark.parametrize(
    ("name", "here", "state", "written"),
    [
        ("nothing there yet", facts(50), GroupState.IN_STEP, 50),
        ("forward", facts(50, 40, 40), GroupState.IN_STEP, 50),
        ("backward, a reset", facts(20, 40, 40), GroupState.IN_STEP, 20),
        ("unchanged", facts(50, 50, 50), GroupState.IN_STEP, None),
        ("forgotten by the target", facts(50, None, 50), GroupState.IN_STEP, 50),
        ("the same by somebody else: now ours", facts(50, 50, None), GroupState.IN_STEP, 50),
        ("never ours, behind", facts(50, 40, None), GroupState.IN_STEP, 50),
        ("never ours, ahead", facts(50, 60, None), GroupState.CHANGED_ON_TARGET, None),
        ("changed forward", facts(50, 45, 40), GroupState.CHANGED_ON_TARGET, None),
        ("changed backward", facts(50, 10, 40), GroupState.CHANGED_ON_TARGET, None),
        ("a write whose answer was lost, taken", facts(60, 50, 50, before=40), GroupState.IN_STEP, 60),
        ("a write whose answer was lost, not taken", facts(60, 40, 50, before=40), GroupState.IN_STEP, 60),
        ("gone on the source", facts(None, 50, 50), GroupState.GONE_ON_SOURCE, None),
    ],
)
def test_both_ways_while_it_is_ours(name: str, here: GroupSyncFacts, state: GroupState, written: int | None) -> None:
    """Whatever stands there that we did not write stays."""
    verdict = decide(here, active=False, now_ms=NOW)

    assert (name, verdict.state, verdict.write and verdict.write.offset) == (name, state, written)


def test_metadata_goes_along_and_the_leader_epoch_does_not() -> None:
    """The epoch would tell the other cluster's consumers of a truncation; metadata alone is worth a write."""
    written = decide(facts(50, 40, 40), active=False, now_ms=NOW).write
    assert written == Committed(50, "meta", -1)

    same_offset = GroupSyncFacts(
        Committed(50, "new"), TranslatedCommit(EXACT, 50), Committed(50, "old"), WrittenCommit(50, None, NOW)
    )
    assert decide(same_offset, active=False, now_ms=NOW).write == Committed(50, "new")


def test_members_own_their_group() -> None:
    """Even where the value is ours."""
    verdict = decide(facts(50, 40, 40), active=True, now_ms=NOW)

    assert (verdict.state, verdict.write) == (GroupState.ACTIVE_ON_TARGET, None)


def test_what_did_not_change_is_renewed_each_day() -> None:
    """The target would forget it after a week."""
    for age_ms, renewed in ((RENEW_AFTER_MS - 1, False), (RENEW_AFTER_MS, True)):
        verdict = decide(facts(50, 50, 50, written_ms=NOW - age_ms), active=False, now_ms=NOW)
        assert (verdict.write is not None) == renewed
    kept = decide(facts(None, 50, 50, written_ms=0), active=False, now_ms=NOW)
    assert kept.write is None, "the source has forgotten it"


def test_beyond_what_is_replicated_nothing_is_guessed() -> None:
    """It waits; at a failover no more will come, and the replicated end is all there is."""
    beyond = TranslatedCommit(NOT_YET, None, end_offset=44, beyond=8, detail="8 records behind")
    held = decide(facts(52, 40, 40, translated=beyond), active=False, now_ms=NOW)
    assert (held.state, held.write, held.detail) == (GroupState.NOT_TRANSLATED, None, "8 records behind")

    clamped = decide(facts(52, 40, 40, translated=beyond), active=False, now_ms=NOW, clamp=True)
    assert (clamped.state, clamped.write, clamped.cut) == (GroupState.IN_STEP, Committed(44, "meta"), 8)

    unknown = TranslatedCommit(TranslationState.BELOW_MAP, None)
    for clamp in (False, True):
        verdict = decide(facts(52, 40, 40, translated=unknown), active=False, now_ms=NOW, clamp=clamp)
        assert (verdict.state, verdict.write) == (GroupState.NOT_TRANSLATED, None)


def test_below_the_targets_log_start_it_is_the_log_start() -> None:
    """The translation says so; a commit below would be out of range there."""
    clamped = TranslatedCommit(TranslationState.BELOW_LOG_START, 30)

    assert decide(facts(20, 10, 10, translated=clamped), active=False, now_ms=NOW).write == Committed(30, "meta")


def test_what_would_be_read_again() -> None:
    """Never below 0, and unknown without a commit on the target: `auto.offset.reset` decides there."""
    assert reread(TranslatedCommit(EXACT, 50), Committed(40)) == 10
    assert reread(TranslatedCommit(NOT_YET, None, end_offset=44, beyond=6), Committed(40)) == 4
    assert reread(TranslatedCommit(EXACT, 50), Committed(60)) == 0
    assert reread(TranslatedCommit(EXACT, 50), None) is None
    assert reread(None, Committed(40)) is None
    assert reread(TranslatedCommit(TranslationState.FAULTED, None), Committed(40)) is None


def test_what_is_recorded_knows_both_values_until_one_is_seen() -> None:
    """What stands needs one; what neither stands nor is written is forgotten."""
    other, gone = TopicPartition("orders", 1), TopicPartition("orders", 2)
    known = {ORDERS: WrittenCommit(40, 30, 1), other: WrittenCommit(7, 6, 1), gone: WrittenCommit(9, None, 1)}

    found = recorded(known, {ORDERS: Committed(40), other: Committed(7)}, {ORDERS: Committed(50)}, NOW)

    assert found == {ORDERS: WrittenCommit(50, 40, NOW), other: WrittenCommit(7, None, 1)}
    assert recorded({}, {}, {ORDERS: Committed(5)}, NOW) == {ORDERS: WrittenCommit(5, None, NOW)}


def test_the_worst_partition_names_the_group() -> None:
    """Without partitions nothing is wrong."""
    parts = [
        GroupPartition("t", "t", at, state)
        for at, state in enumerate((GroupState.IN_STEP, GroupState.NOT_TRANSLATED, GroupState.GONE_ON_SOURCE))
    ]
    assert worst(parts) is GroupState.NOT_TRANSLATED
    assert worst(parts[:1]) is GroupState.IN_STEP
    assert worst(()) is GroupState.IN_STEP


# -- the order of a round --------------------------------------------------------------------------------------------

_actions = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.integers(0, 40)),
        st.tuples(st.just("foreign"), st.integers(0, 40)),
        st.tuples(st.just("expire"), st.just(0)),
        st.tuples(st.just("round"), st.sampled_from(["whole", "crash after record", "answer lost", "refused"])),
    ),
    max_size=25,
)


@given(_actions)
@example(
    [
        ("round", "whole"),
        ("foreign", 1),
        ("commit", 1),
        ("round", "crash after record"),
        ("commit", 0),
        ("round", "whole"),
    ]
)
def test_nobody_elses_value_is_overwritten_and_ours_always_follows(actions: list[tuple[str, int | str]]) -> None:
    """Rounds that end anywhere, a target that forgets, and somebody else who commits there."""
    source, foreign = 0, False
    target: int | None = None
    ours: WrittenCommit | None = None
    for what, value in actions:
        if what == "commit":
            source = int(value)
        elif what == "expire":
            target, foreign = None, False
        elif what == "foreign":
            # Not to be told from ours by its value alone: then it is taken for ours, which moves nobody.
            known = {source, *(() if ours is None else (ours.offset, ours.before))}
            if target is not None and int(value) not in known and ours is not None:
                target, foreign = int(value), True
        else:
            there = None if target is None else Committed(target)
            verdict = decide(
                GroupSyncFacts(Committed(source), TranslatedCommit(EXACT, source), there, ours),
                active=False,
                now_ms=NOW,
            )
            if foreign and source != target:
                assert verdict.state is GroupState.CHANGED_ON_TARGET
                assert verdict.write is None
                continue
            assert verdict.state is GroupState.IN_STEP
            writes = {} if verdict.write is None else {ORDERS: verdict.write}
            kept = recorded(
                {} if ours is None else {ORDERS: ours}, {} if there is None else {ORDERS: there}, writes, NOW
            )
            ours = kept.get(ORDERS) if writes else ours
            foreign = foreign and not writes  # what stands there is recorded as ours, and cannot be told from it
            if verdict.write is not None and value not in {"crash after record", "refused"}:
                target, foreign = verdict.write.offset, False
            if value == "whole":
                assert target == source


# -- the barrier -----------------------------------------------------------------------------------------------------


def reading(at: float, offset: int = 0) -> Reading:
    """Return what one group had committed at a time."""
    return Reading(int(at * 1000), at, at, {"g": GroupKind.CLASSIC}, {"g": {ORDERS: Committed(offset)}})


def test_ends_that_are_older_than_the_commits_promise_nothing() -> None:
    """A group could have produced in between."""
    with pytest.raises(BugError):
        Barrier().offer(reading(2.0), {ORDERS: 5}, 1.9)


def test_one_reading_waits_and_later_ones_only_narrow_its_ends() -> None:
    """It is applied however fast the source grows; a log that shrank or went is not waited for."""
    barrier = Barrier()
    gone = TopicPartition("gone", 0)
    barrier.offer(reading(1.0, 10), {ORDERS: 50, gone: 9}, 1.5)
    barrier.offer(reading(2.0, 20), {ORDERS: 80}, 2.5)
    assert barrier.waiting is not None
    assert barrier.waiting.ends == {ORDERS: 50}
    barrier.offer(reading(3.0, 30), {ORDERS: 7}, 3.5)
    assert barrier.waiting.ends == {ORDERS: 7}

    passed = barrier.passed()

    assert passed is not None
    assert passed.commits["g"][ORDERS].offset == 10
    assert barrier.passed() is None


OUTPUT = TopicPartition("output", 0)
_steps = st.lists(
    st.sampled_from(["produce", "work", "read commits", "read ends", "copy input", "copy output", "apply"]),
    min_size=20,
    max_size=120,
)


@given(_steps)
def test_a_group_never_overtakes_what_its_work_produced(steps: list[str]) -> None:
    """A job reads input, writes one output per record, then commits; its topics are copied at any pace.

    Whenever the target takes over, every input below the group's commit has its output there.
    """
    inputs = outputs = committed = copied_inputs = copied_outputs = applied = 0
    barrier, read = Barrier(), None
    for clock, step in enumerate(steps):
        if step == "produce":
            inputs += 1
        elif step == "work" and committed < inputs:
            outputs += 1
            committed += 1
        elif step == "read commits":
            read = reading(float(clock), committed)
        elif step == "read ends" and read is not None:
            barrier.offer(read, {ORDERS: inputs, OUTPUT: outputs}, float(clock))
            read = None
        elif step == "copy input":
            copied_inputs = min(inputs, copied_inputs + 1)
        elif step == "copy output":
            copied_outputs = min(outputs, copied_outputs + 1)
        elif step == "apply" and barrier.waiting is not None:
            ends = barrier.waiting.ends
            if copied_inputs >= ends[ORDERS] and copied_outputs >= ends[OUTPUT]:
                passed = barrier.passed()
                assert passed is not None
                applied = passed.commits["g"][ORDERS].offset
        assert applied <= copied_inputs
        assert copied_outputs >= applied, "the group's output is not there"
