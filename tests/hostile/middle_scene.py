"""Flows from or to a cluster whose broker lies to each in a way of its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, Producer
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from kio.static.primitive import i32

from tests.hostile.cluster_lies import coordinators, each, told_as
from tests.hostile.middle import (
    FIND_COORDINATOR,
    METADATA,
    Change,
    changed,
)
from tests.integration.harness import Daemon
from tests.integration.kafka_client import QUIET, Kafka, admin, bounds_of, wait_until
from tests.integration.proxy import FaultProxy

LOCALHOST = "127.0.0.1"
BEFORE, CHANGED = "1234567", "7654321"
PARTITIONS = 2
TEXT_CHARS_MAX = 3_000
_STACKS = frozenset({"exception", "stack"})
"""What an error of ours, and a held up event loop, are logged with: of many lines."""


class Mouth:
    """A proxy in front of a cluster of one broker, which tells one lie about it, and is all that its flow sees.

    Attributes:
        lying: Whether it lies now.
        told: Answers that were changed.
        seen: Answers that passed while it lied.
    """

    def __init__(self, port: int, upstream_port: int, lie: tuple[int, Change] | None) -> None:
        self._port = port
        self._lie = lie
        self.bootstrap = f"{LOCALHOST}:{port}"
        self.lying = False
        self.told: Counter[int] = Counter()
        self.seen: Counter[int] = Counter()
        self.proxy = FaultProxy(port, upstream_port)
        self.proxy.spoil = self._speak

    def _speak(self, api: int, version: int, frame: bytes) -> bytes:
        if api in {METADATA, FIND_COORDINATOR}:
            frame = changed(api, version, frame, self._here)
        self.seen[api] += self.lying
        if not self.lying or self._lie is None or api != self._lie[0]:
            return frame
        arrives = changed(api, version, frame, self._lie[1])
        self.told[api] += arrives != frame
        return arrives

    def _here(self, told: Any) -> Any:
        """Let every broker be here."""
        at = told_as(host=LOCALHOST, port=i32(self._port))
        return each("brokers", at)(told) if hasattr(told, "brokers") else coordinators(at)(told)


@dataclass(slots=True)
class Scene:
    """One daemon with a flow for each lie, each past a mouth of its own, and one that is told the truth.

    Attributes:
        source: Where records are written, past all mouths.
        target: Where they are read, past all mouths.
        mouths: By the name of the lie.
        topics: The same.
        flows: The same.
        written: Rounds of records.
    """

    source: Kafka
    target: Kafka
    daemon: Daemon
    mouths: dict[str, Mouth]
    topics: dict[str, str]
    flows: dict[str, str]
    written: int = 0

    def lie(self, *, lying: bool) -> None:
        """Begin, or end, all lies, each with new connections."""
        for mouth in self.mouths.values():
            mouth.lying = lying
            mouth.proxy.close_connections()

    def write(self) -> None:
        """Write one more record to each partition, and commit behind it."""
        producer = Producer({"bootstrap.servers": self.source.bootstrap, "linger.ms": 5, **QUIET})
        for topic in self.topics.values():
            for number in range(PARTITIONS):
                producer.produce(topic, b"%d of %d" % (self.written, number), partition=number)
        assert producer.flush(60) == 0
        self.written += 1
        for topic in self.topics.values():
            wait_until("commits stand", lambda topic=topic: self._commit(topic))  # type: ignore[misc]

    def change(self) -> None:
        """Change a setting of each topic of the source, and make one more beside it."""
        for topic in self.topics.values():
            entry = ConfigEntry("segment.ms", CHANGED, incremental_operation=AlterConfigOpType.SET)
            resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
            admin(self.source).incremental_alter_configs([resource])[resource].result(30)
        new = [NewTopic(f"{topic}.new", 1, 1) for topic in self.topics.values()]
        for done in admin(self.source).create_topics(new).values():
            done.result(30)

    def not_made(self) -> list[str]:
        """Return the lies under which the new topic is not on the target."""
        there = admin(self.target).list_topics(timeout=30).topics
        return [name for name, topic in self.topics.items() if f"{topic}.new" not in there]

    def _commit(self, topic: str) -> bool:
        """Commit behind what is written; return whether that was done: a coordinator may still be loading."""
        wanted = ConsumerGroupTopicPartitions(f"{topic}-group", [Position(topic, 0, self.written)])
        (done,) = admin(self.source).alter_consumer_group_offsets([wanted]).values()
        return not any(one.error for one in done.result(30).topic_partitions)

    def committed(self) -> dict[str, int | None]:
        """Return what each group has committed on the target, None for nothing."""
        asked = {name: ConsumerGroupTopicPartitions(f"{topic}-group") for name, topic in self.topics.items()}
        told = {name: admin(self.target).list_consumer_group_offsets([one]) for name, one in asked.items()}
        found = {name: next(iter(futures.values())).result(30).topic_partitions for name, futures in told.items()}
        return {name: next((int(one.offset) for one in places), None) for name, places in found.items()}

    def all_groups_follow(self) -> bool:
        """Return whether every group stands on the target where it stands on the source."""
        return set(self.committed().values()) == {self.written}

    def settings(self) -> dict[str, dict[str, str]]:
        """Return the settings of each topic of the target that are its own."""
        resources = {ConfigResource(ResourceType.TOPIC, topic): name for name, topic in self.topics.items()}
        told = admin(self.target).describe_configs(list(resources))
        return {
            name: {key: one.value for key, one in told[resource].result(30).items() if not one.is_default}
            for resource, name in resources.items()
        }

    def lag(self) -> dict[str, int]:
        """Return how many records of each topic are not on the target."""
        here, there = (bounds_of(one, self.topics.values()) for one in (self.source, self.target))
        return {
            name: sum(end - there.get(topic, {}).get(number, (0, 0))[1] for number, (_, end) in here[topic].items())
            for name, topic in self.topics.items()
        }

    def behind(self) -> list[str]:
        """Return the lies whose topics are not copied."""
        return [name for name, lag in self.lag().items() if lag]

    def peak_kib(self) -> int:
        """Return how much memory the daemon has held."""
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

    def reasons(self) -> dict[str, list[str]]:
        """Return all that status says of why each flow does not copy."""
        by_name = {flow["flow"]: flow for flow in self.daemon.status()["flows"]}
        return {name: sorted(set(_reasons(by_name[flow]))) for name, flow in self.flows.items()}

    def log_lines(self) -> Counter[str]:
        """Return how many lines the log has of each lie's flow, and that nothing in them acts on a terminal."""
        lines: Counter[str] = Counter()
        of_flow = {flow: name for name, flow in self.flows.items()}
        for line in self.daemon.log_file.read_text().splitlines():
            told: dict[str, Any] = json.loads(line)
            words = [value for key, value in told.items() if isinstance(value, str) and key not in _STACKS]
            assert all(one.isprintable() and len(one) < TEXT_CHARS_MAX for one in words), line
            lines[of_flow.get(told.get("flow", ""), "")] += 1
        return lines


def _reasons(flow: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words of status that say why a flow, or a part of it, stands still."""
    yield from (str(flow[key]) for key in ("reason", "detail") if flow.get(key) not in {None, "", "starting"})
    yield from (one["trouble"] for one in flow["clusters"] if one.get("trouble"))
    for mirror in flow["mirrors"]:
        for part in (mirror, *mirror["partitions"]):
            yield from (str(part[key]) for key in ("detail", "reason") if part.get(key))


Stage = Callable[[str, Collection[str]], Scene]
