"""Fits changes of a state topic into the batches that its broker accepts, however large the values are.

A value that grows with partitions, topics or rules may exceed any batch limit. It is compressed and cut into parts,
which are written in this order::

    parts            under keys with the digest of the value: nothing that is being read is overwritten
    head             under the value's own key: from here on the new value is in force, and all its parts are there
    old parts gone   those of the previous value

So after an interruption at any point, either the old value is whole or the new one is. None of this needs transactions.
An earlier version that reads a head finds a value it does not know: it shows that, and acts on nothing.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from replicator.engine.state.topic.index import parse_key
from replicator.errors import KafkaError
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Change = tuple[bytes, bytes | None]

BATCH_BYTES_MAX = 128 << 10
"""Of a batch: a broker accepts 1 MB on a topic without a limit of its own, and a reader holds a whole batch at once."""
BATCH_BYTES_MIN = 8 << 10
"""The limit is never lowered below this."""
_RECORD_OVERHEAD_BYTES = 64
"""The most that lengths, times and offsets of one record take."""
_BATCH_OVERHEAD_BYTES = 256
_KEY_BYTES_MAX = 512
"""The largest key of a part, with the flow's uid."""
VALUE_BYTES_MAX = 64 << 20
"""The largest value that is put together from parts."""
_PARTS_MAX = VALUE_BYTES_MAX // BATCH_BYTES_MIN * 2
"""The most parts of one value: data that does not compress becomes slightly larger."""

_MARK = b"replicator/parts"
_NOTE = struct.Struct(">32sIQ16s")
"""The end of a head: digest of the value, number of parts, its size in bytes, and the mark of a head."""
_DIGEST_BYTES = 32
_NOTE_TAG = b"\xc2\x3e"
"""Field 1000 of a message, type bytes: in a head that earlier versions can read, the note is an unknown field."""
_UNREADABLE = b"\x00written in parts: this version of replicator is too old to read it"
"""There is no field number 0: whoever parses it as a message finds it damaged."""
_PART_PREFIX = pb.StateKey(kind=pb.KIND_PART).SerializeToString()
_TEXT_CHARS_MAX = 1000
IN_PARTS = "in_parts"
"""The direction that the head of a journal shows: a word that no version knows."""


class Note(NamedTuple):
    """What a head says about its parts."""

    digest: bytes
    parts: int
    size: int


def note_of(value: bytes) -> Note | None:
    """Return what a head says about its parts; None for any other value."""
    if len(value) < _NOTE.size or not value.endswith(_MARK):
        return None
    digest, count, size, _ = _NOTE.unpack_from(value, len(value) - _NOTE.size)
    return Note(digest, count, size)


def part_key(uid: str, digest: bytes, number: int) -> bytes:
    """Return the key of one part."""
    made = pb.StateKey(kind=pb.KIND_PART, flow_uid=uid, topic=digest.hex(), partition=number)
    return made.SerializeToString(deterministic=True)


def keys_of(key: bytes, note: Note) -> list[bytes]:
    """Return the keys of all parts of the value under `key`, in order."""
    uid = _uid(key)
    return [part_key(uid, note.digest, number) for number in range(note.parts)]


def is_part(key: bytes) -> bool:
    """Return whether a record is a part of another record's value."""
    # Cheap for the many that are not: deterministic serialization puts the kind first.
    return key[:2] == _PART_PREFIX


def joined(key: bytes, note: Note, parts: Mapping[bytes, bytes]) -> bytes | None:
    """Return the value that a head refers to; None if parts are missing or were altered."""
    found = [parts.get(one) for one in keys_of(key, note)] if note.parts <= _PARTS_MAX else [None]
    pieces = [one for one in found if one is not None]
    if len(pieces) < len(found) or note.size > VALUE_BYTES_MAX:
        return None
    try:
        value = zlib.decompressobj().decompress(b"".join(pieces), note.size)
    except zlib.error:
        return None
    return value if len(value) == note.size and _digest(key, value) == note.digest else None


def in_parts(changes: Iterable[Change], limit_bytes: int, notes: Mapping[bytes, Note]) -> list[Change]:
    """Return changes in which no record is larger than a batch may be.

    Args:
        changes: The intended changes.
        limit_bytes: The largest batch.
        notes: The notes of values that are stored in parts now, by their own key.

    Raises:
        KafkaError: A value is too large to be read again.
    """
    out: list[Change] = []
    for key, value in changes:
        before = notes.get(key)
        old = keys_of(key, before) if before is not None else []
        if value is None or len(key) + len(value) + _RECORD_OVERHEAD_BYTES + _BATCH_OVERHEAD_BYTES <= limit_bytes:
            out.append((key, value))
            new: list[bytes] = []
        else:
            note, pieces = _cut(key, value, limit_bytes)
            new = keys_of(key, note)
            out += zip(new, pieces, strict=True)
            out.append((key, _head(key, value, note)))
        out += ((one, None) for one in old if one not in new)
    return out


def _cut(key: bytes, value: bytes, limit_bytes: int) -> tuple[Note, list[bytes]]:
    if len(value) > VALUE_BYTES_MAX:
        parsed = parse_key(key)
        what = f"{pb.Kind.Name(parsed.kind)} {parsed.topic}".strip() if parsed is not None else "a record"
        raise KafkaError(
            f"{what} has {len(value):,} bytes; at most {VALUE_BYTES_MAX:,} can be recorded",
            cluster="",
            next_step="divide the flow into several with fewer topics each",
        )
    packed = zlib.compress(value, 1)
    size = limit_bytes - _KEY_BYTES_MAX - _RECORD_OVERHEAD_BYTES - _BATCH_OVERHEAD_BYTES
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
    return Note(_digest(key, value), len(pieces), len(value)), pieces


def _digest(key: bytes, value: bytes) -> bytes:
    """Return the digest that names a value's parts; it covers the key, so equal values under two keys share none."""
    return hashlib.sha256(struct.pack(">I", len(key)) + key + value).digest()


def _head(key: bytes, value: bytes, note: Note) -> bytes:
    packed = _NOTE.pack(*note, _MARK)
    parsed = parse_key(key)
    if parsed is None or parsed.kind != pb.KIND_JOURNAL:
        return _UNREADABLE + packed
    if parsed.topic not in {"", "copy"}:
        return _UNREADABLE + packed
    shown: pb.JournalRecord | pb.SwitchRecord
    if parsed.topic:
        shown = _shown(pb.SwitchRecord.FromString(value))
    else:
        whole = pb.JournalRecord.FromString(value)
        shown = pb.JournalRecord(current=_shown(whole.current)) if whole.HasField("current") else pb.JournalRecord()
    return shown.SerializeToString(deterministic=True) + _NOTE_TAG + bytes([len(packed)]) + packed


def _shown(switch: pb.SwitchRecord) -> pb.SwitchRecord:
    """Return what an earlier version shows of a switch: who, what and when, with a direction that it does not know."""
    return pb.SwitchRecord(
        id=switch.id,
        verb=switch.verb,
        flow=switch.flow,
        options=switch.options,
        actor=switch.actor,
        reason=switch.reason[:_TEXT_CHARS_MAX],
        started_ms=switch.started_ms,
        ended_ms=switch.ended_ms if switch.HasField("ended_ms") else None,
        revision=switch.revision,
        reached=switch.reached,
        direction=IN_PARTS,
        outcome=switch.outcome,
        escalated=switch.escalated,
        decision=switch.decision,
        is_copy=switch.is_copy,
        target_cluster_id=switch.target_cluster_id,
    )


def batches(changes: Iterable[Change], limit_bytes: int) -> Iterator[list[Change]]:
    """Yield changes in the same order, as many at a time as fit into a batch; a larger record comes alone."""
    some: list[Change] = []
    size = _BATCH_OVERHEAD_BYTES
    for key, value in changes:
        more = len(key) + len(value or b"") + _RECORD_OVERHEAD_BYTES
        if some and size + more > limit_bytes:
            yield some
            some, size = [], _BATCH_OVERHEAD_BYTES
        some.append((key, value))
        size += more
    if some:
        yield some


def _uid(key: bytes) -> str:
    parsed = parse_key(key)
    return parsed.flow_uid if parsed is not None else ""
