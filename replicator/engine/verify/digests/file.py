"""The digests of one side, and the JSON file that carries them: digests and offsets, no records."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replicator.core.verify.range_digest import RangeDigest
from replicator.errors import UsageError
from replicator.model.spec import Isolation, SideName
from replicator.model.text import said

_KIND = "replicator.verify.digests"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class PartitionDigests:
    """One partition: the offsets [start, end) that are covered, and their ranges.

    `problem` is why nothing after the last range is covered, though the log continues to `end`; None if all is.
    """

    partition: int
    start: int
    end: int
    ranges: tuple[RangeDigest, ...]
    problem: str | None = None

    @property
    def reached(self) -> int:
        """End of what is covered."""
        if self.problem is None:
            return self.end
        return self.ranges[-1].end if self.ranges else self.start


@dataclass(frozen=True, slots=True)
class TopicDigests:
    """One topic, by both its names. `compacted`: whether a cleaner removes records from inside this side's log."""

    topic: str
    target_topic: str
    compacted: bool
    partitions: tuple[PartitionDigests, ...]


@dataclass(frozen=True, slots=True)
class SideDigests:
    """One side of a flow, read under one isolation level and cut on one grid."""

    flow: str
    side: SideName
    isolation: Isolation
    range_offsets: int
    topics: tuple[TopicDigests, ...]

    @property
    def unread(self) -> tuple[tuple[str, PartitionDigests], ...]:
        """Partitions that are not covered to their ends, each with its topic's name on this side."""
        return tuple(
            (topic.topic if self.side is SideName.SOURCE else topic.target_topic, part)
            for topic in self.topics
            for part in topic.partitions
            if part.problem is not None
        )


def to_json(digests: SideDigests) -> dict[str, Any]:
    """Return the JSON object; a range is [start, end, records, digest].

    If `problem` is not null, nothing after the last range of that partition is covered.
    """
    return {
        "schema_version": _VERSION,
        "kind": _KIND,
        "flow": digests.flow,
        "side": digests.side,
        "isolation": digests.isolation,
        "range_offsets": digests.range_offsets,
        "topics": [
            {
                "topic": topic.topic,
                "target_topic": topic.target_topic,
                "compacted": topic.compacted,
                "partitions": [
                    {
                        "partition": part.partition,
                        "start": part.start,
                        "end": part.end,
                        "ranges": [[one.start, one.end, one.records, one.digest] for one in part.ranges],
                        "problem": part.problem,
                    }
                    for part in topic.partitions
                ],
            }
            for topic in digests.topics
        ],
    }


def read(path: Path) -> SideDigests:
    """Return the digests of a file.

    Raises:
        UsageError: It cannot be read, or does not contain the digests of one side.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--against: {path} cannot be read", why=str(error)) from None
    try:
        return from_json(json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"--against: {path} does not contain the digests of one side",
            why=f"{type(error).__name__}: {error}",
            next_step="write it with `replicator verify FLOW -c FILE --digest --side source -o json`",
        ) from None


def from_json(value: Any) -> SideDigests:
    """Return the digests of a JSON object.

    Raises:
        KeyError: A key is missing.
        TypeError: A value is of another type.
        ValueError: A value makes no sense, or the object is of another kind or version.
    """
    if value["kind"] != _KIND or value["schema_version"] != _VERSION:
        raise ValueError(f"kind {value['kind']!r}, version {value['schema_version']!r}")
    return SideDigests(
        flow=str(value["flow"]),
        side=SideName(value["side"]),
        isolation=Isolation(value["isolation"]),
        range_offsets=_count(value["range_offsets"], least=1),
        topics=tuple(_topic(topic) for topic in value["topics"]),
    )


def _topic(value: Any) -> TopicDigests:
    parts = tuple(_partition(part) for part in value["partitions"])
    if [part.partition for part in parts] != list(range(len(parts))):
        raise ValueError(f"partitions of {value['topic']!r} are missing")
    return TopicDigests(str(value["topic"]), str(value["target_topic"]), bool(value["compacted"]), parts)


def _partition(value: Any) -> PartitionDigests:
    ranges = tuple(
        RangeDigest(_count(start), _count(end), _count(records), str(digest))
        for start, end, records, digest in value["ranges"]
    )
    problem = value.get("problem")  # files of earlier versions cover all that they list
    if problem is not None and not isinstance(problem, str):
        raise ValueError(f"{problem!r} is not text")
    bounds = _count(value["start"]), _count(value["end"])
    return PartitionDigests(_count(value["partition"]), *bounds, ranges, said(problem) if problem else problem)


def _count(value: object, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{value!r} is not a number of {least} or more")
    return value
