"""When the source's ends were seen: told by a fetch session, or by its silence."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from kio.schema.errors import ErrorCode

from replicator.core.copy.attaching.facts import Resume
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import TargetLimits
from replicator.engine.copy.context import CopyContext
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.partitions.recorded import Recorded
from replicator.engine.copy.pump import Pump
from replicator.engine.copy.reading.reader import SourceReader
from replicator.engine.copy.routes import Routes
from replicator.engine.copy.sightings import Sightings
from replicator.engine.flow.assembly.source_ends import SourceEnds
from replicator.engine.state import records as state
from replicator.engine.switch.places import ObservedSource
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.state_pb import state_pb2 as pb
from replicator.wire.frames import Frame, FramePool
from replicator.wire.topology import Leader
from tests.shards import shard_with
from tests.unit.wire.test_fetch import IDS, answered, partition

if TYPE_CHECKING:
    from replicator.engine.state.topic.log import StateLog

VERSION = 13
A0, A1 = TopicPartition("a", 0), TopicPartition("a", 1)
WALL_MS = 1_800_000_000_000


class World:
    """One reader of one broker, a clock, and what is on its way."""

    def __init__(self) -> None:
        self.now = 0.0
        self.answer: Any = None
        nothing = lambda *_, **__: None  # noqa: E731 - a hole to call into
        frames = FramePool(3, 1 << 20)
        self.pump: Any = SimpleNamespace(
            now=lambda: self.now,
            now_ms=lambda: WALL_MS + int(self.now * 1000),
            source=SimpleNamespace(cluster=SimpleNamespace(leader=lambda _: Leader(1, 1)), topic_ids=IDS, chooser=None),
            line=SimpleNamespace(
                frames=SimpleNamespace(frame_bytes=1 << 20),
                take=lambda _reader: frames.take(),
                leave=lambda _reader: None,
                poll_ms=500,
                kick=lambda: None,
            ),
            wants_more=lambda slot: slot.copy.wants_more(1 << 20),
            isolation=Isolation.READ_UNCOMMITTED,
            origins=None,
            problems=SimpleNamespace(source_works=nothing),
            wake_writers=nothing,
            answered_empty=nothing,
            _reader_of={},
            slots={},
        )
        self.pump.take_silence = lambda slot: Routes.take_silence(cast("Any", self.pump), slot)
        self.pump.context = self.pump.routes = self.pump
        self.pump.partitions = self.pump.slots
        self.pump.own = partial(CopyContext.own, cast("Any", self.pump))
        self.pump.sightings = Sightings(cast("Any", self.pump), cast("Any", self.pump))
        self.reader = SourceReader(cast("Any", self.pump), cast("Any", self.pump), 1)
        self.reader._link = cast("Any", SimpleNamespace(get=lambda: self, works=nothing))
        self.versions = SimpleNamespace(fetch=VERSION)

    def send(self, *args: Any, frame: Frame, **_: Any) -> None:
        """Take a request; it is answered when the test says so."""
        self.answer = (args[-1], frame)

    def slot(self, where: TopicPartition, offset: int = 90) -> Slot:
        """Return a partition that is copied up to `offset`, read by the reader."""
        made = Slot(where, where, PartitionCopy(where, TargetLimits(1 << 20, 0)), shard_with(), Recorded(active=True))
        made.copy.resume(Resume(offset, offset, None))
        self.pump._reader_of[made] = self.reader
        self.pump.slots[where] = made
        self.reader.add(made)
        return made

    def asks(self, at: float) -> None:
        """Let the reader send its next request."""
        self.now = at
        self.reader.kick()

    def hears(self, at: float, *partitions: Any, session_id: int = 7) -> None:
        """Let it hear the answer; it asks again at once."""
        self.now = at
        callback, frame = self.answer
        raw = answered(VERSION, {"a": list(partitions)} if partitions else {}, session_id)
        frame.buffer[: len(raw)] = raw
        frame.size = len(raw)
        callback(frame, None)

    def seen(self, slot: Slot) -> tuple[int | None, float | None]:
        """Return the source's end of a partition and when it was seen."""
        self.pump.routes.take_silence(slot)
        return slot.lag.observed_end, slot.lag.observed_at


def test_an_answer_that_is_heard_late_shows_the_moment_it_was_asked_for() -> None:
    """A frozen process hears at its end what was true at its beginning."""
    world = World()
    first, second = world.slot(A0), world.slot(A1)
    world.asks(1.0)
    world.hears(1.2, partition(VERSION, 0), partition(VERSION, 1))
    assert (world.seen(first), world.seen(second)) == ((90, 1.0), (90, 1.0))
    world.hears(61.0, partition(VERSION, 1, high_watermark=95))
    assert (world.seen(first), world.seen(second)) == ((90, 1.2), (95, 1.2))


def test_silence_proves_nothing_of_a_partition_that_was_not_listed() -> None:
    """One that begins while a poll is on its way was looked at by its attach alone."""
    world = World()
    world.slot(A0)
    world.asks(1.0)
    world.hears(1.2, partition(VERSION, 0))
    late = world.slot(A1)
    late.lag.observe(90, 1.1)  # when its attach began
    world.hears(1.7)  # of what was asked for at 1.2
    assert world.seen(late) == (90, 1.1)
    world.hears(2.2, partition(VERSION, 1))  # the first answer that it is listed in
    assert world.seen(late) == (90, 1.7)


def test_what_silence_proved_is_kept_when_an_idle_partition_stops() -> None:
    """Not the time at which it was last written to; and its successor begins with what its own attach saw."""
    world = World()
    idle = world.slot(A0)
    world.asks(1.0)
    world.hears(1.2, partition(VERSION, 0))
    for at in range(2, 3000):
        world.hears(float(at))
    fake = SimpleNamespace(
        _attach_loop=SimpleNamespace(add=lambda _: None),
        routes=SimpleNamespace(take_silence=world.pump.take_silence, end=world.reader.remove),
    )
    Pump._leave(cast("Pump", fake), idle, None)
    assert (idle.lag.observed_at, idle.lag.rpo_seconds(3000.0)) == (2998.0, 2.0)
    after = world.slot(A0)
    after.lag.observe(90, 2999.5)
    assert world.seen(after) == (90, 2999.5)


def test_a_partition_that_is_refused_was_not_silent() -> None:
    """Where it ended by then is not known."""
    world = World()
    world.slot(A0)
    world.asks(1.0)
    world.hears(1.2, partition(VERSION, 0))
    world.hears(1.7)
    told: list[float | None] = []

    def ended(slot: Slot, _: object) -> None:
        told.append(world.seen(slot)[1])
        world.reader.remove(slot)

    world.pump.ended, world.pump.leaders_stale = ended, lambda **_: None
    world.hears(9.0, partition(VERSION, 0, error_code=ErrorCode.not_leader_or_follower))
    assert told == [1.2]


class FakeLog:
    """Keeps what is appended; holds a flow."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.records.update([state.put(state.flow_key("uid"), pb.FlowRecord(uid="uid"))])  # type: ignore[list-item]

    async def append(self, changes: list[tuple[bytes, bytes]]) -> None:
        """Take changes."""
        self.records.update(changes)


async def test_what_is_recorded_carries_when_it_was_seen() -> None:
    """Each partition its own time, and the block the oldest, which is all that an older version reads."""
    world, log = World(), cast("StateLog", FakeLog())
    first, second = world.slot(A0), world.slot(A1)
    first.lag.observe(90, 1.0)
    second.lag.observe(95, 70.0)
    world.now = 77.0
    await SourceEnds("uid", log).record(cast("Pump", world.pump), {first.shard, second.shard})
    raw = log.records[state.source_end_key("uid", 0)]
    assert pb.SourceEndBlock.FromString(raw).observed_ms == WALL_MS + 1000
    observed = ObservedSource(log, "uid")
    assert observed.end(A0) == (90, WALL_MS + 1000)
    assert observed.end(A1) == (95, WALL_MS + 70_000)


def test_records_of_before_have_the_time_of_their_block() -> None:
    """There was no other."""
    log = FakeLog()
    block = pb.SourceEndBlock(
        shard=0, observed_ms=55, entries=[pb.SourceEndBlock.Entry(topic="a", partition=0, end=90)]
    )
    log.records[state.source_end_key("uid", 0)] = block.SerializeToString()
    assert ObservedSource(cast("StateLog", log), "uid").end(A0) == (90, 55)
