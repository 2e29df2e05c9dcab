"""What was written for groups, kept on the state topic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.groups.sync import WrittenCommit
from replicator.engine.state import records as state
from replicator.engine.state.groups import GroupRecords
from replicator.model.names import TopicPartition
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from replicator.engine.state.topic.log import Change, StateLog

UID = "f1"
_OFFSETS = st.integers(0, (1 << 63) - 1)
_PARTITIONS = st.builds(TopicPartition, st.sampled_from(["orders", "audit"]), st.integers(0, 50))
_OURS = st.dictionaries(_PARTITIONS, st.builds(WrittenCommit, _OFFSETS, st.none() | _OFFSETS, st.integers(0, 1 << 50)))


class Log:
    """A state topic whose appends are read at once by everybody who listens, or later."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.appended = 0
        self._unread: list[Change] = []
        self._listeners: list[Callable[[bytes], None]] = []

    def listen(self, listener: Callable[[bytes], None]) -> None:
        """Remember who listens."""
        self._listeners.append(listener)

    async def append(self, changes: Iterable[Change]) -> None:
        """Take records; they are read later."""
        some = list(changes)
        self.appended += len(some)
        self._unread += some

    async def read_to_end(self) -> None:
        """Read what was appended."""
        for key, value in self._unread:
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
            for listener in self._listeners:
                listener(key)
        self._unread.clear()


def records(log: Log, uid: str = UID) -> GroupRecords:
    """Return one daemon's view."""
    return GroupRecords(uid, cast("StateLog", log))


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), _OURS))
async def test_another_daemon_reads_what_one_wrote(groups: dict[str, dict[TopicPartition, WrittenCommit]]) -> None:
    """One that was there before, and one that comes later; a group without partitions is forgotten."""
    log = Log()
    one, other = records(log), records(log)

    await one.write(groups)

    wanted = {name: ours for name, ours in groups.items() if ours}
    assert one.groups == other.groups == records(log).groups == wanted
    assert records(log, "another flow").groups == {}


async def test_only_what_changed_is_written() -> None:
    """An idle flow appends nothing; forgetting appends tombstones."""
    log = Log()
    known = records(log)
    groups = {
        "a": {TopicPartition("orders", 0): WrittenCommit(5, None, 1)},
        "b": {TopicPartition("orders", 0): WrittenCommit(6, 5, 1)},
    }
    await known.write(groups)
    assert log.appended == 2

    await known.write(groups | {"c": {}})
    assert log.appended == 2
    await known.write(groups | {"b": {TopicPartition("orders", 0): WrittenCommit(7, 6, 2)}})
    assert log.appended == 3

    await known.forget({"other"})
    assert log.appended == 3
    await known.forget({"orders"})
    assert (known.groups, log.records) == ({}, {})


def test_keys_of_others_are_none_of_its_business() -> None:
    """Of another flow, of another kind, and of a newer version."""
    assert state.group_of(state.group_key(UID, "a"), UID) == "a"
    assert state.group_of(state.group_key("f2", "a"), UID) is None
    assert state.group_of(state.key(pb.KIND_MIRROR, UID, "a"), UID) is None
    assert state.group_of(b"\xff\xff", UID) is None
