"""Reading a part of a log: an answer that is empty below the end is no proof that nothing is there."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.engine import look
from replicator.engine.look import Side, batches_between, last_data, records_between
from replicator.engine.proof import common_end
from replicator.engine.walk import Log
from replicator.errors import BrokerRefused
from replicator.model.names import TopicPartition
from replicator.wire.connection import Connection
from replicator.wire.fetch import Fetched
from replicator.wire.frames import Frame
from replicator.wire.records import NewRecord, encode

WHERE = TopicPartition("t", 0)
CONNECTION = cast("Connection", SimpleNamespace(cluster=SimpleNamespace(alias="east")))
SIDE = Side(cast("Any", None), {})


def batch(offset: int, *values: bytes) -> bytes:
    """Return a batch as it stands in a log."""
    raw = bytearray(encode([NewRecord(1, None, value) for value in values]))
    raw[:8] = offset.to_bytes(8, "big")
    return bytes(raw)


class Broker:
    """Answers each read with the next of some record sets, then with nothing, as one with a slow remote tier does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: bytes) -> None:
        self.read: list[int] = []
        self._answers = list(answers)
        monkeypatch.setattr(look, "read_once", self._read_once)

    async def _read_once(
        self, _side: Side, _connection: Connection, where: TopicPartition, offset: int, **_: object
    ) -> tuple[Frame, Fetched]:
        self.read.append(offset)
        answer = self._answers.pop(0) if self._answers else b""
        frame = Frame(0)
        frame.reserve(len(answer))
        frame.buffer[:] = answer
        return frame, Fetched(where, 0, 100, 100, 0, None, None, 0, len(answer))


async def values(end: int, *, compacted: bool = False) -> list[bytes | None]:
    """Return what stands up to an offset."""
    records = records_between(SIDE, CONNECTION, WHERE, 0, end, committed=True, compacted=compacted)
    return [record.value async for record in records]


def test_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker answers from one segment only: it is asked on."""
    broker = Broker(monkeypatch, batch(0, b"a", b"b"), batch(2, b"c"))
    assert asyncio.run(values(3)) == [b"a", b"b", b"c"]
    assert broker.read == [0, 2]


def test_an_answer_that_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, and what was read so far is not all of it; only where a cleaner works it is the end."""
    Broker(monkeypatch, batch(0, b"a", b"b"))
    with pytest.raises(BrokerRefused, match="t-0 gives nothing from offset 2 on, below its end 3") as caught:
        asyncio.run(values(3))
    assert caught.value.retryable
    Broker(monkeypatch, batch(0, b"a", b"b"))
    assert asyncio.run(values(3, compacted=True)) == [b"a", b"b"]


def test_a_hole_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that begins behind the end proves that nothing more stands before it."""
    Broker(monkeypatch, batch(0, b"a") + batch(5, b"b"))
    assert asyncio.run(values(3)) == [b"a"]


def test_looks_that_rest_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the tail of a log nor the place where two part is told from an empty answer."""

    async def tail() -> object:
        return await last_data(SIDE, CONNECTION, WHERE, 0, 4, compacted=False)

    async def compared() -> object:
        log = Log(SIDE, CONNECTION, WHERE, 0, 4, committed=False)
        return await common_end(log, log, lambda offset: offset)

    async def passed() -> object:
        return [one async for one in batches_between(SIDE, CONNECTION, WHERE, 0, 4, committed=False)]

    for ask in (tail, compared, passed):
        Broker(monkeypatch)
        with pytest.raises(BrokerRefused, match="gives nothing from offset"):
            asyncio.run(ask())
