"""Two clusters that ask for logins and rights, and tools to grant them, for tests of validate."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from replicator.cli.main import main
from replicator.devkit import Cluster, ensure_distribution, free_base_port

USER, PASSWORD = "repl", "secret-1"
TWO_DAYS_MS = 2 * 86_400_000


@dataclass(frozen=True, slots=True)
class Pair:
    """Two clusters with an authorizer, SCRAM and TLS, and what a flow file needs to reach them."""

    east: Cluster
    west: Cluster
    ca_file: Path
    directory: Path

    def file(self, name: str, topics: str, **changes: str) -> Path:
        """Write a flow file; `changes` replace bootstrap addresses (east, west), the password or the CA."""
        changes = {
            "east": self.east.config.secure_bootstrap,
            "west": self.west.config.secure_bootstrap,
            "password": PASSWORD,
            "ca": str(self.ca_file),
        } | changes
        port = free_base_port(1)
        secret = self.directory / f"{name}.secret"
        secret.touch(mode=0o600)
        secret.write_text(changes["password"])
        security = (
            f"{{protocol: SASL_SSL, mechanism: SCRAM-SHA-512, username: {USER}, "
            f'password_file: "{secret}", ca_file: "{changes["ca"]}"}}'
        )
        path = self.directory / f"{name}.yaml"
        client = "client: {request_timeout: 5s}"
        path.write_text(
            f"""\
version: 1
daemon: {{state_dir: "./{name}.state", http: "127.0.0.1:{port}", rpc: "127.0.0.1:{port + 1}"}}
clusters:
  east: {{bootstrap: "{changes["east"]}", security: {security}, {client}}}
  west: {{bootstrap: "{changes["west"]}", security: {security}, {client}}}
flows:
  {name}: {{from: east, to: west, topics: {{include: [{topics}]}}}}
"""
        )
        return path


def admin(cluster: Cluster) -> AdminClient:
    """Return a client of the super user, kept: a call dies with the last reference to its client."""
    return _admin(cluster.bootstrap)


@functools.lru_cache(maxsize=2)
def _admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def create(cluster: Cluster, topic: str, partitions: int = 1, **configs: str) -> None:
    """Create a topic with one replica."""
    named = {name.replace("_", "."): value for name, value in configs.items()}
    admin(cluster).create_topics([NewTopic(topic, partitions, 1, config=named)])[topic].result(30)


def now_ms() -> int:
    """Return the time now: a clock that was read when the tests were collected is behind by however long they take."""
    return time.time_ns() // 1_000_000


def write(cluster: Cluster, topic: str, count: int = 10, when: int | None = None, **settings: str) -> None:
    """Write records; with `transactional.id` among the settings, in one transaction."""
    settings = {name.replace("_", "."): value for name, value in settings.items()}
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "log_level": 0} | settings)
    if settings:
        producer.init_transactions(30)
        producer.begin_transaction()
    stamp = now_ms() if when is None else when
    for at in range(count):
        producer.produce(topic, b"%d" % at, b"key", partition=0, timestamp=stamp)
    assert producer.flush(30) == 0
    if settings:
        producer.commit_transaction(30)


def delete_below(cluster: Cluster, topic: str, offset: int) -> None:
    """Move the log start of partition 0."""
    for done in admin(cluster).delete_records([Position(topic, 0, offset)]).values():
        done.result(30)


def end(cluster: Cluster, topic: str) -> int:
    """Return the end of partition 0, -1 where there is none.

    By a fresh client each time: librdkafka remembers for a while that a topic was not there.
    """
    client = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "validate", "log_level": 0})
    try:
        marks = client.get_watermark_offsets(Position(topic, 0), timeout=5)
    except KafkaException:
        return -1
    finally:
        client.close()
    return marks[1]


def wait_until(what: str, probe: Callable[[], object], seconds: float = 45) -> None:
    """Wait until a probe holds."""
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


Checks = list[dict[str, str]]


Validate = Callable[..., tuple[int, Checks, str]]


def of(checks: Checks, level: str) -> str:
    """Return the findings of a level as text."""
    return "\n".join(
        f"{check['name']}: {check['text']} | {check['fix']}" for check in checks if check["level"] == level
    )


def printed_rights(file: Path, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Return the words of each command that offline `validate` prints."""
    with pytest.raises(SystemExit):
        main(["validate", str(file)])
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines() if line.startswith("kafka-acls.sh")]


def grant(words: list[str], pair: Pair) -> None:
    """Run a printed command with Kafka's own tool, as the super user."""
    direct = {pair.east.config.secure_bootstrap: pair.east, pair.west.config.secure_bootstrap: pair.west}
    run_tool(
        "org.apache.kafka.tools.AclCommand",
        [direct[word].bootstrap if word in direct else word for word in words[1:]],
    )


def run_tool(main_class: str, words: list[str]) -> None:
    """Run a tool of Kafka's."""
    command = ensure_distribution().command(main_class, *words, jvm_flags=("-Xmx128m",))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def grant_quickly(words: list[str], cluster: Cluster) -> None:
    """Do what a printed command does, without a JVM for each."""
    for binding in bindings(words):
        for done in admin(cluster).create_acls([binding]).values():
            done.result(30)


def bindings(words: list[str], user: str = USER) -> list[AclBinding]:
    """Return the ACLs that a printed command makes."""
    kinds = {"--topic": ResourceType.TOPIC, "--cluster": ResourceType.BROKER}
    kinds |= {"--transactional-id": ResourceType.TRANSACTIONAL_ID, "--group": ResourceType.GROUP}
    option = next(word for word in words if word in kinds)
    name = "kafka-cluster" if option == "--cluster" else words[words.index(option) + 1]
    pattern = ResourcePatternType.PREFIXED if "prefixed" in words else ResourcePatternType.LITERAL
    operations = [words[at + 1] for at, word in enumerate(words) if word == "--operation"]
    return [
        AclBinding(
            kinds[option],
            name,
            pattern,
            f"User:{user}",
            "*",
            AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()],
            AclPermissionType.ALLOW,
        )
        for operation in operations
    ]


def revoke(cluster: Cluster, granted: list[AclBinding]) -> None:
    """Remove these ACLs."""
    filters = [
        AclBindingFilter(
            each.restype,
            each.name,
            each.resource_pattern_type,
            each.principal,
            each.host,
            each.operation,
            each.permission_type,
        )
        for each in granted
    ]
    for done in admin(cluster).delete_acls(filters).values():
        done.result(30)


def revoke_all(cluster: Cluster) -> None:
    """Remove every ACL."""
    any_one: Any = None
    every = AclBindingFilter(
        ResourceType.ANY, any_one, ResourcePatternType.ANY, any_one, any_one, AclOperation.ANY, AclPermissionType.ANY
    )
    for done in admin(cluster).delete_acls([every]).values():
        done.result(30)


def rights(pair: Pair, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Grant what offline `validate` prints."""
    for words in printed_rights(file, capsys):
        grant_quickly(words, pair.east if pair.east.config.secure_bootstrap in words else pair.west)


@contextmanager
def daemon(file: Path) -> Iterator[Path]:
    """Run the daemon on a file; give its log."""
    log = file.with_suffix(".log")
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "replicator.cli.main", "run", str(file)], stderr=out)
        try:
            yield log
        finally:
            process.terminate()
            process.wait(20)
