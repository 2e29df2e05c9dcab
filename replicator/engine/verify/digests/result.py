"""What a comparison by digests found: frozen values, and their JSON shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from replicator.core.verify.range_digest import RangeDigest, RangePair

UNDECIDED_COMPACTED = "undecided: the topic is compacted"


@dataclass(frozen=True, slots=True)
class PartitionDigestVerdict:
    """One partition. Every offset is the *next* record.

    Attributes:
        partition: Its number.
        start: First offset that both sides cover.
        end: End of what was compared.
        records: Records of the source in the ranges compared.
        equal_ranges: Ranges with equal digests.
        different: Ranges that differ.
        excused: Ranges whose digests differ, but whose records differ only by what compaction explains.
        undecided: Ranges whose digests differ, perhaps by compaction only.
        behind: Offsets that the target had not reached, or in a range whose end it had not reached.
        not_covered: Offsets of the target above what the file of the source's digests covers.
        not_comparable: Offsets below the higher log start, or in a range that a moving log start cut.
        problem: Why what follows `end` was not compared, though both sides hold it; None if all was.
    """

    partition: int
    start: int
    end: int
    records: int
    equal_ranges: int
    different: tuple[RangePair, ...] = ()
    excused: int = 0
    undecided: tuple[RangePair, ...] = ()
    behind: int = 0
    not_covered: int = 0
    not_comparable: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class TopicDigestVerdict:
    """One topic. `problem` is set if it cannot be compared at all: no topic, a different number of partitions."""

    topic: str
    target_topic: str
    partitions: tuple[PartitionDigestVerdict, ...] = ()
    problem: str | None = None

    @property
    def equal(self) -> bool | None:
        """Whether every range compared is equal; None if that cannot be decided, or nothing was compared."""
        if self.problem is not None or any(part.different for part in self.partitions):
            return False
        return None if self.undecided or self.unread or self._unseen else True

    @property
    def unread(self) -> tuple[PartitionDigestVerdict, ...]:
        """Partitions that were not compared to their end, because one of their batches cannot be read."""
        return tuple(part for part in self.partitions if part.problem is not None)

    @property
    def undecided(self) -> bool:
        """Whether ranges differ that may differ by compaction."""
        return any(part.undecided for part in self.partitions)

    @property
    def _unseen(self) -> bool:
        unseen = any(part.not_comparable or part.not_covered for part in self.partitions)
        return unseen and not any(part.equal_ranges or part.excused for part in self.partitions)

    @property
    def outcome(self) -> str:
        """The outcome in a few words."""
        if self.equal is False:
            return self.problem or "DIFFERENT"
        if self.undecided:
            return UNDECIDED_COMPACTED
        if self.unread:
            return "undecided"
        if self.behind:
            return "behind"
        return "not compared" if self.equal is None else "equal"

    @property
    def equal_ranges(self) -> int:
        """Ranges with equal digests."""
        return sum(part.equal_ranges for part in self.partitions)

    @property
    def different_ranges(self) -> int:
        """Ranges that differ."""
        return sum(len(part.different) for part in self.partitions)

    @property
    def behind(self) -> int:
        """Offsets that were not compared because the target had not reached them."""
        return sum(part.behind for part in self.partitions)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences about what was not compared, or was compared differently."""
        below = sum(part.not_comparable for part in self.partitions)
        beyond = sum(part.not_covered for part in self.partitions)
        excused = sum(part.excused for part in self.partitions)
        said = (
            (below, f"not compared: {below} offsets below the log start of one side, or below a takeover"),
            (beyond, f"not compared: {beyond} offsets of the target above what the file covers"),
            (excused, f"{excused} ranges differ only by compaction"),
        )
        unread = (f"not compared to its end: partition {part.partition}: {part.problem}" for part in self.unread)
        return (*(text for count, text in said if count), *unread)


@dataclass(frozen=True, slots=True)
class DigestResult:
    """The whole comparison; `range_offsets` is the size of the ranges, `seconds` its duration."""

    topics: tuple[TopicDigestVerdict, ...]
    range_offsets: int
    seconds: float

    @property
    def equal(self) -> bool | None:
        """Whether every range compared is equal; None if that cannot be decided, or nothing was compared."""
        found = {topic.equal for topic in self.topics}
        if False in found:
            return False
        return None if self.undecided or self.unread or found == {None} else True

    @property
    def unread(self) -> tuple[tuple[str, PartitionDigestVerdict], ...]:
        """Partitions that were not compared to their end, each with the name of its topic."""
        return tuple((topic.topic, part) for topic in self.topics for part in topic.unread)

    @property
    def undecided(self) -> bool:
        """Whether ranges differ that may differ by compaction."""
        return any(topic.undecided for topic in self.topics)

    @property
    def behind(self) -> int:
        """Offsets that were not compared because the target had not reached them."""
        return sum(topic.behind for topic in self.topics)

    @property
    def records(self) -> int:
        """Records of the source in the ranges compared."""
        return sum(part.records for topic in self.topics for part in topic.partitions)


def to_json(result: DigestResult) -> dict[str, Any]:
    """Return the JSON object of `verify --digest -o json`; `equal` is null if it cannot be decided."""
    return {
        "schema_version": 1,
        "equal": result.equal,
        "complete": result.behind == 0,
        "range_offsets": result.range_offsets,
        "records": result.records,
        "behind": result.behind,
        "seconds": round(result.seconds, 3),
        "topics": [_topic(topic) for topic in result.topics],
    }


def _topic(topic: TopicDigestVerdict) -> dict[str, Any]:
    return {
        "topic": topic.topic,
        "target_topic": topic.target_topic,
        "equal": topic.equal,
        "problem": topic.problem,
        "remarks": list(topic.remarks),
        "ranges_equal": topic.equal_ranges,
        "ranges_different": topic.different_ranges,
        "behind": topic.behind,
        "partitions": [_partition(part) for part in topic.partitions],
    }


def _partition(part: PartitionDigestVerdict) -> dict[str, Any]:
    return {
        "partition": part.partition,
        "start": part.start,
        "end": part.end,
        "records": part.records,
        "ranges_equal": part.equal_ranges,
        "ranges_excused_by_compaction": part.excused,
        "different": [_pair(pair) for pair in part.different],
        "cannot_be_told": [_pair(pair) for pair in part.undecided],
        "behind": part.behind,
        "not_covered": part.not_covered,
        "not_comparable": part.not_comparable,
        "problem": part.problem,
    }


def _pair(pair: RangePair) -> dict[str, Any]:
    return {"start": pair.start, "end": pair.end, "source": _side(pair.source), "target": _side(pair.target)}


def _side(found: RangeDigest) -> dict[str, Any]:
    return {"records": found.records, "digest": found.digest}
