"""What a comparison says of offsets that it did not look at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicator.engine.verify_partition import Task
from replicator.engine.verify_result import PartitionVerdict, TopicVerdict, VerifyResult, to_json
from replicator.model.names import TopicPartition

WHERE = TopicPartition("t", 0)
EQUAL = PartitionVerdict(0, 90, 100, records=10, bytes=80, digest="d")


@pytest.mark.parametrize(
    ("part", "outcome"),
    [
        (EQUAL, "equal"),
        (replace(EQUAL, taken_over=90), "equal above the cut"),
        (replace(EQUAL, taken_over=90, records=0), "not compared"),
        (replace(EQUAL, taken_over=90, behind=3), "behind"),
        (replace(EQUAL, taken_over=90, differences=1), "DIFFERENT"),
    ],
)
def test_outcome(part: PartitionVerdict, outcome: str) -> None:
    """Nothing is called equal that was not compared."""
    assert TopicVerdict("t", "t", (part,)).outcome == outcome


def test_told() -> None:
    """A cut is no log start, and the JSON has it by itself."""
    topic = TopicVerdict("t", "t", (replace(EQUAL, taken_over=90, source_only=5),))
    assert topic.not_comparable == (
        "not comparable: 5 offsets of the source are below the target's log start; "
        "not compared: 90 offsets below the cut at which the mirror was taken over"
    )
    document = to_json(VerifyResult((topic,), 1.0))
    assert (document["not_compared"], document["topics"][0]["not_compared"]) == (90, 90)
    assert document["topics"][0]["partitions"][0]["not_compared"] == 90


def test_where_it_begins() -> None:
    """At the highest of both log starts and the cut."""
    task = Task("t", WHERE, WHERE, 10, 20, 100, 100, compacted=False, floor=60)
    assert (task.start, replace(task, floor=0).start) == (60, 20)
