"""Immutable snapshots of what the daemon knows, and their JSON shape (CONTRACTS section 2).

One snapshot is taken per reader; metrics, HTTP, gRPC and the command line all read the same values.
``None`` means *unknown* and is never replaced by 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from replicator.model.status.states import FlowState, MirrorState, PartitionPhase, Reason

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition of a mirror. Every offset is the *next* record to read or write.

    It has an attribute for each field of the message of the same name; they are also the keys of its JSON.

    `open_transaction_seconds` says for how long an open transaction of the source has been holding up the records
    after it, None if none does. If the flow verifies continuously, every record below `verified_through` was compared,
    `verify_differences` of them differed, and `verified_age_seconds` ago everything that was on the target then had
    been compared (None before the first time).
    `phase` is what the daemon that works on the partition is doing about it; None from a daemon that does not.
    `source_end` is the end seen `source_seen_age_seconds` ago; `lag_records` is None if that is too long ago to say
    that nothing is behind. `rpo_seconds` is as in `FlowStatus`, for this partition alone.
    """

    partition: int
    state: MirrorState
    reason: Reason | None = None
    detail: str | None = None
    source_start: int | None = None
    source_end: int | None = None
    target_start: int | None = None
    target_end: int | None = None
    lag_records: int | None = None
    offsets: str | None = None
    guard: str | None = None
    holder: str | None = None
    open_transaction_seconds: float | None = None
    verified_through: int | None = None
    verified_age_seconds: float | None = None
    verify_differences: int | None = None
    phase: PartitionPhase | None = None
    rpo_seconds: float | None = None
    source_seen_age_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """One topic of a flow."""

    topic: str
    target_topic: str
    state: MirrorState
    reason: Reason | None = None
    detail: str | None = None
    seed_eta_seconds: int | None = None
    partitions: tuple[PartitionStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """One shard of a flow, as the answering daemon sees it.

    `holder` works on it as far as is known; `epoch` is that of the answering daemon's own lease, None if it has none.
    """

    shard: int
    holder: str | None
    held: bool
    epoch: int | None


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """A broker that a flow needs now: it leads partitions of the flow, or was their last leader.

    `up` says whether it answers, None while that is unknown.
    """

    broker: int
    up: bool | None


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """One cluster of a flow, as the answering daemon sees it.

    `up` says whether any broker answers, None while that is unknown or was not checked; `answered_age_seconds` is the
    age of the last answer of any of them. `trouble` says which brokers in use do not answer and why, and which
    partitions have no leader. `brokers` are those in use.
    """

    cluster: str
    up: bool | None
    answered_age_seconds: float | None = None
    trouble: str | None = None
    brokers: tuple[BrokerStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class FlowTotals:
    """Counters since the daemon started; they never decrease.

    `last_progress_ms` is the wall-clock time (Unix, milliseconds) of the last accepted append, None before the first.
    """

    records_total: int = 0
    bytes_total: int = 0
    batches_total: int = 0
    appends_accepted_total: int = 0
    appends_duplicate_total: int = 0
    appends_refused_total: int = 0
    appends_fenced_total: int = 0
    appends_unknown_total: int = 0
    reattach_total: int = 0
    last_progress_ms: int | None = None
    filled_offsets_total: int = 0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A topic of the source that a pattern of the flow matches; `why` says why it is not copied."""

    topic: str
    why: str


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """One flow, with all its mirrors: an attribute for each field of the message of the same name, as in its JSON.

    `rpo_seconds` is now less the latest time whose source end, as observed at that time, has been reached on the
    target; it grows while the source is unseen. `remote` is True if another daemon runs the flow: then its state is
    unknown as well. `totals` is None unless all daemons that copy it have reported theirs.
    `coordinator_answers` is None before the first call. `left_out` has the first of `left_out_total` topics (None
    before the first look). `origins_unknown`, if set, says why it is not known which topics are copies.
    """

    flow: str
    flow_uid: str | None
    source: str
    target: str
    state: FlowState
    reason: str | None = None
    epoch: int | None = None
    lag_records: int | None = None
    rpo_seconds: float | None = None
    source_seen_age_seconds: float | None = None
    remote: bool = False
    coordinator_answers: bool | None = None
    shards: tuple[ShardStatus, ...] = ()
    clusters: tuple[ClusterStatus, ...] = ()
    totals: FlowTotals | None = None
    mirrors: tuple[MirrorStatus, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    left_out_total: int | None = None
    origins_unknown: str | None = None


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """Everything one daemon shows."""

    instance: str
    version: str
    started_at: str
    ready: bool
    not_ready_because: str | None
    config_reload_ok: bool
    flows: tuple[FlowStatus, ...] = ()


def to_json(status: DaemonStatus) -> dict[str, Any]:
    """Return the JSON object of `flow status -o json`: snake_case, integers for offsets, null for unknown."""
    return {"schema_version": SCHEMA_VERSION, **asdict(status)}
