"""Unreadable records of `replicator.state`: named, and left alone.

A newer version may have written them. An operation that needs such a record is refused with its name; an operation
that can do without leaves it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message

from replicator.engine.state.topic.index import parse_key
from replicator.errors import DamagedRecord
from replicator.model.names import STATE_TOPIC
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from replicator.engine.state.topic.index import IndexedRecord

M = TypeVar("M", bound=Message)

_KINDS = {
    pb.KIND_FLOW: "a flow",
    pb.KIND_WRITER: "a writer",
    pb.KIND_CLAIM: "a claim",
    pb.KIND_MIRROR: "mirror",
    pb.KIND_SOURCE_END: "source ends",
    pb.KIND_SEGMENT: "an offset map",
    pb.KIND_HELD_BACK: "rules held back",
    pb.KIND_GROUP: "consumer group",
    pb.KIND_CUT: "the cut of topic",
    pb.KIND_JOURNAL: "the switches",
    pb.KIND_MAKING: "topics about to be created",
    pb.KIND_START: "the first start",
}
"""What each kind of record is about, before its name."""


def read_record(record: type[M], record_key: bytes, raw: bytes) -> M:
    """Return a record, whichever flow or version wrote it.

    Raises:
        DamagedRecord: It cannot be read.
    """
    try:
        return record.FromString(raw)
    except DecodeError as error:
        raise damaged_record(record_key, str(error)) from error


def damaged_record(record_key: bytes, why: str) -> DamagedRecord:
    """Return the error for a record that cannot be read, or whose parts do not fit together."""
    parsed = parse_key(record_key)
    cleared = f"write a tombstone for its key {record_key.hex()} (hex), which forgets its contents"
    if parsed is not None and parsed.flow_uid:
        cleared = f"see what is lost without it: replicator flow damaged {parsed.flow_uid} --clear {record_key.hex()}"
    return DamagedRecord(
        f"the record of {about(record_key)} on {STATE_TOPIC} cannot be read",
        cluster="",
        why=why,
        next_step=f"run the version that wrote it, if a newer one did; else {cleared}",
    )


def about(record_key: bytes) -> str:
    """Return a description of what a record is about."""
    parsed = parse_key(record_key)
    if parsed is None:
        return f"an unknown kind, key {record_key.hex()}"
    # Each kind uses some parts of the key; those say what the record is about.
    named = [repr(parsed.topic)] if parsed.topic else []
    named += [f"number {parsed.partition}"] if parsed.partition else []
    return " ".join([_KINDS.get(parsed.kind, f"kind {parsed.kind}"), *named, f"of flow {parsed.flow_uid}"])


def readable_records(record: type[M], found: Iterable[IndexedRecord]) -> Iterator[tuple[bytes, M]]:
    """Yield the readable ones among records; an unreadable one is reported where its subject is used."""
    for raw_key, _, raw in found:
        try:
            yield raw_key, record.FromString(raw)
        except DecodeError:
            continue
