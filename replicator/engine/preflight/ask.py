"""What a preflight asks a cluster beyond what the data path asks. Nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.core.acl.rights import Operation, operations_of
from replicator.engine.logs.reading import read_batches
from replicator.engine.logs.side import Side
from replicator.errors import AuthorizationFailed, KafkaError, ReplicatorError
from replicator.model.batch import LOG_APPEND_TIME_BIT
from replicator.model.names import TopicPartition
from replicator.wire.cluster import Cluster
from replicator.wire.messages.questions import Found
from replicator.wire.protocol.versions import DESCRIBE_PRODUCERS, FETCH

if TYPE_CHECKING:
    from replicator.wire.messages.groups import Groups
    from replicator.wire.transport.connection import Connection

_AT_ONCE_MAX = 8

_SPOKEN = ((18, "4.1"), (17, "3.9"), (16, "3.7"), (15, "3.5"), (13, "3.1"), (12, "2.8"))
"""Each Fetch version with the first Kafka version that had it."""


@dataclass(frozen=True, slots=True)
class Edges:
    """What the first and the last batch of a partition look like.

    Attributes:
        transactional: One of them is a transaction marker or belongs to a transaction.
        stamped: The broker stamps the records (LogAppendTime).
    """

    transactional: bool = False
    stamped: bool = False


def spoken_version(connection: Connection) -> str:
    """Return the newest Kafka version whose protocol a broker certainly speaks."""
    offers = connection.versions.offers
    found = next((name for version, name in _SPOKEN if offers(FETCH, version)), "2.8")
    return "4.0" if found == "3.9" and not offers(FETCH, 3) else found


def offers_producers(connection: Connection) -> bool:
    """Return whether a broker reports which producers it remembers."""
    return connection.versions.offers(DESCRIBE_PRODUCERS, 0)


async def group_operations(groups: Groups, names: Sequence[str]) -> dict[str, frozenset[Operation] | None]:
    """Return what this user may do to consumer groups, as far as the cluster reports it; they need not exist.

    Raises:
        KafkaError: The cluster cannot be asked.
    """
    allowed: dict[str, frozenset[Operation] | None] = {}
    for name, bits in (await groups.operations(names)).items():
        if isinstance(bits, AuthorizationFailed):
            allowed[name] = frozenset()
        elif not isinstance(bits, KafkaError):
            allowed[name] = operations_of(bits)
    return allowed


async def edges(
    cluster: Cluster, starts: Mapping[TopicPartition, Found], ends: Mapping[TopicPartition, Found]
) -> dict[TopicPartition, Edges]:
    """Read the first and the last batch of each partition that is not empty; unreadable ones are left out.

    One read each, of at most 1 MiB: the caller bounds the number of partitions.
    """
    room = asyncio.Semaphore(_AT_ONCE_MAX)

    async def one(where: TopicPartition) -> tuple[TopicPartition, Edges | None]:
        async with room:
            try:
                return where, await _edges_of(cluster, where, starts[where].offset, ends[where].offset)
            except ReplicatorError:
                return where, None

    wanted = [where for where in starts if where in ends and ends[where].offset > starts[where].offset]
    return {where: found for where, found in await asyncio.gather(*map(one, wanted)) if found is not None}


async def end_of_fillers(cluster: Cluster, where: TopicPartition, filler_id: int, start: int, end: int) -> int:
    """Return the offset where the filler batches at the front of a log end; `start` if there are none.

    Fillers are contiguous at the front, so a few reads find their end.

    Raises:
        ReplicatorError: The log cannot be read.
    """
    connection = await cluster.leader_connection(where)
    side = Side(cluster, cluster.topic_ids)
    low, high, probe = start, end, start
    while low < high:
        _, headers = await read_batches(side, connection, where, probe)
        here = next((header for header in headers if header.next_offset > probe), None)
        if here is None or here.producer_id != filler_id:
            high = probe
        else:
            low = here.next_offset
        if high <= start:
            return start
        probe = (low + high) // 2
    return low


async def _edges_of(cluster: Cluster, where: TopicPartition, start: int, end: int) -> Edges:
    connection = await cluster.leader_connection(where)
    side = Side(cluster, cluster.topic_ids)
    _, first = await read_batches(side, connection, where, start)
    _, last = await read_batches(side, connection, where, end - 1)
    both = [*first[:1], *last[-1:]]
    return Edges(
        transactional=any(header.is_control or header.is_transactional for header in both),
        stamped=any(header.attributes & LOG_APPEND_TIME_BIT for header in both if not header.is_control),
    )
