"""Local clusters start, serve, end, and never stay behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from replicator.devkit import (
    KAFKA_VERSION_OLD,
    KAFKA_VERSION_OLDEST,
    Certificate,
    Cluster,
    ListenerSecurity,
    free_base_port,
    unsecured_token,
)
from replicator.devkit.brokers.config import HOST
from replicator.devkit.brokers.ready import serving_brokers
from replicator.devkit.runtime.distribution import needs_zookeeper
from replicator.devkit.runtime.processes import ProcessRef
from replicator.errors import DevkitError
from replicator.model.security import Mechanism, Protocol
from tests.certs import Authority

MakeCluster = Callable[..., Cluster]
_DEV = [sys.executable, "-c", "from replicator.cli.dev import app; app()"]


def test_the_shared_pair_serves(east: Cluster, west: Cluster) -> None:
    """One broker in the east, three in the west, two different clusters."""
    east.wait_ready(1)
    west.wait_ready(1)

    assert list(east.broker_pids) == [1]
    assert list(west.broker_pids) == [1, 2, 3]
    assert east.cluster_id != west.cluster_id


@pytest.mark.long
def test_a_killed_broker_comes_back_as_the_same_cluster(make_cluster: MakeCluster) -> None:
    """After SIGKILL nothing runs; after a start the old data serves again."""
    cluster = make_cluster()
    before = cluster.cluster_id

    cluster.kill_broker(1)

    assert cluster.broker_pids == {}
    with pytest.raises(DevkitError, match="has ended"):
        cluster.wait_ready(1)

    cluster.start_broker(1)

    metadata = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0}).list_topics(timeout=10)
    assert before == cluster.cluster_id == metadata.cluster_id


@pytest.mark.long
def test_a_paused_broker_keeps_its_process_and_answers_nothing(make_cluster: MakeCluster) -> None:
    """SIGSTOP and SIGCONT."""
    cluster = make_cluster()
    port = cluster.config.ports(1).direct

    cluster.pause_broker(1)

    assert list(cluster.broker_pids) == [1]
    assert serving_brokers(HOST, port, timeout_seconds=0.3) == {}

    cluster.resume_broker(1)
    cluster.wait_ready(30)


def test_a_taken_port_is_named(make_cluster: MakeCluster) -> None:
    """The message says which port, and nothing is left behind."""
    base = free_base_port(1)
    with socket.create_server((HOST, base + 1)):
        cluster = make_cluster(base_port=base, start=False)

        with pytest.raises(DevkitError, match="cannot listen") as caught:
            cluster.start()

    assert f"{HOST}:{base + 1} (CONTROLLER)" in caught.value.why
    assert cluster.broker_pids == {}


def test_a_broker_that_cannot_start_shows_its_log(make_cluster: MakeCluster) -> None:
    """The reason stands in the error, not in a file somewhere."""
    cluster = make_cluster(overrides={"num.io.threads": "none"}, start=False)

    with pytest.raises(DevkitError) as caught:
        cluster.start()

    assert "num.io.threads" in caught.value.why


@pytest.mark.long
def test_brokers_die_with_a_killed_parent(clusters_dir: Path) -> None:
    """SIGKILL leaves the parent no time to clean up."""
    program = (
        "import json, sys, time\n"
        "from pathlib import Path\n"
        "from replicator.devkit import Cluster, ClusterConfig\n"
        "cluster = Cluster(ClusterConfig('orphan', Path(sys.argv[1]), int(sys.argv[2])))\n"
        "cluster.start()\n"
        "print(json.dumps(cluster.broker_pids), flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(clusters_dir / "orphan"), str(free_base_port(1))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = json.loads(parent.stdout.readline())
        broker = ProcessRef.of(pids["1"])
        assert broker.alive

        parent.kill()

        assert broker.wait(5)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority behind the secured cluster."""
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def secured(make_module_cluster: MakeCluster, authority: Authority) -> Cluster:
    """A cluster with SASL_SSL, every mechanism, an authorizer, and a proxied listener."""
    server = authority.issue("broker")
    return make_module_cluster(
        security=ListenerSecurity(
            Protocol.SASL_SSL,
            mechanisms=tuple(Mechanism),
            users={"admin": "admin-secret", "alice": "alice-secret"},
            certificate=Certificate(server.key_file, server.cert_file, authority.ca_file),
        ),
        authorizer=True,
        super_users=("User:admin",),
        repl_advertised={1: 12345},
    )


@pytest.mark.parametrize("mechanism", list(Mechanism))
def test_every_mechanism_authenticates(secured: Cluster, authority: Authority, mechanism: Mechanism) -> None:
    """Users made at format time can log in over TLS; the super user sees the cluster."""
    client = AdminClient(_sasl(secured, authority, mechanism, "admin", "admin-secret"))
    client.poll(0)  # OAUTHBEARER: serves the token callback

    assert secured.cluster_id == client.list_topics(timeout=10).cluster_id


def test_a_wrong_password_is_refused(secured: Cluster, authority: Authority) -> None:
    """Otherwise the test above would prove nothing."""
    client = AdminClient(_sasl(secured, authority, Mechanism.SCRAM_SHA_512, "admin", "wrong"))

    with pytest.raises(KafkaException):
        client.list_topics(timeout=2)


def test_the_authorizer_decides_on_the_secure_listener(secured: Cluster, authority: Authority, topic_name: str) -> None:
    """A user without an ACL may not create a topic; the harness on DIRECT may."""
    alice = AdminClient(_sasl(secured, authority, Mechanism.PLAIN, "alice", "alice-secret"))
    harness = AdminClient({"bootstrap.servers": secured.bootstrap, "log_level": 0})

    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        alice.create_topics([NewTopic(topic_name, 1)])[topic_name].result(10)
    harness.create_topics([NewTopic(topic_name, 1)])[topic_name].result(10)


def test_the_repl_listener_advertises_the_proxy(secured: Cluster) -> None:
    """Clients that come by REPL are sent to the port a fault proxy listens on."""
    assert serving_brokers(HOST, secured.config.ports(1).repl) == {1: 12345}


@pytest.mark.long
def test_client_certificates_are_demanded(make_cluster: MakeCluster, authority: Authority) -> None:
    """MTLS: with a certificate of the authority one gets in, without one not."""
    server, client = authority.issue("mtls-broker"), authority.issue("mtls-client")
    cluster = make_cluster(
        security=ListenerSecurity(
            Protocol.SSL,
            certificate=Certificate(server.key_file, server.cert_file, authority.ca_file),
            client_certificates=True,
        )
    )
    trust: dict[str, Any] = {
        "bootstrap.servers": cluster.config.secure_bootstrap,
        "security.protocol": "SSL",
        "ssl.ca.location": str(authority.ca_file),
    }
    shown = {
        "ssl.certificate.location": str(client.cert_file),
        "ssl.key.location": str(client.key_file),
    }

    with pytest.raises(KafkaException):
        AdminClient(trust).list_topics(timeout=2)
    assert cluster.cluster_id == AdminClient({**trust, **shown}).list_topics(timeout=10).cluster_id


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", [KAFKA_VERSION_OLDEST, KAFKA_VERSION_OLD])
def test_an_old_kafka_starts(make_cluster: MakeCluster, version: str) -> None:
    """Three brokers, with a ZooKeeper where that version needs one; a killed one comes back. Jars may be fetched."""
    cluster = make_cluster(kafka_version=version, brokers=3)

    assert list(cluster.broker_pids) == [1, 2, 3]
    told: Any = AdminClient({"bootstrap.servers": cluster.bootstrap}).list_topics(timeout=10)
    assert cluster.cluster_id == told.cluster_id
    zookeeper = cluster.zookeeper
    with_zookeeper = zookeeper is not None
    assert with_zookeeper is needs_zookeeper(version)
    cluster.kill_broker(2)
    cluster.start_broker(2)
    assert list(cluster.broker_pids) == [1, 2, 3]
    cluster.stop()
    assert zookeeper is None or not zookeeper.alive


@pytest.mark.long
@pytest.mark.timeout(600)
def test_dev_up_of_the_oldest_kafka(tmp_path: Path) -> None:
    """Its ZooKeeper outlives the command, and ends with the cluster."""
    options = ["--dir", str(tmp_path)]
    start = ["--clusters", "east", "--base-port", str(free_base_port(1)), "--kafka-version", KAFKA_VERSION_OLDEST]
    try:
        assert "east  up  127.0.0.1:" in _dev("up", *options, *start)
        assert "east  already_up  127.0.0.1:" in _dev("up", *options, *start)
        (stored,) = json.loads((tmp_path / "devkit.json").read_text())["clusters"]
        zookeeper = ProcessRef(**stored["zookeeper"])
        assert zookeeper.alive
    finally:
        said = _dev("down", *options, "--wipe")
    assert said == "east  down\n"
    assert not zookeeper.alive


@pytest.mark.long
def test_dev_up_is_repeatable_and_down_ends_it(tmp_path: Path) -> None:
    """The clusters outlive the command; a second `up` says so; `down` ends and wipes them."""
    options = ["--dir", str(tmp_path)]
    start = ["up", *options, "--clusters", "east", "--base-port", str(free_base_port(1))]
    try:
        assert "east  up  127.0.0.1:" in _dev(*start)
        assert "east  already_up  127.0.0.1:" in _dev(*start)
        status = json.loads(_dev("status", *options, "-o", "json"))
        assert [cluster["state"] for cluster in status["clusters"]] == ["up"]
        broker = ProcessRef.of(status["clusters"][0]["brokers"][0]["pid"])
    finally:
        said = _dev("down", *options, "--wipe")

    assert said == "east  down\n"
    assert not broker.alive
    assert not (tmp_path / "east").exists()
    assert _dev("down", *options) == "already_down\n"


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(each, marks=pytest.mark.long) for each in (signal.SIGTERM, signal.SIGKILL))],
)
def test_an_interrupted_dev_up_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Whenever it ends early, in whatever way, so do its brokers."""
    command = [*_DEV, "up", "--dir", str(tmp_path), "--clusters", "east", "--base-port", str(free_base_port(1))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as up:
        broker = _until(lambda: _broker_below(tmp_path))

        up.send_signal(number)

        assert up.wait(20) != 0
    assert broker.wait(5)
    assert _broker_below(tmp_path) is None


def _sasl(cluster: Cluster, authority: Authority, mechanism: Mechanism, user: str, password: str) -> dict[str, Any]:
    common = {
        "bootstrap.servers": cluster.config.secure_bootstrap,
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(authority.ca_file),
        "sasl.mechanism": str(mechanism),
    }
    if mechanism is Mechanism.OAUTHBEARER:
        return {**common, "oauth_cb": lambda _: (unsecured_token(user), time.time() + 600)}
    return {**common, "sasl.username": user, "sasl.password": password}


def _dev(*args: str) -> str:
    done = subprocess.run([*_DEV, *args], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _broker_below(directory: Path) -> ProcessRef | None:
    """Return a running broker whose properties lie below that directory."""
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            if b"kafka.Kafka" in command and any(os.fsencode(directory) in part for part in command):
                process = ProcessRef.of(int(entry.name))
                if process.alive and b"guard.py" not in b" ".join(command):
                    return process
        except (OSError, ValueError):
            continue
    return None


def _until(look: Callable[[], ProcessRef | None], timeout_seconds: float = 60) -> ProcessRef:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.02)
    raise AssertionError("nothing came in time")
