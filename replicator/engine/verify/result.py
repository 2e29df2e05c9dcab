"""What a comparison of source and target found: frozen values, and their JSON shape."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from replicator.core.verify.record_diff import Difference


@dataclass(frozen=True, slots=True)
class PartitionVerdict:
    """One partition. Every offset is the *next* record.

    Attributes:
        partition: Its number.
        start: First offset compared.
        end: End of the comparison: the lower of both ends.
        records: Records found on both sides.
        bytes: Size of the source's records as compared (keys, values, headers, offsets, times).
        digest: Of the source's records that were compared; equal records give equal digests on every run.
        differences: How many records differ.
        source_only: Offsets below the target's log start; not comparable.
        target_only: Offsets below the source's log start; not comparable.
        taken_over: Offsets that both logs have and that are not compared: below the offset where the mirror was taken
            over, for example by a switch of the other flow.
        behind: Offsets that the target had not reached when the wait for it ended.
        excused: Records on one side only, explained by log compaction.
        problem: Why what follows was not compared, though both sides hold it; None if all was.
    """

    partition: int
    start: int
    end: int
    records: int
    bytes: int
    digest: str
    differences: int = 0
    source_only: int = 0
    target_only: int = 0
    behind: int = 0
    excused: int = 0
    taken_over: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class TopicVerdict:
    """One topic. `problem` is set if it cannot be compared at all: no topic, a different number of partitions."""

    topic: str
    target_topic: str
    partitions: tuple[PartitionVerdict, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()
    first: tuple[Difference, ...] = ()
    problem: str | None = None

    @property
    def equal(self) -> bool | None:
        """Whether every record compared is equal; None if there are records, but none was compared.

        It says nothing about offsets not reached yet (`behind`).
        """
        if self.problem is not None or any(part.differences for part in self.partitions):
            return False
        return None if self._unseen or self.unread else True

    @property
    def unread(self) -> tuple[PartitionVerdict, ...]:
        """Partitions that were not compared to their end, because one of their batches cannot be read."""
        return tuple(part for part in self.partitions if part.problem is not None)

    @property
    def _unseen(self) -> bool:
        return not self.records and any(
            part.source_only or part.target_only or part.taken_over for part in self.partitions
        )

    @property
    def records(self) -> int:
        """Records found on both sides."""
        return sum(part.records for part in self.partitions)

    @property
    def bytes(self) -> int:
        """Size of the source's records as compared."""
        return sum(part.bytes for part in self.partitions)

    @property
    def differences(self) -> int:
        """How many records differ."""
        return sum(part.differences for part in self.partitions)

    @property
    def behind(self) -> int:
        """Offsets that the target had not reached."""
        return sum(part.behind for part in self.partitions)

    @property
    def taken_over(self) -> int:
        """Offsets that both logs have and that were not compared: the mirror was taken over above them."""
        return sum(part.taken_over for part in self.partitions)

    @property
    def outcome(self) -> str:
        """The outcome in a few words."""
        if self.equal is False:
            return self.problem or "DIFFERENT"
        if self.unread:
            return "undecided"
        if self.behind:
            return "behind"
        if self.equal is None:
            return "not compared"
        return "equal above the cut" if self.taken_over else "equal"

    @property
    def not_comparable(self) -> str | None:
        """A sentence about what was not compared, or None."""
        parts = []
        if below := sum(part.source_only for part in self.partitions):
            parts.append(f"{below} offsets of the source are below the target's log start")
        if below := sum(part.target_only for part in self.partitions):
            parts.append(f"{below} offsets of the target are below the source's log start")
        said = [f"not comparable: {' and '.join(parts)}"] if parts else []
        if self.taken_over:
            said.append(f"not compared: {self.taken_over} offsets below the offset where the mirror was taken over")
        said += [f"not compared to its end: partition {part.partition}: {part.problem}" for part in self.unread]
        return "; ".join(said) or None


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The whole comparison; `seconds` is its duration by the monotonic clock."""

    topics: tuple[TopicVerdict, ...]
    seconds: float

    @property
    def equal(self) -> bool | None:
        """Whether every record compared is equal.

        None if there are records but none of any topic was compared, or if a batch cannot be read.
        """
        found = {topic.equal for topic in self.topics}
        if False in found:
            return False
        return None if found == {None} or self.unread else True

    @property
    def unread(self) -> tuple[tuple[str, PartitionVerdict], ...]:
        """Partitions that were not compared to their end, each with the name of its topic."""
        return tuple((topic.topic, part) for topic in self.topics for part in topic.unread)

    @property
    def behind(self) -> int:
        """Offsets that the target had not reached when the wait for it ended."""
        return sum(topic.behind for topic in self.topics)

    @property
    def records(self) -> int:
        """Records found on both sides."""
        return sum(topic.records for topic in self.topics)

    @property
    def bytes(self) -> int:
        """Size of the source's records as compared."""
        return sum(topic.bytes for topic in self.topics)


def summed(counters: list[Counter[Any]]) -> tuple[tuple[str, int], ...]:
    """Return the counts by kind of several partitions, largest first."""
    total: Counter[Any] = sum(counters, Counter())
    return tuple((str(kind), count) for kind, count in total.most_common())


def to_json(result: VerifyResult) -> dict[str, Any]:
    """Return the JSON object of `verify -o json`: snake_case, integers for offsets and sizes.

    `equal` is null if nothing could be compared, or a batch cannot be read.
    """
    return {
        "schema_version": 1,
        "equal": result.equal,
        "complete": result.behind == 0,
        "records": result.records,
        "bytes": result.bytes,
        "behind": result.behind,
        "not_compared": sum(topic.taken_over for topic in result.topics),
        "seconds": round(result.seconds, 3),
        "topics": [_topic(topic) for topic in result.topics],
    }


def _topic(topic: TopicVerdict) -> dict[str, Any]:
    return {
        "topic": topic.topic,
        "target_topic": topic.target_topic,
        "equal": topic.equal,
        "problem": topic.problem,
        "not_comparable": topic.not_comparable,
        "not_compared": topic.taken_over,
        "records": topic.records,
        "bytes": topic.bytes,
        "behind": topic.behind,
        "differences": dict(topic.counts),
        "first_differences": [
            {
                "partition": found.partition,
                "offset": found.offset,
                "kind": found.kind.value,
                "detail": found.detail,
            }
            for found in topic.first
        ],
        "partitions": [_partition(part) for part in topic.partitions],
    }


def _partition(part: PartitionVerdict) -> dict[str, Any]:
    return {
        "partition": part.partition,
        "start": part.start,
        "end": part.end,
        "records": part.records,
        "bytes": part.bytes,
        "digest": part.digest,
        "differences": part.differences,
        "source_below_target_start": part.source_only,
        "target_below_source_start": part.target_only,
        "not_compared": part.taken_over,
        "behind": part.behind,
        "excused_by_compaction": part.excused,
        "problem": part.problem,
    }
