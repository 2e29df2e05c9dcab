"""Lists a flow's unreadable records on `replicator.state`, and clears one of them.

The topic is read separately, with offsets: a flow whose own record is damaged is not running, and has to be examined
all the same. Clearing is a compare-and-set on the record's offset, so a record rewritten meanwhile stays.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

from replicator.engine.state import records as state
from replicator.engine.state.cuts import cuts_of
from replicator.engine.state.groups import unpacked
from replicator.engine.state.held_back import held_back_of
from replicator.engine.state.journal import copy_key, copy_of, journal_key, switches_of
from replicator.engine.state.topic.chunks import note_of
from replicator.engine.state.topic.damage import about, damaged_record, read_record, readable_records
from replicator.engine.state.topic.index import indexed, parse_key
from replicator.engine.state.topic.log import StateLog
from replicator.errors import Conflict, DamagedRecord, KafkaError, PreflightFailed, UsageError
from replicator.model.names import STATE_TOPIC
from replicator.model.operations.damage import Clearing, Damage, Damaged
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from google.protobuf.message import Message

    from replicator.engine.state.topic.log import Change
    from replicator.model.security import ClusterSpec

    May = Callable[[str | None], None]

log = get_logger(__name__)

_OPEN_SECONDS_MAX = 10.0
_SHOWN_MAX = 1000
_NAMED_MAX = 5

_PLAIN: Mapping[pb.Kind, type[Message]] = {
    pb.KIND_FLOW: pb.FlowRecord,
    pb.KIND_WRITER: pb.WriterRecord,
    pb.KIND_MIRROR: pb.MirrorRecord,
    pb.KIND_SOURCE_END: pb.SourceEndBlock,
    pb.KIND_SEGMENT: pb.SegmentBlock,
    pb.KIND_MAKING: pb.MakingRecord,
    pb.KIND_START: pb.StartRecord,
}
"""Kinds whose record is sound if it can be parsed."""
_GUARDED = frozenset({pb.KIND_FLOW, pb.KIND_WRITER, pb.KIND_JOURNAL})

_NEW_FLOW = (
    "the flow is no longer known: it starts as a new one, under another uid. Its topics on the target stop as "
    "another flow's until each is taken over (mirror resolve --how accept) or copied again, and its offset maps, "
    "consumer groups and switches no longer count"
)
_MEANS: Mapping[pb.Kind, str] = {
    pb.KIND_FLOW: _NEW_FLOW + "; whether it was paused is forgotten",
    pb.KIND_WRITER: "who writes for the flow, and whether it may, is forgotten, and the flow's own record, too: "
    + _NEW_FLOW,
    pb.KIND_CLAIM: "its holder no longer learns anything from it, and it is written again within seconds; a claim's "
    "number starts at 1 again, so markers of fills may be refused until the brokers have forgotten the higher one",
    pb.KIND_MIRROR: "nothing records any more that the topic on the target is this flow's: it stops there until it is "
    "taken over (mirror resolve --how accept) or copied again",
    pb.KIND_SOURCE_END: "it is recorded again within seconds; until then it is unknown what a failover would lose",
    pb.KIND_SEGMENT: "this stretch of the offset map is rebuilt from both logs, as far as they still hold it",
    pb.KIND_HELD_BACK: "it is forgotten which rules of the target's authorizer are ours: those that we placed stay, "
    "and have to be removed by hand",
    pb.KIND_GROUP: "what was written for the group is forgotten: its commits on the target count as its consumers' "
    "own, and are not overwritten",
    pb.KIND_CUT: "where the last switch cut the topic is forgotten: a failback cannot tell what was written since, "
    "and may have to copy it again",
    pb.KIND_JOURNAL: "the switches of the flow are forgotten: a running switch is neither continued nor undone, what "
    "it closed stays closed until it is opened by hand, and there is no failback from it",
    pb.KIND_MAKING: "a topic that the flow was just about to create may stop as another's, to be taken over",
    pb.KIND_START: "it is forgotten which topics existed at the flow's first start: those not mirrored yet start at "
    "their first record",
}
_MEANS_OWN_ROLE = (
    "the mirror's own role is forgotten: it is copied as its flow is, even if it was switched over singly and others "
    "write to it now"
)
_UNKNOWN_KIND = "its contents are forgotten"


class _There(NamedTuple):
    cluster: Cluster
    log: StateLog


class _Meant(NamedTuple):
    """The flow that is meant, and its name; None if its record does not tell."""

    uid: str
    name: str | None


async def damage_of(clusters: Iterable[ClusterSpec], flow: str, *, may: May) -> Damage:
    """Return the unreadable records of a flow.

    Args:
        clusters: The clusters where it may be recorded.
        flow: Its name or uid.
        may: Raises if the caller may not look at the flow with that name; None stands for all flows.

    Raises:
        UsageError: There is no such flow, or there are several.
        PreflightFailed: None was found, and a cluster that may record it does not answer.
    """
    every = [Cluster(one) for one in clusters]
    try:
        opened, unasked = await _opened(every)
        meant = _meant(opened, flow, unasked)
        may(meant.name)
        found: list[Damaged] = []
        for there in opened:
            found += await asyncio.to_thread(_damaged, there, meant.uid)
        return Damage(tuple(found[:_SHOWN_MAX]), max(0, len(found) - _SHOWN_MAX), tuple(unasked))
    finally:
        for cluster in every:
            cluster.close()


async def clear_damaged(clusters: Iterable[ClusterSpec], flow: str, order: Clearing, *, may: May) -> Damaged:
    """Write a tombstone for an unreadable record; return what it was.

    Args:
        clusters: The clusters where it may be recorded.
        flow: Name or uid of the flow that the record belongs to.
        order: Which record to clear.
        may: Raises if the caller may not change the flow with that name; None stands for all flows.

    Raises:
        UsageError: There is no such flow, or there are several; or the record is another flow's.
        PreflightFailed: The key has to be given a second time; or the cluster does not answer.
        Conflict: It is not the record that was shown.
        KafkaError: The cluster refuses.
    """
    every = [Cluster(one) for one in clusters]
    try:
        opened, unasked = await _opened(every)
        meant = _meant(opened, flow, unasked)
        may(meant.name)
        there = next((one for one in opened if one.cluster.spec.alias == order.cluster), None)
        if there is None:
            raise PreflightFailed(
                f"cluster {order.cluster!r} holds no {STATE_TOPIC} that can be read now",
                next_step=f"replicator flow damaged {flow}",
            )
        return await clear_in(there.log, order.cluster, meant.uid, order)
    finally:
        for cluster in every:
            cluster.close()


async def clear_in(log_there: StateLog, alias: str, uid: str, order: Clearing) -> Damaged:
    """Clear a record on one topic, for the flow with that uid; raises as `clear_damaged`."""
    try:
        raw_key = bytes.fromhex(order.key)
    except ValueError as error:
        raise UsageError(f"{order.key!r} is no key", why="keys are shown in hex") from error
    parsed = parse_key(raw_key)
    if parsed is None or parsed.flow_uid != uid:
        raise UsageError(f"{order.key} is no key of flow {uid}", next_step=f"replicator flow damaged {uid}")
    cleared: Damaged | None = None

    def decide(records: Mapping[bytes, bytes]) -> list[Change]:
        nonlocal cleared
        offset = log_there.offset_of(raw_key)
        found = _of_record(alias, raw_key, records.get(raw_key), offset)
        if found is None or offset != order.offset:
            now = f"at offset {offset} now" if raw_key in records else "not there any more"
            raise Conflict(
                f"the record of {about(raw_key)} is not the one that was shown",
                why=f"that stood at offset {order.offset}; it is {now}"
                + (", and can be read" if found is None and raw_key in records else ""),
                next_step=f"replicator flow damaged {uid}",
            )
        check_confirmed(found, order.confirm, uid)
        cleared = found
        if parsed.kind == pb.KIND_WRITER and not parsed.topic and state.flow_key(uid) in records:
            # A flow without a writer would be reported as a bug: both are created together, and removed together.
            return [(raw_key, None), (state.flow_key(uid), None)]
        return [(raw_key, None)]

    await log_there.change(uid, decide)
    if cleared is None:
        raise Conflict(f"the record of {about(raw_key)} was not cleared", next_step=f"replicator flow damaged {uid}")
    log.warning("damaged record cleared", cluster=alias, key=order.key, offset=order.offset, what=cleared.what)
    return cleared


def check_confirmed(damaged: Damaged, confirm: str, flow: str) -> None:
    """Return if the operator's confirmation is enough to clear a record.

    Raises:
        PreflightFailed: The key has to be given a second time.
    """
    if damaged.guarded and confirm != damaged.key:
        raise PreflightFailed(
            f"clearing {damaged.what} requires its key a second time",
            why=damaged.clearing,
            next_step=f"replicator flow damaged {flow} --clear {damaged.key} --confirm {damaged.key}",
        )


async def _opened(every: Sequence[Cluster]) -> tuple[list[_There], list[str]]:
    """Return the topics that were read to their end, and the clusters that could not be asked."""
    opened: list[_There] = []
    unasked: list[str] = []
    for cluster in every:
        try:
            async with asyncio.timeout(_OPEN_SECONDS_MAX):
                await cluster.open()
                if await cluster.describe(STATE_TOPIC) is None:
                    continue
                state_log = StateLog(cluster, keeps_offsets=True)
                await state_log.read_to_end()
        except (KafkaError, TimeoutError):
            unasked.append(cluster.spec.alias)
            continue
        opened.append(_There(cluster, state_log))
    return opened, unasked


def _meant(opened: Sequence[_There], flow: str, unasked: Sequence[str]) -> _Meant:
    """Return the flow with that name or uid, even if its own record is damaged or gone."""
    found: dict[str, str] = {}
    unreadable: list[str] = []
    for there in opened:
        every = indexed(there.log.records)
        readable = list(readable_records(pb.FlowRecord, every.find(pb.KIND_FLOW)))
        # A record that names another target came with a copied state topic: it says nothing about this cluster.
        here = [one for _, one in readable if one.target_cluster_id == there.cluster.cluster_id]
        found |= {one.uid: one.name for one in here if flow in {one.name, one.uid}}
        known = {key for key, _ in readable}
        unreadable += [parsed.flow_uid for key, parsed, _ in every.find(pb.KIND_FLOW) if key not in known]
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} flows are named {flow!r}: {', '.join(found)}",
            next_step="repeat the command with the uid of the one that is meant",
        )
    if found:
        return _Meant(*next(iter(found.items())))
    if any(next(indexed(there.log.records).of_flow(flow), None) is not None for there in opened):
        return _Meant(flow, None)
    if unreadable:
        shown = ", ".join(unreadable[:_NAMED_MAX])
        raise UsageError(
            f"no flow {flow!r} is recorded",
            why=f"the record of a flow cannot be read, and may be this one's: uid {shown}",
            next_step=f"replicator flow damaged {unreadable[0]}",
        )
    if unasked:
        raise PreflightFailed(
            f"no flow {flow!r} was found, and {', '.join(unasked)} could not be asked",
            next_step="repeat the command when it answers",
        )
    raise UsageError(f"no flow {flow!r} is recorded", next_step="replicator flow list")


def _damaged(there: _There, uid: str) -> list[Damaged]:
    alias, log_there = there.cluster.spec.alias, there.log
    found = indexed(log_there.records).of_flow(uid)
    records = (_of_record(alias, key, raw, log_there.offset_of(key)) for key, _, raw in found)
    return sorted((one for one in records if one is not None), key=lambda one: one.offset)


def _of_record(alias: str, key: bytes, raw: bytes | None, offset: int) -> Damaged | None:
    """Return what to report about a record; None if it is readable or does not exist."""
    parsed = parse_key(key)
    if raw is None or parsed is None:
        return None
    why = _why(key, parsed, raw)
    if why is None:
        return None
    own_role = parsed.kind == pb.KIND_WRITER and bool(parsed.topic)
    return Damaged(
        alias,
        key.hex(),
        offset,
        len(raw),
        f"the record of {about(key)}",
        why,
        _MEANS_OWN_ROLE if own_role else _MEANS.get(parsed.kind, _UNKNOWN_KIND),
        guarded=parsed.kind in _GUARDED,
    )


def _why(key: bytes, parsed: pb.StateKey, raw: bytes) -> str | None:
    """Return why a record cannot be read, in the words its users get; None if it can."""
    try:
        if note_of(raw) is not None:  # with all parts there, the value would be here
            raise damaged_record(key, "it is stored in parts, and some of them are missing")
        _read(key, parsed, raw)
    except DamagedRecord as error:
        return error.why
    except DecodeError as error:
        return str(error)
    return None


def _read(key: bytes, parsed: pb.StateKey, raw: bytes) -> None:
    """Parse a record the way its users do."""
    uid, alone = parsed.flow_uid, {key: raw}
    match parsed.kind:
        case pb.KIND_CLAIM:
            read_record(state.claim_record(parsed), key, raw)
        case pb.KIND_HELD_BACK:
            held_back_of(alone, uid)
        case pb.KIND_GROUP:
            unpacked(key, raw)
        case pb.KIND_CUT:
            cuts_of(alone, uid, [parsed.topic])
        case pb.KIND_JOURNAL if key == journal_key(uid):
            switches_of(alone, uid)
        case pb.KIND_JOURNAL if key == copy_key(uid):
            copy_of(alone, uid)
        case pb.KIND_JOURNAL:
            read_record(pb.LeftOutRecord, key, raw)
        case kind:
            record = _PLAIN.get(kind)
            if record is not None:  # a kind that only a newer version knows cannot be judged
                read_record(record, key, raw)
