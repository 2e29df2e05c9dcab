"""Reads a batch that librdkafka cannot show, for whoever compares records.

There are two kinds: names of headers that are no UTF-8 (confluent-kafka raises over them), and batches that expand
further than librdkafka may open. The first are read as the bytes that they are. What takes too much memory here, too,
is compared as it is stored: one row stands for the batch.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from replicator.admin.reader import Looked
from replicator.core.intake import Aborts
from replicator.engine.look import Side, batches_of, read_once
from replicator.errors import KafkaError, TooLargeToOpen
from replicator.model.batch import COMPRESSION_MASK, HEADER_BYTES
from replicator.model.spec import Isolation
from replicator.wire.batch import prove
from replicator.wire.cluster import Cluster
from replicator.wire.records import decode

if TYPE_CHECKING:
    from replicator.core.record_diff import Row
    from replicator.model.batch import BatchHeader
    from replicator.model.names import TopicPartition
    from replicator.model.security import ClusterSpec
    from replicator.wire.frames import Frame
    from replicator.wire.records import Record

_TRIES = 2
_UNOPENED_KEY = b"a batch that is too large to be opened, as it is stored"


class CloserLook:
    """Looks into one cluster, from one thread; implements `admin.reader.Closer`.

    Args:
        cluster: Which one.
        isolation: Which records count.
    """

    def __init__(self, cluster: ClusterSpec, isolation: Isolation) -> None:
        self._spec = cluster
        self._committed = isolation is Isolation.READ_COMMITTED
        self._runner: asyncio.Runner | None = None
        self._cluster: Cluster | None = None

    def look(self, partition: TopicPartition, offset: int) -> Looked:
        """Return the records of the first batch that has some at or behind an offset, and the offset behind them.

        Raises:
            KafkaError: The cluster refuses, or cannot be reached.
            CorruptRecords: The batch is damaged.
        """
        if self._runner is None:
            self._runner = asyncio.Runner()
        for tried in range(1, _TRIES + 1):
            try:
                return self._runner.run(self._look(partition, offset))
            except KafkaError:
                # Between two looks nobody serves the connection: it may have been closed long ago.
                self._drop()
                if tried == _TRIES:
                    raise
        raise AssertionError  # the loop returns or raises

    def close(self) -> None:
        """Let go of the connections."""
        self._drop()
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()

    def _drop(self) -> None:
        cluster, self._cluster = self._cluster, None
        if cluster is not None and self._runner is not None:
            self._runner.run(_closed(cluster))

    async def _look(self, where: TopicPartition, offset: int) -> Looked:
        if self._cluster is None:
            self._cluster = Cluster(self._spec)
            await self._cluster.open()
        cluster = self._cluster
        await cluster.refresh([where.topic])
        side = Side(cluster, cluster.topic_ids)
        position = offset
        while True:
            connection = await cluster.leader_connection(where)
            frame, fetched = await read_once(side, connection, where, position, committed=self._committed, wait_ms=500)
            aborts = Aborts(fetched.aborted or ())
            for header in batches_of(frame, fetched):
                passed_over = aborts.observe(header) or header.is_control or header.record_count == 0
                rows = [] if passed_over or header.next_offset <= offset else _rows_of(frame, header)
                position = max(position, header.next_offset, rows[-1][0] + 1 if rows else 0)
                rows = [row for row in rows if row[0] >= offset]
                if rows:
                    return Looked(rows, position)
            if fetched.start == fetched.end:
                return Looked([], position)


async def _closed(cluster: Cluster) -> None:
    """Close a cluster on its own event loop."""
    cluster.close()


def _rows_of(frame: Frame, header: BatchHeader) -> list[Row]:
    try:
        return [_row(record) for record in decode(frame.buffer, header)]
    except TooLargeToOpen:
        prove(frame.view, header)
    stored = hashlib.blake2b(frame.view[header.start + HEADER_BYTES : header.end], digest_size=16)
    stored.update(b"%d %d %d" % (header.attributes & COMPRESSION_MASK, header.record_count, header.base_timestamp))
    # At its last offset: whoever goes on behind it has read it all.
    return [(header.next_offset - 1, header.max_timestamp, _UNOPENED_KEY, stored.digest(), None)]


def _row(record: Record) -> Row:
    headers = [(_name(name), value) for name, value in record.headers]
    return record.offset, record.timestamp, record.key, record.value, headers or None


def _name(name: bytes) -> str | bytes:
    """Return a header's name as librdkafka shows it, where it can."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name
