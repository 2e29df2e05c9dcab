"""Exchanges with a broker, the same for the model and for a real one: what each answers has to be the same.

They go over our own wire, to one partition that is empty when they begin. What is compared is what the copy builds on:
error codes, base offsets, bounds, the batches of the log, and what is told of producers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from replicator.engine.logs.reading import read_batches
from replicator.engine.logs.side import Side
from replicator.errors import BrokerRefused
from replicator.model.spec import Isolation
from replicator.wire.batches.batch import CRC_AT
from replicator.wire.batches.records import NewRecord, encode
from replicator.wire.cluster import Purpose
from replicator.wire.messages import control
from replicator.wire.messages.data.markers import write_markers
from replicator.wire.messages.data.produce import produce_by_name

if TYPE_CHECKING:
    from replicator.model.names import TopicPartition
    from replicator.wire.cluster import Cluster

P, Q, MARKS = 700, 701, 702
"""Producer ids: no coordinator hands them out, and brokers take any."""
_DAY_MS = 24 * 3_600_000
_FUTURE_MS = 30 * _DAY_MS

Observed = list[tuple[str, Any]]


@dataclass
class Exchange:
    """One run of the exchanges.

    Attributes:
        cluster: The cluster, opened.
        where: The partition.
        now_ms: The wall clock there.
        expire: Returns once producers are forgotten whose newest record is old.
        change_leader: Lets another broker lead, which has all that is committed; returns once it does.
        observed: What was answered, by what was asked.
    """

    cluster: Cluster
    where: TopicPartition
    now_ms: Callable[[], int]
    expire: Callable[[], Awaitable[None]]
    change_leader: Callable[[], Awaitable[None]]
    observed: Observed = field(default_factory=list)
    _next: int = 1

    def batch(self, producer: int, epoch: int, sequence: int, count: int = 1, *, age_ms: int = 0) -> bytes:
        """Return a batch of some records."""
        records = [NewRecord(self.now_ms() - age_ms, None, (self._next + at).to_bytes(8, "big")) for at in range(count)]
        self._next += count
        return encode(records, producer_id=producer, producer_epoch=epoch, base_sequence=sequence)

    async def produce(self, told: str, raw: bytes, *, elsewhere: bool = False) -> None:
        """Append a batch, through the leader or another broker."""
        leader = self.cluster.leader(self.where)
        assert leader is not None
        node = leader.node if not elsewhere else next(each for each in self.cluster.brokers if each != leader.node)
        answer = await produce_by_name(await self.cluster.connection(node, Purpose.PRODUCE), self.where, raw)
        self.observed.append((told, (answer.error, answer.base_offset)))

    async def look(self, told: str) -> None:
        """Read all that the partition tells of itself."""
        connection = await self.cluster.leader_connection(self.where)
        starts = await control.list_offsets(
            connection, [self.where], control.EARLIEST, isolation=Isolation.READ_UNCOMMITTED
        )
        ends = await control.list_offsets(
            connection, [self.where], control.LATEST, isolation=Isolation.READ_UNCOMMITTED
        )
        stable = await control.list_offsets(
            connection, [self.where], control.LATEST, isolation=Isolation.READ_COMMITTED
        )
        leader = self.cluster.leader(self.where)
        assert leader is not None
        code, _, end = (await control.epoch_ends(connection, {self.where: leader.epoch}))[self.where]
        listed = [(each[self.where].error, each[self.where].value) for each in (starts, ends, stable)]
        self.observed.append((told, (*listed, (code, end))))
        producers = await control.describe_producers(connection, [self.where])
        assert producers is not None
        known = sorted(each for each in producers[self.where][1] if each.producer_id in {P, Q})
        self.observed.append(
            (f"{told}: producers", [(each.producer_id, each.producer_epoch, each.last_sequence) for each in known])
        )

    async def read(self, told: str, offset: int) -> None:
        """Read batches from an offset."""
        side = Side(self.cluster, self.cluster.topic_ids)
        connection = await self.cluster.leader_connection(self.where)
        seen: list[Any] = []
        try:
            while True:
                _, headers = await read_batches(side, connection, self.where, offset)
                if not headers:
                    break
                seen += [
                    (one.base_offset, one.last_offset_delta, one.producer_id, one.base_sequence, one.attributes)
                    for one in headers
                ]
                offset = headers[-1].next_offset
        except BrokerRefused as error:
            seen.append(error.code)
        self.observed.append((told, seen))

    async def mark(self, told: str, epoch: int, count: int) -> None:
        """Write markers."""
        connection = await self.cluster.leader_connection(self.where)
        codes = await write_markers(connection, MARKS, epoch, {self.where: count})
        self.observed.append((told, codes[self.where]))


async def all_exchanges(made: Exchange) -> Observed:
    """Have them all; return what was answered."""
    await made.look("an empty log")
    await _sequences(made)
    await _refusals(made)
    await _markers(made)
    await _forgotten(made)
    await _led_by_another(made)
    return made.observed


async def _sequences(made: Exchange) -> None:
    first = made.batch(P, 0, 0, 2)
    await made.produce("the first batch", first)
    await made.produce("the same again", first)
    await made.produce("the next", made.batch(P, 0, 2))
    await made.produce("a gap in the sequence", made.batch(P, 0, 5))
    await made.produce("the first again, with other records", made.batch(P, 0, 0, 2))
    for sequence in range(3, 9):
        await made.produce(f"sequence {sequence}", made.batch(P, 0, sequence))
    await made.produce("one that was remembered five batches ago", made.batch(P, 0, 4))
    await made.produce("one that is not remembered any more", made.batch(P, 0, 3))
    await made.produce("a part of one that is remembered, and more", made.batch(P, 0, 8, 2))
    await made.look("behind sequences")
    await made.read("the log", 0)
    await made.read("from the middle of a batch", 1)
    await made.read("the end", 9)
    await made.read("beyond the end", 10)


async def _refusals(made: Exchange) -> None:
    await made.produce("a newer epoch, not from 0", made.batch(P, 1, 9))
    await made.produce("a newer epoch, from 0", made.batch(P, 1, 0))
    await made.produce("the epoch before", made.batch(P, 0, 9))
    await made.produce("no producer", made.batch(-1, -1, -1))
    spoiled = bytearray(made.batch(P, 1, 1))
    spoiled[CRC_AT] ^= 1
    await made.produce("a wrong checksum", bytes(spoiled))
    await made.produce("a time in the future", made.batch(P, 1, 1, age_ms=-_FUTURE_MS))
    await made.produce("a batch that is too large", made.batch(P, 1, 1, 100))
    await made.produce("to another broker than the leader", made.batch(P, 1, 1), elsewhere=True)
    await made.produce("the one that was refused", made.batch(P, 1, 1))
    await made.look("behind refusals")


async def _markers(made: Exchange) -> None:
    await made.mark("two markers", 3, 2)
    await made.mark("the same again", 3, 2)
    await made.mark("one of an older epoch", 2, 1)
    await made.mark("one of a newer epoch", 4, 1)
    await made.produce("behind markers", made.batch(P, 1, 2))
    await made.look("behind markers: bounds")
    await made.read("markers in the log", 11)


async def _forgotten(made: Exchange) -> None:
    await made.produce("old records of another producer", made.batch(Q, 0, 0, age_ms=30 * _DAY_MS))
    await made.produce("old ones again", made.batch(Q, 0, 1, age_ms=30 * _DAY_MS))
    await made.expire()
    await made.look("forgotten")
    await made.produce("any sequence of a forgotten producer", made.batch(Q, 0, 7))
    await made.produce("the next of that", made.batch(Q, 0, 8))
    await made.produce("the remembered one goes on", made.batch(P, 1, 3))


async def _led_by_another(made: Exchange) -> None:
    last = made.batch(P, 1, 4)
    await made.produce("the last under a leader", last)
    await made.change_leader()
    await made.produce("the same to the next leader", last)
    await made.produce("to the leader before", made.batch(P, 1, 5), elsewhere=True)
    await made.produce("the next", made.batch(P, 1, 5))
    await made.look("under another leader")
