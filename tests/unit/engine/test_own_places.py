"""Looks for the end of our own part of a log, as brokers answer: from one segment at a time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.core.offsets.own_place import OurBatches, OwnEnd
from replicator.engine.logs import reading as look
from replicator.engine.switch import own_places
from replicator.engine.switch.own_places import OwnEndFinder, SearchRange
from replicator.errors import BrokerRefused
from replicator.model.batch import CONTROL_BIT, HEADER
from replicator.model.names import TopicPartition
from replicator.wire.batches.records import NewRecord, encode
from replicator.wire.frames import Frame
from replicator.wire.messages.data.fetch import Fetched

WHERE = TopicPartition("t", 0)
DATA, FILLS, OTHER, EPOCH = 100, 101, 900, 5


def batch(offset: int, count: int, producer_id: int = DATA, *, control: bool = False, epoch: int = 0) -> bytes:
    """Return a batch as it stands in a log."""
    raw = bytearray(encode([NewRecord(1, None, b"v")] * count))
    fields = list(HEADER.unpack_from(raw))
    fields[0], fields[9], fields[10] = offset, producer_id, epoch
    fields[5] |= CONTROL_BIT if control else 0
    HEADER.pack_into(raw, 0, *fields)
    return bytes(raw)


def fence(offset: int) -> bytes:
    """Return the marker of the fence."""
    return batch(offset, 1, control=True, epoch=EPOCH)


class Log:
    """A log in segments, of which a read is answered from one; `reads` are the offsets that were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *segments: list[tuple[int, bytes]], start: int = 0) -> None:
        self.reads: list[int] = []
        self._segments = segments
        self._start = start
        monkeypatch.setattr(look, "read_once", self._read_once)
        monkeypatch.setattr(own_places, "starts_of", self._starts_of)

    async def _starts_of(self, _: object, wanted: Any) -> tuple[dict[TopicPartition, int], dict[TopicPartition, str]]:
        return dict.fromkeys(wanted, self._start), {}

    async def _read_once(self, _s: object, _c: object, where: TopicPartition, offset: int, **_: object) -> object:
        self.reads.append(offset)
        found = b""
        for segment in self._segments:
            found = b"".join(raw for end, raw in segment if end > offset)
            if found:
                break
        frame = Frame(0)
        frame.reserve(len(found))
        frame.buffer[:] = found
        return frame, Fetched(where, 0, 10_000, 10_000, self._start, None, None, 0, len(found))


def found(search_range: SearchRange, *, policy: str = "delete", epoch: int | None = EPOCH) -> OwnEnd:
    """Return where our own part ends."""

    async def leader_connection(_: TopicPartition) -> object:
        return SimpleNamespace(cluster=SimpleNamespace(alias="west"))

    async def describe_configs(_: object) -> object:
        return {"t": SimpleNamespace(effective={"cleanup.policy": SimpleNamespace(value=policy)})}

    cluster = cast("Any", SimpleNamespace(topic_ids={}, leader=lambda _: None, leader_connection=leader_connection))
    admin = cast("Any", SimpleNamespace(describe_configs=describe_configs))
    places = OwnEndFinder(cluster, admin, OurBatches(DATA, frozenset({FILLS}), epoch))
    return asyncio.run(places.find({WHERE: search_range}))[WHERE]


def test_a_marker_that_begins_a_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands before it is in the segment before."""
    log = Log(monkeypatch, [(10, batch(0, 10))], [(11, fence(10))])
    assert found(SearchRange(11, begin=8)) == OwnEnd(10, 2, is_fenced=True)
    assert found(SearchRange(11, begin=10)) == OwnEnd(10, is_fenced=True)
    assert log.reads == [8, 10, 10]


def test_a_log_that_lost_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the place that was proven there is no marker of the fence: our last batch is looked for instead."""
    Log(monkeypatch, [(10, batch(0, 10)), (11, fence(10))])
    for begin in (11, 40, None):
        assert found(SearchRange(11, begin)) == OwnEnd(10, 10, is_fenced=True)


def test_a_stranger_below_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing was proven, ours that landed behind a stranger's prove nothing of what is before."""
    segment = [(10, batch(0, 10)), (80, batch(10, 70, OTHER)), (81, batch(80, 1)), (82, fence(81))]
    Log(monkeypatch, segment)
    place = OwnEnd(10, 10, foreign=71, is_fenced=True)
    assert found(SearchRange(82, begin=5)) == OwnEnd(10, 5, foreign=71, is_fenced=True)
    assert found(SearchRange(82)) == place


def test_many_records_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not read one after the other: the first, and what stands before the fence."""
    theirs = [(at + 1, batch(at, 1, OTHER)) for at in range(3000)]
    log = Log(monkeypatch, theirs, [(3001, fence(3000))])
    assert found(SearchRange(3001, begin=0, is_active=False)) == OwnEnd(0, foreign=3000, is_fenced=True)
    assert len(log.reads) <= 4


def test_what_was_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the floor applications wrote, by right."""
    Log(monkeypatch, [(10, batch(0, 10, OTHER)), (12, batch(10, 2)), (13, fence(12))])
    assert found(SearchRange(13, floor=10)) == OwnEnd(12, 2, is_fenced=True)


def test_an_end_that_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no end, but where the cleaner works."""
    Log(monkeypatch, [(10, batch(0, 10))])
    with pytest.raises(BrokerRefused, match="returns nothing from offset 10 on"):
        found(SearchRange(11, begin=8))
    assert found(SearchRange(11, begin=8), policy="compact") == OwnEnd(10, 2)


def test_a_marker_that_is_not_replicated_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its leader tells of it; records of ours below it may not be shown yet, either: nothing is cut before they are."""
    Log(monkeypatch, [(10, batch(0, 10))])
    for begin in (8, 10, None):
        with pytest.raises(BrokerRefused, match="not yet below the high watermark 10") as caught:
            found(SearchRange(10, begin))
        assert caught.value.retryable
    assert found(SearchRange(10, begin=8), epoch=None) == OwnEnd(10, 2)


def test_a_marker_that_retention_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for."""
    Log(monkeypatch, [(40, batch(12, 28, OTHER))], start=12)
    assert found(SearchRange(40, begin=10)).foreign == 28
