"""Resolves a fault as an operator orders: facts from both clusters, a plan, and one compare-and-set.

`core.offsets.resolution` makes the plan.

The compare-and-set raises the mirror's generation, whereupon every daemon of the flow starts the mirror over from its
record. So it does not matter which daemon got the order, and one that is killed in between leaves nothing half done.
A target topic is deleted afterwards, by whichever daemon looks at the topic next (`engine.topics.sync`).
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.core.offsets.offset_map import OffsetMap, OffsetPair
from replicator.core.offsets.resolution import (
    OF_OTHERS,
    GiveUp,
    GoOn,
    Recreate,
    ResolutionPlan,
    Retry,
    TakeSource,
    plan_resolution,
)
from replicator.core.topics.owner import check_adoption
from replicator.engine.copy.partitions.live_maps import offset_block
from replicator.engine.logs.dead_letter import SUFFIX, set_aside
from replicator.engine.logs.ranges.walking import open_log
from replicator.engine.logs.reading import records_between
from replicator.engine.offsets.adopt import AdoptedMirror
from replicator.engine.offsets.resolve_facts import FactFinder
from replicator.engine.state import records as state
from replicator.errors import Conflict
from replicator.model.names import TopicPartition
from replicator.model.operations.resolution import How, ResolutionOrder
from replicator.model.status.states import Reason
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.admin.topics import TopicAdmin
    from replicator.core.topics.owner import Owner
    from replicator.engine.copy.copier import Copier
    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.engine.state.ownership.owners import Owners
    from replicator.engine.state.topic.log import Change, StateLog
    from replicator.engine.topics.mirror import Mirror
    from replicator.engine.topics.sync import TopicSync

_RESOLUTIONS_MAX = 20
_RANGES_MAX = 100

log = get_logger(__name__)


class Resolver:
    """Resolves the faults of one flow."""

    def __init__(
        self, uid: str, sync: TopicSync, pump: Copier, state_log: StateLog, admin: TopicAdmin, owners: Owners
    ) -> None:
        self._uid = uid
        self._sync = sync
        self._pump = pump
        self._log = state_log
        self._admin = admin
        self._owners = owners
        self._facts = FactFinder(pump)

    async def plan(self, order: ResolutionOrder) -> ResolutionPlan | None:
        """Return what would be done; None if no partition is stopped.

        Raises:
            UsageError: This kind of fault cannot be resolved this way.
            WrongCluster: Another cluster answers in place of the flow's source or target.
            Conflict: The target topic belongs to another flow, which is active.
            PreflightFailed: The facts do not allow it.
            KafkaError: A cluster cannot be asked.
        """
        mirror = self._sync.mirrors[order.topic]
        owner = self._owner(mirror)
        facts = await self._facts.of(mirror, order, adopts=owner is not None)
        self._sync.check_clusters()  # against fresh descriptions: a rebuilt source looks like one that lost its end
        others_write = self._pump.context.origins is not None
        plan = plan_resolution(
            order.topic, order.how, facts, others_write=others_write, owner=str(owner) if owner is not None else ""
        )
        if plan is not None and owner is not None:
            check_adoption(owner, self._owners.observe(owner), mirror.target_topic)
        if plan is None or order.how is not How.ACCEPT:
            return plan
        return replace(plan, changes=await self._sync.facts.changes_once_ours(mirror))

    def _owner(self, mirror: Mirror) -> Owner | None:
        """Return the other flow that the target topic belongs to; None if it is nobody's or ours."""
        return None if self._pump.context.origins is not None else self._owners.of(mirror.target_topic)

    async def carry_out(self, order: ResolutionOrder) -> ResolutionPlan | None:
        """Carry out the order; return the plan that was carried out, None if no partition is stopped.

        Raises:
            Conflict: It is no longer the plan that was confirmed, or another daemon changed the mirror meanwhile.
            UsageError: This kind of fault cannot be resolved this way.
            PreflightFailed: The facts do not allow it.
            KafkaError: A cluster refuses.
        """
        await self._log.read_to_end()
        mirror = self._sync.mirrors[order.topic]
        key = state.mirror_key(self._uid, mirror.target_topic)
        before = self._log.records.get(key)
        plan = await self.plan(order)
        if plan is None:
            return None
        if order.digest is not None and order.digest != plan.digest:
            raise Conflict(
                f"what is stopped of {order.topic} is not what was confirmed",
                why="the facts changed meanwhile",
                next_step=f"look at it again: replicator mirror resolve FLOW {order.topic} --how {order.how} --dry-run",
            )
        for step in plan.steps:
            if isinstance(step, GiveUp) and step.dead_letter:
                before = await self._set_aside(mirror, step, before)
        target = self._pump.target.cluster.topics.get(mirror.target_topic)
        doomed = target.topic_id if target is not None else b""
        owner = self._owner(mirror)
        adopted = await self._adopted(mirror, owner, plan) if owner is not None else None

        def decide(records: Mapping[bytes, bytes]) -> list[Change]:
            if records.get(key) != before:
                raise _changed_meanwhile(order.topic)
            record = self._sync.records.of(mirror, state.get_mirror(records, self._uid, mirror.target_topic))
            handed_over = []
            if owner is not None and adopted is not None:
                # The owner's daemon may have started since.
                check_adoption(owner, self._owners.observe(owner), mirror.target_topic)
                handed_over = adopted.hand_over(records, record, self._source_now(mirror))
            if OF_OTHERS.intersection(plan.reasons):
                # Even where its partitions need no step: a record without an id would prove any topic of that name.
                record.target_topic_id = doomed
            self._apply(record, mirror, plan, order, doomed, adopted)
            return [state.put(key, record), *handed_over, *self._outdated(record, mirror)]

        # An adoption excludes changes by the flow that owns the topic; nobody else in this flow changes that record.
        await self._log.change(self._uid if owner is None else owner.uid, decide)
        losses = [str(loss) for loss in plan.losses]
        log.warning("fault resolved", topic=order.topic, how=order.how, actor=order.actor, why=order.why, losses=losses)
        return plan

    # -- what is done besides the record --------------------------------------------------------------------------

    async def _adopted(self, mirror: Mirror, owner: Owner, plan: ResolutionPlan) -> AdoptedMirror:
        adopted = AdoptedMirror(self._log.records, owner.uid, mirror.target_topic)
        for step in plan.steps:
            if not isinstance(step, GoOn):
                continue
            there, here = await self._facts.logs(mirror, step.partition)
            if there is not None and here is not None:
                await adopted.walk(step.partition, there, here)
        return adopted

    def _source_now(self, mirror: Mirror) -> tuple[str, bytes]:
        """Return the cluster id and the topic id of the source that is copied from now on."""
        cluster = self._pump.source.cluster
        topic = cluster.topics.get(mirror.topic)
        return cluster.cluster_id or "", topic.topic_id if topic is not None else bytes(16)

    async def _set_aside(self, mirror: Mirror, step: GiveUp, before: bytes | None) -> bytes | None:
        """Set aside the records that are given up; return the mirror's record, which names the dead-letter topic."""
        origin = TopicPartition(mirror.topic, step.partition)
        there = await open_log(self._pump.source, origin, isolation=self._pump.context.isolation)
        if there is None:
            return before
        isolation, compacted = there.isolation, mirror.compacted
        records = [
            record
            async for record in records_between(
                there.side, there.connection, origin, step.first, step.end, isolation=isolation, compacted=compacted
            )
        ]
        if not records:
            return before
        where = TopicPartition(mirror.target_topic + SUFFIX, step.partition)
        target = self._pump.target.cluster.topics.get(mirror.target_topic)
        replicas = target.replication_factor if target is not None else 1
        stored = state.get_mirror(self._log.records, self._uid, mirror.target_topic)

        async def record_id(topic_id: bytes) -> None:
            nonlocal before
            before = await self._record_dead_letter(mirror, topic_id, before)

        await set_aside(
            self._pump.target.cluster,
            self._admin,
            origin,
            where,
            records,
            replicas=replicas,
            known=stored.dead_letter_topic_id if stored is not None else b"",
            record_id=record_id,
        )
        log.warning("records set aside", partition=str(origin), topic=where.topic, records=len(records))
        return before

    async def _record_dead_letter(self, mirror: Mirror, topic_id: bytes, before: bytes | None) -> bytes | None:
        """Record the topic where records of a mirror are set aside; return the mirror's record with it."""
        key = state.mirror_key(self._uid, mirror.target_topic)

        def decide(records: Mapping[bytes, bytes]) -> list[Change]:
            if records.get(key) != before:
                raise _changed_meanwhile(mirror.topic)
            record = self._sync.records.of(mirror, state.get_mirror(records, self._uid, mirror.target_topic))
            if record.dead_letter_topic_id == topic_id:
                return []
            record.has_dead_letter, record.dead_letter_topic_id = True, topic_id
            return [state.put(key, record)]

        return (await self._log.change(self._uid, decide)).get(key)

    # -- the record ---------------------------------------------------------------------------------------------

    def _apply(
        self,
        record: pb.MirrorRecord,
        mirror: Mirror,
        plan: ResolutionPlan,
        order: ResolutionOrder,
        doomed: bytes,
        adopted: AdoptedMirror | None,
    ) -> None:
        now_ms = time.time_ns() // 1_000_000
        record.generation += 1
        state.take_lineage(record, mirror.lineage)
        for step in plan.steps:
            if isinstance(step, Recreate):
                state.start_over(record, doomed)
            elif isinstance(step, TakeSource):
                topic = self._pump.source.cluster.topics.get(mirror.topic)
                record.source_topic_id = topic.topic_id if topic is not None else bytes(16)
                del record.leader_epochs[:]
                record.given_up.clear()
                record.epochs_unproven.clear()
            elif isinstance(step, GiveUp):
                ranges = record.given_up[step.partition].ranges
                ranges.append(pb.OffsetRange(first=step.first, end=step.end))
                record.has_dead_letter |= step.dead_letter
                del ranges[:-_RANGES_MAX]
            elif isinstance(step, GoOn):
                self._go_on(record, mirror, step, adopted, recreated=Reason.SOURCE_RECREATED in plan.reasons)
            elif isinstance(step, Retry) and step.tombstones:
                record.tombstones_ok_ms[step.partition] = now_ms
            elif isinstance(step, Retry) and step.epochs_unproven:
                record.epochs_unproven[step.partition] = step.epochs_unproven
        record.resolutions.append(
            pb.Resolution(
                at_ms=now_ms,
                actor=order.actor,
                why=order.why,
                reason=", ".join(plan.reasons),
                how=order.how,
                losses=[
                    pb.Resolution.Loss(partition=loss.partition, first=loss.first, end=loss.end, text=loss.text)
                    for loss in plan.losses
                ],
            )
        )
        del record.resolutions[:-_RESOLUTIONS_MAX]

    def _go_on(
        self, record: pb.MirrorRecord, mirror: Mirror, step: GoOn, adopted: AdoptedMirror | None, *, recreated: bool
    ) -> None:
        """Record a place, after the part of the old map that still holds."""
        topic = self._pump.target.cluster.topics.get(mirror.target_topic)
        if topic is not None:
            record.target_topic_id = topic.topic_id
        slot = self._pump.partitions.get(TopicPartition(mirror.topic, step.partition))
        compared_from = step.equal_from
        handed_over = adopted.known(step) if adopted is not None else None
        if handed_over is not None:
            offsets, compared_from = handed_over
        elif step.equal_from is not None:
            offsets = OffsetMap(OffsetPair(step.equal_from, step.equal_from))
            offsets.go_straight(step.place)
        elif not recreated and step.partition in mirror.active:
            offsets = _until(slot, step.place)
        else:
            offsets = OffsetMap(step.place)
        record.map_generation += 1
        record.maps[step.partition].CopyFrom(
            pb.PartitionMap(
                generation=record.map_generation,
                mapped=step.mapped,
                base=offset_block(offsets, step.place),
                judged_from=step.place.target,
                compared_from=compared_from,
            )
        )
        if step.partition not in record.active_partitions:
            record.active_partitions.append(step.partition)

    def _outdated(self, record: pb.MirrorRecord, mirror: Mirror) -> list[Change]:
        """Return tombstones for map segments that are no longer valid."""
        return [
            (key, None)
            for number in range(max(mirror.partitions, 1))
            for key, block in state.segments_of(self._log.records, self._uid, mirror.target_topic, number)
            if number not in record.maps or record.maps[number].generation != block.generation
        ]


def _changed_meanwhile(topic: str) -> Conflict:
    return Conflict(
        f"the record of mirror {topic} changed meanwhile",
        why="another daemon or operator was faster",
        next_step=f"look at `replicator mirror describe FLOW {topic}` and decide again",
    )


def _until(slot: PartitionView | None, place: OffsetPair) -> OffsetMap:
    """Return the known map below a place; a partition without a map was identical."""
    track = slot.copy.track if slot is not None else None
    if track is not None:
        return OffsetMap.of(track.offsets.begin, track.offsets.below(place))
    offsets = OffsetMap(OffsetPair(0, 0))
    offsets.go_straight(place)
    return offsets
