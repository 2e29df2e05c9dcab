"""What is said of a broker's refusal."""

from __future__ import annotations

import pytest

from replicator.errors import AuthorizationFailed, BrokerRefused
from replicator.model.names import STATE_TOPIC
from replicator.model.security import ClusterSpec, Mechanism, Protocol, Security
from replicator.wire.protocol.faults import broker_error

EAST = ClusterSpec("east", (("e", 9092),), security=Security(Protocol.SASL_SSL, Mechanism.PLAIN, username="repl"))
_GROUP_AUTHORIZATION_FAILED = 30


@pytest.mark.parametrize("api", ["FindCoordinator", "OffsetFetch"])
def test_a_group_that_may_not_be_described_is_told_with_the_right_and_the_command(api: str) -> None:
    """Which request was refused first depends on the broker; the right is the same, and no other helps."""
    error = broker_error(EAST, api, _GROUP_AUTHORIZATION_FAILED, "billing")
    assert isinstance(error, AuthorizationFailed)
    assert not error.retryable
    assert str(error) == (
        "east does not allow Describe on group billing to User:repl (GROUP_AUTHORIZATION_FAILED); "
        "next: kafka-acls.sh --bootstrap-server e:9092 --add --allow-principal User:repl "
        "--operation Describe --group billing"
    )


@pytest.mark.parametrize(
    ("api", "code", "what", "lacking", "options"),
    [
        ("Produce", 29, STATE_TOPIC, f"Write on topic {STATE_TOPIC}", f"--operation Write --topic {STATE_TOPIC}"),
        ("Fetch", 29, "orders", "Read on topic orders", "--operation Read --topic orders"),
        ("DeleteRecords", 29, "orders", "Delete on topic orders", "--operation Delete --topic orders"),
        (
            "InitProducerId",
            53,
            "replicator.state.77",
            "Write, Describe on transactional-id replicator.",
            "--operation Write --operation Describe --transactional-id replicator. --resource-pattern-type prefixed",
        ),
        ("WriteTxnMarkers", 31, "", "ClusterAction on the cluster", "--operation ClusterAction --cluster"),
        ("DescribeAcls", 31, "", "Describe on the cluster", "--operation Describe --cluster"),
    ],
)
def test_every_missing_right_is_told_with_the_user_and_a_command_that_runs(
    api: str, code: int, what: str, lacking: str, options: str
) -> None:
    """Nothing of it is left for an operator to fill in."""
    error = broker_error(EAST, api, code, what)
    assert isinstance(error, AuthorizationFailed)
    assert str(error).startswith(f"east does not allow {lacking} to User:repl (")
    command = "kafka-acls.sh --bootstrap-server e:9092 --add --allow-principal User:repl"
    assert str(error).endswith(f"; next: {command} {options}")


def test_whoever_does_not_log_in_is_anonymous() -> None:
    """Also an authorizer of a plain listener knows whom it refuses."""
    plain = ClusterSpec("west", (("w", 9092),))
    assert "--allow-principal User:ANONYMOUS --operation Write" in str(broker_error(plain, "Produce", 29, STATE_TOPIC))


def test_another_refusal_is_told_in_the_brokers_words() -> None:
    """No right is made up for it."""
    error = broker_error(EAST, "ListOffsets", 6, "orders", "moved")
    assert isinstance(error, BrokerRefused)
    assert str(error) == "cluster 'east' refuses ListOffsets of orders: NOT_LEADER_OR_FOLLOWER: moved"
