"""Compares copies with their sources, by the independent reader alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from replicator.model.spec import Isolation
from tests.integration.corpus.compaction import last_values
from tests.integration.corpus.shape import Shape
from tests.integration.kafka_client import Kafka, Record, assert_same, bounds_of, read_many, wait_until

_NO_TIME, _CREATE_TIME = 0, 1
Log = dict[int, list[Record]]


def as_copied(records: Iterable[Record]) -> list[Record]:
    """Return records as a copy has to show them.

    A time that the source's broker gave is kept as the record's own: its kind is all that differs.
    A message of magic 0 has no place for a time, a record of magic 2 has -1 there.
    """
    return [
        record._replace(
            timestamp_type=_CREATE_TIME, timestamp=-1 if record.timestamp_type == _NO_TIME else record.timestamp
        )
        for record in records
    ]


def same_shapes(
    source: Kafka,
    target: Kafka,
    topics: Mapping[str, Shape],
    *,
    isolation: Isolation = Isolation.READ_COMMITTED,
    seconds: float = 90.0,
) -> dict[str, Log]:
    """Wait until copies begin and end where their sources do, and compare every record; return what the sources hold.

    Args:
        source: The cluster that was copied from. Idle.
        target: Where both kinds of readers have to see what a reader of that kind sees on the source:
        topics: Topic to its shape.
        isolation: its isolation level.
        seconds: Bound of the wait.
    """
    ends = bounds_of(source, topics, isolation=isolation)
    seen: dict[str, object] = {}

    def behind() -> bool:
        here = bounds_of(target, topics)
        seen.clear()
        seen.update({topic: (here.get(topic), end) for topic, end in ends.items() if here.get(topic) != end})
        return not seen

    try:
        wait_until("the copies begin and end where their sources do", behind, seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}; (target, source): {seen}") from None
    there = read_many(source, topics, isolation=isolation)
    for reader in Isolation:
        here = read_many(target, topics, isolation=reader)
        for topic, shape in topics.items():
            expected = {number: as_copied(records) for number, records in there[topic].items()}
            (_same_survivors if shape.cleaned else assert_same)(topic, expected, here[topic])
    return there


def same_records(source: Kafka, target: Kafka, topic: str, seconds: float = 90.0) -> Log:
    """Compare one topic."""
    return same_shapes(source, target, {topic: Shape(_nothing, _nothing)}, seconds=seconds)[topic]


def _nothing(*_: object) -> None:
    raise AssertionError("this shape is not written")


def _same_survivors(topic: str, there: Log, here: Log) -> None:
    """What both cleaners have left is equal, and so is each key's last value."""
    assert there.keys() == here.keys()
    for number, records in here.items():
        by_offset = {record.offset: record for record in there[number]}
        both = [record for record in records if record.offset in by_offset]
        assert_same(f"{topic} (survivors)", {number: [by_offset[each.offset] for each in both]}, {number: both})
        assert last_values(records) == last_values(there[number]), f"{topic}[{number}]"
