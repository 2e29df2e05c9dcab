"""From a broker's error code to an error of ours: who may not do what, and what helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kio.schema.errors import ErrorCode

from replicator.core.rights import Operation, missing_right, on_group
from replicator.errors import AuthorizationFailed, BrokerRefused, KafkaError

if TYPE_CHECKING:
    from replicator.model.security import ClusterSpec

_RIGHTS = {
    ErrorCode.topic_authorization_failed: "--topic {what}",
    ErrorCode.transactional_id_authorization_failed: "--transactional-id {what}",
    ErrorCode.cluster_authorization_failed: "--cluster",
}

_SETS_OFFSETS = frozenset({"OffsetCommit", "AlterShareGroupOffsets"})
"""All else that we ask of a group takes Describe."""

_RETRYABLE_THOUGH_NOT_MARKED = frozenset({ErrorCode.broker_not_available, ErrorCode.unknown_server_error})
"""A broker that starts or stops answers so; Kafka's own table does not call these retriable."""


def is_retryable(code: int) -> bool:
    """Return whether the same request may succeed later with nothing changed by an operator."""
    try:
        known = ErrorCode(code)
    except ValueError:
        return False
    return known.retriable or known in _RETRYABLE_THOUGH_NOT_MARKED


def error_name(code: int) -> str:
    """Return Kafka's name of an error code, upper case as in its documentation."""
    try:
        return ErrorCode(code).name.upper()
    except ValueError:
        return f"error {code}"


def refused(cluster: ClusterSpec, api: str, code: int, what: str, message: str | None = None) -> KafkaError:
    """Return the error for a refusal.

    Args:
        cluster: Who refused.
        api: The request's name.
        code: Kafka's error code.
        what: The topic, id or thing the request was about.
        message: The broker's own words, if it sent any.
    """
    known = ErrorCode(code) if code in ErrorCode._value2member_map_ else None
    if known is ErrorCode.group_authorization_failed:
        grant = on_group(what, Operation.READ if api in _SETS_OFFSETS else Operation.DESCRIBE)
        return AuthorizationFailed(missing_right(cluster, grant, error_name(code)), cluster=cluster.alias)
    right = _RIGHTS.get(known) if known else None
    if right is not None:
        user = cluster.security.username or "<principal>"
        return AuthorizationFailed(
            f"cluster {cluster.alias!r} refuses {api} of {what}",
            cluster=cluster.alias,
            why=f"{error_name(code)} for {user!r}",
            next_step=f"grant it (kafka-acls --add --allow-principal User:{user} {right.format(what=what)} ...); "
            "`replicator validate FILE --connect` prints the least rights as commands",
        )
    return BrokerRefused(
        f"cluster {cluster.alias!r} refuses {api} of {what}",
        cluster=cluster.alias,
        code=code,
        api=api,
        why=f"{error_name(code)}{': ' + message if message else ''}",
        retryable=is_retryable(code),
    )
