"""Fetch and Produce of the model's brokers, as bytes: the requests that the copy spends its life on."""

from __future__ import annotations

import struct
from typing import NamedTuple

from replicator.model.spec import Isolation
from replicator.wire.protocol.cursor import compact_string, read_length, read_uvarint, skip_tags, uvarint
from replicator.wire.protocol.versions import FETCH_BY_ID, PRODUCE_BY_ID
from tests.isolation import isolation_of

_FETCH_HEAD = struct.Struct(">iiiibii")
_FETCH_PARTITION = struct.Struct(">iiqiqi")
_ANSWER_HEAD = struct.Struct(">ihi")
_ANSWER_PARTITION = struct.Struct(">ihqqq")
_ABORTED = struct.Struct(">qq")
_DIVERGING = struct.Struct(">iq")
_I32 = struct.Struct(">i")
_PRODUCE_HEAD = struct.Struct(">hi")
_PRODUCED = struct.Struct(">ihqqq")


class Want(NamedTuple):
    """What a fetch asks of one partition; `topic` is a name, or an id as bytes."""

    topic: str | bytes
    partition: int
    leader_epoch: int
    offset: int
    last_epoch: int
    bytes_max: int


class FetchAsked(NamedTuple):
    """A fetch as it was asked."""

    wait_ms: int
    isolation: Isolation
    session_id: int
    session_epoch: int
    wanted: tuple[Want, ...]
    forgotten: tuple[tuple[str | bytes, int], ...]


class Given(NamedTuple):
    """What is answered for one partition."""

    error: int
    high_watermark: int = -1
    stable: int = -1
    log_start: int = -1
    diverging: tuple[int, int] | None = None
    aborted: tuple[tuple[int, int], ...] = ()
    records: bytes = b""


def _topic(body: bytes, at: int, *, by_id: bool) -> tuple[str | bytes, int]:
    if by_id:
        return body[at : at + 16], at + 16
    length, at = read_length(bytearray(body), at, len(body))
    return body[at : at + length].decode(), at + length


def fetch_asked(body: bytes, version: int) -> FetchAsked:
    """Decode a fetch."""
    buffer, by_id = bytearray(body), version >= FETCH_BY_ID
    _, wait_ms, _, _, isolation, session_id, session_epoch = _FETCH_HEAD.unpack_from(body)
    topics, at = read_length(buffer, _FETCH_HEAD.size, len(body))
    wanted: list[Want] = []
    for _ in range(topics):
        topic, at = _topic(body, at, by_id=by_id)
        partitions, at = read_length(buffer, at, len(body))
        for _ in range(partitions):
            number, epoch, offset, last_epoch, _, bytes_max = _FETCH_PARTITION.unpack_from(body, at)
            wanted.append(Want(topic, number, epoch, offset, last_epoch, bytes_max))
            at = skip_tags(buffer, at + _FETCH_PARTITION.size)
        at = skip_tags(buffer, at)
    forgotten: list[tuple[str | bytes, int]] = []
    topics, at = read_length(buffer, at, len(body))
    for _ in range(topics):
        topic, at = _topic(body, at, by_id=by_id)
        partitions, at = read_length(buffer, at, len(body))
        for _ in range(partitions):
            forgotten.append((topic, _I32.unpack_from(body, at)[0]))
            at += 4
        at = skip_tags(buffer, at)
    return FetchAsked(wait_ms, isolation_of(isolation), session_id, session_epoch, tuple(wanted), tuple(forgotten))


def fetch_answer(session_id: int, rows: list[tuple[str | bytes, int, Given]], error: int = 0) -> bytes:
    """Encode an answer to a fetch, from the tags of the header on; partitions of one topic stand together."""
    topics: dict[str | bytes, list[tuple[int, Given]]] = {}
    for topic, partition, given in rows:
        topics.setdefault(topic, []).append((partition, given))
    out = bytearray(b"\x00")
    out += _ANSWER_HEAD.pack(0, error, session_id)
    out += uvarint(len(topics) + 1)
    for topic, partitions in topics.items():
        out += compact_string(topic) if isinstance(topic, str) else topic
        out += uvarint(len(partitions) + 1)
        _put_partitions(out, partitions)
        out += b"\x00"
    out += b"\x00"
    return bytes(out)


def _put_partitions(out: bytearray, partitions: list[tuple[int, Given]]) -> None:
    for partition, given in partitions:
        out += _ANSWER_PARTITION.pack(partition, given.error, given.high_watermark, given.stable, given.log_start)
        out += uvarint(len(given.aborted) + 1)
        for each in given.aborted:
            out += _ABORTED.pack(*each) + b"\x00"
        out += _I32.pack(-1)
        out += uvarint(len(given.records) + 1)
        out += given.records
        if given.diverging is None:
            out += b"\x00"
        else:
            # Tag 0: an epoch with its end, and no tags in there.
            out += b"\x01\x00" + uvarint(_DIVERGING.size + 1) + _DIVERGING.pack(*given.diverging) + b"\x00"


class ProduceAsked(NamedTuple):
    """A produce to partitions of one topic: the batch of each."""

    topic: str | bytes
    batches: dict[int, bytes]
    transactional_id: str | None


def produce_asked(body: bytes, version: int) -> ProduceAsked:
    """Decode a produce to one topic."""
    buffer, by_id = bytearray(body), version >= PRODUCE_BY_ID
    length, at = read_length(buffer, 0, len(body)) if body[0] else (-1, 1)
    transactional_id = body[at : at + length].decode() if length >= 0 else None
    at += max(0, length) + _PRODUCE_HEAD.size
    topics, at = read_length(buffer, at, len(body))
    topic, at = _topic(body, at, by_id=by_id)
    partitions, at = read_length(buffer, at, len(body))
    assert topics == 1, "one topic is all there is"
    batches: dict[int, bytes] = {}
    for _ in range(partitions):
        (partition,) = _I32.unpack_from(body, at)
        size, at = read_uvarint(buffer, at + 4)
        batches[partition] = body[at : at + size - 1]
        at = skip_tags(buffer, at + size - 1)
    return ProduceAsked(topic, batches, transactional_id)


def produce_answer(topic: str | bytes, answers: dict[int, tuple[int, int]]) -> bytes:
    """Encode an answer to a produce, from the tags of the header on: (error code, base offset) by partition."""
    name = compact_string(topic) if isinstance(topic, str) else topic
    rows = b"".join(
        _PRODUCED.pack(partition, error, base, -1, 0) + b"\x01\x00\x00" for partition, (error, base) in answers.items()
    )
    return b"\x00\x02" + name + uvarint(len(answers) + 1) + rows + b"\x00" + _I32.pack(0) + b"\x00"
