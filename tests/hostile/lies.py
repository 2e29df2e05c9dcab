"""Responses with a lie in them, and what comes of it."""

from __future__ import annotations

import asyncio

import pytest

from replicator.errors import (
    KafkaError,
)
from replicator.model.names import TopicPartition
from replicator.model.security import Security
from replicator.wire.cluster import Cluster
from tests.hostile.broker import (
    TOPIC,
    HostileBroker,
    Lie,
    framed,
    head,
)

HUGE = b"\xff\xff\xff\xff\x0f"
WHERE = TopicPartition(TOPIC, 0)
TEXT_CHARS_MAX = 1_000


def only(key: int, lie: Lie) -> Lie:
    """Return the lie that answers one kind of request so, and all others honestly."""
    return lambda asked, answer: lie(asked, answer) if asked.key == key else framed(answer)


def body(key: int, raw: bytes) -> Lie:
    """Return the lie that answers one kind of request with this body."""
    return only(key, lambda asked, _: framed(head(asked) + raw))


async def failure(broker: HostileBroker, security: Security | None = None, seconds: float = 5.0) -> KafkaError:
    """Return how asking for metadata fails; it says what, why, and what next, in a few words."""
    cluster = Cluster(broker.spec(security, seconds))
    try:
        async with asyncio.timeout(20.0):
            with pytest.raises(KafkaError) as caught:
                await cluster.refresh([TOPIC])
    finally:
        cluster.close()
    text = caught.value.with_next_step()
    assert text.isprintable()
    assert len(text) < TEXT_CHARS_MAX
    assert caught.value.next_step
    return caught.value
