"""What was written for groups, on `replicator.state`, so that another daemon can take over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.aio.turns import Turns
from replicator.core.groups.sync import WrittenCommit
from replicator.engine.state import records as state
from replicator.engine.state.topic.damage import damaged_record, read_record
from replicator.errors import DamagedRecord
from replicator.model.names import TopicPartition
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from replicator.engine.state.topic.log import Change, StateLog

_NONE = -1

log = get_logger(__name__)


class GroupRecords:
    """The records of one flow's groups, parsed as they arrive.

    Args:
        uid: The flow's id.
        state_log: Where the records are.
        follows: Whether to take later records, too.

    Attributes:
        damaged: Groups whose record cannot be read: what was written for them is unknown, so nothing may be written.
    """

    def __init__(self, uid: str, state_log: StateLog, *, follows: bool = True) -> None:
        self._uid = uid
        self._log = state_log
        self._known: dict[str, dict[TopicPartition, WrittenCommit]] = {}
        self.damaged: dict[str, DamagedRecord] = {}
        for key in list(state_log.records):
            self._on_record(key)
        if follows:
            state_log.listen(self._on_record)

    @property
    def groups(self) -> Mapping[str, Mapping[TopicPartition, WrittenCommit]]:
        """What was written for each group, by partitions of the target."""
        return self._known

    def _on_record(self, key: bytes) -> None:
        group = state.group_of(key, self._uid)
        if group is None:
            return
        raw = self._log.records.get(key)
        self._known.pop(group, None)
        self.damaged.pop(group, None)
        if raw is None:
            return
        try:
            self._known[group] = unpacked(key, raw)
        except DamagedRecord as error:
            self.damaged[group] = error
            log.warning("group stands still", group=group, why=str(error), next=error.next_step)

    async def write(self, groups: Mapping[str, Mapping[TopicPartition, WrittenCommit]]) -> None:
        """Record groups that changed; one without partitions is forgotten.

        Raises:
            KafkaError: It could not be recorded.
        """
        changes: list[Change] = []
        turns = Turns()
        for group, ours in groups.items():
            if ours == self._known.get(group, {}) or group in self.damaged:
                continue
            key = state.group_key(self._uid, group)
            changes.append(state.put(key, _packed(ours)) if ours else (key, None))
            await turns.give()
        if changes:
            await self._log.append(changes)
        # An older record of ours that is only read now must not replace what was just written.
        await self._log.read_to_end()

    async def read_to_end(self) -> None:
        """Read what other daemons have recorded so far.

        Raises:
            KafkaError: The state topic cannot be read.
        """
        await self._log.read_to_end()

    async def forget(self, target_topics: Collection[str]) -> None:
        """Forget what was written for these topics: their commits on the target are no longer ours.

        Raises:
            KafkaError: It could not be recorded.
        """
        await self.write(
            {
                group: {where: one for where, one in ours.items() if where.topic not in target_topics}
                for group, ours in list(self._known.items())
            }
        )


def _packed(ours: Mapping[TopicPartition, WrittenCommit]) -> pb.GroupRecord:
    record = pb.GroupRecord()
    topic: pb.GroupRecord.Topic | None = None
    for where, one in sorted(ours.items()):
        if topic is None or topic.topic != where.topic:
            topic = record.topics.add(topic=where.topic)
        topic.partitions.append(where.partition)
        topic.offsets.append(one.offset)
        topic.befores.append(_NONE if one.before is None else one.before)
        topic.written_ms.append(one.written_ms)
    return record


def unpacked(key: bytes, raw: bytes) -> dict[TopicPartition, WrittenCommit]:
    """Return what was written for a group, from its record.

    Raises:
        DamagedRecord: It cannot be read.
    """
    record = read_record(pb.GroupRecord, key, raw)
    try:
        return {
            TopicPartition(topic.topic, partition): WrittenCommit(
                offset, None if before == _NONE else before, written_ms
            )
            for topic in record.topics
            for partition, offset, before, written_ms in zip(
                topic.partitions, topic.offsets, topic.befores, topic.written_ms, strict=True
            )
        }
    except ValueError as error:
        raise damaged_record(key, str(error)) from error
