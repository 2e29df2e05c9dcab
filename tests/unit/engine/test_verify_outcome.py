"""What a comparison says of offsets that it did not look at."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from replicator.cli.verify.verify import judge
from replicator.core.offsets.map_view import MapView
from replicator.core.offsets.offset_map import OffsetMap, OffsetPair
from replicator.engine.verify.partition import Comparison, Meter, Task
from replicator.engine.verify.result import PartitionVerdict, TopicVerdict, VerifyResult, to_json
from replicator.errors import Undecided
from replicator.model.names import TopicPartition

if TYPE_CHECKING:
    from replicator.engine.logs.ranges.partition_reader import PartitionReader

WHERE = TopicPartition("t", 0)
EQUAL = PartitionVerdict(0, 90, 100, records=10, bytes=80, digest="d")


@pytest.mark.parametrize(
    ("part", "outcome"),
    [
        (EQUAL, "equal"),
        (replace(EQUAL, taken_over=90), "equal above the cut"),
        (replace(EQUAL, taken_over=90, records=0), "not compared"),
        (replace(EQUAL, source_only=90, records=0), "not compared"),
        (replace(EQUAL, target_only=90, records=0), "not compared"),
        (replace(EQUAL, source_only=90), "equal"),
        (replace(EQUAL, records=0), "equal"),
        (replace(EQUAL, taken_over=90, behind=3), "behind"),
        (replace(EQUAL, taken_over=90, differences=1), "DIFFERENT"),
        (replace(EQUAL, problem="it is damaged"), "undecided"),
        (replace(EQUAL, problem="it is damaged", behind=3), "undecided"),
        (replace(EQUAL, problem="it is damaged", differences=1), "DIFFERENT"),
    ],
)
def test_outcome(part: PartitionVerdict, outcome: str) -> None:
    """Nothing is called equal that was not compared."""
    topic = TopicVerdict("t", "t", (part,))
    assert topic.outcome == outcome
    whole = VerifyResult((topic,), 1.0)
    assert (
        topic.equal is whole.equal is {"not compared": None, "undecided": None, "DIFFERENT": False}.get(outcome, True)
    )


def test_one_topic_that_was_not_compared() -> None:
    """It is named by itself, and what was compared decides."""
    unseen = TopicVerdict("t", "t", (replace(EQUAL, taken_over=90, records=0),))
    seen = TopicVerdict("t", "t", (EQUAL,))
    different = TopicVerdict("t", "t", (replace(EQUAL, differences=1),))
    assert VerifyResult((unseen, seen), 1.0).equal is True
    assert VerifyResult((unseen, seen, different), 1.0).equal is False
    assert VerifyResult((), 1.0).equal is True


def test_one_batch_that_cannot_be_read_leaves_the_whole_undecided() -> None:
    """However much else is equal; and it is named."""
    unread = TopicVerdict("t", "t", (EQUAL, replace(EQUAL, partition=1, problem="the batch at offset 95 is damaged")))
    whole = VerifyResult((TopicVerdict("u", "u", (EQUAL,)), unread), 1.0)
    assert whole.equal is None
    assert unread.not_comparable == "not compared to its end: partition 1: the batch at offset 95 is damaged"
    assert to_json(whole)["topics"][1]["partitions"][1]["problem"] == "the batch at offset 95 is damaged"
    with pytest.raises(Undecided, match="1 partition cannot be fully compared: t-1: the batch at offset 95"):
        judge(whole, "30s")


def test_told() -> None:
    """A cut is no log start, and the JSON has it by itself."""
    topic = TopicVerdict("t", "t", (replace(EQUAL, taken_over=90, source_only=5),))
    assert topic.not_comparable == (
        "not comparable: 5 offsets of the source are below the target's log start; "
        "not compared: 90 offsets below the offset where the mirror was taken over"
    )
    document = to_json(VerifyResult((topic,), 1.0))
    assert (document["not_compared"], document["topics"][0]["not_compared"]) == (90, 90)
    assert document["topics"][0]["partitions"][0]["not_compared"] == 90


def test_where_it_begins() -> None:
    """At the highest of both log starts and the cut."""
    task = Task("t", WHERE, WHERE, 10, 20, 100, 100, compacted=False, floor=60)
    assert (task.start, replace(task, floor=0).start) == (60, 20)


def test_a_source_that_was_accepted_after_it_was_made_again() -> None:
    """Nothing was compared: its records lie below the place from which on it is mapped, not below a log start."""
    view = MapView(OffsetMap.of(OffsetPair(12, 20), []), mapped=True, judged_from=20)
    start = view.log_start(0, 0)
    task = Task("t", WHERE, WHERE, 0, start, 12, 12, compacted=False, view=view, floor=view.floor)
    nobody = cast("PartitionReader", None)
    verdict = Comparison(task, nobody, nobody, Meter(), first_max=1).run(threading.Event())
    assert (verdict.source_only, verdict.target_only, verdict.taken_over, verdict.records) == (0, 0, 12, 0)
    topic = TopicVerdict("t", "t", (verdict,))
    assert topic.outcome == "not compared"
    assert topic.not_comparable == "not compared: 12 offsets below the offset where the mirror was taken over"
