"""Room for large answers of those who compare records: bounded by turns, or by what the copy leaves."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator

import pytest

from replicator.engine.verify.digests.partition import DigestComparison, SideTask, digest_side
from replicator.engine.verify.partition import Comparison, Meter, Task
from replicator.engine.verify.room import Borrowed, Turn, Turns
from replicator.model.batch import HEADER
from replicator.wire import room as wire_room
from replicator.wire.batches.records import NewRecord
from replicator.wire.frames import FramePool
from replicator.wire.room import NoRoom
from tests.unit.engine.log_broker import Log
from tests.unit.engine.test_large_batches import MIB, stored
from tests.unit.engine.test_partition_reader import WHERE, Served

LARGE = 2 * MIB
USUAL = MIB // 4


class OneByOne(Log):
    """A log of which each answer holds one batch, as where each is larger than what is asked for."""

    def read(self, offset: int) -> bytes:
        """Return the batch that holds an offset."""
        return next((each for each in self.batches if HEADER.unpack_from(each)[0] == offset), b"")


@pytest.fixture
def served() -> Iterator[Served]:
    """A broker of a log with two large records."""
    batches = [stored(at, [NewRecord(5, None, b"%d" % at + bytes(LARGE))], 0) for at in range(2)]
    made = Served(end=2)
    made.broker.logs[WHERE] = OneByOne(batches, end=2)
    yield made
    made.close()


class Counted:
    """Room that notes how much is held."""

    def __init__(self, allowed: Callable[[], bool] = lambda: True) -> None:
        self.held = self.most = self.refused = 0
        self._allowed = allowed

    def take(self, size: int) -> bool:
        """Count what is held."""
        if not self._allowed():
            self.refused += 1
            return False
        self.held += size
        self.most = max(self.most, self.held)
        return True

    def give_back(self, size: int) -> None:
        """Count what is not held any more."""
        self.held -= size


def test_a_comparison_holds_one_large_answer_at_a_time(served: Served) -> None:
    """Each side held its own, and of the source's two."""
    room = Counted()
    left, right = (served.reader(room=room, fetch_bytes=USUAL, rereads=rereads) for rereads in (True, False))
    task = Task("orders", WHERE, WHERE, 0, 0, 2, 2, compacted=False)
    comparison = Comparison(task, left, right, Meter(), first_max=1)
    verdict = comparison.run(threading.Event())
    assert (verdict.records, verdict.differences) == (2, 0)
    assert LARGE < room.most < LARGE + USUAL
    del comparison
    gc.collect()
    assert room.held == 0


def test_digests_hold_one_large_answer_at_a_time(served: Served) -> None:
    """What was digested was kept while the next answer was read, of the same side or of the other one."""
    room = Counted()
    left, right = (served.reader(room=room, fetch_bytes=USUAL) for _ in range(2))
    found = digest_side(SideTask("orders", WHERE, 0, 2, 2), left, Meter(), 10, threading.Event())
    assert found.ranges[0].records == 2
    assert LARGE < room.most < LARGE + USUAL
    task = Task("orders", WHERE, WHERE, 0, 0, 2, 2, compacted=False)
    verdict = DigestComparison(task, left, right, Meter(), 10).run(threading.Event())
    assert (verdict.equal_ranges, verdict.records) == (1, 2)
    assert LARGE < room.most < LARGE + USUAL


def test_an_answer_is_read_once_there_is_room(served: Served) -> None:
    """However long that takes: the deadline of its request stands still."""
    asked = iter(range(100))
    room = Counted(lambda: next(asked) >= 30)
    served.spec = served.spec.__class__("east", served.spec.bootstrap, request_timeout_seconds=0.2)
    reader = served.reader(room=room, fetch_bytes=USUAL)
    reader.open(WHERE, 0, 1)
    assert [row[0] for row in reader.chunk()] == [0]
    assert room.refused == 30


def test_whoever_shares_with_the_copy_does_not_wait_for_ever(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other partitions are compared meanwhile."""
    monkeypatch.setattr(wire_room, "ROOM_SECONDS", 0.1)
    may = False
    reader = served.reader(room=Counted(lambda: may), fetch_bytes=USUAL, room_seconds_bounded=True)
    reader.open(WHERE, 0, 1)
    with pytest.raises(NoRoom, match=r"limits\.in_flight_bytes"):
        reader.chunk()
    may = True
    assert [row[0] for row in reader.chunk()] == [0]


def test_one_worker_at_a_time_holds_large_answers() -> None:
    """Both sides of it, so that it never waits for itself; the end of a worker ends its turn."""
    turns = Turns()
    first, second = Turn(turns), Turn(turns)
    with first:
        assert (first.take(10), first.take(10), second.take(10)) == (True, True, False)
        first.give_back(10)
        assert not second.take(10)
        first.give_back(10)
        assert second.take(10)
        second.give_back(10)
        assert first.take(10)
    assert second.take(10)
    first.give_back(10)  # what was dropped late
    assert not first.take(10)


async def test_room_is_what_the_copy_leaves() -> None:
    """It is never held up for it, and has back what was lent."""
    frames, kicked = FramePool(3, 100), asyncio.Event()
    room = Borrowed(frames, asyncio.get_running_loop(), kicked.set)
    held = frames.take()
    assert held is not None
    held.reserve(100)
    assert not await asyncio.to_thread(room.take, 250)
    assert await asyncio.to_thread(room.take, 200)
    assert frames.take() is None
    assert not await asyncio.to_thread(room.take, 1)
    await asyncio.to_thread(room.give_back, 200)
    await asyncio.wait_for(kicked.wait(), 10)
    assert frames.take() is not None
    held.release()
    # A single batch has to be read sometime, and its other side with it.
    assert await asyncio.to_thread(room.take, 900)
    assert await asyncio.to_thread(room.take, 900)
