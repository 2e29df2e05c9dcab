"""Finds out whether a broker lets us write markers, without writing one.

A request without markers shows nothing: Kafka checks the right before it looks at the markers, but a refusal lists the
markers of the request, so for an empty list it is the same empty response as a success
(KafkaApis.handleWriteTxnMarkersRequest, WriteTxnMarkersRequest.getErrorResponse).
So one marker is sent, for a topic that cannot exist.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from kio.schema.errors import ErrorCode

from replicator.model.names import TopicPartition
from replicator.wire.messages.data.markers import WRITE_TXN_MARKERS, write_markers

if TYPE_CHECKING:
    from replicator.wire.transport.connection import Connection

NOWHERE: Final = TopicPartition("replicator/probe", 0)
"""Kafka allows no slash in a topic name: nothing can ever be appended here."""
_NO_PRODUCER: Final = -1
_PAST_THE_CHECK: Final = frozenset(
    {ErrorCode.unknown_topic_or_partition, ErrorCode.not_leader_or_follower, ErrorCode.invalid_topic_exception}
)


class Verdict(enum.Enum):
    """What a broker says about WriteTxnMarkers. OTHER: neither that it is allowed nor that it is refused."""

    ALLOWED = enum.auto()
    REFUSED = enum.auto()
    NOT_OFFERED = enum.auto()
    OTHER = enum.auto()


async def may_write_markers(connection: Connection) -> Verdict:
    """Ask a broker whether this user may write markers.

    Raises:
        KafkaError: The connection failed.
    """
    if not connection.versions.offers(WRITE_TXN_MARKERS, 1):
        return Verdict.NOT_OFFERED
    codes = await write_markers(connection, _NO_PRODUCER, 0, {NOWHERE: 1})
    code = codes.get(NOWHERE)
    if code == ErrorCode.cluster_authorization_failed:
        return Verdict.REFUSED
    return Verdict.ALLOWED if code in _PAST_THE_CHECK else Verdict.OTHER
