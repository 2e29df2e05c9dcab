"""What is recorded on the cluster that a flow reads: that cluster's own `replicator.state`, read once for all readers.

The topic belongs to the flows that write there. If it is deleted, it is unknown which topics flows made until it is
created again, and then it only has what they record from then on. So what was known of other topics stays known.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.core.acl.commands import acl_command
from replicator.core.acl.rights import Operation, on_topic
from replicator.engine.state.topic.index import StateRecords, parse_key
from replicator.engine.state.topic.log import StateLog
from replicator.engine.state.topic.partition import StateTopic
from replicator.errors import AuthorizationFailed, BrokerRefused, DamagedRecord, KafkaError, StateLost
from replicator.model.names import STATE_TOPIC
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb
from replicator.wire.protocol.codes import ErrorCode
from replicator.wire.topology import NO_TOPIC_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.wire.cluster import Cluster

_KINDS = frozenset({pb.KIND_FLOW, pb.KIND_WRITER, pb.KIND_MIRROR, pb.KIND_CUT, pb.KIND_MAKING})
"""Records that say what flows made; all others are of no interest here."""
_LASTING = _KINDS - {pb.KIND_MAKING}
"""What stays known from a deleted state topic; a topic that was only announced there may never have been created."""

log = get_logger(__name__)


class _OthersTopic(StateTopic):
    """A state topic owned by others: this flow's operator cannot restore what is lost with it."""

    def _is_lost(self, why: str) -> BrokerRefused:
        return _unknown_now(self._cluster, why)


class SourceState:
    """One daemon's view of what is recorded on the source of one flow.

    Args:
        cluster: The source.

    Attributes:
        unknown: Why it is unknown what flows made there, with what helps; None if it is known.
        version: Rises with each record that says what flows made.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.unknown: str | None = None
        self.version = 0
        self._log = self._fresh_log()
        self._topic_id: bytes | None = None
        self._before: dict[bytes, bytes] = {}
        self._known: tuple[int, Mapping[bytes, bytes]] = (-1, {})
        self._reading = asyncio.Lock()

    async def read(self) -> Mapping[bytes, bytes]:
        """Read to the end and return the records, plus what is known from a deleted predecessor of the topic.

        Raises:
            AuthorizationFailed: This user may not read it; `unknown` says so as well.
            KafkaError: The cluster does not answer, or not now; or the topic was deleted, and not created again yet.
            TimedOut: A transaction stays open on it.
        """
        async with self._reading:
            try:
                if not await self._find():
                    return {}
                await self._log.read_to_end()
            except AuthorizationFailed as error:
                raise self._refused(error) from error
            self.unknown = None
            return self._records()

    async def _find(self) -> bool:
        """Find the topic, or its successor; return whether there is one.

        Raises:
            KafkaError: The cluster cannot be asked, or the topic that was read before is gone.
        """
        topic = await self.cluster.describe(STATE_TOPIC)
        if topic is None:
            if self._topic_id is None:
                self.unknown = None
                return False
            error = _unknown_now(self.cluster, "it was deleted, and has not been created again yet")
            self.unknown = f"{error}; next: {error.next_step}"
            raise error
        if self._topic_id is None or self._topic_id == NO_TOPIC_ID:
            self._topic_id = topic.topic_id
        elif topic.topic_id not in {self._topic_id, NO_TOPIC_ID}:  # during an upgrade some brokers report no id
            log.warning("state topic made anew", cluster=self.cluster.spec.alias)
            self._before = {key: value for key, value in self._records().items() if _kind(key) in _LASTING}
            self._topic_id = topic.topic_id
            self._log = self._fresh_log()
        return True

    def _fresh_log(self) -> StateLog:
        self.version = self.version + 1
        fresh = StateLog(self.cluster, topic=_OthersTopic(self.cluster))
        fresh.listen(self._on_record)
        return fresh

    def _on_record(self, key: bytes) -> None:
        if _kind(key) in _KINDS:
            self.version += 1

    def _records(self) -> Mapping[bytes, bytes]:
        """Return the records, plus those of the previous topic that the current one does not supersede."""
        if not self._before:
            return self._log.records
        if self._known[0] != self.version:
            now = {parsed.topic for key in self._log.records if (parsed := _mirror(key)) is not None}
            kept = {key: value for key, value in self._before.items() if _target_of(key) not in now}
            self._known = self.version, StateRecords({**kept, **self._log.records})
        return self._known[1]

    def _refused(self, error: AuthorizationFailed) -> AuthorizationFailed:
        spec = self.cluster.spec
        command = acl_command(on_topic(STATE_TOPIC, Operation.READ, Operation.DESCRIBE), spec)
        refused = AuthorizationFailed(
            f"it is not known which topics of {spec.alias} are copies that flows made",
            cluster=spec.alias,
            why=f"this user may not read {STATE_TOPIC} there",
            next_step=command,
        )
        if self.unknown is None:
            log.warning("what flows made is not known", cluster=spec.alias, why=str(error), next=command)
        self.unknown = f"{refused}; next: {command}"
        return refused

    def damaged(self, error: DamagedRecord) -> KafkaError:
        """Return the error for an unreadable record: nobody can tell what flows made until it is rewritten."""
        alias = self.cluster.spec.alias
        return KafkaError(
            f"it is not known which topics of {alias} are copies that flows made",
            cluster=alias,
            why=f"{STATE_TOPIC} there holds a record that cannot be read ({error})",
            next_step=error.next_step,
            retryable=True,
        )


def _unknown_now(cluster: Cluster, why: str) -> StateLost:
    alias = cluster.spec.alias
    return StateLost(
        f"it is not known now which topics of {alias} are copies that flows made",
        cluster=alias,
        code=int(ErrorCode.unknown_topic_or_partition),
        api="Metadata",
        why=f"{STATE_TOPIC} there: {why}",
        next_step=f"restart the daemons of the flows that copy to {alias}, which create it again; if there are none "
        "any more, restart this one",
        retryable=True,
    )


def _kind(key: bytes) -> pb.Kind | None:
    parsed = parse_key(key)
    return parsed.kind if parsed is not None else None


def _mirror(key: bytes) -> pb.StateKey | None:
    parsed = parse_key(key)
    return parsed if parsed is not None and parsed.kind == pb.KIND_MIRROR else None


def _target_of(key: bytes) -> str | None:
    parsed = _mirror(key)
    return parsed.topic if parsed is not None else None
