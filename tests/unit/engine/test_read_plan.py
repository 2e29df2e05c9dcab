"""What a reader asks of its fetch session: which partitions it lists, and which it has to forget."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import TargetLimits
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.reading.read_plan import ReadPlan
from replicator.model.names import TopicPartition

_FULL, _OTHER = TopicPartition("orders", 0), TopicPartition("orders", 1)


def _slot(where: TopicPartition) -> Slot:
    shard: Any = None
    return Slot(where, where, PartitionCopy(where, TargetLimits(1000, 1000)), shard)


class _Plan(ReadPlan):
    """A plan of partitions of which those in `full` want no more."""

    def __init__(self) -> None:
        self.full: set[TopicPartition] = set()
        cluster = SimpleNamespace(leader=lambda _: SimpleNamespace(epoch=0))
        frames = SimpleNamespace(frame_bytes=1 << 20)
        context: Any = SimpleNamespace(
            source=SimpleNamespace(cluster=cluster), line=SimpleNamespace(frames=frames), opener=None
        )
        supervisor: Any = SimpleNamespace(wants_more=lambda slot: slot.source not in self.full)
        super().__init__(context, supervisor)


def _full_with_nothing_else_to_read() -> tuple[_Plan, list[TopicPartition]]:
    """Return a plan whose only partition was listed, and is full by now; and what the session has to forget."""
    plan = _Plan()
    plan.add(_slot(_FULL))
    assert list(plan.changes()[0]) == [_FULL]
    plan.full.add(_FULL)
    plan.recheck(_FULL)
    changed, gone = plan.changes()
    assert not changed
    return plan, gone


def test_what_no_request_said_is_forgotten_with_the_next_one() -> None:
    """Nothing is left to read, so nothing is sent; the next request has to say it, whatever it is about."""
    plan, gone = _full_with_nothing_else_to_read()
    assert gone == [_FULL]
    plan.forget_later(*gone)
    plan.add(_slot(_OTHER))

    changed, gone = plan.changes()

    assert list(changed) == [_OTHER]
    assert gone == [_FULL]
    assert plan.changes() == ({}, [])


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_partition_that_is_read_again_by_then_is_only_listed_anew(*, is_removed: bool) -> None:
    """Its new place replaces the one that the session has."""
    plan, gone = _full_with_nothing_else_to_read()
    plan.forget_later(*gone)
    if is_removed:
        plan.remove(plan.slots[_FULL])
        plan.add(_slot(_OTHER))
        assert plan.changes()[1] == [_FULL]
        return
    plan.full.clear()

    changed, gone = plan.changes()

    assert list(changed) == [_FULL]
    assert gone == []
