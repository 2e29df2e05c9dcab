"""The steps of a flow's writers from copying to fenced, promoted, and back, as changes to their records."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from replicator.engine.state import records as state
from replicator.errors import Conflict, PreflightFailed
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from replicator.engine.state.topic.log import Change
from replicator.engine.work.fence import COPIES_WITH_THE_FLOW, EPOCH_MAX


class _Writers:
    """The writer records to change: the flow's own, or those of mirrors that are switched alone.

    Args:
        records: Records of the state topic.
        uid: The flow.
        topics: Target topics of the mirrors; None for the whole flow.
    """

    def __init__(self, records: Mapping[bytes, bytes], uid: str, topics: Collection[str] | None) -> None:
        self.flow = state.get_writer_record(records, uid)
        self.own = state.own_writers(records, uid)
        self._before = state.get_writer_record(records, uid), state.own_writers(records, uid)
        self._uid = uid
        self._topics = topics
        self._records = records

    def scope(self) -> list[pb.WriterRecord]:
        """Return the records to change, each with its effective role and epoch."""
        if self._topics is None:
            return [self.flow]
        for topic in self._topics:
            mine = self.own.setdefault(topic, _at_epoch_of(self.flow))
            mine.role = mine.role or self.flow.role
        return [self.own[topic] for topic in self._topics]

    def join(self, left_out: Mapping[str, bool]) -> None:
        """Let mirrors that copy with the flow be fenced with it: from then on they share its epoch."""
        # Only the epoch is left of a mirror that was forgotten: its partitions are not fenced now.
        joins = [
            topic
            for topic, mine in self.own.items()
            if mine.role in COPIES_WITH_THE_FLOW and state.mirror_key(self._uid, topic) in self._records
        ]
        for topic in set(joins) - left_out.keys():
            del self.own[topic]
        for topic in [topic for topic, copies in left_out.items() if copies]:
            mine = self.own.setdefault(topic, _at_epoch_of(self.flow))
            mine.role = mine.role or self.flow.role
        for topic in [topic for topic in joins if not left_out.get(topic, True)]:
            self.own[topic].role = pb.WRITER_ROLE_UNSPECIFIED

    def keep_epochs(self, left_out: Iterable[str]) -> None:
        """Let mirrors that are not fenced with their flow keep the epoch that their partitions show."""
        for topic in left_out:
            self.own.setdefault(topic, _at_epoch_of(self._before[0]))

    def follow(self, topics: Collection[str] = ()) -> None:
        """Clear the separate role of `topics`, and of every mirror whose role only repeats the flow's."""
        for topic, mine in self.own.items():
            if topic in topics or (mine.role == self.flow.role == pb.WRITER_ROLE_COPYING):
                mine.role = pb.WRITER_ROLE_UNSPECIFIED

    def changes(self) -> list[Change]:
        """Return the changes that store all of them; none if nothing is new."""
        flow, own = self._before
        changes: list[Change] = []
        if self.flow != flow:
            changes.append(state.put(state.writer_key(self._uid), self.flow))
        for topic in sorted(own.keys() | self.own.keys()):
            mine, key = self.own.get(topic), state.writer_key(self._uid, topic)
            if mine is None or (not mine.role and mine.epoch == self.flow.epoch):
                changes += [(key, None)] if topic in own else []
            elif mine != own.get(topic):
                changes.append(state.put(key, mine))
        return changes


def begun(
    records: Mapping[bytes, bytes],
    uid: str,
    at_least: int | None,
    topics: Collection[str] | None = None,
    left_out: Mapping[str, bool] = MappingProxyType({}),
) -> tuple[int, list[Change]]:
    """Return the epoch of a fence, and the change that starts it; none if it has started.

    No partition of the flow has seen the epoch before, so two fences are never mistaken for each other.

    Args:
        records: Records of the state topic.
        uid: The flow.
        at_least: See `coordinator_epoch`.
        topics: Target topics of the mirrors that are fenced; None for the whole flow.
        left_out: Target topics that are not fenced with their flow, each with whether it continues copying.

    Raises:
        PreflightFailed: No higher epoch is left, or none of the topics exists any more.
    """
    writers = _Writers(records, uid, topics)
    scope = writers.scope()
    if not scope:
        raise PreflightFailed(f"none of the topics of flow {uid} that were to be fenced is left")
    if scope[0].role != pb.WRITER_ROLE_COPYING:
        return scope[0].fence_epoch if scope[0].HasField("fence_epoch") else scope[0].epoch, []
    epoch = _next_epoch(uid, writers, at_least)
    if topics is None:
        writers.join(left_out)
    for record in scope:
        record.role, record.fence_epoch = pb.WRITER_ROLE_FENCING, epoch
    _note_coordinator_epoch(writers.flow, at_least)
    return epoch, writers.changes()


def _at_epoch_of(flow: pb.WriterRecord) -> pb.WriterRecord:
    """Return the own record of a mirror whose partitions show the flow's epoch, or may go on from a lower one."""
    own = pb.WriterRecord(epoch=flow.epoch)
    if flow.HasField("continues_from"):
        own.continues_from = flow.continues_from
    return own


def moved_writers(records: Mapping[bytes, bytes], uid: str, at_least: int | None, lineage_epoch: int) -> list[Change]:
    """Return the change that gives a flow a higher epoch of its producer without a marker in any log.

    Each partition is fenced against what its old source's daemons may still send by the first batch under the new
    epoch. A marker would take an offset that the new source may have given to a record.

    Args:
        records: Records of the state topic.
        uid: The flow.
        at_least: See `fence.coordinator_epoch`.
        lineage_epoch: The flow's from now on.

    Raises:
        PreflightFailed: No higher epoch is left, or it does not copy.
    """
    writers = _Writers(records, uid, None)
    flow, apart = writers.flow, [one for one in writers.own.values() if one.role not in COPIES_WITH_THE_FLOW]
    if flow.role != pb.WRITER_ROLE_COPYING or apart:
        raise PreflightFailed(
            f"flow {uid} does not copy, or some of its mirrors do not",
            why="it was switched after it had been ordered to move",
            next_step="replicator switch status FLOW",
        )
    epoch = _next_epoch(uid, writers, at_least)
    known = [
        one.continues_from if one.HasField("continues_from") else one.epoch for one in (flow, *writers.own.values())
    ]
    _note_coordinator_epoch(flow, at_least)
    flow.epoch, flow.lineage_epoch, flow.continues_from = epoch, lineage_epoch, min(known)
    writers.own.clear()
    return writers.changes()


def _next_epoch(uid: str, writers: _Writers, at_least: int | None) -> int:
    """Return an epoch that no partition of the flow has seen.

    Raises:
        PreflightFailed: None is left.
    """
    highest = max(writers.flow.epoch, *(mine.epoch for mine in writers.own.values()), 0)
    epoch = max(highest + 1, at_least or 0)
    if epoch > EPOCH_MAX:
        raise PreflightFailed(
            f"flow {uid} has used up the epochs of its producer",
            next_step="give the flow another name: it starts afresh, with a new producer",
        )
    return epoch


def _note_coordinator_epoch(flow: pb.WriterRecord, at_least: int | None) -> None:
    """Note the data id's epoch at the transaction coordinator; markers in bulk, and batches, raise nothing there."""
    if at_least is not None:
        flow.coordinator_epoch = at_least
    elif not flow.HasField("coordinator_epoch"):
        flow.coordinator_epoch = flow.epoch


def promoted(
    records: Mapping[bytes, bytes],
    uid: str,
    epoch: int,
    topics: Collection[str] | None = None,
    left_out: Collection[str] = (),
) -> list[Change]:
    """Return the change that opens the target; none if it is open.

    Args:
        records: Records of the state topic.
        uid: The flow.
        epoch: The epoch of the fence.
        topics: Target topics of the mirrors that were fenced; None for the whole flow.
        left_out: Target topics that were not fenced with their flow.

    Raises:
        Conflict: Another fence is in place.
    """
    writers = _Writers(records, uid, topics)
    scope = writers.scope()
    if all(one.role == pb.WRITER_ROLE_PROMOTED and one.epoch == epoch for one in scope):
        return []
    for record in scope:
        if record.role != pb.WRITER_ROLE_FENCING or record.fence_epoch != epoch:
            raise Conflict(
                f"flow {uid} is not fenced at epoch {epoch}",
                why=f"its writer record says role {record.role}, epoch {record.epoch}",
                next_step="replicator flow status",
            )
        record.role, record.epoch = pb.WRITER_ROLE_PROMOTED, epoch
        record.ClearField("fence_epoch")
        record.ClearField("continues_from")  # every partition has the marker of the fence
    writers.keep_epochs(left_out)
    return writers.changes()


def copying(
    records: Mapping[bytes, bytes],
    uid: str,
    epoch: int,
    topics: Collection[str] = (),
    *,
    alone: bool,
    left_out: Collection[str] = (),
) -> list[Change]:
    """Return the change that lets a flow copy (again); none if it does.

    Args:
        records: Records of the state topic.
        uid: The flow.
        epoch: Every partition refuses lower epochs.
        topics: Target topics of the mirrors that copy with that epoch.
        alone: Whether only they copy, and the rest of the flow stays as it is.
        left_out: Target topics that were not fenced with their flow.
    """
    writers = _Writers(records, uid, topics if alone else None)
    for record in writers.scope():
        if record.role != pb.WRITER_ROLE_COPYING:
            record.role, record.epoch = pb.WRITER_ROLE_COPYING, max(record.epoch, epoch)
            record.ClearField("fence_epoch")
            record.ClearField("continues_from")
    writers.keep_epochs(left_out)
    # Mirrors that come back with the whole flow follow it; those that were switched away alone stay where they are.
    writers.follow(() if alone else topics)
    return writers.changes()
