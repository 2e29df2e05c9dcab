"""What a daemon holds of the state topic after it could not read on where it stood."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.engine import state_log
from replicator.engine.state_log import StateLog
from replicator.errors import BrokerRefused, CorruptRecords
from replicator.model.batch import HEADER
from replicator.wire import control
from replicator.wire.control import Answer
from replicator.wire.fetch import Fetched
from replicator.wire.frames import Frame
from replicator.wire.records import NewRecord, encode

NOW_MS = 1_700_000_000_000
OUT_OF_RANGE = 1


class Topic:
    """The state topic as its leader has it: records by offset, of which a cleaner or an election may take some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.start = self.end = 0
        self.kept: dict[int, tuple[bytes, bytes | None]] = {}
        self.lifted: dict[int, int] = {}
        self.log = StateLog(cast("Any", SimpleNamespace(spec=SimpleNamespace(alias="west"), topic_ids={})))
        self.heard: list[bytes] = []
        self.log.listen(self.heard.append)
        monkeypatch.setattr(state_log, "read_once", self.read)
        monkeypatch.setattr(control, "list_offsets", self.offsets)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Append a record."""
        self.kept[self.end] = (key, value)
        self.end += 1

    async def offsets(self, _connection: object, where: list[Any], timestamp: int, *, committed: bool) -> Any:
        """Tell the start or the end."""
        del committed
        return {where[0]: Answer(0, self.start if timestamp == control.EARLIEST else self.end)}

    async def read(self, *given: Any, **_: Any) -> tuple[Frame, Fetched]:
        """Give all from an offset on."""
        offset = given[3]
        if not self.start <= offset <= self.end:
            raise BrokerRefused("out of range", cluster="west", code=OUT_OF_RANGE, api="Fetch", retryable=True)
        raw = b""
        for at, (key, value) in sorted(self.kept.items()):
            if at >= offset:
                one = bytearray(encode([NewRecord(NOW_MS, key, value)]))
                fields = HEADER.unpack_from(one)
                HEADER.pack_into(one, 0, at + self.lifted.get(at, 0), *fields[1:])
                raw += bytes(one)
        frame = Frame(len(raw))
        frame.buffer[:] = raw
        return frame, Fetched(given[2], 0, self.end, self.end, self.start, None, None, 0, len(raw))

    async def step(self) -> None:
        """Let the daemon read once."""
        await self.log._read(cast("Any", None), wait_ms=0)


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    """A topic with three records, which the daemon has read."""
    made = Topic(monkeypatch)
    for key in (b"a", b"b", b"c"):
        made.put(key, b"1")
    return made


async def test_what_was_deleted_while_the_log_moved_on_is_gone(topic: Topic) -> None:
    """The tombstone lies below the log's start: nothing but its absence tells of it, and listeners hear of that."""
    await topic.step()
    topic.put(b"b", None)
    topic.put(b"c", b"2")
    del topic.kept[1], topic.kept[2], topic.kept[3]
    topic.kept = {5: (b"a", b"1"), 6: (b"c", b"2")}
    topic.start, topic.end = 5, 7
    topic.heard.clear()
    await topic.step()
    assert topic.log.position == 5
    assert set(topic.log.records) == {b"a", b"b", b"c"}, "not before all was read anew"
    await topic.step()

    assert topic.log.records == {b"a": b"1", b"c": b"2"}
    assert topic.heard == [b"a", b"c", b"b"]


async def test_a_log_that_lost_its_end_and_is_empty_leaves_nothing(topic: Topic) -> None:
    """An unclean election took all of it."""
    await topic.step()
    topic.kept, topic.end = {}, 0
    await topic.step()

    assert (topic.log.records, topic.log.position) == ({}, 0)


async def test_who_was_away_for_longer_than_tombstones_are_kept_reads_all_anew(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No offset is out of range then: the cleaner took record and tombstone."""
    await topic.step()
    topic.put(b"b", None)
    del topic.kept[1], topic.kept[3]
    topic.put(b"d", b"1")
    monkeypatch.setattr(state_log._Clocks, "passed_seconds", lambda _: state_log._UNREAD_SECONDS_MAX + 1)
    await topic.step()

    assert set(topic.log.records) == {b"a", b"c", b"d"}


async def test_batches_of_the_state_topic_are_believed_no_more_than_others(topic: Topic) -> None:
    """One that claims a place beyond the end would hide all that comes."""
    topic.lifted[2] = 1000
    await topic.step()
    assert (topic.log.position, set(topic.log.records)) == (2, {b"a", b"b"})
    topic.lifted = {1: -1}

    fresh = StateLog(topic.log._cluster)
    with pytest.raises(CorruptRecords, match="contradict each other"):
        await fresh._read(cast("Any", None), wait_ms=0)
