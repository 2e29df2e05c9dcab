"""Whose target topics are, as far as brokers tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from replicator.engine.state.ownership import ours as ownership
from replicator.engine.state.ownership.ours import Ownership
from replicator.engine.state.topic.source import SourceState
from replicator.errors import ConnectionFailed, KafkaError
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Pattern, PatternKind, Selection
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.topology import Leader, Topic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicator.engine.state.topic.log import StateLog
    from replicator.wire.transport.connection import Connection

FLOW = FlowSpec("f", "east", "west", Selection((Pattern(PatternKind.GLOB, "*"),)))


class _Log:
    """A state topic without a record."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}

    async def read_to_end(self) -> None:
        """All is read."""


class _Frozen(Cluster):
    """A cluster whose broker takes each question to the end of its time."""

    def __init__(self, alias: str) -> None:
        super().__init__(ClusterSpec(alias, ((alias, 1),)))
        self.brokers, self.asked = {1: (alias, 1)}, 0

    async def leader_connection(self, where: TopicPartition, purpose: Purpose = Purpose.CONTROL) -> Connection:
        """Count the questions."""
        self.asked += 1
        raise ConnectionFailed(f"no answer about {where} in time ({purpose})", cluster=self.spec.alias)

    async def describe(self, name: str) -> Topic | None:
        """Return a topic."""
        return self.topics.get(name)


async def test_a_frozen_broker_is_waited_for_once_not_for_each_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand topics that somebody else filled would hold up a pass for hours."""

    async def ends_of(
        _cluster: Cluster, wanted: Iterable[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, str]]:
        return {}, dict.fromkeys(wanted, "no answer in time")

    monkeypatch.setattr(ownership, "ends_of", ends_of)
    target = _Frozen("west")
    for number in range(1000):
        name = f"t{number}"
        target.topics[name] = Topic(name, bytes([1] * 16), {0: Leader(1, 0)}, 1, 1)
    owner = Ownership(FLOW, "uid", SourceState(_Frozen("east")), target, cast("StateLog", _Log()))
    proofs = await owner.prove(target.topics.values())
    assert target.asked == 1
    assert len(proofs) == 1000
    assert all(isinstance(one, KafkaError) and one.retryable for one in proofs.values())
