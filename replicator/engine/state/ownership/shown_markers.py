"""Does a target show our markers, in its leaders' producer states and in the log?

A fence is checked through the former, a fill through the latter. It would be too late to find out after the first
marker on a mirror. So both are proven on a partition that is ours: the state topic's.
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
from replicator.model.spec import Isolation
from replicator.obs.logs import get_logger
from replicator.wire.messages import control
from replicator.wire.messages.data.transactions import ProducerIdentity, Transaction, init_producer_id
from replicator.wire.protocol.faults import broker_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.state_pb import state_pb2 as pb
    from replicator.wire.cluster import Cluster

_WHERE = TopicPartition(STATE_TOPIC, 0)
_POLL_SECONDS = 0.05
_POLL_SECONDS_MAX = 1.0
_SHOWN_POLLS = 10
"""Once a second, after a marker was written: a coordinator answers before its markers are in the logs."""

log = get_logger(__name__)


class Shown(enum.Enum):
    """Whether DescribeProducers reports a producer that wrote a marker.

    NOT_OFFERED: brokers have no such request, and the log is read instead. UNKNOWN: there is no marker of ours.
    """

    YES = enum.auto()
    NO = enum.auto()
    NOT_OFFERED = enum.auto()
    UNKNOWN = enum.auto()


def known_to_coordinator(record: pb.WriterRecord) -> int:
    """Return the epoch of the data id that its transaction coordinator knows: a bulk fence does not tell it."""
    return record.coordinator_epoch if record.HasField("coordinator_epoch") else record.epoch


async def shown_by_now(target: Cluster, producer_id: int) -> tuple[Shown, bool]:
    """Return whether a producer that wrote a marker is shown, and whether the state topic's log has one of its markers.

    Writes nothing. If neither shows a marker, the cleaner may have removed it.

    Raises:
        KafkaError: The target refuses, or cannot be reached.
    """
    shown = await markers_are_shown(target, producer_id)
    stands = await marker_stands(target, producer_id)
    if shown is None:
        return Shown.NOT_OFFERED, stands
    if shown:
        return Shown.YES, stands
    return Shown.NO if stands else Shown.UNKNOWN, stands


async def shown_after_one(target: Cluster, records: Mapping[bytes, bytes], uid: str) -> Shown:
    """Return whether a flow's markers are shown; if there is none, one is written to the state topic first.

    Raises:
        KafkaError: The target cannot be asked, or the marker has not landed yet.
    """
    if state.get_writer(records, uid) is None:
        return Shown.UNKNOWN  # the flow was never started
    writer = state.get_writer_record(records, uid)
    if not writer.HasField("producer_id"):
        return Shown.UNKNOWN
    return await _after_one(target, uid, ProducerIdentity(writer.producer_id, known_to_coordinator(writer)))


async def prove_markers_are_shown(target: Cluster, uid: str, identity: ProducerIdentity) -> None:
    """Prove on the state topic that the target reports a producer that wrote a marker: that is how a fence is seen.

    A fence counts once every partition shows its epoch, and from its first marker on a switch only goes forward. If the
    data id may not be used for an empty transaction, nothing is proven and nothing refused.

    Args:
        target: The target.
        uid: The flow.
        identity: The identity of the data id, as the transaction coordinator knows it.

    Raises:
        PreflightFailed: A marker of ours is on the state topic, and DescribeProducers does not report it.
        KafkaError: The target cannot be asked, or the marker has not landed yet.
    """
    if await _after_one(target, uid, identity) is Shown.NO:
        raise PreflightFailed(
            not_shown(target.spec.alias),
            why=f"a marker of producer {identity.producer_id} was written to {STATE_TOPIC} and is not shown: "
            "it could not be seen whether a fence is complete",
            next_step="this target cannot be fenced; stop the applications of the source, and promote the target by "
            "hand",
        )


def not_shown(alias: str) -> str:
    """Return what is wrong with a target that does not report a producer that wrote a marker."""
    return f"DescribeProducers of cluster {alias!r} does not report a producer that wrote a marker"


async def _after_one(target: Cluster, uid: str, identity: ProducerIdentity) -> Shown:
    shown = await markers_are_shown(target, identity.producer_id)
    if shown is not False:
        return Shown.NOT_OFFERED if shown is None else Shown.YES
    begin = await _state_end(target)
    try:
        await empty_transaction(target, data_transactional_id(uid), identity)
    except (KafkaError, Conflict) as error:
        log.debug("whether markers are shown is not proven", why=str(error))
        return Shown.UNKNOWN
    for _ in range(_SHOWN_POLLS):
        await asyncio.sleep(_POLL_SECONDS_MAX)
        if await markers_are_shown(target, identity.producer_id) is not False:
            return Shown.YES
    if not await marker_stands(target, identity.producer_id, begin):
        raise _not_landed(target, identity)
    return Shown.NO


async def prove_fills(target: Cluster, transactional_id: str, identity: ProducerIdentity) -> Shown:
    """Prove that a marker takes an offset of a log and is returned to its readers, before any partition is filled.

    Return whether DescribeProducers reports its producer as well: a fence needs that, a fill does not.

    Args:
        target: The target.
        transactional_id: The id under which transactions write markers.
        identity: Its producer.

    Raises:
        MarkersNotShown: A marker was written, and the log does not show it.
        KafkaError: The target cannot be asked.
        Conflict: Another daemon has taken over the id.
    """
    begin = await _state_end(target)
    await empty_transaction(target, transactional_id, identity)
    pause = _POLL_SECONDS
    for _ in range(_SHOWN_POLLS):
        if await marker_stands(target, identity.producer_id, begin):
            break
        await asyncio.sleep(pause)
        pause = min(_POLL_SECONDS_MAX, pause * 2)
    else:
        # A coordinator answers InitProducerId for an id only once all markers of its last transaction are written.
        await init_producer_id(target, transactional_id)
        if not await marker_stands(target, identity.producer_id, begin):
            raise MarkersNotShown(
                f"a marker that was written to {STATE_TOPIC} of {target.spec.alias} is not in its log",
                cluster=target.spec.alias,
                why=f"its transaction (producer {identity.producer_id}) is complete, but a read from offset {begin} on "
                "returns no batch of it: markers cannot fill offsets there",
                next_step="copy with `offsets: mapped`, which needs none; or ask the cluster's operator for brokers "
                "that keep control batches as Kafka's own do",
            )
    shown = await markers_are_shown(target, identity.producer_id)
    return Shown.NOT_OFFERED if shown is None else Shown.YES if shown else Shown.NO


async def markers_are_shown(target: Cluster, producer_id: int) -> bool | None:
    """Return whether the leader of the state topic reports a producer; None if it does not offer that request.

    Raises:
        KafkaError: It refuses, or cannot be reached.
    """
    shown = await control.describe_producers(await target.leader_connection(_WHERE), [_WHERE])
    if shown is None:
        return None
    code, producers = control.answer_for(shown, _WHERE, target.spec, "DescribeProducers")
    if code:
        raise broker_error(target.spec, "DescribeProducers", code, STATE_TOPIC)
    return any(one.producer_id == producer_id for one in producers)


async def marker_stands(target: Cluster, producer_id: int, begin: int | None = None) -> bool:
    """Return whether the state topic's log has a marker of a producer, at or above an offset.

    Raises:
        KafkaError: It cannot be read.
    """
    connection, end = await target.leader_connection(_WHERE), await _state_end(target)
    if begin is None:
        begin = (await offsets_of(connection, [_WHERE], control.EARLIEST))[_WHERE]
    side = Side(target, target.topic_ids)
    async for _, header, _ in batches_between(
        side, connection, _WHERE, begin, end, isolation=Isolation.READ_UNCOMMITTED, compacted=True
    ):
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
        why=f"its transaction ended {_SHOWN_POLLS * _POLL_SECONDS_MAX:g} s ago; the coordinator writes it later",
        retryable=True,
    )
