"""Looks into a log at one place, without a session: for attaching, for the state topic, for whatever is rare."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.copy.aborts import Aborts
from replicator.core.copy.doubt import Edges, Gaps, Impossible, Unseen, Verdict, judge, sound_length
from replicator.engine.logs.bounds import offsets_of
from replicator.engine.logs.holes import holds_nothing
from replicator.engine.logs.opening import records_of
from replicator.engine.logs.refusals import refused
from replicator.engine.logs.side import Side
from replicator.errors import BrokerRefused, CorruptRecords, KafkaError
from replicator.model.batch import MAGIC_V2
from replicator.wire.batches.batch import scan
from replicator.wire.codes import ErrorCode
from replicator.wire.messages import control
from replicator.wire.messages.fetch import ANSWER_BYTES_MAX, Fetched, FetchSession, Wanted
from replicator.wire.topology import NO_TOPIC_ID
from replicator.wire.versions import FETCH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.model.batch import BatchHeader
    from replicator.model.names import TopicPartition
    from replicator.wire.batches.records import Record
    from replicator.wire.frames import Frame
    from replicator.wire.transport.connection import Connection

_READ_BYTES = 1 << 20
_LOOK_BYTES_MAX = 32 << 20
"""A doubted batch is looked at together with its neighbours, up to this size an answer."""
_LOOK_ANSWERS_MAX = 4
_READ_WAIT_MS = 500
_THROTTLED_MAX = 10
"""How often one question is put while its answers are empty for a quota; the pauses lie between."""
"""What is below the end is there at once, but for what a broker has to fetch from a remote tier."""
_STEP_FACTOR = 16
"""How much further back each look for the last data batch goes than the one before."""


@dataclass(slots=True)
class LastData:
    """The last batch with records below some offset, and the empty ones found behind it, in their order."""

    frame: Frame
    header: BatchHeader
    empty: list[BatchHeader] = field(default_factory=list)


async def last_data(
    side: Side, connection: Connection, where: TopicPartition, start: int, end: int, *, compacted: bool
) -> LastData | None:
    """Return the last batch with records below `end`, or None; looks further and further back over markers.

    `compacted` as in `batches_between`.

    Raises:
        KafkaError: The broker refuses, or does not give what is there; later.
        CorruptRecords: Its answer cannot be read.
    """
    empty: list[BatchHeader] = []
    step, upper = 1, end
    while upper > start:
        lower = max(start, upper - step)
        found: LastData | None = None
        passed: list[BatchHeader] = []
        async for frame, header, passed_over in batches_between(
            side, connection, where, lower, upper, committed=False, compacted=compacted
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
    committed: bool,
    compacted: bool = False,
) -> AsyncIterator[tuple[Frame, BatchHeader, bool]]:
    """Yield the batches that cover offsets from `begin` up to `end`, and whether each is passed over.

    That is one of an aborted transaction, or of a producer that the side leaves out.

    An empty answer below the end is no proof that nothing more is there: a remote tier that is slow answers so, and an
    open transaction hides what is behind it. Only the cleaner leaves a log without a batch at its end, and there is no
    remote tier where it works. Where it worked once, the leader's own answers have to prove it (`engine.logs.holes`).

    Args:
        side: The cluster, with the ids of the topics that are meant.
        connection: To the partition's leader.
        where: The partition.
        begin: The first offset that is wanted.
        end: The offset behind the last one.
        committed: Whether it is read as a reader of committed records does.
        compacted: Whether the cleaner works on this log: then an empty answer is its end.

    Raises:
        KafkaError: The broker refuses, or does not give what is there; later.
        CorruptRecords: Its answer cannot be read.
    """
    position = begin
    while position < end:
        frame, fetched = await read_once(side, connection, where, position, committed=committed, wait_ms=_READ_WAIT_MS)
        aborts = Aborts(fetched.aborted or ())
        headers = batches_of(frame, fetched)
        for header in headers:
            aborted = aborts.observe(header)
            if header.next_offset > position and (header.base_offset < end or header.magic < MAGIC_V2):
                left_out = side.chooser is not None and await side.chooser.leaves_out(_producer_of(header))
                yield frame, header, aborted or left_out
        if not headers:
            if compacted or await gives_nothing(side, where, position, end, committed=committed):
                return
            raise nothing_from(connection, where, position, end)
        position = max(position + 1, headers[-1].next_offset)


async def records_between(
    side: Side,
    connection: Connection,
    where: TopicPartition,
    begin: int,
    end: int,
    *,
    committed: bool,
    compacted: bool = False,
    producer_id: int | None = None,
) -> AsyncGenerator[Record, None]:
    """Yield the records between two offsets, of one producer if it is given; see `batches_between`.

    Raises:
        KafkaError: The broker refuses, or does not give what is there; later.
        CorruptRecords: Its answer cannot be read.
    """
    async for frame, header, passed_over in batches_between(
        side, connection, where, begin, end, committed=committed, compacted=compacted
    ):
        if passed_over or header.is_control or header.record_count == 0:
            continue
        if producer_id is not None and header.producer_id != producer_id:
            continue
        for record in await records_of(frame, header):
            if begin <= record.offset < end:
                yield record


async def gives_nothing(side: Side, where: TopicPartition, begin: int, end: int, *, committed: bool) -> bool:
    """Return whether a log that has just answered with nothing surely ends in a hole; see `engine.logs.holes`.

    Raises:
        KafkaError: Its leader refuses, or is another by now; later.
    """
    return await holds_nothing(side, where, begin, end, read_once, committed=committed)


def nothing_from(connection: Connection, where: TopicPartition, offset: int, end: int) -> KafkaError:
    """Return the error of a log that gave nothing below its end: what is there is not known now."""
    return BrokerRefused(
        f"{where} gives nothing from offset {offset} on, below its end {end}",
        cluster=connection.cluster.alias,
        code=0,
        api="Fetch",
        why="the answer was empty: a slow remote tier or an open transaction answers so; "
        "a hole is what the leader proves (it needs ListOffsets v8), or what ends with the next record",
        retryable=True,
    )


def _producer_of(header: BatchHeader) -> int:
    return header.producer_id if header.magic == MAGIC_V2 else -1


async def read_batches(
    side: Side, connection: Connection, where: TopicPartition, offset: int, *, committed: bool = False
) -> tuple[Frame, list[BatchHeader]]:
    """Read once from `offset`, without a session; return the frame and the whole batches in it.

    Raises:
        KafkaError: The broker refuses.
        CorruptRecords: Its answer cannot be read.
    """
    frame, fetched = await read_once(side, connection, where, offset, committed=committed)
    return frame, batches_of(frame, fetched)


def batches_of(frame: Frame, fetched: Fetched) -> list[BatchHeader]:
    """Return the whole batches of an answer.

    Raises:
        CorruptRecords: They contradict each other, or the answer ends inside the first of them.
    """
    headers = scan(frame.buffer, fetched.start, fetched.end)
    if sound_length(headers) < len(headers):
        raise CorruptRecords(f"the batches of {fetched.where} contradict each other", why="their offsets overlap")
    if not headers and fetched.start != fetched.end:
        raise CorruptRecords(f"an answer for {fetched.where} ends inside its first batch")
    return headers


async def look_again(
    side: Side, where: TopicPartition, offset: int, looks: int = 0, epochs_unproven: int = 0
) -> Verdict | None:
    """Look at an offset at which an answer was not believed; None where the log begins behind it, or ends before it.

    It is read with the batch before it and without a session; the log's end and leader epoch are read after it, too.

    Args:
        side: Whose log.
        where: Which partition.
        offset: The doubted offset.
        looks: How often before such a look proved offsets without a batch: where there are many, more is read at once.
        epochs_unproven: Offset below which leader epochs above the leader's are ignored.

    Raises:
        KafkaError: The broker refuses, or does not give what is there; later.
        CorruptRecords: What it gives cannot be read.
    """
    read_bytes = min(_LOOK_BYTES_MAX, _READ_BYTES << min(looks, 10))
    connection = await side.cluster.leader_connection(where)
    start, end = [(await offsets_of(connection, [where], at))[where] for at in (control.EARLIEST, control.LATEST)]
    if not start <= offset < end:
        return None
    headers: list[BatchHeader] = []
    position = max(start, offset - 1)
    # A broker answers from one segment only: the batch before the offset, the one at it and the next may be in three.
    for _ in range(_LOOK_ANSWERS_MAX):
        frame, fetched = await read_once(
            side, connection, where, position, wait_ms=_READ_WAIT_MS, read_bytes=read_bytes
        )
        more = scan(frame.buffer, fetched.start, fetched.end)
        headers += more
        await side.cluster.refresh([where.topic])
        if _is_another(side, where.topic):  # what was read is of the one before, and what is told since of this one
            return None
        leader = side.cluster.leader(where)
        # Both ends: an unclean election may have taken in between what was read.
        end = max(end, (await offsets_of(connection, [where], control.LATEST))[where])
        edges = Edges(end, leader.epoch if leader is not None else -1, epochs_unproven)
        verdict = judge(headers, offset, edges)
        if isinstance(verdict, Impossible):
            await _confirm_epoch(side, connection, where, headers, offset, edges)
        if not isinstance(verdict, Unseen):
            return verdict
        if not more:
            if await gives_nothing(side, where, position, end, committed=False):
                return _ended(headers, offset, position, end)
            break
        position = more[-1].next_offset
    raise nothing_from(connection, where, position, end)


def _is_another(side: Side, topic: str) -> bool:
    """Return whether another topic is known to stand under a name than the one that is meant."""
    described, meant = side.cluster.topics.get(topic), side.topic_ids.get(topic)
    return described is not None and meant is not None and any(meant) and described.topic_id not in {meant, NO_TOPIC_ID}


async def _confirm_epoch(
    side: Side, connection: Connection, where: TopicPartition, headers: Sequence[BatchHeader], offset: int, edges: Edges
) -> None:
    """Let the leader itself say that it is in no such leader epoch as a batch claims: metadata may be old.

    A broker tells them from what it heard last, and whoever answers need not be the leader; only the leader knows in
    which epoch it is.

    Raises:
        KafkaError: It is in that epoch, or in a later one, or refuses; later.
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
        f"{where} is led in epoch {claims.leader_epoch} by now, and metadata still tell {edges.leader_epoch}",
        cluster=side.cluster.spec.alias,
        code=0,
        api="Metadata",
        why="the broker that told them has not heard of it yet",
        retryable=True,
    )


def _ended(headers: Sequence[BatchHeader], offset: int, position: int, end: int) -> Verdict:
    """Return what a second look says that saw the last batches of a log which surely holds none from `position` on."""
    if position > offset:  # the batch behind the doubted offset is the last: it has no neighbour, and needs none
        return judge(headers, offset, Edges(position))
    return Gaps(((offset, end),))


async def read_once(
    side: Side,
    connection: Connection,
    where: TopicPartition,
    offset: int,
    *,
    committed: bool = False,
    wait_ms: int = 0,
    leader_epoch: int = -1,
    read_bytes: int = _READ_BYTES,
    into: Frame | None = None,
) -> tuple[Frame, Fetched]:
    """Do one fetch without a session; with `leader_epoch` only a leader of that epoch answers.

    Its answer is read into a frame that is given, or a fresh one.

    Raises:
        KafkaError: The broker refuses.
    """
    version = connection.versions.fetch
    session = FetchSession(version, int(committed), side.topic_ids, sessionless=True)
    body = session.request(
        {where: Wanted(offset, leader_epoch, -1, read_bytes)}, wait_ms=wait_ms, bytes_min=1, bytes_max=read_bytes
    )
    for _ in range(_THROTTLED_MAX):
        # As large as what is copied: what was written once has to be read again at each attach.
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
        return refused(connection.cluster, "Fetch", code, where.topic)
    return BrokerRefused(
        f"no answer for {where}", cluster=connection.cluster.alias, code=0, api="Fetch", retryable=True
    )
