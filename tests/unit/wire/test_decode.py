"""Typed answers out of bytes of any kind: whole, cut, spoiled, and lying about how much there is."""

from __future__ import annotations

import ast
import importlib
import io
import struct
import tracemalloc
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kio.schema.api_versions.v3.response import ApiVersionsResponse
from kio.schema.errors import ErrorCode
from kio.schema.metadata.v10.response import (
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from kio.schema.sasl_handshake.v1.response import SaslHandshakeResponse
from kio.schema.types import BrokerId, TopicName
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i32

import replicator
from replicator.errors import CorruptRecords
from replicator.wire.protocol import decode
from tests.unit.wire.messages import AT_ONCE, encoded, messages


def kinds() -> Iterator[type[Any]]:
    """Return every type of answer that the project imports, so that a new one is fuzzed unasked."""
    found: set[tuple[str, str]] = set()
    for path in Path(replicator.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kio.schema."):
                found |= {(node.module or "", one.name) for one in node.names if one.name.endswith("Response")}
    for module, name in sorted(found):
        yield getattr(importlib.import_module(module), name)


KINDS = list(kinds())
IDS = [f"{kind.__name__}-v{kind.__version__}" for kind in KINDS]


def test_the_types_are_found() -> None:
    """All but Fetch and Produce, which have readers of their own."""
    assert len(KINDS) > 20
    assert {MetadataResponse, SaslHandshakeResponse, ApiVersionsResponse} < set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_what_is_sound_is_read_as_kio_reads_it(kind: type[Any], data: st.DataObject) -> None:
    """Every type, every field."""
    message = data.draw(messages(kind))
    raw = encoded(message)
    start = 5 if kind.__header_schema__.__flexible__ else 4

    assert decode.read_whole(memoryview(raw), kind) == message == entity_reader(kind)(raw, start)[0]


def spoil(raw: bytes, data: st.DataObject) -> bytes:
    """Return an answer with one thing wrong with it, or several."""
    spoiled = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(4, len(spoiled)))
        how = data.draw(st.sampled_from(["cut", "huge", "negative", "put in", "flip", "take out"]))
        if how == "cut":
            del spoiled[at:]
        elif how == "huge":  # as a compact count, or as the high bits of any other
            spoiled[at : at + 5] = b"\xff\xff\xff\xff\x0f"
        elif how == "negative":
            spoiled[at : at + 4] = b"\xff\xff\xff\xfe"
        elif how == "put in":
            spoiled[at:at] = data.draw(st.binary(max_size=9))
        elif how == "take out":
            del spoiled[at : at + data.draw(st.integers(1, 9))]
        elif at < len(spoiled):
            spoiled[at] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(spoiled)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_what_is_spoiled_is_read_or_refused(kind: type[Any], data: st.DataObject) -> None:
    """By one exception, whatever is wrong with it."""
    raw = spoil(encoded(data.draw(messages(kind))), data)
    try:
        found = decode.read_whole(memoryview(raw), kind)
    except CorruptRecords:
        return
    assert isinstance(found, kind)


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(KINDS), body=st.binary(max_size=200))
def test_noise_is_read_or_refused(kind: type[Any], body: bytes) -> None:
    """As above, of bytes that never were an answer."""
    try:
        assert isinstance(decode.read_whole(memoryview(b"\x00\x00\x00\x01" + body), kind), kind)
    except CorruptRecords:
        return


HUGE = [
    (ApiVersionsResponse, struct.pack(">ih", 1, 0) + b"\xff\xff\xff\xff\x0f"),
    (ApiVersionsResponse, struct.pack(">ih", 1, 0) + b"\xff\xff\xff\xff\x7f"),
    (SaslHandshakeResponse, struct.pack(">ihi", 1, 0, 0x7FFFFFFF)),
    (SaslHandshakeResponse, struct.pack(">ihi", 1, 0, -2)),
    (SaslHandshakeResponse, struct.pack(">ihih", 1, 0, 1, -2)),
    (MetadataResponse, struct.pack(">ibi", 1, 0, 0) + b"\xff\xff\xff\xff\x0f"),
]


@pytest.mark.parametrize(("kind", "raw"), HUGE)
def test_a_count_beyond_the_bytes_makes_no_room(kind: type[Any], raw: bytes) -> None:
    """2^32 elements in 30 bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(CorruptRecords, match="claims"):
            decode.read_whole(memoryview(raw + bytes(20)), kind)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_small_elements_do_not_become_all_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker of seven bytes becomes an object of some hundred."""
    monkeypatch.setattr(decode, "MEMORY_BYTES_MAX", 1 << 20)
    brokers = struct.pack(">ibi", 1, 0, 0) + b"\xff\xff\x01" + bytes(40_000 * 11)
    with pytest.raises(CorruptRecords, match="more than 1 MiB of memory"):
        decode.read_whole(memoryview(brokers), MetadataResponse)


def test_a_list_that_is_read_in_one_go_is_short() -> None:
    """Reading pauses between messages, not between numbers."""
    raw = struct.pack(">ihi", 1, 0, 200_000) + bytes(400_000)
    with pytest.raises(CorruptRecords, match="at most 100000"):
        decode.read_whole(memoryview(raw), SaslHandshakeResponse)


def test_a_code_that_is_not_known_is_an_error_of_the_server() -> None:
    """A newer broker's; the rest of its answer is read."""
    raw = struct.pack(">ihi", 1, 3_000, 0)
    assert decode.read_whole(memoryview(raw), SaslHandshakeResponse).error_code is ErrorCode.unknown_server_error


def test_tags_that_are_not_known_are_passed_over() -> None:
    """Those of a newer broker, in the header and in the body (KIP-482); one that lies about its size is refused."""
    writer = io.BytesIO()
    answer = ApiVersionsResponse(error_code=ErrorCode.none, api_keys=(), throttle_time=AT_ONCE)
    entity_writer(ApiVersionsResponse)(writer, answer)
    sound = b"\x00\x00\x00\x01" + writer.getvalue()[:-1]
    assert decode.read_whole(memoryview(sound + b"\x01\x63\x02hi"), ApiVersionsResponse) == answer
    for tags in (b"\x01\x63\x03hi", b"\x02\x63\x02hi", b"\x01\x01\x02hi"):
        with pytest.raises(CorruptRecords):
            decode.read_whole(memoryview(sound + tags), ApiVersionsResponse)


def test_a_large_answer_is_read_in_pieces() -> None:
    """Also one that is a single topic; each piece is a small part of it."""
    three = tuple(BrokerId(node) for node in (1, 2, 3))
    partitions = tuple(
        MetadataResponsePartition(
            error_code=ErrorCode.none,
            partition_index=i32(number),
            leader_id=BrokerId(1),
            replica_nodes=three,
            isr_nodes=three,
        )
        for number in range(5_000)
    )
    topic = MetadataResponseTopic(
        error_code=ErrorCode.none, name=TopicName("orders"), topic_id=uuid.UUID(int=7), partitions=partitions
    )
    broker = MetadataResponseBroker(node_id=BrokerId(1), host="h", port=i32(9))
    message = MetadataResponse(throttle_time=AT_ONCE, brokers=(broker,), topics=(topic,))
    raw = encoded(message)
    found: list[MetadataResponse] = []

    def reading() -> Iterator[None]:
        found.append((yield from decode.pieces(memoryview(raw), MetadataResponse)))

    pauses = len(list(reading()))

    assert found == [message]
    assert pauses >= len(raw) // decode.PIECE_BYTES - 1


def test_what_is_not_wanted_is_read_and_not_kept() -> None:
    """It is checked all the same."""
    topics = tuple(
        MetadataResponseTopic(error_code=ErrorCode.none, name=TopicName(name), topic_id=uuid.UUID(int=7), partitions=())
        for name in ("a", "b", "c")
    )
    broker = MetadataResponseBroker(node_id=BrokerId(1), host="h", port=i32(9))
    raw = encoded(MetadataResponse(throttle_time=AT_ONCE, brokers=(broker,), topics=topics))
    keep: decode.Keep = {MetadataResponseTopic: lambda topic: bool(topic.name == "b")}
    found: list[MetadataResponse] = []

    def reading(data: bytes) -> Iterator[None]:
        found.append((yield from decode.pieces(memoryview(data), MetadataResponse, keep)))

    list(reading(raw))
    assert found[0].topics == topics[1:2]
    assert found[0].brokers == (broker,)
    with pytest.raises(CorruptRecords):
        list(reading(raw.replace(b"\x02c", b"\x7fc")))
