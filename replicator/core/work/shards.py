"""Which shard a partition belongs to: the same on every daemon, decided by its name alone."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicator.model.names import TopicPartition

SHARDS_MAX = 256
"""Each shard costs its holder two small appends to the state topic every few seconds."""


def shard_of(source: TopicPartition, shards: int) -> int:
    """Return the shard of a source partition, 0 to `shards` - 1.

    The partitions of one topic are dealt round the shards, so that a single large topic is spread evenly too.
    """
    return (zlib.crc32(source.topic.encode()) + source.partition) % shards
