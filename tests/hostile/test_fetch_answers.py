"""Fetch responses that lie."""

from __future__ import annotations

import asyncio
import hashlib
import struct
import time

import pytest

from replicator.engine.logs.ranges.partition_reader import PartitionReader
from replicator.engine.logs.reading import read_once
from replicator.engine.logs.side import Side
from replicator.errors import (
    CorruptRecords,
    KafkaError,
    ReplicatorError,
)
from replicator.model.spec import Isolation
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.messages.data.fetch import FetchSession
from replicator.wire.protocol.versions import FETCH_BY_NAME
from tests.hostile.broker import (
    FETCH,
    TOPIC,
    Asked,
    HostileBroker,
    Lie,
    encoded,
    framed,
    head,
)
from tests.hostile.lies import HUGE, WHERE, body, only

pytestmark = pytest.mark.usefixtures("bounded")


async def test_an_empty_fetch_answer_for_a_quota_is_asked_for_again() -> None:
    """It says nothing of any partition."""

    def throttled_once(asked: Asked, _: bytes) -> bytes:
        quota = asked.number < 3
        return framed(head(asked) + encoded(broker.fetched(throttle_ms=50 * quota, empty=quota)))

    async with HostileBroker() as broker:
        broker.lie = only(FETCH, throttled_once)
        cluster = Cluster(broker.spec())
        await cluster.refresh([TOPIC])
        connection = await cluster.connection(1, Purpose.LOOK)
        began = time.monotonic()
        _, fetched = await read_once(Side(cluster, cluster.topic_ids), connection, WHERE, 0)
        took = time.monotonic() - began
        cluster.close()

    assert fetched.high_watermark == 10
    assert broker.asked[FETCH] == 3
    assert took >= 0.09


FETCH_HEAD = struct.pack(">ihi", 0, 0, 0)
ONE_TOPIC = FETCH_HEAD + b"\x02\x07orders"
ONE_PARTITION = ONE_TOPIC + b"\x02" + struct.pack(">ihqqq", 0, 0, 10, 10, 0)


@pytest.mark.parametrize(
    "raw",
    [
        FETCH_HEAD,
        FETCH_HEAD + HUGE,
        FETCH_HEAD + b"\x02\x00",
        ONE_TOPIC + HUGE,
        ONE_PARTITION + HUGE,
        ONE_PARTITION + b"\x01" + struct.pack(">i", -1) + HUGE,
        ONE_PARTITION + b"\x01" + struct.pack(">i", -1) + b"\x01" + HUGE + HUGE + HUGE,
    ],
)
async def test_a_fetch_answer_that_lies_is_refused(raw: bytes) -> None:
    """Counts, lengths, tags, and one that ends early in a frame that held a longer one before."""
    async with HostileBroker(body(FETCH, raw)) as broker:
        cluster = Cluster(broker.spec())
        await cluster.refresh([TOPIC])
        connection = await cluster.connection(1, Purpose.LOOK)
        with pytest.raises(CorruptRecords):
            await read_once(Side(cluster, cluster.topic_ids), connection, WHERE, 0)
        cluster.close()


READS: list[tuple[str, Lie, type[ReplicatorError], str]] = [
    (
        "a huge answer",
        only(FETCH, lambda *_: struct.pack(">i", 0x7FFFFFFF) + b"x"),
        KafkaError,
        "claims 2147483647 bytes",
    ),
    ("nothing", body(FETCH, b""), CorruptRecords, "ends too early"),
    ("a huge count", body(FETCH, ONE_TOPIC + HUGE), CorruptRecords, "length"),
    ("noise", body(FETCH, FETCH_HEAD + hashlib.shake_256(b"noise").digest(5_000)), CorruptRecords, "."),
    (
        "another partition",
        only(FETCH, lambda _, answer: framed(answer.replace(TOPIC.encode(), b"ordeqs"))),
        KafkaError,
        "no response for orders-0",
    ),
    ("no answer", only(FETCH, lambda *_: b""), KafkaError, "closed by the broker"),
]


@pytest.mark.parametrize(("lie", "kind", "why"), [each for _, *each in READS], ids=[name for name, *_ in READS])
async def test_whoever_compares_records_is_lied_to(lie: Lie, kind: type[ReplicatorError], why: str) -> None:
    """In time, by name, and without a word of what was not asked for."""
    async with HostileBroker(lie) as broker:
        reader = PartitionReader(broker.spec(timeout_seconds=1.0), Isolation.READ_COMMITTED)

        def read() -> None:
            reader.open(WHERE, 0, 10)
            try:
                reader.chunk()
            finally:
                reader.close()

        async with asyncio.timeout(20.0):
            with pytest.raises(kind, match=why):
                await asyncio.to_thread(read)


def test_a_fetch_answer_is_not_read_on_into_the_one_before() -> None:
    """Both are the same but for their last bytes, which the first one left in the frame."""
    session = FetchSession(FETCH_BY_NAME, Isolation.READ_UNCOMMITTED, {})
    whole = bytearray(bytes(4) + b"\x00" + ONE_PARTITION + b"\x01" + struct.pack(">i", -1) + b"\x01" + bytes(3))
    assert [one.where for one in session.answer(whole, len(whole) - 1)[1]] == [WHERE]
    for size in range(5, len(whole) - 1):
        with pytest.raises(CorruptRecords):
            session.answer(whole, size)
