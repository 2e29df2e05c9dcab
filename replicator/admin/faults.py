"""From librdkafka's error codes to our tree of errors: one classifier, with the reason beside each case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException

from replicator.core.acl.commands import acl_command
from replicator.core.acl.rights import on_cluster
from replicator.errors import AuthenticationFailed, AuthorizationFailed, BrokerRefused, ConnectionFailed, ProtocolError
from replicator.model.text import said
from replicator.model.units import format_address

if TYPE_CHECKING:
    from replicator.core.acl.rights import Grant
    from replicator.errors import KafkaError
    from replicator.model.security import ClusterSpec

AUTHENTICATION = frozenset(
    {
        Code._AUTHENTICATION,  # noqa: SLF001 - librdkafka's local codes are public, its naming is not Python's
        Code._SSL,  # noqa: SLF001
        Code.SASL_AUTHENTICATION_FAILED,
        Code.UNSUPPORTED_SASL_MECHANISM,
        Code.ILLEGAL_SASL_STATE,
    }
)

_AUTHORIZATION = frozenset(
    {
        Code.TOPIC_AUTHORIZATION_FAILED,
        Code.CLUSTER_AUTHORIZATION_FAILED,
        Code.GROUP_AUTHORIZATION_FAILED,
        Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)

_CONNECTION = frozenset(
    {
        Code._TRANSPORT,  # noqa: SLF001
        Code._ALL_BROKERS_DOWN,  # noqa: SLF001
        Code._RESOLVE,  # noqa: SLF001
        Code._TIMED_OUT,  # noqa: SLF001
        Code._TIMED_OUT_QUEUE,  # noqa: SLF001
        Code._WAIT_CACHE,  # noqa: SLF001 - metadata did not arrive in time
        Code.NETWORK_EXCEPTION,
        Code.REQUEST_TIMED_OUT,
        Code.BROKER_NOT_AVAILABLE,
    }
)

_RETRYABLE = frozenset(
    {
        Code.NOT_CONTROLLER,  # an election is going on
        Code.LEADER_NOT_AVAILABLE,
        Code.NOT_LEADER_FOR_PARTITION,
        Code.COORDINATOR_LOAD_IN_PROGRESS,
        Code.THROTTLING_QUOTA_EXCEEDED,  # the controller mutation quota refills
        Code.UNKNOWN_TOPIC_OR_PART,  # a topic made a moment ago is not known to every broker yet
    }
)

_NO_ANSWER = frozenset(
    {
        Code._BAD_MSG,  # noqa: SLF001
        Code._UNDERFLOW,  # noqa: SLF001
        Code._BAD_COMPRESSION,  # noqa: SLF001
        Code._INCONSISTENT,  # noqa: SLF001
        Code._PARTIAL,  # noqa: SLF001
    }
)
"""An answer could not be read: what it would have said is not known, least of all that something is refused."""

_NO_TOPIC = (
    "the topic or partition does not exist, or this user may not describe it",
    "check the name, and the DESCRIBE right on it",
)

_ADVICE: dict[int, tuple[str, str]] = {
    Code.POLICY_VIOLATION: (
        "a policy of the cluster (create.topic.policy or alter.config.policy) refuses it",
        "ask the cluster's owner what the policy allows; exclude the setting with topic_configs.exclude",
    ),
    Code.INVALID_REPLICATION_FACTOR: (
        "the cluster has fewer usable brokers than replicas were asked for",
        "lower replication_factor in the flow, or bring the missing brokers back",
    ),
    Code.INVALID_CONFIG: (
        "the cluster does not know this setting or refuses its value",
        "add the setting to topic_configs.exclude, or set a valid value with topic_configs.override",
    ),
    Code.INVALID_PARTITIONS: (
        "the partition count is not one the cluster accepts",
        "compare the partition counts of both topics; partitions can be added, never removed",
    ),
    Code.TOPIC_ALREADY_EXISTS: (
        "someone created it meanwhile",
        "look at what is in it before it is used as a mirror",
    ),
    Code.TOPIC_EXCEPTION: (
        "the name is not legal, or collides with a name that differs only in '.' and '_'",
        "correct rename in the flow",
    ),
    Code.THROTTLING_QUOTA_EXCEEDED: (
        "the cluster's controller mutation quota is used up",
        "nothing: it is tried again; raise controller_mutation_rate to speed it up",
    ),
    Code.UNKNOWN_TOPIC_OR_PART: _NO_TOPIC,
    Code._NOENT: _NO_TOPIC,  # noqa: SLF001 - no leader found: the topic or partition is not there
    Code._UNKNOWN_TOPIC: _NO_TOPIC,  # noqa: SLF001
    Code._UNKNOWN_PARTITION: _NO_TOPIC,  # noqa: SLF001
    Code.OFFSET_OUT_OF_RANGE: ("the offset is outside the log", "list the log's start and end first"),
    Code.UNSUPPORTED_VERSION: (
        "the broker does not speak this request, or does not support what it asks for",
        "check that the brokers are Kafka 2.8 or newer",
    ),
    Code.TOPIC_DELETION_DISABLED: ("delete.topic.enable is off", "delete it with the cluster's owner"),
}


def fault(
    error: Code,
    cluster: ClusterSpec,
    *,
    doing: str,
    api: str,
    right: Grant,
    seen: Code | None = None,
) -> KafkaError:
    """Return the error of our tree for one of librdkafka's.

    Args:
        error: What the call ended with.
        cluster: Whose answer it is.
        doing: Completes "could not ...": "create topic orders".
        api: Kafka's name of the request.
        right: What the request needs.
        seen: The last error of the connections; it explains a time-out.
    """
    # librdkafka goes on trying after a refused login, so that the call itself ends as a time-out.
    cause = seen if seen is not None and seen.code() in AUTHENTICATION else error
    code, text = cause.code(), said(cause.str())
    what = f"cluster {cluster.alias}: could not {doing}"
    if code in AUTHENTICATION:
        return AuthenticationFailed(
            what,
            cluster=cluster.alias,
            why=text,
            next_step=f"check clusters.{cluster.alias}.security: mechanism, user name, password, certificates",
            refused=code == Code.SASL_AUTHENTICATION_FAILED or "SASL" in text,
        )
    if code in _AUTHORIZATION:
        return AuthorizationFailed(what, cluster=cluster.alias, why=text, next_step=_acl_command(cluster, code, right))
    if code in _CONNECTION:
        detail = said(seen.str()) if seen is not None else ""
        return ConnectionFailed(
            what,
            cluster=cluster.alias,
            why="; ".join(part for part in (text, detail) if part),
            next_step=f"check that {format_address(cluster.bootstrap[0])} can be reached from here",
        )
    if code in _NO_ANSWER:
        return ProtocolError(
            what,
            cluster=cluster.alias,
            why=f"its answer to {api} cannot be read: {text}",
            next_step="look at what stands between it and us, and at the brokers' logs; it is asked again",
            retryable=True,
        )
    return _broker_refused(what, cluster, cause, api)


def _broker_refused(what: str, cluster: ClusterSpec, cause: Code, api: str) -> BrokerRefused:
    code, text = cause.code(), said(cause.str())
    why, next_step = _ADVICE.get(code, ("", ""))
    if api == "DeleteRecords" and code == Code.POLICY_VIOLATION:
        why, next_step = "records of a topic that is only compacted cannot be deleted by offset", ""
    return BrokerRefused(
        what,
        cluster=cluster.alias,
        code=code,
        api=api,
        why=f"{why} ({text})" if why else f"{cause.name()}: {text}",
        next_step=next_step,
        retryable=code in _RETRYABLE or cause.retriable(),
    )


def _acl_command(cluster: ClusterSpec, code: int, right: Grant) -> str:
    refused = on_cluster(*right.operations) if code == Code.CLUSTER_AUTHORIZATION_FAILED else right
    return acl_command(refused, cluster)


def error_of(exception: KafkaException) -> Code:
    """Return the error object inside librdkafka's exception."""
    first = exception.args[0] if exception.args else None
    return first if isinstance(first, Code) else Code(Code._FAIL, str(exception))  # noqa: SLF001


def not_settings(cluster: ClusterSpec, topic: str, why: str) -> ProtocolError:
    """Return the error for an answer whose settings are none that a topic has.

    Args:
        cluster: Whose answer.
        topic: Which topic it tells of.
        why: What is wrong with it, as the end of a sentence about the answer.
    """
    return ProtocolError(
        f"cluster {cluster.alias}: the settings of topic {topic} are none that a topic has",
        cluster=cluster.alias,
        why=f"its answer to DescribeConfigs {why}",
        next_step="look at what stands between it and us, and at the brokers' logs; it is asked again",
    )
