"""Groups from outside, and in the words of a daemon."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Position

from replicator.devkit import ensure_distribution
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.status.groups import Committed
from replicator.model.units import parse_address
from replicator.wire.cluster import Cluster
from replicator.wire.messages.groups import Groups
from tests.integration.harness import Daemon
from tests.integration.kafka_client import QUIET, Kafka, wait_until

# -- Kafka, from outside ----------------------------------------------------------------------------------------------


@contextmanager
def member(cluster: Kafka, group: str, topic: str, protocol: str = "classic") -> Iterator[Consumer]:
    """Give a consumer of a group that has its partitions, and commits only when it is told to."""
    made = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "group.id": group,
            "group.protocol": protocol,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            **QUIET,
        }
    )
    try:
        made.subscribe([topic])
        wait_until("it has partitions", lambda: made.poll(0.1) is not None or made.assignment())
        yield made
    finally:
        made.close()


def positions(cluster: Kafka, group: str, topic: str, partitions: int = 1) -> list[int]:
    """Return what a group has committed, by partition; -1001 for nothing."""
    made = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": group, **QUIET})
    try:
        found = made.committed([Position(topic, number) for number in range(partitions)], timeout=30)
        return [one.offset for one in found]
    finally:
        made.close()


def next_record(cluster: Kafka, group: str, topic: str, protocol: str, partition: int) -> bytes:
    """Return the first record that a new member of a group is given from one partition."""
    made = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "group.id": group,
            "group.protocol": protocol,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            **QUIET,
        }
    )
    try:
        made.subscribe([topic])

        def first() -> bytes | None:
            message = made.poll(0.5)
            if message is None or message.error() is not None or message.partition() != partition:
                return None
            return bytes(message.value() or b"")

        return wait_until("a record", first, every=0.0) or b""
    finally:
        made.close()


def in_wire(cluster: Kafka, work: Any) -> Any:
    """Run `work` with the groups of a cluster, spoken to by our own bytes: what librdkafka cannot say or read."""

    async def run() -> Any:
        reached = Cluster(ClusterSpec("lab", (parse_address(cluster.bootstrap.split(",")[0]),)))
        try:
            await reached.open()
            return await work(Groups(reached))
        finally:
            reached.close()

    return asyncio.run(run())


def commit_raw(cluster: Kafka, group: str, commits: dict[TopicPartition, Committed]) -> None:
    """Commit with any metadata."""
    codes = in_wire(cluster, lambda groups: groups.commit(group, commits))
    assert set(codes.values()) == {0}


def commits_raw(cluster: Kafka, group: str) -> dict[TopicPartition, Committed]:
    """Return what a group has committed, with metadata and leader epoch."""
    found: dict[TopicPartition, Committed] = in_wire(cluster, lambda groups: groups.committed([group]))[group]
    return found


def tool(main_class: str, *words: str) -> str:
    """Run a tool of Kafka's own; return what it printed."""
    command = ensure_distribution().command(f"org.apache.kafka.tools.consumer.group.{main_class}", *words)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tool_offsets(cluster: Kafka, main_class: str, group: str, column: str) -> dict[tuple[str, int], int]:
    """Return one column of a group's description as Kafka's own tool prints it."""
    words = ("--bootstrap-server", cluster.bootstrap, "--describe", "--group", group, "--offsets")
    lines = [line.split() for line in tool(main_class, *words).splitlines() if line.strip()]
    head = next(line for line in lines if "TOPIC" in line)
    at = {name: head.index(name) for name in ("TOPIC", "PARTITION", column)}
    rows = [line for line in lines[lines.index(head) + 1 :] if line[0] == group]
    return {
        (row[at["TOPIC"]], int(row[at["PARTITION"]])): int(row[at[column]]) for row in rows if row[at[column]] != "-"
    }


# -- the daemon's own words -------------------------------------------------------------------------------------------


def described(daemon: Daemon, group: str) -> dict[str, Any]:
    """Return `group describe -o json`, empty while the group is not known."""
    done = daemon.cli("group", "describe", daemon.flow_name, group, "-o", "json")
    return dict(json.loads(done.stdout)["group"]) if done.returncode == 0 else {}


def listed(daemon: Daemon) -> dict[str, Any]:
    """Return `group list -o json`."""
    done = daemon.cli("group", "list", daemon.flow_name, "-o", "json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def wait_group(daemon: Daemon, group: str, state: str, **partition: Any) -> dict[str, Any]:
    """Wait until a group is in a state, and its first partition has these values; return it."""
    seen: dict[str, Any] = {}

    def there() -> bool:
        seen.clear()
        seen.update(described(daemon, group))
        first = (seen.get("partitions") or [{}])[0]
        return seen.get("state") == state and partition.items() <= first.items()

    try:
        wait_until(f"{group} is {state}", there, every=0.3)
    except AssertionError as error:
        raise AssertionError(f"{error}: {seen}") from None
    return seen


def wait_positions(cluster: Kafka, group: str, topic: str, expected: Sequence[int]) -> None:
    """Wait until confluent-kafka sees these commits."""
    seen: list[list[int]] = []

    def there() -> bool:
        seen.append(positions(cluster, group, topic, len(expected)))
        return seen[-1] == list(expected)

    try:
        wait_until(f"{group} stands at {expected}", there, every=0.3)
    except AssertionError as error:
        raise AssertionError(f"{error}: {seen[-1]}") from None
