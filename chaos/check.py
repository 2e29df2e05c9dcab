"""The verdict: an independent reader (confluent-kafka, none of our code) reads both sides, beside the ledger.

Words for what is wrong, after Jepsen's: *lost* (acknowledged, and not there), *phantom* (there, and nobody sent it),
*different* (another record than the source's, or than the one that was acknowledged), *hole* (an offset is missing).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message
from confluent_kafka import TopicPartition as Position

from chaos.clients import CALL_SECONDS_MAX
from chaos.errors import ChaosError
from chaos.load import Ledger, Where
from chaos.records import Record, Run, number_of

STALL_SECONDS_MAX = 30.0
"""Longest wait for the next record of a log that has one."""

_PROBLEMS_MAX = 5
_AT_ONCE = 2000

Entry = tuple[int, Record]
"""Offset and record."""


@dataclass(slots=True)
class Verdict:
    """What was found.

    Attributes:
        records: How many records of the target were compared.
        value_bytes: Sizes of their values, together.
        deleted: How many of them the source has deleted since: they were compared with the ledger alone.
        unknown_found: How many records of unknown outcome stand in the logs.
        problems: What is wrong, at most a few of each partition.
    """

    records: int = 0
    value_bytes: int = 0
    deleted: int = 0
    unknown_found: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether nothing is wrong, and something was compared at all."""
        return not self.problems and self.records > 0


def compare(
    where: Where, source: Iterable[Entry], target: Iterable[Entry], ledger: Ledger, run: Run, verdict: Verdict
) -> None:
    """Compare one partition of both sides and of the ledger; add to the verdict.

    The target begins at offset 0. The source may begin later: what it deleted has to be on the target all the same.
    """
    found: list[str] = []
    theirs = iter(source)
    first = left = next(theirs, None)
    expected = 0
    for offset, record in target:
        if len(found) >= _PROBLEMS_MAX:
            break
        if offset != expected:
            found.append(f"hole: the target has {offset} where {expected} comes next")
        expected = offset + 1
        verdict.records += 1
        verdict.value_bytes += len(record.value or b"")
        found += _against_ledger(where, offset, record, ledger, run, verdict)
        if left is not None and left[0] <= offset:
            if left != (offset, record):
                found.append(f"different at {offset}: source {left}, target {record}")
            left = next(theirs, None)
        elif first is None or offset < first[0]:
            verdict.deleted += 1
        else:
            found.append(f"phantom at {offset}: the source has none there, target {record}")
    if len(found) < _PROBLEMS_MAX:
        if left is not None:
            found.append(f"lost: the source has {left[0]}, the target ends at {expected}")
        if ledger.end(where) > expected:
            found.append(f"lost: acknowledged up to {ledger.end(where)}, the target ends at {expected}")
    verdict.problems += [f"{where[0]}[{where[1]}] {problem}" for problem in found]


def _against_ledger(
    where: Where, offset: int, record: Record, ledger: Ledger, run: Run, verdict: Verdict
) -> Iterator[str]:
    number = ledger.at(where, offset)
    if number is None:
        number = number_of(record.value)
        if number is None or number not in ledger.unknown:
            yield f"phantom at {offset}: {record}"
            return
        verdict.unknown_found += 1
    if run.topic_of(number).name != where[0] or run.record(number) != record:
        yield f"different at {offset}: sent was number {number}, {run.record(number)}, target {record}"


class Reader:
    """Reads whole partitions of one cluster. A context manager."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "chaos-check",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "isolation.level": "read_uncommitted",
                "fetch.wait.max.ms": 50,
                "check.crcs": True,
                "log_level": 0,
            }
        )

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def partitions(self, topic: str) -> list[int]:
        """Return the partitions of a topic."""
        return sorted(self._consumer.list_topics(topic, timeout=CALL_SECONDS_MAX).topics[topic].partitions)

    def read(self, where: Where) -> Iterator[Entry]:
        """Yield a partition from its start to where it ended when the call was made.

        Raises:
            ChaosError: It could not be read.
        """
        start, end = self._consumer.get_watermark_offsets(Position(*where), timeout=CALL_SECONDS_MAX)
        self._consumer.assign([Position(*where, start)])
        if start == end:
            return
        deadline = time.monotonic() + STALL_SECONDS_MAX
        while True:
            for message in self._consumer.consume(_AT_ONCE, timeout=0.5):
                deadline = time.monotonic() + STALL_SECONDS_MAX
                error = message.error()
                if error is None:
                    yield int(message.offset() or 0), _record(message)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its only name
                    return
                else:
                    raise ChaosError(f"{where} could not be read", why=str(error), next_step="read the broker's log")
            if time.monotonic() > deadline:
                raise ChaosError(
                    f"{where} gave nothing for {STALL_SECONDS_MAX:.0f} s", next_step="read the broker's log"
                )


def check(source_bootstrap: str, target_bootstrap: str, ledger: Ledger, run: Run) -> Verdict:
    """Compare everything; both sides are idle.

    Raises:
        ChaosError: A side could not be read.
    """
    verdict = Verdict()
    source, target = Reader(source_bootstrap), Reader(target_bootstrap)
    try:
        for topic in run.topics:
            there, here = source.partitions(topic.name), target.partitions(topic.name)
            if there != here:
                verdict.problems.append(f"{topic.name} has partitions {there} and {here}")
            for number in sorted({*there} & {*here}):
                where = (topic.name, number)
                compare(where, source.read(where), target.read(where), ledger, run, verdict)
    finally:
        source.close()
        target.close()
    return verdict


def _record(message: Message) -> Record:
    kind, time_ms = message.timestamp()
    headers: Any = message.headers() or ()
    return Record(kind, time_ms, message.key(), message.value(), tuple(headers))
