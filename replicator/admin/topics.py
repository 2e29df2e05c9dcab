"""Topics, partitions, configs and log ends of one cluster, over librdkafka's admin client."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel
from confluent_kafka import KafkaError as Code
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    AclOperation,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from replicator.admin.acls import Acls
from replicator.admin.client import Connection
from replicator.admin.faults import fault, not_settings
from replicator.admin.topic_values import ClusterFacts, TopicConfig, nonsense, partition_of, topic_config
from replicator.backoff import Backoff
from replicator.core.acl.rights import UNREPORTED, Operation, on_cluster, on_group, on_topic
from replicator.core.topics.ownership import created
from replicator.errors import ConnectionFailed, KafkaError, NotOurs
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.wire.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from confluent_kafka.admin import AdminClient

    from replicator.core.acl.rights import Grant
    from replicator.core.topics.ownership import OwnedCommits, OwnedTopic
    from replicator.model.security import ClusterSpec

_TOPICS_PER_REQUEST = 100
"""Their settings are half a megabyte, where most are at their defaults; see `ANSWER_BYTES_MAX`."""
_BROKERS_AT_ONCE = 8
_ABSENT = frozenset({Code.UNKNOWN_TOPIC_OR_PART, Code.UNKNOWN_TOPIC_ID})
_POLL_SECONDS = (0.02, 0.5)
_DESCRIBE_CONFIGS = "DescribeConfigs"


class TopicAdmin:
    """Topic administration of one cluster.

    Attributes:
        acls: The rules of its authorizer.

    Every method ends within the cluster's request time-out (and two seconds), and raises the errors of
    `replicator.errors.KafkaError`: AuthenticationFailed, AuthorizationFailed (naming the ACL command),
    ConnectionFailed, BrokerRefused. No method ever creates a topic by asking about it.

    What changes a topic takes the proof that it is ours (`core.topics.ownership`), and looks once more just before
    whether that topic still has this name: NotOurs if it has not.
    """

    def __init__(self, cluster: ClusterSpec) -> None:
        self._timeout = cluster.request_timeout_seconds
        self._connection = Connection(cluster)
        self._cluster: Cluster | None = None
        self.acls = Acls(self._connection, self._asked)

    def prove_with(self, prove: Callable[[], Awaitable[None]]) -> None:
        """Let each call, those about rules too, be preceded by a proof that this is the cluster that is meant."""
        self._connection.before = prove

    async def close(self) -> None:
        """Let go of the connections; a later call makes new ones."""
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()
        await self._connection.close()

    async def describe_cluster(self) -> ClusterFacts:
        """Return the cluster's id, its brokers and what this user may do to the cluster.

        Raises:
            ConnectionFailed: It names no broker, as one does that has just started.
        """
        cluster = await self._asked()
        bits = await cluster.operations()
        if not cluster.brokers:
            alias = cluster.spec.alias
            raise ConnectionFailed(
                f"cluster {alias!r} names no broker now", cluster=alias, why="its answer to Metadata is empty"
            )
        is_reported = bits != UNREPORTED
        return ClusterFacts(
            cluster_id=cluster.cluster_id,
            broker_ids=tuple(sorted(cluster.brokers)),
            operations=frozenset(one.name for one in AclOperation if bits >> one.value & 1) if is_reported else None,
        )

    async def _asked(self) -> Cluster:
        """Return the cluster by our own wire: over answers that name no broker librdkafka ends the process.

        Its parsers of DescribeCluster and DescribeTopics fail then without an error, and assert that there is one.
        """
        if self._connection.before is not None:
            await self._connection.before()
        if self._cluster is None:
            self._cluster = Cluster(self._connection.cluster)
        return self._cluster

    async def topics(self) -> dict[str, int]:
        """Return every topic this user may see, internal ones included, with its partition count."""
        cluster = await self._asked()
        await cluster.refresh(None)
        counts = {name: topic.partition_count for name, topic in cluster.topics.items()}
        cluster.topics.clear()  # of a large cluster that is much to keep
        cluster.topic_ids.clear()
        return counts

    async def describe_configs(
        self, topics: Iterable[str], errors: dict[str, KafkaError] | None = None
    ) -> dict[str, TopicConfig]:
        """Return the settings of each topic; topics that do not exist are left out.

        Args:
            topics: Their names; each is asked for once, as a broker answers once for a name that is asked for twice.
            errors: Takes the error of each topic whose settings the cluster refuses to tell, or tells as none can be;
                None: that is raised.
        """
        names = list(dict.fromkeys(topics))
        found: dict[str, TopicConfig] = {}
        for first in range(0, len(names), _TOPICS_PER_REQUEST):
            part = names[first : first + _TOPICS_PER_REQUEST]
            codes: dict[str, Code] = {}
            right = on_topic(part[0], Operation.DESCRIBE_CONFIGS)
            answer = await self._describe(ResourceType.TOPIC, part, right, errors=None if errors is None else codes)
            if errors is not None:
                errors.update({name: self._unreported(name, code) for name, code in codes.items()})
            for name, entries in answer.items():
                wrong = nonsense(entries)
                if wrong is None:
                    found[name] = topic_config(name, entries)
                    continue
                error = not_settings(self._connection.cluster, name, wrong)
                if errors is None:
                    raise error
                errors[name] = error
        return found

    def _unreported(self, name: str, code: Code) -> KafkaError:
        return fault(
            code,
            self._connection.cluster,
            doing=f"read settings of topic {name}",
            api=_DESCRIBE_CONFIGS,
            right=on_topic(name, Operation.DESCRIBE_CONFIGS),
        )

    async def broker_configs(self, names: Iterable[str]) -> dict[str, str | None]:
        """Return settings of the broker with the lowest id; a name it does not know is left out."""
        facts = await self.describe_cluster()
        return await self._broker_configs(facts.broker_ids[0], tuple(names))

    async def each_broker_configs(self, names: Iterable[str]) -> dict[int, dict[str, str | None] | None]:
        """Return settings of every broker that is up: each of them has its own. None of one that does not answer.

        Raises:
            KafkaError: No broker answers, or it is not allowed.
        """
        wanted, room = tuple(names), asyncio.Semaphore(_BROKERS_AT_ONCE)
        ids = (await self.describe_cluster()).broker_ids

        async def ask(broker: int) -> dict[str, str | None] | KafkaError:
            async with room:
                try:
                    return await self._broker_configs(broker, wanted)
                except KafkaError as error:
                    if not error.retryable:
                        raise
                    return error

        answers = dict(zip(ids, await asyncio.gather(*map(ask, ids)), strict=True))
        failed = [answer for answer in answers.values() if isinstance(answer, KafkaError)]
        if len(failed) == len(answers) and failed:
            raise failed[0]
        return {broker: None if isinstance(answer, KafkaError) else answer for broker, answer in answers.items()}

    async def _broker_configs(self, broker: int, names: tuple[str, ...]) -> dict[str, str | None]:
        right = on_cluster(Operation.DESCRIBE_CONFIGS)
        answer = await self._describe(ResourceType.BROKER, [str(broker)], right, absent=frozenset())
        entries = answer[str(broker)]
        return {name: entries[name].value for name in names if name in entries}

    async def topic_id(self, name: str) -> bytes | None:
        """Return the id of the topic that has this name now: None for no topic, zeros of a cluster without ids."""
        found = await (await self._asked()).describe(name)
        return None if found is None else found.topic_id

    async def _confirm(self, topic: OwnedTopic) -> None:
        """Return if the topic that was proven ours has its name still.

        Raises:
            NotOurs: It has not.
        """
        now = await self.topic_id(topic.name)
        if not topic.is_still(now):
            alias = self._connection.cluster.alias
            raise NotOurs(
                f"cluster {alias}: topic {topic.name} was left as it is",
                cluster=alias,
                why=topic.why_not(now),
                next_step="replicator mirror list",
            )

    async def commit(self, commits: OwnedCommits) -> None:
        """Commit for a consumer group that has no members."""
        group = commits.group
        places = [Position(topic, partition, one.offset) for (topic, partition), one in commits.commits.items()]

        def start(client: AdminClient) -> dict[str, Future[Any]]:
            return dict(client.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)]))

        await self._connection.call(
            start, doing=f"commit for group {group}", api="OffsetCommit", right=on_group(group, Operation.READ)
        )

    async def create_topic(
        self,
        name: str,
        partitions: int,
        replication_factor: int,
        configs: Mapping[str, str],
        *,
        before: Collection[bytes] = (),
    ) -> OwnedTopic:
        """Create one topic, wait until the controller has, and return it: it is ours.

        Args:
            name: Its name.
            partitions: How many.
            replication_factor: Of each.
            configs: Its settings.
            before: Ids of topics of that name that brokers may tell of still, though they are deleted.

        Raises:
            BrokerRefused: It exists already, a policy refuses it, too many replicas, or a bad setting.
            NotOurs: It was created, and is not seen within the request time-out: somebody may have deleted it.
        """
        new = NewTopic(name, partitions, replication_factor, config=dict(configs))
        await self._connection.call(
            lambda client: client.create_topics([new], **self._waits),
            doing=f"create topic {name} ({partitions} partitions, {replication_factor} replicas)",
            api="CreateTopics",
            right=on_topic(name, Operation.CREATE),
        )
        loop = asyncio.get_running_loop()
        deadline, backoff = loop.time() + self._timeout, Backoff(*_POLL_SECONDS)
        # Not every broker knows it at once, nor that one of its name is gone.
        while (topic_id := await self.topic_id(name)) is None or (any(topic_id) and topic_id in before):
            if loop.time() >= deadline:
                alias = self._connection.cluster.alias
                raise NotOurs(f"cluster {alias}: topic {name} was created and is not told of", cluster=alias)
            await asyncio.sleep(backoff.next_seconds())
        return created(name, topic_id)

    async def delete_topic(self, topic: OwnedTopic) -> None:
        """Delete one topic and wait until the controller has.

        Raises:
            NotOurs: Another topic has its name by now, or it is gone.
            BrokerRefused: The cluster forbids it (`delete.topic.enable`).
        """
        await self._confirm(topic)
        await self._connection.call(
            lambda client: client.delete_topics([topic.name], **self._waits),
            doing=f"delete topic {topic.name}",
            api="DeleteTopics",
            right=on_topic(topic.name, Operation.DELETE),
        )

    async def create_partitions(self, topic: OwnedTopic, total: int) -> None:
        """Grow one topic to `total` partitions.

        Raises:
            NotOurs: Another topic has its name by now, or it is gone.
            BrokerRefused: It has as many or more already.
        """
        await self._confirm(topic)
        await self._connection.call(
            lambda client: client.create_partitions([NewPartitions(topic.name, total)], **self._waits),
            doing=f"grow topic {topic.name} to {total} partitions",
            api="CreatePartitions",
            right=on_topic(topic.name, Operation.ALTER),
        )

    async def alter_configs(self, topic: OwnedTopic, values: Mapping[str, str], delete: Iterable[str] = ()) -> None:
        """Set and remove settings of one topic; every other setting stays as it is.

        Raises:
            NotOurs: Another topic has its name by now, or it is gone.
            BrokerRefused: The cluster does not know a name, refuses a value, or a policy does.
        """
        name = topic.name
        changes = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in values.items()
        ]
        changes += [ConfigEntry(key, None, incremental_operation=AlterConfigOpType.DELETE) for key in delete]
        if not changes:
            return
        await self._confirm(topic)
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=changes)
        await self._connection.call(
            lambda client: client.incremental_alter_configs([resource], request_timeout=self._timeout),
            doing=f"change settings of topic {name} ({', '.join(change.name for change in changes)})",
            api="IncrementalAlterConfigs",
            right=on_topic(name, Operation.ALTER_CONFIGS),
        )

    async def delete_records(self, topic: OwnedTopic, before: Mapping[int, int]) -> dict[TopicPartition, int]:
        """Delete the records below an offset of each partition; return each log start afterwards.

        Raises:
            NotOurs: Another topic has its name by now, or it is gone.
            BrokerRefused: An offset beyond the high watermark, or a topic whose cleanup policy is compact only.
        """
        wanted = [Position(topic.name, number, offset) for number, offset in before.items()]
        if not wanted:
            return {}
        await self._confirm(topic)
        answer = await self._connection.call(
            lambda client: client.delete_records(wanted, **self._waits),
            doing=f"delete records of {wanted[0].topic}",
            api="DeleteRecords",
            right=on_topic(wanted[0].topic, Operation.DELETE),
        )
        return {partition_of(part): result.low_watermark for part, result in answer.items()}

    async def start_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return each partition's log start."""
        return await self._offsets(
            partitions,
            OffsetSpec.earliest(),  # type: ignore[no-untyped-call]
            Isolation.READ_UNCOMMITTED,
        )

    async def end_offsets(
        self, partitions: Iterable[TopicPartition], isolation: Isolation
    ) -> dict[TopicPartition, int]:
        """Return each partition's end: the last stable offset for read_committed, else the high watermark."""
        return await self._offsets(
            partitions,
            OffsetSpec.latest(),  # type: ignore[no-untyped-call]
            isolation,
        )

    async def _offsets(
        self, partitions: Iterable[TopicPartition], spec: OffsetSpec, isolation: Isolation
    ) -> dict[TopicPartition, int]:
        wanted = {Position(part.topic, part.partition): spec for part in partitions}
        if not wanted:
            return {}
        level = IsolationLevel[isolation.name]
        answer = await self._connection.call(
            lambda client: client.list_offsets(wanted, isolation_level=level, request_timeout=self._timeout),
            doing="list offsets",
            api="ListOffsets",
            right=on_topic(next(iter(wanted)).topic, Operation.DESCRIBE),
        )
        return {partition_of(part): result.offset for part, result in answer.items()}

    async def _describe(
        self,
        kind: ResourceType,
        names: list[str],
        right: Grant,
        absent: frozenset[int] = _ABSENT,
        errors: dict[str, Code] | None = None,
    ) -> dict[str, dict[str, ConfigEntry]]:
        wanted = [ConfigResource(kind, name) for name in names]
        refusals: dict[ConfigResource, Code] | None = None if errors is None else {}
        answer = await self._connection.call(
            lambda client: client.describe_configs(wanted, request_timeout=self._timeout),
            doing=f"read settings of {kind.name.lower()} {names[0]}",
            api=_DESCRIBE_CONFIGS,
            right=right,
            absent=absent,
            errors=refusals,
        )
        if errors is not None and refusals is not None:
            errors.update({one.name: code for one, code in refusals.items()})
        return {found.name: entries for found, entries in answer.items()}

    @property
    def _waits(self) -> dict[str, float]:
        return {"request_timeout": self._timeout, "operation_timeout": self._timeout}
