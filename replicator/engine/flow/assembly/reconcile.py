"""Reconciles a pump with the mirrors: partitions start, stop with their mirror, or start over once it is repaired."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from replicator.aio.turns import Turns
from replicator.core.copy.values import Phase, TargetLimits
from replicator.engine.copy.partitions.recorded import Cleaning, Recorded
from replicator.model.names import TopicPartition
from replicator.model.spec import Offsets
from replicator.model.status.states import Reason
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from replicator.core.topics.plan import MirrorFault
    from replicator.engine.copy.copier import Copier
    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.engine.flow.assembly.source_ends import SourceEnds
    from replicator.engine.topics.mirror import Mirror
    from replicator.model.spec import FlowSpec

_OF_THE_MIRROR = frozenset(
    {
        Reason.SOURCE_MISSING,
        Reason.LEFT_OUT,
        Reason.TARGET_MISSING,
        Reason.PARTITION_COUNT,
        Reason.WAITING_FOR_ACCESS,
    }
)
"""Reasons that a mirror passes on to its partitions, and withdraws again."""

log = get_logger(__name__)


class Reconciler:
    """Starts and stops the partitions of one flow."""

    def __init__(self, flow: FlowSpec, pump: Copier, source_ends: SourceEnds) -> None:
        self._flow = flow
        self._pump = pump
        self._source_ends = source_ends
        self._doubts: dict[TopicPartition, float] = {}
        self._stopped: set[PartitionView] = set()
        """Partitions that stopped over a fault of their whole topic, and continue once it has passed."""
        self._one_at_a_time = asyncio.Lock()

    async def apply(self, mirrors: Collection[Mirror], guard_ms: int, is_paused: Callable[[], bool]) -> None:
        """Apply the mirrors as the last pass left them, a few at a time; one caller after the other.

        Meanwhile a switch may begin, or the flow may be paused: both are checked again for each mirror.
        """
        async with self._one_at_a_time:
            await self._source_ends.read()
            slots_of: dict[str, list[PartitionView]] = defaultdict(list)
            for slot in self._pump.partitions.values():
                slots_of[slot.source.topic].append(slot)
            turns = Turns()
            for mirror in tuple(mirrors):
                await turns.give()
                self._take(mirror, slots_of.get(mirror.topic, ()), guard_ms, paused=is_paused())

    def _take(self, mirror: Mirror, slots: Iterable[PartitionView], guard_ms: int, *, paused: bool) -> None:
        pump = self._pump
        if mirror.fault is not None:
            self._stop(slots, mirror.fault)
        elif mirror.recorded and pump.context.writers.copies(mirror.target_topic):
            # A mirror that is not recorded yet has to wait: shards may change hands in the middle of a pass, before the
            # target topic is proven to be ours.
            pump.source.topic_ids[mirror.topic] = mirror.source_id
            pump.target.topic_ids[mirror.target_topic] = mirror.target_id
            # A topic that may be cleaned is never mapped: once the cleaner has taken a record, nothing shows its place.
            lenient = self._flow.offsets is not Offsets.IDENTICAL
            limits = TargetLimits(
                mirror.batch_bytes_max,
                guard_ms,
                self._flow.fill_limit,
                may_be_mapped=lenient and not mirror.compacted,
                surplus_allowed=lenient,
                others_write=self._flow.both_ways,
            )
            for partition in range(mirror.partitions):
                where = TopicPartition(mirror.topic, partition)
                slot = pump.partitions.get(where)
                if not pump.shards.works_on(where):
                    continue
                if slot is None:
                    self._begin(mirror, partition, limits, paused=paused)
                else:
                    self._go_on(slot, mirror, limits)

    def _begin(self, mirror: Mirror, partition: int, limits: TargetLimits, *, paused: bool) -> None:
        where = TopicPartition(mirror.topic, partition)
        recorded = Recorded(
            active=partition in mirror.active,
            begin_at_end=mirror.begin_at_end and partition < mirror.begin_at_end_partitions,
            cleaning=_cleaning(mirror),
            level_ms=self._source_ends.level_ms(where),
            seeded_to=mirror.seeded.get(partition, 0),
            stored_epoch=mirror.epochs.get(partition, -1),
            epochs_unproven=mirror.epochs_unproven.get(partition, 0),
        )
        target = TopicPartition(mirror.target_topic, partition)
        slot = self._pump.add(where, target, limits, recorded, doubt_until=self._doubts.pop(where, None))
        if paused:
            self._pump.pause(slot)

    def _go_on(self, slot: PartitionView, mirror: Mirror, limits: TargetLimits) -> None:
        raised = limits.batch_bytes_max > slot.copy.limits.batch_bytes_max
        self._pump.renew(slot, limits, _cleaning(mirror))
        if raised and slot.copy.reason is Reason.RECORD_TOO_LARGE:
            log.info("limit raised, going on", partition=str(slot.source), bytes=limits.batch_bytes_max)
            self._pump.resume(slot)
        elif slot.copy.phase is Phase.FAULTED and (
            slot in self._stopped or slot.copy.reason in _OF_THE_MIRROR
        ):  # the mirror has no fault any more
            self._pump.resume(slot)
        self._stopped.discard(slot)

    def _stop(self, slots: Iterable[PartitionView], fault: MirrorFault) -> None:
        for slot in slots:
            # A partition may have stopped earlier, over what it saw of a re-created topic under the same name.
            if slot.copy.reason is not fault.reason and self._pump.partitions.get(slot.source) is slot:
                if slot.copy.phase is not Phase.FAULTED:
                    self._stopped.add(slot)
                self._pump.fault(slot, fault.reason, fault.text)

    def start_over(self, topic: str) -> None:
        """Forget the partitions of a mirror whose fault was resolved: the next pass starts from its record.

        Their unanswered requests may still take effect, which their successors wait out.
        """
        self.forget([slot for slot in self._pump.partitions.values() if slot.source.topic == topic])
        log.info("mirror begins anew", flow=self._flow.name, topic=topic)

    def forget(self, slots: Iterable[PartitionView]) -> None:
        """Remove partitions; if they are added again, they wait out their unanswered requests."""
        pump = self._pump
        for slot in slots:
            now, doubt_until = pump.context.now(), slot.attach.doubt_until
            if slot.copy.sending.outstanding or slot.copy.doubtful:
                self._doubts[slot.source] = max(doubt_until, now + pump.target.cluster.spec.doubt_seconds)
            elif doubt_until > now:  # it was attached since, under the target's guard; the doubt is not over
                self._doubts[slot.source] = doubt_until
            self._stopped.discard(slot)
            pump.remove(slot)


def _cleaning(mirror: Mirror) -> Cleaning:
    return Cleaning(mirror.compacted, mirror.surely_compacted, mirror.only_compacted)
