"""Records of offsets: blocks of offset maps, the source's ends, and the keys of commits written for groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.engine.state.records.keys import get, key
from replicator.engine.state.topic.damage import readable_records
from replicator.engine.state.topic.index import indexed, parse_key
from replicator.errors import DamagedRecord
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def segment_key(uid: str, target_topic: str, partition: int, block: int) -> bytes:
    """Return the key of a block of an offset map."""
    return key(pb.KIND_SEGMENT, uid, target_topic, partition, block)


def segments_of(
    records: Mapping[bytes, bytes], uid: str, target_topic: str, partition: int
) -> Iterator[tuple[bytes, pb.SegmentBlock]]:
    """Return the blocks of a partition's offset map, each with its key."""
    # A block that cannot be read leaves a gap that is rebuilt from both logs, as if it had not been written yet.
    yield from readable_records(pb.SegmentBlock, indexed(records).find(pb.KIND_SEGMENT, uid, target_topic, partition))


def segment_keys(records: Mapping[bytes, bytes], uid: str) -> dict[tuple[str, int], list[bytes]]:
    """Return the keys of all blocks of a flow's offset maps, by target topic and partition, in one pass."""
    found: dict[tuple[str, int], list[bytes]] = {}
    for raw_key, parsed, _ in indexed(records).find(pb.KIND_SEGMENT, uid):
        found.setdefault((parsed.topic, parsed.partition), []).append(raw_key)
    return found


def source_end_key(uid: str, shard: int) -> bytes:
    """Return the key of the source's ends as the holder of a shard saw them."""
    return key(pb.KIND_SOURCE_END, uid, partition=shard)


def source_end_block(records: Mapping[bytes, bytes], record_key: bytes) -> pb.SourceEndBlock:
    """Return the source's ends under a key; an empty block if nothing is recorded, or the record is unreadable.

    They are recorded again every few seconds, and an unknown end is shown as unknown.
    """
    try:
        return get(records, record_key, pb.SourceEndBlock()) or pb.SourceEndBlock()
    except DamagedRecord:
        return pb.SourceEndBlock()


def group_key(uid: str, group: str) -> bytes:
    """Return the key of what was committed for a consumer group."""
    return key(pb.KIND_GROUP, uid, group)


def group_of(raw: bytes, uid: str) -> str | None:
    """Return the consumer group of this flow that this key is about; None for any other key."""
    parsed = parse_key(raw)
    if parsed is None or parsed.kind != pb.KIND_GROUP or parsed.flow_uid != uid:
        return None
    return parsed.topic
