"""A mirror as a daemon knows it, and as it is recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.topics.choice import Origin
from replicator.core.topics.plan import MirrorFault, creation_advice
from replicator.engine.state import records as state
from replicator.errors import AuthorizationFailed, BrokerRefused
from replicator.model.status.states import Reason
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from replicator.errors import KafkaError

MAX_BYTES_DEFAULT = 1_048_588
"""What a topic is assumed to accept while its limit is unknown (Kafka's default for max.message.bytes)."""


@dataclass(slots=True)
class Mirror:
    """One topic of the flow, as the last pass left it.

    Most attributes are fields of `MirrorRecord`; `take` and `as_record` convert them.

    Attributes:
        topic: The topic on the source.
        target_topic: The topic on the target.
        source_id: The id of the source topic that is meant.
        target_id: The id of the target topic that is meant.
        partitions: How many are copied.
        batch_bytes_max: The largest batch that the target accepts.
        begin_at_end: Whether copying starts at the source's end.
        begin_at_end_partitions: For how many partitions it does: those added later start at their first record.
        came_through: The chain of topics that its source topic was itself copied from, the nearest first.
        compacted: Whether the source's cleaner may remove records from inside its logs, as far as is known.
        surely_compacted: Whether it certainly may.
        only_compacted: Whether nothing else removes records.
        delete_retention_ms: How long the source keeps tombstones; None if unknown.
        tombstones_ok_ms: Per partition, the time up to which lost tombstones were accepted.
        epochs_unproven: Per partition, the source offset below which leader epochs above the leader's are ignored.
        active: Partitions that are ACTIVE in the record.
        epochs: Stored source leader epochs.
        generation: The record's generation; whoever raises it makes every daemon start the mirror over.
        names_policy: Whether its record names the cleanup policy when that is held back.
        seeded: Per partition, the offset below which the target may hold fillers.
        lineage: The flow's lineage epoch: what was recorded about the source under a lower one is not taken.
        recorded: Whether its record says that the target topic is ours; nothing is copied before it does.
        fault: Why the whole mirror is stopped.
        notes: Remarks for the operator.
        managed: Settings of the target topic that we set, with their values.
        held_back: Settings that it gets only once it is opened, with their values.
    """

    topic: str
    target_topic: str
    source_id: bytes = bytes(16)
    target_id: bytes = bytes(16)
    partitions: int = 0
    batch_bytes_max: int = MAX_BYTES_DEFAULT
    begin_at_end: bool = False
    begin_at_end_partitions: int = 0
    came_through: tuple[Origin, ...] = ()
    compacted: bool = False
    surely_compacted: bool = False
    only_compacted: bool = False
    delete_retention_ms: int | None = None
    tombstones_ok_ms: dict[int, int] = field(default_factory=dict)
    epochs_unproven: dict[int, int] = field(default_factory=dict)
    generation: int = 0
    active: set[int] = field(default_factory=set)
    epochs: dict[int, int] = field(default_factory=dict)
    seeded: dict[int, int] = field(default_factory=dict)
    lineage: int = 0
    recorded: bool = False
    fault: MirrorFault | None = None
    notes: tuple[str, ...] = ()
    managed: dict[str, str] = field(default_factory=dict)
    held_back: dict[str, str] = field(default_factory=dict)
    names_policy: bool = False

    @property
    def is_refused(self) -> bool:
        """Whether the target refuses a topic of that name or kind, so that none of it was ever copied."""
        never_begun = not self.partitions and not any(self.target_id)
        return never_begun and self.fault is not None and self.fault.reason is Reason.TARGET_REFUSED

    def take(self, record: pb.MirrorRecord) -> None:
        """Take everything from the record; about the source only what was recorded since the flow has this one."""
        self.generation = record.generation
        same = record.lineage_epoch == self.lineage
        self.source_id = (record.source_topic_id if same else b"") or bytes(16)
        self.target_id = record.target_topic_id or bytes(16)
        self.begin_at_end = record.begin_at_end
        # Versions that did not record the number recorded the partitions of that moment.
        self.begin_at_end_partitions = record.begin_at_end_partitions or record.source_partitions
        self.came_through = tuple(Origin(one.cluster_id, one.topic) for one in record.came_through)
        self.active = set(record.active_partitions)
        self.epochs = {epoch.partition: epoch.epoch for epoch in record.leader_epochs} if same else {}
        self.managed = dict(record.managed)
        self.held_back = dict(record.held_back)
        self.names_policy = record.tells_policy
        self.seeded = dict(record.seeded)
        self.tombstones_ok_ms = dict(record.tombstones_ok_ms)
        self.epochs_unproven = dict(record.epochs_unproven) if same else {}

    def learn(self, record: pb.MirrorRecord) -> None:
        """Take what other daemons recorded for their partitions; within a generation, all of it only grows."""
        self.active |= set(record.active_partitions)
        for epoch in record.leader_epochs if record.lineage_epoch == self.lineage else ():
            self.epochs[epoch.partition] = max(epoch.epoch, self.epochs.get(epoch.partition, -1))
        for partition, offset in record.seeded.items():
            self.seeded[partition] = max(offset, self.seeded.get(partition, 0))

    def _phase(self) -> pb.MirrorPhase:
        if not self.partitions:
            return pb.MIRROR_PHASE_PENDING  # no pass has seen its topics yet
        return pb.MIRROR_PHASE_ACTIVE if len(self.active) >= self.partitions else pb.MIRROR_PHASE_SEEDING

    def as_record(self, owner: tuple[str, str], stored: pb.MirrorRecord | None) -> pb.MirrorRecord:
        """Return the record to write, based on the stored one.

        Args:
            owner: Uid and name of the flow.
            stored: The stored record; None if there is none.
        """
        record = pb.MirrorRecord()
        if stored is not None:
            record.CopyFrom(stored)  # keeps fields of newer versions
        record.owner_flow_uid, record.owner_flow_name = owner
        record.source_topic = self.topic
        record.target_topic = self.target_topic
        state.take_lineage(record, self.lineage)
        record.source_topic_id = self.source_id
        record.target_topic_id = self.target_id
        record.mode = "identical"
        record.begin_at_end = self.begin_at_end
        record.begin_at_end_partitions = self.begin_at_end_partitions if self.begin_at_end else 0
        del record.came_through[:]
        record.came_through.extend(pb.Origin(cluster_id=one.cluster_id, topic=one.topic) for one in self.came_through)
        record.source_partitions = self.partitions
        self.learn(record)
        del record.active_partitions[:]
        record.active_partitions.extend(sorted(self.active))
        record.phase = self._phase()
        del record.leader_epochs[:]
        record.leader_epochs.extend(
            pb.LeaderEpoch(partition=partition, epoch=epoch) for partition, epoch in sorted(self.epochs.items())
        )
        record.seeded.clear()
        record.seeded.update(self.seeded)
        record.managed.clear()
        record.managed.update(self.managed)
        record.held_back.clear()
        record.held_back.update(self.held_back)
        record.tells_policy = self.names_policy
        return record


def fault_of(error: KafkaError) -> MirrorFault:
    """Return the fault of a mirror, including what helps: status keeps nothing of the error but this text."""
    reason = Reason.WAITING_FOR_ACCESS if isinstance(error, AuthorizationFailed) else Reason.TARGET_REFUSED
    step = error.next_step or (creation_advice(error.code) if isinstance(error, BrokerRefused) else "")
    return MirrorFault(reason, f"{error}; next: {step}" if step else str(error))
