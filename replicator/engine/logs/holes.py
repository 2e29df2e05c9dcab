"""Whether a log that returns nothing below its end really holds nothing there: what its leader's responses prove.

A cleaner may have removed the end of a log, and its topic need not be compacted any more. A slow remote tier returns
nothing as well, and so does anything above an open transaction. So an empty response is believed only if the leader
says that it keeps that part of the log itself (KIP-405) and that a reader may have it, and if a second response, on
another connection, is empty, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from replicator.model.spec import Isolation
from replicator.wire.cluster import Purpose
from replicator.wire.messages import control

if TYPE_CHECKING:
    from replicator.engine.logs.side import Side
    from replicator.model.names import TopicPartition
    from replicator.wire.frames import Frame
    from replicator.wire.messages.data.fetch import Fetched
    from replicator.wire.transport.connection import Connection

_BYTES = 1
"""A broker returns at least one whole batch: whether there is one is the only question."""


class ReadOnce(Protocol):
    """Reads once, without a session (`reading.read_once`)."""

    async def __call__(
        self,
        side: Side,
        connection: Connection,
        where: TopicPartition,
        offset: int,
        *,
        isolation: Isolation = Isolation.READ_UNCOMMITTED,
        leader_epoch: int = -1,
        read_bytes: int = 0,
    ) -> tuple[Frame, Fetched]:
        """Return the response for one partition."""


async def holds_nothing(
    side: Side, where: TopicPartition, begin: int, end: int, read_once: ReadOnce, *, isolation: Isolation
) -> bool:
    """Return whether a log that has just returned nothing certainly holds no batch from `begin` up to `end`.

    False means not proven: there may be some. A leader without ListOffsets v8 cannot prove it.

    Raises:
        KafkaError: The leader refuses, or has changed meanwhile; retry later.
    """
    leader = side.cluster.leader(where)
    if leader is None:
        return False
    connection = await side.cluster.connection(leader.node, Purpose.LOOK)
    _, fetched = await read_once(
        side, connection, where, begin, isolation=isolation, leader_epoch=leader.epoch, read_bytes=_BYTES
    )
    readable_end = fetched.last_stable_offset if isolation is Isolation.READ_COMMITTED else fetched.high_watermark
    if fetched.start != fetched.end or not fetched.log_start <= begin < end <= readable_end:
        return False
    # Asked for last: the local log start only rises, so what is local now was local when the leader responded.
    local = (await control.local_starts(connection, [where])).get(where)
    return local is not None and not local.error and 0 <= local.value <= begin
