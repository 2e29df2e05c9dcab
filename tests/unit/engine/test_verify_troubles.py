"""Troubles of a verification belong to the partition that had them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from replicator.core.copy.attaching.facts import Resume
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import TargetLimits
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.verify.continuous import ContinuousVerify, Verifier
from replicator.errors import ConnectionFailed
from replicator.model.names import TopicPartition
from replicator.model.spec import FlowSpec, Pattern, PatternKind, Selection
from tests.pumps import pump_with
from tests.shards import shard_with

WHERE = TopicPartition("orders", 0)
FLOW = FlowSpec("f", "east", "west", Selection((Pattern(PatternKind.GLOB, "*"),)))


def copied() -> Slot:
    """Return a partition in an episode."""
    copy = PartitionCopy(WHERE, TargetLimits(1000, 1000))
    copy.resume(Resume(10, 10, None))
    return Slot(WHERE, WHERE, copy, shard_with())


async def test_a_partition_made_anew_inherits_neither_rest_nor_finds() -> None:
    """It is another copy: what stood in the way of the one before says nothing of it."""
    slots = {WHERE: copied()}
    verify = ContinuousVerify(FLOW, cast("Any", pump_with(slots=slots, now=lambda: 100.0)))
    compared: list[object] = []

    async def compare_next(span: Any) -> bool:
        compared.append(span.track)
        raise ConnectionFailed("cannot be read", cluster="west")

    verifier = cast("Verifier", SimpleNamespace(compare_next=compare_next))
    (first,) = verify._spans()
    for _ in range(2):
        await verify._compare_next(verifier, first)
    assert compared == [first.track], "it rests"
    verify._reported.add(first.track)

    slots[WHERE] = copied()
    verify._forget_what_is_gone()
    (second,) = verify._spans()
    await verify._compare_next(verifier, second)

    assert compared == [first.track, second.track]
    assert first.track not in verify._reported
