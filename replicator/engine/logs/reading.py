"""Reads a log at one offset, without a fetch session: for attaching, the state topic, and whatever is rare."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.copy.reading.aborts import Aborts
from replicator.core.copy.reading.doubt import Gaps, Impossible, ResponseBounds, Unseen, Verdict, judge, sound_length
from replicator.engine.logs.bounds import offsets_of
from replicator.engine.logs.holes import holds_nothing
from replicator.engine.logs.opening import records_of
from replicator.engine.logs.refusals import broker_error
from replicator.engine.logs.side import Side
from replicator.errors import BrokerRefused, CorruptRecords, KafkaError
from replicator.model.batch import MAGIC_V2
from replicator.model.spec import Isolation
from replicator.wire.batches.batch import scan
from replicator.wire.messages import control
from replicator.wire.messages.data.fetch import ANSWER_BYTES_MAX, Fetched, FetchSession, Wanted
from replicator.wire.protocol.codes import ErrorCode
from replicator.wire.protocol.versions import FETCH
from replicator.wire.topology import NO_TOPIC_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.model.batch import BatchHeader
    from replicator.model.names import TopicPartition
    from replicator.wire.batches.records import Record
    from replicator.wire.frames import Frame
    from replicator.wire.transport.connection import Connection

_READ_BYTES = 1 << 20
_REREAD_BYTES_MAX = 32 << 20
"""The most that one response may hold when a doubted batch is read again together with its neighbours."""
_REREAD_ANSWERS_MAX = 4
_READ_WAIT_MS = 500
"""What is below the end is returned at once, except for what a broker has to fetch from a remote tier."""
_THROTTLED_MAX = 10
"""How often one fetch is repeated while a quota empties its responses; the throttle times lie in between."""
_STEP_FACTOR = 16
"""How much further back each search for the last data batch goes than the one before."""


@dataclass(slots=True)
class LastData:
    """The last batch with records below some offset, and the empty batches found after it, in their order."""

    frame: Frame
    header: BatchHeader
    empty: list[BatchHeader] = field(default_factory=list)


async def last_data(
    side: Side, connection: Connection, where: TopicPartition, start: int, end: int, *, compacted: bool
) -> LastData | None:
    """Return the last batch with records below `end`, or None; searches further and further back, over markers.

    `compacted` as in `batches_between`.

    Raises:
        KafkaError: The broker refuses, or does not return what is there; retry later.
        CorruptRecords: Its response cannot be read.
    """
    empty: list[BatchHeader] = []
    step, upper = 1, end
    while upper > start:
        lower = max(start, upper - step)
        found: LastData | None = None
        passed: list[BatchHeader] = []
        async for frame, header, passed_over in batches_between(
            side, connection, where, lower, upper, isolation=Isolation.READ_UNCOMMITTED, compacted=compacted
        ):
            if header.is_control or passed_over:
                continue
            if header.record_count > 0:
                found = LastData(frame, header)
                passed = []
            else:
                passed.append(header)
        empty = passed + empty
        if found is not None:
            found.empty = empty
            return found
        step, upper = step * _STEP_FACTOR, lower
    return None


async def batches_between(
    side: Side,
    connection: Connection,
    where: TopicPartition,
    begin: int,
    end: int,
    *,
    isolation: Isolation,
    compacted: bool = False,
) -> AsyncIterator[tuple[Frame, BatchHeader, bool]]:
    """Yield the batches that cover offsets from `begin` up to `end`, and whether each is to be passed over.

    A batch is passed over if its transaction was aborted, or if the side's chooser leaves its producer out.

    An empty response below the end does not prove that nothing more is there: a slow remote tier responds so, and an
    open transaction hides what is after it. Only the cleaner leaves a log without a batch at its end, and there is no
    remote tier on a compacted topic. Where it worked once, the leader's own responses have to prove it
    (`engine.logs.holes`).

    Args:
        side: The cluster, with the ids of the topics that are meant.
        connection: To the partition's leader.
        where: The partition.
        begin: The first wanted offset.
        end: The offset after the last wanted one.
        isolation: The isolation level of the fetches.
        compacted: Whether the cleaner works on this log: then an empty response is its end.

    Raises:
        KafkaError: The broker refuses, or does not return what is there; retry later.
        CorruptRecords: Its response cannot be read.
    """
    position = begin
    while position < end:
        frame, fetched = await read_once(side, connection, where, position, isolation=isolation, wait_ms=_READ_WAIT_MS)
        aborts = Aborts(fetched.aborted or ())
        headers = batches_of(frame, fetched)
        for header in headers:
            aborted = aborts.observe(header)
            if header.next_offset > position and (header.base_offset < end or header.magic < MAGIC_V2):
                left_out = side.chooser is not None and await side.chooser.leaves_out(_producer_of(header))
                yield frame, header, aborted or left_out
        if not headers:
            if compacted or await ends_in_hole(side, where, position, end, isolation=isolation):
                return
            raise nothing_returned(connection, where, position, end)
        position = max(position + 1, headers[-1].next_offset)


async def records_between(
    side: Side,
    connection: Connection,
    where: TopicPartition,
    begin: int,
    end: int,
    *,
    isolation: Isolation,
    compacted: bool = False,
    producer_id: int | None = None,
) -> AsyncGenerator[Record, None]:
    """Yield the records between two offsets, only those of `producer_id` if it is given; see `batches_between`.

    Raises:
        KafkaError: The broker refuses, or does not return what is there; retry later.
        CorruptRecords: Its response cannot be read.
    """
    async for frame, header, passed_over in batches_between(
        side, connection, where, begin, end, isolation=isolation, compacted=compacted
    ):
        if passed_over or header.is_control or header.record_count == 0:
            continue
        if producer_id is not None and header.producer_id != producer_id:
            continue
        for record in await records_of(frame, header):
            if begin <= record.offset < end:
                yield record


async def ends_in_hole(side: Side, where: TopicPartition, begin: int, end: int, *, isolation: Isolation) -> bool:
    """Return whether a log that has just returned nothing certainly ends in a hole; see `engine.logs.holes`.

    Raises:
        KafkaError: Its leader refuses, or has changed meanwhile; retry later.
    """
    return await holds_nothing(side, where, begin, end, read_once, isolation=isolation)


def nothing_returned(connection: Connection, where: TopicPartition, offset: int, end: int) -> KafkaError:
    """Return the error for a log that returned nothing below its end: what is there is unknown for now."""
    return BrokerRefused(
        f"{where} returns nothing from offset {offset} on, below its end {end}",
        cluster=connection.cluster.alias,
        code=0,
        api="Fetch",
        why="the response was empty: a slow remote tier or an open transaction responds so; "
        "it is a hole once the leader proves it (this needs ListOffsets v8), or once the next record ends it",
        retryable=True,
    )


def _producer_of(header: BatchHeader) -> int:
    return header.producer_id if header.magic == MAGIC_V2 else -1


async def read_batches(
    side: Side,
    connection: Connection,
    where: TopicPartition,
    offset: int,
    *,
    isolation: Isolation = Isolation.READ_UNCOMMITTED,
) -> tuple[Frame, list[BatchHeader]]:
    """Read once from `offset`, without a session; return the frame and the whole batches in it.

    Raises:
        KafkaError: The broker refuses.
        CorruptRecords: Its response cannot be read.
    """
    frame, fetched = await read_once(side, connection, where, offset, isolation=isolation)
    return frame, batches_of(frame, fetched)


def batches_of(frame: Frame, fetched: Fetched) -> list[BatchHeader]:
    """Return the whole batches of a response.

    Raises:
        CorruptRecords: They contradict each other, or the response ends inside the first of them.
    """
    headers = scan(frame.buffer, fetched.start, fetched.end)
    if sound_length(headers) < len(headers):
        raise CorruptRecords(f"the batches of {fetched.where} contradict each other", why="their offsets overlap")
    if not headers and fetched.start != fetched.end:
        raise CorruptRecords(f"a response for {fetched.where} ends inside its first batch")
    return headers


async def reread(
    side: Side, where: TopicPartition, offset: int, rereads: int = 0, epochs_unproven: int = 0
) -> Verdict | None:
    """Read a doubted offset again; None if the log starts above it or ends at or below it by now.

    It is read with the batch before it and without a session. The log end and leader epoch are read again afterwards.

    Args:
        side: Whose log.
        where: Which partition.
        offset: The doubted offset.
        rereads: How often such a read has proven offsets without a batch: where there are many, more is read at once.
        epochs_unproven: Offset below which batch leader epochs above the leader's are ignored.

    Raises:
        KafkaError: The broker refuses, or does not return what is there; retry later.
        CorruptRecords: What it returns cannot be read.
    """
    read_bytes = min(_REREAD_BYTES_MAX, _READ_BYTES << min(rereads, 10))
    connection = await side.cluster.leader_connection(where)
    start, end = [(await offsets_of(connection, [where], at))[where] for at in (control.EARLIEST, control.LATEST)]
    if not start <= offset < end:
        return None
    headers: list[BatchHeader] = []
    position = max(start, offset - 1)
    # One response covers one segment only: the batch before the offset, the one at it and the next may be in three.
    for _ in range(_REREAD_ANSWERS_MAX):
        frame, fetched = await read_once(
            side, connection, where, position, wait_ms=_READ_WAIT_MS, read_bytes=read_bytes
        )
        more = scan(frame.buffer, fetched.start, fetched.end)
        headers += more
        await side.cluster.refresh([where.topic])
        if _is_another(side, where.topic):  # the topic was re-created: batches of the old one, metadata of the new one
            return None
        leader = side.cluster.leader(where)
        # The higher of both ends: in between, an unclean election may have cut the log that was read.
        end = max(end, (await offsets_of(connection, [where], control.LATEST))[where])
        edges = ResponseBounds(end, leader.epoch if leader is not None else -1, epochs_unproven)
        verdict = judge(headers, offset, edges)
        if isinstance(verdict, Impossible):
            await _confirm_epoch(side, connection, where, headers, offset, edges)
        if not isinstance(verdict, Unseen):
            return verdict
        if not more:
            if await ends_in_hole(side, where, position, end, isolation=Isolation.READ_UNCOMMITTED):
                return _ended(headers, offset, position, end)
            break
        position = more[-1].next_offset
    raise nothing_returned(connection, where, position, end)


def _is_another(side: Side, topic: str) -> bool:
    """Return whether the topic now known under this name is another one than the recorded id means."""
    described, meant = side.cluster.topics.get(topic), side.topic_ids.get(topic)
    return described is not None and meant is not None and any(meant) and described.topic_id not in {meant, NO_TOPIC_ID}


async def _confirm_epoch(
    side: Side,
    connection: Connection,
    where: TopicPartition,
    headers: Sequence[BatchHeader],
    offset: int,
    edges: ResponseBounds,
) -> None:
    """Confirm with the leader itself that it is not in the leader epoch that a batch claims: metadata may be stale.

    A broker answers metadata requests from what it last heard, and need not be the leader; only the leader knows its
    own epoch.

    Raises:
        KafkaError: It is in that epoch or a later one, or it refuses; retry later.
    """
    claims = next((header for header in headers if header.next_offset > offset), None)
    if claims is None or not edges.epoch_is_above(claims):
        return
    try:
        await read_once(side, connection, where, claims.base_offset, leader_epoch=claims.leader_epoch, read_bytes=1)
    except BrokerRefused as error:
        if error.code == ErrorCode.unknown_leader_epoch:
            return
        if error.code != ErrorCode.fenced_leader_epoch:
            raise
    raise BrokerRefused(
        f"{where} is led in epoch {claims.leader_epoch} by now, but metadata still say {edges.leader_epoch}",
        cluster=side.cluster.spec.alias,
        code=0,
        api="Metadata",
        why="the broker that answered has not heard of the new epoch yet",
        retryable=True,
    )


def _ended(headers: Sequence[BatchHeader], offset: int, position: int, end: int) -> Verdict:
    """Return the verdict of a second look that reached the log's last batches: it holds none from `position` on."""
    if position > offset:  # the batch at or after the doubted offset is the last: it has no next one, and needs none
        return judge(headers, offset, ResponseBounds(position))
    return Gaps(((offset, end),))


async def read_once(
    side: Side,
    connection: Connection,
    where: TopicPartition,
    offset: int,
    *,
    isolation: Isolation = Isolation.READ_UNCOMMITTED,
    wait_ms: int = 0,
    leader_epoch: int = -1,
    read_bytes: int = _READ_BYTES,
    into: Frame | None = None,
) -> tuple[Frame, Fetched]:
    """Do one fetch without a session; with `leader_epoch`, only a leader of that epoch answers.

    The response is read into the given frame, or a fresh one.

    Raises:
        KafkaError: The broker refuses.
    """
    version = connection.versions.fetch
    session = FetchSession(version, isolation, side.topic_ids, sessionless=True)
    body = session.request(
        {where: Wanted(offset, leader_epoch, -1, read_bytes)}, wait_ms=wait_ms, bytes_min=1, bytes_max=read_bytes
    )
    for _ in range(_THROTTLED_MAX):
        # The limit is that of the copy: whatever was written once must be readable at each attach.
        frame = await connection.ask(FETCH, version, [body], len(body), frame=into, frame_bytes_max=ANSWER_BYTES_MAX)
        code, partitions = session.answer(frame.buffer, frame.size)
        if partitions or not session.throttled:
            break
    found = next((one for one in partitions if one.where == where), None)
    if code or found is None or found.error:
        raise _read_refused(connection, code or (found.error if found is not None else 0), where)
    return frame, found


def _read_refused(connection: Connection, code: int, where: TopicPartition) -> KafkaError:
    if code:
        return broker_error(connection.cluster, "Fetch", code, where.topic)
    return BrokerRefused(
        f"no response for {where}", cluster=connection.cluster.alias, code=0, api="Fetch", retryable=True
    )
