"""What a run asks of a cluster from outside, by confluent-kafka's admin client. Every call is bounded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from chaos.errors import ChaosError

CALL_SECONDS_MAX = 15.0

_POLL_SECONDS = 0.1
_T = TypeVar("_T")

Ends = dict[tuple[str, int], int]
"""Topic and partition to the offset after the last record that readers may see."""


def wait_until(what: str, probe: Callable[[], _T], seconds_max: float, next_step: str) -> _T:
    """Call `probe` until it returns something true, and return that. Kafka's own errors count as not yet.

    Raises:
        ChaosError: It did not within the bound; names what was waited for and what was seen last.
    """
    deadline = time.monotonic() + seconds_max
    while True:
        last: object
        try:
            found = probe()
            if found:
                return found
            last = found
        except (KafkaException, OSError) as error:
            last = error
        if time.monotonic() > deadline:
            raise ChaosError(f"{what}: not within {seconds_max:.0f} s", why=f"last seen: {last!r}", next_step=next_step)
        time.sleep(_POLL_SECONDS)


def insist(what: str, call: Callable[[], _T], seconds_max: float, next_step: str) -> _T:
    """Make a call again until it succeeds: other faults may last just now. It must be one that may be made twice.

    Raises:
        ChaosError: It did not succeed within the bound.
    """
    return wait_until(what, lambda: (call(),), seconds_max, next_step)[0]


class Admin:
    """One cluster, from outside.

    Args:
        bootstrap: Its addresses.
    """

    def __init__(self, bootstrap: str) -> None:
        self._client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 1000})

    def create(self, topics: Iterable[str], partitions: int, replicas: int, configs: Mapping[str, str]) -> None:
        """Create topics of the same shape."""
        wanted = [NewTopic(name, partitions, replicas, config=dict(configs)) for name in topics]
        _results(self._client.create_topics(wanted))

    def grow(self, topic: str, count: int) -> None:
        """Bring a topic to so many partitions; nothing happens if it has them."""
        if self.partition_count(topic) < count:
            _results(self._client.create_partitions([NewPartitions(topic, count)]))

    def set_config(self, topic: str, name: str, value: str) -> None:
        """Set one setting of a topic."""
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        _results(self._client.incremental_alter_configs([resource]))

    def config(self, topic: str, name: str) -> str:
        """Return one setting of a topic."""
        asked = self._client.describe_configs([ConfigResource(ResourceType.TOPIC, topic)])
        return str(next(iter(_results(asked)))[name].value)

    def delete_below(self, topic: str, partition: int, offset: int) -> None:
        """Move the start of a log."""
        _results(self._client.delete_records([TopicPartition(topic, partition, offset)]))

    def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 for none."""
        known = self._metadata(topic).topics.get(topic)
        return 0 if known is None or known.error is not None else len(known.partitions)

    def leader(self, topic: str, draw: int) -> int:
        """Return the node that leads some partition of a topic; -1 while nobody does."""
        partitions = self._metadata(topic).topics[topic].partitions
        return int(partitions[sorted(partitions)[draw % len(partitions)]].leader)

    def all_in_sync(self, nodes: int) -> bool:
        """Whether so many nodes are there, and every replica of every topic (Kafka's own too) is in sync."""
        known = self._metadata()
        return len(known.brokers) == nodes and all(
            partition.leader >= 0 and len(partition.isrs) == len(partition.replicas)
            for topic in known.topics.values()
            for partition in topic.partitions.values()
        )

    def ends(self, topics: Iterable[str], seconds_max: float = CALL_SECONDS_MAX) -> Ends:
        """Return the ends of all partitions that answer in time."""
        return self._offsets(topics, OffsetSpec.latest(), seconds_max)  # type: ignore[no-untyped-call]

    def starts(self, topics: Iterable[str], seconds_max: float = CALL_SECONDS_MAX) -> Ends:
        """Return the log starts of all partitions that answer in time."""
        return self._offsets(topics, OffsetSpec.earliest(), seconds_max)  # type: ignore[no-untyped-call]

    def _offsets(self, topics: Iterable[str], spec: OffsetSpec, seconds_max: float) -> Ends:
        known = self._metadata(seconds_max=seconds_max).topics
        asked = {
            TopicPartition(topic, number): spec
            for topic in topics
            if topic in known
            for number in known[topic].partitions
        }
        if not asked:
            return {}
        found: Ends = {}
        for where, future in self._client.list_offsets(asked, request_timeout=seconds_max).items():
            try:
                found[where.topic, where.partition] = future.result(seconds_max).offset
            except (KafkaException, TimeoutError):  # its leader is away: no answer is an answer
                continue
        return found

    def _metadata(self, topic: str | None = None, seconds_max: float = CALL_SECONDS_MAX) -> Any:
        return self._client.list_topics(topic, timeout=seconds_max)


def _results(futures: Mapping[Any, Any]) -> list[Any]:
    """Wait for what an admin call returned.

    Raises:
        KafkaException: The cluster refused.
    """
    return [future.result(CALL_SECONDS_MAX) for future in futures.values()]
