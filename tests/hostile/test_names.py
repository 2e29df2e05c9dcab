"""Names that others chose: of topics, clusters, hosts, groups. None is believed to be harmless, none hides another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from kio.schema.metadata.v10.response import MetadataResponseBroker
from kio.schema.types import BrokerId, TopicName
from kio.static.primitive import i32

from replicator.errors import ProtocolError
from replicator.model.text import said
from replicator.wire.metadata import check_metadata
from tests.hostile.broker import HostileBroker

NAMES = [
    "",
    "..",
    "../../etc/passwd",
    "a/b",
    "a b",
    "a\nb",
    "a\x00b",
    "a\x1b[2J",
    "\u202egnp.orders",
    "ord\u0435rs",
    "\uff41",
    "$(id)",
    "a;b",
    "a'b",
    'a"b',
    "{{7*7}}",
    "%s%n",
    "a\\b",
    "*",
    "x" * 250,
    "x" * 1_000_000,
]
HARMLESS_HOSTS = frozenset({"..", "%s%n", "x" * 250})
"""Nothing acts on them, and they resolve to nothing; `%` stands before the zone of an address."""
IDS = [name[:20] or "empty" for name in NAMES]


@pytest.fixture
def broker() -> HostileBroker:
    """A broker that tells the truth, but for what a test changes."""
    made = HostileBroker()
    made.port = 9092
    check_metadata(made.spec(), made.metadata())
    return made


@pytest.mark.parametrize("name", NAMES, ids=map(repr, IDS))
def test_no_topic_is_called_so(broker: HostileBroker, name: str) -> None:
    """Kafka refuses such names; whoever tells them is no Kafka."""
    (topic,) = broker.metadata().topics
    with pytest.raises(ProtocolError) as caught:
        check_metadata(broker.spec(), broker.metadata(topics=(replace(topic, name=TopicName(name)),)))

    assert caught.value.with_next_step().isprintable()
    assert len(caught.value.with_next_step()) < 1_000


@pytest.mark.parametrize("name", NAMES, ids=map(repr, IDS))
def test_no_cluster_and_no_host_is_called_so(broker: HostileBroker, name: str) -> None:
    """They would stand in records, in logs and in commands."""
    strange = MetadataResponseBroker(node_id=BrokerId(1), host=name, port=i32(9))
    lies: list[dict[str, Any]] = [] if name in HARMLESS_HOSTS else [{"brokers": (strange,)}]
    if not name.isprintable() or len(name) > 1_000:
        lies.append({"cluster_id": name})
    for changed in lies:
        with pytest.raises(ProtocolError) as caught:
            check_metadata(broker.spec(), broker.metadata(**changed))
        assert caught.value.with_next_step().isprintable()


@pytest.mark.parametrize("node", [-1, -(2**31)])
def test_no_broker_has_a_negative_number(broker: HostileBroker, node: int) -> None:
    """Unknown leaders are -1."""
    strange = MetadataResponseBroker(node_id=BrokerId(node), host="h", port=i32(9))
    with pytest.raises(ProtocolError):
        check_metadata(broker.spec(), broker.metadata(brokers=(strange,)))


def test_a_topic_that_cannot_be_described_may_be_called_anything(broker: HostileBroker) -> None:
    """A broker says back what it was asked for: the error counts."""
    (topic,) = broker.metadata().topics
    refused = replace(topic, name=TopicName("a b"), error_code=ErrorCode.invalid_topic_exception)
    check_metadata(broker.spec(), broker.metadata(topics=(refused,)))


@pytest.mark.parametrize("text", [*NAMES, "\udcff", "a" * 299 + "\u202e" * 10])
def test_words_of_others_are_short_and_act_on_nothing(text: str) -> None:
    """In errors, logs and status."""
    kept = said(text)
    assert kept.isprintable()
    assert len(kept) < 300 * 10 + 50
