"""What flows recorded on the cluster that a flow reads: its own `replicator.state`, read once for all who ask.

It belongs to the flows that write there. If it is deleted, nothing tells what they made until it is made again, and
then only what they record from then on: so what was known of topics that it does not name stays known.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.core.acl.commands import acl_command
from replicator.core.acl.rights import Operation, on_topic
from replicator.engine.state.index import StateRecords, parse_key
from replicator.engine.state.log import StateLog
from replicator.engine.state.topic import StateTopic
from replicator.errors import AuthorizationFailed, BrokerRefused, DamagedRecord, KafkaError, StateLost
from replicator.model.names import STATE_TOPIC
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb
from replicator.wire.codes import ErrorCode
from replicator.wire.topology import NO_TOPIC_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.wire.cluster import Cluster

_KINDS = frozenset({pb.KIND_FLOW, pb.KIND_WRITER, pb.KIND_MIRROR, pb.KIND_CUT, pb.KIND_MAKING})
"""Records that tell what flows made; all others come and go without a look."""
_LASTING = _KINDS - {pb.KIND_MAKING}
"""What stays known of a topic that was deleted: what was only announced in it may never have been made."""

log = get_logger(__name__)


class _OthersTopic(StateTopic):
    """A state topic that others own: what is lost with it is not for this flow's operator to bring back."""

    def _is_lost(self, why: str) -> BrokerRefused:
        return _unknown_now(self._cluster, why)


class SourceState:
    """One daemon's view of what is recorded on the source of one flow.

    Args:
        cluster: The source.

    Attributes:
        unknown: Why it is not known what flows made there, with what helps; None where it is.
        version: Rises with each record that tells what flows made.
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
        """Read all that is recorded now, and return it, with what is known from before the topic was made anew.

        Raises:
            AuthorizationFailed: This user may not read it; `unknown` says so as well.
            KafkaError: The cluster does not answer, or not now; or the topic was deleted, and not made again yet.
            TimedOut: A transaction stays open on it.
        """
        async with self._reading:
            try:
                if not await self._look():
                    return {}
                await self._log.read_to_end()
            except AuthorizationFailed as error:
                raise self._refused(error) from error
            self.unknown = None
            return self._records()

    async def _look(self) -> bool:
        """Find the topic, or the one that was made in its place; return whether there is any.

        Raises:
            KafkaError: The cluster cannot be asked, or the topic is gone that was read before.
        """
        topic = await self.cluster.describe(STATE_TOPIC)
        if topic is None:
            if self._topic_id is None:
                self.unknown = None
                return False
            error = _unknown_now(self.cluster, "it was deleted, and is not there again yet")
            self.unknown = f"{error}; next: {error.next_step}"
            raise error
        if self._topic_id is None or self._topic_id == NO_TOPIC_ID:
            self._topic_id = topic.topic_id
        elif topic.topic_id not in {self._topic_id, NO_TOPIC_ID}:  # of an upgrade some brokers tell no id
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
        """Return what is recorded; of the topic before, what the present one does not say otherwise."""
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
        told = AuthorizationFailed(
            f"whether topics of {spec.alias} are copies that flows made is not known",
            cluster=spec.alias,
            why=f"this user may not read {STATE_TOPIC} there",
            next_step=command,
        )
        if self.unknown is None:
            log.warning("what flows made is not known", cluster=spec.alias, why=str(error), next=command)
        self.unknown = f"{told}; next: {command}"
        return told

    def damaged(self, error: DamagedRecord) -> KafkaError:
        """Return what a record that cannot be read means: until somebody writes it anew, nobody can tell."""
        alias = self.cluster.spec.alias
        return KafkaError(
            f"whether topics of {alias} are copies that flows made is not known",
            cluster=alias,
            why=f"{STATE_TOPIC} there holds a record that cannot be read ({error})",
            next_step=error.next_step,
            retryable=True,
        )


def _unknown_now(cluster: Cluster, why: str) -> StateLost:
    alias = cluster.spec.alias
    return StateLost(
        f"whether topics of {alias} are copies that flows made is not known now",
        cluster=alias,
        code=int(ErrorCode.unknown_topic_or_partition),
        api="Metadata",
        why=f"{STATE_TOPIC} there: {why}",
        next_step=f"restart the daemons of the flows that copy to {alias}, which make it again; if none does any more, "
        "restart this one",
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
