"""From slots to the picture of a mirror."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from replicator.core.answers import ProduceOutcome
from replicator.core.attach_facts import Resume
from replicator.core.intake import FILL_AHEAD_MAX, Fill
from replicator.core.partition import PartitionCopy
from replicator.core.partition_values import TargetLimits
from replicator.engine.filler import Filler
from replicator.engine.mirror import Mirror
from replicator.engine.pump import Totals
from replicator.engine.slot import OpenTransaction, Slot
from replicator.engine.status import _mirror, _partition, _totals
from replicator.model.names import TopicPartition
from replicator.model.states import MirrorState, Reason
from tests.shards import shard_with

if TYPE_CHECKING:
    from replicator.engine.pump import Pump

PUMP = cast(
    "Pump",
    SimpleNamespace(
        shards=SimpleNamespace(
            holder=lambda shard: f"daemon {shard.number}", of=lambda where: shard_with(None, where.partition)
        ),
        now=lambda: 100.0,
    ),
)


def slot(partition: int) -> Slot:
    """Return a partition that was copied before and is to be attached again."""
    where = TopicPartition("orders", partition)
    return Slot(where, where, PartitionCopy(where, TargetLimits(1 << 20, 0)), shard_with(), active=True)


def test_a_mirror_says_what_one_of_its_partitions_waits_for() -> None:
    """Also when it is not the first of them, and the others in the same state go on."""
    slots = [slot(0), slot(1)]
    slots[1].copy.wait(Reason.WAITING_FOR_ACCESS, "no right")
    picture = _mirror(Mirror("orders", "orders"), slots, PUMP, paused=False)
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
    picture = _mirror(Mirror("orders", "orders"), slots, PUMP, paused=False)
    assert (picture.state, picture.reason, picture.detail) == (MirrorState.FAULTED, Reason.FOREIGN_WRITER, "someone")


def copied(partition: int, *, fill: int = 0) -> Slot:
    """Return a partition that is copied; offsets without a record come next."""
    made = slot(partition)
    made.copy.resume(Resume(10, 10, None))
    if fill:
        made.copy.queue_fill(Fill(10, fill))
    return made


def held_up(made: Slot, seconds: float) -> Slot:
    """Let an open transaction be found."""
    made.observe_stable(10, 99, 100.0 - seconds)
    made.open_transaction = OpenTransaction(10, 4711, "producer id 4711")
    return made


def shown(made: Slot) -> tuple[Reason | None, str | None, float | None]:
    """Return what is said of a partition, and for how long a transaction has held it up."""
    picture = _partition(made, PUMP)
    return picture.reason, picture.detail, picture.open_transaction_seconds


def test_an_open_transaction_is_shown_while_the_stable_offset_stands() -> None:
    """The moment it moves on it is over, also before anybody looked again."""
    made = held_up(copied(0), 12.0)
    assert shown(made) == (Reason.OPEN_TRANSACTION, "producer id 4711", 12.0)
    made.observe_stable(99, 99, 100.0)
    assert shown(made) == (None, None, None)


def test_what_the_machine_says_comes_before_an_open_transaction() -> None:
    """A partition that cannot write has a nearer trouble; for how long the source stands is still told."""
    made = held_up(copied(0), 12.0)
    made.copy.waits_for_claim = True
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
    made.active = True
    told = SimpleNamespace(now=lambda: 100.0, count_fill=lambda *_: None, start_task=lambda work: work.close())
    round_one = made.copy.begin_fill(10_000)
    Filler(cast("Pump", told), 1)._filled(made, round_one, made.copy.episode, 10_010, 98.0)
    assert shown(made)[:2] == (Reason.FILLING, "filling 10,000 offsets without a record, about 2.0s left")


@pytest.mark.parametrize(("length", "reason"), [(FILL_AHEAD_MAX, None), (FILL_AHEAD_MAX + 1, Reason.FILLING)])
def test_a_short_fill_is_no_news(length: int, reason: Reason | None) -> None:
    """Every transaction has one."""
    assert shown(copied(0, fill=length))[0] is reason


def test_an_open_transaction_comes_before_a_fill() -> None:
    """In a partition and in a mirror: a fill goes on by itself."""
    assert shown(held_up(copied(0, fill=5000), 12.0))[0] is Reason.OPEN_TRANSACTION
    slots = [copied(0, fill=5000), held_up(copied(1), 12.0)]
    picture = _mirror(Mirror("orders", "orders"), slots, PUMP, paused=False)
    assert (picture.reason, picture.detail) == (Reason.OPEN_TRANSACTION, "producer id 4711")
    assert _mirror(Mirror("orders", "orders"), slots[:1], PUMP, paused=False).reason is Reason.FILLING


def test_filled_offsets_are_counted() -> None:
    """Of the whole flow, since the daemon began."""
    pump = SimpleNamespace(totals=Totals(filled=77), outcomes=dict.fromkeys(ProduceOutcome, 0))
    assert _totals(cast("Pump", pump)).filled_offsets_total == 77
