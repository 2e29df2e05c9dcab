"""From slots to the picture of a mirror."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.core.copy.reading.pieces import FILL_AHEAD_MAX
from replicator.engine.copy.books import CopyCounters, CopyTotals
from replicator.engine.copy.writing.filler import Filler
from replicator.engine.flow.status import SilentBrokers, _partition, _totals
from replicator.engine.topics.mirror import Mirror
from replicator.model.status.states import MirrorState, PartitionPhase, Reason
from replicator.wire.topology import Leader, Topic
from tests.unit.engine.status_samples import PUMP, cluster, copied, held_up, mirror_of, pump_of, shown, slot

if TYPE_CHECKING:
    from replicator.engine.copy.pump import Pump


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
