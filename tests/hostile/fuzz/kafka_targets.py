"""What brokers send, as fuzz targets."""

from __future__ import annotations

import ast
import importlib
import struct
from functools import cache
from pathlib import Path
from typing import Any

import replicator
from replicator.core.copy.reading.doubt import ResponseBounds, judge, sound_length
from replicator.core.copy.reading.intake import Intake
from replicator.core.copy.reading.pieces import IntakeState
from replicator.core.copy.values import TargetLimits
from replicator.model.batch import BatchHeader
from replicator.model.spec import Isolation
from replicator.wire.batches import recode, records
from replicator.wire.batches.batch import prove, scan
from replicator.wire.batches.inflate import inflate
from replicator.wire.batches.inflate_pieces import expands_beyond, inflate_pieces
from replicator.wire.batches.row_headers import shown
from replicator.wire.batches.rows import rows_of
from replicator.wire.frames import Frame
from replicator.wire.messages.data.fetch import FetchSession
from replicator.wire.messages.data.produce import ProduceCodec
from replicator.wire.metadata import check_metadata
from replicator.wire.protocol import decode
from replicator.wire.protocol.versions import FETCH_BY_ID, FETCH_BY_NAME, PRODUCE_BY_ID, PRODUCE_BY_NAME
from tests.hostile.broker import HostileBroker
from tests.hostile.middle import with_checksum

_TOPIC_IDS = {"orders": bytes(range(16))}
_OPENED_BYTES_MAX = 1 << 16


@cache
def kinds() -> tuple[type[Any], ...]:
    """Return every type of answer that the project imports, so that a new one is fuzzed unasked."""
    found: set[tuple[str, str]] = set()
    for path in Path(replicator.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kio.schema."):
                found |= {(node.module or "", one.name) for one in node.names if one.name.endswith("Response")}
    return tuple(getattr(importlib.import_module(module), name) for module, name in sorted(found))


def answers(raw: bytes) -> None:
    """Any answer but those to Fetch and Produce; the first byte chooses which."""
    if not raw:
        return
    kind = kinds()[raw[0] % len(kinds())]
    answer: Any = decode.read_whole(memoryview(b"\x00\x00\x00\x01" + raw[1:]), kind)
    if kind.__name__ == "MetadataResponse":
        check_metadata(HostileBroker().spec(), answer)


def fetch(raw: bytes) -> None:
    """A fetch answer, in a frame that held a longer one before, and the batches in it."""
    version = FETCH_BY_ID if raw[:1] > b"\x7f" else FETCH_BY_NAME
    session = FetchSession(version, Isolation.READ_UNCOMMITTED, _TOPIC_IDS)
    session._topic("orders")
    buffer = bytearray(b"\x00\x00\x00\x01" + raw[1:])
    size = len(buffer)
    for one in session.answer(buffer + b"\x01" * 64, size)[1]:
        assert 0 <= one.start <= one.end <= size
        for header in scan(buffer, one.start, one.end):
            assert one.start <= header.start < header.end <= one.end


def produce(raw: bytes) -> None:
    """A produce answer: the short way may only see what the long one sees."""
    codec = ProduceCodec(PRODUCE_BY_ID if raw[:1] > b"\x7f" else PRODUCE_BY_NAME, _TOPIC_IDS, 1000)
    codec._topic("orders")
    frame = Frame(4 + len(raw))
    frame.reserve(4 + len(raw))
    frame.view[: frame.size] = b"\x00\x00\x00\x01" + raw
    usual = codec.accepted(frame)
    told = codec.answer(frame.buffer, frame.size)
    if usual is not None:
        seen = {(topic, row[0], row[2]) for topic, rows in usual.items() for row in rows}
        assert seen == {(one.where.topic, one.where.partition, one.base_offset) for one in told}
        assert not any(one.error for one in told)


def batches(raw: bytes) -> None:
    """A record set, whose first batch is given the right checksum where it is long enough for one."""
    frame = bytearray(raw)
    if len(frame) > 61 and frame[16] == 2:
        struct.pack_into(">i", frame, 8, len(frame) - 12)
        frame[:] = with_checksum(frame)
    view = memoryview(frame)
    headers = scan(frame, 0, len(frame))
    end = 0
    for header in headers:
        assert end <= header.start < header.end <= len(frame)
        end = header.end
    assert sound_length(headers) <= len(headers)
    judge(headers, 5, ResponseBounds(100, 3))
    given = IntakeState(5, 0, 1, -1, edges=ResponseBounds(1000, 3))
    limits = TargetLimits(1 << 20, 0, fill_length_max=1000)
    intake = Intake(given, limits, (), lambda one: _opened(view, one), lambda one: prove(view, one))
    try:
        intake.take(headers)
    finally:
        assert intake.expected >= 5
    for header in headers:
        _opened(view, header)
        _as_rows(view, header, records.decode(view, header, bytes_max=_OPENED_BYTES_MAX))


def _as_rows(view: memoryview, header: BatchHeader, wanted: list[records.Record]) -> None:
    """Read as whoever compares reads: by another parser, which has to find the same."""
    if header.record_count == 0:
        return
    found = [row for rows, _ in rows_of(view, header, 0, chunk_records=3) for row in rows]
    assert found == [
        (one.offset, one.timestamp, one.key, one.value, [(shown(name), of) for name, of in one.headers] or None)
        for one in wanted
    ]


def _opened(view: memoryview, header: BatchHeader) -> list[recode.RawRecord]:
    opened = recode.open_batch(view, header, _OPENED_BYTES_MAX)
    if header.magic == 2:
        assert len(opened) == max(0, header.record_count)
        assert all(header.base_offset <= one.offset < header.next_offset for one in opened)
    return opened


def inflated(raw: bytes) -> None:
    """Compressed records: what comes of them is bounded, and the same in pieces."""
    if not raw:
        return
    codec, data = raw[0] % 6, memoryview(raw[1:])
    expands_beyond(codec, data, _OPENED_BYTES_MAX)
    whole = inflate(codec, data, _OPENED_BYTES_MAX)
    assert len(whole) <= _OPENED_BYTES_MAX
    assert b"".join(inflate_pieces(codec, data)) == bytes(whole)
