"""What the status of a whole flow says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicator.core.status.health import phases
from replicator.engine.flow.status import SilentBrokers, _partition, at_rest, flow_status, joined_problems
from replicator.engine.state.topic.partition import StateTopic
from replicator.engine.topics.mirror import Mirror
from replicator.model.security import ClusterSpec
from replicator.model.status.snapshots import ShardStatus
from replicator.model.status.states import FlowState, MirrorState, PartitionPhase, Reason
from replicator.wire.cluster import Cluster
from tests.at_once import at_once
from tests.unit.engine.status_samples import FLOW, PUMP, copied, held_up, mirror_of, pump_of, shown, slot, whole


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    """Of a partition that was never attached, or that nobody has looked at for long, nobody knows how far it is."""
    known, fresh, old = copied(0), slot(1), copied(2)
    known.lag.observe(17, 95.0)
    known.lag.reach(10)
    assert whole(known).lag_records == 7
    assert whole(known, fresh).lag_records is None
    old.lag.reach(10)
    old.lag.observe(10, 60.0)
    assert (whole(known, old).lag_records, _partition(old, PUMP).lag_records) == (None, None)


def test_a_flow_is_as_safe_as_its_least_copied_partition() -> None:
    """Each shows its own figure; one that was never level, or never seen, leaves that of the flow unknown."""
    one, two = copied(0), copied(1)
    one.lag.reach(10)
    one.lag.observe(10, 99.0)
    two.lag.reach(10)
    two.lag.observe(10, 60.0)
    two.lag.observe(15, 98.0)
    assert [_partition(each, PUMP).rpo_seconds for each in (one, two)] == [1.0, 40.0]
    assert [_partition(each, PUMP).source_seen_age_seconds for each in (one, two)] == [1.0, 2.0]
    both, more = whole(one, two), whole(one, copied(2))
    assert (both.rpo_seconds, both.source_seen_age_seconds) == (40.0, 2.0)
    assert (more.rpo_seconds, more.source_seen_age_seconds) == (None, None)


@pytest.mark.parametrize("reason", [Reason.SOURCE_MISSING, Reason.FENCED])
def test_what_is_nobodys_to_copy_makes_no_figure_of_the_flow_unknown(reason: Reason) -> None:
    """A topic that was deleted is not seen again, and one that changed hands is not looked at: nothing is at risk."""
    level, gone = slot(0), slot(1)
    for one, seen_at in ((level, 99.0), (gone, 10.0)):
        one.lag.observe(7, seen_at)
        one.lag.reach(7)
        one.copy.episode = 1
    assert whole(level, gone).source_seen_age_seconds == 90.0
    gone.copy.fault(reason, "why")
    assert whole(level, gone).source_seen_age_seconds == 1.0
    assert whole(level, gone).rpo_seconds == whole(level).rpo_seconds


def test_a_fenced_partition_shows_no_figure_of_before_the_fence() -> None:
    """The target is written to by others since, and the source perhaps, too."""
    fenced = slot(0)
    fenced.lag.observe(10, 50.0)
    fenced.lag.reach(7)
    fenced.copy.episode = 1
    fenced.copy.fault(Reason.FENCED, "a switch")
    shown = _partition(fenced, PUMP)
    assert (shown.source_end, shown.target_end, shown.lag_records) == (None, None, None)


def test_nothing_is_level_with_a_broker_that_does_not_answer() -> None:
    """What is surely behind still is."""
    level, behind = copied(0), copied(1)
    for one, end in ((level, 10), (behind, 14)):
        one.lag.reach(10)
        one.lag.observe(end, 99.0)
    silent = SilentBrokers(source={1: ", last heard 12s ago"})
    found = [_partition(one, PUMP, silent) for one in (level, behind)]
    assert [one.lag_records for one in found] == [None, 4]
    assert whole(level, behind, silent=silent).lag_records is None


def test_an_open_transaction_is_as_long_as_the_source_was_seen() -> None:
    """Once it is unseen, nobody knows whether it is open still."""
    made = held_up(copied(0), 60.0)
    made.lag.observe(10, 70.0)
    assert shown(made)[2] == 30.0


def test_whoever_worked_on_a_partition_may_still_do_so_where_nobody_can_be_heard() -> None:
    """An old sign of life is no sign of an end: the state topic was not read since."""
    deaf: dict[str, Any] = {"holder": lambda _: None, "unheard_seconds": lambda: 42.0}
    known = pump_of(**deaf, last_holder=lambda shard: f"daemon {shard.number}")
    found = mirror_of(Mirror("orders", "orders", partitions=1, active={0}), [], known).partitions[0]
    assert (found.state, found.reason, found.holder) == (MirrorState.ACTIVE, Reason.HELD_ELSEWHERE, "daemon 0")
    assert found.detail == "copied by daemon 0 when other daemons were last heard: nothing for 42.0s"
    assert found.phase is None
    nobody = mirror_of(Mirror("orders", "orders", partitions=1), [], pump_of(**deaf)).partitions[0]
    assert (nobody.reason, nobody.holder, nobody.phase) == (Reason.HELD_ELSEWHERE, None, None)
    assert nobody.detail == "not known who works on it: nothing for 42.0s"


def test_nothing_of_a_flow_that_has_ended_is_copied_or_held() -> None:
    """Whatever its machines stood at; what was stopped before stays what it was."""
    faulted, open_one = copied(2), held_up(copied(0), 12.0)
    faulted.copy.fault(Reason.FOREIGN_WRITER, "someone")
    shards = (ShardStatus(0, "me", held=True, epoch=3), ShardStatus(1, "other", held=False, epoch=None))
    before = replace(whole(open_one, slot(1), faulted), shards=shards, coordinator_answers=True)
    after = at_rest(before)
    assert [(one.held, one.holder, one.epoch) for one in after.shards] == [(False, None, None), (False, "other", None)]
    parts = after.mirrors[0].partitions
    assert {one.phase for one in parts} == {PartitionPhase.STOPPED}
    assert {(one.holder, one.open_transaction_seconds) for one in parts} == {(None, None)}
    states = [after.mirrors[0].state, *(one.state for one in parts)]
    assert states == [MirrorState.FAULTED, MirrorState.PENDING, MirrorState.PENDING, MirrorState.FAULTED]
    assert after.coordinator_answers is None


def test_what_another_daemon_copies_does_not_rest_with_the_flow_that_ended_here() -> None:
    """It is held by that one, as it was last heard; of what nobody worked on nobody knows by now."""
    ours = copied(0)
    mirrors = {"orders": Mirror("orders", "orders", partitions=9, active={1})}
    picture = at_once(
        flow_status(
            FlowState.FAULTED, FLOW, uid="uid", mirrors=mirrors, pump=pump_of(ours), paused=False, reason="ended"
        )
    )
    after = at_rest(picture)
    parts = after.mirrors[0].partitions
    assert (parts[1].state, parts[1].reason, parts[1].holder) == (MirrorState.ACTIVE, Reason.HELD_ELSEWHERE, "daemon 1")
    assert (parts[8].reason, parts[8].holder, parts[8].phase) == (Reason.HELD_ELSEWHERE, None, None)
    assert phases(after) == {
        PartitionPhase.ATTACHING: 0,
        PartitionPhase.COPYING: 0,
        PartitionPhase.WAITING: 0,
        PartitionPhase.STOPPED: 2,  # the one that was copied, and one of ours that was not begun with
    }
    elsewhere = replace(picture.mirrors[0], partitions=picture.mirrors[0].partitions[1:3], state=MirrorState.ACTIVE)
    assert at_rest(replace(picture, mirrors=(elsewhere,))).mirrors[0].state is MirrorState.ACTIVE


def test_the_loss_of_the_state_topic_is_told_once() -> None:
    """Whoever cannot use it says so in words of its own; what is about something else stays."""
    topic = StateTopic(Cluster(ClusterSpec("west", (("w", 1),))))
    before = topic._is_lost("it was deleted").with_next_step()
    claim = f"the claim of shard 0 is not held: {before}"
    topic._is_lost("it was deleted and created again")
    assert topic.lost is not None
    assert topic.lost != before
    told = joined_problems([topic.lost, "rules: one is missing", before, claim, None], topic.lost, topic.is_gone)
    assert told == f"{topic.lost}; rules: one is missing"
    assert joined_problems(["a", "b: a", None, "b: a"], None, topic.is_gone) == "b: a"
    assert joined_problems([None], None, "") is None


def test_a_partition_that_waits_for_the_state_topic_says_so() -> None:
    """That is no leader to be looked for."""
    waits = slot(0)
    waits.copy.wait(Reason.STATE_LOST, "replicator.state is gone")
    found = _partition(waits, PUMP)
    assert (found.phase, found.reason, found.detail) == (
        PartitionPhase.WAITING,
        Reason.STATE_LOST,
        "replicator.state is gone",
    )
