"""Checks for what no cluster's Metadata can contain: such a response is refused before any of it is kept or shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kio.schema.errors import ErrorCode

from replicator.core.topics.selection import legal_topic_name
from replicator.errors import ProtocolError
from replicator.model.text import said

if TYPE_CHECKING:
    from kio.schema.metadata.v10.response import MetadataResponse

    from replicator.model.security import ClusterSpec

_BROKERS_MAX = 10_000
_PORT_MAX = 65_535
_CLUSTER_ID = re.compile(r"[!-~]{1,255}")
_HOST = re.compile(r"[0-9A-Za-z.:%_-]{1,255}")
"""Names and addresses that `advertised.listeners` accepts."""


def check_metadata(spec: ClusterSpec, answer: MetadataResponse) -> None:
    """Return if a response is one that a cluster may send.

    Raises:
        ProtocolError: It is not.
    """
    wrong = _wrong(answer)
    if wrong is not None:
        raise ProtocolError(
            f"cluster {spec.alias!r} sent metadata that no Kafka cluster sends",
            cluster=spec.alias,
            why=wrong,
            next_step=f"check that clusters.{spec.alias}.bootstrap names a Kafka cluster, and its advertised.listeners",
        )


def _wrong(answer: MetadataResponse) -> str | None:
    if answer.cluster_id is None:
        return "it has no cluster id"
    if not _CLUSTER_ID.fullmatch(answer.cluster_id):
        return f"its cluster id is '{said(answer.cluster_id, 80)}'"
    if len(answer.brokers) > _BROKERS_MAX:
        return f"it has {len(answer.brokers):,} brokers"
    for broker in answer.brokers:
        if not (_HOST.fullmatch(broker.host) and 0 < int(broker.port) <= _PORT_MAX and int(broker.node_id) >= 0):
            return f"broker {int(broker.node_id)} is at '{said(broker.host, 80)}', port {int(broker.port)}"
    for topic in answer.topics:
        if topic.error_code is ErrorCode.none and not legal_topic_name(str(topic.name)):
            return f"a topic is called '{said(str(topic.name), 80)}'"
    return None
