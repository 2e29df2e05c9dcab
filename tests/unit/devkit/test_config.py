"""What a cluster is to be, and the properties that follow."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from replicator.devkit.brokers.config import Certificate, ClusterConfig, ListenerSecurity
from replicator.devkit.brokers.properties import render, server_properties
from replicator.errors import DevkitError
from replicator.model.security import Mechanism, Protocol

ONE = ClusterConfig("east", Path("/nowhere/east"), 19092)
THREE = dataclasses.replace(ONE, brokers=3)
CERTIFICATE = Certificate(Path("/c/key.pem"), Path("/c/cert.pem"), Path("/c/ca.pem"))


def test_no_two_listeners_share_a_port() -> None:
    """Three brokers with four listeners each."""
    ports = [port for node in THREE.node_ids for port in dataclasses.astuple(THREE.ports(node))]

    assert len(set(ports)) == len(ports) == 12
    assert THREE.bootstrap == "127.0.0.1:19092,127.0.0.1:19102,127.0.0.1:19112"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "East Coast"},
        {"name": ""},
        {"brokers": 0},
        {"base_port": 0},
        {"base_port": 65530},
    ],
)
def test_nonsense_is_refused(change: dict[str, object]) -> None:
    """Before anything is written or started."""
    with pytest.raises(DevkitError):
        dataclasses.replace(ONE, **change)  # type: ignore[arg-type]


def test_a_node_that_is_not_part_of_the_cluster_is_refused() -> None:
    """Nodes count from 1."""
    with pytest.raises(DevkitError, match="no node 0"):
        ONE.ports(0)


@pytest.mark.parametrize(
    ("protocol", "fields"),
    [
        (Protocol.PLAINTEXT, {}),
        (Protocol.SSL, {}),
        (Protocol.SASL_PLAINTEXT, {}),
        (Protocol.SASL_PLAINTEXT, {"mechanisms": (Mechanism.PLAIN,), "users": {"a": 'b" c'}}),
    ],
)
def test_a_secure_listener_must_be_complete(protocol: Protocol, fields: dict[str, object]) -> None:
    """A certificate for TLS, a mechanism for SASL, and passwords that need no quoting."""
    with pytest.raises(DevkitError):
        ListenerSecurity(protocol, **fields)  # type: ignore[arg-type]


def test_listeners_that_are_not_there_have_no_address() -> None:
    """A test that asks for one forgot to configure it."""
    with pytest.raises(DevkitError, match="no SECURE listener"):
        _ = ONE.secure_bootstrap
    with pytest.raises(DevkitError, match="no REPL listener"):
        _ = ONE.repl_bootstrap


@pytest.mark.parametrize(("config", "replicas", "min_isr"), [(ONE, "1", "1"), (THREE, "3", "2")])
def test_replication_follows_the_number_of_brokers(config: ClusterConfig, replicas: str, min_isr: str) -> None:
    """Internal topics must be creatable, and safe where they can be."""
    properties = server_properties(config, 1, Path("/d"))

    assert properties["offsets.topic.replication.factor"] == replicas
    assert properties["default.replication.factor"] == replicas
    assert properties["transaction.state.log.min.isr"] == min_isr


def test_every_node_knows_the_whole_quorum() -> None:
    """The static voters are the same on each."""
    voters = {server_properties(THREE, node, Path("/d"))["controller.quorum.voters"] for node in THREE.node_ids}

    assert voters == {"1@127.0.0.1:19093,2@127.0.0.1:19103,3@127.0.0.1:19113"}


def test_overrides_win() -> None:
    """Even over what we need ourselves: the test that sets it knows why."""
    config = dataclasses.replace(ONE, overrides={"num.io.threads": "9", "log.retention.ms": "5"})

    properties = server_properties(config, 1, Path("/d"))

    assert (properties["num.io.threads"], properties["log.retention.ms"]) == ("9", "5")


def test_repl_advertises_another_port_than_it_binds() -> None:
    """So that a fault proxy can stand in front."""
    config = dataclasses.replace(ONE, repl_advertised={1: 5555})

    properties = server_properties(config, 1, Path("/d"))

    assert "REPL://127.0.0.1:19094" in properties["listeners"]
    assert "REPL://127.0.0.1:5555" in properties["advertised.listeners"]
    assert config.repl_bootstrap == "127.0.0.1:5555"


def test_secure_listener_properties() -> None:
    """One listener with every mechanism, beside the plain one between brokers."""
    security = ListenerSecurity(
        Protocol.SASL_SSL,
        mechanisms=tuple(Mechanism),
        users={"alice": "secret"},
        certificate=CERTIFICATE,
        client_certificates=True,
    )
    config = dataclasses.replace(ONE, security=security, authorizer=True, super_users=("User:admin",))

    properties = server_properties(config, 1, Path("/d"))

    prefix = "listener.name.secure."
    assert properties[f"{prefix}plain.sasl.jaas.config"].endswith('required user_alice="secret";')
    assert "unsecuredLogin" in properties[f"{prefix}oauthbearer.sasl.jaas.config"]
    assert properties[f"{prefix}ssl.client.auth"] == "required"
    assert properties[f"{prefix}ssl.keystore.location"] == "/d/keystore.pem"
    assert properties["super.users"] == "User:ANONYMOUS;User:admin"
    assert properties["inter.broker.listener.name"] == "DIRECT"


def test_render_escapes_what_java_would_read_otherwise() -> None:
    """A backslash begins an escape in a properties file."""
    assert render({"a": "b\\c\nd"}) == "a=b\\\\c\\nd\n"


def test_a_version_without_a_quorum_of_its_own_joins_a_zookeeper(tmp_path: Path) -> None:
    """Where the first broker's controller would listen; nothing of KRaft is left in its properties."""
    old = dataclasses.replace(THREE, kafka_version="2.8.2", authorizer=True)
    found = server_properties(old, 2, tmp_path)
    assert found["zookeeper.connect"] == "127.0.0.1:19093"
    assert found["broker.id"] == "2"
    assert "AclAuthorizer" in found["authorizer.class.name"]
    assert not found.keys() & {"process.roles", "controller.quorum.voters", "node.id", "controller.listener.names"}
    assert "CONTROLLER" not in found["listeners"] + found["listener.security.protocol.map"]
    new = server_properties(dataclasses.replace(old, kafka_version="3.3.2"), 2, tmp_path)
    assert new["process.roles"] == "broker,controller"
    assert "zookeeper.connect" not in new
