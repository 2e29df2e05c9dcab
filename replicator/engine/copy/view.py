"""One partition for those who only look: nothing outside this room changes one (orders: `copier`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from replicator.core.copy.fill_pace import FillPace
    from replicator.core.copy.pieces import Fill
    from replicator.core.copy.track import Track
    from replicator.core.copy.values import Phase, TargetLimits
    from replicator.core.verify.track import VerifyTrack
    from replicator.engine.copy.partition import OpenTransaction
    from replicator.engine.copy.recorded import Cleaning
    from replicator.engine.work.shards import Shard
    from replicator.model.names import TopicPartition
    from replicator.model.states import Reason


class ReadingView(Protocol):
    """How far a partition has read its source; see `core.copy.reading.Reading`."""

    @property
    def last_epoch(self) -> int:
        """Leader epoch of the last source batch accepted, -1 when unknown."""


class SendingView(Protocol):
    """What is on its way to the target; see `core.copy.sending.Sending`."""

    @property
    def outstanding(self) -> int:
        """Requests sent and not answered."""

    @property
    def waits_for_claim(self) -> bool:
        """Whether only the lack of a claim keeps a batch back."""

    @property
    def head_fill(self) -> Fill | None:
        """The fill that is under way, or comes next."""

    def guard_is_on(self, now_ms: int) -> bool:
        """Return whether the target surely remembers our last sequence now."""


class MachineView(Protocol):
    """Where a partition stands; see `core.copy.machine.PartitionCopy`."""

    @property
    def phase(self) -> Phase:
        """What it does."""

    @property
    def reason(self) -> Reason | None:
        """Why it stands still."""

    @property
    def detail(self) -> str | None:
        """The same in words."""

    @property
    def episode(self) -> int:
        """How often it was attached; 0 where both logs were not compared yet."""

    @property
    def acked_offset(self) -> int:
        """The source offset up to which the target is proven to hold everything."""

    @property
    def target_end(self) -> int:
        """The target's end as proven by answers."""

    @property
    def doubtful(self) -> bool:
        """Whether a Produce may have taken effect without our knowing."""

    @property
    def track(self) -> Track | None:
        """Where source offsets stand on the target; None while they are the source's own."""

    @property
    def limits(self) -> TargetLimits:
        """What the target accepts."""

    @property
    def reading(self) -> ReadingView:
        """How far the source was read."""

    @property
    def sending(self) -> SendingView:
        """What is on its way to the target."""

    def is_copying(self) -> bool:
        """Return whether an episode is open."""

    def is_faulted(self) -> bool:
        """Return whether it stands still with a named reason."""


class LagView(Protocol):
    """How far a partition is behind; see `core.status.lag.LagMeter`."""

    @property
    def observed_end(self) -> int | None:
        """Where the source was last seen to end."""

    @property
    def observed_at(self) -> float | None:
        """When that was (monotonic)."""

    def lag_records_at(self, now: float) -> int | None:
        """Return how many records it is behind, None while that is unknown."""

    def rpo_seconds(self, now: float) -> float | None:
        """Return how old what is missing is, None while that is unknown."""


class RecordedView(Protocol):
    """What was known before the logs were read; see `partition.Recorded`."""

    @property
    def active(self) -> bool:
        """Whether it was copied before."""

    @property
    def cleaning(self) -> Cleaning:
        """What the source's cleaner may take."""

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
        """Monotonic time before which unguarded work must not begin."""


class MappingView(Protocol):
    """What is recorded of a partition's offsets; see `partition.RecordedMap`."""

    @property
    def compared_from(self) -> int:
        """Offset on the target from which `verify` compares."""

    @property
    def given_up(self) -> tuple[tuple[int, int], ...]:
        """Source offsets that an operator gave up, from and to, in order."""


class RefusedView(Protocol):
    """The batch that a partition stopped at; see `partition.Refused`."""

    @property
    def too_large(self) -> tuple[int, int] | None:
        """Its source offsets, where it is too large to be opened."""

    @property
    def request_bytes(self) -> int:
        """Its size, where the target's broker takes it in no request; 0 for none."""


class LogsView(Protocol):
    """Where a partition's logs begin; see `partition.LogsSeen`."""

    @property
    def source_start(self) -> int | None:
        """Where the source's log was last seen to begin."""

    @property
    def target_start(self) -> int | None:
        """Where the target's log was last seen to begin."""

    @property
    def open_since(self) -> float | None:
        """Monotonic time since which a transaction was seen to be open."""

    @property
    def held_up_by(self) -> OpenTransaction | None:
        """The transaction that holds up the source."""


class PartitionView(Protocol):
    """One partition, for those who only look; what each part means is told with the class that it is a view of."""

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
        """Where it stands."""

    @property
    def lag(self) -> LagView:
        """How far it is behind."""

    @property
    def recorded(self) -> RecordedView:
        """What was known before its logs were read."""

    @property
    def attach(self) -> AttachView:
        """When it is attached next."""

    @property
    def mapping(self) -> MappingView:
        """What is recorded of its offsets."""

    @property
    def refused(self) -> RefusedView:
        """The batch it stopped at."""

    @property
    def seen(self) -> LogsView:
        """Where its logs begin."""

    @property
    def fill_pace(self) -> FillPace:
        """How fast its present fill goes."""

    @property
    def seed_eta_seconds(self) -> int | None:
        """How much longer its seed takes."""

    @property
    def verified(self) -> VerifyTrack | None:
        """How far its copy was verified; None where nobody looks."""
