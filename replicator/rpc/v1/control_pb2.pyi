from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Desired(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DESIRED_UNSPECIFIED: _ClassVar[Desired]
    DESIRED_ACTIVE: _ClassVar[Desired]
    DESIRED_PAUSED: _ClassVar[Desired]
DESIRED_UNSPECIFIED: Desired
DESIRED_ACTIVE: Desired
DESIRED_PAUSED: Desired

class PartitionStatus(_message.Message):
    __slots__ = ("partition", "state", "reason", "detail", "source_start", "source_end", "target_start", "target_end", "lag_records", "offsets", "guard", "holder", "open_transaction_seconds", "verified_through", "verified_age_seconds", "verify_differences", "phase", "rpo_seconds", "source_seen_age_seconds")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_START_FIELD_NUMBER: _ClassVar[int]
    SOURCE_END_FIELD_NUMBER: _ClassVar[int]
    TARGET_START_FIELD_NUMBER: _ClassVar[int]
    TARGET_END_FIELD_NUMBER: _ClassVar[int]
    LAG_RECORDS_FIELD_NUMBER: _ClassVar[int]
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    GUARD_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    OPEN_TRANSACTION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_THROUGH_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    VERIFY_DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    RPO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_SEEN_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    partition: int
    state: str
    reason: str
    detail: str
    source_start: int
    source_end: int
    target_start: int
    target_end: int
    lag_records: int
    offsets: str
    guard: str
    holder: str
    open_transaction_seconds: float
    verified_through: int
    verified_age_seconds: float
    verify_differences: int
    phase: str
    rpo_seconds: float
    source_seen_age_seconds: float
    def __init__(self, partition: _Optional[int] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., source_start: _Optional[int] = ..., source_end: _Optional[int] = ..., target_start: _Optional[int] = ..., target_end: _Optional[int] = ..., lag_records: _Optional[int] = ..., offsets: _Optional[str] = ..., guard: _Optional[str] = ..., holder: _Optional[str] = ..., open_transaction_seconds: _Optional[float] = ..., verified_through: _Optional[int] = ..., verified_age_seconds: _Optional[float] = ..., verify_differences: _Optional[int] = ..., phase: _Optional[str] = ..., rpo_seconds: _Optional[float] = ..., source_seen_age_seconds: _Optional[float] = ...) -> None: ...

class MirrorStatus(_message.Message):
    __slots__ = ("topic", "target_topic", "state", "reason", "detail", "seed_eta_seconds", "partitions")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    TARGET_TOPIC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    SEED_ETA_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    topic: str
    target_topic: str
    state: str
    reason: str
    detail: str
    seed_eta_seconds: int
    partitions: _containers.RepeatedCompositeFieldContainer[PartitionStatus]
    def __init__(self, topic: _Optional[str] = ..., target_topic: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., seed_eta_seconds: _Optional[int] = ..., partitions: _Optional[_Iterable[_Union[PartitionStatus, _Mapping]]] = ...) -> None: ...

class ShardStatus(_message.Message):
    __slots__ = ("shard", "holder", "held", "epoch")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    shard: int
    holder: str
    held: bool
    epoch: int
    def __init__(self, shard: _Optional[int] = ..., holder: _Optional[str] = ..., held: _Optional[bool] = ..., epoch: _Optional[int] = ...) -> None: ...

class BrokerStatus(_message.Message):
    __slots__ = ("broker", "up")
    BROKER_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    broker: int
    up: bool
    def __init__(self, broker: _Optional[int] = ..., up: _Optional[bool] = ...) -> None: ...

class ClusterStatus(_message.Message):
    __slots__ = ("cluster", "up", "answered_age_seconds", "trouble", "brokers")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    BROKERS_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    up: bool
    answered_age_seconds: float
    trouble: str
    brokers: _containers.RepeatedCompositeFieldContainer[BrokerStatus]
    def __init__(self, cluster: _Optional[str] = ..., up: _Optional[bool] = ..., answered_age_seconds: _Optional[float] = ..., trouble: _Optional[str] = ..., brokers: _Optional[_Iterable[_Union[BrokerStatus, _Mapping]]] = ...) -> None: ...

class FlowTotals(_message.Message):
    __slots__ = ("records_total", "bytes_total", "batches_total", "appends_accepted_total", "appends_duplicate_total", "appends_refused_total", "appends_fenced_total", "appends_unknown_total", "reattach_total", "last_progress_ms", "filled_offsets_total")
    RECORDS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BATCHES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    APPENDS_ACCEPTED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    APPENDS_DUPLICATE_TOTAL_FIELD_NUMBER: _ClassVar[int]
    APPENDS_REFUSED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    APPENDS_FENCED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    APPENDS_UNKNOWN_TOTAL_FIELD_NUMBER: _ClassVar[int]
    REATTACH_TOTAL_FIELD_NUMBER: _ClassVar[int]
    LAST_PROGRESS_MS_FIELD_NUMBER: _ClassVar[int]
    FILLED_OFFSETS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    records_total: int
    bytes_total: int
    batches_total: int
    appends_accepted_total: int
    appends_duplicate_total: int
    appends_refused_total: int
    appends_fenced_total: int
    appends_unknown_total: int
    reattach_total: int
    last_progress_ms: int
    filled_offsets_total: int
    def __init__(self, records_total: _Optional[int] = ..., bytes_total: _Optional[int] = ..., batches_total: _Optional[int] = ..., appends_accepted_total: _Optional[int] = ..., appends_duplicate_total: _Optional[int] = ..., appends_refused_total: _Optional[int] = ..., appends_fenced_total: _Optional[int] = ..., appends_unknown_total: _Optional[int] = ..., reattach_total: _Optional[int] = ..., last_progress_ms: _Optional[int] = ..., filled_offsets_total: _Optional[int] = ...) -> None: ...

class FlowStatus(_message.Message):
    __slots__ = ("flow", "flow_uid", "source", "target", "state", "reason", "epoch", "lag_records", "rpo_seconds", "source_seen_age_seconds", "remote", "totals", "mirrors", "coordinator_answers", "shards", "clusters", "left_out", "left_out_total", "origins_unknown")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    FLOW_UID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAG_RECORDS_FIELD_NUMBER: _ClassVar[int]
    RPO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_SEEN_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REMOTE_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    MIRRORS_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ORIGINS_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    flow: str
    flow_uid: str
    source: str
    target: str
    state: str
    reason: str
    epoch: int
    lag_records: int
    rpo_seconds: float
    source_seen_age_seconds: float
    remote: bool
    totals: FlowTotals
    mirrors: _containers.RepeatedCompositeFieldContainer[MirrorStatus]
    coordinator_answers: bool
    shards: _containers.RepeatedCompositeFieldContainer[ShardStatus]
    clusters: _containers.RepeatedCompositeFieldContainer[ClusterStatus]
    left_out: _containers.RepeatedCompositeFieldContainer[LeftOut]
    left_out_total: int
    origins_unknown: str
    def __init__(self, flow: _Optional[str] = ..., flow_uid: _Optional[str] = ..., source: _Optional[str] = ..., target: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., epoch: _Optional[int] = ..., lag_records: _Optional[int] = ..., rpo_seconds: _Optional[float] = ..., source_seen_age_seconds: _Optional[float] = ..., remote: _Optional[bool] = ..., totals: _Optional[_Union[FlowTotals, _Mapping]] = ..., mirrors: _Optional[_Iterable[_Union[MirrorStatus, _Mapping]]] = ..., coordinator_answers: _Optional[bool] = ..., shards: _Optional[_Iterable[_Union[ShardStatus, _Mapping]]] = ..., clusters: _Optional[_Iterable[_Union[ClusterStatus, _Mapping]]] = ..., left_out: _Optional[_Iterable[_Union[LeftOut, _Mapping]]] = ..., left_out_total: _Optional[int] = ..., origins_unknown: _Optional[str] = ...) -> None: ...

class DaemonStatus(_message.Message):
    __slots__ = ("instance", "version", "started_at", "ready", "not_ready_because", "config_reload_ok", "flows")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    NOT_READY_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    CONFIG_RELOAD_OK_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    instance: str
    version: str
    started_at: str
    ready: bool
    not_ready_because: str
    config_reload_ok: bool
    flows: _containers.RepeatedCompositeFieldContainer[FlowStatus]
    def __init__(self, instance: _Optional[str] = ..., version: _Optional[str] = ..., started_at: _Optional[str] = ..., ready: _Optional[bool] = ..., not_ready_because: _Optional[str] = ..., config_reload_ok: _Optional[bool] = ..., flows: _Optional[_Iterable[_Union[FlowStatus, _Mapping]]] = ...) -> None: ...

class ListFlowsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListFlowsResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: DaemonStatus
    def __init__(self, status: _Optional[_Union[DaemonStatus, _Mapping]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ("flow", "alone", "flow_uid")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    ALONE_FIELD_NUMBER: _ClassVar[int]
    FLOW_UID_FIELD_NUMBER: _ClassVar[int]
    flow: str
    alone: bool
    flow_uid: str
    def __init__(self, flow: _Optional[str] = ..., alone: _Optional[bool] = ..., flow_uid: _Optional[str] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: DaemonStatus
    def __init__(self, status: _Optional[_Union[DaemonStatus, _Mapping]] = ...) -> None: ...

class WatchStatusRequest(_message.Message):
    __slots__ = ("flow", "interval_seconds")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    flow: str
    interval_seconds: float
    def __init__(self, flow: _Optional[str] = ..., interval_seconds: _Optional[float] = ...) -> None: ...

class WatchStatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: DaemonStatus
    def __init__(self, status: _Optional[_Union[DaemonStatus, _Mapping]] = ...) -> None: ...

class SetDesiredRequest(_message.Message):
    __slots__ = ("flow", "desired", "actor", "reason", "expected_epoch", "request_id")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    flow: str
    desired: Desired
    actor: str
    reason: str
    expected_epoch: int
    request_id: str
    def __init__(self, flow: _Optional[str] = ..., desired: _Optional[_Union[Desired, str]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., expected_epoch: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class SetDesiredResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    def __init__(self, changed: _Optional[bool] = ...) -> None: ...

class EventsRequest(_message.Message):
    __slots__ = ("flow", "topic", "limit")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    flow: str
    topic: str
    limit: int
    def __init__(self, flow: _Optional[str] = ..., topic: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("at", "flow", "topic", "partition", "before", "after", "reason", "text")
    AT_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    at: str
    flow: str
    topic: str
    partition: int
    before: str
    after: str
    reason: str
    text: str
    def __init__(self, at: _Optional[str] = ..., flow: _Optional[str] = ..., topic: _Optional[str] = ..., partition: _Optional[int] = ..., before: _Optional[str] = ..., after: _Optional[str] = ..., reason: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class EventsResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class OffsetQuestion(_message.Message):
    __slots__ = ("topic", "partition", "offset")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    offset: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class TranslateOffsetsRequest(_message.Message):
    __slots__ = ("flow", "reverse", "questions", "group", "alone", "flow_uid")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ALONE_FIELD_NUMBER: _ClassVar[int]
    FLOW_UID_FIELD_NUMBER: _ClassVar[int]
    flow: str
    reverse: bool
    questions: _containers.RepeatedCompositeFieldContainer[OffsetQuestion]
    group: str
    alone: bool
    flow_uid: str
    def __init__(self, flow: _Optional[str] = ..., reverse: _Optional[bool] = ..., questions: _Optional[_Iterable[_Union[OffsetQuestion, _Mapping]]] = ..., group: _Optional[str] = ..., alone: _Optional[bool] = ..., flow_uid: _Optional[str] = ...) -> None: ...

class TranslateTimeRequest(_message.Message):
    __slots__ = ("flow", "topic", "time_ms", "partition")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    flow: str
    topic: str
    time_ms: int
    partition: int
    def __init__(self, flow: _Optional[str] = ..., topic: _Optional[str] = ..., time_ms: _Optional[int] = ..., partition: _Optional[int] = ...) -> None: ...

class Translation(_message.Message):
    __slots__ = ("topic", "target_topic", "partition", "source_offset", "target_offset", "state", "behind_records", "detail")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    TARGET_TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    TARGET_OFFSET_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    BEHIND_RECORDS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    topic: str
    target_topic: str
    partition: int
    source_offset: int
    target_offset: int
    state: str
    behind_records: int
    detail: str
    def __init__(self, topic: _Optional[str] = ..., target_topic: _Optional[str] = ..., partition: _Optional[int] = ..., source_offset: _Optional[int] = ..., target_offset: _Optional[int] = ..., state: _Optional[str] = ..., behind_records: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class TranslateOffsetsResponse(_message.Message):
    __slots__ = ("translations",)
    TRANSLATIONS_FIELD_NUMBER: _ClassVar[int]
    translations: _containers.RepeatedCompositeFieldContainer[Translation]
    def __init__(self, translations: _Optional[_Iterable[_Union[Translation, _Mapping]]] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ("kind", "what", "why", "next_step", "exit_code", "problems", "reason", "cluster", "retryable", "code", "api", "address")
    KIND_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    NEXT_STEP_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    what: str
    why: str
    next_step: str
    exit_code: int
    problems: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    cluster: str
    retryable: bool
    code: int
    api: str
    address: str
    def __init__(self, kind: _Optional[str] = ..., what: _Optional[str] = ..., why: _Optional[str] = ..., next_step: _Optional[str] = ..., exit_code: _Optional[int] = ..., problems: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ..., cluster: _Optional[str] = ..., retryable: _Optional[bool] = ..., code: _Optional[int] = ..., api: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class AuditRequest(_message.Message):
    __slots__ = ("flow", "limit")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    flow: str
    limit: int
    def __init__(self, flow: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class AuditEntry(_message.Message):
    __slots__ = ("seq", "at", "phase", "call", "actor", "actor_known_by", "peer", "method", "flow", "topic", "reason", "before", "after", "outcome", "error", "previous")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ACTOR_KNOWN_BY_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    at: str
    phase: str
    call: int
    actor: str
    actor_known_by: str
    peer: str
    method: str
    flow: str
    topic: str
    reason: str
    before: str
    after: str
    outcome: str
    error: str
    previous: str
    def __init__(self, seq: _Optional[int] = ..., at: _Optional[str] = ..., phase: _Optional[str] = ..., call: _Optional[int] = ..., actor: _Optional[str] = ..., actor_known_by: _Optional[str] = ..., peer: _Optional[str] = ..., method: _Optional[str] = ..., flow: _Optional[str] = ..., topic: _Optional[str] = ..., reason: _Optional[str] = ..., before: _Optional[str] = ..., after: _Optional[str] = ..., outcome: _Optional[str] = ..., error: _Optional[str] = ..., previous: _Optional[str] = ...) -> None: ...

class AuditResponse(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[AuditEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[AuditEntry, _Mapping]]] = ...) -> None: ...

class RehearseRequest(_message.Message):
    __slots__ = ("flow",)
    FLOW_FIELD_NUMBER: _ClassVar[int]
    flow: str
    def __init__(self, flow: _Optional[str] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("level", "name", "text", "fix")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FIX_FIELD_NUMBER: _ClassVar[int]
    level: str
    name: str
    text: str
    fix: str
    def __init__(self, level: _Optional[str] = ..., name: _Optional[str] = ..., text: _Optional[str] = ..., fix: _Optional[str] = ...) -> None: ...

class ReportSection(_message.Message):
    __slots__ = ("title", "checks")
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    title: str
    checks: _containers.RepeatedCompositeFieldContainer[Check]
    def __init__(self, title: _Optional[str] = ..., checks: _Optional[_Iterable[_Union[Check, _Mapping]]] = ...) -> None: ...

class RehearseResponse(_message.Message):
    __slots__ = ("sections",)
    SECTIONS_FIELD_NUMBER: _ClassVar[int]
    sections: _containers.RepeatedCompositeFieldContainer[ReportSection]
    def __init__(self, sections: _Optional[_Iterable[_Union[ReportSection, _Mapping]]] = ...) -> None: ...

class ResolveMirrorRequest(_message.Message):
    __slots__ = ("flow", "topic", "how", "partitions", "dry_run", "digest", "actor", "reason", "expected_epoch", "alone", "flow_uid")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    HOW_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    ALONE_FIELD_NUMBER: _ClassVar[int]
    FLOW_UID_FIELD_NUMBER: _ClassVar[int]
    flow: str
    topic: str
    how: str
    partitions: _containers.RepeatedScalarFieldContainer[int]
    dry_run: bool
    digest: str
    actor: str
    reason: str
    expected_epoch: int
    alone: bool
    flow_uid: str
    def __init__(self, flow: _Optional[str] = ..., topic: _Optional[str] = ..., how: _Optional[str] = ..., partitions: _Optional[_Iterable[int]] = ..., dry_run: _Optional[bool] = ..., digest: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., expected_epoch: _Optional[int] = ..., alone: _Optional[bool] = ..., flow_uid: _Optional[str] = ...) -> None: ...

class Loss(_message.Message):
    __slots__ = ("partition", "first", "end", "text")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    partition: int
    first: int
    end: int
    text: str
    def __init__(self, partition: _Optional[int] = ..., first: _Optional[int] = ..., end: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class ResolveMirrorResponse(_message.Message):
    __slots__ = ("how", "reasons", "steps", "losses", "digest")
    HOW_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    how: str
    reasons: _containers.RepeatedScalarFieldContainer[str]
    steps: _containers.RepeatedScalarFieldContainer[str]
    losses: _containers.RepeatedCompositeFieldContainer[Loss]
    digest: str
    def __init__(self, how: _Optional[str] = ..., reasons: _Optional[_Iterable[str]] = ..., steps: _Optional[_Iterable[str]] = ..., losses: _Optional[_Iterable[_Union[Loss, _Mapping]]] = ..., digest: _Optional[str] = ...) -> None: ...

class GroupPartition(_message.Message):
    __slots__ = ("topic", "target_topic", "partition", "state", "source_offset", "target_offset", "reread_records", "detail")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    TARGET_TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    TARGET_OFFSET_FIELD_NUMBER: _ClassVar[int]
    REREAD_RECORDS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    topic: str
    target_topic: str
    partition: int
    state: str
    source_offset: int
    target_offset: int
    reread_records: int
    detail: str
    def __init__(self, topic: _Optional[str] = ..., target_topic: _Optional[str] = ..., partition: _Optional[int] = ..., state: _Optional[str] = ..., source_offset: _Optional[int] = ..., target_offset: _Optional[int] = ..., reread_records: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class GroupStatus(_message.Message):
    __slots__ = ("flow", "group", "kind", "state", "source_state", "target_state", "checkpoint_age_seconds", "reread_records", "detail", "unmirrored", "partitions")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_STATE_FIELD_NUMBER: _ClassVar[int]
    TARGET_STATE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REREAD_RECORDS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    UNMIRRORED_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    flow: str
    group: str
    kind: str
    state: str
    source_state: str
    target_state: str
    checkpoint_age_seconds: float
    reread_records: int
    detail: str
    unmirrored: int
    partitions: _containers.RepeatedCompositeFieldContainer[GroupPartition]
    def __init__(self, flow: _Optional[str] = ..., group: _Optional[str] = ..., kind: _Optional[str] = ..., state: _Optional[str] = ..., source_state: _Optional[str] = ..., target_state: _Optional[str] = ..., checkpoint_age_seconds: _Optional[float] = ..., reread_records: _Optional[int] = ..., detail: _Optional[str] = ..., unmirrored: _Optional[int] = ..., partitions: _Optional[_Iterable[_Union[GroupPartition, _Mapping]]] = ...) -> None: ...

class ListGroupsRequest(_message.Message):
    __slots__ = ("flow",)
    FLOW_FIELD_NUMBER: _ClassVar[int]
    flow: str
    def __init__(self, flow: _Optional[str] = ...) -> None: ...

class ListGroupsResponse(_message.Message):
    __slots__ = ("groups", "detail")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[GroupStatus]
    detail: str
    def __init__(self, groups: _Optional[_Iterable[_Union[GroupStatus, _Mapping]]] = ..., detail: _Optional[str] = ...) -> None: ...

class DescribeGroupRequest(_message.Message):
    __slots__ = ("flow", "group")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    flow: str
    group: str
    def __init__(self, flow: _Optional[str] = ..., group: _Optional[str] = ...) -> None: ...

class DescribeGroupResponse(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: GroupStatus
    def __init__(self, group: _Optional[_Union[GroupStatus, _Mapping]] = ...) -> None: ...

class ForgetRequest(_message.Message):
    __slots__ = ("flow", "topic", "actor", "reason", "dry_run")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    flow: str
    topic: str
    actor: str
    reason: str
    dry_run: bool
    def __init__(self, flow: _Optional[str] = ..., topic: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ForgetResponse(_message.Message):
    __slots__ = ("records", "removed", "left_behind")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    LEFT_BEHIND_FIELD_NUMBER: _ClassVar[int]
    records: int
    removed: _containers.RepeatedScalarFieldContainer[str]
    left_behind: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, records: _Optional[int] = ..., removed: _Optional[_Iterable[str]] = ..., left_behind: _Optional[_Iterable[str]] = ...) -> None: ...

class RepointRequest(_message.Message):
    __slots__ = ("flow", "to", "actor", "reason", "dry_run")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    flow: str
    to: str
    actor: str
    reason: str
    dry_run: bool
    def __init__(self, flow: _Optional[str] = ..., to: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class LogComparison(_message.Message):
    __slots__ = ("topic", "partition", "standing", "our_start", "our_end", "their_start", "their_end", "differs_at", "our_ms", "their_ms", "why")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    OUR_START_FIELD_NUMBER: _ClassVar[int]
    OUR_END_FIELD_NUMBER: _ClassVar[int]
    THEIR_START_FIELD_NUMBER: _ClassVar[int]
    THEIR_END_FIELD_NUMBER: _ClassVar[int]
    DIFFERS_AT_FIELD_NUMBER: _ClassVar[int]
    OUR_MS_FIELD_NUMBER: _ClassVar[int]
    THEIR_MS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    standing: str
    our_start: int
    our_end: int
    their_start: int
    their_end: int
    differs_at: int
    our_ms: int
    their_ms: int
    why: str
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., standing: _Optional[str] = ..., our_start: _Optional[int] = ..., our_end: _Optional[int] = ..., their_start: _Optional[int] = ..., their_end: _Optional[int] = ..., differs_at: _Optional[int] = ..., our_ms: _Optional[int] = ..., their_ms: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...

class RepointResponse(_message.Message):
    __slots__ = ("flow", "source", "to", "status", "goes_on", "to_copy", "stopped", "stopped_count")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    GOES_ON_FIELD_NUMBER: _ClassVar[int]
    TO_COPY_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    STOPPED_COUNT_FIELD_NUMBER: _ClassVar[int]
    flow: str
    source: str
    to: str
    status: str
    goes_on: int
    to_copy: int
    stopped: _containers.RepeatedCompositeFieldContainer[LogComparison]
    stopped_count: int
    def __init__(self, flow: _Optional[str] = ..., source: _Optional[str] = ..., to: _Optional[str] = ..., status: _Optional[str] = ..., goes_on: _Optional[int] = ..., to_copy: _Optional[int] = ..., stopped: _Optional[_Iterable[_Union[LogComparison, _Mapping]]] = ..., stopped_count: _Optional[int] = ...) -> None: ...

class DamagedRequest(_message.Message):
    __slots__ = ("flow",)
    FLOW_FIELD_NUMBER: _ClassVar[int]
    flow: str
    def __init__(self, flow: _Optional[str] = ...) -> None: ...

class DamagedRecord(_message.Message):
    __slots__ = ("cluster", "key", "offset", "size_bytes", "what", "why", "clearing", "guarded")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    CLEARING_FIELD_NUMBER: _ClassVar[int]
    GUARDED_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    key: bytes
    offset: int
    size_bytes: int
    what: str
    why: str
    clearing: str
    guarded: bool
    def __init__(self, cluster: _Optional[str] = ..., key: _Optional[bytes] = ..., offset: _Optional[int] = ..., size_bytes: _Optional[int] = ..., what: _Optional[str] = ..., why: _Optional[str] = ..., clearing: _Optional[str] = ..., guarded: _Optional[bool] = ...) -> None: ...

class DamagedResponse(_message.Message):
    __slots__ = ("records", "left_out", "unasked")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    UNASKED_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[DamagedRecord]
    left_out: int
    unasked: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, records: _Optional[_Iterable[_Union[DamagedRecord, _Mapping]]] = ..., left_out: _Optional[int] = ..., unasked: _Optional[_Iterable[str]] = ...) -> None: ...

class ClearDamagedRequest(_message.Message):
    __slots__ = ("flow", "cluster", "key", "offset", "confirm", "actor", "reason")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    flow: str
    cluster: str
    key: bytes
    offset: int
    confirm: bytes
    actor: str
    reason: str
    def __init__(self, flow: _Optional[str] = ..., cluster: _Optional[str] = ..., key: _Optional[bytes] = ..., offset: _Optional[int] = ..., confirm: _Optional[bytes] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ClearDamagedResponse(_message.Message):
    __slots__ = ("record",)
    RECORD_FIELD_NUMBER: _ClassVar[int]
    record: DamagedRecord
    def __init__(self, record: _Optional[_Union[DamagedRecord, _Mapping]] = ...) -> None: ...

class StartSwitchRequest(_message.Message):
    __slots__ = ("flow", "verb", "topics", "producers_stopped", "reverse", "inexact_groups", "append", "stay", "timeout_ms", "actor", "reason", "request_id", "expected_epoch", "dry_run")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    PRODUCERS_STOPPED_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FIELD_NUMBER: _ClassVar[int]
    INEXACT_GROUPS_FIELD_NUMBER: _ClassVar[int]
    APPEND_FIELD_NUMBER: _ClassVar[int]
    STAY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    flow: str
    verb: str
    topics: _containers.RepeatedScalarFieldContainer[str]
    producers_stopped: bool
    reverse: bool
    inexact_groups: bool
    append: bool
    stay: bool
    timeout_ms: int
    actor: str
    reason: str
    request_id: str
    expected_epoch: int
    dry_run: bool
    def __init__(self, flow: _Optional[str] = ..., verb: _Optional[str] = ..., topics: _Optional[_Iterable[str]] = ..., producers_stopped: _Optional[bool] = ..., reverse: _Optional[bool] = ..., inexact_groups: _Optional[bool] = ..., append: _Optional[bool] = ..., stay: _Optional[bool] = ..., timeout_ms: _Optional[int] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ..., expected_epoch: _Optional[int] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class SwitchPlan(_message.Message):
    __slots__ = ("verb", "steps", "undone_until", "problems", "known_loss", "lossy", "unseen", "observed_age_seconds", "already", "switch_id", "topics", "left_out", "foreign")
    class Loss(_message.Message):
        __slots__ = ("topic", "partition", "offsets")
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        PARTITION_FIELD_NUMBER: _ClassVar[int]
        OFFSETS_FIELD_NUMBER: _ClassVar[int]
        topic: str
        partition: int
        offsets: int
        def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., offsets: _Optional[int] = ...) -> None: ...
    VERB_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    UNDONE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_LOSS_FIELD_NUMBER: _ClassVar[int]
    LOSSY_FIELD_NUMBER: _ClassVar[int]
    UNSEEN_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ALREADY_FIELD_NUMBER: _ClassVar[int]
    SWITCH_ID_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_FIELD_NUMBER: _ClassVar[int]
    verb: str
    steps: _containers.RepeatedScalarFieldContainer[str]
    undone_until: int
    problems: _containers.RepeatedScalarFieldContainer[str]
    known_loss: int
    lossy: _containers.RepeatedCompositeFieldContainer[SwitchPlan.Loss]
    unseen: int
    observed_age_seconds: float
    already: bool
    switch_id: str
    topics: _containers.RepeatedScalarFieldContainer[str]
    left_out: _containers.RepeatedCompositeFieldContainer[LeftOut]
    foreign: _containers.RepeatedCompositeFieldContainer[SwitchPlan.Loss]
    def __init__(self, verb: _Optional[str] = ..., steps: _Optional[_Iterable[str]] = ..., undone_until: _Optional[int] = ..., problems: _Optional[_Iterable[str]] = ..., known_loss: _Optional[int] = ..., lossy: _Optional[_Iterable[_Union[SwitchPlan.Loss, _Mapping]]] = ..., unseen: _Optional[int] = ..., observed_age_seconds: _Optional[float] = ..., already: _Optional[bool] = ..., switch_id: _Optional[str] = ..., topics: _Optional[_Iterable[str]] = ..., left_out: _Optional[_Iterable[_Union[LeftOut, _Mapping]]] = ..., foreign: _Optional[_Iterable[_Union[SwitchPlan.Loss, _Mapping]]] = ...) -> None: ...

class LeftOut(_message.Message):
    __slots__ = ("topic", "why")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    topic: str
    why: str
    def __init__(self, topic: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class StartSwitchResponse(_message.Message):
    __slots__ = ("plan", "switch", "already")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    SWITCH_FIELD_NUMBER: _ClassVar[int]
    ALREADY_FIELD_NUMBER: _ClassVar[int]
    plan: SwitchPlan
    switch: Switch
    already: bool
    def __init__(self, plan: _Optional[_Union[SwitchPlan, _Mapping]] = ..., switch: _Optional[_Union[Switch, _Mapping]] = ..., already: _Optional[bool] = ...) -> None: ...

class GetSwitchRequest(_message.Message):
    __slots__ = ("flow", "sides_of")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    SIDES_OF_FIELD_NUMBER: _ClassVar[int]
    flow: str
    sides_of: str
    def __init__(self, flow: _Optional[str] = ..., sides_of: _Optional[str] = ...) -> None: ...

class GetSwitchResponse(_message.Message):
    __slots__ = ("switches", "sides")
    class State(_message.Message):
        __slots__ = ("flow", "state")
        FLOW_FIELD_NUMBER: _ClassVar[int]
        STATE_FIELD_NUMBER: _ClassVar[int]
        flow: str
        state: str
        def __init__(self, flow: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...
    class Sides(_message.Message):
        __slots__ = ("reverse", "states", "open_side", "waits_for")
        REVERSE_FIELD_NUMBER: _ClassVar[int]
        STATES_FIELD_NUMBER: _ClassVar[int]
        OPEN_SIDE_FIELD_NUMBER: _ClassVar[int]
        WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
        reverse: _containers.RepeatedCompositeFieldContainer[Switch]
        states: _containers.RepeatedCompositeFieldContainer[GetSwitchResponse.State]
        open_side: str
        waits_for: str
        def __init__(self, reverse: _Optional[_Iterable[_Union[Switch, _Mapping]]] = ..., states: _Optional[_Iterable[_Union[GetSwitchResponse.State, _Mapping]]] = ..., open_side: _Optional[str] = ..., waits_for: _Optional[str] = ...) -> None: ...
    SWITCHES_FIELD_NUMBER: _ClassVar[int]
    SIDES_FIELD_NUMBER: _ClassVar[int]
    switches: _containers.RepeatedCompositeFieldContainer[Switch]
    sides: GetSwitchResponse.Sides
    def __init__(self, switches: _Optional[_Iterable[_Union[Switch, _Mapping]]] = ..., sides: _Optional[_Union[GetSwitchResponse.Sides, _Mapping]] = ...) -> None: ...

class AbortSwitchRequest(_message.Message):
    __slots__ = ("flow", "actor", "reason", "target_lost")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TARGET_LOST_FIELD_NUMBER: _ClassVar[int]
    flow: str
    actor: str
    reason: str
    target_lost: bool
    def __init__(self, flow: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., target_lost: _Optional[bool] = ...) -> None: ...

class ConfirmSwitchRequest(_message.Message):
    __slots__ = ("flow", "actor", "confirm")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_FIELD_NUMBER: _ClassVar[int]
    flow: str
    actor: str
    confirm: str
    def __init__(self, flow: _Optional[str] = ..., actor: _Optional[str] = ..., confirm: _Optional[str] = ...) -> None: ...

class Switch(_message.Message):
    __slots__ = ("id", "flow", "verb", "outcome", "direction", "started_ms", "ended_ms", "actor", "reason", "stopped_by", "epoch", "reverse_flow", "way_back", "waits_for", "executor", "steps", "groups_exact", "groups_inexact", "groups_detail", "known_loss", "unknown_losses", "observed_age_seconds", "known_tail", "cuts", "restorations", "confirm", "topics", "left_out", "replaces")
    class Step(_message.Message):
        __slots__ = ("step", "text", "at_ms")
        STEP_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        AT_MS_FIELD_NUMBER: _ClassVar[int]
        step: str
        text: str
        at_ms: int
        def __init__(self, step: _Optional[str] = ..., text: _Optional[str] = ..., at_ms: _Optional[int] = ...) -> None: ...
    class Cut(_message.Message):
        __slots__ = ("topic", "target_topic", "partition", "source", "target", "observed_end", "loss", "tail", "foreign")
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        TARGET_TOPIC_FIELD_NUMBER: _ClassVar[int]
        PARTITION_FIELD_NUMBER: _ClassVar[int]
        SOURCE_FIELD_NUMBER: _ClassVar[int]
        TARGET_FIELD_NUMBER: _ClassVar[int]
        OBSERVED_END_FIELD_NUMBER: _ClassVar[int]
        LOSS_FIELD_NUMBER: _ClassVar[int]
        TAIL_FIELD_NUMBER: _ClassVar[int]
        FOREIGN_FIELD_NUMBER: _ClassVar[int]
        topic: str
        target_topic: str
        partition: int
        source: int
        target: int
        observed_end: int
        loss: int
        tail: int
        foreign: int
        def __init__(self, topic: _Optional[str] = ..., target_topic: _Optional[str] = ..., partition: _Optional[int] = ..., source: _Optional[int] = ..., target: _Optional[int] = ..., observed_end: _Optional[int] = ..., loss: _Optional[int] = ..., tail: _Optional[int] = ..., foreign: _Optional[int] = ...) -> None: ...
    class Restoration(_message.Message):
        __slots__ = ("topic", "how", "tail")
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        HOW_FIELD_NUMBER: _ClassVar[int]
        TAIL_FIELD_NUMBER: _ClassVar[int]
        topic: str
        how: str
        tail: int
        def __init__(self, topic: _Optional[str] = ..., how: _Optional[str] = ..., tail: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    STARTED_MS_FIELD_NUMBER: _ClassVar[int]
    ENDED_MS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STOPPED_BY_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FLOW_FIELD_NUMBER: _ClassVar[int]
    WAY_BACK_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    EXECUTOR_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_EXACT_FIELD_NUMBER: _ClassVar[int]
    GROUPS_INEXACT_FIELD_NUMBER: _ClassVar[int]
    GROUPS_DETAIL_FIELD_NUMBER: _ClassVar[int]
    KNOWN_LOSS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_LOSSES_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_TAIL_FIELD_NUMBER: _ClassVar[int]
    CUTS_FIELD_NUMBER: _ClassVar[int]
    RESTORATIONS_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    REPLACES_FIELD_NUMBER: _ClassVar[int]
    id: str
    flow: str
    verb: str
    outcome: str
    direction: str
    started_ms: int
    ended_ms: int
    actor: str
    reason: str
    stopped_by: str
    epoch: int
    reverse_flow: str
    way_back: bool
    waits_for: str
    executor: str
    steps: _containers.RepeatedCompositeFieldContainer[Switch.Step]
    groups_exact: int
    groups_inexact: int
    groups_detail: _containers.RepeatedScalarFieldContainer[str]
    known_loss: int
    unknown_losses: int
    observed_age_seconds: float
    known_tail: int
    cuts: _containers.RepeatedCompositeFieldContainer[Switch.Cut]
    restorations: _containers.RepeatedCompositeFieldContainer[Switch.Restoration]
    confirm: str
    topics: _containers.RepeatedScalarFieldContainer[str]
    left_out: _containers.RepeatedCompositeFieldContainer[LeftOut]
    replaces: str
    def __init__(self, id: _Optional[str] = ..., flow: _Optional[str] = ..., verb: _Optional[str] = ..., outcome: _Optional[str] = ..., direction: _Optional[str] = ..., started_ms: _Optional[int] = ..., ended_ms: _Optional[int] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., stopped_by: _Optional[str] = ..., epoch: _Optional[int] = ..., reverse_flow: _Optional[str] = ..., way_back: _Optional[bool] = ..., waits_for: _Optional[str] = ..., executor: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[Switch.Step, _Mapping]]] = ..., groups_exact: _Optional[int] = ..., groups_inexact: _Optional[int] = ..., groups_detail: _Optional[_Iterable[str]] = ..., known_loss: _Optional[int] = ..., unknown_losses: _Optional[int] = ..., observed_age_seconds: _Optional[float] = ..., known_tail: _Optional[int] = ..., cuts: _Optional[_Iterable[_Union[Switch.Cut, _Mapping]]] = ..., restorations: _Optional[_Iterable[_Union[Switch.Restoration, _Mapping]]] = ..., confirm: _Optional[str] = ..., topics: _Optional[_Iterable[str]] = ..., left_out: _Optional[_Iterable[_Union[LeftOut, _Mapping]]] = ..., replaces: _Optional[str] = ...) -> None: ...
