"""Batches that are large as they are, or once they are opened: one partition at most stops over one, by name."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from crc32c import crc32c
from kio.schema.fetch.v12.request import FetchRequest

from replicator.core.copy.values import Phase
from replicator.model.batch import HEADER
from replicator.model.status.states import Reason
from replicator.wire.batches.inflate import OPENED_BYTES_MAX
from replicator.wire.batches.recode import open_batch
from replicator.wire.batches.records import NewRecord, encode
from tests.unit.engine.log_broker import Log
from tests.unit.engine.log_world import World
from tests.unit.engine.log_world import opened as opened_world
from tests.unit.engine.reader_bench import FIVE, ONE, ZERO, Answered, Bench, asked_offsets, opened, taken
from tests.unit.engine.source_broker import SourceBroker, batch, partition

ZSTD = 4
MIB = 1 << 20
FAR_BYTES = OPENED_BYTES_MAX + MIB
TIME_MS = 1_700_000_000_000


@pytest.fixture
async def bench() -> AsyncIterator[list[Bench]]:
    """Benches, closed afterwards."""
    made: list[Bench] = []
    yield made
    for each in made:
        each.close()


@pytest.fixture
async def worlds() -> AsyncIterator[list[World]]:
    """Worlds, closed afterwards."""
    made: list[World] = []
    yield made
    for each in made:
        each.close()


def stored(base: int, records: list[NewRecord], codec: int = ZSTD, *, hole: int = 0, producer_id: int = -1) -> bytes:
    """Return a batch as a log holds it; `hole` offsets behind its records hold none any more."""
    ours = producer_id >= 0
    raw = bytearray(
        encode(
            records,
            compression=codec,
            producer_id=producer_id,
            producer_epoch=0 if ours else -1,
            base_sequence=base if ours else -1,
        )
    )
    fields = list(HEADER.unpack_from(raw))
    fields[0], fields[2], fields[6] = base, 3, fields[6] + hole
    HEADER.pack_into(raw, 0, *fields)
    struct.pack_into(">I", raw, 17, crc32c(memoryview(raw)[21:]))
    return bytes(raw)


def zeros(size: int) -> list[NewRecord]:
    """Return one record of zeros, which nearly vanishes when it is compressed."""
    return [NewRecord(TIME_MS, None, bytes(size))]


async def copied_beside(bench: list[Bench], raw: bytes, end: int) -> tuple[Bench, Any, Any]:
    """Return a bench in which partition 0 is answered with these bytes at offset 100, and 1 with five records each."""

    async def answer(_broker: SourceBroker, fetch: FetchRequest) -> Answered:
        await asyncio.sleep(0.01)
        offsets = asked_offsets(fetch)
        out = {}
        if offsets.get(0) == 100:
            out[ZERO] = partition(ZERO, raw, end=end)
        if 1 in offsets:
            out[ONE] = partition(ONE, batch(offsets[1], FIVE), end=1 << 40)
        return out

    one = await opened(bench, SourceBroker(1, answer))
    first, second = one.read(ZERO, 100, compacted=True), one.read(ONE, 100)
    return one, first, second


async def test_a_batch_larger_than_any_answer_stops_its_partition_alone(
    bench: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker gives at least one whole batch: the connection is given up over it, and was so again, for ever."""
    monkeypatch.setattr("replicator.engine.copy.reading.reader.ANSWER_BYTES_MAX", 300_000)
    raw = stored(100, [NewRecord(TIME_MS, None, bytes(400_000))], 0)
    one, large, other = await copied_beside(bench, raw, 200)
    await one.until(large.copy.is_faulted)
    reached = other.copy.reading.next_offset
    await one.until(lambda: other.copy.reading.next_offset > reached + 50)

    assert (large.copy.reason, large.copy.reading.next_offset) == (Reason.BATCH_TOO_LARGE, 100)
    assert "at offset 100" in large.copy.detail
    assert "at most 300000 are read" in large.copy.detail
    assert large.blocking_batch.too_large is None
    assert other.copy.is_copying()
    asked = [fetch for fetch in one.brokers[0].fetches if asked_offsets(fetch).get(0) == 100]
    assert len(asked) <= 4


async def test_a_batch_that_was_copied_attaches_again_however_large(worlds: list[World]) -> None:
    """Between what a control answer may have and what a fetch may: it waited for a leader, for ever."""
    world = await opened_world(worlds)
    value = b"".join(b"%08d" % number for number in range(65 * MIB // 8))
    there = stored(0, [NewRecord(TIME_MS, None, value)], 0)
    here = stored(0, [NewRecord(TIME_MS, None, value)], 0, producer_id=100)
    slot = world.add(ZERO, Log([there], end=1), Log([here], end=1))
    world.run()
    await world.until(lambda: slot.copy.is_copying() or slot.copy.reason is not None)
    assert (slot.copy.phase, slot.copy.reason, slot.copy.acked_offset) == (Phase.COPYING, None, 1)


@pytest.mark.parametrize("same", [True, False])
async def test_logs_that_end_in_a_batch_too_large_to_be_opened_are_compared_as_stored(
    worlds: list[World], *, same: bool
) -> None:
    """What passes keeps its bytes: they are the same on both sides, or the records differ."""
    world = await opened_world(worlds)
    there, size = zeros(FAR_BYTES), FAR_BYTES
    here = there if same else [NewRecord(TIME_MS, None, b"\x01" + bytes(size - 1))]
    slot = world.add(ZERO, Log([stored(0, there)], end=1), Log([stored(0, here, producer_id=100)], end=1))
    world.run()
    await world.until(lambda: slot.copy.is_copying() or slot.copy.is_faulted())
    assert (slot.copy.is_copying(), slot.copy.reason) == ((True, None) if same else (False, Reason.CONTENT_MISMATCH))


async def test_one_side_that_cannot_be_opened_is_not_compared_with_one_that_can(worlds: list[World]) -> None:
    """Neither equal nor different: it says so."""
    world = await opened_world(worlds)
    slot = world.add(
        ZERO,
        Log([stored(0, zeros(FAR_BYTES))], end=1),
        Log([stored(0, zeros(1000), producer_id=100)], end=1),
    )
    world.run()
    await world.until(slot.copy.is_faulted)
    assert slot.copy.reason is Reason.BATCH_TOO_LARGE
    assert "cannot be compared" in (slot.copy.detail or "")


async def test_what_takes_long_to_be_encoded_anew_is_done_beside_the_loop(
    bench: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch with a hole inside has to be opened; what stands behind it in the same answer follows in order."""
    threads: list[str] = []

    def watched(*given: Any) -> Any:
        threads.append(threading.current_thread().name)
        return open_batch(*given)

    monkeypatch.setattr("replicator.engine.logs.opening.open_batch", watched)
    many = [NewRecord(TIME_MS, b"k", b"%d" % number) for number in range(5000)]
    raw = stored(100, many, hole=1) + stored(5101, zeros(1000)) + stored(5102, zeros(MIB), hole=1) + stored(5104, many)
    one, slot, other = await copied_beside(bench, raw, 11_000)
    # The hole waits to be filled, as there is nobody here to write markers.
    await one.until(lambda: slot.copy.reading.next_offset == 10_104 and not slot.copy.sending.outstanding)
    reached = other.copy.reading.next_offset
    await one.until(lambda: other.copy.reading.next_offset > reached)

    assert slot.copy.is_copying()
    assert {name.rpartition("_")[0] for name in threads} == {"opening"}
    found = taken(one, slot)
    assert found[:4] == [(100, 5000), (5100, 1), (5101, 1), (5102, 1)]
    assert sum(length for _, length in found) == 10_004
    assert not one.pump.context.opener.is_busy
    assert one.pump.context.line.frames.has_room()


async def test_what_expands_too_far_and_must_be_opened_stops_its_partition_alone(bench: list[Bench]) -> None:
    """By name, with where it stands; a sound batch before it in the same answer is copied first."""
    raw = stored(100, zeros(1000)) + stored(101, zeros(40 * MIB), hole=1)
    assert len(raw) < 20_000
    one, slot, other = await copied_beside(bench, raw, 200)
    await one.until(slot.copy.is_faulted)
    reached = other.copy.reading.next_offset
    await one.until(lambda: other.copy.reading.next_offset > reached)

    assert slot.copy.reason is Reason.BATCH_TOO_LARGE
    assert "the batch at offset 101 takes more than 31457280 bytes" in (slot.copy.detail or "")
    assert "limits.in_flight_bytes" in (slot.copy.detail or "")
    assert slot.blocking_batch.too_large == (101, 103)
    assert taken(one, slot) == [(100, 1)]
    assert other.copy.is_copying()


async def test_damage_in_what_is_opened_beside_the_loop_is_named(bench: list[Bench]) -> None:
    """As in any other batch."""
    raw = bytearray(stored(100, [NewRecord(TIME_MS, None, b"%d" % number) for number in range(5000)], hole=1))
    raw[-9] ^= 1
    one, slot, _ = await copied_beside(bench, bytes(raw), 9000)
    await one.until(slot.copy.is_faulted)
    assert slot.copy.reason is Reason.CORRUPT_BATCH
    assert "offset 100" in (slot.copy.detail or "")


async def test_what_expands_too_far_passes_where_it_may(bench: list[Bench]) -> None:
    """Small batches beside it are merged; merging opens nothing that is larger than what it makes."""
    parts = [stored(100, zeros(100)), stored(101, zeros(100))]
    parts += [stored(102 + number, zeros(8 * MIB)) for number in range(12)]
    parts += [stored(114, zeros(100)), stored(115, zeros(100))]
    one, slot, _ = await copied_beside(bench, b"".join(parts), 116)
    await one.until(lambda: slot.copy.acked_offset == 116)
    found = taken(one, slot)
    assert found[0] == (100, 2)
    assert [each for each in found if each[0] >= 102][:12] == [(102 + number, 1) for number in range(12)]
