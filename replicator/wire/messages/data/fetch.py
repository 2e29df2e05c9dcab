"""Fetch v12 (by topic name) and v13 (by topic id) with incremental sessions (KIP-227, KIP-516).

The broker keeps a session's list of partitions and their positions; a request names only what changed, so a thousand
idle partitions cost a few bytes per long poll.
The record sets stay where the kernel put them: a decoded response has positions in the frame, not bytes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from replicator.errors import CorruptRecords
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.wire.protocol.cursor import compact_string, read_length, read_uvarint, skip_tags, uvarint
from replicator.wire.protocol.versions import FETCH_BY_ID

if TYPE_CHECKING:
    from collections.abc import Iterable

ANSWER_BYTES_MAX = 70 << 20
"""A broker returns at least one whole batch, however large (KIP-74): a response beyond this size is not read."""
_REQUEST_HEAD = struct.Struct(">iiiibii")
_REQUEST_PARTITION = struct.Struct(">iiqiqi")
_ANSWER_HEAD = struct.Struct(">ihi")
_ANSWER_PARTITION = struct.Struct(">ihqqq")
_ABORTED = struct.Struct(">qq")
_DIVERGING = struct.Struct(">iq")
_I32 = struct.Struct(">i")
_DIVERGING_TAG = 0
_ABORTED_MAX = 1 << 20
_FINAL_EPOCH = 0
_NO_TOPIC_ID = bytes(16)
_SESSION_EPOCH_WRAP = 0x7FFFFFFF


class Wanted(NamedTuple):
    """Where to continue reading one partition.

    `last_epoch` is the leader epoch of the last batch read (-1 unknown): the broker reports a divergence if its log
    has another history (KIP-595's field, honoured for consumers too).
    """

    offset: int
    leader_epoch: int
    last_epoch: int
    bytes_max: int


class Fetched(NamedTuple):
    """What a response says about one partition; `start` and `end` bound the record set in the frame."""

    where: TopicPartition
    error: int
    high_watermark: int
    last_stable_offset: int
    log_start: int
    diverging: tuple[int, int] | None
    aborted: list[tuple[int, int]] | None
    start: int
    end: int


class FetchSession:
    """The client's side of one fetch session with one broker.

    Args:
        version: `FETCH_BY_NAME` or `FETCH_BY_ID`.
        isolation: Which records the broker returns.
        topic_ids: Topic name to topic id (16 bytes), needed for `FETCH_BY_ID`; shared with the cluster view.
        sessionless: Use no session at all (for single reads).

    Attributes:
        throttled: Whether the last response was empty because of a quota: then it says nothing about any partition.
    """

    def __init__(
        self, version: int, isolation: Isolation, topic_ids: dict[str, bytes], *, sessionless: bool = False
    ) -> None:
        self._version = version
        self._level = isolation.level
        self._topic_ids = topic_ids
        self._sessionless = sessionless
        self._session_id = 0
        self._epoch = -1 if sessionless else 0
        self._known: dict[TopicPartition, Wanted] = {}
        self._by_id: dict[bytes, str] = {}
        self._ids: dict[str, bytes] = {}
        self.throttled = False

    def reset(self) -> None:
        """Start a new session with the next request (after an error or a new connection)."""
        self._session_id = 0
        self._epoch = -1 if self._sessionless else _FINAL_EPOCH
        self._known = {}
        self._by_id.clear()
        self._ids.clear()

    def is_outdated(self, names: Iterable[str]) -> bool:
        """Return whether the broker's session has any of these topics under another id: then a new one is needed.

        The old one would continue with the topic that had the name before.
        """
        return any(self._ids.get(name, at) != at for name in names if (at := self._topic_ids.get(name)) is not None)

    def request(self, wanted: dict[TopicPartition, Wanted], *, wait_ms: int, bytes_min: int, bytes_max: int) -> bytes:
        """Return the encoded body that moves the session to exactly `wanted`."""
        changed = {where: want for where, want in wanted.items() if self._known.get(where) != want}
        gone = [where for where in self._known if where not in wanted]
        self._known = dict(wanted)
        return self.request_changes(changed, gone, wait_ms=wait_ms, bytes_min=bytes_min, bytes_max=bytes_max)

    def request_changes(
        self,
        changed: dict[TopicPartition, Wanted],
        gone: Iterable[TopicPartition],
        *,
        wait_ms: int,
        bytes_min: int,
        bytes_max: int,
    ) -> bytes:
        """Return the encoded body that tells the broker what changed since the last request.

        The caller keeps the full list: while `is_new`, it passes all of it as `changed`.
        """
        return b"".join(
            (
                _REQUEST_HEAD.pack(-1, wait_ms, bytes_min, bytes_max, self._level, self._session_id, self._epoch),
                self._topics(changed.items()),
                self._forgotten(gone if self._session_id else ()),
                b"\x01\x00",  # empty rack id, no tags
            )
        )

    @property
    def is_new(self) -> bool:
        """Whether the broker holds no session of ours: the next request must name every partition."""
        return not self._session_id

    def _topic(self, name: str) -> bytes:
        if self._version < FETCH_BY_ID:
            return compact_string(name)
        topic_id = self._topic_ids[name]
        self._by_id[topic_id] = name
        self._ids[name] = topic_id
        return topic_id

    def _forgotten_topic(self, name: str) -> bytes:
        return compact_string(name) if self._version < FETCH_BY_ID else self._ids.get(name, _NO_TOPIC_ID)

    def _topics(self, changed: Iterable[tuple[TopicPartition, Wanted]]) -> bytes:
        by_topic: dict[str, list[tuple[int, Wanted]]] = {}
        for where, want in changed:
            by_topic.setdefault(where[0], []).append((where[1], want))
        out = bytearray(uvarint(len(by_topic) + 1))
        pack = _REQUEST_PARTITION.pack
        for name, partitions in by_topic.items():
            out += self._topic(name)
            out += uvarint(len(partitions) + 1)
            for partition, want in partitions:
                out += pack(partition, want[1], want[0], want[2], -1, want[3])
                out += b"\x00"
            out += b"\x00"
        return bytes(out)

    def _forgotten(self, gone: Iterable[TopicPartition]) -> bytes:
        by_topic: dict[str, list[int]] = {}
        for where in gone:
            by_topic.setdefault(where[0], []).append(where[1])
        out = bytearray(uvarint(len(by_topic) + 1))
        for name, partitions in by_topic.items():
            out += self._forgotten_topic(name)
            out += uvarint(len(partitions) + 1)
            for partition in partitions:
                out += _I32.pack(partition)
            out += b"\x00"
        return bytes(out)

    def answer(self, buffer: bytearray, size: int) -> tuple[int, list[Fetched]]:
        """Decode a response frame; return (error code of the whole response, partitions).

        On a session error (70, 71) the caller resets and fetches again.

        Raises:
            CorruptRecords: The bytes are not such a response.
        """
        try:
            return self._answer(buffer, size)
        except (IndexError, struct.error, UnicodeDecodeError) as error:
            raise CorruptRecords("a fetch answer ends too early", why=str(error)) from error

    def _answer(self, buffer: bytearray, size: int) -> tuple[int, list[Fetched]]:
        position = skip_tags(buffer, 4)
        throttle_ms, error, session_id = _ANSWER_HEAD.unpack_from(buffer, position)
        self.throttled = throttle_ms > 0
        position += _ANSWER_HEAD.size
        if error:
            return error, []
        if not self._sessionless:
            self._session_id = session_id
            # No session id: the broker had no room for a session, so every request has to be a full one.
            self._epoch = self._epoch % _SESSION_EPOCH_WRAP + 1 if session_id else _FINAL_EPOCH
            if not session_id:
                self._known = {}
        topics, position = read_length(buffer, position, size)
        out: list[Fetched] = []
        for _ in range(topics):
            name, position = self._read_topic(buffer, position, size)
            partitions, position = read_length(buffer, position, size)
            for _ in range(partitions):
                fetched, position = _read_partition(buffer, position, size, name)
                out.append(fetched)
            position = skip_tags(buffer, position)
        if position > size:  # the frame is reused: bytes read after the end belong to an earlier response
            raise CorruptRecords("a fetch answer ends too early")
        return 0, out

    def _read_topic(self, buffer: bytearray, position: int, size: int) -> tuple[str, int]:
        if self._version < FETCH_BY_ID:
            length, position = read_length(buffer, position, size)
            if length < 0:
                raise CorruptRecords("a fetch answer has a topic without a name")
            return buffer[position : position + length].decode(), position + length
        topic_id = bytes(buffer[position : position + 16])
        name = self._by_id.get(topic_id)
        if name is None:
            raise CorruptRecords("a fetch answer names a topic id that was not asked for")
        return name, position + 16


def _read_partition(buffer: bytearray, position: int, size: int, topic: str) -> tuple[Fetched, int]:
    partition, error, high_watermark, stable, log_start = _ANSWER_PARTITION.unpack_from(buffer, position)
    position += _ANSWER_PARTITION.size
    count, position = read_length(buffer, position, size)
    aborted: list[tuple[int, int]] | None = None
    if count > 0:
        if count > _ABORTED_MAX:
            raise CorruptRecords(f"{count} aborted transactions in one answer")
        aborted = []
        for _ in range(count):
            aborted.append(_ABORTED.unpack_from(buffer, position))
            position = skip_tags(buffer, position + _ABORTED.size)
    position += 4  # preferred read replica: always the leader for us, no rack is sent
    length, position = read_length(buffer, position, size)
    start = position
    end = start + max(length, 0)
    diverging, position = _read_partition_tags(buffer, end)
    where = TopicPartition(topic, partition)
    return Fetched(where, error, high_watermark, stable, log_start, diverging, aborted, start, end), position


def _read_partition_tags(buffer: bytearray, position: int) -> tuple[tuple[int, int] | None, int]:
    if not buffer[position]:
        return None, position + 1
    diverging: tuple[int, int] | None = None
    count, position = read_uvarint(buffer, position)
    for _ in range(count):
        tag, position = read_uvarint(buffer, position)
        length, position = read_uvarint(buffer, position)
        if tag == _DIVERGING_TAG:
            epoch, end_offset = _DIVERGING.unpack_from(buffer, position)
            diverging = (epoch, end_offset)
        position += length
    return diverging, position
