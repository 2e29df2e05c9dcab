"""Finds out from both clusters whether topics on the target are ours (`core.topics.ownership` decides)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.topics.ownership import Evidence, MirrorOnSource, OwnedTopic, proven
from replicator.engine.logs.bounds import ends_of, offsets_of
from replicator.engine.logs.reading import read_batches
from replicator.engine.logs.side import Side
from replicator.engine.state import records as state
from replicator.engine.state.ownership.provenance import digest_of, on_their_way
from replicator.errors import (
    AuthorizationFailed,
    ConnectionFailed,
    CorruptRecords,
    DamagedRecord,
    KafkaError,
    NotOurs,
    TimedOut,
)
from replicator.model.names import TopicPartition
from replicator.obs.logs import get_logger
from replicator.wire.messages import control

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from replicator.core.topics.plan import MirrorFault
    from replicator.engine.state.topic.log import StateLog
    from replicator.engine.state.topic.source import SourceState
    from replicator.model.spec import FlowSpec
    from replicator.wire.cluster import Cluster
    from replicator.wire.topology import Topic

log = get_logger(__name__)


class Ownership:
    """The one place that determines whether topics on a flow's target are ours.

    Args:
        flow: The flow's policy.
        uid: The flow's id.
        there: What is recorded on its source: which topics there are mirrors of topics of the target.
        target: The cluster with the topics.
        state_log: The state topic of the target.
    """

    def __init__(self, flow: FlowSpec, uid: str, there: SourceState, target: Cluster, state_log: StateLog) -> None:
        self._flow = flow
        self._uid = uid
        self._there = there
        self._target = target
        self._log = state_log

    async def prove(
        self, topics: Collection[Topic], sources: Mapping[str, str] | None = None
    ) -> dict[str, OwnedTopic | MirrorFault | KafkaError]:
        """Return, by name, the proof for each topic of the target, why it is not ours, or why that is unknown.

        The order matters: another daemon of this flow records a topic before it writes to it. So if a log has ever held
        a record, the state topic is read to its end afterwards, and then has our own record if there is one.

        Args:
            topics: Topics of the target.
            sources: For each of them, by name, the source topic that it would be a mirror of.

        Raises:
            KafkaError: A state topic cannot be read.
            TimedOut: The end of a state topic was not reached.
        """
        found = {one.name: self._recorded(one) for one in topics}
        proofs: dict[str, OwnedTopic | MirrorFault | KafkaError] = {
            name: proof for name, proof in found.items() if proof is not None
        }
        unknown = [one for one in topics if one.name not in proofs]
        if not unknown:
            return proofs
        written: dict[str, tuple[int, int]] = {}
        ending_with_ours: frozenset[str] = frozenset()
        circles: dict[str, MirrorOnSource] = {}
        unseen: dict[str, KafkaError] = {}
        if not self._flow.both_ways:
            written, unseen = await self._written(unknown)
            ending_with_ours = await self._ending_with_ours([one for one in unknown if self._is_recorded(one)])
            try:
                circles, coming = await self._circles(unknown, sources or {})
                unseen = coming | unseen
            except (KafkaError, TimedOut) as error:
                alias = self._flow.source
                why = KafkaError(f"the mirrors on {alias} are unknown", cluster=alias, why=str(error), retryable=True)
                unseen = {one.name: why for one in unknown}
        await self._log.read_to_end()
        owners = state.foreign_owners(self._log.records, self._uid)
        for one in unknown:
            evidence = Evidence(
                one.name,
                one.topic_id,
                is_recorded=self._is_recorded(one),
                owner=self._name_of(owners.get(one.name), one.name),
                source_of=circles.get(one.name),
                written=written.get(one.name),
                ends_with_ours=one.name in ending_with_ours,
                shared=self._flow.both_ways,
                flow=self._flow.name,
            )
            proofs[one.name] = self._recorded(one) or unseen.get(one.name) or proven(evidence)
        return proofs

    def _name_of(self, owner: str | None, topic: str) -> str | None:
        record = state.get_mirror(self._log.records, owner, topic) if owner is not None else None
        return owner if record is None else record.owner_flow_name or owner

    def _is_recorded(self, topic: Topic) -> bool:
        record = state.get_mirror(self._log.records, self._uid, topic.name)
        return record is not None and state.names_its_topic(record)

    def _recorded(self, topic: Topic) -> OwnedTopic | MirrorFault | KafkaError | None:
        """Return what the mirror's record says about a topic; None if it says nothing about this very topic."""
        record = state.get_mirror(self._log.records, self._uid, topic.name)
        if record is None or not state.names_its_topic(record):
            return None
        is_reported, is_known = any(topic.topic_id), any(record.target_topic_id)
        if is_reported and not is_known:
            return None  # recorded while the cluster reported no ids: the topic's records have to show that it is ours
        if is_known and not is_reported:
            alias = self._target.spec.alias
            why = f"{alias} reported one before; perhaps its brokers are being upgraded"
            return KafkaError(f"{topic.name} has no topic id now", cluster=alias, why=why, retryable=True)
        return proven(Evidence(topic.name, topic.topic_id, recorded_id=record.target_topic_id, is_recorded=True))

    async def _ending_with_ours(self, topics: Collection[Topic]) -> frozenset[str]:
        """Return the topics with a log that ends with a batch of this flow, and none that ends with another's."""
        writer = state.get_writer(self._log.records, self._uid)
        if writer is None:
            return frozenset()
        ours = {writer.producer_id, writer.filler_id, writer.fill_id}
        side = Side(self._target, self._target.topic_ids)
        found = set()
        for one in topics:
            try:
                last = [await _last_producer(side, TopicPartition(one.name, number)) for number in one.leaders]
            except (KafkaError, CorruptRecords) as error:
                log.warning("whose a topic is, its records do not tell", topic=one.name, why=str(error))
                continue
            ids = set(last) - {None}
            if ids and ids <= ours:
                found.add(one.name)
        return frozenset(found)

    async def _written(self, topics: Collection[Topic]) -> tuple[dict[str, tuple[int, int]], dict[str, KafkaError]]:
        """Return one partition with its end for each topic that ever held a record, and the topics without answer."""
        wanted = [TopicPartition(one.name, number) for one in topics for number in one.leaders]
        ends, silent = await ends_of(self._target, wanted)
        written = {where.topic: (where.partition, end) for where, end in sorted(ends.items(), reverse=True) if end > 0}
        unseen: dict[str, KafkaError] = {}
        dead: set[int] = set()
        for where in sorted(silent):
            if where.topic not in unseen and where.topic not in written:
                unseen[where.topic] = await self._refusal(where, silent[where], dead)
        return written, unseen

    async def _refusal(self, where: TopicPartition, why: str, dead: set[int]) -> KafkaError:
        """Return why a log's end is unknown, in an operator's words: its leader is asked once more, for this log only.

        A leader that does not answer (`dead`) is asked once, not for a thousand topics: each time-out delays the pass.
        """
        alias, leader = self._target.spec.alias, self._target.leader(where)
        try:
            if leader is None or leader.node not in dead:
                await offsets_of(await self._target.leader_connection(where), [where], control.LATEST)
        except ConnectionFailed as error:
            dead |= {leader.node} if leader is not None else set()
            return error
        except KafkaError as error:
            return error
        return KafkaError(f"the end of {where} on {alias} is unknown", cluster=alias, why=why, retryable=True)

    async def _circles(
        self, topics: Collection[Topic], sources: Mapping[str, str]
    ) -> tuple[dict[str, MirrorOnSource], dict[str, KafkaError]]:
        """Return the mirrors on our own source that are fed from these topics, and which topics may be fed soon.

        If `from` and `to` were swapped by mistake, everything the flow would copy is such a mirror; or a flow is about
        to create it, and has not recorded yet what it is copied from.

        Raises:
            KafkaError: That cannot be determined now.
            TimedOut: A transaction stays open on the source's state topic.
        """
        target_id, alias = self._target.cluster_id or "", self._flow.source
        try:
            records = await self._there.read()
            ids = {one.name: one.topic_id for one in topics}
            circles, coming = state.copied_from(records, target_id, ids), on_their_way(records, target_id)
        except AuthorizationFailed:
            return {}, {}  # status reports this for as long as it lasts
        except DamagedRecord as error:
            raise self._there.damaged(error) from error
        waits: dict[str, KafkaError] = {}
        for one in topics if coming else ():
            name = sources.get(one.name, one.name)
            flow = coming.get(digest_of(name))
            if flow is not None:
                what = f"it is not known yet whether {name} on {alias} is a copy from {self._flow.target}"
                waits[one.name] = KafkaError(
                    what, cluster=alias, why=f"flow {flow} is about to create it", retryable=True
                )
        return circles, waits


async def _last_producer(side: Side, where: TopicPartition) -> int | None:
    """Return the producer of a log's last batch; None if it has none."""
    connection = await side.cluster.leader_connection(where)
    end = (await offsets_of(connection, [where], control.LATEST))[where]
    start = (await offsets_of(connection, [where], control.EARLIEST))[where]
    if end <= start:
        return None
    _, headers = await read_batches(side, connection, where, end - 1)
    return headers[-1].producer_id if headers else -1


async def confirm(cluster: Cluster, topic: OwnedTopic) -> None:
    """Return if the topic that was proven ours still has its name; for callers without an admin client.

    Raises:
        NotOurs: It does not.
        KafkaError: The cluster cannot be asked.
    """
    now = await cluster.describe(topic.name)
    if not topic.is_still(None if now is None else now.topic_id):
        raise NotOurs(
            f"{topic.name} was left as it is",
            cluster=cluster.spec.alias,
            why=topic.why_not(None if now is None else now.topic_id),
            next_step="replicator mirror list",
        )
