"""Whether a log that gives nothing below its end holds nothing there: what its leader's own answers prove.

A cleaner may have taken what stood at the end of a log, and its topic need not be compacted any more. A remote tier
that is slow answers with nothing as well, and so does whatever stands above an open transaction. So an empty answer is
believed where the leader says that it keeps that part of the log itself (KIP-405), that a reader may have it, and a
second answer, on another connection, is empty, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from replicator.wire.cluster import Purpose
from replicator.wire.messages import control

if TYPE_CHECKING:
    from replicator.engine.logs.side import Side
    from replicator.model.names import TopicPartition
    from replicator.wire.frames import Frame
    from replicator.wire.messages.fetch import Fetched
    from replicator.wire.transport.connection import Connection

_BYTES = 1
"""A broker gives at least one whole batch: whether there is one is all that is asked."""


class ReadOnce(Protocol):
    """Reads once, without a session (`look.read_once`)."""

    async def __call__(
        self,
        side: Side,
        connection: Connection,
        where: TopicPartition,
        offset: int,
        *,
        committed: bool = False,
        leader_epoch: int = -1,
        read_bytes: int = 0,
    ) -> tuple[Frame, Fetched]:
        """Return the answer for one partition."""


async def holds_nothing(
    side: Side, where: TopicPartition, begin: int, end: int, read_once: ReadOnce, *, committed: bool
) -> bool:
    """Return whether a log that has just answered with nothing surely holds no batch from `begin` up to `end`.

    False where that is not proven: there may be some, and a leader that offers no ListOffsets v8 does not tell.

    Raises:
        KafkaError: The leader refuses, or is another by now; later.
    """
    leader = side.cluster.leader(where)
    if leader is None:
        return False
    connection = await side.cluster.connection(leader.node, Purpose.LOOK)
    _, fetched = await read_once(
        side, connection, where, begin, committed=committed, leader_epoch=leader.epoch, read_bytes=_BYTES
    )
    readable_end = fetched.last_stable_offset if committed else fetched.high_watermark
    if fetched.start != fetched.end or not fetched.log_start <= begin < end <= readable_end:
        return False
    # Asked for last: it only rises, so what is the leader's own now was so when it answered.
    local = (await control.local_starts(connection, [where])).get(where)
    return local is not None and not local.error and 0 <= local.value <= begin
