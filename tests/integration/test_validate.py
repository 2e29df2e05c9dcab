"""Validate against real clusters: the rights it prints are enough and needed, and each kind of trouble is found."""

from __future__ import annotations

import functools
import json
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
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from replicator.cli.main import main
from replicator.devkit import Certificate, Cluster, ListenerSecurity, ensure_distribution, free_base_port
from replicator.model.names import STATE_TOPIC
from replicator.model.security import Mechanism, Protocol
from tests.certs import Authority

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


@pytest.fixture(scope="module")
def pair(make_module_cluster: Callable[..., Cluster], tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Two clusters of one broker each, whose DIRECT listener is a super user."""
    directory = tmp_path_factory.mktemp("validate")
    authority = Authority(directory)
    keys = authority.issue("server")
    security = ListenerSecurity(
        Protocol.SASL_SSL,
        (Mechanism.SCRAM_SHA_512,),
        {USER: PASSWORD},
        Certificate(keys.key_file, keys.cert_file, authority.ca_file),
    )
    east = make_module_cluster(security=security, authorizer=True)
    west = make_module_cluster(security=security, authorizer=True)
    return Pair(east, west, authority.ca_file, directory)


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


@pytest.fixture
def validate(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Checks, str]]:
    """Run `validate --connect -o json`; return exit code, all findings, and what stood on standard error."""

    def run(file: Path) -> tuple[int, Checks, str]:
        with pytest.raises(SystemExit) as ended:
            main(["validate", str(file), "--connect", "-o", "json"])
        out, err = capsys.readouterr()
        document: dict[str, Any] = json.loads(out)
        checks = [check for section in document["connect"]["sections"] for check in section["checks"]]
        assert isinstance(ended.value.code, int)
        assert PASSWORD not in out + err
        return ended.value.code, checks, err

    return run


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


@pytest.fixture
def clean(pair: Pair) -> Iterator[Pair]:
    """Give the pair, without any right at first and afterwards."""
    yield pair
    revoke_all(pair.east)
    revoke_all(pair.west)


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


@pytest.mark.long
def test_the_printed_rights_are_enough(
    clean: Pair, capsys: pytest.CaptureFixture[str], validate: Validate, topic_name: str
) -> None:
    """With exactly these, granted by Kafka's own tool, a flow creates, seeds, copies, grows and configures."""
    east, west = clean.east, clean.west
    plain, cut = f"{topic_name}.plain", f"{topic_name}.cut"
    create(east, plain, 2)
    create(east, cut)
    write(east, plain)
    write(east, cut, 100)
    write(east, cut, 50)
    delete_below(east, cut, 100)
    file = clean.file("enough", f'"{topic_name}.*"')
    for words in printed_rights(file, capsys):
        grant(words, clean)
    code, checks, err = validate(file)
    assert code == 0, of(checks, "fail")
    assert "100 " not in err

    with daemon(file) as log:
        wait_until("copied", lambda: end(west, plain) == 10 and end(west, cut) == 150)
        admin(east).create_partitions([NewPartitions(plain, 3)])[plain].result(30)
        change = ConfigEntry("retention.ms", "123456789", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, plain, incremental_configs=[change])
        admin(east).incremental_alter_configs([resource])[resource].result(30)
        wait_until("grown", lambda: len(admin(west).list_topics(plain).topics[plain].partitions) == 3)
        wait_until("configured", lambda: retention(west, plain) == "123456789")
        assert "AUTHORIZATION" not in log.read_text()

    code, checks, _ = validate(file)
    assert code == 0, of(checks, "fail")
    assert "knows this flow" in of(checks, "ok")


def retention(cluster: Cluster, topic: str) -> str | None:
    """Return a topic's retention.ms."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    value = admin(cluster).describe_configs([resource])[resource].result(30)["retention.ms"].value
    return None if value is None else str(value)


def test_without_rights_each_lack_comes_with_its_command(
    clean: Pair, capsys: pytest.CaptureFixture[str], validate: Validate, topic_name: str
) -> None:
    """The commands printed beside the failures are run until none is left; then the daemon's rights are complete."""
    create(clean.east, topic_name)
    file = clean.file("lacking", topic_name)
    code, checks, _ = validate(file)
    assert code == 3
    red = of(checks, "fail")
    assert "may not create replicator.state" in red
    assert f"--operation Create --topic {STATE_TOPIC}" in red
    assert "transactional ids" in red
    assert "--operation DescribeConfigs --cluster" in red
    rights(clean, file, capsys)
    assert validate(file)[0] == 0


def test_a_lack_on_a_topic_that_exists_is_told(
    clean: Pair, capsys: pytest.CaptureFixture[str], validate: Validate, topic_name: str
) -> None:
    """By the operations that brokers tell, before anything is tried."""
    for cluster in (clean.east, clean.west):
        create(cluster, topic_name)
    file = clean.file("told", topic_name)
    rights(clean, file, capsys)
    for operation in (AclOperation.WRITE, AclOperation.ALTER_CONFIGS):
        any_one: Any = None
        only = AclBindingFilter(
            ResourceType.TOPIC,
            topic_name,
            ResourcePatternType.LITERAL,
            any_one,
            any_one,
            operation,
            AclPermissionType.ANY,
        )
        for done in admin(clean.west).delete_acls([only]).values():
            done.result(30)
    code, checks, _ = validate(file)
    assert code == 3
    red = of(checks, "fail")
    assert "west does not allow AlterConfigs, Write" in red
    assert "--operation AlterConfigs --operation Write --topic" in red


@pytest.fixture
def allowed(clean: Pair) -> Pair:
    """Give the pair with all rights for everybody."""
    every = [
        AclBinding(
            kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", AclOperation.ALL, AclPermissionType.ALLOW
        )
        for kind, name in (
            (ResourceType.TOPIC, "*"),
            (ResourceType.BROKER, "kafka-cluster"),
            (ResourceType.TRANSACTIONAL_ID, "*"),
        )
    ]
    for cluster in (clean.east, clean.west):
        for done in admin(cluster).create_acls(every).values():
            done.result(30)
    return clean


def test_trouble_in_the_file_is_told_in_words(allowed: Pair, validate: Validate) -> None:
    """Wrong address, wrong password, wrong authority: what, why, next; and it does not take long."""
    cases = {
        "address": ({"west": "127.0.0.1:9"}, ("127.0.0.1:9", "bootstrap")),
        "password": ({"password": "wrong"}, ("password",)),
        "authority": ({"ca": str(Authority(allowed.directory, "other-ca").ca_file)}, ("certificate",)),
        "plain": ({"west": allowed.west.bootstrap}, ("TLS",)),
    }
    for name, (change, words) in cases.items():
        code, checks, _ = validate(allowed.file(f"bad-{name}", "x", **change))
        red = of(checks, "fail")
        assert code == 3, name
        assert [word for word in words if word.lower() not in red.lower()] == [], red
        assert not [check for check in checks if check["level"] == "fail" and not check["fix"]], red
        assert "could not be asked" in of(checks, "warn")


def test_a_flow_that_would_feed_itself_is_refused(allowed: Pair, validate: Validate) -> None:
    """Through another address of the same cluster."""
    other = allowed.east.config.secure_bootstrap.replace("127.0.0.1", "localhost")
    code, checks, _ = validate(allowed.file("self", "x", west=other))
    assert code == 3
    assert "are the same cluster" in of(checks, "fail")


def test_a_topic_of_somebody_else_is_red_and_an_empty_one_is_not(
    allowed: Pair, validate: Validate, topic_name: str
) -> None:
    """The first would stop as foreign_writer."""
    full, empty = f"{topic_name}.full", f"{topic_name}.empty"
    for cluster in (allowed.east, allowed.west):
        create(cluster, full)
        create(cluster, empty)
    write(allowed.west, full)
    code, checks, _ = validate(allowed.file("foreign", f'"{topic_name}.*"'))
    assert code == 3
    assert f"{full} already exists on west, with records up to offset 10" in of(checks, "fail")
    assert f"{empty} already exists and is empty" in of(checks, "ok")


def test_every_shape_of_log_is_green_where_markers_may_be_written(
    allowed: Pair, validate: Validate, topic_name: str
) -> None:
    """All of it is copied at full speed; nothing is said of a log that starts inside a batch.

    Yellow is only what nothing can tell before the first start: whether markers are shown.
    """
    east = allowed.east
    create(east, f"{topic_name}.compacted", cleanup_policy="compact")
    create(east, f"{topic_name}.stamped", message_timestamp_type="LogAppendTime")
    create(east, f"{topic_name}.transactions")
    create(east, f"{topic_name}.inside")
    write(east, f"{topic_name}.stamped")
    write(east, f"{topic_name}.transactions", transactional_id=topic_name)
    write(east, f"{topic_name}.inside", 10)
    delete_below(east, f"{topic_name}.inside", 5)
    code, checks, _ = validate(allowed.file("shapes", f'"{topic_name}.*"'))
    assert code == 0, of(checks, "fail")
    assert [check["name"] for check in checks if check["level"] == "warn"] == ["producers"]
    assert "unknown whether west shows our markers" in of(checks, "warn")
    green = of(checks, "ok")
    to_fill = f"{topic_name}.compacted, {topic_name}.transactions: "
    assert f"fills: by WriteTxnMarkers, which west allows; {to_fill}" in green
    assert f"times: {topic_name}.stamped: stamped by the broker" in green


def test_the_way_of_fills_follows_from_the_rights(
    clean: Pair, capsys: pytest.CaptureFixture[str], validate: Validate, topic_name: str
) -> None:
    """With the printed rights less ClusterAction the slow one, and the command beside it opens the fast one.

    Alter on the cluster opens it too. Asking leaves nothing behind.
    """
    create(clean.east, topic_name, cleanup_policy="compact")
    file = clean.file("fills", topic_name)
    for words in printed_rights(file, capsys):
        if "ClusterAction" not in words:
            grant_quickly(words, clean.east if clean.east.config.secure_bootstrap in words else clean.west)
    topics = admin(clean.west).list_topics(timeout=10).topics.keys()
    code, checks, _ = validate(file)
    (found,) = (check for check in checks if check["name"] == "fills")
    assert (code, found["level"]) == (0, "warn"), of(checks, "fail")
    assert "by empty transactions, about 30 a second: west does not allow WriteTxnMarkers" in found["text"]

    fast = shlex.split(found["fix"])
    for words in (fast, [word.replace("ClusterAction", "Alter") for word in fast]):
        grant_quickly(words, clean.west)
        assert [check["level"] for check in validate(file)[1] if check["name"] == "fills"] == ["ok"]
        revoke(clean.west, bindings(words))
        assert [check["level"] for check in validate(file)[1] if check["name"] == "fills"] == ["warn"]
    assert admin(clean.west).list_topics(timeout=10).topics.keys() == topics


def test_without_anything_to_fill_nothing_is_said(allowed: Pair, validate: Validate, topic_name: str) -> None:
    """Plain topics need neither way."""
    create(allowed.east, topic_name)
    write(allowed.east, topic_name)
    _, checks, _ = validate(allowed.file("plain-fills", topic_name))
    assert "fills" not in [check["name"] for check in checks]


def test_a_backlog_older_than_the_guard_comes_with_the_setting_that_helps(
    allowed: Pair, validate: Validate, topic_name: str
) -> None:
    """Two days old against one day: raise it to three days and an hour, by a command."""
    create(allowed.east, topic_name, retention_ms="-1")
    write(allowed.east, topic_name, 7, when=now_ms() - TWO_DAYS_MS)
    write(allowed.east, topic_name, 3)
    file = allowed.file("old", topic_name)
    code, checks, _ = validate(file)
    yellow = of(checks, "warn")
    assert code == 0
    assert "7 offsets in 1 partition are older than the guard, the oldest 48" in yellow
    hours = 2 * 24 + 24 + 1 + 1  # rounded up
    assert f"--add-config producer.id.expiration.ms={hours * 3_600_000}" in yellow

    words = shlex.split(yellow[yellow.index("kafka-configs.sh") :].splitlines()[0])
    run_tool("kafka.admin.ConfigCommand", [allowed.west.bootstrap if ":" in word else word for word in words[1:]])
    _, checks, _ = validate(file)
    assert "older than the guard" not in of(checks, "warn")
    assert "remembers a producer for 3.1 days" in of(checks, "ok")


def test_records_of_the_future_hint_at_a_clock(allowed: Pair, validate: Validate, topic_name: str) -> None:
    """More than a minute ahead."""
    create(allowed.east, topic_name)
    write(allowed.east, topic_name, 1, when=now_ms() + 600_000)
    _, checks, _ = validate(allowed.file("clock", topic_name))
    assert "clocks: " in of(checks, "warn")


@pytest.mark.long
def test_fillers_that_came_back_are_found_and_the_command_hides_them(
    allowed: Pair, validate: Validate, topic_name: str
) -> None:
    """A broker that is killed within a minute forgets the log start of a seeded mirror."""
    east, west = allowed.east, allowed.west
    create(east, topic_name)
    write(east, topic_name, 1234)
    write(east, topic_name, 5)
    delete_below(east, topic_name, 1234)
    file = allowed.file("fillers", topic_name)
    with daemon(file):
        wait_until("copied", lambda: end(west, topic_name) == 1239)
    assert validate(file)[0] == 0
    west.kill_broker(1)
    west.start_broker(1)
    code, checks, _ = validate(file)
    red = of(checks, "fail")
    assert (code, "see empty filler records" in red) == (3, True), red
    document = re.search(r"<\(echo '(.*)'\)", red)
    assert document is not None
    assert json.loads(document[1])["partitions"] == [{"topic": topic_name, "partition": 0, "offset": 1234}]
    offsets = file.with_suffix(".json")
    offsets.write_text(document[1])
    words = ["--bootstrap-server", west.bootstrap, "--offset-json-file", str(offsets)]
    run_tool("org.apache.kafka.tools.DeleteRecordsCommand", words)
    assert validate(file)[0] == 0
