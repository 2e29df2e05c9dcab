"""What a reader makes of logs, on real sockets: every kind of batch, in memory that has a bound."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from crc32c import crc32c

from replicator.core.verify.record_diff import Kind, RecordDiff
from replicator.core.verify.rows import Large, Row, row_bytes, row_size, short_digest
from replicator.engine.logs.ranges.partition_reader import PartitionReader
from replicator.engine.verify.digests.partition import DigestComparison, SideTask, digest_side
from replicator.engine.verify.digests.result import DigestResult, TopicDigestVerdict
from replicator.engine.verify.partition import Comparison, Meter, Task
from replicator.errors import BrokerRefused, ConnectionFailed, CorruptRecords, TooLargeToOpen
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import Isolation
from replicator.wire.batches.records import NewRecord
from tests.unit.engine.log_broker import Log, LogBroker, written
from tests.unit.engine.test_large_batches import MIB, TIME_MS, stored, zeros

WHERE = TopicPartition("orders-1", 0)
COMMITTED = Isolation.READ_COMMITTED


class Stuck(Log):
    """A log that is answered from its beginning, wherever it is read from."""

    def read(self, _offset: int) -> bytes:
        """Return its first batch."""
        return written(0, 3)


class Served:
    """A broker that serves one log, in a thread of its own."""

    def __init__(self, *batches: bytes, end: int) -> None:
        self.broker = LogBroker(1)
        self.broker.logs[WHERE] = Log(list(batches), end=end)
        self._readers: list[PartitionReader] = []
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.broker.open(), self.loop).result(10)
        self.spec = ClusterSpec("east", (("127.0.0.1", self.broker.port),), request_timeout_seconds=10.0)

    def reader(self, **options: Any) -> PartitionReader:
        """Return a reader, closed with this."""
        made = PartitionReader(self.spec, COMMITTED, **options)
        self._readers.append(made)
        return made

    def chunks(self, end: int, start: int = 0, **options: Any) -> list[list[Row]]:
        """Return what a reader makes of it."""
        reader = self.reader(**options)
        reader.open(WHERE, start, end)
        found: list[list[Row]] = []
        while rows := reader.chunk():
            assert rows[-1][0] < reader.position
            found.append(rows)
        assert reader.at_end
        return found

    def rows(self, end: int, start: int = 0, **options: Any) -> list[Row]:
        """Return what a reader makes of it."""
        return [row for rows in self.chunks(end, start, **options) for row in rows]

    def close(self) -> None:
        """Stop."""
        for reader in self._readers:
            reader.close()
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    async def _end(self) -> None:
        self.broker.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


@pytest.fixture
def served() -> Iterator[list[Served]]:
    """Brokers, stopped afterwards."""
    made: list[Served] = []
    yield made
    for each in made:
        each.close()


def of(served: list[Served], *batches: bytes, end: int) -> Served:
    """Return a broker of one log."""
    one = Served(*batches, end=end)
    served.append(one)
    return one


def odd(value: bytes = b"1") -> bytes:
    """Return three records; the name of a header of the second is no UTF-8."""
    names = (b"a", b"\xff\xfe", "é".encode())
    return stored(0, [NewRecord(5, b"k", b"v", [(b"first", None), (name, value)]) for name in names])


def test_names_of_headers_that_are_no_utf8_are_read_and_compared(served: list[Served]) -> None:
    """`verify` ended with a traceback."""
    rows = of(served, odd(), end=3).rows(3)
    assert [row[4] for row in rows] == [
        [("first", None), ("a", b"1")],
        [("first", None), (b"\xff\xfe", b"1")],
        [("first", None), ("é", b"1")],
    ]
    diff = RecordDiff(0)
    diff.feed(rows, of(served, odd(b"2"), end=3).rows(3), source_done=True, target_done=True)
    diff.finish()
    assert [found.offset for found in diff.first] == [0, 1, 2]
    assert r"header 1: b'\xff\xfe'" in diff.first[1].detail


@pytest.mark.parametrize("codec", [0, 1, 3, 4])
def test_a_batch_may_expand_to_any_size(served: list[Served], codec: int) -> None:
    """Its record is compared by what it holds, and digested as if it were in memory."""
    value = bytes(40 * MIB)
    small = [NewRecord(5, b"k", b"v")]
    row: Row = (1, TIME_MS, None, value, None)
    log = of(served, stored(0, small), stored(1, zeros(len(value)), codec), stored(2, small), end=3)
    rows = log.rows(3)
    assert [found[0] for found in rows] == [0, 1, 2]
    assert rows[1] == (1, TIME_MS, None, Large(len(value), short_digest(value), None), None)
    assert b"".join(row_bytes(rows[1:2])) == b"".join(row_bytes([row])) != b""
    assert row_size(rows) == len(b"".join(row_bytes(rows)))
    other = of(served, stored(1, [NewRecord(TIME_MS, None, value[:-1] + b"1")], codec), end=2).rows(2, 1)
    diff = RecordDiff(0)
    diff.feed(rows[1:2], other, source_done=True, target_done=True)
    assert [(found.offset, found.kind) for found in diff.first] == [(1, Kind.VALUE)]
    assert "41943040 B" in diff.first[0].detail


def test_a_batch_that_expands_beyond_a_bound_is_compared_as_it_is_stored(served: list[Served]) -> None:
    """As the daemon does: where both sides store it alike, nothing of it has to be opened."""
    small = [NewRecord(5, b"k", b"v")]
    log = [stored(0, small), stored(1, zeros(180 * MIB)), stored(2, small)]
    other = [stored(0, small), stored(1, [NewRecord(5, None, b"\x01" + bytes(180 * MIB))]), stored(2, small)]
    found = [of(served, *each, end=3).rows(3, opened_bytes_max=32 * MIB) for each in (log, log, other)]
    assert [row[0] for row in found[0]] == [0, 1, 2]
    diff = RecordDiff(0)
    diff.feed(found[0], found[1], source_done=True, target_done=True)
    assert (diff.records, diff.first) == (3, ())
    with pytest.raises(TooLargeToOpen, match="the batch at offset 1 of partition 0 cannot be compared"):
        RecordDiff(0).feed(found[0], found[2], source_done=True, target_done=True)
    with pytest.raises(TooLargeToOpen, match="offset 1"):
        RecordDiff(0).feed(found[0], [*found[0][:1], *found[0][2:]], source_done=True, target_done=True)


def test_what_is_below_and_above_is_left_out(served: list[Served]) -> None:
    """A broker answers with whole batches; a chunk holds no more records than asked for, and no lesser ones twice."""
    log = of(served, written(0, 10), written(10, 10), written(20, 10), end=30)
    chunks = log.chunks(25, 3, chunk_records=4)
    assert [row[0] for rows in chunks for row in rows] == list(range(3, 25))
    assert max(map(len, chunks)) == 4
    assert log.rows(30, 30) == []


def test_an_end_without_a_batch_is_reached(served: list[Served]) -> None:
    """Where the leader proves that it holds nothing there."""
    assert [row[0] for row in of(served, written(0, 3), end=9).rows(9)] == [0, 1, 2]


def test_nothing_below_the_end_is_told_in_time(served: list[Served]) -> None:
    """What stands above an open transaction is waited for, and no longer than for any answer."""
    log = of(served, written(0, 3), end=9)
    log.broker.logs[WHERE].stable = 3
    log.spec = replace(log.spec, request_timeout_seconds=1.0)
    reader = log.reader()
    reader.open(WHERE, 0, 9)
    assert [row[0] for row in reader.chunk()] == [0, 1, 2]
    with pytest.raises(BrokerRefused, match="returns nothing from offset 3 on, below its end 9"):
        reader.chunk()


def test_whoever_waits_is_stopped(served: list[Served]) -> None:
    """At once, without an error."""
    stop = threading.Event()
    log = of(served, written(0, 3), end=9)
    log.broker.logs[WHERE].stable = 3
    reader = log.reader(stop=stop)
    reader.open(WHERE, 0, 9)
    assert reader.chunk()
    threading.Timer(0.3, stop.set).start()
    assert reader.chunk() == []
    assert not reader.at_end


def test_the_bounds_of_a_log(served: list[Served]) -> None:
    """As they are now."""
    log = of(served, written(5, 3), end=8)
    log.broker.logs[WHERE].start = 5
    assert (log.reader().log_start(WHERE), log.reader().log_bounds(WHERE)) == (5, (5, 8))


def test_an_answer_that_holds_only_what_is_below_is_refused(served: list[Served]) -> None:
    """A broker never answers so; nothing of the log is stepped over."""
    log = of(served, written(0, 3), end=9)
    log.broker.logs[WHERE] = Stuck([], end=9)
    reader = log.reader(reads_ahead=False)
    reader.open(WHERE, 3, 9)
    with pytest.raises(CorruptRecords, match="from offset 3 holds only batches below it"):
        reader.chunk()


def test_a_connection_that_was_lost_while_nobody_looked_is_made_anew(served: list[Served]) -> None:
    """Between two chunks nobody serves it."""
    log = of(served, *[written(at, 1) for at in range(40)], end=40)
    reader = log.reader(chunk_records=1)
    reader.open(WHERE, 0, 20)
    assert [row[0] for row in reader.chunk()] == [0]
    for writer in list(log.broker._writers):
        log.loop.call_soon_threadsafe(writer.close)
    reader.open(WHERE, 20, 22)
    assert [row[0] for row in (*reader.chunk(), *reader.chunk())] == [20, 21]


def test_what_was_asked_for_ahead_may_be_long_ago(served: list[Served]) -> None:
    """Nobody served its connection meanwhile: that it failed by now says nothing."""
    log = of(served, written(0, 3), end=9)
    log.broker.logs[WHERE].stable = 3
    log.spec = replace(log.spec, request_timeout_seconds=1.0)
    reader = log.reader()
    reader.open(WHERE, 0, 9)
    assert [row[0] for row in reader.chunk()] == [0, 1, 2]
    time.sleep(1.5)  # longer than a request may take
    log.broker.logs[WHERE] = Log([written(0, 3), written(3, 6)], end=9)
    assert [row[0] for row in reader.chunk()] == [3, 4, 5, 6, 7, 8]


def test_a_cluster_that_is_away_is_told_in_time(capfd: pytest.CaptureFixture[str]) -> None:
    """And nothing is printed."""
    dead = ClusterSpec("dead", (("127.0.0.1", 1),), request_timeout_seconds=1.0)
    reader = PartitionReader(dead, COMMITTED)
    reader.open(WHERE, 0, 10)
    with pytest.raises(ConnectionFailed):
        reader.chunk()
    reader.close()
    assert capfd.readouterr() == ("", "")


def test_damage_is_no_lack_of_room(served: list[Served]) -> None:
    """Both are the same to librdkafka."""
    raw = bytearray(stored(0, zeros(1000)))
    raw[61:70] = b"\x00" * 9
    fields = stored(1, [NewRecord(5, b"k", b"v")])
    with pytest.raises(CorruptRecords, match="offset 0"):
        of(served, bytes(_summed(raw)), fields, end=2).rows(2)


def test_a_batch_that_cannot_be_read_is_told_of_its_partition(served: list[Served]) -> None:
    """What stands below it was compared, and the other partitions still are."""
    batches = [written(at, 5) for at in (0, 5, 10)]
    damaged = bytearray(batches[1])
    damaged[-1] ^= 1
    source, target = of(served, *batches, end=15), of(served, batches[0], bytes(damaged), batches[2], end=15)
    task = Task("orders", WHERE, WHERE, 0, 0, 15, 15, compacted=False)
    comparison = Comparison(task, source.reader(fetch_bytes=1), target.reader(fetch_bytes=1), Meter(), first_max=1)
    verdict = comparison.run(threading.Event())
    assert (verdict.records, verdict.differences, verdict.end) == (5, 0, 15)
    assert "the batch at offset 5 is damaged: its CRC does not match its bytes" in (verdict.problem or "")

    digests = DigestComparison(task, source.reader(fetch_bytes=1), target.reader(fetch_bytes=1), Meter(), 2)
    found = digests.run(threading.Event())
    assert (found.equal_ranges, found.different, found.behind, found.end) == (2, (), 0, 4)
    assert found.problem == verdict.problem
    topic = TopicDigestVerdict("orders", "orders", (found,))
    assert (topic.equal, topic.outcome) == (None, "undecided")
    assert "the batch at offset 5 is damaged" in topic.remarks[0]
    assert DigestResult((topic,), 2, 1.0).unread == (("orders", found),)


def test_one_side_is_digested_up_to_a_batch_that_cannot_be_read(served: list[Served]) -> None:
    """The command ended as a whole, and nothing was told of the other partitions."""
    batches = [written(at, 5) for at in (0, 5, 10)]
    damaged = bytearray(batches[1])
    damaged[-1] ^= 1
    log = of(served, batches[0], bytes(damaged), batches[2], end=15)
    task, stop = SideTask("orders", WHERE, 0, 15, 15), threading.Event()
    found = digest_side(task, log.reader(fetch_bytes=1), Meter(), 2, stop)
    assert ([(one.start, one.end) for one in found.ranges], found.reached, found.end) == ([(0, 2), (2, 4)], 4, 15)
    assert "the batch at offset 5 is damaged: its CRC does not match its bytes" in (found.problem or "")
    whole = digest_side(task, of(served, *batches, end=15).reader(fetch_bytes=1), Meter(), 2, stop)
    assert (whole.problem, whole.reached, whole.ranges[:2]) == (None, 15, found.ranges)


def test_what_cannot_be_opened_explains_nothing(served: list[Served]) -> None:
    """Ranges of a compacted topic that differ were called excused, as no record behind such a batch was compared."""
    small = [NewRecord(5, b"k", b"v")]
    logs = [
        [stored(0, small), stored(1, [NewRecord(5, None, value)]), stored(2, small)]
        for value in (bytes(180 * MIB), b"\x01" + bytes(180 * MIB))
    ]
    source, target = (of(served, *log, end=3) for log in logs)
    task = Task("orders", WHERE, WHERE, 0, 0, 3, 3, compacted=True)
    left, right = (each.reader(opened_bytes_max=32 * MIB) for each in (source, target))
    found = DigestComparison(task, left, right, Meter(), 1).run(threading.Event())
    assert (found.equal_ranges, found.excused, found.different) == (2, 0, ())
    assert [pair.start for pair in found.undecided] == [1]
    assert "the batch at offset 1 of partition 0 cannot be compared" in (found.problem or "")
    assert TopicDigestVerdict("orders", "orders", (found,)).equal is None


def _summed(raw: bytearray) -> bytearray:
    """Put a batch's checksum right."""
    struct.pack_into(">I", raw, 17, crc32c(memoryview(raw)[21:]))
    return raw
