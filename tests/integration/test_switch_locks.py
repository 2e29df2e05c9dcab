"""A switchover closes a secured source by rules of its authorizer: no writer but us, and every reader as before."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from replicator.devkit import Cluster, ListenerSecurity
from replicator.model.security import Mechanism, Protocol
from tests.integration.conftest import MakeCluster
from tests.integration.harness import Lab
from tests.integration.kafka_client import Kafka, admin, assert_equal, create, read_all, wait_copied, wait_until
from tests.integration.load import produce
from tests.integration.test_switchover import PARTITIONS, both_ways, flow_of, last_switch, order, spread

PASSWORD = "canary-of-locks"  # noqa: S105 - of a cluster that lives for one test
REFUSED = KafkaError.TOPIC_AUTHORIZATION_FAILED


@pytest.fixture(params=["allows everyone", "allows nobody"])
def secured(make_cluster: MakeCluster, request: pytest.FixtureRequest) -> Cluster:
    """A cluster with an authorizer, whose applications log in."""
    allows = "true" if request.param == "allows everyone" else "false"
    return make_cluster(
        security=ListenerSecurity(
            Protocol.SASL_PLAINTEXT, (Mechanism.PLAIN,), users=dict.fromkeys(("app", "replicator"), PASSWORD)
        ),
        authorizer=True,
        overrides={"allow.everyone.if.no.acl.found": allows},
    )


def login(cluster: Cluster, user: str) -> dict[str, Any]:
    """Return how a client of that name gets in."""
    return {
        "bootstrap.servers": cluster.config.secure_bootstrap,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": PASSWORD,
        "log_level": 0,
    }


def as_replicator(cluster: Cluster) -> dict[str, Any]:
    """Return what a cluster's section of the flow file says where the replicator logs in."""
    return {
        "bootstrap": cluster.config.secure_bootstrap,
        "security": {
            "protocol": "SASL_PLAINTEXT",
            "mechanism": "PLAIN",
            "username": "replicator",
            "password": PASSWORD,
        },
    }


def write(cluster: Cluster, topic: str, value: bytes) -> int | None:
    """Write as the application; return the error's code, None for success."""
    found: list[KafkaError | None] = []
    producer = Producer(login(cluster, "app") | {"message.timeout.ms": 10_000})
    producer.produce(topic, value, partition=0, on_delivery=lambda error, _: found.append(error))
    assert producer.flush(20) == 0
    return None if found[0] is None else found[0].code()


def rules(cluster: Cluster) -> set[str]:
    """Return every rule there is."""
    every = AclBindingFilter(
        ResourceType.ANY,
        None,  # type: ignore[arg-type]  # "any" in the library's words
        ResourcePatternType.ANY,
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    return {str(one) for one in admin(cluster).describe_acls(every).result(10)}


def allow(cluster: Cluster, user: str, kind: Any, name: str, *operations: Any) -> None:
    """Place rules."""
    wanted = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
        for operation in operations
    ]
    for made in admin(cluster).create_acls(wanted).values():
        made.result(10)


@pytest.mark.long
def test_closed_by_rules(secured: Cluster, west: Kafka, topic_name: str, lab: Lab) -> None:
    """With and without `allow.everyone.if.no.acl.found`; after the way back no rule of ours is left."""
    create(secured, topic_name, PARTITIONS)
    if secured.config.overrides["allow.everyone.if.no.acl.found"] == "false":
        allow(secured, "app", ResourceType.TOPIC, topic_name, AclOperation.WRITE, AclOperation.READ)
        for kind in (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID):
            allow(secured, "replicator", kind, "*", AclOperation.ALL)
        allow(secured, "replicator", ResourceType.BROKER, "kafka-cluster", AclOperation.ALL)
    before = rules(secured)
    produce(secured, topic_name, spread(90))
    assert write(secured, topic_name, b"open") is None
    daemon = both_ways(lab, secured, west, topic_name)
    daemon.document["clusters"]["east"] |= as_replicator(secured)
    daemon.write()
    daemon.start(ready_seconds=0)
    wait_copied(secured, west, topic_name)

    told = order(daemon, "switchover", lab.flow, "--reverse", "--yes")
    assert "nothing is lost" in told
    assert write(secured, topic_name, b"refused") == REFUSED
    assert len(read_all(secured, topic_name)[0]) == 31, "it can be read all the same"
    produce(west, topic_name, spread(30, 1000))
    wait_copied(west, secured, topic_name)
    assert_equal(west, secured, topic_name)

    back = f"{lab.flow}-back"
    told = order(daemon, "switchover", back, "--producers-stopped", "--reverse", "--yes")
    assert flow_of(daemon, back)["state"] == "SWITCHED_OVER"
    assert last_switch(daemon, back)["known_loss"] == 0
    assert rules(secured) == before
    wait_until("it is open again", lambda: write(secured, topic_name, b"open again") is None)
    wait_copied(secured, west, topic_name)
    assert_equal(secured, west, topic_name)


@pytest.mark.long
def test_no_authorizer_is_told(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Without rules only the operator's word keeps producers off."""
    create(east, topic_name)
    daemon = both_ways(lab, east, west, topic_name).start(ready_seconds=0)
    wait_copied(east, west, topic_name)
    told = order(daemon, "switchover", lab.flow, "--yes", code=3)
    assert "has no authorizer" in told
    assert "--producers-stopped" in told
