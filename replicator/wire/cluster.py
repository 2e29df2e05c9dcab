"""Our view of one cluster: brokers, topic ids, leaders, and one connection per broker and purpose."""

from __future__ import annotations

import asyncio
import enum
import random
from typing import TYPE_CHECKING

from kio.schema.errors import ErrorCode
from kio.schema.metadata.v10.request import MetadataRequest
from kio.schema.metadata.v10.response import MetadataResponse, MetadataResponseTopic

from replicator.core.status.observations import ANYWHERE, ClusterSeen
from replicator.core.topics.selection import legal_topic_name
from replicator.errors import BrokerRefused, ConnectionFailed, KafkaError, WrongCluster
from replicator.model.names import TopicPartition
from replicator.wire.metadata import check_metadata
from replicator.wire.protocol.decode import KEEP_ALL, Keep
from replicator.wire.protocol.faults import broker_error, missing_answer
from replicator.wire.topology import Leader, Topic, described, metadata_request
from replicator.wire.transport.connections import Connections, none_reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from replicator.model.security import ClusterSpec
    from replicator.wire.transport.connection import Connection

_GONE_SECONDS = 1.0
"""How long a topic must be unknown before it counts as gone."""


class Purpose(enum.StrEnum):
    """Why a connection exists: a broker works on one request per connection at a time (KAFKA_FACTS K14)."""

    CONTROL = "control"
    STATE = "state"
    FETCH = "fetch"
    PRODUCE = "produce"
    LOOK = "look"
    """A second opinion on a response that came over another connection."""


class Cluster:
    """One cluster, as seen from here.

    Only facts that brokers sent are kept; `refresh` replaces them.

    Attributes:
        concerns: Which topics are kept when all are described; every one unless this is set.
        seen: When its brokers last answered.
        another: The error if another cluster answers than the expected one, None while that is not the case.
    """

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec
        self.cluster_id: str | None = None
        self.controller_id = -1
        self.brokers: dict[int, tuple[str, int]] = {}
        self.topics: dict[str, Topic] = {}
        self.topic_ids: dict[str, bytes] = {}
        self.concerns: Callable[[str], bool] = lambda _: True
        self._describing_all = asyncio.Lock()
        self.seen = ClusterSeen()
        self._connections = Connections(spec, self._prove)
        self.another: WrongCluster | None = None
        self._expected: str | None = None
        self._wrong: Callable[[str], WrongCluster] | None = None

    def pin(self, cluster_id: str, wrong: Callable[[str], WrongCluster]) -> None:
        """From now on, use no connection to another cluster: each new one is asked for its cluster id first.

        A rebuilt cluster takes over the address of the old one within seconds, between any two requests. So nothing is
        ever read from, or changed on, any cluster but the expected one.

        Args:
            cluster_id: Id of the expected cluster.
            wrong: Returns the error for the id of another cluster.
        """
        if self._expected == cluster_id:
            return
        self._expected, self._wrong, self.another = cluster_id, wrong, None
        if self.cluster_id not in {None, cluster_id}:
            self._connections.drop()

    async def prove(self) -> None:
        """Return if the expected cluster answers, or none in particular is expected.

        Raises:
            WrongCluster: Another one answers.
            KafkaError: None answers.
        """
        if self._expected is not None:
            await self.refresh([])

    def _check(self, cluster_id: str | None) -> None:
        """Return if this is the expected cluster.

        Raises:
            WrongCluster: It is not.
        """
        if self._expected is None or self._wrong is None:
            return
        if cluster_id != self._expected:
            self.another = self._wrong(str(cluster_id))
            raise self.another
        self.another = None

    async def open(self) -> None:
        """Reach the cluster and check that it is the one in the flow file.

        Raises:
            WrongCluster: Another cluster answers at this address.
            KafkaError: None answers, or the login is refused.
        """
        await self.refresh([])
        expected = self.spec.cluster_id
        if expected is not None and self.cluster_id != expected:
            raise WrongCluster(
                f"{self._addresses()} is not the cluster that clusters.{self.spec.alias} means",
                cluster=self.spec.alias,
                why=f"its cluster id is {self.cluster_id!r}, the file expects {expected!r}",
                next_step=f"correct clusters.{self.spec.alias}.bootstrap or cluster_id",
            )

    def close(self) -> None:
        """Close every connection for good: no new one is opened."""
        self._connections.close()

    def leader(self, where: TopicPartition) -> Leader | None:
        """Return the leader of a partition, or None while none is known."""
        topic = self.topics.get(where.topic)
        leader = topic.leaders.get(where.partition) if topic else None
        return leader if leader is not None and leader.node in self.brokers else None

    def away(self, where: TopicPartition) -> tuple[int, ...] | None:
        """Return those brokers with a replica of a leaderless partition that the cluster does not list now.

        None if the partition has a leader, or nothing is known about it.
        """
        topic = self.topics.get(where.topic)
        known = topic.leaders.get(where.partition) if topic else None
        if topic is None or known is None or self.leader(where) is not None:
            return None
        replicas = topic.leaderless.get(where.partition, (known.node,))
        return tuple(sorted(node for node in replicas if node not in self.brokers))

    def leaderless_because(self, where: TopicPartition) -> str:
        """Return the sentence that a partition has no leader now, with the brokers that could lead it but are away."""
        away = self.away(where) or ()
        text = "broker {} is away" if len(away) == 1 else "brokers {} are away"
        why = f": {text.format(', '.join(map(str, away)))}" if away else ""
        return f"{self.spec.alias} has no leader for it now{why}"

    async def refresh(self, topics: Iterable[str] | None) -> dict[str, int]:
        """Refresh brokers and topics.

        Args:
            topics: Names to describe (an empty list: brokers only), or None for every topic of concern.
                The request never creates a topic.

        Returns:
            The names that could not be described, with Kafka's error code.

        Raises:
            WrongCluster: Another cluster answers than the expected one.
            KafkaError: No broker answers.
        """
        if topics is None:
            async with self._describing_all:  # for a large cluster this takes 60 MB: not twice at once
                return await self._describe(None, {MetadataResponseTopic: self._is_of_concern})
        return await self._describe(tuple(topics), KEEP_ALL)

    async def _describe(self, names: tuple[str, ...] | None, keep: Keep) -> dict[str, int]:
        answer = await self._asked(metadata_request(names), keep)
        topics = await described(answer)
        self._take_brokers(answer)
        if names is None:
            self.topics = {}
            self.topic_ids.clear()
        return self._take_topics(answer.topics, topics, names or ())

    async def operations(self) -> int:
        """Return what this user may do to the cluster, as a bit field (`core.acl.rights`); this refreshes its brokers.

        Raises:
            WrongCluster: Another cluster answers than the expected one.
            KafkaError: No broker answers.
        """
        answer = await self._asked(metadata_request((), operations=True))
        self._take_brokers(answer)
        return int(answer.cluster_authorized_operations)

    async def _asked(self, request: MetadataRequest, keep: Keep = KEEP_ALL) -> MetadataResponse:
        answer = await (await self.any_connection()).call(request, MetadataResponse, keep=keep)
        check_metadata(self.spec, answer)  # first: the next check puts the other cluster's id into errors and advice
        self._check(answer.cluster_id)
        return answer

    def _take_brokers(self, answer: MetadataResponse) -> None:
        self.brokers = {int(broker.node_id): (broker.host, int(broker.port)) for broker in answer.brokers}
        self.controller_id = int(answer.controller_id)
        self.cluster_id = answer.cluster_id
        self._connections.forget_others({*self.brokers, *self.spec.bootstrap})
        # What a connection that is still open has noted continues to count.
        connected = {node for node, _ in self._connections.there() if isinstance(node, int)}
        self.seen.forget_others(connected.union(self.brokers))

    def _is_of_concern(self, topic: MetadataResponseTopic) -> bool:
        """Return whether a topic is kept; also one with an illegal name, which is refused for it later."""
        name = str(topic.name)
        return self.concerns(name) or not legal_topic_name(name)

    def _take_topics(
        self, answers: Iterable[MetadataResponseTopic], described: Mapping[str, Topic], names: Iterable[str]
    ) -> dict[str, int]:
        failed = {str(one.name): int(one.error_code) for one in answers if one.error_code is not ErrorCode.none}
        for name in failed:
            self.topics.pop(name, None)
        missing = next((name for name in names if name not in described and name not in failed), None)
        if missing is not None:
            raise missing_answer(self.spec, "Metadata", missing)
        self.topics.update(described)
        self.topic_ids.update({name: topic.topic_id for name, topic in described.items()})
        return failed

    async def describe(self, name: str) -> Topic | None:
        """Return a topic as it is now, or None if the cluster has none of that name.

        Raises:
            KafkaError: The cluster cannot be asked, or refuses.
        """
        failed = await self.refresh([name])
        code = failed.get(name)
        if code is None:
            return self.topics[name]
        if code == ErrorCode.unknown_topic_or_partition:
            return None
        raise broker_error(self.spec, "Metadata", code, name)

    async def existing(self, names: Iterable[str]) -> dict[str, Topic]:
        """Return topics as they are now, without those that are gone.

        A topic is gone if every broker that answers says it does not know it. One that cannot be described for any
        other reason (a right that was taken away, a broker that is loading) may hold anything.

        Raises:
            KafkaError: The cluster cannot be asked, or cannot describe one of them now.
        """
        wanted = sorted(set(names))
        if not wanted:
            return {}
        failed = await self.refresh(wanted)
        gone = [name for name, code in failed.items() if code == ErrorCode.unknown_topic_or_partition]
        for name, code in sorted(failed.items()):
            if name not in gone:
                raise broker_error(self.spec, "Metadata", code, name)
        doubtful = sorted(set(gone) - await self._unknown_to_all(gone))
        if doubtful:
            raise BrokerRefused(
                f"whether {doubtful[0]} exists on {self.spec.alias} is not known",
                cluster=self.spec.alias,
                code=int(ErrorCode.unknown_topic_or_partition),
                api="Metadata",
                why="one broker does not know it, another one does",
                retryable=True,
            )
        return {name: self.topics[name] for name in wanted if name not in failed}

    async def gone(self, names: Iterable[str]) -> list[str]:
        """Return the topics that no broker knows any more; one that cannot be described now does not count as gone.

        Raises:
            KafkaError: The cluster cannot be asked.
        """
        failed = await self.refresh(sorted(set(names)))
        unknown = (name for name, code in failed.items() if code == ErrorCode.unknown_topic_or_partition)
        return sorted(await self._unknown_to_all(unknown))

    async def _unknown_to_all(self, names: Iterable[str]) -> set[str]:
        """Ask every reachable broker, a moment later: one that has just started may not know a topic yet."""
        unknown = set(names)
        if unknown:
            await asyncio.sleep(_GONE_SECONDS)
        for node in sorted(self.brokers) if unknown else ():
            try:
                connection = await self.connection(node, Purpose.CONTROL)
                answer = await connection.call(metadata_request(sorted(unknown)), MetadataResponse)
            except ConnectionFailed:
                continue
            unknown -= {
                str(one.name) for one in answer.topics if one.error_code is not ErrorCode.unknown_topic_or_partition
            }
        return unknown

    async def ids_shown(self, names: Iterable[str]) -> dict[str, frozenset[bytes]]:
        """Return the topic ids that brokers report for these names now: one that lags behind reports a deleted topic's.

        Raises:
            KafkaError: A broker refuses.
        """
        wanted = sorted(set(names))
        shown: dict[str, set[bytes]] = {}

        async def ask(node: int) -> None:
            try:
                connection = await self.connection(node, Purpose.CONTROL)
                answer = await connection.call(metadata_request(wanted), MetadataResponse)
            except ConnectionFailed:
                return
            for one in answer.topics:
                if one.error_code is not ErrorCode.unknown_topic_or_partition and one.topic_id:
                    shown.setdefault(str(one.name), set()).add(one.topic_id.bytes)

        if wanted:
            await asyncio.gather(*(ask(node) for node in sorted(self.brokers)))
        return {name: frozenset(ids) for name, ids in shown.items()}

    async def connection(self, node: int, purpose: Purpose) -> Connection:
        """Return the open connection to a broker for a purpose; open one if there is none.

        Raises:
            KafkaError: The broker is unknown or cannot be reached.
        """
        address = self.brokers.get(node)
        if address is None:
            raise ConnectionFailed(f"cluster {self.spec.alias!r} has no broker {node} now", cluster=self.spec.alias)
        return await self._connections.get((node, purpose), address, f"broker {node}", self.seen.broker(node))

    async def _prove(self, connection: Connection) -> None:
        """Return if a new connection leads to the expected cluster."""
        if self._expected is not None:
            answer = await connection.call(metadata_request(()), MetadataResponse)
            check_metadata(self.spec, answer)
            self._check(answer.cluster_id)

    async def leader_connection(self, where: TopicPartition, purpose: Purpose = Purpose.CONTROL) -> Connection:
        """Return the open connection to the leader of a partition; if none is known, refresh the topic first.

        Raises:
            KafkaError: It has no leader now, or the leader cannot be reached.
        """
        leader = self.leader(where)
        if leader is None:
            await self.refresh([where.topic])
            leader = self.leader(where)
        if leader is None:
            raise BrokerRefused(
                f"{where} has no leader now",
                cluster=self.spec.alias,
                code=int(ErrorCode.leader_not_available),
                api="Metadata",
                retryable=True,
            )
        return await self.connection(leader.node, purpose)

    async def any_connection(self) -> Connection:
        """Return a connection to any broker: an open one that answers, else a known broker, else a bootstrap address.

        A connection to a frozen broker stays open as well: it comes last. Connections that carry long polls are never
        used: a request there would wait for the poll to end. An address that does not speak Kafka, or whose certificate
        or login fails, is passed over.

        Raises:
            WrongCluster: Another cluster answers than the expected one.
            KafkaError: None can be reached; with the reason for each bootstrap address.
        """
        there = self._connections.there()
        asked = {node: one for (node, purpose), one in there.items() if purpose is Purpose.CONTROL}
        asked |= {address: one for (address, purpose), one in there.items() if purpose is None}
        now = asyncio.get_running_loop().time()
        usable = [one for one in asked.values() if not one.in_flight or one.seen.answers(now)]
        if usable:
            return max(usable, key=lambda one: (not one.holds_back, one.seen.answered_at or 0.0))
        known = list(self.brokers)
        random.shuffle(known)
        for node in sorted(known, key=lambda node: node in asked):
            try:
                return await self.connection(node, Purpose.CONTROL)
            except WrongCluster:
                raise
            except KafkaError:
                continue
        failed = []
        for address in self.spec.bootstrap:
            name, seen = f"{address[0]}:{address[1]}", self.seen.broker(ANYWHERE)
            try:
                return await self._connections.get((address, None), address, name, seen)
            except WrongCluster:
                raise
            except KafkaError as error:
                failed.append((address, error))
        try:
            raise none_reached(self.spec, failed)
        finally:
            failed.clear()  # those errors hold this frame

    def _addresses(self) -> str:
        return ",".join(f"{host}:{port}" for host, port in self.spec.bootstrap)
