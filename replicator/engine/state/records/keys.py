"""Keys and values of records on a state topic: how they are built, read and written."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import Message

from replicator.engine.state.topic.damage import read_record
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.engine.state.topic.chunks import Change

M = TypeVar("M", bound=Message)


def key(kind: pb.Kind, flow_uid: str, topic: str = "", partition: int = 0, block: int = 0) -> bytes:
    """Return the key of a record."""
    made = pb.StateKey(kind=kind, flow_uid=flow_uid, topic=topic, partition=partition, block=block)
    return made.SerializeToString(deterministic=True)


def get(records: Mapping[bytes, bytes], record_key: bytes, record: M) -> M | None:
    """Return a parsed record; None if there is none; raises as `read_record`."""
    raw = records.get(record_key)
    return None if raw is None else read_record(type(record), record_key, raw)


def put(record_key: bytes, record: Message) -> Change:
    """Return the change that stores a record."""
    return record_key, record.SerializeToString(deterministic=True)
