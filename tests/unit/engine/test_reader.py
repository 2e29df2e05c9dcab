"""The reading side against brokers whose answers cannot be believed, or do not come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kio.schema.fetch.v12.request import FetchRequest

from replicator.core.copy.attaching.facts import Resume
from replicator.core.copy.values import Phase
from replicator.model.batch import OFFSET_MAX
from replicator.model.names import TopicPartition
from replicator.model.status.states import Reason
from tests.unit.engine.reader_bench import FIVE, FLOW, ONE, ZERO, Answered, Bench, asked_offsets, nothing, opened, taken
from tests.unit.engine.source_broker import SourceBroker, batch, partition


@pytest.fixture
async def bench() -> AsyncIterator[list[Bench]]:
    """Benches, closed afterwards."""
    made: list[Bench] = []
    yield made
    for each in made:
        each.close()


async def test_an_answer_never_reaches_the_successor_of_the_partition_that_asked(bench: list[Bench]) -> None:
    """Both are in their first episode, and a log that a cleaner works on may begin anywhere behind the place."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def late(broker: SourceBroker, fetch: FetchRequest) -> Answered:
        if asked.is_set():
            return await nothing(broker, fetch)
        asked.set()
        await go_on.wait()
        return {ZERO: partition(ZERO, batch(1000, FIVE), end=2000)}

    one = await opened(bench, SourceBroker(1, late))
    first = one.read(ZERO, 1000, compacted=True)
    await asked.wait()
    one.pump.remove(first)
    second = one.read(ZERO, 900, compacted=True)
    go_on.set()
    await one.until(lambda: len(one.brokers[0].fetches) >= 3)

    assert (first.copy.episode, second.copy.episode) == (1, 1)
    assert (second.copy.phase, second.copy.reading.next_offset, taken(one, second)) == (Phase.COPYING, 900, [])
    assert asked_offsets(one.brokers[0].fetches[1]) == {0: 900}


SPOILED = {
    "the largest offset there is": (batch(OFFSET_MAX, FIVE), "the log ends at 1000"),
    "far too high": (batch(4_000_000, FIVE), "the log ends at 1000"),
    "a little too high": (batch(102, FIVE), "no batch holds offsets 100 to 101"),
    "below zero": (batch(-5, FIVE), "contradict each other"),
    "inside the batch before it": (batch(100, FIVE) + batch(103, FIVE), "contradict each other"),
    "of an epoch to come": (batch(100, FIVE, leader_epoch=4000), "leader epoch 4000, its leader is at 3"),
    "of offsets copied before": (batch(50, FIVE), "only batches below offset 100"),
}


@pytest.mark.parametrize("name", SPOILED)
async def test_what_an_answer_claims_ends_the_episode_of_its_partition_alone(bench: list[Bench], name: str) -> None:
    """Base offset, length and leader epoch are under no checksum: nothing is filled, copied or raised for them."""
    spoiled, why = SPOILED[name]

    async def answer(_broker: SourceBroker, fetch: FetchRequest) -> Answered:
        await asyncio.sleep(0.01)
        offsets = asked_offsets(fetch)
        out = {}
        if 0 in offsets:
            out[ZERO] = partition(ZERO, spoiled)
        if 1 in offsets:
            out[ONE] = partition(ONE, batch(offsets[1], FIVE), end=1000)
        return out

    one = await opened(bench, SourceBroker(1, answer))
    bad, good = one.read(ZERO, 100), one.read(ONE, 100)
    await one.until(lambda: bad.copy.reading.trust.doubted is not None and good.copy.reading.next_offset > 120)

    assert (bad.copy.phase, bad.copy.reading.next_offset, taken(one, bad)) == (Phase.SETTLING, 100, [])
    assert why in (bad.copy.detail or "")
    assert good.copy.is_copying()
    assert len(one.brokers[0].fetches) < 100


async def test_a_batch_behind_an_end_that_is_older_than_it_is_read_again(bench: list[Bench]) -> None:
    """A broker reads the high watermark first and the log then: no episode ends over that."""
    ends = [100, 105]

    async def answer(_broker: SourceBroker, fetch: FetchRequest) -> Answered:
        await asyncio.sleep(0.01)
        if asked_offsets(fetch).get(0) != 100:
            return {}
        return {ZERO: partition(ZERO, batch(100, FIVE), end=ends.pop(0) if ends else 105)}

    one = await opened(bench, SourceBroker(1, answer))
    slot = one.read(ZERO, 100)
    await one.until(lambda: slot.copy.reading.next_offset == 105)

    assert (slot.copy.episode, slot.copy.phase) == (1, Phase.COPYING)


@pytest.mark.parametrize("length", [(1 << 31) - 1, 3 << 20, 500])
async def test_a_batch_that_is_never_whole_stops_its_partition_by_name(bench: list[Bench], length: int) -> None:
    """It is asked for with more room, then alone; a partition beside it goes on all the time."""
    cut = batch(100, FIVE, length=length)

    async def answer(_broker: SourceBroker, fetch: FetchRequest) -> Answered:
        await asyncio.sleep(0.01)
        offsets = asked_offsets(fetch)
        out = {}
        if 0 in offsets:
            out[ZERO] = partition(ZERO, cut)
        if 1 in offsets:
            out[ONE] = partition(ONE, batch(offsets[1], FIVE))
        return out

    one = await opened(bench, SourceBroker(1, answer))
    bad, good = one.read(ZERO, 100), one.read(ONE, 100)
    await one.until(lambda: bad.copy.is_faulted() and good.copy.reading.next_offset > 120)

    assert bad.copy.reason is Reason.CORRUPT_BATCH
    assert f"claims {length + 12} bytes" in (bad.copy.detail or "")
    assert good.copy.is_copying()


async def test_a_large_batch_behind_busy_partitions_is_asked_for_with_more_room_and_alone(bench: list[Bench]) -> None:
    """A broker cuts it while others fill the answer: without that it would never come."""
    large = batch(100, [b"x" * (300 << 10)])

    async def answer(_broker: SourceBroker, fetch: FetchRequest) -> Answered:
        await asyncio.sleep(0.01)
        offsets = asked_offsets(fetch)
        alone = len(offsets) == 1 and fetch.session_epoch < 0
        out = {}
        if offsets.get(0) == 100:
            out[ZERO] = partition(ZERO, large if alone else large[: 200 << 10])
        if 1 in offsets:
            out[ONE] = partition(ONE, batch(offsets[1], FIVE))
        return out

    one = await opened(bench, SourceBroker(1, answer))
    slot, _ = one.read(ZERO, 100), one.read(ONE, 100)
    await one.until(lambda: slot.copy.reading.next_offset == 101)

    room = [
        int(part.partition_max_bytes)
        for fetch in one.brokers[0].fetches
        for topic in fetch.topics
        for part in topic.partitions
        if part.partition == 0
    ]
    assert room[1] >= len(large) or room[0] >= len(large)
    assert slot.copy.is_copying()


async def test_an_error_of_ours_stops_one_partition_and_no_other(
    bench: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a callback of the event loop nobody would hear of it, and no partition of the broker be read any more."""

    async def answer(_broker: SourceBroker, fetch: FetchRequest) -> Answered:
        await asyncio.sleep(0.01)
        offsets = asked_offsets(fetch)
        names = {0: ZERO, 1: ONE}
        return {names[at]: partition(names[at], batch(offset, FIVE)) for at, offset in offsets.items()}

    one = await opened(bench, SourceBroker(1, answer))
    bad, good = one.read(ZERO, 100), one.read(ONE, 100)
    await one.until(lambda: min(bad.copy.reading.next_offset, good.copy.reading.next_offset) > 105)
    offer = type(bad.copy).offer

    def stumbles(copy: Any, *given: Any) -> Any:
        if copy is bad.copy:
            raise ZeroDivisionError("of ours")
        return offer(copy, *given)

    monkeypatch.setattr(type(bad.copy), "offer", stumbles)
    await one.until(bad.copy.is_faulted)
    reached = good.copy.reading.next_offset
    await one.until(lambda: good.copy.reading.next_offset > reached + 20)

    assert (bad.copy.reason, bad.copy.detail) == (Reason.INTERNAL_ERROR, "ZeroDivisionError: of ours")


async def test_a_request_that_cannot_be_made_for_one_partition_is_made_for_the_others(bench: list[Bench]) -> None:
    """Whatever the place of one of them is."""

    async def answer(_broker: SourceBroker, fetch: FetchRequest) -> Answered:
        await asyncio.sleep(0.01)
        offsets = asked_offsets(fetch)
        return {ONE: partition(ONE, batch(offsets[1], FIVE))} if 1 in offsets else {}

    one = await opened(bench, SourceBroker(1, answer))
    good, bad = one.read(ONE, 100), one.read(ZERO, OFFSET_MAX + 1)
    await one.until(bad.copy.is_faulted)
    one.pump.wake_readers()
    await one.until(lambda: good.copy.reading.next_offset > 120)

    assert bad.copy.reason is Reason.INTERNAL_ERROR


async def test_what_a_request_that_cannot_be_made_was_to_tell_is_told_by_the_next(bench: list[Bench]) -> None:
    """A session would else never hear of a partition that was to begin with it."""

    async def answer(_broker: SourceBroker, fetch: FetchRequest) -> Answered:
        await asyncio.sleep(0.01)
        asked = {TopicPartition("orders-1", at): offset for at, offset in asked_offsets(fetch).items()}
        return {where: partition(where, batch(offset, FIVE)) for where, offset in asked.items()}

    one = await opened(bench, SourceBroker(1, answer))
    first = one.read(ONE, 100)
    await one.until(lambda: first.copy.reading.next_offset > 110)
    late, bad = one.read(TopicPartition("orders-1", 2), 100), one.read(ZERO, OFFSET_MAX + 1)
    await one.until(bad.copy.is_faulted)
    one.pump.wake_readers()
    await one.until(lambda: late.copy.reading.next_offset > 120)


async def test_answers_that_are_none_are_met_with_a_growing_pause(bench: list[Bench]) -> None:
    """A broker that sends garbage to each request is not asked hundreds of times a second, and is named."""

    async def answer(broker: SourceBroker, _fetch: FetchRequest) -> Answered:
        broker.garbage = bytes(10) + b"\xff" * 40
        return {}

    one = await opened(bench, SourceBroker(1, answer))
    slot = one.read(ZERO, 100)
    for _ in range(5):
        await one.until(lambda: not slot.copy.is_copying())
        slot.copy.attach_again()
        assert one.pump.begin_copying(slot, Resume(100, 100, None), 0)
        one.pump.wake_readers()

    assert one.pump.routes._readers[1]._link._drops.failures >= 3
    assert "east broker 1" in one.pump.context.problems.by_subject


async def test_every_broker_is_read_where_there_are_more_than_frames(bench: list[Bench]) -> None:
    """A frame is held by each long poll; with twelve brokers there were ten of them, and two brokers never got one."""
    brokers = [SourceBroker(node, nothing) for node in range(1, 13)]
    one = await opened(bench, *brokers)
    for broker in brokers:
        one.read(TopicPartition(f"orders-{broker.node}", 0), 100)
    await one.until(lambda: all(len(broker.fetches) >= 2 for broker in brokers))

    assert one.pump.context.line.frames.frame_bytes * 14 <= FLOW.limits.in_flight_bytes


async def test_a_frame_that_becomes_free_goes_to_who_waits_longest(bench: list[Bench]) -> None:
    """Whoever is quick to ask again must not leave the others without one, with however few there are."""
    brokers = [SourceBroker(node, nothing) for node in range(1, 7)]
    one = await opened(bench, *brokers)
    for broker in brokers:
        one.read(TopicPartition(f"orders-{broker.node}", 0), 100)
    one.pump.context.line.frames.divide(2, 300 << 10)
    await one.until(lambda: all(len(broker.fetches) >= 3 for broker in brokers))
    before = [len(broker.fetches) for broker in brokers]
    await one.until(lambda: min(len(broker.fetches) for broker in brokers) >= max(before) + 10)
    grown = [len(broker.fetches) - first for broker, first in zip(brokers, before, strict=True)]

    assert max(grown) <= 2 * min(grown) + 2


async def test_idle_brokers_do_not_keep_frames_from_busy_ones(bench: list[Bench]) -> None:
    """Ten frames for twelve brokers, of which two are busy: each long poll held one of them for half a second."""
    polls = dict.fromkeys(range(1, 13), 0)
    busy_ones = (1, 7)

    async def answer(broker: SourceBroker, fetch: FetchRequest) -> Answered:
        polls[broker.node] += 1
        if broker.node not in busy_ones:
            await asyncio.sleep(fetch.max_wait.total_seconds())
            return {}
        await asyncio.sleep(0.002)
        where = TopicPartition(f"orders-{broker.node}", 0)
        offset = one.pump.slots[where].copy.reading.next_offset
        return {where: partition(where, batch(offset, FIVE), end=1 << 40)}

    one = await opened(bench, *(SourceBroker(node, answer) for node in polls))
    one.pump.context.line._in_flight_bytes = 10 * (256 << 10)
    slots = [one.read(TopicPartition(f"orders-{node}", 0), 100) for node in polls]
    assert one.pump.context.line.frames.frames_max == 10
    await one.until(lambda: all(polls.values()))
    polls.update(dict.fromkeys(polls, 0))
    began = one.pump.context.now()
    await one.until(lambda: min(polls.values()) >= 20)

    took = one.pump.context.now() - began
    assert took < 5.0, "20 times 0.1 s it takes at most, beside the work; it was 20 times 0.6 s"
    assert max(polls.values()) <= 4 * min(polls.values())
    assert all(slots[node - 1].copy.acked_offset > 100 for node in busy_ones)


async def test_polls_are_long_where_frames_are_enough(bench: list[Bench]) -> None:
    """An idle broker is then asked twice a second, however many there are."""
    one = await opened(bench, *(SourceBroker(node, nothing) for node in range(1, 41)))
    for broker in one.brokers:
        one.read(TopicPartition(f"orders-{broker.node}", 0), 100)
    assert one.pump.context.line.poll_ms == 500
    one.pump.context.line.frames.divide(3, 256 << 10)
    assert one.pump.context.line.poll_ms == 10
