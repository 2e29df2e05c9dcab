"""Copies between clusters that ask who we are, and what is said when they do not like the answer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from replicator.devkit import Certificate, Cluster, ListenerSecurity, free_base_port, start_clusters, unsecured_token
from replicator.model.security import Mechanism, Protocol
from tests.certs import Authority, KeyPair
from tests.integration.conftest import MakeCluster
from tests.integration.corpus.judge import same_records
from tests.integration.corpus.transactional import transactions
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import admin, assert_equal, bounds, commit, configure, create, wait_until
from tests.integration.load import Load, numbered, produce

MECHANISMS = (Mechanism.PLAIN, Mechanism.SCRAM_SHA_512, Mechanism.OAUTHBEARER)
PASSWORD = "canary-of-east"  # noqa: S105 - of a cluster that lives for one test


class Secured(NamedTuple):
    """A source with SASL over TLS, a target with mutual TLS and ACLs, and how to get in."""

    source: Cluster
    target: Cluster
    directory: Path
    authority: Authority
    full: KeyPair
    limited: KeyPair

    def east(self, mechanism: Mechanism, **changes: Any) -> dict[str, Any]:
        """Return the source's section of a flow file."""
        security: dict[str, Any] = {
            "protocol": "SASL_SSL",
            "mechanism": mechanism,
            "ca_file": str(self.authority.ca_file),
        }
        if mechanism is Mechanism.OAUTHBEARER:
            security["token_file"] = self.secret("token", unsecured_token("replicator"))
        else:
            security |= {"username": "replicator", "password_file": self.secret("password", PASSWORD)}
        cluster_id = changes.pop("cluster_id", self.source.cluster_id)
        bootstrap = changes.pop("bootstrap", self.source.config.secure_bootstrap)
        return {"bootstrap": bootstrap, "cluster_id": cluster_id, "security": security | changes}

    def west(self, pair: KeyPair) -> dict[str, Any]:
        """Return the target's section of a flow file."""
        security = {
            "protocol": "SSL",
            "ca_file": str(self.authority.ca_file),
            "cert_file": str(pair.cert_file),
            "key_file": str(pair.key_file),
        }
        return {"bootstrap": self.target.config.secure_bootstrap, "security": security}

    def secret(self, name: str, text: str) -> str:
        """Write a file that only we can read; return its path."""
        file = self.directory / name
        file.touch(mode=0o600)
        file.write_text(text)
        return str(file)


@pytest.fixture(scope="module")
def secured(make_module_cluster: MakeCluster, tmp_path_factory: pytest.TempPathFactory) -> Secured:
    """Both clusters, one broker each."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = Authority(directory)
    server = authority.issue("server")
    certificate = Certificate(server.key_file, server.cert_file, authority.ca_file)
    source = make_module_cluster(
        name="secure-east",
        start=False,
        security=ListenerSecurity(Protocol.SASL_SSL, MECHANISMS, {"replicator": PASSWORD}, certificate),
    )
    target = make_module_cluster(
        name="secure-west",
        start=False,
        security=ListenerSecurity(Protocol.SSL, certificate=certificate, client_certificates=True),
        authorizer=True,
        super_users=("User:CN=replicator",),
    )
    start_clusters([source, target])
    pairs = [authority.issue(name) for name in ("replicator", "limited")]
    return Secured(source, target, directory, authority, *pairs)


def test_every_mechanism(secured: Secured, topic_name: str, lab: Lab) -> None:
    """PLAIN, SCRAM and a token on the source, mutual TLS on the target; no secret in log or status."""
    topics = {mechanism: f"{topic_name}-{mechanism.lower()}" for mechanism in MECHANISMS}
    daemon = lab.daemon(secured.east(Mechanism.PLAIN), secured.west(secured.full), "none")
    for mechanism, topic in topics.items():
        create(secured.source, topic, 2)
        produce(secured.source, topic, numbered(100))
        alias = f"east-{mechanism.lower()}"
        daemon.document["clusters"][alias] = secured.east(mechanism)
        daemon.document["flows"][f"{lab.flow}-{mechanism.lower()}"] = {
            "from": alias,
            "to": "west",
            "topics": {"include": [topic]},
        }
    daemon.write()
    daemon.start()
    for topic in topics.values():
        produce(secured.source, topic, numbered(100, 100, partition=1))

        assert sum(map(len, assert_equal(secured.source, secured.target, topic).values())) == 200
    told = daemon.log_file.read_text() + json.dumps(daemon.status())
    assert PASSWORD not in told
    assert unsecured_token("replicator")[:20] not in told


def test_what_is_wrong_is_said(secured: Secured, lab: Lab, tmp_path: Path) -> None:
    """The flow waits and says why; the daemon goes on: a password may be put right, a lost source opened elsewhere."""
    stranger = Authority(tmp_path, "stranger")
    wrong = secured.secret("wrong", "not-the-password-canary")
    scram = Mechanism.SCRAM_SHA_512
    cases = {
        "password": secured.east(scram, password_file=wrong),
        "authority": secured.east(scram, ca_file=str(stranger.ca_file)),
        "cluster_id": secured.east(scram, cluster_id="AAAAAAAAAAAAAAAAAAAAAA"),
        "nobody": secured.east(scram, bootstrap=f"127.0.0.1:{free_base_port(1)}"),
    }
    west = secured.west(secured.full)
    daemons = {case: lab.daemon(east, west, "*").start(ready_seconds=0) for case, east in cases.items()}
    for case, words in {
        "password": ("east", "authentication"),
        "authority": ("east", "certificate"),
        "nobody": ("cannot be reached",),
        "cluster_id": (secured.source.cluster_id, "AAAAAAAAAAAAAAAAAAAAAA"),
    }.items():
        _waits(daemons[case], *words, "next:")
        log = daemons[case].log_file.read_text()
        assert "Traceback" not in log, log
        assert "canary" not in log


def _waits(daemon: Daemon, *words: str) -> None:
    """Check that a daemon says these words of its flow, goes on, and is not ready."""

    def told() -> str:
        return str(daemon.flow()["reason"]).lower() if daemon.process.poll() is None else daemon.log_tail()

    wait_until("it answers", daemon.status, 60)
    wait_until("it says why", lambda: all(word.lower() in told() for word in words), 60)
    assert daemon.process.poll() is None
    assert not daemon.status()["ready"]
    assert daemon.stop() == 0


@pytest.mark.long
def test_markers_are_written_without_a_right_on_the_cluster(secured: Secured, topic_name: str, lab: Lab) -> None:
    """By empty transactions then, one at a time; with the right in bulk."""
    refusals = [
        _rule(ResourceType.BROKER, "kafka-cluster", operation, AclPermissionType.DENY)
        for operation in (AclOperation.CLUSTER_ACTION, AclOperation.ALTER)
    ]
    _add(secured.target, *EVERYTHING, *refusals)
    create(secured.source, topic_name, 3)
    transactions(secured.source, topic_name, 15, 3, f"{topic_name}-before")
    daemon = lab.daemon(secured.east(Mechanism.PLAIN), secured.west(secured.limited), topic_name).start()
    same_records(secured.source, secured.target, topic_name)
    assert "fills go by transactions" in daemon.log_tail()
    daemon.kill()

    transactions(secured.source, topic_name, 15, 3, f"{topic_name}-meanwhile", seed=2)
    _take_back(secured.target, *refusals)
    daemon.start()
    same_records(secured.source, secured.target, topic_name)


@pytest.mark.long
def test_a_group_is_translated_once_it_may_be_described(secured: Secured, topic_name: str, lab: Lab) -> None:
    """Without the right the copy goes on, and the refusal names the right, the group and the command."""
    _add(secured.target, *EVERYTHING)
    create(secured.source, topic_name)
    produce(secured.source, topic_name, numbered(10))
    daemon = lab.daemon(secured.east(Mechanism.PLAIN), secured.west(secured.limited), topic_name).start()
    assert_equal(secured.source, secured.target, topic_name)
    group = f"{topic_name}-group"
    commit(secured.target, group, topic_name, {0: 7})
    words = ("offsets", "translate", lab.flow, "--group", group, "--reverse")

    refused = daemon.cli(*words)
    assert refused.returncode != 0
    assert f"does not allow Describe on group {group} (GROUP_AUTHORIZATION_FAILED)" in refused.stderr
    assert f"--operation Describe --group {group} #" in refused.stderr
    assert "Traceback" not in refused.stderr
    daemon.wait_state(topic_name, "ACTIVE")

    _add(secured.target, _rule(ResourceType.GROUP, group, AclOperation.DESCRIBE, AclPermissionType.ALLOW))
    wait_until("it is translated", lambda: daemon.cli(*words).returncode == 0, 10)
    (row,) = json.loads(daemon.cli(*words, "-o", "json").stdout)["offsets"]
    assert (row["source_offset"], row["target_offset"]) == (7, 7)


@pytest.mark.long
def test_a_group_follows_once_it_may_be_written(secured: Secured, topic_name: str, lab: Lab) -> None:
    """Without Read on it the copy goes on, and the group names the right and the command."""
    group = f"{topic_name}-group"
    _add(secured.target, *EVERYTHING, _rule(ResourceType.GROUP, group, AclOperation.DESCRIBE, AclPermissionType.ALLOW))
    create(secured.source, topic_name)
    produce(secured.source, topic_name, numbered(10))
    commit(secured.source, group, topic_name, {0: 7})
    groups = {"include": [group], "sync_every": "500ms"}
    daemon = lab.daemon(secured.east(Mechanism.PLAIN), secured.west(secured.limited), topic_name, groups=groups).start()

    def described() -> dict[str, Any]:
        done = daemon.cli("group", "describe", lab.flow, group, "-o", "json")
        return dict(json.loads(done.stdout)["group"]) if done.returncode == 0 else {}

    wait_until("it is refused", lambda: described().get("state") == "refused")
    assert f"--operation Read --group {group} #" in described()["detail"]
    assert_equal(secured.source, secured.target, topic_name)
    assert daemon.log_file.read_text().count("groups do not follow") == 1

    _add(secured.target, _rule(ResourceType.GROUP, group, AclOperation.READ, AclPermissionType.ALLOW))
    wait_until("it follows", lambda: described().get("state") == "in_step")
    assert described()["partitions"][0]["target_offset"] == 7


@pytest.mark.long
def test_a_missing_right_holds_up_one_topic(secured: Secured, topic_name: str, lab: Lab) -> None:
    """Without WRITE on one topic: that one says so, the others go on; once it may write it goes on by itself."""
    closed, open_ = f"{topic_name}-closed", f"{topic_name}-open"
    refusal = _rule(ResourceType.TOPIC, closed, AclOperation.WRITE, AclPermissionType.DENY)
    _add(secured.target, *EVERYTHING, refusal)
    create(secured.source, open_)
    create(secured.source, closed)
    produce(secured.source, closed, numbered(10))
    daemon = lab.daemon(secured.east(Mechanism.PLAIN), secured.west(secured.limited), f"{topic_name}-*").start()
    with Load(secured.source, {open_: 1}, per_second=300, seed=2) as load:
        wait_until("it says so", lambda: daemon.mirror(closed).get("reason") == "waiting_for_access")
        wait_until("the other goes on", lambda: load.sent > 600)

    detail = daemon.mirror(closed)["detail"]
    assert f"does not allow Write on topic {closed} (TOPIC_AUTHORIZATION_FAILED" in detail
    assert f"--operation Write --topic {closed}" in detail
    load.check(open_, assert_equal(secured.source, secured.target, open_))
    assert bounds(secured.target, closed) == {0: (0, 0)}
    _take_back(secured.target, refusal)
    assert len(assert_equal(secured.source, secured.target, closed)[0]) == 10
    assert daemon.wait_state(closed, "ACTIVE")["reason"] is None


@pytest.mark.long
def test_settings_that_may_not_be_read_hold_up_one_topic(secured: Secured, topic_name: str, lab: Lab) -> None:
    """The others are created and copied all the same; once its settings may be read it goes on by itself."""
    closed, open_ = f"{topic_name}-closed", f"{topic_name}-open"
    refusal = _rule(ResourceType.TOPIC, closed, AclOperation.DESCRIBE_CONFIGS, AclPermissionType.DENY)
    _add(secured.target, *EVERYTHING, refusal)
    create(secured.target, closed)
    for topic in (closed, open_):
        create(secured.source, topic)
        produce(secured.source, topic, numbered(10))
    daemon = lab.daemon(secured.east(Mechanism.PLAIN), secured.west(secured.limited), f"{topic_name}-*").start()

    refused = daemon.wait_state(closed, "FAULTED", "waiting_for_access")

    assert f"--operation DescribeConfigs --topic {closed}" in refused["detail"]
    assert_equal(secured.source, secured.target, open_)
    assert bounds(secured.target, closed) == {0: (0, 0)}
    _take_back(secured.target, refusal)
    assert_equal(secured.source, secured.target, closed)


@pytest.mark.long
def test_a_mirror_that_may_not_be_managed_waits_and_goes_on(secured: Secured, topic_name: str, lab: Lab) -> None:
    """Without CREATE, and later without ALTER_CONFIGS: the command is told, and once it may it goes on by itself."""
    no_create = [  # either right would do
        _rule(kind, name, AclOperation.CREATE, AclPermissionType.DENY)
        for kind, name in ((ResourceType.BROKER, "kafka-cluster"), (ResourceType.TOPIC, topic_name))
    ]
    no_change = _rule(ResourceType.TOPIC, topic_name, AclOperation.ALTER_CONFIGS, AclPermissionType.DENY)
    _add(secured.target, *EVERYTHING, *no_create)
    create(secured.source, topic_name)
    produce(secured.source, topic_name, numbered(10))
    daemon = lab.daemon(secured.east(Mechanism.PLAIN), secured.west(secured.limited), topic_name).start()
    refused = daemon.wait_state(topic_name, "FAULTED", "waiting_for_access")
    assert f"--operation Create --topic {topic_name}" in refused["detail"]
    _take_back(secured.target, *no_create)
    daemon.wait_state(topic_name, "ACTIVE")

    _add(secured.target, no_change)
    configure(secured.source, topic_name, retention_ms="7200000")
    refused = daemon.wait_state(topic_name, "FAULTED", "waiting_for_access")
    assert f"--operation AlterConfigs --topic {topic_name}" in refused["detail"]
    wait_until("it is told", lambda: "1 of 1 partitions stopped: waiting_for_access x1" in daemon.log_tail(), 15)
    _take_back(secured.target, no_change)
    assert daemon.wait_state(topic_name, "ACTIVE")["reason"] is None
    assert len(assert_equal(secured.source, secured.target, topic_name)[0]) == 10


@pytest.mark.long
def test_a_state_topic_that_may_not_be_written_is_told_in_status(secured: Secured, topic_name: str, lab: Lab) -> None:
    """With the right and the command, once in the log; it is over by itself once it may."""
    refusal = _rule(ResourceType.TOPIC, "replicator.state", AclOperation.WRITE, AclPermissionType.DENY)
    _add(secured.target, *EVERYTHING)
    create(secured.source, topic_name)
    produce(secured.source, topic_name, numbered(10))
    daemon = lab.daemon(secured.east(Mechanism.PLAIN), secured.west(secured.limited), topic_name).start()
    assert_equal(secured.source, secured.target, topic_name)
    assert daemon.flow()["reason"] is None

    _add(secured.target, refusal)
    command = "--operation Write --topic replicator.state"
    wait_until("status says so", lambda: command in (daemon.flow()["reason"] or ""), 20)
    assert "does not allow Write on topic replicator.state" in daemon.flow()["reason"]
    assert "<principal>" not in daemon.flow()["reason"]
    assert command in daemon.cli("flow", "status", lab.flow).stdout
    seen = time.monotonic()
    wait_until("the claim was tried a few times more", lambda: time.monotonic() - seen > 3, 10)
    assert daemon.log_file.read_text().count("claim not worked") == 1
    _take_back(secured.target, refusal)
    wait_until("it is over", lambda: daemon.flow()["reason"] is None, 20)


def _add(cluster: Cluster, *rules: AclBinding) -> None:
    for created in admin(cluster).create_acls(list(rules)).values():
        created.result(30)


def _take_back(cluster: Cluster, *rules: AclBinding) -> None:
    for deleted in admin(cluster).delete_acls([_filter(rule) for rule in rules]).values():
        deleted.result(30)


def _rule(kind: ResourceType, name: str, operation: AclOperation, permission: AclPermissionType) -> AclBinding:
    return AclBinding(kind, name, ResourcePatternType.LITERAL, "User:CN=limited", "*", operation, permission)


def _filter(rule: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        rule.restype,
        rule.name,
        rule.resource_pattern_type,
        rule.principal,
        rule.host,
        rule.operation,
        rule.permission_type,
    )


EVERYTHING = tuple(
    _rule(kind, name, AclOperation.ALL, AclPermissionType.ALLOW)
    for kind, name in (
        (ResourceType.BROKER, "kafka-cluster"),
        (ResourceType.TOPIC, "*"),
        (ResourceType.TRANSACTIONAL_ID, "*"),
    )
)
