"""librdkafka's codes in our tree of errors, and clusters that cannot be reached."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError as Code

from replicator.admin.faults import fault
from replicator.admin.topics import TopicAdmin
from replicator.core.acl.rights import Operation, on_topic
from replicator.errors import (
    AuthenticationFailed,
    AuthorizationFailed,
    BrokerRefused,
    ConnectionFailed,
    KafkaError,
    ProtocolError,
)
from replicator.model.security import ClusterSpec, Mechanism, Protocol, Secret, Security

LOGIN = Security(Protocol.SASL_PLAINTEXT, Mechanism.PLAIN, username="repl", password=Secret("canary"))
DEAD = ClusterSpec("dead", (("127.0.0.1", 1),), request_timeout_seconds=1.0, security=LOGIN)


def made(code: int, *, api: str = "CreateTopics", seen: int | None = None) -> KafkaError:
    """Return our error of a code."""
    return fault(
        Code(code),
        DEAD,
        doing="create topic x",
        api=api,
        right=on_topic("x", Operation.CREATE),
        seen=None if seen is None else Code(seen),
    )


@pytest.mark.parametrize(
    ("code", "expected", "retryable"),
    [
        (Code.TOPIC_AUTHORIZATION_FAILED, AuthorizationFailed, False),
        (Code.SASL_AUTHENTICATION_FAILED, AuthenticationFailed, False),
        (Code._AUTHENTICATION, AuthenticationFailed, False),
        (Code._TIMED_OUT, ConnectionFailed, True),
        (Code._TRANSPORT, ConnectionFailed, True),
        (Code.NOT_CONTROLLER, BrokerRefused, True),
        (Code.THROTTLING_QUOTA_EXCEEDED, BrokerRefused, True),
        (Code.POLICY_VIOLATION, BrokerRefused, False),
        (Code.INVALID_REPLICATION_FACTOR, BrokerRefused, False),
    ],
)
def test_classes(code: int, expected: type[KafkaError], retryable: bool) -> None:  # noqa: FBT001 - a table
    """One class for each question a caller asks."""
    error = made(code)
    assert type(error) is expected
    assert error.retryable is retryable
    assert error.cluster == "dead"


def test_a_missing_right_names_the_command_that_gives_it() -> None:
    """On the topic, or on the cluster where the cluster refuses."""
    start = "kafka-acls.sh --bootstrap-server 127.0.0.1:1 --add --allow-principal User:repl --operation Create "
    assert made(Code.TOPIC_AUTHORIZATION_FAILED).next_step == start + "--topic x"
    assert made(Code.CLUSTER_AUTHORIZATION_FAILED).next_step == start + "--cluster"


@pytest.mark.parametrize("code", [Code.POLICY_VIOLATION, Code.INVALID_REPLICATION_FACTOR, Code.INVALID_CONFIG])
def test_refusals_have_a_meaning(code: int) -> None:
    """What, why and next; and Kafka's number."""
    error = made(code)
    assert isinstance(error, BrokerRefused)
    assert error.code == code
    assert error.what == "cluster dead: could not create topic x"
    assert error.why
    assert error.next_step


@pytest.mark.parametrize("code", [Code._UNDERFLOW, Code._BAD_MSG, Code._PARTIAL])
def test_an_answer_that_cannot_be_read_refuses_nothing(code: int) -> None:
    """One that was cut short stopped a topic for good, with the advice to change its settings."""
    error = made(code)
    assert type(error) is ProtocolError
    assert error.retryable
    assert error.next_step


def test_a_refused_login_explains_a_time_out() -> None:
    """The library goes on trying; the operator must not look for a network fault."""
    assert type(made(Code._TIMED_OUT, seen=Code._AUTHENTICATION)) is AuthenticationFailed
    assert type(made(Code._TIMED_OUT, seen=Code._TRANSPORT)) is ConnectionFailed


async def test_admin_calls_end_in_time_and_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """A cluster that is away: a bounded wait, one error, a clean standard error."""
    admin = TopicAdmin(DEAD)
    for call in (admin.topics(), admin.describe_cluster(), admin.describe_configs(["x"])):
        with pytest.raises(ConnectionFailed):
            await call
    await admin.close()
    assert capfd.readouterr() == ("", "")
