"""What a shape of log is to the corpus, and to those who judge copies of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.integration.kafka_client import Kafka


class Segment(NamedTuple):
    """A log of one segment file: where it begins, its bytes, and where it ends."""

    base_offset: int
    raw: bytes
    end_offset: int


class Shape(NamedTuple):
    """One shape of log, of one topic.

    Attributes:
        begin: Creates the topic and writes what has to stand there before a copy begins.
        write: Writes more, of round 0, 1, ...; may run while the topic is copied.
        cleaned: The cleaner works on both sides, each at its own pace: what both still hold has to be equal.
        segment: What no client can write: put in place of the empty partition 0 after `begin`.
        slow: Its copy takes minutes.
        stops: It cannot be copied to its end: the copy has to stop, and say where.
    """

    begin: Callable[[Kafka, str], None]
    write: Callable[[Kafka, str, int], None]
    cleaned: bool = False
    segment: Callable[[], Segment] | None = None
    slow: bool = False
    stops: bool = False
