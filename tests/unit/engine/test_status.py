"""From slots to the picture of a mirror."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from replicator.core.partition import PartitionCopy, TargetLimits
from replicator.engine.slot import Slot
from replicator.engine.status import _mirror
from replicator.engine.topic_sync import Mirror
from replicator.model.names import TopicPartition
from replicator.model.states import MirrorState, Reason

if TYPE_CHECKING:
    from replicator.engine.pump import Pump

PUMP = cast("Pump", SimpleNamespace(claim=SimpleNamespace(holder="me")))


def slot(partition: int) -> Slot:
    """Return a partition that was copied before and is to be attached again."""
    where = TopicPartition("orders", partition)
    return Slot(where, where, PartitionCopy(where, TargetLimits(1 << 20, 0)), active=True)


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
