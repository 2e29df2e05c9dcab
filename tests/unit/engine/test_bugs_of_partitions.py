"""A mistake of ours in whatever works for one partition stops that partition, by name: none hangs, none spins."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.core.copy.attaching.facts import Role, Writer, Writers
from replicator.core.copy.values import Phase, TargetLimits
from replicator.engine.copy.partitions.producer_state import ShardProducer
from replicator.engine.copy.pump import Pump
from replicator.engine.copy.writing import filler
from replicator.engine.copy.writing.filler import Filler
from replicator.engine.logs.side import Side
from replicator.engine.work.shards import Shard
from replicator.errors import AuthenticationFailed, AuthorizationFailed, BrokerRefused, BugError, ConnectionFailed
from replicator.model.names import TopicPartition
from replicator.model.status.states import Reason
from tests.shards import shard_with
from tests.unit.engine.test_chosen import FLOW
from tests.unit.engine.test_chosen import Side as Sided

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.engine.copy.partitions.partition import Slot


class World:
    """The real pump over two partitions; nothing answers."""

    def __init__(self) -> None:
        self.source, self.target = Sided("east"), Sided("west")
        for side in (self.source, self.target):
            side.add("t", partitions=2)
        nothing: Callable[..., None] = lambda *_, **__: None  # noqa: E731 - a hole to call into
        self.shard = shard_with(SimpleNamespace(effective_since=lambda: 0.0, number=1))
        self.producers: dict[Shard, ShardProducer] = {}
        watcher = SimpleNamespace(changed=nothing, topics_stale=nothing, seeding=self._seeding)
        self.pump = Pump(
            FLOW,
            Side(self.source, {"t": bytes([1] * 16)}),
            Side(self.target, {}),  # where the topic's id is looked for, and is not found: the mistake
            Writers(Writer(7, 0, Role.COPYING, 8, 0, 9)),
            cast("Any", SimpleNamespace(of=lambda _: self.shard)),
            producers=self.producers,
            watcher=cast("Any", watcher),
            maps=cast("Any", SimpleNamespace(refresh_from_end=self._broken)),
        )
        self.slots = [self._slot(number) for number in range(2)]

    def _slot(self, number: int) -> Slot:
        where = TopicPartition("t", number)
        slot = self.pump.add(where, where, TargetLimits(1 << 20, 0))
        slot.copy.attach_again()
        return slot

    async def _seeding(self, *_: object) -> None:
        """All is recorded."""

    async def _broken(self, *_: object) -> bool:
        raise KeyError("t")

    async def rest(self) -> None:
        """Let all tasks come to their end."""
        for _ in range(50):
            await asyncio.sleep(0)


@pytest.fixture
async def world() -> World:
    """A world."""
    return World()


@pytest.mark.parametrize(
    ("error", "phase", "reason"),
    [
        (BugError("nothing to seed"), Phase.FAULTED, Reason.INTERNAL_ERROR),
        (AuthorizationFailed("Write is missing", cluster="west"), Phase.SEEDING, Reason.WAITING_FOR_ACCESS),
        (AuthenticationFailed("the password is wrong", cluster="west"), Phase.SEEDING, Reason.WAITING_FOR_ACCESS),
        (ConnectionFailed("out of reach", cluster="west"), Phase.SEEDING, None),
        (
            BrokerRefused("a policy says no", cluster="west", code=44, api="Produce"),
            Phase.FAULTED,
            Reason.TARGET_REFUSED,
        ),
    ],
)
async def test_what_interrupts_a_seed_keeps_its_kind(
    world: World, error: Exception, phase: Phase, reason: Reason | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing right was called a refusal for good, and so was a mistake of ours."""

    async def connection(*_: object) -> None:
        raise error

    monkeypatch.setattr(world.target, "connection", connection)
    slot, _ = world.slots
    world.pump.seed(slot, 5)
    await world.rest()
    assert (slot.copy.phase, slot.copy.reason) == (phase, reason)


async def test_a_seed_that_meets_a_bug_stops_its_partition(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stayed SEEDING for ever."""

    async def ends(_connection: object, where: list[TopicPartition], *_: object, **__: object) -> Any:
        return {one: SimpleNamespace(value=5, error=0) for one in where}

    async def connection(*_: object) -> None:
        return None

    monkeypatch.setattr("replicator.engine.copy.writing.seeder.control.list_offsets", ends)
    monkeypatch.setattr(world.target, "connection", connection)
    slot, other = world.slots
    world.pump.seed(slot, 5)
    assert slot.copy.phase is Phase.SEEDING
    await world.rest()
    assert (slot.copy.phase, slot.copy.reason) == (Phase.FAULTED, Reason.INTERNAL_ERROR)
    assert "KeyError" in str(slot.copy.detail)
    assert other.copy.reason is None


async def test_a_task_of_a_partition_that_is_gone_stops_nobody(world: World) -> None:
    """Its successor under the same name has nothing to do with it."""

    async def broken() -> None:
        raise KeyError("t")

    slot, _ = world.slots
    world.pump.start(broken(), slot)
    successor = world.pump.slots[slot.source] = world._slot(0)
    await world.rest()
    assert successor.copy.reason is None
    assert slot.copy.reason is None


async def test_a_map_that_cannot_be_looked_at_stops_its_partition(world: World) -> None:
    """It was attached again and again, at once."""
    slot, _ = world.slots
    slot.attach.is_under_way = True
    world.pump.start(world.pump._attach_loop._examiner.record(slot, cast("Any", None)), slot)
    await world.rest()
    assert slot.copy.reason is Reason.INTERNAL_ERROR
    assert not slot.attach.is_under_way


class Fills:
    """The real filler over partitions that all have offsets to fill; the answers to one cannot be taken."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.rounds = world, list[list[int]]()
        pump = world.pump
        route = SimpleNamespace(
            prepare=self.done, is_slow=lambda _: False, turn=self.turn, length_max=lambda **_: 10, prepared_at=0.0
        )
        guard = SimpleNamespace(may_fill=lambda _: True)
        world.producers[world.shard] = ShardProducer(cast("Any", guard), cast("Any", route))
        monkeypatch.setattr(filler, "_is_ours", lambda *_: True)
        monkeypatch.setattr(world.target, "connection", self.done)
        monkeypatch.setattr(pump, "ended", lambda *_: None)
        monkeypatch.setattr(pump, "answered", lambda *_: None)
        monkeypatch.setattr(pump, "leaders_stale", lambda **_: None)
        for slot in world.slots:
            copy: Any = SimpleNamespace(
                fill_due=lambda: 5,
                begin_fill=lambda _: SimpleNamespace(length=5),
                episode=1,
                fill_failed=lambda *_, **__: None,
                doubtful=False,
            )
            monkeypatch.setattr(slot, "copy", copy)
        self.filler = Filler(pump.context, pump, 1)
        monkeypatch.setattr(self.filler, "_write", self.write)
        self.stopped: list[int] = []
        monkeypatch.setattr(pump, "stop_over_bug", lambda slot, _: self.stopped.append(slot.source.partition))

    async def done(self, *_: object) -> None:
        """It is done."""

    def turn(self, **_: object) -> Fills:
        """Whose turn it is."""
        return self

    async def __aenter__(self) -> None:
        """Begin."""

    async def __aexit__(self, *_: object) -> None:
        """End."""

    async def write(self, *given: Any, **_: object) -> None:
        """Fill, and fail over partition 1."""
        numbers = [slot.source.partition for slot in given[3]]
        self.rounds.append(numbers)
        if 1 in numbers:
            raise KeyError(1)
        given[3].clear()


async def test_a_fill_that_meets_a_bug_stops_one_partition(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one request are tried alone after it: else all of them would begin again, for ever."""
    fills = Fills(world, monkeypatch)
    for _ in range(2):
        for slot in world.slots:
            if slot.source.partition not in fills.stopped:
                fills.filler.add(slot)
        await world.rest()
    assert fills.rounds == [[0, 1], [0], [1]]
    assert fills.stopped == [1]
