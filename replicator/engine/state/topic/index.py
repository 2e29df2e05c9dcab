"""The records of a state topic, indexed by kind, flow, topic and partition, so that no lookup scans them all.

A flow of a thousand topics looks up its mirrors thousands of times; scanning all records each time would block the
event loop for a time quadratic in their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, TypeVar, cast, overload

from google.protobuf.message import DecodeError

from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, ItemsView, KeysView

IndexedRecord = tuple[bytes, "pb.StateKey", bytes]
"""A record: its raw key, the parsed key, and its value."""
_Keys = dict[bytes, "pb.StateKey"]
_Name = TypeVar("_Name")
_Below = TypeVar("_Below")
T = TypeVar("T")


def parse_key(raw: bytes) -> pb.StateKey | None:
    """Return the parsed key; None if a newer version wrote it in a form that this one cannot read."""
    parsed = pb.StateKey()
    try:
        parsed.ParseFromString(raw)
    except DecodeError:
        return None
    return parsed


class StateRecords(MutableMapping[bytes, bytes]):
    """Values by key, with an index over the keys."""

    __slots__ = ("_index", "_made", "_values")

    def __init__(self, records: Mapping[bytes, bytes] | None = None) -> None:
        self._values: dict[bytes, bytes] = {}
        self._index: dict[int, dict[str, dict[str, dict[int, _Keys]]]] = {}
        self._made: dict[bytes, tuple[bytes, object]] = {}
        self.update(records or {})

    def __getitem__(self, key: bytes) -> bytes:
        """Return a value."""
        return self._values[key]

    def __setitem__(self, key: bytes, value: bytes) -> None:
        """Store a record."""
        if key not in self._values:
            parsed = parse_key(key)
            if parsed is not None:
                flows = self._index.setdefault(parsed.kind, {})
                topics = flows.setdefault(parsed.flow_uid, {})
                topics.setdefault(parsed.topic, {}).setdefault(parsed.partition, {})[key] = parsed
        self._values[key] = value

    def __delitem__(self, key: bytes) -> None:
        """Remove an existing record."""
        del self._values[key]
        self._made.pop(key, None)
        parsed = parse_key(key)
        if parsed is None:
            return
        flows = self._index[parsed.kind]
        topics = flows[parsed.flow_uid]
        partitions = topics[parsed.topic]
        keys = partitions[parsed.partition]
        del keys[key]
        # Empty levels are removed, or the index would grow with everything that ever existed.
        if not keys:
            del partitions[parsed.partition]
        if not partitions:
            del topics[parsed.topic]
        if not topics:
            del flows[parsed.flow_uid]

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over all keys."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        """Return whether there is such a record."""
        return key in self._values

    @overload
    def get(self, key: bytes, default: None = None, /) -> bytes | None: ...
    @overload
    def get(self, key: bytes, default: bytes | T, /) -> bytes | T: ...
    def get(self, key: bytes, default: object = None, /) -> object:
        """Return a value, or `default` if there is none."""
        return self._values.get(key, default)

    def keys(self) -> KeysView[bytes]:
        """Return all keys."""
        return self._values.keys()

    def items(self) -> ItemsView[bytes, bytes]:
        """Return all records."""
        return self._values.items()

    def find(
        self, kind: pb.Kind, uid: str | None = None, topic: str | None = None, partition: int | None = None
    ) -> Iterator[IndexedRecord]:
        """Yield the records of one kind, restricted to a flow, topic and partition if given."""
        flows = self._index.get(kind, {})
        for topics in _chosen(flows, uid):
            for partitions in _chosen(topics, topic):
                for keys in _chosen(partitions, partition):
                    for raw_key, parsed in list(keys.items()):
                        yield raw_key, parsed, self._values[raw_key]

    def of_flow(self, uid: str) -> Iterator[IndexedRecord]:
        """Yield the records of all kinds of one flow."""
        for kind in list(self._index):
            yield from self.find(cast("pb.Kind", kind), uid)

    def made(self, key: bytes, make: Callable[[bytes], T]) -> T:
        """Return `make(value)` for an existing record, computed once per value: the result is shared."""
        raw = self._values[key]
        known = self._made.get(key)
        if known is None or known[0] is not raw:
            known = self._made[key] = (raw, make(raw))
        return cast("T", known[1])


def _chosen(below: dict[_Name, _Below], name: _Name | None) -> list[_Below]:
    if name is None:
        return list(below.values())
    found = below.get(name)
    return [] if found is None else [found]


def indexed(records: Mapping[bytes, bytes]) -> StateRecords:
    """Return records with their index; it is built now if there is none (for a copy with tentative changes)."""
    return records if isinstance(records, StateRecords) else StateRecords(records)


def made_of(records: Mapping[bytes, bytes], key: bytes, make: Callable[[bytes], T]) -> T:
    """Return `make(value)` for an existing record; see `StateRecords.made`."""
    return records.made(key, make) if isinstance(records, StateRecords) else make(records[key])
