"""The end of a switch, and its ways out: the decision on the source, its markers, and the reverse flow."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.core.copy.attaching.facts import Role
from replicator.core.offsets.offset_map import OffsetMap, OffsetPair, Run
from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.core.switch.machine.recording import applied
from replicator.core.switch.running import decided, way_back
from replicator.engine.copy.partitions.live_maps import recorded_map
from replicator.engine.state import records as state
from replicator.engine.state.held_back import held_back_of, put_held_back
from replicator.engine.state.journal import copy_of
from replicator.engine.state.ownership.identity import establish
from replicator.engine.switch.changes import change_copy
from replicator.engine.switch.context import takes_over
from replicator.engine.switch.places import log_ends
from replicator.engine.switch.takeover import Takeover, take_over
from replicator.engine.work.fence import FenceWriter
from replicator.errors import BugError, Conflict, TimedOut
from replicator.model.acl import Rule, parse
from replicator.model.names import TopicPartition, way_back_transactional_id
from replicator.model.switch.journal import Journal, by_partition, by_topic
from replicator.model.switch.terms import Cut, Decision
from replicator.obs.logs import get_logger
from replicator.wire.messages.data.transactions import init_producer_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicator.core.switch.machine.machine import SwitchFacts
    from replicator.engine.state.topic.log import Change, StateLog
    from replicator.engine.switch.context import SwitchContext
    from replicator.state_pb import state_pb2 as pb

_MARK_SECONDS = 15.0
_RUNS_MAX = 4096
"""Segments of a partition's map that are carried over: they share one record with those of the other partitions."""

log_ = get_logger(__name__)


class Reverse:
    """The steps on the source's side once the source is closed.

    Args:
        context: What the switch works on.
    """

    def __init__(self, context: SwitchContext) -> None:
        self._context = context

    # -- who decides ------------------------------------------------------------------------------------------------

    async def decide(self, journal: Journal, wanted: Decision) -> got.Result:
        """Write a decision to the source's copy unless there is another; return the one that counts."""
        log = await self._context.source_log()
        target_id = self._context.target.cluster_id or ""

        def change(before: Journal | None) -> Journal:
            return replace(decided(before, journal, wanted), target_cluster_id=target_id)

        copy = await change_copy(log, self._context.uid, change)
        if copy.decision is None:
            raise BugError(f"switch {journal.id} has no copy on {self._context.flow.source} after it was written")
        return got.Decided(copy.decision)

    async def decision(self, journal: Journal) -> Decision | None:
        """Return the decision in the source's copy of a switch; None if there is no copy.

        Raises:
            KafkaError: The source cannot be asked.
        """
        copy = copy_of((await self._context.source_log()).records, self._context.uid)
        return copy.decision if copy is not None and copy.id == journal.id else None

    # -- the way back -------------------------------------------------------------------------------------------------

    async def mark_source(self, uid: str, step: do.MarkSource) -> got.Result:
        """See `do.MarkSource`.

        The markers have their own producer: the target's producer id could be an application's here. After an
        interruption, the ends show which partitions were already marked.
        """
        source = self._context.source
        ends = {TopicPartition(end.topic, end.partition): end.source for end in step.ends}
        await source.refresh(sorted({where.topic for where in ends}))
        now = await log_ends(source, ends)
        quiet = [where for where, end in now.items() if end == ends[where]]
        if quiet:
            identity = await init_producer_id(source, way_back_transactional_id(uid))
            fence = FenceWriter(source, uid, identity.producer_id, identity.producer_epoch, in_bulk=True)
            try:
                await fence.stand(quiet, _MARK_SECONDS)
            except TimedOut as error:
                return got.NotYet(str(error))
        return got.Ok()

    # -- the reverse flow ---------------------------------------------------------------------------------------------

    async def prepare_reverse(self) -> got.Result:
        """See `do.PrepareReverse`: create the flow's record, even if its daemon was never started."""
        context = self._context
        await establish(
            context.reversed(), context.target.cluster_id or "", context.source, await context.source_log(), context.me
        )
        return got.Ok()

    async def reverse_copies(self, topics: Iterable[str]) -> bool:
        """Return whether the reverse flow copies now.

        Args:
            topics: Source topics of the mirrors in question; none for the whole flow.

        Raises:
            KafkaError: The source cannot be asked.
        """
        log = await self._context.source_log()
        reverse = self._context.reversed()
        found = state.find_flow(
            log.records, reverse.name, self._context.target.cluster_id, self._context.source.cluster_id
        )
        writers = state.writers_of(log.records, found.uid) if found is not None else None
        named = tuple(topics)
        if writers is None or not named:
            return writers is not None and writers.flow.role is Role.COPYING
        return all(writers.copies(name) for name in named)

    async def start_reverse(self, journal: Journal, locks: Iterable[str]) -> got.Result:
        """See `do.StartReverse`: it starts where the switch cut, at the same moment in both logs."""
        await self.take_over(journal, journal.cuts, locks)
        return got.Ok()

    async def take_over(
        self, journal: Journal, cuts: Iterable[Cut], locks: Iterable[str], doomed: Mapping[str, bytes] | None = None
    ) -> None:
        """Let the reverse flow copy from these cuts on; its passive side owns the locks from then on.

        Args:
            journal: The switch.
            cuts: The same moment in both logs, per partition; `source` is an offset of the old source.
            locks: Locks that keep writers off the old source.
            doomed: Ids of topics on the old source to delete and mirror again.

        Raises:
            KafkaError: A cluster refuses.
            Conflict: The reverse flow already copies, from elsewhere.
        """
        context = self._context
        log = await context.source_log()
        uid = context.reverse_uid(log)
        topics = await self._takeovers(journal, cuts, doomed or {})
        kept = tuple(sorted(parse(one) for one in locks))
        await take_over(
            log,
            uid,
            topics,
            epoch=0,
            reason=takes_over(journal),
            actor=journal.actor or context.me,
            alone=bool(journal.topics),
            also=lambda records: with_locks(records, uid, kept),
        )

    async def _takeovers(self, journal: Journal, cuts: Iterable[Cut], doomed: Mapping[str, bytes]) -> list[Takeover]:
        """Return the topics as the reverse flow sees them: its source is what was cut on our target."""
        context = self._context
        topics = by_topic(cuts)
        own = by_partition(journal.cuts)
        names = [some[0].target_topic for some in topics.values()]
        old, new = await asyncio.gather(context.source.existing(topics), context.target.existing(names))
        found = []
        for name, some in topics.items():
            there = some[0].target_topic
            mirror = state.get_mirror(context.log.records, context.uid, there)
            if there not in new:
                log_.warning("topic is gone from the new primary, it is left out", topic=there)
                continue
            if name not in old and name not in doomed:
                log_.warning("topic is gone from the old source, it is mirrored again", topic=name)
                continue
            found.append(
                Takeover(
                    there,
                    name,
                    new[there].topic_id,
                    doomed.get(name) or old[name].topic_id,
                    {cut.partition: OffsetPair(cut.target, cut.source) for cut in some},
                    {cut.partition: self._known(mirror, own[cut.topic, cut.partition]) for cut in some},
                    mapped=any(cut.mapped for cut in some),
                    recreate=name in doomed,
                )
            )
        return found

    def _known(self, mirror: pb.MirrorRecord | None, cut: Cut) -> OffsetMap:
        """Return this flow's map up to the cut with both sides swapped, so that groups can be translated below it."""
        records, uid = self._context.log.records, self._context.uid
        end = OffsetPair(cut.source, cut.target)
        offsets = OffsetMap(OffsetPair(0, 0))
        straight = True
        if mirror is not None and cut.partition in mirror.maps:
            recorded = mirror.maps[cut.partition]
            where = TopicPartition(cut.target_topic, cut.partition)
            offsets, straight = recorded_map(records, uid, where, recorded), not recorded.mapped
        if straight:
            offsets.go_straight(end)
        runs = list(offsets.below(end))[-_RUNS_MAX:]
        begin = OffsetPair(runs[0].source, runs[0].target) if len(runs) == _RUNS_MAX else offsets.begin
        swapped = (Run(run.target, run.source, run.length) for run in runs)
        return OffsetMap.of(OffsetPair(begin.target, begin.source), swapped)


def with_locks(records: Mapping[bytes, bytes], uid: str, locks: Iterable[Rule]) -> list[Change]:
    """Return the change that makes locks of a passive side the flow's own; none if they already are."""
    held = held_back_of(records, uid)
    after = replace(held, locks=tuple(sorted({*held.locks, *locks})))
    return [put_held_back(uid, after)] if after != held else []


async def take_way_back(log: StateLog, uid: str, why: str) -> Journal:
    """Decide on the source that it opens again; return its copy.

    Raises:
        Conflict: The target was opened, or may open any moment, or there is no copy.
        KafkaError: The source refuses.
    """

    def change(copy: Journal | None) -> Journal:
        if copy is None:
            raise Conflict(
                "the source has no copy of a running switch: there is no way back", next_step="replicator flow status"
            )
        return way_back(copy, why)

    return await change_copy(log, uid, change)


async def record_on_copy(
    log: StateLog, uid: str, step: do.Step, result: got.Result, *, asked: Journal, facts: SwitchFacts, executor: str
) -> Journal:
    """Record a step of the way back on the source's copy; return it.

    Raises:
        Conflict: Someone else was faster.
        KafkaError: The source refuses.
    """

    def change(copy: Journal | None) -> Journal:
        if copy is None or copy.id != asked.id:
            raise Conflict(f"the copy of switch {asked.id} was replaced")
        return applied(copy, step, result, revision=asked.revision, facts=facts, executor=executor)

    return await change_copy(log, uid, change)
