"""Verifies two clusters continuously without a daemon, in rounds over all partitions of a flow.

The order of events in each round is that of `engine.verify.compare`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.admin.topics import TopicAdmin
from replicator.core.verify.track import VerifyTrack
from replicator.engine.verify.compare import LoadViews, VerifyOptions, survey
from replicator.engine.verify.continuous import Verifier, VerifyRange
from replicator.errors import KafkaError
from replicator.model.names import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from replicator.core.verify.record_diff import Difference
    from replicator.engine.verify.partition import Task
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import Isolation


@dataclass(frozen=True, slots=True)
class Followed:
    """One partition after a round. Offsets are next records; `age_seconds` None: not yet verified to its end."""

    where: TopicPartition
    through: int | None
    end: int
    behind: int
    age_seconds: float | None
    differences: int
    first: Difference | None


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found; `problems` say which topics cannot be compared, and why."""

    partitions: tuple[Followed, ...]
    problems: tuple[str, ...]

    @property
    def differences(self) -> int:
        """Records that differ, over all partitions and rounds."""
        return sum(part.differences for part in self.partitions)

    @property
    def left(self) -> int:
        """Offsets that both sides hold and that are not compared yet."""
        return sum(max(0, part.end - (part.through or 0)) for part in self.partitions)

    @property
    def behind(self) -> int:
        """Offsets that the target had not reached."""
        return sum(part.behind for part in self.partitions)

    @property
    def age_seconds(self) -> float | None:
        """Age of the last moment up to which everything was compared, in the worst partition; None if there is none."""
        ages = [part.age_seconds for part in self.partitions]
        known = [age for age in ages if age is not None]
        return max(known) if known and len(known) == len(ages) else None

    @property
    def first(self) -> tuple[TopicPartition, Difference] | None:
        """The first difference of the first partition that has one."""
        return next(((part.where, part.first) for part in self.partitions if part.first is not None), None)


class Follower:
    """Verifies one flow in rounds.

    Args:
        source: How to reach the source.
        target: How to reach the target.
        topics: Returns the topics to compare now: source name -> target name.
        isolation: Which records count.
        bytes_per_second: Bound over both sides; None for none.
        load_views: Returns the maps of partitions whose offsets differ from the source's.
        round_seconds: A round is reported at least this often, even before it has reached every end.
    """

    def __init__(
        self,
        source: ClusterSpec,
        target: ClusterSpec,
        topics: Callable[[], Awaitable[dict[str, str]]],
        isolation: Isolation,
        *,
        bytes_per_second: int | None = None,
        round_seconds: float = 30.0,
        load_views: LoadViews | None = None,
    ) -> None:
        self._load_views = load_views
        self._admins = TopicAdmin(source), TopicAdmin(target)
        self._verifier = Verifier(source, target, isolation, bytes_per_second)
        self._topics = topics
        self._options = VerifyOptions(isolation)
        self._round_seconds = round_seconds
        self._tracks: dict[TopicPartition, VerifyTrack] = {}
        self._tasks: list[Task] = []

    async def rounds(self) -> AsyncGenerator[Round, None]:
        """Yield what each round found, forever; a cluster that cannot be reached is a problem of that round.

        Raises:
            KafkaError: A cluster refuses to be read.
        """
        loop = asyncio.get_running_loop()
        try:
            async with self._verifier:
                while True:
                    began = loop.time()
                    problems: tuple[str, ...] = ()
                    try:
                        problems = await self._round(began + self._round_seconds)
                    except KafkaError as error:
                        if not error.retryable:
                            raise
                        problems = (str(error),)
                    found = Round(tuple(self._followed(task, loop.time()) for task in self._tasks), problems)
                    yield found
                    if not found.left or problems:
                        await asyncio.sleep(max(0.0, began + self._round_seconds - loop.time()))
        finally:
            for admin in self._admins:
                await admin.close()

    async def _round(self, deadline: float) -> tuple[str, ...]:
        """Compare what is new until nothing is left or the time is up; return what cannot be compared."""
        self._tasks, verdicts = await survey(*self._admins, await self._topics(), self._options, self._load_views)
        await self._until([self._span(task) for task in self._tasks], deadline)
        return tuple(verdict.problem for verdict in verdicts.values() if verdict.problem)

    def _span(self, task: Task) -> VerifyRange:
        track = self._tracks.setdefault(task.source, VerifyTrack(task.source.partition))
        floor = task.view.floor
        return VerifyRange(track, task.source, task.target, task.end, task.target_end, floor, task.compacted, task.view)

    async def _until(self, spans: list[VerifyRange], deadline: float) -> None:
        """Let partitions take turns until all are at their ends, or the time is up."""
        loop = asyncio.get_running_loop()
        while spans:
            left = []
            for span in spans:
                if await self._verifier.compare_next(span):
                    left.append(span)
                if loop.time() >= deadline:
                    return
            spans = left

    def _followed(self, task: Task, now: float) -> Followed:
        track = self._tracks[task.source]
        return Followed(
            where=task.source,
            through=track.through,
            end=task.end,
            behind=max(0, task.source_end - max(task.target_end, task.source_start)),
            age_seconds=track.age_seconds(now),
            differences=track.differences,
            first=track.first,
        )
