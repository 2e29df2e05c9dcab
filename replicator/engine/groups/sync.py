"""Makes the target follow the consumer groups of one flow: reads them on the source, waits, commits on the target.

The decisions are in `core.groups.sync`. What a round promises depends on the order of its steps::

    source: groups and their commits
    source: topics, then high watermarks     after the commits, so that the groups' own output lies below
    wait until every mirror has passed them
    state topic: what was written before     by any daemon
    target: members and commits              last, so that a consumer which starts there is seen
    state topic: what will be written        before the write: after a crash it must not look like somebody else's
    target: commit                           refused by the broker if members joined meanwhile
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from replicator.aio.turns import Turns
from replicator.core.groups.sync import Barrier, Reading
from replicator.core.status.lag import FRESH_SECONDS
from replicator.core.topics.selection import matches_group
from replicator.engine.groups.applying import GroupWriter
from replicator.engine.groups.places import MirrorNames, translate_commits
from replicator.engine.groups.sides import GroupSide, SideView
from replicator.engine.groups.status import GroupSnapshot, Picture, Sides, as_last_seen, outcome, picture
from replicator.engine.logs.bounds import ends_of
from replicator.engine.state.groups import GroupRecords
from replicator.errors import KafkaError, ReplicatorError, TimedOut
from replicator.model.names import TopicPartition
from replicator.model.status.groups import GroupOutcome, GroupState, GroupStatus
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from replicator.engine.groups.positions import MirrorName, Positions
    from replicator.engine.state.topic.log import StateLog
    from replicator.model.spec import FlowSpec
    from replicator.wire.cluster import Cluster

_CHECK_SECONDS = 0.1
_ROUNDS_FRESH = 3
"""For how many rounds a reading of both sides counts as current."""
_NAMED_MAX = 3
_REFUSED = frozenset({GroupState.REFUSED, GroupState.UNSUPPORTED})

log = get_logger(__name__)


class GroupSync:
    """The groups of one flow in one daemon.

    Args:
        flow: The flow's policy.
        uid: The flow's id.
        source: The cluster where groups are read.
        target: The cluster where they are written.
        positions: What the copying knows.
        state_log: Where the writes are recorded.
        may_write: Whether this daemon is the one that writes; the others only read.

    Attributes:
        problem: What holds all groups back; None for nothing.
        is_known: Whether the set of groups is known, even if it is empty.
    """

    def __init__(
        self,
        flow: FlowSpec,
        uid: str,
        source: Cluster,
        target: Cluster,
        positions: Positions,
        *,
        state_log: StateLog,
        may_write: Callable[[], bool],
    ) -> None:
        self.problem: str | None = None
        self.is_known = not flow.group_sync.groups.include
        self._flow = flow
        self._source = GroupSide(source)
        self._target = GroupSide(target)
        self._positions = positions
        self._writer = GroupWriter(flow, self._target, positions, GroupRecords(uid, state_log), may_write)
        self._barrier = Barrier()
        self._there = SideView()
        self._there_at: float | None = None
        self._refreshed_at = 0.0
        self._refused: dict[str, str | None] = {}
        self._pictures: dict[str, Picture] = {}
        self._working = asyncio.Lock()
        self._now = asyncio.get_running_loop().time

    # -- questions from outside -------------------------------------------------------------------------------------

    def statuses(self) -> tuple[GroupStatus, ...]:
        """Return how far each group has followed, by name; cheap."""
        now = self._now()
        seen_at = None if self._there_at is None else min(self._there_at, self._refreshed_at)
        stale = seen_at is None or now - seen_at > max(
            FRESH_SECONDS, _ROUNDS_FRESH * self._flow.group_sync.every_seconds
        )
        known = [self._pictures[name].status(now) for name in sorted(self._pictures)]
        return tuple(as_last_seen(one, None if seen_at is None else now - seen_at) if stale else one for one in known)

    async def final_sync(
        self, ends: Mapping[TopicPartition, int] | None, topics: Collection[str], *, timeout_seconds: float
    ) -> tuple[GroupOutcome, ...]:
        """Make one last round before the target takes over; return the outcome for each group.

        It does not check whether this daemon may write: whoever carries out a switch has made sure of that.

        Args:
            ends: Source offsets that every mirror has to pass first, of a source that is closed to writers. None if the
                source cannot be asked: then the last reading is applied if its ends were passed, else the one applied
                before stays. A group never overtakes its own output. Commits beyond the replicated end become that end.
            topics: Source topics that are taken over; commits for other topics continue as before.
            timeout_seconds: How long passing the ends may take.

        Raises:
            TimedOut: The ends were not passed in time.
            KafkaError: A cluster cannot be asked.
        """
        reading = None
        if ends is not None:
            barrier = Barrier()
            await self._read(barrier)
            reading = await self._until_passed(barrier, ends, topics, timeout_seconds)
        mirrors = {name: one for name, one in self._positions.mirrors(every=True).items() if name in topics}
        async with self._working:
            if ends is None:
                waiting = self._barrier.waiting
                passed = waiting is not None and not self._behind(self._barrier, topics)
                reading = waiting.reading if waiting is not None and passed else self._writer.applied.reading
            here = None
            if reading is not None:
                here = await self._writer.apply(reading, mirrors, clamp=ends is None, forced=True)
            await self._refresh_pictures(mirrors, here)
            return tuple(
                outcome(one, self._writer.applied.written.get(name, 0), source_known=ends is not None)
                for name, one in sorted(self._pictures.items())
            )

    async def forget(self, target_topics: Collection[str]) -> None:
        """Forget what was written for these topics: after a switch, the commits on the target are its consumers' own.

        From then on a commit there is replaced only if the source's is further on, as at a first start.

        Raises:
            KafkaError: It could not be recorded.
        """
        async with self._working:
            await self._writer.records.forget(target_topics)

    # -- rounds -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Make rounds until cancelled; none at all if no group is selected."""
        if not self._flow.group_sync.groups.include:
            return
        while True:
            began = self._now()
            try:
                await self.round()
            except ReplicatorError as error:
                self._note_problem(str(error), error.next_step)
            await asyncio.sleep(max(_CHECK_SECONDS, began + self._flow.group_sync.every_seconds - self._now()))

    async def round(self) -> None:
        """Read; wait, at most one round's time, until the waiting reading's ends are passed; apply it; update statuses.

        Raises:
            KafkaError: A cluster cannot be asked.
        """
        mirrors = self._positions.mirrors()
        if not mirrors:
            return
        deadline = self._now() + self._flow.group_sync.every_seconds
        unread: KafkaError | TimedOut | None = None
        try:
            await self._read(self._barrier)
        except (KafkaError, TimedOut) as error:
            unread = error  # the waiting reading may be applied all the same
        while behind := self._behind(self._barrier):
            if self._now() >= deadline:
                break
            await asyncio.sleep(_CHECK_SECONDS)
        # Locked only now: whoever carries out a failover must not wait for a source that is gone.
        async with self._working:
            reading = None if behind else self._barrier.passed()
            done, here = self._writer.applied.reading, None
            if reading is not None and (done is None or reading.began > done.began):
                here = await self._writer.apply(reading, mirrors, clamp=False, forced=False)
            if unread is None:
                self._waits(_waits_for(behind))
            await self._refresh_pictures(mirrors, here)
        if unread is not None:
            raise unread

    async def _read(self, barrier: Barrier) -> None:
        """Read the source's groups, and the ends that have to be passed before they are applied."""
        means = self._flow.group_sync.groups
        taken_ms, began = time.time_ns() // 1_000_000, self._now()
        view = await self._source.read(lambda name: matches_group(means, name))
        reading = Reading(taken_ms, began, self._now(), view.kinds, view.commits)
        # Topics are described after the commits, too: a group's output may be in a topic that was created just now.
        ends_began = self._now()
        cluster = self._source.cluster
        await cluster.refresh(None)
        ends, unseen = await ends_of(cluster, self._positions.wanted())
        if unseen:
            where, why = next(iter(unseen.items()))
            raise KafkaError(
                f"the end of {where} on {cluster.spec.alias} is unknown", cluster=cluster.spec.alias, why=why
            )
        barrier.offer(reading, ends, ends_began)
        self._there, self._there_at = view, began

    def _behind(self, barrier: Barrier, topics: Collection[str] | None = None) -> dict[TopicPartition, str]:
        """Return what the waiting reading still waits for, in some topics or all; empty if no reading waits."""
        ends = barrier.waiting.ends if barrier.waiting is not None else {}
        return self._positions.behind(
            {where: end for where, end in ends.items() if topics is None or where.topic in topics}
        )

    async def _until_passed(
        self,
        barrier: Barrier,
        ends: Mapping[TopicPartition, int],
        topics: Collection[str],
        timeout_seconds: float,
    ) -> Reading | None:
        deadline = self._now() + timeout_seconds
        while behind := {**self._behind(barrier, topics), **self._positions.behind(ends)}:
            if self._now() >= deadline:
                raise TimedOut(
                    f"the groups of {self._flow.name} could not be brought up to date within {timeout_seconds:g} s",
                    why=_waits_for(behind) or "",
                    next_step=f"replicator mirror list {self._flow.name}",
                )
            await asyncio.sleep(_CHECK_SECONDS)
        return barrier.passed()

    async def _refresh_pictures(self, mirrors: Mapping[str, MirrorName], here: SideView | None = None) -> None:
        """Update the pictures that statuses are made from; reads the target unless its groups are given."""
        began = self._now()
        records, there = self._writer.records.groups, self._there
        kinds = self._writer.known() | there.kinds
        here = here or await self._target.find(kinds)
        translated = await translate_commits(self._positions, mirrors, there.commits)
        sides = Sides(there, here, translated, self.problem)
        applied, pictures = self._writer.applied, {}
        names = MirrorNames(mirrors)
        turns = Turns()
        for name, kind in kinds.items():
            commits = there.commits.get(name, {})
            partitions = names.partitions(commits, records.get(name, {}))
            # A group of other topics does not concern this flow; one that cannot be read may.
            if partitions or name in there.refusals:
                seen = GroupSnapshot(
                    kind,
                    partitions,
                    len([where for where in commits if where not in partitions]),
                    applied.verdicts.get(name, {}),
                    applied.reading.commits.get(name, {}) if applied.reading is not None else {},
                    self._writer.checkpoints.get(name),
                )
                pictures[name] = picture(self._flow.name, name, seen, sides)
            await turns.give()
        self._pictures, self._refreshed_at = pictures, began
        self.is_known = self._there_at is not None  # else only groups written before are known
        self._report_refusals()

    def _report_refusals(self) -> None:
        refused = {name: one.bare.detail for name, one in self._pictures.items() if one.bare.state in _REFUSED}
        if refused.keys() - self._refused.keys():
            name, why = next(iter(refused.items()))
            log.warning("groups do not follow", flow=self._flow.name, groups=len(refused), first=name, why=why)
        self._refused = refused

    def _waits(self, text: str | None) -> None:
        """Note what all groups wait for, None for nothing; waiting for a backlog to be copied is normal."""
        if text is not None and self.problem is None:
            log.info("groups wait", flow=self._flow.name, why=text)
        self.problem = text

    def _note_problem(self, text: str, next_step: str) -> None:
        if self.problem is None:
            log.warning("groups not in step", flow=self._flow.name, why=text, next=next_step)
        self.problem = text


def _waits_for(behind: Mapping[TopicPartition, str]) -> str | None:
    if not behind:
        return None
    named = "; ".join(f"{where} {why}" for where, why in list(behind.items())[:_NAMED_MAX])
    more = f"; and {len(behind) - _NAMED_MAX} more" if len(behind) > _NAMED_MAX else ""
    return f"groups wait until what the source held is copied: {named}{more}"
