"""The records of a run. Each follows from its number alone, so that the checker knows what an offset must hold."""

from __future__ import annotations

import enum
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

Headers = tuple[tuple[str, bytes | None], ...]


class Record(NamedTuple):
    """One record as a consumer sees it, without its offset. Time in ms; type 1 is the producer's own time."""

    timestamp_type: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of a run.

    Attributes:
        name: On both clusters.
        codec: Of its producer.
        share: How many of a hundred records are for it.
        linger_ms: How long its producer gathers a batch.
        old: Whether its records carry times of 2020: older than a target remembers its producers.
        keyed: Whether keys choose partitions.
        transactional: Whether its records are written in transactions, by a load of their own.
    """

    name: str
    codec: str
    share: int
    linger_ms: int = 5
    old: bool = False
    keyed: bool = False
    transactional: bool = False


TOPICS = (
    Topic("chaos.plain", "none", 28),
    Topic("chaos.gzip", "gzip", 18),
    Topic("chaos.lz4", "lz4", 22),
    # Unguarded batches go one at a time: fewer and larger ones.
    Topic("chaos.zstd-of-2020", "zstd", 10, linger_ms=500, old=True),
    Topic("chaos.keyed-snappy", "snappy", 22, keyed=True),
)

TRANSACTIONS = Topic("chaos.transactions", "lz4", share=0, transactional=True)
"""Its records have numbers of their own, so it has no share of the others'."""

TRANSACTIONS_PER_SECOND = 6
TRANSACTION_RECORDS_MAX = 16

PARTITIONS = 3
"""Of each topic, at first."""

_TRANSACTIONAL_FROM = 1 << 40
"""Numbers from here on are in transactions; no run sends as many others."""

_YEAR_2020_MS = 1_577_836_800_000
_CREATE_TIME = 1
_KEYS = 500
_FILLER = b"Some text that a codec can do something with, but not too much: 8f3a91c7-5e20-4b6d-9a13-77c0d2e4f6b8. " * 10
_NUMBER = re.compile(rb"(\d+):")


@dataclass(frozen=True, slots=True)
class Run:
    """What makes the records of one run.

    Attributes:
        topics: Where they go.
        begun_ms: Wall-clock time of number 0.
        per_second: Pace of the numbers, and of the records' own times; transactions have a pace of their own.
    """

    topics: Sequence[Topic]
    begun_ms: int
    per_second: int

    def topic_of(self, number: int) -> Topic:
        """Return where the record of that number goes."""
        if number >= _TRANSACTIONAL_FROM:
            return TRANSACTIONS
        draw = _draw(number) % sum(topic.share for topic in self.topics)
        for topic in self.topics:
            draw -= topic.share
            if draw < 0:
                return topic
        raise AssertionError("shares add up")  # pragma: no cover

    def record(self, number: int) -> Record:
        """Return the record of that number."""
        topic, draw = self.topic_of(number), _draw(number + 1) >> 8
        begun_ms = _YEAR_2020_MS if topic.old else self.begun_ms
        count, per_second = number, self.per_second
        if topic.transactional:
            count, per_second = number - _TRANSACTIONAL_FROM, TRANSACTIONS_PER_SECOND * TRANSACTION_RECORDS_MAX
        key = b"key-%d" % (draw % _KEYS) if topic.keyed or draw % 3 else None
        headers: Headers = ()
        if draw % 11 == 0:
            headers = (("n", b"%d" % number), ("n", b""), ("none", None))
        value = b"%d:" % number + _FILLER[: draw % len(_FILLER)]
        return Record(_CREATE_TIME, begun_ms + count * 1000 // per_second, key, value, headers)


def number_of(value: bytes | None) -> int | None:
    """Return the number a record says it has; None for a record that is none of ours."""
    found = _NUMBER.match(value or b"")
    return int(found[1]) if found else None


class Way(enum.StrEnum):
    """What its producer does with a transaction."""

    COMMIT = "commit"
    ABORT = "abort"
    """All of its records stand in the log before it is aborted."""
    ABORT_EARLY = "abort early"
    """It is aborted while records are on their way: any of them may stand in the log."""
    DROP = "drop"
    """Its producer is left with it open: the next one of the transactional id aborts it, under a later epoch."""
    LEAVE = "leave"
    """Its commit is asked for and the answer not waited for: another producer takes the transactional id over."""


_WAYS = (
    *(Way.ABORT,) * 7,
    *(Way.ABORT_EARLY,) * 4,
    Way.DROP,
    Way.LEAVE,
    *(Way.COMMIT,) * 23,
)
"""One of them for each transaction: a third is aborted."""


def way_of(transaction: int) -> Way:
    """Return what is done with that transaction."""
    return _WAYS[_draw(transaction + _TRANSACTIONAL_FROM) % len(_WAYS)]


def numbers_of(transaction: int) -> range:
    """Return the numbers of that transaction's records; not every number is used."""
    first = _TRANSACTIONAL_FROM + transaction * TRANSACTION_RECORDS_MAX
    return range(first, first + 1 + (_draw(first) >> 8) % TRANSACTION_RECORDS_MAX)


def transaction_of(number: int) -> int | None:
    """Return the transaction of a record; None for one that is in none."""
    return None if number < _TRANSACTIONAL_FROM else (number - _TRANSACTIONAL_FROM) // TRANSACTION_RECORDS_MAX


def _draw(number: int) -> int:
    """Return 32 bits that look random and are always the same."""
    return zlib.crc32(number.to_bytes(8, "little"))
