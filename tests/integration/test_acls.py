"""Rules of the source follow to a passive target, which nobody but us writes to until it is opened."""

from __future__ import annotations

import json

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from replicator.devkit import Cluster, ListenerSecurity, start_clusters
from replicator.model.security import Mechanism, Protocol
from tests.integration.conftest import MakeCluster
from tests.integration.harness import Lab
from tests.integration.kafka_client import admin, assert_equal, create, wait_copied, wait_until
from tests.integration.load import numbered, produce
from tests.integration.test_switch_locks import PASSWORD, REFUSED, allow, as_replicator, rules, write
from tests.integration.test_switchover import PARTITIONS, both_ways, order, spread


@pytest.fixture(params=["true", "false"], ids=["allows everyone", "allows nobody"])
def pair(make_cluster: MakeCluster, request: pytest.FixtureRequest) -> list[Cluster]:
    """Two clusters with authorizers, whose applications log in."""
    users = dict.fromkeys(("app", "replicator"), PASSWORD)
    made = [
        make_cluster(
            security=ListenerSecurity(Protocol.SASL_PLAINTEXT, (Mechanism.PLAIN,), users=users),
            authorizer=True,
            overrides={"allow.everyone.if.no.acl.found": request.param},
            start=False,
        )
        for _ in range(2)
    ]
    start_clusters(made)
    return made


def deny(cluster: Cluster, topic: str) -> None:
    """Remove what allows the application to read."""
    gone = AclBindingFilter(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        "User:app",
        "*",
        AclOperation.READ,
        AclPermissionType.ALLOW,
    )
    admin(cluster).delete_acls([gone])[gone].result(10)


@pytest.mark.long
def test_rules_follow(pair: list[Cluster], topic_name: str, lab: Lab) -> None:
    """WRITE is held back until the switchover; a rule that goes goes there, too; the target's own stays."""
    east, west = pair
    create(east, topic_name, PARTITIONS)
    produce(east, topic_name, spread(90))
    for cluster in pair:
        for kind in (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID):
            allow(cluster, "replicator", kind, "*", AclOperation.ALL)
        allow(cluster, "replicator", ResourceType.BROKER, "kafka-cluster", AclOperation.ALL)
    allow(east, "app", ResourceType.TOPIC, topic_name, AclOperation.WRITE, AclOperation.READ)
    allow(east, "app", ResourceType.GROUP, f"{topic_name}-group", AclOperation.READ)
    allow(west, "keeper", ResourceType.TOPIC, topic_name, AclOperation.READ, AclOperation.WRITE)
    own = rules(west)

    daemon = both_ways(lab, east, west, topic_name, acls={"mirror": True, "lock_target": True})
    for alias, cluster in zip(("east", "west"), pair, strict=True):
        daemon.document["clusters"][alias] |= as_replicator(cluster)
    daemon.write()
    daemon.start(ready_seconds=0)
    wait_copied(east, west, topic_name)
    wait_until("rules follow", lambda: len(rules(west) - own) >= 3)
    added = sorted(one for one in rules(west) - own)
    assert not [one for one in added if "ALLOW" in one and "WRITE" in one], added
    assert [one for one in added if "DENY" in one and "keeper" in one], "others are kept off while it is passive"
    assert write(west, topic_name, b"refused") == REFUSED

    deny(east, topic_name)
    gone = f"name={topic_name},", "AclOperation.READ", "User:app"
    wait_until("it goes there, too", lambda: not any(all(word in one for word in gone) for one in rules(west) - own))
    rehearsed = json.loads(daemon.cli("failover", "--rehearse", lab.flow, "-o", "json").stdout)["sections"][0]["checks"]
    findings = {one["name"]: (one["level"], one["text"]) for one in rehearsed}
    assert findings["rules"][0] == findings["users"][0] == findings["quotas"][0] == "ok", findings
    order(daemon, "switchover", lab.flow, "--reverse", "--yes")
    assert write(west, topic_name, b"open") is None
    assert write(east, topic_name, b"closed") == REFUSED
    assert own <= rules(west)
    assert not [one for one in rules(west) if "DENY" in one]
    wait_copied(west, east, topic_name)
    assert_equal(west, east, topic_name)

    order(daemon, "switchover", f"{lab.flow}-back", "--reverse", "--yes")
    assert write(east, topic_name, b"open again") is None
    wait_until("west is closed again", lambda: write(west, topic_name, b"closed again") == REFUSED, 60)
    wait_copied(east, west, topic_name)
    assert_equal(east, west, topic_name)


@pytest.mark.long
@pytest.mark.parametrize("pair", ["true"], indirect=True)
def test_fifty_thousand_rules_follow(pair: list[Cluster], topic_name: str, lab: Lab) -> None:
    """An answer above 4 MiB, which librdkafka refuses; and once they may not be read, those that follow stay."""
    east, west = pair
    create(east, topic_name)
    produce(east, topic_name, numbered(30))
    for cluster in pair:
        for kind in (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID):
            allow(cluster, "replicator", kind, "*", AclOperation.ALL)
        allow(cluster, "replicator", ResourceType.BROKER, "kafka-cluster", AclOperation.ALL)
    own = rules(west)
    allow(east, "app", ResourceType.TOPIC, topic_name, AclOperation.READ)
    for first in range(0, 50_000, 1_000):
        made = admin(east).create_acls(
            [
                AclBinding(
                    ResourceType.TOPIC,
                    f"others-{number:05}-{'x' * 80}",
                    ResourcePatternType.LITERAL,
                    f"User:somebody-{number}",
                    "*",
                    AclOperation.READ,
                    AclPermissionType.ALLOW,
                )
                for number in range(first, first + 1_000)
            ]
        )
        for one in made.values():
            one.result(30)

    daemon = lab.daemon(east, west, topic_name, acls={"mirror": True})
    for alias, cluster in zip(("east", "west"), pair, strict=True):
        daemon.document["clusters"][alias] |= as_replicator(cluster)
    daemon.write()
    daemon.start(ready_seconds=0)
    wait_copied(east, west, topic_name)
    wait_until("the rule follows", lambda: [one for one in rules(west) - own if "User:app" in one])
    mirrored = rules(west)
    gone = AclBindingFilter(
        ResourceType.BROKER,
        "kafka-cluster",
        ResourcePatternType.LITERAL,
        "User:replicator",
        "*",
        AclOperation.ALL,
        AclPermissionType.ALLOW,
    )
    allow(east, "replicator", ResourceType.BROKER, "kafka-cluster", AclOperation.CLUSTER_ACTION)
    admin(east).delete_acls([gone])[gone].result(10)
    wait_until("it is told", lambda: "Describe" in (daemon.flow().get("reason") or ""))
    assert rules(west) == mirrored, "a refusal is no rules"
