"""Whose dead-letter topic it is: told by a record, which outlives all that retention takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from replicator.core.topics.ownership import OwnedTopic, created
from replicator.engine.logs import dead_letter
from replicator.engine.logs.dead_letter import set_aside
from replicator.errors import PreflightFailed
from replicator.model.names import TopicPartition
from replicator.wire.batches.records import Record
from tests.unit.engine.test_chosen import Side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.admin.topics import TopicAdmin

ORIGIN, WHERE = TopicPartition("orders", 0), TopicPartition("orders.dead-letter", 0)
RECORDS = [Record(7, 0, b"k", b"v", ())]


class World:
    """A target with an administrator; what a log holds is told in words."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.target = Side("west")
        self.end, self.ends_with_ours = 0, False
        self.recorded: list[bytes] = []
        self.done: list[str] = []
        for name, stand_in in (
            ("offsets_of", self.offsets_of),
            ("_ends_with_ours", self.told),
            ("_write", self.write),
        ):
            monkeypatch.setattr(dead_letter, name, stand_in)
        monkeypatch.setattr(self.target, "leader_connection", self.connection)

    async def connection(self, *_: object) -> None:
        """Open one."""

    async def offsets_of(self, _: object, where: Sequence[TopicPartition], *__: object) -> dict[TopicPartition, int]:
        """Tell where logs end."""
        return dict.fromkeys(where, self.end)

    async def told(self, *_: object) -> bool:
        """Tell whether the last record is ours."""
        return self.ends_with_ours

    async def write(self, *_: object) -> None:
        """Write."""
        self.done.append("write")
        self.end += 1

    async def create_topic(self, name: str, *_: object) -> OwnedTopic:
        """Create it."""
        self.target.add(name)
        return created(name, self.target.topics[name].topic_id)

    async def alter_configs(self, topic: OwnedTopic, _values: object) -> None:
        """Change it."""
        self.done.append(f"configure as {topic.because}")

    async def set_aside(self, known: bytes = b"") -> None:
        """Set records aside."""

        async def record_id(topic_id: bytes) -> None:
            self.done.append("record")
            self.recorded.append(topic_id)

        admin = cast("TopicAdmin", self)
        await set_aside(self.target, admin, ORIGIN, WHERE, RECORDS, replicas=1, known=known, record_id=record_id)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world."""
    return World(monkeypatch)


async def test_a_topic_that_was_emptied_is_ours_still(world: World) -> None:
    """Retention took all that was set aside: nothing in it tells whose it is, what was recorded does."""
    await world.set_aside()
    assert world.done == ["record", "write"], "recorded before anything is written"
    world.end, world.ends_with_ours = 5, False
    world.done.clear()
    await world.set_aside(world.recorded[0])
    assert world.done == ["configure as recorded", "write"]


async def test_another_topic_of_the_name_is_not_ours(world: World) -> None:
    """It was deleted, and an application made a queue of its own there."""
    world.target.add(WHERE.topic)
    world.end = 5
    for known in (b"", bytes(16), bytes([9] * 16)):
        with pytest.raises(PreflightFailed, match="is not a dead-letter topic of orders"):
            await world.set_aside(known)
    assert world.done == []


async def test_what_an_earlier_version_made_is_recorded_once_it_is_proven(world: World) -> None:
    """By the records that it holds."""
    world.target.add(WHERE.topic)
    world.end, world.ends_with_ours = 5, True
    await world.set_aside()
    assert world.done == ["record", "configure as holds_only_ours", "write"]
    assert world.recorded == [world.target.topics[WHERE.topic].topic_id]
