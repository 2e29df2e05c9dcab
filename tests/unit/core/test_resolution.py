"""What an operator may do about which fault, what it costs, and what is refused."""

from __future__ import annotations

import pytest

from replicator.core.offsets.offset_map import OffsetPair
from replicator.core.offsets.resolution import (
    _ELSEWHERE,
    Adopt,
    GiveUp,
    GoOn,
    Recreate,
    ResolutionSnapshot,
    Retry,
    TakeSource,
    described,
    plan_resolution,
)
from replicator.errors import PreflightFailed, UsageError
from replicator.model.operations.resolution import ALLOWED, How, Loss
from replicator.model.status.states import Reason


def facts(reason: Reason | None, **settings: object) -> ResolutionSnapshot:
    """Return a partition copied up to 500; its source holds 900 to 1000."""
    known: dict[str, object] = {
        "source_start": 900,
        "source_end": 1000,
        "target_start": 100,
        "target_end": 500,
        "place": OffsetPair(500, 500),
    }
    return ResolutionSnapshot(0, reason, **(known | settings))  # type: ignore[arg-type]


def test_nothing_is_done_where_nothing_stands_still() -> None:
    """A repeated command does nothing."""
    assert plan_resolution("orders", How.SKIP, [facts(None)]) is None
    assert described(How.SKIP, None, "orders").reasons == ()


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("how", list(How))
def test_only_what_helps_is_allowed(reason: Reason, how: How) -> None:
    """As the table says; a refusal names what helps instead."""
    if how in ALLOWED.get(reason, frozenset()):
        plan = plan_resolution("orders", how, [facts(reason, found=OffsetPair(500, 500), batch=(500, 510))])
        assert plan is not None
        assert plan.reasons == (reason,)
        assert len(described(how, plan, "orders").steps) == len(plan.steps)
        return
    with pytest.raises(UsageError) as caught:
        plan_resolution("orders", how, [facts(reason)])
    assert caught.value.next_step


@pytest.mark.parametrize("reason", list(Reason)[: list(Reason).index(Reason.HELD_ELSEWHERE)])
def test_every_reason_that_stops_tells_what_helps(reason: Reason) -> None:
    """It is resolved, or it is said what is done instead: nothing that stops goes on by itself."""
    assert reason in ALLOWED or reason in _ELSEWHERE


def test_where_nothing_of_it_is_allowed_it_is_said_what_is_done_instead() -> None:
    """Beside others nothing is copied anew: `use --how` with nothing behind it helps nobody."""
    with pytest.raises(UsageError) as caught:
        plan_resolution("orders", How.RECREATE, [facts(Reason.INTERNAL_ERROR)], others_write=True)
    assert "restart" in caught.value.next_step


def test_skipping_tells_what_retention_took() -> None:
    """From where the copy stands up to the source's start."""
    plan = plan_resolution("orders", How.SKIP, [facts(Reason.OVERTAKEN_BY_RETENTION)])

    assert plan is not None
    assert plan.steps == (GiveUp(0, 500, 900),)
    assert [(loss.first, loss.end) for loss in plan.losses] == [(500, 900)]


def test_a_gap_of_unknown_size_is_not_skipped() -> None:
    """An offset map that ends too early tells nothing."""
    with pytest.raises(PreflightFailed, match="is not known how much of orders-0 is missing"):
        plan_resolution("orders", How.SKIP, [facts(Reason.OVERTAKEN_BY_RETENTION, place=None)])


def test_what_was_never_read_is_not_called_damaged() -> None:
    """A batch of 75 MiB is sound, and too large for any answer: it cannot be stepped over, and nothing is to mend."""
    with pytest.raises(PreflightFailed) as caught:
        plan_resolution("orders", How.SKIP, [facts(Reason.BATCH_TOO_LARGE)])
    assert "written again in smaller batches" in caught.value.next_step
    with pytest.raises(PreflightFailed) as caught:
        plan_resolution("orders", How.SKIP, [facts(Reason.CORRUPT_BATCH)])
    assert "damaged log" in caught.value.next_step


def test_recreating_tells_what_only_the_target_holds() -> None:
    """Below the source's start, and beyond its end; of every partition, since the topic goes as a whole."""
    plan = plan_resolution(
        "orders",
        How.RECREATE,
        [facts(Reason.SOURCE_TRUNCATED, source_start=200, source_end=450), facts(None, target_end=150)],
    )

    assert plan is not None
    assert plan.steps == (Recreate(),)
    assert [(loss.first, loss.end) for loss in plan.losses] == [(100, 200), (450, 500), (100, 150)]


def test_what_was_truncated_stays_on_the_target() -> None:
    """The source goes on behind the last record both have; the target's end is where it goes on."""
    one = facts(Reason.SOURCE_TRUNCATED, source_start=0, source_end=480, found=OffsetPair(470, 500))
    plan = plan_resolution("orders", How.ACCEPT, [one])

    assert plan is not None
    assert plan.steps == (GoOn(0, OffsetPair(470, 500), mapped=True),)
    assert plan.losses == (Loss(0, 470, 500, "stay on the target only: the source lost them"),)


def test_a_recreated_source_is_appended() -> None:
    """From its first record on, behind everything the target holds."""
    one = facts(Reason.SOURCE_RECREATED, source_start=0, source_end=20)
    plan = plan_resolution("orders", How.ACCEPT, [one])

    assert plan is not None
    assert plan.steps == (TakeSource(), GoOn(0, OffsetPair(0, 500), mapped=True))


def test_compacted_topics_are_not_mapped() -> None:
    """Counting records tells nothing where a cleaner takes some."""
    one = facts(Reason.SOURCE_RECREATED, source_start=0, compacted=True)
    with pytest.raises(PreflightFailed, match="compacted"):
        plan_resolution("orders", How.ACCEPT, [one])


def test_a_place_that_is_not_proven_is_not_guessed() -> None:
    """Another's topic is not taken over where its last records are not the source's."""
    with pytest.raises(PreflightFailed, match="no record of the source proves"):
        plan_resolution("orders", How.ACCEPT, [facts(Reason.FOREIGN_WRITER)])


def test_a_mismatch_is_taken_over_from_the_targets_end() -> None:
    """Where its last records are found on the source, from there; else the offsets stay the same."""
    same = plan_resolution("orders", How.ACCEPT, [facts(Reason.CONTENT_MISMATCH)])
    moved = plan_resolution("orders", How.ACCEPT, [facts(Reason.CONTENT_MISMATCH, found=OffsetPair(498, 500))])

    assert same is not None
    assert moved is not None
    assert (same.steps, moved.steps) == (
        (GoOn(0, OffsetPair(500, 500), mapped=False),),
        (GoOn(0, OffsetPair(498, 500), mapped=True),),
    )


def test_large_records_are_set_aside_or_tried_again() -> None:
    """`accept` means that the limit was raised."""
    skipped = plan_resolution("orders", How.SKIP, [facts(Reason.RECORD_TOO_LARGE, batch=(500, 503))])
    tried = plan_resolution("orders", How.ACCEPT, [facts(Reason.RECORD_TOO_LARGE)])

    assert skipped is not None
    assert tried is not None
    assert (skipped.steps, tried.steps) == ((GiveUp(0, 500, 503, dead_letter=True),), (Retry(0),))
    assert not tried.losses


def test_a_log_that_was_mended_is_tried_again_and_costs_nothing() -> None:
    """Another replica leads by now, or only the answer was spoiled."""
    plan = plan_resolution("orders", How.SKIP, [facts(Reason.CORRUPT_BATCH, mended=True)])

    assert plan is not None
    assert (plan.steps, plan.losses) == ((Retry(0),), ())


def test_the_digest_is_of_exactly_this_plan() -> None:
    """Facts that changed make another one."""
    one = plan_resolution("orders", How.SKIP, [facts(Reason.OVERTAKEN_BY_RETENTION)])
    same = plan_resolution("orders", How.SKIP, [facts(Reason.OVERTAKEN_BY_RETENTION)])
    other = plan_resolution("orders", How.SKIP, [facts(Reason.OVERTAKEN_BY_RETENTION, source_start=901)])

    assert one is not None
    assert same is not None
    assert other is not None
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("how", list(How))
@pytest.mark.parametrize("others_write", [False, True])
def test_a_source_that_is_written_to_does_not_undo_a_confirmation(
    reason: Reason, how: How, *, others_write: bool
) -> None:
    """Of a busy topic nothing could ever be accepted: its end moved between the question and the answer, each time."""
    if how not in ALLOWED.get(reason, frozenset()):
        return
    plans = []
    for end in (1000, 1007):
        asked = facts(reason, found=OffsetPair(500, 500), batch=(500, 510), source_end=end)
        try:
            plan = plan_resolution("orders", how, [asked], others_write=others_write)
        except (PreflightFailed, UsageError):
            return
        assert plan is not None
        plans.append(plan)
    assert plans[0].digest == plans[1].digest


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("how", list(How))
def test_a_topic_that_others_write_to_is_never_deleted(reason: Reason, how: How) -> None:
    """Unless there is none: whatever else stands still goes on behind what is there, or not at all."""
    asked = facts(reason, found=OffsetPair(500, 500), batch=(500, 510))
    try:
        plan = plan_resolution("orders", how, [asked], others_write=True)
    except UsageError:
        return
    assert plan is not None
    assert (Recreate() in plan.steps) == (reason is Reason.TARGET_MISSING)
    assert all(step.mapped for step in plan.steps if isinstance(step, GoOn))


def test_a_map_begins_anew_where_retention_took_what_tells() -> None:
    """Behind what is recorded, or what the source still has; what may be doubled is said."""
    plan = plan_resolution(
        "orders", How.ACCEPT, [facts(Reason.OVERTAKEN_BY_RETENTION, place=OffsetPair(500, 700))], others_write=True
    )

    assert plan is not None
    assert plan.steps == (GoOn(0, OffsetPair(900, 500), mapped=True),)
    assert [(loss.first, loss.end) for loss in plan.losses] == [(500, 900), (900, 1000)]
    assert "twice" in plan.losses[1].text


def test_a_target_that_was_made_again_gets_all_the_source_holds() -> None:
    """Whatever others have written to it meanwhile."""
    plan = plan_resolution("orders", How.ACCEPT, [facts(Reason.TARGET_RECREATED, target_end=7)], others_write=True)

    assert plan is not None
    assert plan.steps == (GoOn(0, OffsetPair(900, 7), mapped=True),)


def test_another_flows_topic_is_adopted_as_a_whole() -> None:
    """Where its records prove the place; a partition that never held any begins like a new one; nothing is deleted."""
    proven = facts(Reason.OTHER_OWNER, found=OffsetPair(500, 500), equal_from=100)
    empty = facts(Reason.OTHER_OWNER, target_start=0, target_end=0)
    plan = plan_resolution("orders", How.ACCEPT, [proven, empty], owner="flow a-to-c (from a, cluster A)")

    assert plan is not None
    assert plan.steps == (
        Adopt("flow a-to-c (from a, cluster A)"),
        GoOn(0, OffsetPair(500, 500), mapped=False, equal_from=100),
        Retry(0),
    )
    assert not plan.losses, "all that stays was found equal"
    assert "taken over from flow a-to-c" in described(How.ACCEPT, plan, "orders").steps[0]
    with pytest.raises(PreflightFailed) as caught:
        plan_resolution("orders", How.ACCEPT, [facts(Reason.OTHER_OWNER)])
    assert "recreate" not in caught.value.next_step, "it would delete what may be the last copy"


def test_another_flows_topic_that_is_gone_is_made_anew() -> None:
    """There is nothing left of it to lose."""
    gone = facts(Reason.OTHER_OWNER, target_start=None, target_end=None)
    plan = plan_resolution("orders", How.ACCEPT, [gone], owner="flow x")

    assert plan is not None
    assert plan.steps == (Adopt("flow x"), Recreate())
    assert not plan.losses


@pytest.mark.parametrize("reason", [Reason.FOREIGN_WRITER, Reason.CONTENT_MISMATCH, Reason.SOURCE_RECREATED])
def test_recreating_what_may_hold_other_records_loses_all_of_it(reason: Reason) -> None:
    """That the source has offsets of the same numbers proves nothing."""
    plan = plan_resolution("orders", How.RECREATE, [facts(reason, source_start=0)])

    assert plan is not None
    assert [(loss.first, loss.end) for loss in plan.losses] == [(100, 500)]


def test_a_topic_made_anew_goes_on_behind_what_both_hold() -> None:
    """Where that cannot be told it is not appended: it would stand there twice."""
    alike = facts(Reason.SOURCE_RECREATED, source_start=0, source_end=280, found=OffsetPair(260, 500))
    plan = plan_resolution("orders", How.ACCEPT, [alike])

    assert plan is not None
    assert plan.steps == (TakeSource(), GoOn(0, OffsetPair(260, 500), mapped=True))
    assert "below 260 are among them" in plan.losses[0].text
    with pytest.raises(PreflightFailed, match="no record of the source proves") as caught:
        plan_resolution("orders", How.ACCEPT, [facts(Reason.SOURCE_RECREATED, unproven="they stand there 2 times")])
    assert caught.value.why == "they stand there 2 times"


def test_a_batch_that_is_too_large_to_be_opened_is_left_out_or_tried_again() -> None:
    """Nothing of it can be set aside: it would have to be opened for that. What is lost is told first."""
    skipped = plan_resolution("orders", How.SKIP, [facts(Reason.BATCH_TOO_LARGE, batch=(500, 503))])
    tried = plan_resolution("orders", How.ACCEPT, [facts(Reason.BATCH_TOO_LARGE)])
    assert skipped is not None
    assert tried is not None
    assert skipped.steps == (GiveUp(0, 500, 503),)
    assert [(loss.first, loss.end) for loss in skipped.losses] == [(500, 503)]
    assert (tried.steps, tried.losses) == ((Retry(0),), ())
    with pytest.raises(PreflightFailed, match="its end is unknown"):
        plan_resolution("orders", How.SKIP, [facts(Reason.BATCH_TOO_LARGE)])
