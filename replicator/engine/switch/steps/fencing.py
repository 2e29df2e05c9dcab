"""The middle of a switch: the fence on every partition of the target, its cuts, and the roles around it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.core.offsets.own_place import OurBatches
from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.engine.logs.bounds import ends_of
from replicator.engine.state import records as state
from replicator.engine.state.cuts import put_cuts
from replicator.engine.state.groups import GroupRecords
from replicator.engine.state.journal import switches_of
from replicator.engine.state.ownership.shown_markers import known_to_coordinator, prove_markers_are_shown
from replicator.engine.switch.context import SOURCE_SECONDS_MAX, mirrors_in, partitions_of, target_topics
from replicator.engine.switch.own_places import OwnEndFinder
from replicator.engine.switch.places import ObservedSource, log_ends
from replicator.engine.work import fence as fencing
from replicator.engine.work import roles
from replicator.engine.work.fence import FenceWriter
from replicator.errors import Conflict, KafkaError, PreflightFailed, TimedOut
from replicator.model.names import TopicPartition, fill_route_transactional_id
from replicator.model.switch.journal import Journal
from replicator.model.switch.terms import Cut, LeftOutReason, Verb
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb
from replicator.wire.messages.data.transactions import ProducerIdentity, init_producer_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.engine.state.topic.log import Change
    from replicator.engine.switch.context import SwitchContext
    from replicator.model.switch.terms import Scope

_FENCE_SECONDS = 15.0

Effect = tuple[got.Result, list["Change"]]

log = get_logger(__name__)


def _ours(records: Mapping[bytes, bytes], uid: str, epoch: int | None) -> OurBatches:
    """Return how to recognize a flow's batches in its target's logs.

    Args:
        records: Records of the state topic.
        uid: The flow.
        epoch: Epoch of the present fence; None if there is none.
    """
    writer = state.get_writer_record(records, uid)
    # An id that was never recorded reads as 0, which belongs to an application.
    others = {getattr(writer, name) for name in ("filler_producer_id", "fill_producer_id") if writer.HasField(name)}
    return OurBatches(writer.producer_id, frozenset(others), epoch, any_marker=epoch is None)


class Fencing:
    """The steps around the fence.

    Args:
        context: What the switch works on.
    """

    def __init__(self, context: SwitchContext) -> None:
        self._context = context

    # -- on the state topic: the effect is part of the change that records it -----------------------------------------

    async def least_epoch(self) -> int | None:
        """Return the lowest epoch that a fence may have (`fence.coordinator_epoch`).

        Raises:
            KafkaError: The target refuses.
            PreflightFailed: This flow cannot be fenced there.
        """
        context = self._context
        writer = state.get_writer_record(context.log.records, context.uid)
        if not writer.HasField("producer_id"):
            raise PreflightFailed(
                f"flow {context.flow.name!r} has no producer to fence: it was never started",
                next_step=f"replicator flow status {context.flow.name}",
            )
        at_least = await fencing.coordinator_epoch(context.target, context.uid, writer.producer_id)
        epoch = known_to_coordinator(writer) if at_least is None else at_least
        identity = ProducerIdentity(writer.producer_id, epoch)
        await prove_markers_are_shown(context.target, context.uid, identity)
        return at_least

    def begin(self, records: Mapping[bytes, bytes], step: do.BeginFence, at_least: int | None) -> Effect:
        """See `do.BeginFence`."""
        if step.ends:
            known = {(end.topic, end.partition) for end in step.ends}
            for mirror in mirrors_in(records, self._context.uid, step.scope):
                fresh = [one for one in mirror.active_partitions if (mirror.source_topic, one) not in known]
                if fresh:
                    return got.SourceMoved(f"{mirror.source_topic}-{fresh[0]} was found in the meantime"), []
        topics, left_out = self._targets(records, step.scope), self._left_out(records, step.scope)
        epoch, changes = roles.begun(records, self._context.uid, at_least, topics, left_out)
        return got.FenceBegun(epoch), changes

    def promote(self, records: Mapping[bytes, bytes], step: do.Promote) -> Effect:
        """See `do.Promote`."""
        topics, left_out = self._targets(records, step.scope), self._left_out(records, step.scope)
        return got.Ok(), roles.promoted(records, self._context.uid, step.epoch, topics, left_out)

    def record_cut(self, journal: Journal, step: do.RecordCut) -> Effect:
        """See `do.RecordCut`."""
        return got.Ok(), put_cuts(self._context.uid, journal.id, step.epoch, step.cuts, time.time_ns() // 1_000_000)

    def resume(self, records: Mapping[bytes, bytes], step: do.ResumeCopying) -> Effect:
        """See `do.ResumeCopying`."""
        topics, left_out = self._targets(records, step.scope), self._left_out(records, step.scope)
        alone = topics is not None
        return got.Ok(), roles.copying(
            records, self._context.uid, step.epoch, topics or (), alone=alone, left_out=left_out
        )

    def _targets(self, records: Mapping[bytes, bytes], scope: Scope) -> list[str] | None:
        """Return the target topics of mirrors that are switched alone; None for the whole flow.

        Raises:
            PreflightFailed: The flow no longer mirrors one of them.
        """
        if not scope.topics:
            return None
        named = {topic for topic in scope.topics if topic in scope}
        found = target_topics(records, self._context.uid, named)
        if named - found.keys():
            raise PreflightFailed(
                f"flow {self._context.flow.name!r} does not mirror topic {min(named - found.keys())!r}",
                next_step=f"replicator switch abort {self._context.flow.name}",
            )
        return sorted(found.values())

    def _left_out(self, records: Mapping[bytes, bytes], scope: Scope) -> dict[str, bool]:
        """Return the target topics left out of a switch of the whole flow, each with whether it goes on copying."""
        if scope.topics:
            return {}
        found = target_topics(records, self._context.uid, [one.topic for one in scope.left_out])
        return {
            found[one.topic]: one.why is LeftOutReason.SWITCHED_ALONE for one in scope.left_out if one.topic in found
        }

    # -- on the target ----------------------------------------------------------------------------------------------

    async def _scope(self, scope: Scope) -> dict[TopicPartition, pb.MirrorRecord]:
        context = self._context
        return await partitions_of(context.target, mirrors_in(context.log.records, context.uid, scope))

    def _fence(self, epoch: int) -> FenceWriter:
        context = self._context
        producer_id = state.get_writer_record(context.log.records, context.uid).producer_id
        return FenceWriter(context.target, context.uid, producer_id, epoch)

    async def fence(self, step: do.Fence) -> got.Result:
        """See `do.Fence`."""
        try:
            await self._fence(step.epoch).stand(list(await self._scope(step.scope)), _FENCE_SECONDS)
        except TimedOut as error:
            return got.NotYet(str(error))
        return got.Ok()

    async def verify(self, journal: Journal, step: do.VerifyFence) -> got.Result:
        """See `do.VerifyFence`."""
        scope = await self._scope(step.scope)
        fence = self._fence(step.epoch)
        missing, unseen = await fence.missing(list(scope))
        if missing:
            # Brokers forget a producer that was idle for a day and would take its writes again: a marker in the log is
            # then no longer a fence. A partition may also have been added after the fence.
            await self._check_still_meant(journal)
            log.warning(
                "the fence is raised again",
                flow=self._context.flow.name,
                switch=journal.id,
                why=f"{len(missing)} partitions do not show epoch {step.epoch}, for example {min(missing)}",
            )
            try:
                await fence.stand(list(scope), _FENCE_SECONDS)
            except TimedOut as error:
                return got.NotYet(str(error))
        elif unseen:
            return got.NotYet(f"{min(unseen)} does not show epoch {step.epoch}: no leader, or it does not answer")
        return got.FenceVerified(await self.cuts(journal, scope, step.epoch))

    async def _check_still_meant(self, journal: Journal) -> None:
        """Return if the switch is where it was when the step began: a late executor must not mark an open target.

        Raises:
            Conflict: Someone else has advanced it.
            KafkaError: The state topic cannot be read.
        """
        context = self._context
        await context.log.read_to_end()
        current = switches_of(context.log.records, context.uid).current
        if current is None or (current.id, current.revision) != (journal.id, journal.revision):
            raise Conflict(f"switch {journal.id} was advanced by someone else", next_step="read it again")

    async def cuts(
        self, journal: Journal, scope: Mapping[TopicPartition, pb.MirrorRecord], epoch: int | None
    ) -> tuple[Cut, ...]:
        """Return where each log ends in terms of the source, with the source's end as now or last seen.

        Args:
            journal: The switch.
            scope: The partitions of the target, each with its mirror.
            epoch: Epoch of the fence, whose markers do not count; None to only see what a switch would find now.

        Raises:
            KafkaError: A log cannot be read; for a switchover also one of the source.
        """
        proven = {}
        if journal.verb is Verb.SWITCHOVER and epoch is not None:
            proven = {(end.topic, end.partition): end.source for end in journal.ends}
        cuts = await self._cut_now(scope, proven, epoch)
        if journal.verb is not Verb.SWITCHOVER:
            return tuple(sorted(await self._seen_now(cuts)))
        drained = [
            replace(cut, source=max(cut.source, proven.get((cut.topic, cut.partition), 0))) if cut.mapped else cut
            for cut in cuts
        ]
        return tuple(sorted(await self._seen(drained)))

    async def _cut_now(
        self, scope: Mapping[TopicPartition, pb.MirrorRecord], proven: Mapping[tuple[str, int], int], epoch: int | None
    ) -> list[Cut]:
        """Return where our own part of each log ends, in both logs' offsets."""
        context = self._context
        await context.log.read_to_end()
        ends = await log_ends(context.target, scope)
        observed = ObservedSource(context.log, context.uid)
        ranges = {
            where: observed.search_range(
                where, scope[where], end, proven.get((scope[where].source_topic, where.partition))
            )
            for where, end in ends.items()
        }
        ours = _ours(context.log.records, context.uid, epoch)
        own = await OwnEndFinder(context.target, context.admins[1], ours).find(ranges)
        strange = {where: ranges[where] for where, one in own.items() if one.strangers}
        if strange:
            # Fills by transactions are written under ids that are not recorded. Asking for such an id aborts what is
            # open under it; after the fence nothing may be open.
            ours = replace(ours, others=ours.others | await self._ids_of_fills())
            own |= await OwnEndFinder(context.target, context.admins[1], ours).find(strange)
        return [observed.cut(where, scope[where], own[where]) for where in ends]

    async def _ids_of_fills(self) -> frozenset[int]:
        context = self._context
        found: set[int] = set()
        for shard in range(state.shards_of(state.get_flow(context.log.records, context.uid))):
            identity = await init_producer_id(context.target, fill_route_transactional_id(context.uid, shard))
            found.add(identity.producer_id)
        return frozenset(found)

    async def _seen_now(self, cuts: list[Cut]) -> list[Cut]:
        """Return cuts with the source's present ends, if it answers at all."""
        try:
            async with asyncio.timeout(SOURCE_SECONDS_MAX / 4):
                return await self._seen(cuts)
        except (KafkaError, TimeoutError):
            return cuts

    async def _seen(self, cuts: list[Cut]) -> list[Cut]:
        source = self._context.source
        await source.refresh(sorted({cut.topic for cut in cuts}))
        wanted = [TopicPartition(cut.topic, cut.partition) for cut in cuts]
        now_ms = time.time_ns() // 1_000_000  # before the answer, which may arrive late
        ends, _ = await ends_of(source, wanted)
        return [
            replace(cut, observed_end=ends[where], observed_ms=now_ms) if where in ends else cut
            for cut, where in zip(cuts, wanted, strict=True)
        ]

    async def preview(self, journal: Journal) -> tuple[Cut, ...]:
        """Return what a switch would cut if it were carried out now.

        Raises:
            KafkaError: The target cannot be read.
        """
        return await self.cuts(journal, await self._scope(journal.scope), None)

    async def forget_groups(self, scope: Scope) -> None:
        """Leave the commits on the target to its consumers.

        Args:
            scope: The mirrors being opened.

        Raises:
            KafkaError: It could not be recorded.
        """
        state_log, uid = self._context.log, self._context.uid
        await state_log.read_to_end()
        opened = {one.target_topic for one in mirrors_in(state_log.records, uid, scope)}
        copying = self._context.copying()
        if copying is not None:
            await copying.forget_groups(opened)
            return
        await GroupRecords(uid, state_log, follows=False).forget(opened)
