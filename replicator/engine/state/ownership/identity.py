"""Who a flow is on its target: minted once, agreed by compare-and-set, only read afterwards."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.backoff import Backoff
from replicator.core.copy.attaching.facts import Role, Writer
from replicator.engine.state import records as state
from replicator.engine.state.ownership.silence import Silence
from replicator.errors import BrokerRefused, BugError, WrongCluster
from replicator.model.names import (
    STATE_TOPIC,
    data_transactional_id,
    fill_route_transactional_id,
    fill_transactional_id,
    filler_transactional_id,
)
from replicator.state_pb import state_pb2 as pb
from replicator.wire.messages.data.transactions import init_producer_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.admin.topics import TopicAdmin
    from replicator.engine.state.topic.log import Change, StateLog
    from replicator.model.spec import FlowSpec
    from replicator.wire.cluster import Cluster

_TOPIC_ALREADY_EXISTS = 36
_REPLICAS_MAX = 3
_STATE_CONFIGS = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.bytes": str(16 << 20),
    "unclean.leader.election.enable": "false",
    "compression.type": "producer",
}
_LEADER_SECONDS_MAX = 20.0
_LEADER_PAUSE_SECONDS = (0.02, 0.5)
_AGREE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class FlowIdentity:
    """The flow's uid and writer.

    `fresh` says that this daemon minted them, and has held claim number 1 of each shard since monotonic `minted_at`.
    `lineage_epoch` rises each time the flow is moved to another source.
    """

    uid: str
    writer: Writer
    fresh: bool
    minted_at: float
    lineage_epoch: int = 0


async def ensure_state_topic(target: Cluster, admin: TopicAdmin) -> None:
    """Create `replicator.state` if it does not exist, and wait for its leader.

    Raises:
        KafkaError: The target refuses.
    """
    if await target.describe(STATE_TOPIC) is None:
        replicas = min(_REPLICAS_MAX, len(target.brokers))
        configs = {**_STATE_CONFIGS, "min.insync.replicas": str(max(1, replicas - 1))}
        try:
            await admin.create_topic(STATE_TOPIC, 1, replicas, configs)
        except BrokerRefused as error:
            if error.code != _TOPIC_ALREADY_EXISTS:  # another daemon was faster
                raise
    deadline = asyncio.get_running_loop().time() + _LEADER_SECONDS_MAX
    backoff = Backoff(*_LEADER_PAUSE_SECONDS)
    while True:
        topic = await target.describe(STATE_TOPIC)
        leader = topic.leaders.get(0) if topic is not None else None
        if leader is not None and leader.node in target.brokers:
            break
        if asyncio.get_running_loop().time() >= deadline:
            missing = "was not told of" if topic is None else "got no leader"
            raise BrokerRefused(
                f"{STATE_TOPIC} of cluster {target.spec.alias!r} {missing} within {_LEADER_SECONDS_MAX:g} s",
                cluster=target.spec.alias,
                code=5,
                api="Metadata",
                retryable=True,
            )
        await asyncio.sleep(backoff.next_seconds())


async def establish(flow: FlowSpec, source_id: str, target: Cluster, log: StateLog, me: str) -> FlowIdentity:
    """Return the flow's identity, minting it at the flow's first start anywhere.

    Two daemons that do this at once agree: the second finds what the first committed.

    Raises:
        WrongCluster: The flow is recorded on this target for another target cluster.
        KafkaError: The target refuses.
    """
    began = asyncio.get_running_loop().time()
    await log.read_to_end()
    known = state.find_flow(log.records, flow.name, source_id, target.cluster_id)
    uid = None
    if known is None:
        named = state.flows_named(log.records, flow.name)
        copied = next((one for one in named if one.source_cluster_id == source_id), None)
        if copied is not None:
            raise WrongCluster(
                f"flow {flow.name!r} is recorded for another target cluster",
                cluster=target.spec.alias,
                why=f"{STATE_TOPIC} says {copied.target_cluster_id!r}, this cluster is {target.cluster_id!r}",
                next_step=f"check that clusters.{target.spec.alias}.bootstrap leads to the cluster that is meant; "
                f"if so, somebody copied {STATE_TOPIC} to it: give the flow another name, or delete that copy",
            )
        uid = await _mint(flow, source_id, target, log, me)
        known = state.find_flow(log.records, flow.name, source_id, target.cluster_id)
    if known is None:
        raise BugError(f"flow {flow.name} was minted and is not there")
    writer = state.get_writer(log.records, known.uid)
    if writer is None:
        raise BugError(f"flow {flow.name} has no writer record")
    return FlowIdentity(known.uid, writer, fresh=uid == known.uid, minted_at=began, lineage_epoch=known.lineage_epoch)


async def _mint(flow: FlowSpec, source_id: str, target: Cluster, log: StateLog, me: str) -> str:
    """Write flow, writer and first claims in one change; return the proposed uid."""
    uid = uuid.uuid4().hex[:12]
    ids = (data_transactional_id(uid), filler_transactional_id(uid), fill_transactional_id(uid))
    data, filler, fill = await asyncio.gather(*(init_producer_id(target, each) for each in ids))
    writer = Writer(
        data.producer_id,
        data.producer_epoch,
        # The target of a way back is the open side: it is copied to only after a switch has turned both flows round.
        Role.COPYING if flow.reverse_of is None else Role.PROMOTED,
        filler.producer_id,
        filler.producer_epoch,
        fill.producer_id,
    )
    record = pb.FlowRecord(
        uid=uid,
        name=flow.name,
        source_alias=flow.source,
        target_alias=flow.target,
        source_cluster_id=source_id,
        target_cluster_id=target.cluster_id or "",
        desired=pb.DESIRED_ACTIVE,
        created_ms=time.time_ns() // 1_000_000,
        shards=flow.shards,
    )

    def decide(records: Mapping[bytes, bytes]) -> list[Change]:
        if state.find_flow(records, flow.name, source_id, target.cluster_id) is not None:
            return []
        return [
            state.put(state.flow_key(uid), record),
            state.put(state.writer_key(uid), state.writer_record(writer)),
            *(
                state.put(state.claim_key(uid, shard), pb.ClaimRecord(shard=shard, number=1, holder=me))
                for shard in range(flow.shards)
            ),
        ]

    # The uid is not agreed yet, so this one change excludes rivals by the flow's name.
    await log.change(f"create.{flow.name}", decide)
    return uid


async def agree_on_shards(
    flow: FlowSpec,
    uid: str,
    target: Cluster,
    log: StateLog,
    silence_seconds: float,
    report: Callable[[str], None],
) -> None:
    """Return once all daemons of the flow use the number of shards in its file here.

    A different number moves partitions to other shards, and a claim covers a shard. So it is changed only while no
    daemon of the flow can have an effect: each has released its claims and removed its signs of life, or was silent for
    long enough. The claims of all shards continue above the highest number so far, as that is the epoch of markers.

    Args:
        flow: The flow.
        uid: Its uid.
        target: The target.
        log: The state topic.
        silence_seconds: How long a daemon may have an effect after its last sign of life.
        report: Called with a text about whom this waits for.

    Raises:
        KafkaError: The target refuses.
    """
    silence = Silence(uid, silence_seconds, asyncio.get_running_loop().time)
    while True:
        await log.read_to_end()
        agreed = state.shards_of(state.get_flow(log.records, uid))
        if agreed == flow.shards:
            return
        judged = silence.judge(log.records)
        if judged is not None:
            await _reshard(uid, target, log, agreed, flow.shards, judged)
            continue
        report(
            f"daemons run flow {flow.name} with {agreed} shards, this file says {flow.shards}: "
            f"it continues once all of them have ended, or were silent for {silence_seconds:.0f} s"
        )
        await asyncio.sleep(_AGREE_SECONDS)


async def _reshard(
    uid: str, target: Cluster, log: StateLog, before: int, after: int, judged: Mapping[bytes, bytes]
) -> None:
    for shard in range(before):  # no transaction left open may write a marker later
        await init_producer_id(target, fill_route_transactional_id(uid, shard))
    await log.change(uid, lambda records: _resharded(records, uid, after, judged))


def _resharded(records: Mapping[bytes, bytes], uid: str, shards: int, judged: Mapping[bytes, bytes]) -> list[Change]:
    record = state.get_flow(records, uid)
    if state.signs_of(records, uid) != judged or state.shards_of(record) == shards:
        return []
    before, record.shards = state.shards_of(record), shards
    return [
        state.put(state.flow_key(uid), record),
        *((key, None) for key in judged if state.presence_of(key, uid) is not None),
        *state.freed_claims(records, uid, before, shards),
    ]
