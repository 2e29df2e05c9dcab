"""Whether the other side of a switch has come to where the open one was when that was asked first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from replicator.core.status.observations import SILENT_SECONDS
from replicator.engine.flow import runner as flow
from replicator.engine.switch.sides import Sides
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.wire.cluster import Cluster
from tests.unit.engine.log_broker import Log, LogBroker

if TYPE_CHECKING:
    from collections.abc import Mapping

WHERE = TopicPartition("orders-1", 0)


class World:
    """An open side that applications write to all the time, and the copy that follows it."""

    def __init__(self) -> None:
        self.broker = LogBroker(1)
        self.broker.logs = {TopicPartition("orders-1", number): Log() for number in range(4)}
        self.copied = 0

    async def open(self) -> None:
        """Listen."""
        await self.broker.open()
        self.cluster = Cluster(ClusterSpec("west", (("127.0.0.1", self.broker.port),)))
        await self.cluster.open()
        context: Any = SimpleNamespace(
            flow=SimpleNamespace(source="east", target="west"), source=None, target=self.cluster, log=None
        )
        self.sides = Sides(context)

    def close(self) -> None:
        """Stop."""
        self.cluster.close()
        self.broker.close()

    def behind(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
        """Return what is not copied yet, as the copying of the reverse flow tells."""
        return {where: f"copied up to {self.copied}" for where, end in ends.items() if end > self.copied}

    async def ask(self, switch_id: str) -> str:
        """Return what keeps the other side from following."""
        journal = SimpleNamespace(id=switch_id)
        copying: Any = self
        return await self.sides._behind(cast("Any", journal), "west", ["orders-1"], cast("Any", None), "uid", copying)


async def test_two_that_wait_for_different_switches_see_both_end() -> None:
    """Each question read the ends anew that the other had just read: nobody ever came to where they were first."""
    world = World()
    await world.open()
    log = world.broker.logs[WHERE]
    answers = []
    for turn in range(6):
        log.end += 10
        world.copied = log.end - 5
        answers.append(await world.ask(f"switch-{turn % 2}"))
    world.close()

    assert [bool(answer) for answer in answers] == [True, True, False, False, False, False]


async def test_no_more_is_remembered_than_anybody_waits_for() -> None:
    """A daemon lives through many switches."""
    world = World()
    await world.open()
    for turn in range(40):
        await world.ask(f"switch-{turn}")
    world.close()

    assert len(world.sides._ends) == 16


def test_a_target_that_is_back_is_asked_before_it_would_be_called_silent() -> None:
    """While it is not opened nobody else asks it anything."""
    assert 2 * flow._START_PAUSE_SECONDS[1] < SILENT_SECONDS
