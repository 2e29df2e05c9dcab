"""Removes our records about a mirror, or a whole flow, from `replicator.state`; the topics and their records stay.

Only records under the flow's own uid are touched, and the compare-and-set itself checks that they may be.
The record that identifies the flow is removed last, so an interrupted command can simply be repeated.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from replicator.core.switch.forgetting import check_flow, check_mirror
from replicator.engine.state import records as state
from replicator.engine.state.held_back import held_back_of
from replicator.engine.state.journal import switches_of
from replicator.engine.state.topic.index import indexed, parse_key
from replicator.engine.state.topic.log import StateLog
from replicator.errors import KafkaError, PreflightFailed, UsageError
from replicator.model.names import STATE_TOPIC
from replicator.model.operations.forget import Forgotten
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from replicator.engine.state.topic.log import Change
    from replicator.model.security import ClusterSpec

_OF_A_MIRROR = frozenset({pb.KIND_MIRROR, pb.KIND_SEGMENT, pb.KIND_WRITER, pb.KIND_CUT})
_KEYS_PER_CHANGE = 500
_OPEN_SECONDS_MAX = 10.0
_WATCH_SECONDS = 1.0
_NAMED_MAX = 5
_WORDS = {
    pb.KIND_FLOW: "the flow's identity",
    pb.KIND_WRITER: "its producers and roles",
    pb.KIND_CLAIM: "claims and signs of life",
    pb.KIND_MIRROR: "mirrors",
    pb.KIND_SOURCE_END: "how far it had copied",
    pb.KIND_SEGMENT: "offset maps",
    pb.KIND_HELD_BACK: "which ACLs are ours",
    pb.KIND_GROUP: "commits for consumer groups",
    pb.KIND_CUT: "cuts of switches",
    pb.KIND_JOURNAL: "its switches",
    pb.KIND_MAKING: "what it was about to create",
    pb.KIND_START: "topics found by its first start",
}

log = get_logger(__name__)


async def forget_mirror(
    state_log: StateLog, flow: tuple[str, str], topic: str, *, selected: bool, there: bool | None, dry_run: bool
) -> Forgotten:
    """Remove what is recorded about a mirror that is no longer copied; return what is removed, and what stays.

    Args:
        state_log: The state topic on the flow's target.
        flow: Name and uid of the flow.
        topic: The source topic.
        selected: Whether the flow selects it.
        there: Whether the source has it; None if that is not known.
        dry_run: Only report.

    Raises:
        PreflightFailed: It belongs to another flow, or is copied, or may be.
        Conflict: A switch of the flow is under way.
        KafkaError: The target refuses.
    """
    uid = flow[1]
    forgotten = Forgotten()

    def decide(records: Mapping[bytes, bytes]) -> list[Change]:
        nonlocal forgotten
        mirror = next((one for one in state.mirrors_of(records, uid) if one.source_topic == topic), None)
        if mirror is None:
            forgotten = Forgotten()
            return []
        running = switches_of(records, uid).running
        check_mirror(flow, topic, owner=mirror.owner_flow_uid, selected=selected, there=there, running=running)
        kept = _kept_epoch(records, uid, mirror.target_topic)
        spared = {key for key, _ in kept}
        keys = [key for key in _keys_of(records, uid) if _is_about(key, mirror.target_topic) and key not in spared]
        forgotten = Forgotten(len(keys), _removed(keys), _left_of_mirror(records, uid, mirror))
        return [] if dry_run else [*((key, None) for key in keys), *kept]

    await state_log.read_to_end()
    if dry_run:
        decide(state_log.records)
    else:
        await state_log.change(uid, decide)
        if forgotten.records:
            log.warning("mirror forgotten", flow=flow[0], topic=topic, records=forgotten.records)
    return forgotten


async def forget_flow(
    clusters: Iterable[ClusterSpec],
    flow: str,
    *,
    ours: frozenset[str],
    silence_seconds: float,
    may: Callable[[str], None],
    dry_run: bool,
) -> Forgotten:
    """Remove everything recorded about a flow that nobody runs any more; return what is removed, and what stays.

    Args:
        clusters: The clusters that may hold its records.
        flow: Its name, or its uid if several flows have that name.
        ours: Uids of the flows that this daemon runs.
        silence_seconds: How long after its last sign of life a daemon may still write to a target.
        may: Takes a flow's name, and raises if the caller must not forget that flow.
        dry_run: Only report.

    Raises:
        UsageError: There is no such flow, or there are several.
        PreflightFailed: This daemon runs it, or a cluster that may hold it does not answer.
        Conflict: A switch is under way, or a daemon works on it.
        KafkaError: The target refuses.
    """
    opened: list[tuple[Cluster, StateLog, pb.FlowRecord]] = []
    unasked: list[str] = []
    every = [Cluster(one) for one in clusters]
    try:
        for cluster in every:
            try:
                async with asyncio.timeout(_OPEN_SECONDS_MAX):
                    found = await _recorded(cluster, flow)
            except (KafkaError, TimeoutError):
                unasked.append(cluster.spec.alias)
                continue
            for *_, record in found:
                may(record.name)
            opened += found
        if len(opened) > 1:
            raise UsageError(
                f"{len(opened)} flows are named {flow!r}: {', '.join(map(_described, opened))}",
                next_step="repeat the command with the uid of the one you mean",
            )
        if not opened and unasked:
            raise PreflightFailed(
                f"no flow {flow!r} was found, and {', '.join(unasked)} could not be asked",
                next_step="repeat the command when it answers",
            )
        if not opened:
            return Forgotten()
        return await _forget_flow(opened[0], ours, silence_seconds, dry_run=dry_run)
    finally:
        for cluster in every:
            cluster.close()


async def _recorded(cluster: Cluster, flow: str) -> list[tuple[Cluster, StateLog, pb.FlowRecord]]:
    await cluster.open()
    if await cluster.describe(STATE_TOPIC) is None:
        return []
    state_log = StateLog(cluster)
    await state_log.read_to_end()
    found = [one for one in state.every_flow(state_log.records) if flow in {one.name, one.uid}]
    # A record that names another target was copied here with its state topic: it does not concern this cluster.
    return [(cluster, state_log, one) for one in found if one.target_cluster_id == cluster.cluster_id]


def _described(found: tuple[Cluster, StateLog, pb.FlowRecord]) -> str:
    cluster, _, record = found
    return f"{record.uid} from {record.source_alias} ({record.source_cluster_id}) to {cluster.spec.alias}"


async def _forget_flow(
    found: tuple[Cluster, StateLog, pb.FlowRecord], ours: frozenset[str], silence_seconds: float, *, dry_run: bool
) -> Forgotten:
    cluster, state_log, record = found
    uid, name = record.uid, record.name
    check_flow(name, in_file=uid in ours, running=switches_of(state_log.records, uid).running, active=())
    active, signs = await _active_daemons(state_log, uid, silence_seconds)
    check_flow(name, in_file=False, running=switches_of(state_log.records, uid).running, active=active)
    keys = _keys_of(state_log.records, uid)
    forgotten = Forgotten(len(keys), _removed(keys), _left_of_flow(state_log.records, record, cluster.spec.alias))
    if dry_run:
        return forgotten

    def decide(records: Mapping[bytes, bytes]) -> list[Change]:
        now = state.signs_of(records, uid)
        late = () if all(signs.get(key) == raw for key, raw in now.items()) else ("a daemon",)
        check_flow(name, in_file=False, running=switches_of(records, uid).running, active=late)
        left = _keys_of(records, uid)
        last = [key for key in left if key == state.flow_key(uid)]
        some = [key for key in left if key not in last][:_KEYS_PER_CHANGE]
        return [(key, None) for key in some or last]

    while _keys_of(state_log.records, uid):
        await state_log.change(uid, decide)
    log.warning("flow forgotten", flow=name, uid=uid, cluster=cluster.spec.alias, records=forgotten.records)
    return forgotten


async def _active_daemons(
    state_log: StateLog, uid: str, silence_seconds: float
) -> tuple[tuple[str, ...], Mapping[bytes, bytes]]:
    """Return the daemons that gave a sign of life within that time, and the first signs seen of all daemons."""
    now = asyncio.get_running_loop().time
    first = state.signs_of(state_log.records, uid)
    until = now() + silence_seconds
    while first and now() < until:
        await asyncio.sleep(_WATCH_SECONDS)
        await state_log.read_to_end()
        fresh = {key: raw for key, raw in state.signs_of(state_log.records, uid).items() if first.get(key) != raw}
        if fresh:
            named = {found[0] for key in fresh if (found := state.presence_of(key, uid)) is not None}
            return tuple(sorted(named)) or ("a daemon",), first
    return (), first


def _kept_epoch(records: Mapping[bytes, bytes], uid: str, target_topic: str) -> list[Change]:
    """Return the change that keeps only the epoch of a mirror's own writer, if it differs from the flow's.

    The mirror's partitions were fenced with that epoch, and their brokers may remember it. If the flow ever mirrors the
    topic again, it must not reuse an epoch, or use a lower one, which would be refused.
    """
    own = state.own_writers(records, uid).get(target_topic)
    if own is None:
        return []
    epoch = max(own.epoch, own.fence_epoch)
    if epoch == state.get_writer_record(records, uid).epoch:
        return []
    return [state.put(state.writer_key(uid, target_topic), pb.WriterRecord(epoch=epoch))]


def _keys_of(records: Mapping[bytes, bytes], uid: str) -> list[bytes]:
    return [key for key, _, _ in indexed(records).of_flow(uid)]


def _is_about(key: bytes, target_topic: str) -> bool:
    parsed = parse_key(key)
    return parsed is not None and parsed.kind in _OF_A_MIRROR and parsed.topic == target_topic


def _removed(keys: Iterable[bytes]) -> tuple[str, ...]:
    kinds = sorted(parsed.kind for key in keys if (parsed := parse_key(key)) is not None)
    words = Counter(_WORDS.get(kind, "other") for kind in kinds)
    return tuple(f"{word} ({count:,})" for word, count in words.items())


def _left_of_mirror(records: Mapping[bytes, bytes], uid: str, mirror: pb.MirrorRecord) -> tuple[str, ...]:
    alias = state.get_flow(records, uid).target_alias
    held = held_back_of(records, uid)
    rules = [rule for rule in (*held.locks, *held.made) if rule.name == mirror.target_topic]
    left = [f"topic {mirror.target_topic} on {alias}, with its records and settings"]
    left += [f"rule on {alias}: {rule.text()}" for rule in rules[:_NAMED_MAX]]
    left += [f"{len(rules) - _NAMED_MAX} more rules on {alias}"] if len(rules) > _NAMED_MAX else []
    left.append("offsets of consumer groups on it; their source offsets can no longer be determined")
    return tuple(left)


def _left_of_flow(records: Mapping[bytes, bytes], record: pb.FlowRecord, alias: str) -> tuple[str, ...]:
    uid = record.uid
    topics = sorted(one.target_topic for one in state.mirrors_of(records, uid))
    held = held_back_of(records, uid)
    shown = ", ".join(topics[:_NAMED_MAX]) + (
        f" and {len(topics) - _NAMED_MAX} more" if len(topics) > _NAMED_MAX else ""
    )
    left = [f"topics on {alias}, with their records and settings: {shown}"] if topics else []
    left += [f"rule that keeps others from writing on {alias}: {rule.text()}" for rule in held.locks[:_NAMED_MAX]]
    hidden = len(held.locks[_NAMED_MAX:])
    left += [f"{hidden} more rules of that kind on {alias}"] if hidden else []
    left += [f"{len(held.made):,} rules on {alias} that were mirrored from {record.source_alias}"] if held.made else []
    left.append(f"{STATE_TOPIC} on {record.source_alias} may hold a copy of its last switch")
    return tuple(left)
