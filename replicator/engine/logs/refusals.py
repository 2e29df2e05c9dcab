"""Refusals for one topic, described so that an operator can act: the right, the resource, the user, the command.

A partition keeps a single text about what it waits for (`waiting_for_access`), so that text contains all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from replicator.core.acl.commands import missing_right
from replicator.core.acl.rights import NEEDED_BY, on_topic
from replicator.model.text import said
from replicator.wire.protocol.faults import broker_error, error_name

__all__ = ["TOPIC_AUTHORIZATION_FAILED", "broker_error", "describe_refusal"]

if TYPE_CHECKING:
    from replicator.model.security import ClusterSpec

TOPIC_AUTHORIZATION_FAILED: Final = 29


def describe_refusal(cluster: ClusterSpec, api: str, code: int, topic: str, message: str | None = None) -> str:
    """Return the description of a broker's refusal of a request for one topic.

    Args:
        cluster: Who refused.
        api: The request's name, one of `NEEDED_BY`.
        code: Kafka's error code.
        topic: What it was about.
        message: The broker's own words, if it sent any; they are shortened.
    """
    text = f"{error_name(code)}{': ' + said(message) if message else ''}"
    if code != TOPIC_AUTHORIZATION_FAILED:
        return text
    return missing_right(cluster, on_topic(topic, NEEDED_BY[api]), text)
