"""Logins and rights of administration, on a cluster that asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from replicator.admin.topics import TopicAdmin
from replicator.core.topics.ownership import created
from replicator.devkit import Cluster, ListenerSecurity, unsecured_token
from replicator.engine.logs.ranges.partition_reader import PartitionReader
from replicator.errors import AuthenticationFailed, AuthorizationFailed, BrokerRefused, KafkaError, NotOurs
from replicator.model import security
from replicator.model.names import TopicPartition
from tests.integration.admin_reading import COMMITTED, read

MECHANISMS = (
    security.Mechanism.PLAIN,
    security.Mechanism.SCRAM_SHA_256,
    security.Mechanism.SCRAM_SHA_512,
    security.Mechanism.OAUTHBEARER,
)


@pytest.fixture(scope="module")
def guarded(make_module_cluster: Callable[..., Cluster]) -> Cluster:
    """A cluster that asks for a login, checks rights, and would create topics that are asked about."""
    made = make_module_cluster(
        security=ListenerSecurity(
            security.Protocol.SASL_PLAINTEXT, MECHANISMS, users={"root": "root-secret", "guest": "guest-secret"}
        ),
        authorizer=True,
        super_users=("User:root",),
        overrides={"auto.create.topics.enable": "true"},
    )
    # What a guest may do: describe topics, nothing else.
    allow(made, "*", AclOperation.DESCRIBE)
    return made


def allow(cluster: Cluster, topic: str, operation: AclOperation) -> None:
    """Let the guest do something with a topic."""
    binding = AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        "User:guest",
        "*",
        operation,
        AclPermissionType.ALLOW,
    )
    client = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    for done in client.create_acls([binding]).values():
        done.result(30)


def login(
    guarded: Cluster,
    user: str,
    password: str,
    mechanism: security.Mechanism = security.Mechanism.PLAIN,
    token_file: Path | None = None,
) -> security.ClusterSpec:
    """Return how to reach the guarded cluster as a user."""
    host, port = guarded.config.secure_bootstrap.split(":")
    return security.ClusterSpec(
        "guarded",
        ((host, int(port)),),
        request_timeout_seconds=10,
        security=security.Security(
            security.Protocol.SASL_PLAINTEXT,
            mechanism,
            user,
            security.Secret(password),
            token_file=token_file,
        ),
    )


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_every_mechanism_logs_in(guarded: Cluster, mechanism: security.Mechanism, tmp_path: Path) -> None:
    """With the password or the token of its file."""
    token = tmp_path / "token"
    token.write_text(unsecured_token("root"))
    admin = TopicAdmin(login(guarded, "root", "root-secret", mechanism, token))
    facts = await admin.describe_cluster()
    await admin.close()
    assert facts.cluster_id == guarded.cluster_id
    assert facts.operations is not None
    assert "CREATE" in facts.operations


@pytest.mark.parametrize("mechanism", MECHANISMS[:3])
async def test_a_wrong_password_is_named_as_such(guarded: Cluster, mechanism: security.Mechanism) -> None:
    """At once, by the administration and by the reader, and the password shows nowhere."""
    cluster = login(guarded, "root", "wrong-canary", mechanism)
    with pytest.raises(AuthenticationFailed) as raised:
        await TopicAdmin(cluster).describe_cluster()
    reader = PartitionReader(cluster, COMMITTED)
    with pytest.raises(AuthenticationFailed):
        await read(reader, TopicPartition("x", 0), 0, 1)
    await asyncio.to_thread(reader.close)
    assert "canary" not in f"{raised.value} {raised.value.next_step}"


async def test_a_missing_right_is_named_with_its_command(guarded: Cluster, topic_name: str) -> None:
    """For what the cluster refuses to a guest: creating, settings, reading."""
    root, guest = login(guarded, "root", "root-secret"), login(guarded, "guest", "guest-secret")
    ruler, visitor = TopicAdmin(root), TopicAdmin(guest)
    topic = await ruler.create_topic(topic_name, 1, 1, {})
    for call, right in (
        (visitor.create_topic(topic_name + "-x", 1, 1, {}), f"--operation Create --topic {topic_name}-x"),
        (visitor.describe_configs([topic_name]), f"--operation DescribeConfigs --topic {topic_name}"),
        (visitor.alter_configs(topic, {"retention.ms": "1"}), "--operation AlterConfigs"),
        (visitor.delete_records(topic, {0: 0}), "--operation Delete"),
    ):
        with pytest.raises(AuthorizationFailed) as raised:
            await call
        assert "--add --allow-principal User:guest" in raised.value.next_step
        assert right in raised.value.next_step
    reader = PartitionReader(guest, COMMITTED)
    with pytest.raises(AuthorizationFailed, match="does not allow Read on topic"):
        await read(reader, TopicPartition(topic_name, 0), 0, 1)
    await asyncio.to_thread(reader.close)


async def test_a_topic_whose_settings_are_refused_stands_alone(guarded: Cluster, topic_name: str) -> None:
    """The settings of the others are told, and its own command is given for it; a name that appears twice is one."""
    ruler, visitor = (TopicAdmin(login(guarded, name, f"{name}-secret")) for name in ("root", "guest"))
    first, second = f"{topic_name}-1", f"{topic_name}-2"
    for topic in (first, second):
        await ruler.create_topic(topic, 1, 1, {})
    allow(guarded, second, AclOperation.DESCRIBE_CONFIGS)
    refused: dict[str, KafkaError] = {}

    found = await visitor.describe_configs([first, second, second], refused)

    assert found.keys() == {second}
    assert refused.keys() == {first}
    assert isinstance(refused[first], AuthorizationFailed)
    assert f"--operation DescribeConfigs --topic {first}" in refused[first].next_step


async def test_no_request_creates_a_topic(guarded: Cluster, topic_name: str) -> None:
    """Although these brokers would create one for any client that may."""
    cluster = login(guarded, "root", "root-secret")
    admin = TopicAdmin(cluster)
    part = TopicPartition(topic_name, 0)
    await admin.describe_configs([topic_name])
    gone = created(topic_name, bytes(16))
    for call in (admin.end_offsets([part], COMMITTED), admin.start_offsets([part]), admin.delete_records(gone, {0: 0})):
        with pytest.raises((BrokerRefused, NotOurs)):
            await call
    reader = PartitionReader(cluster, COMMITTED)
    with pytest.raises(BrokerRefused):
        await read(reader, part, 0, 1)
    await asyncio.to_thread(reader.close)
    assert topic_name not in await admin.topics()
