"""What two sides' digests say, and the file in which one side's travel."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from replicator.core.verify.range_digest import RangeDigest, RangeDigester
from replicator.core.verify.rows import Row
from replicator.engine.verify.digests import file as verify_digest_file
from replicator.engine.verify.digests.file import PartitionDigests, SideDigests, TopicDigests
from replicator.engine.verify.digests.partition import judged
from replicator.engine.verify.digests.result import DigestResult, PartitionDigestVerdict, TopicDigestVerdict, to_json
from replicator.errors import UsageError
from replicator.model.spec import Isolation, SideName


def rows(first: int, end: int, flipped: int = -1) -> list[Row]:
    """Return a record at each offset, one of them another one."""
    return [(at, at, b"k", b"!" if at == flipped else b"v", None) for at in range(first, end)]


def side(
    start: int, end: int, *, read: tuple[int, int] | None = None, cut: int | None = None, flipped: int = -1
) -> PartitionDigests:
    """Return a log [start, end) of which `read` was digested in ranges of ten offsets, the last up to `cut`."""
    first, last = read or (start, end)
    digester = RangeDigester(first, 10)
    digester.feed(rows(first, last, flipped))
    digester.finish(last if cut is None else cut)
    return PartitionDigests(0, start, end, digester.ranges)


def numbers(verdict: PartitionDigestVerdict) -> tuple[int, int, int, int, int]:
    """Return (equal ranges, different ranges, behind, not covered, not comparable)."""
    return (
        verdict.equal_ranges,
        len(verdict.different),
        verdict.behind,
        verdict.not_covered,
        verdict.not_comparable,
    )


def test_equal_sides() -> None:
    """Every range, and all records."""
    verdict = judged(side(0, 35), side(0, 35))
    assert numbers(verdict) == (4, 0, 0, 0, 0)
    assert (verdict.start, verdict.end, verdict.records) == (0, 35, 35)


def test_nothing_is_called_equal_that_was_not_compared() -> None:
    """Where the log start of one side is above all that the other has, no range is."""
    for verdict, outcome in (
        (judged(side(0, 35), side(0, 35)), "equal"),
        (judged(side(35, 35), side(0, 35)), "not compared"),
        (judged(side(0, 0), side(0, 0)), "equal"),
        (judged(side(0, 35), side(0, 35, flipped=3)), "DIFFERENT"),
    ):
        topic = TopicDigestVerdict("t", "t", (verdict,))
        assert topic.outcome == outcome
        whole = DigestResult((topic,), 10, 1.0)
        assert topic.equal is whole.equal is {"not compared": None, "DIFFERENT": False}.get(outcome, True)


def test_one_record_is_found_in_its_range() -> None:
    """And nowhere else."""
    verdict = judged(side(0, 35), side(0, 35, flipped=17))
    assert numbers(verdict) == (3, 1, 0, 0, 0)
    assert (verdict.different[0].start, verdict.different[0].end) == (10, 20)


def test_log_starts_that_differ() -> None:
    """Both sides are read from the higher one."""
    verdict = judged(side(5, 35, read=(12, 35)), side(12, 35))
    assert numbers(verdict) == (3, 0, 0, 0, 7)


def test_a_target_that_is_behind_where_both_are_read() -> None:
    """Both are read up to the lower end: all below it is compared."""
    verdict = judged(side(0, 35, read=(0, 28)), side(0, 28))
    assert numbers(verdict) == (3, 0, 7, 0, 0)


def test_a_target_that_is_longer_than_its_source() -> None:
    """What stands there is extra."""
    verdict = judged(side(0, 28, cut=35), side(0, 35))
    assert numbers(verdict) == (2, 2, 0, 0, 0)
    assert [pair.source.records for pair in verdict.different] == [8, 0]


def test_a_file_of_the_source_and_a_target_that_went_on() -> None:
    """Only what the file covers is compared; that the target has more by now is no fault."""
    verdict = judged(side(0, 28), side(0, 99, read=(0, 28)), SideName.SOURCE)
    assert numbers(verdict) == (3, 0, 0, 71, 0)


def test_a_file_of_the_source_and_a_target_behind_it() -> None:
    """A digest cannot be cut: the range in which the target ends is behind as a whole."""
    verdict = judged(side(0, 28), side(0, 24), SideName.SOURCE)
    assert numbers(verdict) == (2, 0, 8, 0, 0)


def test_a_file_whose_first_range_was_cut_by_retention_since() -> None:
    """Neither can it be cut at its start."""
    verdict = judged(side(0, 40), side(13, 40), SideName.SOURCE)
    assert numbers(verdict) == (2, 0, 0, 0, 20)
    verdict = judged(side(13, 40), side(0, 40, read=(13, 40)), SideName.SOURCE)
    assert numbers(verdict) == (3, 0, 0, 0, 13)


def test_a_last_range_that_cannot_be_compared_is_said_so() -> None:
    """Nothing is behind, and yet no range was compared."""
    verdict = judged(side(0, 28), side(25, 40, read=(25, 28)), SideName.SOURCE)
    assert numbers(verdict) == (0, 0, 0, 12, 28)


def test_a_file_of_the_target_and_a_source_that_went_on() -> None:
    """The target had not got the rest."""
    verdict = judged(side(0, 50, read=(0, 28)), side(0, 28), SideName.TARGET)
    assert numbers(verdict) == (3, 0, 22, 0, 0)


def test_a_file_of_the_target_that_holds_more_than_the_source_has_later() -> None:
    """It was never the source's."""
    verdict = judged(side(0, 28, cut=31), side(0, 31), SideName.TARGET)
    assert numbers(verdict) == (2, 2, 0, 0, 0)


def test_nothing_in_common() -> None:
    """Not comparable, and not equal by silence: no range is."""
    verdict = judged(side(0, 28, read=(28, 28)), side(40, 40, read=(40, 40)), SideName.TARGET)
    assert numbers(verdict) == (0, 0, 0, 0, 28)


def test_a_compacted_topic_against_a_file_is_neither_equal_nor_different() -> None:
    """Unless its digests are equal: then it is."""
    verdict = judged(side(0, 35), side(0, 35, flipped=17), SideName.SOURCE, compacted=True)
    assert (verdict.different, len(verdict.undecided)) == ((), 1)
    topic = TopicDigestVerdict("a", "a", (verdict,))
    assert topic.equal is None
    assert DigestResult((topic,), 10, 1.0).equal is None
    other = TopicDigestVerdict("b", "b", (judged(side(0, 35), side(0, 35, flipped=17)),))
    assert DigestResult((topic, other), 10, 1.0).equal is False
    assert TopicDigestVerdict("a", "a", (judged(side(0, 9), side(0, 9), SideName.SOURCE, compacted=True),)).equal


def test_the_result_is_json() -> None:
    """With the ranges that differ, and counts of the equal ones."""
    topic = TopicDigestVerdict("a", "b", (judged(side(0, 35), side(0, 35, flipped=17)),))
    found = json.loads(json.dumps(to_json(DigestResult((topic,), 10, 1.25))))
    assert (found["equal"], found["complete"], found["range_offsets"], found["seconds"]) == (False, True, 10, 1.25)
    assert (found["topics"][0]["ranges_equal"], found["topics"][0]["ranges_different"]) == (3, 1)
    (different,) = found["topics"][0]["partitions"][0]["different"]
    assert (different["start"], different["end"], different["source"]["records"]) == (10, 20, 10)
    assert different["source"]["digest"] != different["target"]["digest"]


DIGESTS = SideDigests(
    flow="east-to-west",
    side=SideName.SOURCE,
    isolation=Isolation.READ_COMMITTED,
    range_offsets=10,
    topics=(
        TopicDigests("a", "b", compacted=True, partitions=(PartitionDigests(0, 3, 9, (RangeDigest(3, 9, 6, "ab"),)),)),
    ),
)


UNREAD = replace(
    DIGESTS,
    topics=(
        TopicDigests("a", "b", compacted=False, partitions=(replace(side(0, 35, read=(0, 20)), problem="damaged"),)),
    ),
)
UNREAD_PART = verify_digest_file.to_json(UNREAD)["topics"][0]["partitions"][0]


@pytest.mark.parametrize("digests", [DIGESTS, UNREAD])
def test_digests_survive_the_file(tmp_path: Path, digests: SideDigests) -> None:
    """Every field."""
    path = tmp_path / "source.json"
    path.write_text(json.dumps(verify_digest_file.to_json(digests)))
    assert verify_digest_file.read(path) == digests


def test_a_file_says_what_it_does_not_cover() -> None:
    """One of an earlier version covers all that it tells of."""
    found = verify_digest_file.from_json(json.loads(json.dumps(verify_digest_file.to_json(UNREAD))))
    assert found.unread == (("a", found.topics[0].partitions[0]),)
    assert (found.topics[0].partitions[0].end, found.topics[0].partitions[0].reached) == (35, 20)
    assert replace(found, side=SideName.TARGET).unread[0][0] == "b"
    value = verify_digest_file.to_json(DIGESTS)
    del value["topics"][0]["partitions"][0]["problem"]
    assert verify_digest_file.from_json(value) == DIGESTS


def test_words_of_a_file_do_not_act_on_a_terminal() -> None:
    """It comes from another site."""
    part = UNREAD_PART | {"problem": "\x1b[2J" + "x" * 1_000_000}
    topic = verify_digest_file.to_json(UNREAD)["topics"][0] | {"partitions": [part]}
    found = verify_digest_file.from_json(verify_digest_file.to_json(UNREAD) | {"topics": [topic]})
    problem = found.topics[0].partitions[0].problem
    assert problem is not None
    assert problem.isprintable()
    assert len(problem) < 400


@pytest.mark.parametrize("file", [SideName.SOURCE, SideName.TARGET, None])
@pytest.mark.parametrize("swapped", [False, True])
def test_what_is_not_covered_is_neither_equal_nor_behind(file: SideName | None, *, swapped: bool) -> None:
    """What lies below was compared: a difference there is one."""
    for flipped, equal in ((-1, None), (17, False), (27, None)):
        cut = replace(side(0, 35, read=(0, 20)), problem="damaged")
        whole = side(0, 30, read=(0, 30), flipped=flipped)
        verdict = judged(whole if swapped else cut, cut if swapped else whole, file)
        assert (verdict.problem, verdict.end, verdict.behind, verdict.not_covered) == ("damaged", 20, 0, 0)
        topic = TopicDigestVerdict("a", "b", (verdict,))
        assert topic.equal is equal
        assert "not compared to its end: partition 0: damaged" in topic.remarks[-1]
    nothing = replace(side(0, 35, read=(0, 0), cut=0), problem="damaged")
    assert TopicDigestVerdict("a", "b", (judged(nothing, side(0, 35)),)).equal is None


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"schema_version": 2},
        {"side": "middle"},
        {"range_offsets": 0},
        {"topics": [{"topic": "a"}]},
        {"topics": [verify_digest_file.to_json(UNREAD)["topics"][0] | {"partitions": [UNREAD_PART | {"problem": 1}]}]},
        {"topics": [{"topic": "a", "target_topic": "a", "compacted": False, "partitions": [{"partition": 1}]}]},
    ],
)
def test_another_file_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    """In words, with the command that makes the right one."""
    path = tmp_path / "source.json"
    path.write_text(json.dumps(verify_digest_file.to_json(DIGESTS) | change))
    with pytest.raises(UsageError, match="does not contain the digests"):
        verify_digest_file.read(path)
    path.write_text("no json")
    with pytest.raises(UsageError, match="does not contain the digests"):
        verify_digest_file.read(path)
    with pytest.raises(UsageError, match="cannot be read"):
        verify_digest_file.read(tmp_path / "absent")
