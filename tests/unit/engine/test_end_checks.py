"""Logs that end in a hole, though no cleaner runs on them any more: their leader proves it, or nothing is concluded."""

from __future__ import annotations

import asyncio

import pytest

from replicator.core.copy.reading.pieces import Fill
from replicator.core.offsets.offset_map import OffsetPair
from replicator.engine.copy.reading.end_checks import EndChecks
from replicator.model.status.states import Reason
from tests.unit.engine.log_broker import Log, written
from tests.unit.engine.log_world import ONE, ZERO, World, copied, opened, worlds

__all__ = ["worlds"]


async def test_the_end_of_a_log_that_was_compacted_once_is_filled(worlds: list[World]) -> None:
    """The lag stayed above 0 until the next record came."""
    world = await opened(worlds)
    slot = world.add(ZERO, Log([written(0, 50), written(50, 40)], end=100), copied(50, 50))
    world.run()
    await world.until(lambda: slot.copy.sending.head_fill is not None)

    assert slot.copy.sending.head_fill == Fill(90, 10)
    assert (slot.copy.acked_offset, slot.copy.reading.next_offset) == (90, 100)


async def test_an_attach_behind_such_an_end_goes_on(worlds: list[World]) -> None:
    """It waited for a leader for ever, as the source "gives nothing"."""
    world = await opened(worlds)
    slot = world.add(ZERO, Log([written(0, 90)], end=100), copied(90, 100))
    world.run()
    await world.until(slot.copy.is_copying)

    assert slot.copy.reading.next_offset == 100


async def test_the_last_record_may_be_in_the_hole(worlds: list[World]) -> None:
    """A tombstone that was copied and cleaned away since is no lost history: its leader holds nothing at its offset."""
    world = await opened(worlds)
    slot = world.add(ZERO, Log([written(0, 90)], end=100), copied(95, 100))
    world.run()
    await world.until(lambda: slot.copy.is_copying() or slot.copy.is_faulted())

    assert (slot.copy.reason, slot.copy.reading.next_offset) == (None, 100)


SHOWS_TOO_LITTLE = {
    "a remote tier that is slow": (Log([written(0, 90)], end=100, local=100, slow=True), True),
    "a leader that does not tell": (Log([written(0, 90)], end=100), False),
}


@pytest.mark.parametrize("name", SHOWS_TOO_LITTLE)
async def test_an_end_that_is_not_proven_is_waited_for(worlds: list[World], name: str) -> None:
    """Nothing is filled, and the attach says what it waits for."""
    log, tells_local = SHOWS_TOO_LITTLE[name]
    world = await opened(worlds, tells_local=tells_local)
    slot = world.add(ZERO, log, copied(90, 100))
    reading = world.add(ONE, Log([written(0, 90)], end=90), copied(90, 90))
    world.run()
    await world.until(lambda: slot.copy.reason is not None and reading.copy.is_copying())
    there = world.source.logs[ONE]
    there.end, there.local, there.slow = 95, log.local, log.slow
    reading.lag.observe(95, world.pump.context.now())
    world.source.looks.clear()
    await world.until(lambda: (ONE, 90) in world.source.looks)
    await asyncio.sleep(0.2)

    assert slot.copy.reason is Reason.WAITING_FOR_BROKER
    assert "returns nothing from offset" in (slot.copy.detail or "")
    assert reading.copy.sending.head_fill is None
    assert reading.copy.reading.next_offset <= 90


async def test_what_stands_above_an_open_transaction_is_no_hole(worlds: list[World]) -> None:
    """A reader of committed records is shown nothing there."""
    world = await opened(worlds)
    slot = world.add(ZERO, Log([written(0, 90)], end=100, stable=95), copied(90, 90))
    world.run()
    await world.until(lambda: slot.copy.sending.head_fill is not None)

    assert slot.copy.sending.head_fill == Fill(90, 5)


async def test_looks_at_ends_are_bounded_and_come_round(worlds: list[World], monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions that only wait for their turn are not asked for all at once, and keep nobody else from being."""
    monkeypatch.setattr("replicator.engine.copy.reading.end_checks._READS_AT_ONCE", 1)
    monkeypatch.setattr("replicator.engine.copy.reading.end_checks._IN_VAIN_MAX", 1)
    world = await opened(worlds)
    waits = world.add(ZERO, Log([written(0, 50), written(50, 50)], end=100), copied(50, 50))
    ends = world.add(ONE, Log([written(0, 50)], end=100), copied(50, 50))
    world.pump.routes.queued_bytes_max = 0  # nothing is read
    world.run()
    await world.until(lambda: waits.copy.is_copying() and ends.copy.is_copying())
    for slot in (waits, ends):
        slot.lag.observe(100, world.pump.context.now())
    world.source.looks.clear()
    await world.until(lambda: ends.copy.sending.head_fill is not None)

    assert waits.copy.sending.head_fill is None
    assert ends.copy.sending.head_fill == Fill(50, 50)
    assert len([where for where, _ in world.source.looks if where == ZERO]) <= 4


async def test_who_waits_for_its_turn_is_not_looked_at_yet(worlds: list[World]) -> None:
    """Each look of that kind read a batch of 50 MB in vain, while others of the same size were copied."""
    world = await opened(worlds)
    slot = world.add(ZERO, Log([written(0, 50), written(50, 50)], end=100), copied(50, 50))
    world.run()
    await world.until(lambda: slot.copy.is_copying() and slot in world.pump.routes._reader_of)
    looks, reader = world.pump.end_checks, world.pump.routes._reader_of[slot]

    reader.is_crowded = False
    assert [looks._is_due(slot, seconds) for seconds in (0.5, 2.0, 40.0)] == [False, True, True]
    reader.is_crowded = True
    assert [looks._is_due(slot, seconds) for seconds in (0.5, 2.0, 40.0)] == [False, False, True]


def _flipped(raw: bytes) -> bytes:
    """Return a batch one bit of whose records is another."""
    return raw[:-2] + bytes([raw[-2] ^ 1]) + raw[-1:]


async def test_a_damaged_target_stops_its_partition_and_says_what_helps(worlds: list[World]) -> None:
    """Whether it is met at the end of the log, or where a batch landed behind something unknown."""
    world = await opened(worlds)
    source = Log([written(0, 100)], end=100)
    at_end = world.add(ZERO, source, Log([_flipped(written(0, 100, producer_id=100))], end=100))
    overlapping = [written(0, 60, producer_id=100), written(50, 50, producer_id=100)]
    behind = world.add(ONE, source, Log(overlapping, end=100))
    behind.copy.displaced = OffsetPair(90, 95)
    world.run()
    await world.until(lambda: at_end.copy.is_faulted() and behind.copy.is_faulted())

    for slot in (at_end, behind):
        assert slot.copy.reason is Reason.CORRUPT_BATCH
        assert f"{slot.target} of the target west holds a damaged batch" in (slot.copy.detail or "")
        assert "--how recreate" in (slot.copy.detail or "")


async def test_looks_leave_a_quota_to_those_that_copy(worlds: list[World]) -> None:
    """Each took what the source gave in ten seconds, and the copy stood still for as long as the quota was set."""
    world = await opened(worlds)
    slots = [world.add(where, Log([written(0, 50)], end=50), copied(50, 50)) for where in (ZERO, ONE)]
    world.run()
    await world.until(lambda: all(slot.copy.is_copying() for slot in slots))
    cluster = world.pump.source.cluster
    leader = cluster.leader(ZERO)
    assert leader is not None
    looks, began = EndChecks(world.pump.context, world.pump), world.pump.context.now()
    assert looks.spared(slots, began) == slots
    for after, count in ((0, 0), (50, 0), (99, 0), (101, 1), (150, 0), (202, 1)):
        cluster.seen.broker(leader.node).throttled(began + after, began + after + 10.0)
        assert len(looks.spared(slots, began + after)) == count, after
    assert looks.spared(slots, began + 1000) == slots
