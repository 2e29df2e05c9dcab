"""The records of the demo: three topics, each of a different kind."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from replicator.admin.producer import Outgoing

_NOTES = 512
_STATES = ("new", "paid", "packed", "sent")


@dataclass(frozen=True, slots=True)
class DemoTopic:
    """One topic.

    Attributes:
        name: Its name on both clusters.
        looks: A description for the screen.
        partitions: How many.
        compression: How its producer compresses batches.
        backlog: Records it holds before the replicator starts.
        deleted: How many of these are deleted from the front of each partition, so that its log starts above 0.
        rate: Records a second that are written from then on.
        make: Returns the nth record.
    """

    name: str
    looks: str
    partitions: int
    compression: str
    backlog: int
    deleted: int
    rate: float
    make: Callable[[int], Outgoing]


@lru_cache(maxsize=1)
def _notes() -> tuple[str, ...]:
    """Return texts that compress as badly as real ones do, the same in every run."""
    source = random.Random(7)  # noqa: S311 - filling, guards nothing
    return tuple(base64.b64encode(source.randbytes(600)).decode() for _ in range(_NOTES))


def order(number: int) -> Outgoing:
    """Return an order: JSON, without a key."""
    note = _notes()[number * 7 % _NOTES]
    body = {"order": number, "state": _STATES[number % 4], "cents": number * 37 % 100_000, "note": note}
    return Outgoing(json.dumps(body).encode())


def payment(number: int) -> Outgoing:
    """Return a payment: with a key and two headers."""
    return Outgoing(
        _notes()[number * 11 % _NOTES][:360].encode(),
        b"customer-%d" % (number % 5_000),
        (("currency", b"EUR"), ("trace", b"%016x" % (number * 0x9E3779B97F4A7C15 % (1 << 64)))),
    )


def audit(number: int) -> Outgoing:
    """Return a short line for a log whose front is deleted."""
    return Outgoing(b"audit line %d: user %d looked at order %d" % (number, number % 977, number // 3), partition=0)


TOPICS = (
    DemoTopic("orders", "plain JSON, lz4", 4, "lz4", 120_000, 0, 1_000, order),
    DemoTopic("payments", "keys and headers, zstd", 3, "zstd", 80_000, 0, 600, payment),
    DemoTopic(
        "audit", "its first 60,000 records are deleted: the log starts at 60,000", 1, "none", 80_000, 60_000, 200, audit
    ),
)
