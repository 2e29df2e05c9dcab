"""Turns a broker's error code into an error of ours: who may not do what, and what helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from kio.schema.errors import ErrorCode

from replicator.core.acl.commands import missing_right
from replicator.core.acl.rights import NEEDED_BY, Grant, Operation, on_cluster, on_group, on_topic, on_transactional_ids
from replicator.errors import AuthorizationFailed, BrokerRefused, KafkaError, ProtocolError
from replicator.model.text import said

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicator.model.security import ClusterSpec

T = TypeVar("T")

_SETS_OFFSETS = frozenset({"OffsetCommit", "AlterShareGroupOffsets"})
"""Every other request about a group needs Describe."""
_ON_CLUSTER = {
    "WriteTxnMarkers": Operation.CLUSTER_ACTION,
    "CreateAcls": Operation.ALTER,
    "DeleteAcls": Operation.ALTER,
    "CreateTopics": Operation.CREATE,
    "DescribeConfigs": Operation.DESCRIBE_CONFIGS,
    "DescribeClientQuotas": Operation.DESCRIBE_CONFIGS,
}
"""Every other request about a cluster needs Describe."""

_RETRYABLE_THOUGH_NOT_MARKED = frozenset({ErrorCode.broker_not_available, ErrorCode.unknown_server_error})
"""A broker that is starting or stopping returns these; Kafka's own table does not mark them as retriable."""


def is_retryable(code: int) -> bool:
    """Return whether the same request may succeed later although no operator changed anything."""
    try:
        known = ErrorCode(code)
    except ValueError:
        return False
    return known.retriable or known in _RETRYABLE_THOUGH_NOT_MARKED


def error_name(code: int) -> str:
    """Return Kafka's name for an error code, in upper case as in its documentation."""
    try:
        return ErrorCode(code).name.upper()
    except ValueError:
        return f"error {code}"


def broker_error(cluster: ClusterSpec, api: str, code: int, what: str, message: str | None = None) -> KafkaError:
    """Return the error for a refusal.

    Args:
        cluster: Who refused.
        api: The request's name.
        code: Kafka's error code.
        what: The topic, id or other thing that the request was about.
        message: The broker's own words, if it sent any; they are shortened.
    """
    known = ErrorCode(code) if code in ErrorCode._value2member_map_ else None
    grant = missing_grant(known, api, what) if known is not None else None
    if grant is not None:
        return AuthorizationFailed(missing_right(cluster, grant, error_name(code)), cluster=cluster.alias)
    return BrokerRefused(
        f"cluster {cluster.alias!r} refuses {api} of {what}",
        cluster=cluster.alias,
        code=code,
        api=api,
        why=f"{error_name(code)}{': ' + said(message) if message else ''}",
        retryable=is_retryable(code),
    )


def missing_answer(cluster: ClusterSpec, api: str, what: str) -> ProtocolError:
    """Return the error for a response that says nothing about what was asked for."""
    return ProtocolError(
        f"cluster {cluster.alias!r} sent a response to {api} that leaves out {what}",
        cluster=cluster.alias,
        next_step="check the brokers' logs; the request is repeated",
        retryable=True,
    )


def first_of(answers: Iterable[T], cluster: ClusterSpec, api: str, what: str) -> T:
    """Return what a response says about the one thing that was asked for.

    Raises:
        ProtocolError: It says nothing.
    """
    for one in answers:
        return one
    raise missing_answer(cluster, api, what)


def missing_grant(known: ErrorCode, api: str, what: str) -> Grant | None:
    """Return the right that a refused request lacked; None if it was refused for another reason."""
    if known is ErrorCode.group_authorization_failed:
        return on_group(what, Operation.READ if api in _SETS_OFFSETS else Operation.DESCRIBE)
    if known is ErrorCode.topic_authorization_failed:
        return on_topic(what, NEEDED_BY.get(api, Operation.DESCRIBE))
    if known is ErrorCode.transactional_id_authorization_failed:
        return on_transactional_ids(what)
    if known is ErrorCode.cluster_authorization_failed:
        return on_cluster(_ON_CLUSTER.get(api, Operation.DESCRIBE))
    return None
