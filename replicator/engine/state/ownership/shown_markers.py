"""Does a target show markers of ours: by what its leaders tell of producers, and in the log?

A fence is seen through the one, a fill through the other. Neither is to be found out where it matters, behind the first
marker: both are proven on one partition that is ours, that of the state topic.
"""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING

from replicator.engine.logs.bounds import offsets_of
from replicator.engine.logs.reading import batches_between
from replicator.engine.logs.side import Side
from replicator.engine.state import records as state
from replicator.errors import Conflict, KafkaError, MarkersNotShown, PreflightFailed
from replicator.model.names import STATE_TOPIC, TopicPartition, data_transactional_id
from replicator.obs.logs import get_logger
from replicator.wire.faults import refused
from replicator.wire.messages import control
from replicator.wire.messages.transactions import ProducerIdentity, Transaction, init_producer_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.state_pb import state_pb2 as pb
    from replicator.wire.cluster import Cluster

_WHERE = TopicPartition(STATE_TOPIC, 0)
_LOOK_SECONDS = 0.05
_LOOK_SECONDS_MAX = 1.0
_SHOWN_LOOKS = 10
"""Once a second, after a marker was written: a coordinator answers before its markers stand."""

log = get_logger(__name__)


class Shown(enum.Enum):
    """Whether DescribeProducers tells of a producer that wrote a marker.

    NOT_OFFERED: brokers have no such request, and the log is looked at instead. UNKNOWN: no marker of ours stands.
    """

    YES = enum.auto()
    NO = enum.auto()
    NOT_OFFERED = enum.auto()
    UNKNOWN = enum.auto()


def known_to_coordinator(record: pb.WriterRecord) -> int:
    """Return the epoch of the data id that its transaction coordinator knows: a fence in bulk does not tell it."""
    return record.coordinator_epoch if record.HasField("coordinator_epoch") else record.epoch


async def shown_by_now(target: Cluster, producer_id: int) -> tuple[Shown, bool]:
    """Return whether a producer that wrote a marker is shown, and whether the state topic's log holds one of its.

    Nothing is written. Where neither shows any, the cleaner may have taken it.

    Raises:
        KafkaError: The target refuses, or cannot be reached.
    """
    told = await markers_are_shown(target, producer_id)
    stands = await marker_stands(target, producer_id)
    if told is None:
        return Shown.NOT_OFFERED, stands
    if told:
        return Shown.YES, stands
    return Shown.NO if stands else Shown.UNKNOWN, stands


async def shown_after_one(target: Cluster, records: Mapping[bytes, bytes], uid: str) -> Shown:
    """Return whether markers of a flow are shown; where none is, one is written to the state topic first.

    Raises:
        KafkaError: The target cannot be asked, or the marker has not landed yet.
    """
    if state.get_writer(records, uid) is None:
        return Shown.UNKNOWN  # the flow was never begun
    writer = state.get_writer_record(records, uid)
    if not writer.HasField("producer_id"):
        return Shown.UNKNOWN
    return await _after_one(target, uid, ProducerIdentity(writer.producer_id, known_to_coordinator(writer)))


async def prove_markers_are_shown(target: Cluster, uid: str, identity: ProducerIdentity) -> None:
    """Prove on the state topic that the target tells of a producer that wrote a marker: it is how a fence is seen.

    A fence counts once every partition shows its epoch, and from its first marker on there is only forward. Where the
    data id may not be used for an empty transaction, nothing is proven and nothing refused.

    Args:
        target: The target.
        uid: The flow.
        identity: Of the data id, as the transaction coordinator knows it.

    Raises:
        PreflightFailed: A marker of ours stands on the state topic, and DescribeProducers does not tell of it.
        KafkaError: The target cannot be asked, or the marker has not landed yet.
    """
    if await _after_one(target, uid, identity) is Shown.NO:
        raise PreflightFailed(
            not_shown(target.spec.alias),
            why=f"a marker of producer {identity.producer_id} was written to {STATE_TOPIC} and is not shown: "
            "whether a fence stands could not be seen",
            next_step="this target cannot be fenced; stop the applications of the source, and promote the target by "
            "hand",
        )


def not_shown(alias: str) -> str:
    """Return what is wrong with a target that does not tell of a producer that wrote a marker."""
    return f"DescribeProducers of cluster {alias!r} does not report a producer that wrote a marker"


async def _after_one(target: Cluster, uid: str, identity: ProducerIdentity) -> Shown:
    told = await markers_are_shown(target, identity.producer_id)
    if told is not False:
        return Shown.NOT_OFFERED if told is None else Shown.YES
    begin = await _state_end(target)
    try:
        await empty_transaction(target, data_transactional_id(uid), identity)
    except (KafkaError, Conflict) as error:
        log.debug("whether markers are shown is not proven", why=str(error))
        return Shown.UNKNOWN
    for _ in range(_SHOWN_LOOKS):
        await asyncio.sleep(_LOOK_SECONDS_MAX)
        if await markers_are_shown(target, identity.producer_id) is not False:
            return Shown.YES
    if not await marker_stands(target, identity.producer_id, begin):
        raise _not_landed(target, identity)
    return Shown.NO


async def prove_fills(target: Cluster, transactional_id: str, identity: ProducerIdentity) -> Shown:
    """Prove that a marker takes an offset of a log and is given to readers of it, before any partition is filled.

    Return whether DescribeProducers tells of its producer, too: a fill does not need that, a fence does.

    Args:
        target: The target.
        transactional_id: Under which markers are written by transactions.
        identity: Its producer.

    Raises:
        MarkersNotShown: It was written, and the log does not show it.
        KafkaError: The target cannot be asked.
        Conflict: Another daemon has taken the id over.
    """
    begin = await _state_end(target)
    await empty_transaction(target, transactional_id, identity)
    pause = _LOOK_SECONDS
    for _ in range(_SHOWN_LOOKS):
        if await marker_stands(target, identity.producer_id, begin):
            break
        await asyncio.sleep(pause)
        pause = min(_LOOK_SECONDS_MAX, pause * 2)
    else:
        # A coordinator begins anew with an id only once all markers of its last transaction are written.
        await init_producer_id(target, transactional_id)
        if not await marker_stands(target, identity.producer_id, begin):
            raise MarkersNotShown(
                f"a marker that was written to {STATE_TOPIC} of {target.spec.alias} is not in its log",
                cluster=target.spec.alias,
                why=f"its transaction (producer {identity.producer_id}) is complete, and no batch of it is given from "
                f"offset {begin} on: markers cannot fill offsets there",
                next_step="copy with `offsets: mapped`, which needs none; or ask the cluster's operator for brokers "
                "that keep control batches as Kafka's own do",
            )
    told = await markers_are_shown(target, identity.producer_id)
    return Shown.NOT_OFFERED if told is None else Shown.YES if told else Shown.NO


async def markers_are_shown(target: Cluster, producer_id: int) -> bool | None:
    """Return whether the leader of the state topic tells of a producer; None where it does not offer to.

    Raises:
        KafkaError: It refuses, or cannot be reached.
    """
    told = await control.describe_producers(await target.leader_connection(_WHERE), [_WHERE])
    if told is None:
        return None
    code, producers = control.answer_for(told, _WHERE, target.spec, "DescribeProducers")
    if code:
        raise refused(target.spec, "DescribeProducers", code, STATE_TOPIC)
    return any(one.producer_id == producer_id for one in producers)


async def marker_stands(target: Cluster, producer_id: int, begin: int | None = None) -> bool:
    """Return whether a marker of a producer stands on the state topic, from an offset on.

    Raises:
        KafkaError: It cannot be read.
    """
    connection, end = await target.leader_connection(_WHERE), await _state_end(target)
    if begin is None:
        begin = (await offsets_of(connection, [_WHERE], control.EARLIEST))[_WHERE]
    side = Side(target, target.topic_ids)
    async for _, header, _ in batches_between(side, connection, _WHERE, begin, end, committed=False, compacted=True):
        if header.is_control and header.producer_id == producer_id:
            return True
    return False


async def empty_transaction(target: Cluster, transactional_id: str, identity: ProducerIdentity) -> None:
    """Write one marker to the state topic.

    Raises:
        KafkaError: The target refuses.
        Conflict: The id has a different epoch by now.
    """
    transaction = Transaction(target, transactional_id, identity)
    await transaction.add(_WHERE)
    await transaction.end(commit=False)


async def _state_end(target: Cluster) -> int:
    return (await offsets_of(await target.leader_connection(_WHERE), [_WHERE], control.LATEST))[_WHERE]


def _not_landed(target: Cluster, identity: ProducerIdentity) -> KafkaError:
    return KafkaError(
        f"a marker of producer {identity.producer_id} has not landed on {STATE_TOPIC} of {target.spec.alias}",
        cluster=target.spec.alias,
        why=f"its transaction ended {_SHOWN_LOOKS * _LOOK_SECONDS_MAX:g} s ago; the coordinator writes it later",
        retryable=True,
    )
