"""The facts that a preflight gathers: about one cluster, and about one flow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from replicator.admin.topics import TopicAdmin
from replicator.core.copy.writing.producer_memory import ProducerMemory
from replicator.core.topics import selection
from replicator.engine.preflight.reverse import StandBy, stands_by
from replicator.engine.state import records as state
from replicator.errors import ReplicatorError
from replicator.model.names import TopicPartition
from replicator.model.operations.report import Check, fail
from replicator.wire.cluster import Cluster
from replicator.wire.messages import questions

if TYPE_CHECKING:
    from replicator.admin.topic_values import TopicConfig
    from replicator.core.topics.ownership import MirrorOnSource
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import FlowSpec
    from replicator.state_pb import state_pb2 as pb

_QUESTION_SECONDS_MAX = 30.0
START, END = -2, -1
EFFECTIVE = ("cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes")
T = TypeVar("T")


@dataclass(slots=True)
class Side:
    """One cluster of the file, as far as it could be reached."""

    spec: ClusterSpec
    cluster: Cluster
    admin: TopicAdmin
    checks: list[Check] = field(default_factory=list)
    reached: bool = False
    operations: frozenset[str] | None = None

    async def close(self) -> None:
        """Close the connections."""
        self.cluster.close()
        await self.admin.close()


@dataclass
class Flow:
    """One flow: what was found, and the facts that several questions share.

    Each attribute is the answer to one question, and is filled in once by whoever asks it.
    """

    spec: FlowSpec
    source: Side
    target: Side
    checks: list[Check] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    records: Mapping[bytes, bytes] = field(default_factory=dict)
    record: pb.FlowRecord | None = None
    configs: dict[str, TopicConfig] = field(default_factory=dict)
    starts: dict[TopicPartition, questions.Found] = field(default_factory=dict)
    ends: dict[TopicPartition, questions.Found] = field(default_factory=dict)
    target_ends: dict[TopicPartition, questions.Found] = field(default_factory=dict)
    memory: ProducerMemory = field(default_factory=lambda: ProducerMemory({}))
    to_fill: set[str] = field(default_factory=set)
    compacted: list[str] = field(default_factory=list)
    circles: dict[str, MirrorOnSource] = field(default_factory=dict)
    copies_unknown: bool = False
    owners: Mapping[str, str] = field(default_factory=dict)
    counterpart: FlowSpec | None = None
    standby: StandBy = field(default_factory=StandBy)

    def target_name(self, topic: str) -> str:
        """Return a topic's name on the target."""
        return selection.target_name(self.spec.rename, topic)

    def mirror(self, topic: str) -> pb.MirrorRecord | None:
        """Return the record of this flow's mirror of a topic; not that of another topic copied to the same name."""
        found = state.get_mirror(self.records, self.record.uid, self.target_name(topic)) if self.record else None
        return found if found is not None and found.source_topic == topic else None

    @cached_property
    def standing(self) -> frozenset[str]:
        """Topics that are not copied before a switch: their targets are the open side."""
        if self.spec.both_ways:
            return frozenset()
        writers = state.writers_of(self.records, self.record.uid) if self.record else None
        return frozenset(name for name in self.names if stands_by(self.spec, writers, self.target_name(name)))


async def question(checks: list[Check], name: str, work: Awaitable[T]) -> T | None:
    """Ask; a question that fails or takes too long becomes a finding."""
    try:
        async with asyncio.timeout(_QUESTION_SECONDS_MAX):
            return await work
    except TimeoutError:
        checks.append(fail(name, f"no answer within {_QUESTION_SECONDS_MAX:.0f} s", "check the brokers' load"))
    except ReplicatorError as error:
        checks.append(fail(name, str(error), error.next_step))
    return None
