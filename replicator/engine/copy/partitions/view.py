"""One partition, read-only: only `copy` changes a partition, others give orders (`copier`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from replicator.core.copy.reading.pieces import Fill
    from replicator.core.copy.track import Track
    from replicator.core.copy.values import Phase, TargetLimits
    from replicator.core.copy.writing.fill_pace import FillPace
    from replicator.core.verify.track import VerifyTrack
    from replicator.engine.copy.partitions.partition import OpenTransaction
    from replicator.engine.copy.partitions.recorded import Cleaning
    from replicator.engine.work.shards import Shard
    from replicator.model.names import TopicPartition
    from replicator.model.status.states import Reason


class ReadingView(Protocol):
    """How far a partition has read its source; see `core.copy.reading.position.Reading`."""

    @property
    def last_epoch(self) -> int:
        """Leader epoch of the last source batch accepted; -1 if unknown."""


class SendingView(Protocol):
    """What is queued for the target or in flight; see `core.copy.writing.sending.Sending`."""

    @property
    def outstanding(self) -> int:
        """Requests that were sent and not yet answered."""

    @property
    def waits_for_claim(self) -> bool:
        """Whether a batch is held back only because the claim is missing."""

    @property
    def head_fill(self) -> Fill | None:
        """The fill that is under way, or comes next."""

    def guard_is_on(self, now_ms: int) -> bool:
        """Return whether the target certainly remembers our last sequence now."""


class MachineView(Protocol):
    """The state of a partition's copy; see `core.copy.machine.PartitionCopy`."""

    @property
    def phase(self) -> Phase:
        """What it is doing."""

    @property
    def reason(self) -> Reason | None:
        """Why it is not copied."""

    @property
    def detail(self) -> str | None:
        """The same in words."""

    @property
    def episode(self) -> int:
        """How often it was attached; 0 if its logs have not been compared yet."""

    @property
    def acked_offset(self) -> int:
        """The source offset up to which the target is proven to hold everything."""

    @property
    def target_end(self) -> int:
        """The target's end, as proven by responses."""

    @property
    def doubtful(self) -> bool:
        """Whether a produce request may have taken effect without our knowledge."""

    @property
    def track(self) -> Track | None:
        """How source offsets map to the target; None while they are the source's own."""

    @property
    def limits(self) -> TargetLimits:
        """What the target accepts."""

    @property
    def reading(self) -> ReadingView:
        """How far the source was read."""

    @property
    def sending(self) -> SendingView:
        """What is queued for the target or in flight."""

    def is_copying(self) -> bool:
        """Return whether an episode is open."""

    def is_faulted(self) -> bool:
        """Return whether it is stopped with a named reason."""


class LagView(Protocol):
    """The lag of a partition; see `core.status.lag.LagMeter`."""

    @property
    def observed_end(self) -> int | None:
        """The source's end, as last seen."""

    @property
    def observed_at(self) -> float | None:
        """When that was (monotonic)."""

    def lag_records_at(self, now: float) -> int | None:
        """Return its lag in records; None while that is unknown."""

    def rpo_seconds(self, now: float) -> float | None:
        """Return the age of the last source end that the target holds completely; None while that is unknown."""


class RecordedView(Protocol):
    """What was recorded before the logs were read; see `partition.Recorded`."""

    @property
    def active(self) -> bool:
        """Whether it was copied before."""

    @property
    def cleaning(self) -> Cleaning:
        """What the source's cleaner may remove."""

    @property
    def seeded_to(self) -> int:
        """Offset below which the target may hold fillers."""

    @property
    def epochs_unproven(self) -> int:
        """Source offset below which leader epochs above the leader's are ignored."""


class AttachView(Protocol):
    """When a partition is attached next; see `partition.AttachState`."""

    @property
    def doubt_until(self) -> float:
        """Monotonic time before which unguarded work must not start."""


class MappingView(Protocol):
    """What is recorded about a partition's offsets; see `partition.RecordedMap`."""

    @property
    def compared_from(self) -> int:
        """Target offset from which `verify` compares."""

    @property
    def given_up(self) -> tuple[tuple[int, int], ...]:
        """Source offsets that an operator gave up, as (from, to), in order."""


class BlockingBatchView(Protocol):
    """The batch that a partition stopped at; see `partition.Refused`."""

    @property
    def too_large(self) -> tuple[int, int] | None:
        """Its source offsets, (from, to), if it is too large to be opened."""

    @property
    def request_bytes(self) -> int:
        """Its size, if no request with it fits the target broker; otherwise 0."""


class LogsView(Protocol):
    """The log starts of a partition; see `partition.LogsSeen`."""

    @property
    def source_start(self) -> int | None:
        """Log start on the source, as last seen."""

    @property
    def target_start(self) -> int | None:
        """Log start on the target, as last seen."""

    @property
    def open_since(self) -> float | None:
        """Monotonic time since which a transaction was seen to be open."""

    @property
    def held_up_by(self) -> OpenTransaction | None:
        """The transaction that holds up the source's last stable offset."""


class PartitionView(Protocol):
    """One partition, read-only; the class behind each view says what its attributes mean."""

    @property
    def source(self) -> TopicPartition:
        """The partition on the source."""

    @property
    def target(self) -> TopicPartition:
        """The partition on the target."""

    @property
    def shard(self) -> Shard:
        """The shard it belongs to."""

    @property
    def copy(self) -> MachineView:
        """The state of its copy."""

    @property
    def lag(self) -> LagView:
        """Its lag."""

    @property
    def recorded(self) -> RecordedView:
        """What was recorded before its logs were read."""

    @property
    def attach(self) -> AttachView:
        """When it is attached next."""

    @property
    def mapping(self) -> MappingView:
        """What is recorded about its offsets."""

    @property
    def blocking_batch(self) -> BlockingBatchView:
        """The batch it stopped at."""

    @property
    def seen(self) -> LogsView:
        """Its log starts, and what holds up the source's last stable offset."""

    @property
    def fill_pace(self) -> FillPace:
        """How fast its present fill proceeds."""

    @property
    def seed_eta_seconds(self) -> int | None:
        """How much longer its seed will take."""

    @property
    def verified(self) -> VerifyTrack | None:
        """How far its copy was verified; None if nothing verifies it."""
