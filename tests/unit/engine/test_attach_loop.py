"""A mistake of ours in one partition's attach stops that partition, by name, and nobody else's."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.core.copy.attaching.facts import Fault
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.reading.doubt import DOUBTS_MAX, Doubt
from replicator.core.copy.values import Phase, TargetLimits
from replicator.core.offsets.offset_map import OffsetPair
from replicator.engine.copy.attaching.attacher import AttachLoop
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.partitions.recorded import Recorded
from replicator.engine.copy.pump import Pump
from replicator.errors import (
    AnswerTooLarge,
    AuthenticationFailed,
    AuthorizationFailed,
    BrokerRefused,
    BugError,
    ConnectionFailed,
    CorruptRecords,
    ProtocolError,
    StateLost,
    TooLargeToOpen,
)
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation, Offsets
from replicator.model.status.states import Reason
from tests.shards import shard_with


def refusal(code: int) -> BrokerRefused:
    """Return an error code of a broker as the error that it is."""
    return BrokerRefused("the broker refuses", cluster="east", code=code, api="Fetch")


def _module_of(name: str) -> str:
    """Return where a function that reads a log is looked up."""
    return f"replicator.engine.copy.attaching.{'attacher' if name == 'read_facts' else 'examiner'}.{name}"


class World:
    """The real loop over partitions, one of which has a record of its map that nothing can be made of."""

    def __init__(self, error: Exception) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self.error = error
        self.slots = [self._slot(number) for number in range(5)]
        self.bad = self.slots[3]
        nothing = lambda *_, **__: None  # noqa: E731 - a hole to call into
        self.pump: Any = SimpleNamespace(
            now=lambda: 1.0,
            maps=SimpleNamespace(refresh=self._refresh),
            source=None,
            target=None,
            writers=SimpleNamespace(flow=None),
            isolation=Isolation.READ_COMMITTED,
            offsets=Offsets.IDENTICAL,
            start=lambda work, *_: self.tasks.append(asyncio.create_task(work)),
            ended=nothing,
            fault=lambda slot, reason, detail: slot.copy.fault(reason, detail),
            stop_over_bug=lambda slot, bug: Pump.stop_over_bug(cast("Pump", self.pump), slot, bug),
            wake_readers=nothing,
            leaders_stale=nothing,
            topics_stale=nothing,
        )
        self.loop = AttachLoop(cast("Any", self.pump), cast("Any", self.pump))

    @staticmethod
    def _slot(number: int) -> Slot:
        where = TopicPartition("orders", number)
        slot = Slot(where, where, PartitionCopy(where, TargetLimits(1 << 20, 0)), shard_with(), Recorded(active=True))
        slot.copy.attach_again()
        return slot

    def _refresh(self, slot: Slot) -> bool:
        if slot is self.bad:
            raise self.error
        return False

    async def attach(self) -> None:
        """Attach all of them together, and what comes of it."""
        self.loop._spawn(self.slots)
        while self.tasks:
            await self.tasks.pop()


@pytest.mark.parametrize("error", [BugError("a run begins before the one before it ends"), KeyError("orders")])
async def test_it_stops_alone(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of its group are read without it."""
    read: list[Slot] = []

    async def read_facts(_source: Any, _target: Any, _writer: Any, group: list[Slot], **_: Any) -> dict[Slot, Any]:
        read.extend(group)
        return {}

    monkeypatch.setattr("replicator.engine.copy.attaching.attacher.read_facts", read_facts)
    world = World(error)
    await world.attach()
    assert (world.bad.copy.phase, world.bad.copy.reason) == (Phase.FAULTED, Reason.INTERNAL_ERROR)
    assert str(error).strip("'") in str(world.bad.copy.detail)
    assert set(read) == set(world.slots) - {world.bad}


async def test_what_was_read_cannot_be_decided_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither does that take others along: each is decided about by itself."""

    async def read_facts(_source: Any, _target: Any, _writer: Any, group: list[Slot], **_: Any) -> dict[Slot, Any]:
        return {slot: SimpleNamespace(target=SimpleNamespace(end=5)) for slot in group}

    def take(_loop: AttachLoop, slot: Slot, *_: Any) -> None:
        taken.append(slot)
        if slot is world.bad:
            raise BugError("nothing to decide")

    taken: list[Slot] = []
    monkeypatch.setattr("replicator.engine.copy.attaching.attacher.read_facts", read_facts)
    monkeypatch.setattr(AttachLoop, "_take_facts", take)
    world = World(BugError("unused"))
    world.pump.maps.refresh = lambda _: False
    await world.attach()
    assert taken == world.slots
    assert {slot.copy.reason for slot in world.slots} == {Reason.INTERNAL_ERROR, None}


async def test_a_pause_while_a_displaced_batch_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look fails, and the partition can be attached again once it is resumed."""
    world = World(BugError("unused"))
    slot = world.bad

    async def what_displaced(*_: object) -> None:
        slot.copy.pause()
        raise ConnectionFailed("the target is out of reach", cluster="west")

    monkeypatch.setattr("replicator.engine.copy.attaching.examiner.what_displaced", what_displaced)
    slot.attach.is_under_way = True
    await world.loop._examiner.at_displaced(slot, OffsetPair(5, 6))
    assert not slot.attach.is_under_way
    assert slot.copy.phase is Phase.PAUSED


@pytest.mark.parametrize("name", ["reread", "what_displaced"])
async def test_a_mistake_of_ours_in_a_look_stops_its_partition(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would begin again at once, for ever, with nothing but a line in the log."""
    world = World(BugError("unused"))
    slot = world.bad

    async def stumbles(*_: object) -> None:
        raise KeyError("orders")

    monkeypatch.setattr(_module_of(name), stumbles)
    slot.attach.is_under_way = True
    if name == "reread":
        await world.loop._examiner.at_doubted(slot, 5)
    else:
        await world.loop._examiner.at_displaced(slot, OffsetPair(5, 6))
    assert (slot.attach.is_under_way, slot.copy.reason) == (False, Reason.INTERNAL_ERROR)


@pytest.mark.parametrize(
    ("error", "phase", "reason"),
    [
        (CorruptRecords("a batch is damaged"), Phase.FAULTED, Reason.CORRUPT_BATCH),
        (AuthorizationFailed("Read is missing", cluster="east"), Phase.ATTACHING, Reason.WAITING_FOR_ACCESS),
        (AuthenticationFailed("the password is wrong", cluster="east"), Phase.ATTACHING, Reason.WAITING_FOR_ACCESS),
        (ConnectionFailed("out of reach", cluster="east"), Phase.ATTACHING, Reason.WAITING_FOR_LEADER),
        (refusal(6), Phase.ATTACHING, Reason.WAITING_FOR_LEADER),
        (refusal(42), Phase.ATTACHING, Reason.WAITING_FOR_BROKER),
        (refusal(0), Phase.ATTACHING, Reason.WAITING_FOR_BROKER),
        (ProtocolError("no Kafka", cluster="east"), Phase.ATTACHING, Reason.WAITING_FOR_BROKER),
        (
            AnswerTooLarge("an answer is too large", cluster="east", claimed_bytes=1 << 30),
            Phase.FAULTED,
            Reason.BATCH_TOO_LARGE,
        ),
        (StateLost("it is gone", cluster="west", code=3, api="Metadata"), Phase.ATTACHING, Reason.STATE_LOST),
    ],
)
@pytest.mark.parametrize("name", ["reread", "what_displaced", "read_facts"])
async def test_what_cannot_heal_by_itself_is_no_wait(
    name: str, error: Exception, phase: Phase, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever look met it: a batch found damaged three times stops its partition, a missing right is named as one."""
    world = World(BugError("unused"))
    world.pump.maps.refresh = lambda _: False
    slot = world.bad

    async def stumbles(*_: object, **__: object) -> None:
        raise error

    async def looks() -> None:
        slot.attach.is_under_way = True
        if name == "reread":
            await world.loop._examiner.at_doubted(slot, 5)
        elif name == "what_displaced":
            await world.loop._examiner.at_displaced(slot, OffsetPair(5, 6))
        else:
            await world.loop._attach([slot])

    monkeypatch.setattr(_module_of(name), stumbles)
    for _ in range(DOUBTS_MAX):
        assert slot.copy.phase is Phase.ATTACHING, "an answer may have been spoiled on its way"
        await looks()

    assert (slot.attach.is_under_way, slot.copy.phase, slot.copy.reason) == (False, phase, reason)
    assert str(error) in (slot.copy.detail or "")


@pytest.mark.parametrize("name", ["reread", "what_displaced", "read_facts"])
async def test_a_batch_that_cannot_be_opened_is_told_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look again would not help: its checksum was proven, and it would take as much memory the next time."""
    world = World(BugError("unused"))
    world.pump.maps.refresh = lambda _: False
    slot = world.bad

    async def stumbles(*_: object, **__: object) -> None:
        raise TooLargeToOpen("the batch at offset 5 takes more than 10 bytes of memory once it is opened", offset=5)

    monkeypatch.setattr(_module_of(name), stumbles)
    slot.attach.is_under_way = True
    if name == "reread":
        await world.loop._examiner.at_doubted(slot, 5)
    elif name == "what_displaced":
        await world.loop._examiner.at_displaced(slot, OffsetPair(5, 6))
    else:
        await world.loop._attach([slot])
    assert (slot.attach.is_under_way, slot.copy.phase, slot.copy.reason) == (
        False,
        Phase.FAULTED,
        Reason.BATCH_TOO_LARGE,
    )


async def test_a_mistake_of_ours_in_recording_a_difference_stops_its_partition() -> None:
    """It would be attached again at once, for ever, with nothing but a line in the log."""
    world = World(BugError("unused"))
    slot = world.bad

    async def stumbles(_: Slot) -> bool:
        raise KeyError("orders")

    world.pump.maps.refresh_from_end = stumbles
    slot.attach.is_under_way = True
    await world.loop._examiner.record(slot, Fault(Reason.CONTENT_MISMATCH, "other records"))

    assert (slot.attach.is_under_way, slot.copy.reason) == (False, Reason.INTERNAL_ERROR)


@pytest.mark.parametrize("name", ["reread", "what_displaced"])
async def test_looks_at_places_are_bounded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of leaders may raise a thousand doubts at once, and each look reads up to 32 MiB an answer."""
    world = World(BugError("unused"))
    slots = [world._slot(number) for number in range(40)]
    looking: set[Slot] = set()
    most = looked = 0

    async def look(*given: Any) -> None:
        nonlocal most, looked
        slot = next(slot for slot in slots if slot.source in given or slot in given)
        looking.add(slot)
        most = max(most, len(looking))
        await asyncio.sleep(0.001)
        looking.discard(slot)
        looked += 1

    monkeypatch.setattr(_module_of(name), look)
    for slot in slots:
        if name == "reread":
            slot.copy.reading.trust.doubted = Doubt(5, "a batch claims too much", 1)
        else:
            slot.copy.displaced = OffsetPair(5, 6)
        world.loop.add(slot)
    await world.loop._attach_due()
    await asyncio.gather(*world.tasks)

    assert (most, looked) == (4, 40)
    assert not any(slot.attach.is_under_way or slot.copy.reading.trust.doubted or slot.copy.displaced for slot in slots)
