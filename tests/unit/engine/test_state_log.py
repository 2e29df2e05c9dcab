"""What a daemon holds of the state topic after it could not read on where it stood."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.engine.state.topic import log as state_log
from replicator.engine.state.topic.log import StateLog
from replicator.errors import BrokerRefused, CorruptRecords
from replicator.model.batch import HEADER
from replicator.model.names import STATE_TOPIC
from replicator.model.spec import Isolation
from replicator.wire.batches.records import NewRecord, encode
from replicator.wire.cluster import Purpose
from replicator.wire.frames import Frame
from replicator.wire.messages import control
from replicator.wire.messages.control import OffsetResult
from replicator.wire.messages.data.fetch import Fetched
from replicator.wire.topology import NO_TOPIC_ID

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
        self.at_once = 100
        self.log.listen(self.heard.append)
        monkeypatch.setattr(state_log, "read_once", self.read)
        monkeypatch.setattr(control, "list_offsets", self.offsets)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Append a record."""
        self.kept[self.end] = (key, value)
        self.end += 1

    async def offsets(self, _connection: object, where: list[Any], timestamp: int, *, isolation: Isolation) -> Any:
        """Tell the start or the end."""
        del isolation
        return {where[0]: OffsetResult(0, self.start if timestamp == control.EARLIEST else self.end)}

    async def read(self, *given: Any, **_: Any) -> tuple[Frame, Fetched]:
        """Give all from an offset on."""
        offset = given[3]
        if not self.start <= offset <= self.end:
            raise BrokerRefused("out of range", cluster="west", code=OUT_OF_RANGE, api="Fetch", retryable=True)
        raw = b""
        for at, (key, value) in sorted(self.kept.items()):
            if offset <= at < offset + self.at_once:
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

    assert (dict(topic.log.records), topic.log.position) == ({}, 0)


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


async def test_what_is_read_anew_never_shows_what_was_true_before(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks between two answers would act on a role, a claim or a generation of long ago."""
    topic.put(b"a", b"2")
    await topic.step()
    topic.put(b"a", b"3")
    monkeypatch.setattr(state_log._Clocks, "passed_seconds", lambda _: state_log._UNREAD_SECONDS_MAX + 1)
    monkeypatch.setattr(topic, "at_once", 1)
    topic.heard.clear()
    await topic.step()
    monkeypatch.setattr(state_log._Clocks, "passed_seconds", lambda _: 0.0)
    shown = [topic.log.records[b"a"]]
    while topic.log.position < topic.end:
        await topic.step()
        shown.append(topic.log.records[b"a"])

    assert shown == [b"2"] * 4 + [b"3"]
    assert topic.heard == [b"a"]


async def test_a_log_that_lost_its_end_is_another_one(topic: Topic) -> None:
    """What stands where something else was read before is taken."""
    await topic.step()
    topic.kept, topic.end = {0: (b"a", b"9")}, 1
    await topic.step()
    await topic.step()

    assert topic.log.records == {b"a": b"9"}


async def test_batches_of_the_state_topic_are_believed_no_more_than_others(topic: Topic) -> None:
    """One that claims a place beyond the end would hide all that comes."""
    topic.lifted[2] = 1000
    await topic.step()
    assert (topic.log.position, set(topic.log.records)) == (2, {b"a", b"b"})
    topic.lifted = {1: -1}

    fresh = StateLog(topic.log._cluster)
    with pytest.raises(CorruptRecords, match="contradict each other"):
        await fresh._read(cast("Any", None), wait_ms=0)


def test_a_topic_that_gets_its_id_only_now_is_still_the_same_one(topic: Topic) -> None:
    """Brokers give ids in the middle of an upgrade, and some tell none until all of them are done."""
    topics = topic.log._cluster.topics = {}
    for seen in (NO_TOPIC_ID, b"a" * 16, NO_TOPIC_ID):
        topics[STATE_TOPIC] = cast("Any", SimpleNamespace(topic_id=seen))
        topic.log.topic._check()
    topics[STATE_TOPIC] = cast("Any", SimpleNamespace(topic_id=b"b" * 16))
    with pytest.raises(BrokerRefused, match="is gone"):
        topic.log.topic._check()


@pytest.mark.parametrize(("gone", "why"), [([STATE_TOPIC], "is gone"), ([], "has no leader")])
async def test_a_topic_is_deleted_only_where_every_broker_says_so(topic: Topic, gone: list[str], why: str) -> None:
    """A broker that has just started knows no topic yet; what an operator is told to do then costs the offsets."""
    cluster: Any = topic.log._cluster
    cluster.topics = {STATE_TOPIC: SimpleNamespace(topic_id=b"a" * 16)}
    topic.log.topic._check()
    cluster.topics = {}
    cluster.leader = lambda _: None

    async def told(names: list[str]) -> Any:
        assert names == [STATE_TOPIC]
        return gone

    async def refresh(names: list[str]) -> dict[str, int]:
        return dict.fromkeys(names, 3)

    cluster.gone, cluster.refresh = told, refresh
    with pytest.raises(BrokerRefused, match=why):
        await topic.log.topic.connection(Purpose.STATE)
    assert (topic.log.topic.lost is not None) == bool(gone)
