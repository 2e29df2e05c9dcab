"""What librdkafka cannot show is compared all the same: real librdkafka, real sockets."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Iterator

import pytest
from crc32c import crc32c

from replicator.admin.reader import PartitionReader
from replicator.core.record_diff import RecordDiff, Row
from replicator.engine.closer_look import CloserLook
from replicator.errors import CorruptRecords, ProtocolError, TooLargeToOpen
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import Isolation
from replicator.wire.records import NewRecord
from tests.unit.engine.log_broker import Log, LogBroker
from tests.unit.engine.test_large_batches import MIB, stored, zeros

WHERE = TopicPartition("orders-1", 0)
COMMITTED = Isolation.READ_COMMITTED


class Served:
    """A broker that serves one log, in a thread of its own."""

    def __init__(self, *batches: bytes, end: int) -> None:
        self.broker = LogBroker(1)
        self.broker.logs[WHERE] = Log(list(batches), end=end)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.broker.open(), self._loop).result(10)
        self.spec = ClusterSpec("east", (("127.0.0.1", self.broker.port),), request_timeout_seconds=10.0)

    def rows(self, end: int, *, closer: bool = True) -> list[Row]:
        """Return what a reader makes of it."""
        look = CloserLook(self.spec, COMMITTED) if closer else None
        reader = PartitionReader(self.spec, COMMITTED, closer=look)
        try:
            reader.open(WHERE, 0, end)
            found: list[Row] = []
            while rows := reader.chunk():
                found += rows
            assert reader.at_end
            return found
        finally:
            reader.close()

    def close(self) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self.broker.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


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

    with pytest.raises(ProtocolError, match="offset 1 of orders-1-0 has a header whose name is no UTF-8"):
        of(served, odd(), end=3).rows(3, closer=False)


def test_a_batch_that_expands_too_far_is_compared_as_it_is_stored(served: list[Served]) -> None:
    """Librdkafka opened it, whatever it took; a row stands for it, and reading goes on behind."""
    small = [NewRecord(5, b"k", b"v")]
    log = [stored(0, small), stored(1, zeros(180 * MIB)), stored(2, small)]
    other = [stored(0, small), stored(1, [NewRecord(5, None, b"\x01" + bytes(180 * MIB))]), stored(2, small)]
    rows = of(served, *log, end=3).rows(3)
    again = of(served, *log, end=3).rows(3)
    different = of(served, *other, end=3).rows(3)
    assert [row[0] for row in rows] == [0, 1, 2]
    assert rows == again
    assert [one == two for one, two in zip(rows, different, strict=True)] == [True, False, True]
    assert len(rows[1][3] or b"") == 16

    with pytest.raises(TooLargeToOpen, match="the batch at offset 1 of orders-1-0 on east cannot be opened"):
        of(served, *log, end=3).rows(3, closer=False)


def test_damage_is_no_lack_of_room(served: list[Served]) -> None:
    """Both are the same to librdkafka."""
    raw = bytearray(stored(0, zeros(1000)))
    raw[61:70] = b"\x00" * 9
    fields = stored(1, [NewRecord(5, b"k", b"v")])
    with pytest.raises(CorruptRecords, match="offset 0"):
        of(served, bytes(_summed(raw)), fields, end=2).rows(2)


def _summed(raw: bytearray) -> bytearray:
    """Put a batch's checksum right."""
    struct.pack_into(">I", raw, 17, crc32c(memoryview(raw)[21:]))
    return raw
