"""Moves a flow to another source: checks and records the order, and carries it out once nobody copies any more.

The order stands on the flow's state topic. Every daemon of the flow that reads it stops copying, drains, and starts
again; the first that finds all others silent makes the move, in one change. From then on whoever starts the flow copies
from the new source, whatever its file says. An interruption at any point leaves the order or the move, never a half.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from replicator.core.lineage.sources import RepointFacts, Source, check_repoint
from replicator.core.topics.ownership import circle_text
from replicator.engine.lineage.compare import Pair, compare
from replicator.engine.lineage.records import Order, lineage_of, moved, ordered
from replicator.engine.state import records as state
from replicator.engine.state.journal import switches_of
from replicator.engine.state.ownership.silence import Silence
from replicator.engine.state.topic.source import SourceState
from replicator.engine.work.fence import COPIES_WITH_THE_FLOW, coordinator_epoch
from replicator.errors import AuthorizationFailed
from replicator.model.names import TopicPartition, fill_route_transactional_id
from replicator.model.operations.lineage import GOES_ON, LogStanding, RepointReport
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb
from replicator.wire.messages.data.transactions import init_producer_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from replicator.core.lineage.sources import Lineage
    from replicator.engine.state.topic.log import Change, StateLog
    from replicator.model.operations.lineage import LogComparison
    from replicator.model.spec import Isolation
    from replicator.wire.cluster import Cluster

_SILENCE_LOOK_SECONDS = 1.0
_COMPARE_SECONDS = 60.0
_STOPPED_MAX = 100
_POLICY = "cleanup.policy"

log = get_logger(__name__)


class Repointing:
    """Whether, and how, a flow may be moved to another source.

    Args:
        flow: Its name.
        uid: Its uid.
        target: Its target, which is open.
        state_log: The state topic there.
        to: The cluster that it is to copy from; it is open.
        isolation: Which records it copies.
    """

    def __init__(
        self, flow: str, uid: str, target: Cluster, state_log: StateLog, to: Cluster, *, isolation: Isolation
    ) -> None:
        self._flow = flow
        self._uid = uid
        self._target = target
        self._log = state_log
        self._to = to
        self._isolation = isolation

    @property
    def _source(self) -> Source:
        return Source(self._to.spec.alias, self._to.cluster_id or "")

    async def plan(self) -> RepointReport:
        """Return what the move would mean; nothing is changed.

        Raises:
            Conflict: A switch of the flow is running, or it is being moved to another cluster.
            PreflightFailed: It cannot be moved there, or not now.
            KafkaError: A cluster cannot be asked.
        """
        await self._log.read_to_end()
        records = self._log.records
        lineage = lineage_of(state.get_flow(records, self._uid))
        mirrors = list(state.mirrors_of(records, self._uid))
        await asyncio.gather(
            self._to.refresh(sorted({one.source_topic for one in mirrors})),
            self._target.refresh(sorted({one.target_topic for one in mirrors})),
        )
        facts = self._facts(records, circle=await self._circle(mirrors), recreated=self._recreated(lineage, mirrors))
        if not check_repoint(lineage, self._source, facts):
            status = "already_there" if lineage.ordered is None else "ordered"
            return RepointReport(self._flow, lineage.source.alias, self._to.spec.alias, status)
        found = await compare(
            self._to, self._target, self._pairs(mirrors), isolation=self._isolation, seconds=_COMPARE_SECONDS
        )
        return _report(self._flow, lineage, self._to.spec.alias, found)

    async def order(self, order: Order) -> RepointReport:
        """Record the order to move, after what `plan` checks; return what it means.

        Raises:
            Conflict: As `plan`; or the flow was moved in the meantime.
            PreflightFailed: As `plan`.
            KafkaError: As `plan`.
        """
        report = await self.plan()
        if report.status != "would_move":
            return report
        known = lineage_of(state.get_flow(self._log.records, self._uid))

        def decide(records: Mapping[bytes, bytes]) -> list[Change]:
            # Whether its topics go in a circle, or were created again, was found out above.
            check_repoint(known, self._source, self._facts(records, circle="", recreated=True))
            return ordered(records, self._uid, order, known)

        await self._log.change(self._uid, decide)
        log.warning(
            "flow is to be moved", flow=self._flow, source=known.source.alias, to=order.to.alias, order=order.id
        )
        return RepointReport(
            report.flow,
            report.source,
            report.to,
            "ordered",
            report.goes_on,
            report.to_copy,
            report.stopped,
            report.stopped_count,
        )

    def _facts(self, records: Mapping[bytes, bytes], *, circle: str, recreated: bool) -> RepointFacts:
        role = state.get_writer_record(records, self._uid).role
        apart = [
            topic
            for topic, own in state.own_writers(records, self._uid).items()
            if own.role not in COPIES_WITH_THE_FLOW
        ]
        running = switches_of(records, self._uid).running
        return RepointFacts(
            self._flow,
            Source(self._target.spec.alias, self._target.cluster_id or ""),
            copies=role == pb.WRITER_ROLE_COPYING,
            apart=tuple(sorted(apart)),
            running="" if running is None else f"{running.verb} {running.id} is running",
            circle=circle,
            recreated=recreated,
        )

    async def _circle(self, mirrors: Iterable[pb.MirrorRecord]) -> str:
        """Return in words which topic of the new source is copied from the target; empty if none is.

        Raises:
            KafkaError: The state topic of the new source cannot be read now.
        """
        names = {one.target_topic: one.target_topic_id for one in mirrors}
        try:
            there = await SourceState(self._to).read()
        except AuthorizationFailed as error:
            log.warning("which topics of the new source are copies is not known", flow=self._flow, why=str(error))
            return ""
        found = state.copied_from(there, self._target.cluster_id or "", names)
        return next((circle_text(topic, copied) for topic, copied in sorted(found.items())), "")

    def _recreated(self, lineage: Lineage, mirrors: Iterable[pb.MirrorRecord]) -> bool:
        """Return whether the cluster is the flow's source already, and a topic was created again there."""
        if not lineage.source.is_same(self._source):
            return False
        return any(
            one.source_topic in self._to.topics
            and any(one.source_topic_id)
            and one.lineage_epoch == lineage.epoch
            and self._to.topics[one.source_topic].topic_id != one.source_topic_id
            for one in mirrors
        )

    @staticmethod
    def _pairs(mirrors: Iterable[pb.MirrorRecord]) -> list[Pair]:
        return [
            Pair(
                TopicPartition(one.source_topic, number),
                TopicPartition(one.target_topic, number),
                mapped=number in one.maps and _is_shifted(one.maps[number]),
                compacted="compact" in one.managed.get(_POLICY, "") + one.held_back.get(_POLICY, ""),
            )
            for one in mirrors
            for number in sorted(one.active_partitions)
        ]


def _is_shifted(recorded: pb.PartitionMap) -> bool:
    return recorded.mapped or recorded.base.source_end != recorded.base.target_end


def _report(flow: str, lineage: Lineage, to: str, found: list[LogComparison]) -> RepointReport:
    stopped = [one for one in found if one.standing not in GOES_ON]
    return RepointReport(
        flow,
        lineage.source.alias,
        to,
        "would_move",
        len(found) - len(stopped),
        sum(one.records or 0 for one in found if one.standing is LogStanding.BEHIND),
        tuple(stopped[:_STOPPED_MAX]),
        len(stopped),
    )


async def carry_out(
    flow: str, uid: str, target: Cluster, state_log: StateLog, silence_seconds: float, tell: Callable[[str], None]
) -> None:
    """Carry out the order to move a flow, once none of its daemons can have an effect; return if there is none.

    Args:
        flow: Its name.
        uid: Its uid.
        target: Its target.
        state_log: The state topic there.
        silence_seconds: How long a daemon may have an effect after its last sign of life.
        tell: Called with a text about what this waits for.

    Raises:
        PreflightFailed: Its producer has no epoch left.
        Conflict: Others keep changing the records.
        KafkaError: The target refuses.
    """
    silence = Silence(uid, silence_seconds, asyncio.get_running_loop().time)
    while True:
        await state_log.read_to_end()
        record = state.get_flow(state_log.records, uid)
        if not record.HasField("repoint"):
            return
        judged = silence.judge(state_log.records)
        if judged is None:
            tell(
                f"it is being moved from {record.source_alias} to {record.repoint.to.alias}: it continues once its "
                f"other daemons have stopped, or were silent for {silence_seconds:.0f} s"
            )
            await asyncio.sleep(_SILENCE_LOOK_SECONDS)
            continue
        producer_id = state.get_writer_record(state_log.records, uid).producer_id
        at_least = await coordinator_epoch(target, uid, producer_id)
        for shard in range(state.shards_of(record)):  # no transaction left open may write a marker later
            await init_producer_id(target, fill_route_transactional_id(uid, shard))
        change = partial(moved, uid=uid, order_id=record.repoint.id, at_least=at_least, judged=judged)
        await state_log.change(uid, change)
        log.warning("flow moved", flow=flow, source=record.source_alias, to=record.repoint.to.alias)
