"""Golden files: every *.properties against the flow file beside it, which our own loader has to take.

UPDATE_GOLDEN=1 rewrites the flow files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from replicator.config.load import load
from replicator.config.mm2 import Fate, Imported, convert
from replicator.config.mm2.report import UNNAMED
from replicator.errors import ConfigError
from replicator.model.spec import FlowSpec, Spec

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*.properties"))
FILES = {"ca.pem": 0o644, "client.pem": 0o600}
_OPTIONS = """
    add.source.alias.to.metrics admin.timeout.ms checkpoints.topic.replication.factor config.properties.blacklist
    config.properties.exclude config.property.filter.class consumer.poll.timeout.ms emit.checkpoints.enabled
    emit.checkpoints.interval.seconds emit.heartbeats.enabled emit.heartbeats.interval.seconds
    emit.offset-syncs.enabled exactly.once.support exactly.once.source.support forwarding.admin.class
    group.filter.class groups groups.blacklist groups.exclude heartbeats.replication.enabled
    heartbeats.topic.replication.factor metric.reporters offset-syncs.topic.location
    offset-syncs.topic.replication.factor offset.lag.max offset.storage.topic refresh.groups.enabled
    refresh.groups.interval.seconds refresh.topics.enabled refresh.topics.interval.seconds replication.factor
    replication.policy.class replication.policy.internal.topic.separator.enabled replication.policy.separator
    sync.group.offsets.enabled sync.group.offsets.interval.seconds sync.topic.acls.enabled
    sync.topic.acls.interval.seconds sync.topic.configs.enabled sync.topic.configs.interval.seconds tasks.max
    topic.filter.class topics topics.blacklist topics.exclude use.defaults.from
"""
"""What Kafka's MirrorConnectorConfig, MirrorSourceConfig, MirrorCheckpointConfig and MirrorHeartbeatConfig define."""
TWO = "clusters = A, B\nA.bootstrap.servers = a:1\nB.bootstrap.servers = b:1\nA->B.enabled = true\n"


def imported(text: str) -> Imported:
    """Convert a text."""
    return convert(text.encode("latin-1"), "mm2.properties")


def loaded(result: Imported, tmp_path: Path) -> Spec:
    """Load what was written, with its variables set and its certificates there; a mistake raises."""
    for name, mode in FILES.items():
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(mode)
    path = tmp_path / "flow.yaml"
    path.write_text(result.text.replace("/etc/mm2", str(tmp_path)))
    environ = {name: "host:9092" if "host:port" in why else "x" for name, why in result.variables.items()}
    return load(path, environ)


def flow(text: str, tmp_path: Path) -> FlowSpec:
    """Return the only flow of a text, once written and loaded."""
    (only,) = loaded(imported(text), tmp_path).flows
    return only


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_golden(path: Path, tmp_path: Path) -> None:
    """The words are read by operators; and the file works as it was written."""
    result = convert(path.read_bytes(), path.name)
    golden = path.with_suffix(".yaml")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(result.text)
    assert result.text == golden.read_text()
    assert tuple(one.name for one in loaded(result, tmp_path).flows) == result.flows


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_every_line_has_a_row_and_no_secret_is_told(path: Path) -> None:
    """A line without a row would be lost in silence."""
    result = convert(path.read_bytes(), path.name)
    text = path.read_text()
    keys = re.findall(r"^(?![#! \t]|$).*?(?=[ =:])", text.replace("\\\n", "\\\r"), re.MULTILINE)
    assert len({row.line for row in result.rows}) == len(keys) + text.count("\ncanary")
    assert "canary" not in result.text + repr(result.rows) + repr(result.variables)


def test_what_has_no_counterpart_is_in_the_header() -> None:
    """With the line, the key, the reason, and what to do."""
    for path in CASES:
        result = convert(path.read_bytes(), path.name)
        head = result.text.split("version: 1")[0]
        for row in result.rows:
            told = f"line {row.line}: {row.key}: {row.text}" if row.key != UNNAMED else f"line {row.line}: {row.text}"
            assert (told in head) == (row.fate in {Fate.NONE, Fate.BY_HAND})


@pytest.mark.parametrize("path", sorted((HERE / "bad").glob("*.properties")), ids=lambda path: path.stem)
def test_files_that_cannot_be_understood(path: Path) -> None:
    """Every mistake at once, each with its line."""
    with pytest.raises(ConfigError) as caught:
        convert(path.read_bytes(), path.name)
    text = "\n".join([caught.value.what, *caught.value.problems, caught.value.next_step, ""])
    golden = path.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()
    assert "canary" not in text


def test_the_flows_own_line_decides_then_the_one_for_all(tmp_path: Path) -> None:
    """A cluster's prefix is for clients only, so MirrorMaker does not read it there."""
    text = TWO + "replication.factor = 2\nB.replication.factor = 5\n"
    assert flow(text, tmp_path).replication_factor == 2
    assert flow(text + "A->B.replication.factor = 3\n", tmp_path).replication_factor == 3
    fates = {row.line: row.fate for row in imported(text + "A->B.replication.factor = 3\n").rows}
    assert (fates[5], fates[6], fates[7]) == (Fate.OVERRULED, Fate.NONE, Fate.CONVERTED)


def test_the_clusters_own_line_decides_then_its_clients_then_the_one_for_all(tmp_path: Path) -> None:
    """As MirrorMakerConfig puts them together, with one set of options for all clients of a cluster."""
    text = TWO + "security.protocol = SSL\nB.admin.security.protocol = PLAINTEXT\n"
    protocols = [one.security.protocol for one in loaded(imported(text), tmp_path).clusters]
    assert protocols == ["SSL", "PLAINTEXT"]
    protocols = [one.security.protocol for one in loaded(imported(text + "B.security.protocol=SSL"), tmp_path).clusters]
    assert protocols == ["SSL", "SSL"]


def test_the_longest_alias_wins(tmp_path: Path) -> None:
    """Aliases may hold dots."""
    text = "clusters=us,us.east\nus.bootstrap.servers=a:1\nus.east.bootstrap.servers=b:1\nus.east->us.enabled=true\n"
    spec = loaded(imported(text), tmp_path)
    assert [(one.alias, one.bootstrap) for one in spec.clusters] == [("us", (("a", 1),)), ("us.east", (("b", 1),))]
    assert spec.flows[0].rename.prefix == "us.east."


def test_a_list_that_cannot_be_said_stops_its_flow_alone(tmp_path: Path) -> None:
    """Without an exclude the flow would copy what MirrorMaker left out."""
    result = imported(TWO + "B->A.enabled = true\nA->B.topics.exclude = \\\\p{Lower}+\n")
    assert [one.name for one in loaded(result, tmp_path).flows] == ["B-to-A"]
    assert "# A-to-B:" in result.text


@pytest.mark.parametrize("policy", ["com.example.Naming", "com.amazonaws.kafka.samples.CustomMM2ReplicationPolicy"])
def test_an_unknown_naming_stops_the_flow(policy: str, tmp_path: Path) -> None:
    """Nobody but that class knows the names on the target."""
    result = imported(TWO + f"replication.policy.class = {policy}\n")
    assert loaded(result, tmp_path).flows == ()
    assert "flows: {}" in result.text


def test_an_unknown_filter_stops_the_flow(tmp_path: Path) -> None:
    """Only that class knows what is copied; Kafka's own is the lists."""
    result = imported(TWO + "topic.filter.class = com.example.Filter\n")
    assert loaded(result, tmp_path).flows == ()
    assert "what Filter selects is not known here" in result.text
    result = imported(TWO + "topic.filter.class = org.apache.kafka.connect.mirror.DefaultTopicFilter\n")
    assert len(loaded(result, tmp_path).flows) == 1


def test_two_aliases_of_one_cluster(tmp_path: Path) -> None:
    """Our loader refuses such a flow, so it is written as a comment."""
    result = imported(TWO.replace("b:1", "a:1"))
    assert loaded(result, tmp_path).flows == ()
    assert "'A' and 'B' share a bootstrap address" in result.text


def test_a_circle_of_the_same_names_is_told(tmp_path: Path) -> None:
    """MirrorMaker would copy in circles, too; ours stops, but that is late."""
    policy = "replication.policy.class = org.apache.kafka.connect.mirror.IdentityReplicationPolicy\n"
    result = imported(TWO + "B->A.enabled = true\n" + policy)
    assert len(loaded(result, tmp_path).flows) == 2
    assert "# A-to-B and B-to-A copy in both directions under the same names" in result.text
    assert "copy in both directions" not in imported(TWO + "B->A.enabled = true\n").text


@pytest.mark.parametrize("name", _OPTIONS.split())
def test_every_option_of_mirrormaker_is_known(name: str) -> None:
    """A row says what became of it, for a flow and for all; only a misspelt one is unknown."""
    value = "1" if name.endswith(("factor", "seconds", "ms", "max")) else "true"
    for prefix in ("", "A->B."):
        rows = [row for row in imported(f"{TWO}{prefix}{name} = {value}\n").rows if row.line == 5]
        assert rows
        assert not any("not known" in row.text for row in rows)


@pytest.mark.parametrize("name", ["fetch.min.bytes", "linger.ms", "some.new.thing"])
def test_options_of_clients_have_no_effect_wherever_they_stand(name: str) -> None:
    """Of a cluster, of a flow, and with each of the prefixes."""
    for prefix in ("A.consumer.", "B.producer.", "A->B.source.consumer.", "A->B.producer.override.", "A.admin."):
        (row,) = (row for row in imported(f"{TWO}{prefix}{name} = 1\n").rows if row.line == 5)
        assert "limits.in_flight_bytes" in row.text


def test_variables_of_two_aliases_differ() -> None:
    """Else one password would be sent to both clusters."""
    text = "clusters=a.b,a-b\na.b.bootstrap.servers=a:1\na-b.bootstrap.servers=b:1\na.b->a-b.enabled=true\n"
    text += "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n"
    assert len(imported(text).variables) == 4


def test_escapes_cannot_break_out_of_a_comment_or_a_value(tmp_path: Path) -> None:
    """A properties file holds line breaks and variables by escapes; the flow file must not take them as its own."""
    text = TWO + "A->B.topics = x\\nversion: 2, ${HOME}-.*\nA->B.groups = g\\n  evil: 1\n"
    result = imported(text)
    assert "\nversion: 2" not in result.text
    assert "$${HOME}" not in loaded_patterns(result, tmp_path)


def loaded_patterns(result: Imported, tmp_path: Path) -> str:
    """Return the includes of every loaded flow as text."""
    return repr([one.topics.include for one in loaded(result, tmp_path).flows])


def test_an_internal_topic_by_its_full_name_is_left_out(tmp_path: Path) -> None:
    """Ours would copy it then, MirrorMaker does not."""
    includes = flow(TWO + "A->B.topics = app-internal, orders\n", tmp_path).topics.include
    assert [pattern.text for pattern in includes] == ["orders"]


@pytest.mark.parametrize(
    ("store", "told"),
    [
        (
            "ssl.truststore.location = ${file:/x:y}\nA.ssl.truststore.type = PEM",
            "its path comes from a config provider",
        ),
        ("ssl.keystore.location = k.pem\nA.ssl.keystore.type = PEM\nA.ssl.key.password = p", "openssl pkey -in k.pem"),
        ("ssl.keystore.location = k.jks", "keytool -importkeystore -srckeystore k.jks -destkeystore A.p12"),
        ("ssl.keystore.location = k.p12\nA.ssl.keystore.type = PKCS12", "openssl pkcs12 -in k.p12 -nocerts -nodes"),
        ("ssl.truststore.location = t.p12\nA.ssl.truststore.type = PKCS12", "keytool -list -rfc -storetype PKCS12"),
    ],
)
def test_stores_that_are_not_read_as_they_are(store: str, told: str, tmp_path: Path) -> None:
    """The command that converts them is in the header; no path is written that does not work."""
    result = imported(f"{TWO}A.security.protocol = SSL\nA.{store}\n")
    assert told in result.text.split("version: 1")[0]
    security = loaded(result, tmp_path).clusters[0].security
    assert (security.ca_file, security.cert_file, security.key_file) == (None, None, None)


def test_flow_names_are_unlike_and_short_enough(tmp_path: Path) -> None:
    """Aliases may be as long as a flow's name may be, and two pairs may read the same."""
    a, b = "a" * 63, "b" * 63
    aliases = {a: "a:1", b: "b:1", "x": "x:1", "x-to-y": "xy:1", "y": "y:1", "y-to-z": "yz:1", "z": "z:1"}
    text = f"clusters = {','.join(aliases)}\n"
    text += "".join(f"{alias}.bootstrap.servers = {address}\n" for alias, address in aliases.items())
    text += "".join(f"{pair}.enabled = true\n" for pair in (f"{a}->{b}", f"{b}->{a}", "x->y-to-z", "x-to-y->z"))
    spec = loaded(imported(text), tmp_path)
    assert len({one.name for one in spec.flows}) == 4


@pytest.mark.parametrize(
    ("more", "warns"),
    [
        ("A->B.topics = .*\nB->A.topics = .*\n", True),
        ("A->B.topics = orders.*\nB->A.topics = orders-eu, billing\n", True),
        ("A->B.topics = orders.*\nB->A.topics = billing.*\n", False),
        ("A->B.topics = .*\nA->B.topics.exclude = billing.*\nB->A.topics = billing.*\n", False),
    ],
)
def test_circles_are_told_only_where_both_directions_have_a_topic_in_common(more: str, *, warns: bool) -> None:
    """What the file's own lists and exclusions keep apart cannot go round."""
    policy = "replication.policy.class = org.apache.kafka.connect.mirror.IdentityReplicationPolicy\n"
    text = imported(TWO + "B->A.enabled = true\n" + policy + more).text
    assert ("both directions under the same names" in text) is warns


def test_rules_of_the_authorizer_are_converted_and_told_so(tmp_path: Path) -> None:
    """They follow in this version."""
    text = TWO + "sync.topic.acls.enabled = true\nsync.topic.acls.interval.seconds = 60\ntasks.max = 4\n"
    result = imported(text)
    assert flow(text, tmp_path).acls.mirror
    told = {row.key: row for row in result.rows}
    assert told["sync.topic.acls.enabled"].fate is Fate.CONVERTED
    assert not any("not available" in row.text for row in result.rows)
    assert "shards" in told["tasks.max"].text
