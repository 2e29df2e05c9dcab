"""With exactly the rights that `validate` prints, where nobody is allowed anything else, all of a flow's life works."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    AclOperation,
    ResourceType,
)

from replicator.devkit import Cluster, ListenerSecurity, start_clusters
from replicator.model.security import Mechanism, Protocol
from replicator.model.spec import Isolation
from tests.integration.conftest import MakeCluster
from tests.integration.corpus.transactional import transactional
from tests.integration.group_tools import positions
from tests.integration.harness import REPLICATOR, Daemon, Lab
from tests.integration.kafka_client import (
    admin,
    assert_same,
    commit,
    create,
    delete_below,
    grow,
    partition_count,
    read_all,
    wait_copied,
    wait_until,
)
from tests.integration.load import produce
from tests.integration.test_switch_locks import PASSWORD, REFUSED, allow, as_replicator, login, write
from tests.integration.test_switchover import PARTITIONS, both_ways, flow_of, last_switch, order, spread
from tests.integration.validate_tools import bindings

SHORT_OF = {"everything": "", "no ClusterAction": "ClusterAction"}


@pytest.fixture
def strict(make_cluster: MakeCluster) -> list[Cluster]:
    """Two clusters whose authorizers deny what no rule allows."""
    users = dict.fromkeys(("app", "replicator"), PASSWORD)
    made = [
        make_cluster(
            security=ListenerSecurity(Protocol.SASL_PLAINTEXT, (Mechanism.PLAIN,), users=users),
            authorizer=True,
            overrides={"allow.everyone.if.no.acl.found": "false"},
            start=False,
        )
        for _ in range(2)
    ]
    start_clusters(made)
    return made


def secured(daemon: Daemon, pair: list[Cluster]) -> Daemon:
    """Let a daemon log in to both."""
    for alias, cluster in zip(("east", "west"), pair, strict=True):
        daemon.document["clusters"][alias] |= as_replicator(cluster)
    daemon.write()
    return daemon


def validated(daemon: Daemon, *more: str) -> dict[str, Any]:
    """Return what `validate` says of the daemon's file."""
    words = [str(REPLICATOR), "validate", str(daemon.file), *more, "-o", "json"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def grant_printed(daemon: Daemon, pair: list[Cluster], but: str = "") -> int:
    """Grant what `validate` prints for the daemon's file, but for one operation; return how many rules that were."""
    document = validated(daemon)
    count = 0
    for right in document["rights"]:
        cluster = pair[0] if right["cluster"] == "east" else pair[1]
        for command in right["commands"]:
            words = shlex.split(command)
            if but and but in words:
                continue
            wanted = bindings(words, user="replicator")
            for made in admin(cluster).create_acls(wanted).values():
                made.result(10)
            count += len(wanted)
    return count


def refusals(daemon: Daemon) -> list[str]:
    """Return what the log tells of rights that are missing."""
    return [line for line in daemon.log_tail().splitlines() if "AUTHORIZATION" in line or "not allowed" in line]


def aborted(cluster: Cluster, topic: str) -> None:
    """Leave offsets without a record that readers see: a transaction that was aborted."""
    with transactional(cluster, topic) as producer:
        producer.begin_transaction()
        producer.produce(topic, b"never", partition=0)
        producer.flush()
        producer.abort_transaction(30)


def assert_same_committed(source: Cluster, target: Cluster, topic: str) -> None:
    """Compare what readers of committed records see: what was aborted before a cut stays on the old source."""
    wait_copied(source, target, topic)
    assert_same(
        topic,
        read_all(source, topic, isolation=Isolation.READ_COMMITTED),
        read_all(target, topic, isolation=Isolation.READ_COMMITTED),
    )


def app_writes(cluster: Cluster, topic: str, first: int) -> None:
    """Write as the application."""
    producer = Producer(login(cluster, "app") | {"message.timeout.ms": 10_000})
    for item in spread(30, first):
        producer.produce(topic, item["value"], partition=item["partition"])
    assert producer.flush(20) == 0


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("short_of", SHORT_OF.values(), ids=SHORT_OF)
def test_a_flow_lives_with_the_printed_rights(strict: list[Cluster], topic_name: str, lab: Lab, short_of: str) -> None:
    """Creation, seed, fills, groups, growth, rules that follow, there and back by rules, loss, failback with a tail."""
    east, west = strict
    group = f"{topic_name}-group"
    create(east, topic_name, PARTITIONS)
    produce(east, topic_name, spread(90))
    aborted(east, topic_name)
    produce(east, topic_name, spread(90, 100))
    delete_below(east, topic_name, 10)
    allow(east, "app", ResourceType.TOPIC, topic_name, AclOperation.WRITE, AclOperation.READ, AclOperation.DESCRIBE)
    allow(east, "app", ResourceType.GROUP, group, AclOperation.READ)
    commit(east, group, topic_name, dict.fromkeys(range(PARTITIONS), 20))
    daemon = both_ways(
        lab, east, west, topic_name, acls={"mirror": True, "lock_target": True}, groups={"include": [group]}
    )
    secured(daemon, strict)
    assert grant_printed(daemon, strict, short_of) > 20
    validated(daemon, "--connect")
    daemon.start(ready_seconds=0)
    wait_copied(east, west, topic_name)
    wait_until("the group follows", lambda: positions(west, group, topic_name, PARTITIONS) == [20] * PARTITIONS)
    grow(east, topic_name, PARTITIONS + 1)
    wait_until("it grows", lambda: partition_count(west, topic_name) == PARTITIONS + 1)
    wait_until("the target is closed", lambda: write(west, topic_name, b"refused") == REFUSED)
    wait_copied(east, west, topic_name)

    order(daemon, "switchover", lab.flow, "--reverse", "--yes")
    assert write(east, topic_name, b"closed") == REFUSED
    wait_until("the target is open", lambda: write(west, topic_name, b"open") is None)
    app_writes(west, topic_name, 1000)
    assert_same_committed(west, east, topic_name)
    order(daemon, "switchover", f"{lab.flow}-back", "--reverse", "--yes")
    wait_until("the source is open", lambda: write(east, topic_name, b"open") is None)
    assert_same_committed(east, west, topic_name)

    daemon.freeze()
    app_writes(east, topic_name, 2000)
    east.kill()
    daemon.thaw()
    order(daemon, "failover", lab.flow, "--confirm", lab.flow)
    wait_until("the target is open", lambda: write(west, topic_name, b"open") is None)
    app_writes(west, topic_name, 3000)
    east.start()
    order(daemon, "failback", lab.flow, "--producers-stopped", "--yes", code=3)
    order(daemon, "failback", lab.flow, "--confirm", last_switch(daemon, lab.flow)["confirm"])
    assert flow_of(daemon, lab.flow)["state"] == "ACTIVE"
    wait_until("the source is open", lambda: write(east, topic_name, b"open") is None)
    assert_same_committed(east, west, topic_name)
    assert refusals(daemon) == []


@pytest.mark.long
@pytest.mark.parametrize("mode", [{"offsets": "mapped"}, {"loop_guard": "origin", "offsets": "mapped"}])
def test_the_other_modes(strict: list[Cluster], topic_name: str, lab: Lab, mode: dict[str, Any]) -> None:
    """Mapped offsets, and both sides written to."""
    east, west = strict
    create(east, topic_name, PARTITIONS)
    if "loop_guard" in mode:
        create(west, topic_name, PARTITIONS)
    produce(east, topic_name, spread(60))
    aborted(east, topic_name)
    produce(east, topic_name, spread(30, 100))
    daemon = secured(lab.daemon(east, west, topic_name, groups={"include": []}, **mode), strict)
    assert grant_printed(daemon, strict) > 10
    daemon.start(ready_seconds=0)
    wanted = {
        part: [b"%d" % at for at in (*range(60), *range(100, 130)) if at % PARTITIONS == part] for part in (0, 1, 2)
    }

    def values() -> dict[int, list[bytes | None]]:
        return {part: [one.value for one in some] for part, some in read_all(west, topic_name).items()}

    wait_until("it is there", lambda: topic_name in admin(west).list_topics(timeout=10).topics)
    wait_until("it is copied", lambda: values() == wanted)
    grow(east, topic_name, PARTITIONS + 1)
    wait_until("it grows", lambda: partition_count(west, topic_name) == PARTITIONS + 1)
    assert refusals(daemon) == []
