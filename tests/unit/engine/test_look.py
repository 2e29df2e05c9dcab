"""Reading a part of a log: an answer that is empty below the end is no proof that nothing is there."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.core.copy.reading.doubt import Gaps, Sound, Verdict
from replicator.engine.logs import reading as look
from replicator.engine.logs.ranges.matching import common_end
from replicator.engine.logs.ranges.walking import Log
from replicator.engine.logs.reading import batches_between, last_data, records_between, reread
from replicator.engine.logs.side import Side
from replicator.errors import BrokerRefused
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.wire.batches.records import NewRecord, encode
from replicator.wire.frames import Frame
from replicator.wire.messages import control
from replicator.wire.messages.data.fetch import Fetched
from replicator.wire.transport.connection import Connection

WHERE = TopicPartition("t", 0)
CONNECTION = cast("Connection", SimpleNamespace(cluster=SimpleNamespace(alias="east")))
NOBODY = SimpleNamespace(leader=lambda _: None)
SIDE = Side(cast("Any", NOBODY), {})


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
    records = records_between(SIDE, CONNECTION, WHERE, 0, end, isolation=Isolation.READ_COMMITTED, compacted=compacted)
    return [record.value async for record in records]


def test_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker answers from one segment only: it is asked on."""
    broker = Broker(monkeypatch, batch(0, b"a", b"b"), batch(2, b"c"))
    assert asyncio.run(values(3)) == [b"a", b"b", b"c"]
    assert broker.read == [0, 2]


def test_an_answer_that_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, and what was read so far is not all of it; only where a cleaner works it is the end."""
    Broker(monkeypatch, batch(0, b"a", b"b"))
    with pytest.raises(BrokerRefused, match="t-0 returns nothing from offset 2 on, below its end 3") as caught:
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
        log = Log(SIDE, CONNECTION, WHERE, 0, 4, isolation=Isolation.READ_UNCOMMITTED)
        return await common_end(log, log, lambda offset: offset)

    async def passed() -> object:
        return [
            one async for one in batches_between(SIDE, CONNECTION, WHERE, 0, 4, isolation=Isolation.READ_UNCOMMITTED)
        ]

    for ask in (tail, compared, passed):
        Broker(monkeypatch)
        with pytest.raises(BrokerRefused, match="returns nothing from offset"):
            asyncio.run(ask())


class SegmentedLog:
    """A source log in segments, the last of which ends at 100; each read is answered from one of them only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *segments: list[tuple[int, int]], end: int = 100) -> None:
        self.segments = segments
        self.end = end
        self.reads = 0
        cluster = SimpleNamespace(
            leader_connection=self._nothing,
            connection=self._nothing,
            refresh=self._nothing,
            topics={},
            leader=lambda _: SimpleNamespace(node=1, epoch=0),
        )
        self.tells_local = False
        monkeypatch.setattr(control, "local_starts", self._local_starts)
        self.side = Side(cast("Any", cluster), {})
        monkeypatch.setattr(look, "offsets_of", self._offsets_of)
        monkeypatch.setattr(look, "read_once", self._read_once)

    async def _nothing(self, *_: object) -> Connection:
        return CONNECTION

    async def _local_starts(
        self, _: object, wanted: list[TopicPartition]
    ) -> dict[TopicPartition, control.OffsetResult]:
        return dict.fromkeys(wanted, control.OffsetResult(0, 0)) if self.tells_local else {}

    async def _offsets_of(self, _: object, wanted: list[TopicPartition], timestamp: int) -> dict[TopicPartition, int]:
        return dict.fromkeys(wanted, 0 if timestamp == control.EARLIEST else self.end)

    async def _read_once(
        self, _side: Side, _connection: Connection, where: TopicPartition, offset: int, **_: object
    ) -> tuple[Frame, Fetched]:
        self.reads += 1
        whole = [[each for each in segment if sum(each) > offset] for segment in self.segments]
        found = next((segment for segment in whole if segment), [])
        answer = b"".join(batch(base, *[b"v"] * count) for base, count in found)
        frame = Frame(0)
        frame.reserve(len(answer))
        frame.buffer[:] = answer
        return frame, Fetched(where, 0, self.end, self.end, 0, None, None, 0, len(answer))


@pytest.mark.parametrize(
    ("segments", "verdict"),
    [
        ([[(0, 50)], [(60, 20), (80, 20)]], Gaps(((50, 60),))),
        ([[(0, 50)], [(60, 20)], [(80, 20)]], Gaps(((50, 60),))),
        ([[(0, 50), (60, 20)], [(80, 20)]], Gaps(((50, 60),))),
        ([[(0, 50)], [(50, 30)], [(80, 20)]], Sound()),
    ],
)
def test_a_second_look_goes_on_where_a_segment_ends(
    monkeypatch: pytest.MonkeyPatch, segments: list[list[tuple[int, int]]], verdict: Verdict
) -> None:
    """Where a cleaner once worked, a hole is as likely to be at the end of a segment as anywhere else."""
    log = SegmentedLog(monkeypatch, *segments)
    assert asyncio.run(reread(log.side, WHERE, 50)) == verdict


@pytest.mark.parametrize(("now", "verdict"), [(b"1", Sound()), (b"2", None)])
def test_a_second_look_while_the_topic_is_made_anew_says_nothing(
    monkeypatch: pytest.MonkeyPatch, now: bytes, verdict: Verdict | None
) -> None:
    """What was read is of the topic before, and the leader epoch that is told since is the other one's."""
    log = SegmentedLog(monkeypatch, [(0, 50)], [(50, 30)], [(80, 20)])
    cluster: Any = log.side.cluster
    cluster.topics = {WHERE.topic: SimpleNamespace(topic_id=now * 16)}
    side = Side(cluster, {WHERE.topic: b"1" * 16})
    assert asyncio.run(reread(side, WHERE, 50)) == verdict


def test_a_second_look_that_is_shown_nothing_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow remote tier proves neither a hole nor a batch."""
    log = SegmentedLog(monkeypatch, [(0, 50)])
    with pytest.raises(BrokerRefused, match="returns nothing from offset 50 on, below its end 100") as caught:
        asyncio.run(reread(log.side, WHERE, 50))
    assert caught.value.retryable
    assert log.reads == 3, "the batch before it, nothing, and nothing on another connection"


@pytest.mark.parametrize(
    ("segments", "verdict"),
    [([[(0, 50)]], Gaps(((50, 100),))), ([[(0, 50)], [(60, 20)]], Gaps(((50, 60),)))],
)
def test_a_second_look_at_a_log_that_ends_in_a_hole(
    monkeypatch: pytest.MonkeyPatch, segments: list[list[tuple[int, int]]], verdict: Verdict
) -> None:
    """Its leader proves that nothing comes, so a hole needs no batch behind it, and a batch no neighbour."""
    log = SegmentedLog(monkeypatch, *segments)
    log.tells_local = True
    assert asyncio.run(reread(log.side, WHERE, 50)) == verdict
