"""The demo's result, and its last screen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from replicator.cli.demo.stage import Pace
from replicator.cli.demo.switches import Switched
from replicator.cli.printing.output import age, number
from replicator.engine.verify.result import VerifyResult

_DIFFERENCES_MAX = 10


@dataclass(frozen=True, slots=True)
class Result:
    """What the demo found.

    Attributes:
        written: Records that east acknowledged.
        deleted: How many of these were deleted from the front of a log.
        compared: Result of the comparison.
        speed: Speed of the first copy.
        after_kill_seconds: From the kill of the replicator until its successor had caught up.
        after_broker_seconds: From the broker's return until the copy had caught up.
        to_west: The switchover.
        to_east: The failback.
    """

    written: int
    deleted: int
    compared: VerifyResult
    speed: Pace | None
    after_kill_seconds: float
    after_broker_seconds: float
    to_west: Switched
    to_east: Switched

    @property
    def equal(self) -> bool:
        """Whether every record that was written and not deleted is on both sides, equal and exactly once."""
        return not list(self.differences())

    def differences(self) -> Iterator[str]:
        """Yield one sentence for each thing that is wrong."""
        for topic in self.compared.topics:
            if topic.problem is not None:
                yield f"{topic.topic}: {topic.problem}"
            if topic.differences:
                yield f"{topic.topic}: {number(topic.differences)} records differ"
            if topic.behind:
                yield f"{topic.topic}: {number(topic.behind)} offsets did not arrive"
            if topic.not_comparable:
                yield f"{topic.topic}: {topic.not_comparable}"
            for found in topic.first[:_DIFFERENCES_MAX]:
                yield f"{topic.topic}-{found.partition}, offset {found.offset}: {found.kind}: {found.detail}"
        for switched in (self.to_west, self.to_east):
            if not switched.sound:
                yield f"a switch lost something: {self._text(switched)}"
        expected = self.written - self.deleted
        if self.compared.records != expected:
            yield f"{number(expected)} records were to be compared, {number(self.compared.records)} were"

    @staticmethod
    def _text(switched: Switched) -> str:
        groups = "groups exact" if not switched.groups_inexact else f"{switched.groups_inexact} groups not exact"
        return f"{age(switched.seconds)}, {switched.lost} lost, {groups}"

    def rows(self) -> list[tuple[str, str, bool | None]]:
        """Return the last screen: name, value, good or bad."""
        partitions = sum(len(topic.partitions) for topic in self.compared.topics)
        rows: list[tuple[str, str, bool | None]] = [
            ("records", f"{number(self.compared.records)} in {partitions} partitions", None),
        ]
        if self.speed is not None:
            rows += [
                ("first copy", f"{self.speed.bytes_per_second / 1e6:,.0f} MB/s", None),
                ("CPU", f"{self.speed.cpu_seconds_per_gb:.1f} seconds per GB", None),
            ]
        return [
            *rows,
            ("after kill -9", f"caught up in {age(self.after_kill_seconds)}", None),
            ("after broker restart", f"caught up in {age(self.after_broker_seconds)}", None),
            ("switchover to west", self._text(self.to_west), self.to_west.sound),
            ("failback to east", self._text(self.to_east), self.to_east.sound),
            ("active now", "east", None),
            ("lost, doubled, moved", "none" if self.equal else "see below", self.equal),
            ("equal", "yes" if self.equal else "NO", self.equal),
        ]
