"""Records in and out of batches, whatever bytes they are made of."""

from __future__ import annotations

import struct

import pytest
from crc32c import crc32c

from replicator.errors import CorruptRecords, TooLargeToOpen
from replicator.wire.batches.batch import scan
from replicator.wire.batches.inflate import RECORD_BYTES
from replicator.wire.batches.recode import build_batches, open_batch
from replicator.wire.batches.records import NewRecord, decode, encode, shown_name
from tests.unit.wire.test_recode import CODECS, Sample, of_client, read

ODD = (b"\xff\xfe", b"tr\xc3", b"a\x00b", b"")
SAMPLES: list[Sample] = [
    (5, b"k", b"v" * 300, [("h", b"x"), ("h", None)]),
    (-1, None, b"", []),
    (1 << 40, b"", None, [("é", b"")]),
]


@pytest.mark.parametrize("codec", CODECS.values())
def test_both_ways_as_a_client_sees_it(codec: int) -> None:
    """Aiokafka reads what is written here, and what it writes is read: nulls, times of none, headers twice."""
    raw = of_client(SAMPLES, codec)
    (header,) = scan(raw, 0, len(raw))
    found = decode(raw, header)
    as_read = [
        (one.timestamp, one.key, one.value, [(name.decode(), value) for name, value in one.headers]) for one in found
    ]
    assert as_read == read(bytes(raw))
    assert [one.offset for one in found] == [1000, 1001, 1002]

    wanted = [
        NewRecord(at, key, value, [(name.encode(), of) for name, of in headers]) for at, key, value, headers in SAMPLES
    ]
    made = encode(wanted, compression=codec, transactional=True, producer_id=3, producer_epoch=1, base_sequence=9)
    assert read(made) == SAMPLES
    (header,) = scan(made, 0, len(made))
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (3, 1, 9)
    assert header.is_transactional
    assert (header.base_timestamp, header.max_timestamp, header.last_offset_delta) == (5, 1 << 40, 2)


def test_the_same_record_many_times() -> None:
    """As the fillers of a seed are: places of one, two and three bytes."""
    record = NewRecord(5, None, b"v", [(b"h", None)])
    raw = encode([record] * 9000)
    (header,) = scan(raw, 0, len(raw))
    found = decode(raw, header)
    assert [one.offset for one in found] == list(range(9000))
    assert {one.content for one in found} == {(5, None, b"v", ((b"h", None),))}


@pytest.mark.parametrize("codec", CODECS.values())
def test_names_of_headers_are_bytes(codec: int) -> None:
    """Brokers never look into them: what is no UTF-8 is copied, read, and encoded anew like any other."""
    raw = encode([NewRecord(5, b"k", b"v", [(name, b"x") for name in ODD])], compression=codec)
    (header,) = scan(raw, 0, len(raw))
    (record,) = decode(raw, header)
    assert record.headers == tuple((name, b"x") for name in ODD)

    opened = open_batch(memoryview(raw), header)
    (built,) = build_batches(opened, codec, producer_id=1, producer_epoch=0, sequence=0, bytes_max=1 << 20)
    (again,) = scan(built.raw, 0, len(built.raw))
    assert decode(built.raw, again) == [record]


def test_a_name_is_shown_with_escapes() -> None:
    """Never raised over, and never ambiguous."""
    assert [shown_name(name) for name in (b"trace", b"\xff\xfe", "é".encode())] == ["trace", "\\xff\\xfe", "é"]


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (4, 0x7E, "a field claims 63 bytes"),
        (7, 0x7F, "claims -64 headers"),
        (7, 0x7E, "claims 63 headers"),
        (8, 0x01, "a header has no name"),
        (7, 0x00, "bytes follow its headers"),
    ],
)
def test_fields_that_cannot_be_are_named(at: int, value: int, says: str) -> None:
    """The checksum is right and the record is not."""
    raw = bytearray(encode([NewRecord(5, b"k", None, [(b"h", None)])]))
    raw[61 + at] = value
    struct.pack_into(">I", raw, 17, crc32c(memoryview(raw)[21:]))
    (header,) = scan(raw, 0, len(raw))
    with pytest.raises(CorruptRecords, match=says):
        decode(raw, header)


@pytest.mark.parametrize("codec", CODECS.values())
def test_what_takes_too_much_memory_is_named_by_its_offset(codec: int) -> None:
    """By its bytes, and by the number of its records, which take more as objects."""
    raw = of_client([(5, None, bytes(1 << 20), [])], codec)
    (header,) = scan(raw, 0, len(raw))
    many = of_client([(5, None, b"", [])] * 1000, codec)
    (of_many,) = scan(many, 0, len(many))
    for work in (lambda: decode(raw, header, 1 << 19), lambda: open_batch(memoryview(raw), header, 1 << 19)):
        with pytest.raises(TooLargeToOpen, match="at offset 1000 takes more than 524288 bytes of memory") as caught:
            work()
        assert caught.value.offset == 1000
    for bytes_max in (999 * RECORD_BYTES, 1000 * RECORD_BYTES + 100):
        with pytest.raises(TooLargeToOpen, match="1000 records"):
            decode(many, of_many, bytes_max)
    assert len(decode(many, of_many, 1000 * RECORD_BYTES + 8000)) == 1000


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [1, 2])
def test_messages_that_wrap_others_are_bounded_too(magic: int, codec: int) -> None:
    """Of formats 0 and 1 a message holds the others, compressed."""
    from aiokafka.record.legacy_records import LegacyRecordBatchBuilder  # noqa: PLC0415

    builder = LegacyRecordBatchBuilder(magic=magic, compression_type=codec, batch_size=1 << 24)
    for offset in range(4):
        builder.append(offset, timestamp=50, key=b"k", value=bytes(1 << 18))
    raw = bytearray(builder.build())
    (header,) = scan(raw, 0, len(raw))
    for work in (decode, lambda data, one, most: open_batch(memoryview(data), one, most)):
        with pytest.raises(TooLargeToOpen):
            work(raw, header, 1 << 20)
        assert len(work(raw, header, (1 << 20) + 1000)) == 4
