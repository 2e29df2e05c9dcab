"""Divergent records: what the old source holds beyond the cut is found, exported to the new primary, and read back.

Each exported record keeps its key, value, headers and time; its origin and a digest are added as headers. An export
resumes where it was interrupted: every piece is a transaction, and what is already there shows how far it got. If
several daemons export at once, each piece is written by one of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.engine.logs.bounds import ends_of
from replicator.engine.logs.dead_letter import OFFSET_HEADER, origin_headers, payload_bytes
from replicator.engine.logs.reading import records_between
from replicator.engine.logs.refusals import broker_error
from replicator.engine.logs.side import Side
from replicator.engine.state import records as state
from replicator.engine.state.cuts import cuts_of
from replicator.engine.switch.context import mirrors_in
from replicator.engine.switch.places import log_ends, log_starts
from replicator.engine.switch.repairs.high_cuts import lower_high_cuts
from replicator.engine.verify.compare import compacted_topics
from replicator.errors import BrokerRefused, Conflict, PreflightFailed, Unequal
from replicator.model.names import TopicPartition, export_transactional_id
from replicator.model.spec import Isolation
from replicator.model.switch.journal import Journal, by_topic
from replicator.model.switch.terms import Cut
from replicator.obs.logs import get_logger
from replicator.wire.batches.records import NewRecord, Record, encode
from replicator.wire.messages.data.produce import produce_by_name
from replicator.wire.messages.data.transactions import Transaction, init_producer_id, patiently

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from replicator.engine.switch.context import SwitchContext
    from replicator.wire.cluster import Cluster
    from replicator.wire.messages.data.transactions import ProducerIdentity

DIGEST_HEADER = b"replicator.digest"
_PIECE_BYTES = 512 << 10
_PIECE_RECORDS = 2000
_LIMIT_BYTES = 8 << 20
_TOPIC_ALREADY_EXISTS = 36
_OFFSET_DIGITS_MAX = 19

log = get_logger(__name__)


def divergent_topic(topic: str, epoch: int) -> str:
    """Return the topic to which a source's records beyond a fence's cut are exported."""
    return f"{topic}.divergent.{epoch}"


class Divergent:
    """The steps that handle the tails of one flow's old source.

    Args:
        context: What the switch works on.
    """

    def __init__(self, context: SwitchContext) -> None:
        self._context = context
        self._cleaned: set[str] = set()

    # -- finding ----------------------------------------------------------------------------------------------------

    async def find(self, journal: Journal, step: do.FindTails) -> got.Result:
        """See `do.FindTails`."""
        ends = {(end.topic, end.partition): end.source for end in step.ends}
        await lower_high_cuts(self._context)  # reads the state topic to its end
        cuts, _ = self._cuts(journal)
        found = [replace(cut, tail_end=ends.get((cut.topic, cut.partition))) for cut in cuts]
        topics = await self._context.source.existing(cut.topic for cut in cuts)
        unfound = [cut for cut in found if cut.tail_end is None and cut.topic in topics]
        if unfound:
            # A topic or partition that could not be described when the source was closed: its content is not known.
            raise PreflightFailed(
                f"{unfound[0].topic}-{unfound[0].partition} was not seen when the old source was closed",
                why="it could not be described then",
                next_step=f"replicator switch abort {self._context.flow.name}, then replicator failback "
                f"{self._context.flow.name}",
            )
        ids = tuple((name, state.uuid_text(topic.topic_id) or "") for name, topic in sorted(topics.items()))
        return got.TailsFound(tuple(found), ids)

    def _cuts(self, journal: Journal) -> tuple[tuple[Cut, ...], int]:
        """Return the cuts of a failback's topics, and the highest epoch of those fences."""
        records, uid = self._context.log.records, self._context.uid
        return cuts_of(records, uid, {one.target_topic for one in mirrors_in(records, uid, journal.scope)})

    async def measure(self, step: do.MeasureTails) -> got.Result:
        """See `do.MeasureTails`."""
        source = self._context.source
        topics = await source.existing(cut.topic for cut in step.cuts)
        wanted = [TopicPartition(cut.topic, cut.partition) for cut in step.cuts if cut.topic in topics]
        ends, unseen = await ends_of(source, wanted)
        if unseen:
            return got.NotYet(f"the end of {min(unseen)} is not known")
        # A deleted topic has nothing left to find: its tail ends where it was cut.
        return got.TailsFound(
            tuple(
                replace(cut, tail_end=ends.get(TopicPartition(cut.topic, cut.partition), cut.source))
                for cut in step.cuts
            )
        )

    # -- exporting --------------------------------------------------------------------------------------------------

    async def export(self, journal: Journal, step: do.ExportTails) -> got.Result:
        """See `do.ExportTails`."""
        _, epoch = self._cuts(journal)
        tails = by_topic(step.tails)
        self._cleaned = await compacted_topics(self._context.admins[0], tails)
        for name, cuts in tails.items():
            topic = divergent_topic(cuts[0].target_topic, epoch)
            await self._ensure(topic, name, cuts)
            for cut in await self._left(cuts):
                count = await self._export(cut, TopicPartition(topic, cut.partition))
                log.warning("divergent records exported", topic=name, partition=cut.partition, to=topic, records=count)
        return got.Ok()

    async def _left(self, cuts: list[Cut]) -> list[Cut]:
        """Return the tails of one topic, as far as retention has left them on the old source."""
        source = self._context.source
        await source.refresh([cuts[0].topic])
        wheres = [TopicPartition(cut.topic, cut.partition) for cut in cuts]
        starts = await log_starts(source, wheres)
        left = []
        for cut, where in zip(cuts, wheres, strict=True):
            start = starts[where]
            if start > cut.source:
                log.warning("the old source has lost the beginning of its tail", partition=str(where), begin=cut.source,
                            start=start)  # fmt: skip
            left.append(replace(cut, source=max(cut.source, start)))
        return left

    async def _ensure(self, topic: str, name: str, cuts: list[Cut]) -> None:
        context = self._context
        here = context.target.topics.get(cuts[0].target_topic) or await context.target.describe(cuts[0].target_topic)
        replicas = here.replication_factor if here is not None else min(3, len(context.target.brokers))
        there = await context.source.describe(name)
        counted = there.partition_count if there is not None else 0
        partitions = max(counted, max(cut.partition for cut in cuts) + 1)
        if await context.target.describe(topic) is None:
            configs = {"max.message.bytes": str(_LIMIT_BYTES), "retention.ms": "-1", "cleanup.policy": "delete"}
            try:
                await context.admins[1].create_topic(topic, partitions, replicas, configs)
            except BrokerRefused as error:
                if error.code != _TOPIC_ALREADY_EXISTS:
                    raise

        async def led() -> None:
            made = await context.target.describe(topic)
            if made is None or any(leader.node < 0 for leader in made.leaders.values()):
                raise BrokerRefused(
                    f"{topic} has no leader yet",
                    cluster=context.target.spec.alias,
                    code=5,
                    api="Metadata",
                    retryable=True,
                )

        await patiently(led, f"creating {topic}")

    async def _export(self, cut: Cut, where: TopicPartition) -> int:
        """Export one tail; return how many records the export then holds.

        Raises:
            Conflict: Another daemon is exporting, too: what it has written has to be read again.
        """
        origin = TopicPartition(cut.topic, cut.partition)
        end = cut.tail_end or cut.source
        position, begin = cut.source, 0
        while True:
            # A piece is a compare-and-set: this fences everyone else and aborts their open transactions. What is there
            # afterwards is all there is, and nobody can add to it without fencing our piece.
            identity = await init_producer_id(self._context.target, export_transactional_id(self._context.uid))
            found, begin = await self._exported(where, begin)
            if any(offset < 0 for offset, _ in found):
                raise Conflict(
                    f"{where} holds records that were not exported from {origin}",
                    why="someone else writes to a topic of that name",
                    next_step=f"nothing was written to it; move {where.topic} away, and the failback goes on by itself",
                )
            position = found[-1][0] + 1 if found else position
            piece = await self._piece(origin, position, end)
            if not piece:
                return await self._compare(cut, where, end)
            await self._write(where, piece, identity)

    def _tail(self, origin: TopicPartition, begin: int, end: int) -> AsyncIterator[Record]:
        return _records(self._context.source, origin, begin, end, compacted=origin.topic in self._cleaned)

    async def _piece(self, origin: TopicPartition, begin: int, end: int) -> list[NewRecord]:
        """Return the next records of a tail, as they are exported."""
        piece: list[NewRecord] = []
        size = 0
        async for record in self._tail(origin, begin, end):
            piece.append(_with_origin(origin, record))
            size += payload_bytes(record)
            if size >= _PIECE_BYTES or len(piece) >= _PIECE_RECORDS:
                break
        return piece

    async def _write(self, where: TopicPartition, piece: list[NewRecord], identity: ProducerIdentity) -> None:
        target, transactional_id = self._context.target, export_transactional_id(self._context.uid)
        transaction = Transaction(target, transactional_id, identity)
        await transaction.add(where)
        batch = encode(
            piece,
            producer_id=identity.producer_id,
            producer_epoch=identity.producer_epoch,
            base_sequence=0,
            transactional=True,
        )
        answer = await produce_by_name(await target.leader_connection(where), where, batch, transactional_id)
        await transaction.end(commit=not answer.error)
        if answer.error:
            raise broker_error(target.spec, "Produce", answer.error, where.topic)

    async def _exported(self, where: TopicPartition, begin: int = 0) -> tuple[list[tuple[int, bytes]], int]:
        """Return the original offset and digest of each record exported from an offset on, and where they end."""
        target = self._context.target
        await target.refresh([where.topic])
        end = (await log_ends(target, [where], isolation=Isolation.READ_COMMITTED))[where]
        return [_origin_of(record) async for record in _records(target, where, begin, end)], end

    async def _compare(self, cut: Cut, where: TopicPartition, end: int) -> int:
        """Read both sides again and compare them.

        Raises:
            Unequal: The export is not equal to the tail.
        """
        origin = TopicPartition(cut.topic, cut.partition)
        wanted = [(record.offset, digest(record)) async for record in self._tail(origin, cut.source, end)]
        found, _ = await self._exported(where)
        if found != wanted:
            raise Unequal(
                f"{where} does not hold the records of {origin} from {cut.source} to {end}",
                why=f"{len(found)} records were found, {len(wanted)} were expected, or they differ",
                next_step=f"delete {where.topic}; the failback goes on and exports it again",
            )
        return len(found)


async def _records(
    cluster: Cluster, where: TopicPartition, begin: int, end: int, *, compacted: bool = False
) -> AsyncIterator[Record]:
    """Yield the committed records of a log between two offsets.

    Raises:
        KafkaError: The broker refuses, or does not return everything: an export must not be compared with that.
    """
    connection = await patiently(partial(cluster.leader_connection, where), f"reading {where}")
    side = Side(cluster, cluster.topic_ids)
    async for record in records_between(
        side, connection, where, begin, end, isolation=Isolation.READ_COMMITTED, compacted=compacted
    ):
        yield record


def _with_origin(origin: TopicPartition, record: Record) -> NewRecord:
    added = (*origin_headers(origin, record), (DIGEST_HEADER, digest(record)))
    return NewRecord(record.timestamp, record.key, record.value, (*record.headers, *added))


def digest(record: Record) -> bytes:
    """Return the SHA-256 (hex) of a record's time, key, value and headers, each with its length; -1 for null."""
    found = hashlib.sha256(b"%d" % record.timestamp)
    for part in (record.key, record.value, *_flat(record.headers)):
        found.update(b";%d:" % (-1 if part is None else len(part)))
        found.update(part or b"")
    return found.hexdigest().encode()


def _flat(headers: Iterable[tuple[bytes, bytes | None]]) -> list[bytes | None]:
    return [part for name, value in headers for part in (name, value)]


def _origin_of(record: Record) -> tuple[int, bytes]:
    # Ours come last: the record may have had headers of these names itself.
    added = dict(record.headers[-4:])
    offset = added.get(OFFSET_HEADER) or b""
    # Whoever may write to the export may write anything: a record without an offset is not ours.
    known = offset.isdigit() and len(offset) <= _OFFSET_DIGITS_MAX
    return int(offset) if known else -1, added.get(DIGEST_HEADER) or b""
