"""From slots to the picture of a mirror."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.aio.turns import Turns
from replicator.core.copy.attach_facts import Resume
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.pieces import FILL_AHEAD_MAX, Fill
from replicator.core.copy.values import TargetLimits
from replicator.core.status.health import phases
from replicator.engine.copy.books import CopyCounters, CopyTotals
from replicator.engine.copy.partition import OpenTransaction, Slot
from replicator.engine.copy.recorded import Recorded
from replicator.engine.copy.writing.filler import Filler
from replicator.engine.flow.status import (
    SilentBrokers,
    _mirror,
    _partition,
    _totals,
    at_rest,
    flow_status,
    joined_problems,
)
from replicator.engine.state.topic import StateTopic
from replicator.engine.topics.mirror import Mirror
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Pattern, PatternKind, Selection
from replicator.model.states import FlowState, MirrorState, PartitionPhase, Reason
from replicator.model.status import FlowStatus, MirrorStatus, ShardStatus
from replicator.wire.cluster import Cluster
from replicator.wire.topology import Leader, Topic
from tests.at_once import at_once
from tests.shards import shard_with

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.engine.copy.pump import Pump

FLOW = FlowSpec("f", "east", "west", Selection((Pattern(PatternKind.GLOB, "*"),)))


def cluster(alias: str, node: int) -> Cluster:
    """Return a cluster of brokers 1 to 3, of which one leads all of a topic."""
    made = Cluster(ClusterSpec(alias, (("127.0.0.1", 1),)))
    made.brokers = {number: ("127.0.0.1", number) for number in (1, 2, 3)}
    made.topics["orders"] = Topic("orders", bytes(16), {number: Leader(node, 0) for number in range(10)}, 1)
    return made


def pump_of(*slots: Slot, source: Cluster | None = None, target: Cluster | None = None, **shards: Any) -> Pump:
    """Return a pump of these partitions, as far as status asks for it."""
    there, here = source or cluster("east", 1), target or cluster("west", 2)
    asked = {
        "holder": lambda shard: f"daemon {shard.number}" if shard.number < 8 else None,
        "of": lambda where: shard_with(None, where.partition),
        "works_on": lambda where: where.partition == 7,
        "unheard_seconds": lambda: None,
        "last_holder": lambda _: None,
        "status": tuple,
    }
    made = SimpleNamespace(
        partitions={one.source: one for one in slots},
        sightings=SimpleNamespace(take_silence=lambda _: None),
        context=SimpleNamespace(
            writers=SimpleNamespace(flow=SimpleNamespace(producer_epoch=1)),
            counters=CopyCounters(),
            now=lambda: 100.0,
            leaders_of=lambda one: (there.leader(one.source), here.leader(one.target)),
        ),
        shards=SimpleNamespace(**asked | shards),
        source=SimpleNamespace(cluster=there),
        target=SimpleNamespace(cluster=here),
    )
    return cast("Pump", made)


PUMP = pump_of()


def whole(
    *slots: Slot, silent: SilentBrokers | None = None, partitions: int = 0, pump: Pump | None = None
) -> FlowStatus:
    """Return the picture of a flow that copies these partitions of one topic."""
    mirrors = {"orders": Mirror("orders", "orders", partitions=partitions or len(slots))}
    return at_once(
        flow_status(
            FlowState.ACTIVE,
            FLOW,
            uid="uid",
            mirrors=mirrors,
            pump=pump or pump_of(*slots),
            paused=False,
            reason=None,
            silent=silent or SilentBrokers(),
        )
    )


def mirror_of(mirror: Mirror, slots: Sequence[Slot], pump: Pump) -> MirrorStatus:
    """Return the picture of one topic."""
    return at_once(_mirror(mirror, slots, pump, Turns(), paused=False))


def slot(partition: int) -> Slot:
    """Return a partition that was copied before and is to be attached again."""
    where = TopicPartition("orders", partition)
    return Slot(where, where, PartitionCopy(where, TargetLimits(1 << 20, 0)), shard_with(), Recorded(active=True))


def test_a_mirror_says_what_one_of_its_partitions_waits_for() -> None:
    """Also when it is not the first of them, and the others in the same state go on."""
    slots = [slot(0), slot(1)]
    slots[1].copy.wait(Reason.WAITING_FOR_ACCESS, "no right")
    picture = mirror_of(Mirror("orders", "orders"), slots, PUMP)
    assert (picture.state, picture.reason, picture.detail) == (
        MirrorState.ACTIVE,
        Reason.WAITING_FOR_ACCESS,
        "no right",
    )


def test_a_stopped_partition_comes_first() -> None:
    """What needs a decision outweighs what goes on by itself."""
    slots = [slot(0), slot(1)]
    slots[0].copy.wait(Reason.WAITING_FOR_ACCESS, "no right")
    slots[1].copy.fault(Reason.FOREIGN_WRITER, "someone")
    picture = mirror_of(Mirror("orders", "orders"), slots, PUMP)
    assert (picture.state, picture.reason, picture.detail) == (MirrorState.FAULTED, Reason.FOREIGN_WRITER, "someone")


def copied(partition: int, *, fill: int = 0) -> Slot:
    """Return a partition that is copied; offsets without a record come next."""
    made = slot(partition)
    made.copy.resume(Resume(10, 10, None))
    if fill:
        made.copy.fill(Fill(10, fill))
    return made


def held_up(made: Slot, seconds: float) -> Slot:
    """Let an open transaction be found."""
    made.seen.observe_stable(10, 99, 100.0 - seconds)
    made.seen.open_transaction = OpenTransaction(10, 4711, "producer id 4711")
    return made


def shown(made: Slot) -> tuple[Reason | None, str | None, float | None]:
    """Return what is said of a partition, and for how long a transaction has held it up."""
    picture = _partition(made, PUMP)
    return picture.reason, picture.detail, picture.open_transaction_seconds


def test_an_open_transaction_is_shown_while_the_stable_offset_stands() -> None:
    """The moment it moves on it is over, also before anybody looked again."""
    made = held_up(copied(0), 12.0)
    assert shown(made) == (Reason.OPEN_TRANSACTION, "producer id 4711", 12.0)
    made.seen.observe_stable(99, 99, 100.0)
    assert shown(made) == (None, None, None)


def test_what_the_machine_says_comes_before_an_open_transaction() -> None:
    """A partition that cannot write has a nearer trouble; for how long the source stands is still told."""
    made = held_up(copied(0), 12.0)
    made.copy.sending.waits_for_claim = True
    assert shown(made) == (Reason.WAITING_FOR_CLAIM, None, 12.0)
    made.copy.fault(Reason.FOREIGN_WRITER, "someone")
    assert shown(made) == (Reason.FOREIGN_WRITER, "someone", 12.0)
    paused = held_up(copied(0), 12.0)
    paused.copy.pause()
    assert shown(paused) == (None, None, 12.0)


def test_a_long_fill_says_how_much_and_how_long() -> None:
    """No time before the first accepted round; and also while a round is on its way."""
    made = copied(0, fill=1_254_567)
    assert shown(made)[:2] == (Reason.FILLING, "filling 1,254,567 offsets without a record")
    round_one = made.copy.begin_fill(20_000)
    made.copy.filled(round_one, made.copy.episode, 20_010)
    made.fill_pace.accepted(round_one, made.copy.episode, 90.0, 92.0)
    made.copy.begin_fill(20_000)
    assert shown(made)[:2] == (Reason.FILLING, "filling 1,234,567 offsets without a record, about 2m03s left")


def test_an_accepted_round_of_a_fill_sets_its_pace() -> None:
    """From when it was sent until now; a refused one says nothing."""
    made = copied(0, fill=20_000)
    made.recorded.active = True
    told: Any = SimpleNamespace(now=lambda: 100.0, counters=CopyCounters(), start=lambda work: work.close())
    round_one = made.copy.begin_fill(10_000)
    Filler(told, told, 1)._filled(made, round_one, made.copy.episode, 10_010, 98.0)
    assert shown(made)[:2] == (Reason.FILLING, "filling 10,000 offsets without a record, about 2.0s left")


@pytest.mark.parametrize(("length", "reason"), [(FILL_AHEAD_MAX, None), (FILL_AHEAD_MAX + 1, Reason.FILLING)])
def test_a_short_fill_is_no_news(length: int, reason: Reason | None) -> None:
    """Every transaction has one."""
    assert shown(copied(0, fill=length))[0] is reason


def test_an_open_transaction_comes_before_a_fill() -> None:
    """In a partition and in a mirror: a fill goes on by itself."""
    assert shown(held_up(copied(0, fill=5000), 12.0))[0] is Reason.OPEN_TRANSACTION
    slots = [copied(0, fill=5000), held_up(copied(1), 12.0)]
    picture = mirror_of(Mirror("orders", "orders"), slots, PUMP)
    assert (picture.reason, picture.detail) == (Reason.OPEN_TRANSACTION, "producer id 4711")
    assert mirror_of(Mirror("orders", "orders"), slots[:1], PUMP).reason is Reason.FILLING


def test_filled_offsets_are_counted() -> None:
    """Of the whole flow, since the daemon began."""
    pump = SimpleNamespace(context=SimpleNamespace(counters=CopyCounters(CopyTotals(filled=77))))
    assert _totals(cast("Pump", pump)).filled_offsets_total == 77


def test_each_partition_is_in_one_phase() -> None:
    """ACTIVE is what it was, too, while it is attached again; the phase says what is done about it."""
    attaching, waits, denied, unclaimed = slot(0), slot(1), slot(2), copied(3)
    waits.copy.wait(Reason.WAITING_FOR_LEADER, "no leader")
    denied.copy.wait(Reason.WAITING_FOR_ACCESS, "no right")
    unclaimed.copy.sending.waits_for_claim = True
    faulted, paused = copied(4), copied(5)
    faulted.copy.fault(Reason.FOREIGN_WRITER, "someone")
    paused.copy.pause()
    found = [_partition(one, PUMP) for one in (attaching, waits, denied, unclaimed, faulted, paused, copied(6))]
    attach, wait, stop = PartitionPhase.ATTACHING, PartitionPhase.WAITING, PartitionPhase.STOPPED
    assert [one.phase for one in found] == [attach, wait, stop, wait, stop, stop, PartitionPhase.COPYING]


def test_a_partition_whose_leader_does_not_answer_waits_for_it() -> None:
    """Whatever its machine believes: it learns of it with the next record only."""
    silent = SilentBrokers(target={2: ", last heard 12s ago"})
    found = _partition(copied(0), PUMP, silent)
    assert (found.phase, found.reason) == (PartitionPhase.WAITING, Reason.WAITING_FOR_LEADER)
    assert found.detail == "west broker 2, its leader, does not answer, last heard 12s ago"
    assert _partition(copied(0), PUMP, SilentBrokers(target={3: ""})).phase is PartitionPhase.COPYING


def test_a_partition_of_ours_that_was_not_begun_with_is_nobody_elses() -> None:
    """The first pass has found it, and the next step attaches it; one that nobody works on waits."""
    mirror = Mirror("orders", "orders", partitions=9)
    found = mirror_of(mirror, [], PUMP).partitions
    assert (found[0].phase, found[0].reason) == (None, Reason.HELD_ELSEWHERE)
    assert (found[7].phase, found[7].state, found[7].reason) == (PartitionPhase.ATTACHING, MirrorState.PENDING, None)
    assert (found[8].phase, found[8].reason) == (PartitionPhase.WAITING, Reason.WAITING_FOR_LEASE)


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


def test_a_partition_without_a_leader_waits_for_the_broker_that_is_away() -> None:
    """The cluster has dropped it from its list by then, so its silence shows nowhere else; also before the attach."""
    one = copied(0)
    one.lag.reach(10)
    one.lag.observe(10, 99.0)
    assert _partition(one, PUMP).lag_records == 0
    target = cluster("west", 2)
    del target.brokers[2]
    target.topics["orders"] = Topic("orders", bytes(16), {0: Leader(-1, 0)}, 1, leaderless={0: (2,)})
    for waits in (one, slot(0)):
        found = _partition(waits, pump_of(waits, target=target))
        assert (found.phase, found.reason) == (PartitionPhase.WAITING, Reason.WAITING_FOR_LEADER)
        assert found.detail == "west has no leader for it now: broker 2 is away"
        assert found.lag_records is None


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
