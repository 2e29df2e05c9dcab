"""Logs that no client can write any more, put under a stopped broker as segment files.

Kafka's message formats 0 and 1, byte by byte (none of our own code, nor a library's)::

    offset int64 | size int32 | crc uint32 | magic int8 | attributes int8 | timestamp int64 (magic 1) | key | value

A compressed message holds a set of them as its value and stands at the offset of the last.
Inside, magic 0 has the offsets themselves, magic 1 those relative to the set's first.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from aiokafka import codec as codecs

from replicator.devkit import Cluster
from replicator.wire.batches.records import NewRecord, encode
from tests.integration.corpus.plain import creates
from tests.integration.corpus.shape import Segment, Shape
from tests.integration.kafka_client import Kafka, bounds, wait_until
from tests.integration.load import numbered, produce

T0_MS = 1_400_000_000_000
APPEND_TIME_BIT = 8
_GZIP, _SNAPPY, _LZ4 = 1, 2, 3
LZ4_OF_FORMAT_0_AT = 20
_LZ4_CHECKSUM_AT = 6
_COMPRESS: dict[int, Callable[[bytes], bytes]] = {
    _GZIP: gzip.compress,
    _SNAPPY: codecs.snappy_encode,
    _LZ4: codecs.lz4_encode,
}


class Message(NamedTuple):
    """One message of an old format. `offset` is that in the log."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = T0_MS


def _field(value: bytes | None) -> bytes:
    return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value


def message(magic: int, each: Message, attributes: int = 0) -> bytes:
    """Return one message of magic 0 or 1."""
    checked = struct.pack(">bb", magic, attributes)
    if magic:
        checked += struct.pack(">q", each.timestamp)
    checked += _field(each.key) + _field(each.value)
    return struct.pack(">qiI", each.offset, len(checked) + 4, zlib.crc32(checked)) + checked


def wrapped(magic: int, messages: Sequence[Message], codec: int, attributes: int = 0) -> bytes:
    """Return messages in one compressed message. Their offsets may leave holes."""
    first = messages[0].offset if magic else 0
    inner = b"".join(message(magic, each._replace(offset=each.offset - first)) for each in messages)
    newest = max(each.timestamp for each in messages)
    value = bytearray(_COMPRESS[codec](inner))
    if not magic and codec == _LZ4:
        value[_LZ4_CHECKSUM_AT] ^= 0xFF
    outer = Message(messages[-1].offset, None, bytes(value), newest)
    return message(magic, outer, codec | attributes)


def _some(first: int, places: Sequence[int]) -> list[Message]:
    """Return messages at these places behind `first`: odd ones, and some like any other."""
    odd = ((b"k", b"v"), (None, b"no key"), (b"tombstone", None), (b"", b""), (None, None))
    kinds = [odd[at % 7] if at % 7 < len(odd) else (b"k%d" % at, b"value-%d" % at) for at in places]
    return [Message(first + at, key, value, T0_MS + 3 * at) for at, (key, value) in zip(places, kinds, strict=True)]


def format_0() -> Segment:
    """Single messages, sets in gzip and snappy, then single messages down to the shortest there is."""
    raw = b"".join(message(0, each) for each in _some(0, range(20)))
    raw += wrapped(0, _some(20, range(30)), _GZIP)
    raw += wrapped(0, _some(50, range(30)), _SNAPPY)
    raw += b"".join(message(0, each) for each in _some(80, range(5)))
    return Segment(0, raw, 85)


def format_1() -> Segment:
    """The same with times, lz4, and a set whose times the broker gave."""
    raw = b"".join(message(1, each) for each in _some(0, range(20)))
    for number, codec in enumerate(_COMPRESS):
        raw += wrapped(1, _some(20 + 30 * number, range(30)), codec)
    given = [each._replace(timestamp=T0_MS) for each in _some(110, range(10))]
    raw += wrapped(1, [*given[:-1], given[-1]._replace(timestamp=T0_MS + 77)], _GZIP, APPEND_TIME_BIT)
    raw += b"".join(message(1, each) for each in _some(120, range(5)))
    return Segment(0, raw, 125)


def formats_cleaned() -> Segment:
    """Magic 0, then 1, as compaction leaves them: holes between messages, and inside sets."""
    raw = b"".join(message(0, each) for each in _some(3, (0, 1, 5)))
    raw += wrapped(0, _some(12, (0, 3, 4, 9)), _GZIP)
    raw += b"".join(message(1, each) for each in _some(30, (0, 1, 5)))
    raw += wrapped(1, _some(40, (0, 3, 4, 9)), _SNAPPY)
    raw += wrapped(1, _some(60, (0, 1, 2)), _LZ4)
    return Segment(3, raw, 63)


def old_starts_high() -> Segment:
    """Magic 1 from an offset on that takes more than a moment to seed."""
    first = 300_000
    raw = wrapped(1, _some(first, range(50)), _GZIP)
    raw += b"".join(message(1, each) for each in _some(first + 50, range(10)))
    return Segment(first, raw, first + 60)


def format_0_lz4() -> Segment:
    """Single messages, then a set in the lz4 of magic 0, whose header checksum is over the wrong bytes (KAFKA-3160)."""
    raw = b"".join(message(0, each) for each in _some(0, range(LZ4_OF_FORMAT_0_AT)))
    raw += wrapped(0, _some(LZ4_OF_FORMAT_0_AT, range(10)), _LZ4)
    return Segment(0, raw, LZ4_OF_FORMAT_0_AT + 10)


def wraps() -> Segment:
    """Magic 2, a little below the offset at which sequence numbers begin at 0 again."""
    first = (1 << 31) - 150
    raw = b""
    for base in range(first, first + 100, 20):
        batch = encode(NewRecord(T0_MS + at, b"k", b"%d" % (base + at)) for at in range(20))
        raw += struct.pack(">q", base) + batch[8:]
    return Segment(first, raw, first + 100)


def more(cluster: Kafka, topic: str, round_: int) -> None:
    """Write behind the segment, in small batches."""
    produce(cluster, topic, numbered(100, 100 * round_), **{"batch.num.messages": 15})


SEGMENTS: dict[str, Shape] = {
    "format-0": Shape(creates(), more, segment=format_0),
    "format-1": Shape(creates(), more, segment=format_1),
    "formats-cleaned": Shape(creates(), more, segment=formats_cleaned),
    "format-1-starts-high": Shape(creates(), more, segment=old_starts_high),
    "format-0-lz4": Shape(creates(), more, segment=format_0_lz4, stops=True),
    "wraps": Shape(creates(), more, segment=wraps, slow=True),
}


def plant(cluster: Cluster, segments: Mapping[str, Segment]) -> None:
    """Make logs of empty topics of one partition what these say, by one restart of a cluster of one broker."""
    cluster.stop()
    for topic, segment in segments.items():
        lay(cluster.config.directory / "broker-1" / "data" / f"{topic}-0", segment)
    cluster.start()
    for topic, segment in segments.items():
        wait_until(f"{topic} is served as it was written", partial(_is_served, cluster, topic, segment))


def _is_served(cluster: Cluster, topic: str, segment: Segment) -> bool:
    return bounds(cluster, topic).get(0) == (segment.base_offset, segment.end_offset)


def lay(directory: Path, segment: Segment) -> None:
    """Make a segment all that a stopped broker finds of a partition, but for the file that names its topic.

    Indexes, producer snapshots and leader epochs of the empty log would be wrong; the broker makes them anew: Kafka
    4.3.1 logs "Could not find offset index file ... recovering segment and rebuilding index files" and serves the log
    as it is, messages of magic 0 and 1 included.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for file in directory.iterdir():
        if file.name != "partition.metadata":
            file.unlink()
    (directory / f"{segment.base_offset:020}.log").write_bytes(segment.raw)
