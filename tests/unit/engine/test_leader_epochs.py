"""Batches that claim a leader epoch which metadata do not tell: those may be old, and no checksum covers the claim."""

from __future__ import annotations

from replicator.core.copy.values import TargetLimits
from replicator.core.offsets.resolution import Retry, plan_resolution
from replicator.engine.offsets.resolve_facts import FactFinder
from replicator.engine.topics.mirror import Mirror
from replicator.model.operations.resolution import How, ResolutionOrder
from replicator.model.status.states import Reason
from replicator.state_pb import state_pb2 as pb
from tests.unit.engine.log_broker import Log, written
from tests.unit.engine.log_world import ZERO, World, copied, opened, worlds

__all__ = ["worlds"]


async def test_metadata_that_are_old_stop_nothing(worlds: list[World]) -> None:
    """A broker tells what it heard last; the leader itself knows, and is asked before anything is called a lie."""
    world = await opened(worlds)
    source = Log([written(0, 50), written(50, 50, epoch=4)], end=100)
    world.source.present_epoch = 4
    slot = world.add(ZERO, source, copied(50, 50))
    world.run()
    await world.until(lambda: "metadata still say 3" in (slot.copy.detail or ""))
    assert slot.copy.reason is Reason.WAITING_FOR_BROKER

    world.source.leader_epoch = 4
    await world.until(lambda: slot.copy.acked_offset == 100)
    assert slot.copy.reading.last_epoch == 4


async def test_what_the_leader_does_not_know_of_is_stopped_at_and_gone_on_from(worlds: list[World]) -> None:
    """A bit was flipped, or the cluster's metadata were made anew under its logs: the records themselves are sound."""
    world = await opened(worlds)
    batches = [written(0, 50), written(50, 20, epoch=4000), written(70, 20), written(90, 10, epoch=4000)]
    slot = world.add(ZERO, Log(batches, end=100), copied(50, 50))
    world.run()
    await world.until(slot.copy.is_faulted)
    assert slot.copy.reason is Reason.CORRUPT_BATCH
    assert "claims leader epoch 4000, its leader is at 3" in (slot.copy.detail or "")
    assert "--how skip" in (slot.copy.detail or "")

    mirror = Mirror("orders-1", "orders-1", partitions=4, active={0})
    facts = await FactFinder(world.pump).of(
        mirror, ResolutionOrder("orders-1", How.SKIP, partitions=(0,)), adopts=False
    )
    plan = plan_resolution("orders-1", How.SKIP, facts)
    assert plan is not None
    assert (plan.steps, plan.losses) == ((Retry(0, epochs_unproven=100),), ())

    world.pump.remove(slot)
    again = world.pump.add(ZERO, ZERO, TargetLimits(1 << 20, 1000))
    again.recorded.active, again.recorded.epochs_unproven = True, 100
    await world.until(lambda: again.copy.acked_offset == 100 or again.copy.is_faulted())
    assert again.copy.acked_offset == 100
    assert again.copy.reading.last_epoch == -1, "it would be answered as if the log had another history"


def test_what_was_decided_is_kept_with_the_mirror() -> None:
    """And whoever does not know of it keeps it."""
    stored = pb.MirrorRecord(source_topic="orders", epochs_unproven={0: 100})
    mirror = Mirror("orders", "orders")
    mirror.take(stored)
    assert mirror.epochs_unproven == {0: 100}
    assert dict(mirror.as_record(("uid", "f"), stored).epochs_unproven) == {0: 100}
