"""Validate against real clusters: the rights it prints are enough and needed, and each kind of trouble is found."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourcePatternType,
    ResourceType,
)

from replicator.cli.main import main
from replicator.devkit import Certificate, Cluster, ListenerSecurity
from replicator.model.names import STATE_TOPIC
from replicator.model.security import Mechanism, Protocol
from tests.certs import Authority
from tests.integration.validate_tools import (
    PASSWORD,
    TWO_DAYS_MS,
    USER,
    Checks,
    Pair,
    Validate,
    admin,
    bindings,
    create,
    daemon,
    delete_below,
    end,
    grant,
    grant_quickly,
    now_ms,
    of,
    printed_rights,
    revoke,
    revoke_all,
    rights,
    run_tool,
    wait_until,
    write,
)


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


@pytest.fixture
def clean(pair: Pair) -> Iterator[Pair]:
    """Give the pair, without any right at first and afterwards."""
    yield pair
    revoke_all(pair.east)
    revoke_all(pair.west)


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
