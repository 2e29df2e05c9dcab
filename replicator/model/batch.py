"""The 61-byte header of a v2 record batch, as a value.

Layout (Kafka's DefaultRecordBatch)::

    0  baseOffset int64      21 attributes int16        43 producerId int64
    8  batchLength int32     23 lastOffsetDelta int32   51 producerEpoch int16
    12 leaderEpoch int32     27 baseTimestamp int64     53 baseSequence int32
    16 magic int8            35 maxTimestamp int64      57 recordCount int32
    17 crc uint32            (the CRC covers byte 21 to the end)
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Protocol

HEADER_BYTES = 61
LENGTH_PREFIX_BYTES = 12
"""baseOffset and batchLength: a batch is this much longer than its batchLength field says."""
MAGIC_AT = 16
MAGIC_V2 = 2
SEQUENCE_MODULUS = 1 << 31
OFFSET_MAX = (1 << 63) - 1

COMPRESSION_MASK = 0x07
LOG_APPEND_TIME_BIT = 0x08
TRANSACTIONAL_BIT = 0x10
CONTROL_BIT = 0x20
DELETE_HORIZON_BIT = 0x40

HEADER = struct.Struct(">qiibIhiqqqhii")


class BatchHeader(NamedTuple):
    """One header: the fields in wire order, and `start`, the batch's position in the buffer that it was read from."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int
    start: int

    @property
    def size(self) -> int:
        """Bytes of the whole batch."""
        return self.length + LENGTH_PREFIX_BYTES

    @property
    def end(self) -> int:
        """Position after the batch, in the buffer that it was read from."""
        return self.start + self.length + LENGTH_PREFIX_BYTES

    @property
    def next_offset(self) -> int:
        """Offset after the last one that this batch covers."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def is_control(self) -> bool:
        """Whether this is a transaction marker (or another control batch)."""
        return bool(self.attributes & CONTROL_BIT)

    @property
    def is_transactional(self) -> bool:
        """Whether the batch belongs to a transaction."""
        return bool(self.attributes & TRANSACTIONAL_BIT)

    @property
    def last_sequence(self) -> int:
        """Sequence number of the last record, modulo 2^31."""
        return (self.base_sequence + self.last_offset_delta) % SEQUENCE_MODULUS


def sequence_after(sequence: int, records: int) -> int:
    """Return the sequence number `records` later; it wraps from 2^31 - 1 to 0 (KAFKA_FACTS K4)."""
    return (sequence + records) % SEQUENCE_MODULUS


class Unpacked(Protocol):
    """A record of an opened batch; everything but its offset is opaque here."""

    @property
    def offset(self) -> int:
        """Its offset on the source."""
