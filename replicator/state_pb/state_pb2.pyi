from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    KIND_FLOW: _ClassVar[Kind]
    KIND_WRITER: _ClassVar[Kind]
    KIND_CLAIM: _ClassVar[Kind]
    KIND_MIRROR: _ClassVar[Kind]
    KIND_SOURCE_END: _ClassVar[Kind]
    KIND_SEGMENT: _ClassVar[Kind]
    KIND_HELD_BACK: _ClassVar[Kind]
    KIND_GROUP: _ClassVar[Kind]
    KIND_CUT: _ClassVar[Kind]
    KIND_JOURNAL: _ClassVar[Kind]
    KIND_MAKING: _ClassVar[Kind]
    KIND_START: _ClassVar[Kind]
    KIND_PART: _ClassVar[Kind]

class Desired(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DESIRED_UNSPECIFIED: _ClassVar[Desired]
    DESIRED_ACTIVE: _ClassVar[Desired]
    DESIRED_PAUSED: _ClassVar[Desired]

class WriterRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WRITER_ROLE_UNSPECIFIED: _ClassVar[WriterRole]
    WRITER_ROLE_COPYING: _ClassVar[WriterRole]
    WRITER_ROLE_FENCING: _ClassVar[WriterRole]
    WRITER_ROLE_PROMOTED: _ClassVar[WriterRole]

class MirrorPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MIRROR_PHASE_UNSPECIFIED: _ClassVar[MirrorPhase]
    MIRROR_PHASE_PENDING: _ClassVar[MirrorPhase]
    MIRROR_PHASE_SEEDING: _ClassVar[MirrorPhase]
    MIRROR_PHASE_ACTIVE: _ClassVar[MirrorPhase]
KIND_UNSPECIFIED: Kind
KIND_FLOW: Kind
KIND_WRITER: Kind
KIND_CLAIM: Kind
KIND_MIRROR: Kind
KIND_SOURCE_END: Kind
KIND_SEGMENT: Kind
KIND_HELD_BACK: Kind
KIND_GROUP: Kind
KIND_CUT: Kind
KIND_JOURNAL: Kind
KIND_MAKING: Kind
KIND_START: Kind
KIND_PART: Kind
DESIRED_UNSPECIFIED: Desired
DESIRED_ACTIVE: Desired
DESIRED_PAUSED: Desired
WRITER_ROLE_UNSPECIFIED: WriterRole
WRITER_ROLE_COPYING: WriterRole
WRITER_ROLE_FENCING: WriterRole
WRITER_ROLE_PROMOTED: WriterRole
MIRROR_PHASE_UNSPECIFIED: MirrorPhase
MIRROR_PHASE_PENDING: MirrorPhase
MIRROR_PHASE_SEEDING: MirrorPhase
MIRROR_PHASE_ACTIVE: MirrorPhase

class StateKey(_message.Message):
    __slots__ = ("kind", "flow_uid", "topic", "partition", "block")
    KIND_FIELD_NUMBER: _ClassVar[int]
    FLOW_UID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    kind: Kind
    flow_uid: str
    topic: str
    partition: int
    block: int
    def __init__(self, kind: _Optional[_Union[Kind, str]] = ..., flow_uid: _Optional[str] = ..., topic: _Optional[str] = ..., partition: _Optional[int] = ..., block: _Optional[int] = ...) -> None: ...

class FlowRecord(_message.Message):
    __slots__ = ("uid", "name", "source_alias", "target_alias", "source_cluster_id", "target_cluster_id", "desired", "desired_reason", "desired_actor", "created_ms", "desired_changed_ms", "shards", "lineage_epoch", "earlier", "repoint")
    UID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ALIAS_FIELD_NUMBER: _ClassVar[int]
    TARGET_ALIAS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    DESIRED_REASON_FIELD_NUMBER: _ClassVar[int]
    DESIRED_ACTOR_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    DESIRED_CHANGED_MS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    EARLIER_FIELD_NUMBER: _ClassVar[int]
    REPOINT_FIELD_NUMBER: _ClassVar[int]
    uid: str
    name: str
    source_alias: str
    target_alias: str
    source_cluster_id: str
    target_cluster_id: str
    desired: Desired
    desired_reason: str
    desired_actor: str
    created_ms: int
    desired_changed_ms: int
    shards: int
    lineage_epoch: int
    earlier: _containers.RepeatedCompositeFieldContainer[FlowSource]
    repoint: RepointOrder
    def __init__(self, uid: _Optional[str] = ..., name: _Optional[str] = ..., source_alias: _Optional[str] = ..., target_alias: _Optional[str] = ..., source_cluster_id: _Optional[str] = ..., target_cluster_id: _Optional[str] = ..., desired: _Optional[_Union[Desired, str]] = ..., desired_reason: _Optional[str] = ..., desired_actor: _Optional[str] = ..., created_ms: _Optional[int] = ..., desired_changed_ms: _Optional[int] = ..., shards: _Optional[int] = ..., lineage_epoch: _Optional[int] = ..., earlier: _Optional[_Iterable[_Union[FlowSource, _Mapping]]] = ..., repoint: _Optional[_Union[RepointOrder, _Mapping]] = ...) -> None: ...

class FlowSource(_message.Message):
    __slots__ = ("alias", "cluster_id")
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    alias: str
    cluster_id: str
    def __init__(self, alias: _Optional[str] = ..., cluster_id: _Optional[str] = ...) -> None: ...

class RepointOrder(_message.Message):
    __slots__ = ("id", "to", "actor", "reason", "at_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    id: str
    to: FlowSource
    actor: str
    reason: str
    at_ms: int
    def __init__(self, id: _Optional[str] = ..., to: _Optional[_Union[FlowSource, _Mapping]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., at_ms: _Optional[int] = ...) -> None: ...

class WriterRecord(_message.Message):
    __slots__ = ("producer_id", "epoch", "role", "fence_epoch", "fill_producer_id", "fill_epoch", "filler_producer_id", "filler_epoch", "kept_alive_ms", "coordinator_epoch", "lineage_epoch", "continues_from")
    PRODUCER_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    FENCE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    FILL_PRODUCER_ID_FIELD_NUMBER: _ClassVar[int]
    FILL_EPOCH_FIELD_NUMBER: _ClassVar[int]
    FILLER_PRODUCER_ID_FIELD_NUMBER: _ClassVar[int]
    FILLER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    KEPT_ALIVE_MS_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_EPOCH_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    CONTINUES_FROM_FIELD_NUMBER: _ClassVar[int]
    producer_id: int
    epoch: int
    role: WriterRole
    fence_epoch: int
    fill_producer_id: int
    fill_epoch: int
    filler_producer_id: int
    filler_epoch: int
    kept_alive_ms: int
    coordinator_epoch: int
    lineage_epoch: int
    continues_from: int
    def __init__(self, producer_id: _Optional[int] = ..., epoch: _Optional[int] = ..., role: _Optional[_Union[WriterRole, str]] = ..., fence_epoch: _Optional[int] = ..., fill_producer_id: _Optional[int] = ..., fill_epoch: _Optional[int] = ..., filler_producer_id: _Optional[int] = ..., filler_epoch: _Optional[int] = ..., kept_alive_ms: _Optional[int] = ..., coordinator_epoch: _Optional[int] = ..., lineage_epoch: _Optional[int] = ..., continues_from: _Optional[int] = ...) -> None: ...

class ClaimRecord(_message.Message):
    __slots__ = ("shard", "number", "holder", "released")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    shard: int
    number: int
    holder: str
    released: bool
    def __init__(self, shard: _Optional[int] = ..., number: _Optional[int] = ..., holder: _Optional[str] = ..., released: _Optional[bool] = ...) -> None: ...

class RenewalRecord(_message.Message):
    __slots__ = ("number", "renewal", "lease_epoch", "yields", "address", "shards")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    YIELDS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    number: int
    renewal: int
    lease_epoch: int
    yields: bool
    address: str
    shards: int
    def __init__(self, number: _Optional[int] = ..., renewal: _Optional[int] = ..., lease_epoch: _Optional[int] = ..., yields: _Optional[bool] = ..., address: _Optional[str] = ..., shards: _Optional[int] = ...) -> None: ...

class LeaderEpoch(_message.Message):
    __slots__ = ("partition", "epoch", "start_offset")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    START_OFFSET_FIELD_NUMBER: _ClassVar[int]
    partition: int
    epoch: int
    start_offset: int
    def __init__(self, partition: _Optional[int] = ..., epoch: _Optional[int] = ..., start_offset: _Optional[int] = ...) -> None: ...

class OffsetBlock(_message.Message):
    __slots__ = ("source_begin", "target_begin", "source_end", "target_end", "runs")
    SOURCE_BEGIN_FIELD_NUMBER: _ClassVar[int]
    TARGET_BEGIN_FIELD_NUMBER: _ClassVar[int]
    SOURCE_END_FIELD_NUMBER: _ClassVar[int]
    TARGET_END_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    source_begin: int
    target_begin: int
    source_end: int
    target_end: int
    runs: bytes
    def __init__(self, source_begin: _Optional[int] = ..., target_begin: _Optional[int] = ..., source_end: _Optional[int] = ..., target_end: _Optional[int] = ..., runs: _Optional[bytes] = ...) -> None: ...

class PartitionMap(_message.Message):
    __slots__ = ("generation", "mapped", "base", "judged_from", "compared_from")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    MAPPED_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    JUDGED_FROM_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FROM_FIELD_NUMBER: _ClassVar[int]
    generation: int
    mapped: bool
    base: OffsetBlock
    judged_from: int
    compared_from: int
    def __init__(self, generation: _Optional[int] = ..., mapped: _Optional[bool] = ..., base: _Optional[_Union[OffsetBlock, _Mapping]] = ..., judged_from: _Optional[int] = ..., compared_from: _Optional[int] = ...) -> None: ...

class SegmentBlock(_message.Message):
    __slots__ = ("generation", "block")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    generation: int
    block: OffsetBlock
    def __init__(self, generation: _Optional[int] = ..., block: _Optional[_Union[OffsetBlock, _Mapping]] = ...) -> None: ...

class OffsetRange(_message.Message):
    __slots__ = ("first", "end")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    first: int
    end: int
    def __init__(self, first: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class OffsetRanges(_message.Message):
    __slots__ = ("ranges",)
    RANGES_FIELD_NUMBER: _ClassVar[int]
    ranges: _containers.RepeatedCompositeFieldContainer[OffsetRange]
    def __init__(self, ranges: _Optional[_Iterable[_Union[OffsetRange, _Mapping]]] = ...) -> None: ...

class Resolution(_message.Message):
    __slots__ = ("at_ms", "actor", "why", "reason", "how", "losses")
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
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    HOW_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    at_ms: int
    actor: str
    why: str
    reason: str
    how: str
    losses: _containers.RepeatedCompositeFieldContainer[Resolution.Loss]
    def __init__(self, at_ms: _Optional[int] = ..., actor: _Optional[str] = ..., why: _Optional[str] = ..., reason: _Optional[str] = ..., how: _Optional[str] = ..., losses: _Optional[_Iterable[_Union[Resolution.Loss, _Mapping]]] = ...) -> None: ...

class MirrorRecord(_message.Message):
    __slots__ = ("owner_flow_uid", "owner_flow_name", "source_topic", "target_topic", "source_topic_id", "target_topic_id", "phase", "mode", "active_partitions", "leader_epochs", "source_partitions", "begin_at_end", "managed", "seeded", "maps", "given_up", "resolutions", "generation", "map_generation", "doomed_topic_id", "tombstones_ok_ms", "epochs_unproven", "held_back", "came_through", "has_dead_letter", "dead_letter_topic_id", "begin_at_end_partitions", "lineage_epoch", "tells_policy")
    class ManagedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class SeededEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    class MapsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: PartitionMap
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[PartitionMap, _Mapping]] = ...) -> None: ...
    class GivenUpEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: OffsetRanges
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[OffsetRanges, _Mapping]] = ...) -> None: ...
    class TombstonesOkMsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    class EpochsUnprovenEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    class HeldBackEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    OWNER_FLOW_UID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FLOW_NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_TOPIC_FIELD_NUMBER: _ClassVar[int]
    TARGET_TOPIC_FIELD_NUMBER: _ClassVar[int]
    SOURCE_TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    LEADER_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    BEGIN_AT_END_FIELD_NUMBER: _ClassVar[int]
    MANAGED_FIELD_NUMBER: _ClassVar[int]
    SEEDED_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    GIVEN_UP_FIELD_NUMBER: _ClassVar[int]
    RESOLUTIONS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    MAP_GENERATION_FIELD_NUMBER: _ClassVar[int]
    DOOMED_TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    TOMBSTONES_OK_MS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_UNPROVEN_FIELD_NUMBER: _ClassVar[int]
    HELD_BACK_FIELD_NUMBER: _ClassVar[int]
    CAME_THROUGH_FIELD_NUMBER: _ClassVar[int]
    HAS_DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    BEGIN_AT_END_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    TELLS_POLICY_FIELD_NUMBER: _ClassVar[int]
    owner_flow_uid: str
    owner_flow_name: str
    source_topic: str
    target_topic: str
    source_topic_id: bytes
    target_topic_id: bytes
    phase: MirrorPhase
    mode: str
    active_partitions: _containers.RepeatedScalarFieldContainer[int]
    leader_epochs: _containers.RepeatedCompositeFieldContainer[LeaderEpoch]
    source_partitions: int
    begin_at_end: bool
    managed: _containers.ScalarMap[str, str]
    seeded: _containers.ScalarMap[int, int]
    maps: _containers.MessageMap[int, PartitionMap]
    given_up: _containers.MessageMap[int, OffsetRanges]
    resolutions: _containers.RepeatedCompositeFieldContainer[Resolution]
    generation: int
    map_generation: int
    doomed_topic_id: bytes
    tombstones_ok_ms: _containers.ScalarMap[int, int]
    epochs_unproven: _containers.ScalarMap[int, int]
    held_back: _containers.ScalarMap[str, str]
    came_through: _containers.RepeatedCompositeFieldContainer[Origin]
    has_dead_letter: bool
    dead_letter_topic_id: bytes
    begin_at_end_partitions: int
    lineage_epoch: int
    tells_policy: bool
    def __init__(self, owner_flow_uid: _Optional[str] = ..., owner_flow_name: _Optional[str] = ..., source_topic: _Optional[str] = ..., target_topic: _Optional[str] = ..., source_topic_id: _Optional[bytes] = ..., target_topic_id: _Optional[bytes] = ..., phase: _Optional[_Union[MirrorPhase, str]] = ..., mode: _Optional[str] = ..., active_partitions: _Optional[_Iterable[int]] = ..., leader_epochs: _Optional[_Iterable[_Union[LeaderEpoch, _Mapping]]] = ..., source_partitions: _Optional[int] = ..., begin_at_end: _Optional[bool] = ..., managed: _Optional[_Mapping[str, str]] = ..., seeded: _Optional[_Mapping[int, int]] = ..., maps: _Optional[_Mapping[int, PartitionMap]] = ..., given_up: _Optional[_Mapping[int, OffsetRanges]] = ..., resolutions: _Optional[_Iterable[_Union[Resolution, _Mapping]]] = ..., generation: _Optional[int] = ..., map_generation: _Optional[int] = ..., doomed_topic_id: _Optional[bytes] = ..., tombstones_ok_ms: _Optional[_Mapping[int, int]] = ..., epochs_unproven: _Optional[_Mapping[int, int]] = ..., held_back: _Optional[_Mapping[str, str]] = ..., came_through: _Optional[_Iterable[_Union[Origin, _Mapping]]] = ..., has_dead_letter: _Optional[bool] = ..., dead_letter_topic_id: _Optional[bytes] = ..., begin_at_end_partitions: _Optional[int] = ..., lineage_epoch: _Optional[int] = ..., tells_policy: _Optional[bool] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("cluster_id", "topic")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    topic: str
    def __init__(self, cluster_id: _Optional[str] = ..., topic: _Optional[str] = ...) -> None: ...

class MakingRecord(_message.Message):
    __slots__ = ("topics",)
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    topics: bytes
    def __init__(self, topics: _Optional[bytes] = ...) -> None: ...

class StartRecord(_message.Message):
    __slots__ = ("topics",)
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    topics: bytes
    def __init__(self, topics: _Optional[bytes] = ...) -> None: ...

class SourceEndBlock(_message.Message):
    __slots__ = ("shard", "observed_ms", "entries")
    class Entry(_message.Message):
        __slots__ = ("topic", "partition", "end", "caught_up_ms", "copied", "copied_target", "observed_ms")
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        PARTITION_FIELD_NUMBER: _ClassVar[int]
        END_FIELD_NUMBER: _ClassVar[int]
        CAUGHT_UP_MS_FIELD_NUMBER: _ClassVar[int]
        COPIED_FIELD_NUMBER: _ClassVar[int]
        COPIED_TARGET_FIELD_NUMBER: _ClassVar[int]
        OBSERVED_MS_FIELD_NUMBER: _ClassVar[int]
        topic: str
        partition: int
        end: int
        caught_up_ms: int
        copied: int
        copied_target: int
        observed_ms: int
        def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., end: _Optional[int] = ..., caught_up_ms: _Optional[int] = ..., copied: _Optional[int] = ..., copied_target: _Optional[int] = ..., observed_ms: _Optional[int] = ...) -> None: ...
    SHARD_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_MS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    shard: int
    observed_ms: int
    entries: _containers.RepeatedCompositeFieldContainer[SourceEndBlock.Entry]
    def __init__(self, shard: _Optional[int] = ..., observed_ms: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[SourceEndBlock.Entry, _Mapping]]] = ...) -> None: ...

class GroupRecord(_message.Message):
    __slots__ = ("topics",)
    class Topic(_message.Message):
        __slots__ = ("topic", "partitions", "offsets", "befores", "written_ms")
        TOPIC_FIELD_NUMBER: _ClassVar[int]
        PARTITIONS_FIELD_NUMBER: _ClassVar[int]
        OFFSETS_FIELD_NUMBER: _ClassVar[int]
        BEFORES_FIELD_NUMBER: _ClassVar[int]
        WRITTEN_MS_FIELD_NUMBER: _ClassVar[int]
        topic: str
        partitions: _containers.RepeatedScalarFieldContainer[int]
        offsets: _containers.RepeatedScalarFieldContainer[int]
        befores: _containers.RepeatedScalarFieldContainer[int]
        written_ms: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, topic: _Optional[str] = ..., partitions: _Optional[_Iterable[int]] = ..., offsets: _Optional[_Iterable[int]] = ..., befores: _Optional[_Iterable[int]] = ..., written_ms: _Optional[_Iterable[int]] = ...) -> None: ...
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedCompositeFieldContainer[GroupRecord.Topic]
    def __init__(self, topics: _Optional[_Iterable[_Union[GroupRecord.Topic, _Mapping]]] = ...) -> None: ...

class HeldBackRecord(_message.Message):
    __slots__ = ("locks", "made", "withheld")
    LOCKS_FIELD_NUMBER: _ClassVar[int]
    MADE_FIELD_NUMBER: _ClassVar[int]
    WITHHELD_FIELD_NUMBER: _ClassVar[int]
    locks: _containers.RepeatedScalarFieldContainer[str]
    made: _containers.RepeatedScalarFieldContainer[str]
    withheld: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, locks: _Optional[_Iterable[str]] = ..., made: _Optional[_Iterable[str]] = ..., withheld: _Optional[_Iterable[str]] = ...) -> None: ...

class TopicCuts(_message.Message):
    __slots__ = ("topic", "target_topic", "partitions", "source", "target", "mapped", "observed_end", "observed_ms", "tail_end", "foreign")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    TARGET_TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    MAPPED_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_END_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_MS_FIELD_NUMBER: _ClassVar[int]
    TAIL_END_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_FIELD_NUMBER: _ClassVar[int]
    topic: str
    target_topic: str
    partitions: _containers.RepeatedScalarFieldContainer[int]
    source: _containers.RepeatedScalarFieldContainer[int]
    target: _containers.RepeatedScalarFieldContainer[int]
    mapped: _containers.RepeatedScalarFieldContainer[bool]
    observed_end: _containers.RepeatedScalarFieldContainer[int]
    observed_ms: _containers.RepeatedScalarFieldContainer[int]
    tail_end: _containers.RepeatedScalarFieldContainer[int]
    foreign: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, topic: _Optional[str] = ..., target_topic: _Optional[str] = ..., partitions: _Optional[_Iterable[int]] = ..., source: _Optional[_Iterable[int]] = ..., target: _Optional[_Iterable[int]] = ..., mapped: _Optional[_Iterable[bool]] = ..., observed_end: _Optional[_Iterable[int]] = ..., observed_ms: _Optional[_Iterable[int]] = ..., tail_end: _Optional[_Iterable[int]] = ..., foreign: _Optional[_Iterable[int]] = ...) -> None: ...

class CutRecord(_message.Message):
    __slots__ = ("switch_id", "at_ms", "epoch", "cuts")
    SWITCH_ID_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CUTS_FIELD_NUMBER: _ClassVar[int]
    switch_id: str
    at_ms: int
    epoch: int
    cuts: TopicCuts
    def __init__(self, switch_id: _Optional[str] = ..., at_ms: _Optional[int] = ..., epoch: _Optional[int] = ..., cuts: _Optional[_Union[TopicCuts, _Mapping]] = ...) -> None: ...

class TopicEnds(_message.Message):
    __slots__ = ("topic", "partitions", "ends", "identical")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    IDENTICAL_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partitions: _containers.RepeatedScalarFieldContainer[int]
    ends: _containers.RepeatedScalarFieldContainer[int]
    identical: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, topic: _Optional[str] = ..., partitions: _Optional[_Iterable[int]] = ..., ends: _Optional[_Iterable[int]] = ..., identical: _Optional[_Iterable[bool]] = ...) -> None: ...

class SwitchOptions(_message.Message):
    __slots__ = ("close", "reverse_flow", "way_back", "groups_exact", "timeout_ms", "append", "switch_back", "restored")
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FLOW_FIELD_NUMBER: _ClassVar[int]
    WAY_BACK_FIELD_NUMBER: _ClassVar[int]
    GROUPS_EXACT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    APPEND_FIELD_NUMBER: _ClassVar[int]
    SWITCH_BACK_FIELD_NUMBER: _ClassVar[int]
    RESTORED_FIELD_NUMBER: _ClassVar[int]
    close: str
    reverse_flow: str
    way_back: bool
    groups_exact: bool
    timeout_ms: int
    append: bool
    switch_back: bool
    restored: bool
    def __init__(self, close: _Optional[str] = ..., reverse_flow: _Optional[str] = ..., way_back: _Optional[bool] = ..., groups_exact: _Optional[bool] = ..., timeout_ms: _Optional[int] = ..., append: _Optional[bool] = ..., switch_back: _Optional[bool] = ..., restored: _Optional[bool] = ...) -> None: ...

class SwitchStep(_message.Message):
    __slots__ = ("step", "at_ms", "executor")
    STEP_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    EXECUTOR_FIELD_NUMBER: _ClassVar[int]
    step: str
    at_ms: int
    executor: str
    def __init__(self, step: _Optional[str] = ..., at_ms: _Optional[int] = ..., executor: _Optional[str] = ...) -> None: ...

class SwitchRecord(_message.Message):
    __slots__ = ("id", "verb", "flow", "topics", "options", "actor", "reason", "started_ms", "ended_ms", "revision", "reached", "direction", "outcome", "stopped_by", "escalated", "locks", "inherited_locks", "ends", "groups_exact", "groups_inexact", "groups_inexact_count", "fence_epoch", "cuts", "topic_ids", "confirmed", "decision", "is_copy", "history", "executor", "other_locks", "target_cluster_id", "left_out", "replaces")
    class TopicIdsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STARTED_MS_FIELD_NUMBER: _ClassVar[int]
    ENDED_MS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REACHED_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    STOPPED_BY_FIELD_NUMBER: _ClassVar[int]
    ESCALATED_FIELD_NUMBER: _ClassVar[int]
    LOCKS_FIELD_NUMBER: _ClassVar[int]
    INHERITED_LOCKS_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_EXACT_FIELD_NUMBER: _ClassVar[int]
    GROUPS_INEXACT_FIELD_NUMBER: _ClassVar[int]
    GROUPS_INEXACT_COUNT_FIELD_NUMBER: _ClassVar[int]
    FENCE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    CUTS_FIELD_NUMBER: _ClassVar[int]
    TOPIC_IDS_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    IS_COPY_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    EXECUTOR_FIELD_NUMBER: _ClassVar[int]
    OTHER_LOCKS_FIELD_NUMBER: _ClassVar[int]
    TARGET_CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    REPLACES_FIELD_NUMBER: _ClassVar[int]
    id: str
    verb: str
    flow: str
    topics: _containers.RepeatedScalarFieldContainer[str]
    options: SwitchOptions
    actor: str
    reason: str
    started_ms: int
    ended_ms: int
    revision: int
    reached: str
    direction: str
    outcome: str
    stopped_by: str
    escalated: bool
    locks: _containers.RepeatedScalarFieldContainer[str]
    inherited_locks: _containers.RepeatedScalarFieldContainer[str]
    ends: _containers.RepeatedCompositeFieldContainer[TopicEnds]
    groups_exact: int
    groups_inexact: _containers.RepeatedScalarFieldContainer[str]
    groups_inexact_count: int
    fence_epoch: int
    cuts: _containers.RepeatedCompositeFieldContainer[TopicCuts]
    topic_ids: _containers.ScalarMap[str, str]
    confirmed: str
    decision: str
    is_copy: bool
    history: _containers.RepeatedCompositeFieldContainer[SwitchStep]
    executor: str
    other_locks: _containers.RepeatedScalarFieldContainer[str]
    target_cluster_id: str
    left_out: _containers.RepeatedCompositeFieldContainer[SwitchLeftOut]
    replaces: str
    def __init__(self, id: _Optional[str] = ..., verb: _Optional[str] = ..., flow: _Optional[str] = ..., topics: _Optional[_Iterable[str]] = ..., options: _Optional[_Union[SwitchOptions, _Mapping]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., started_ms: _Optional[int] = ..., ended_ms: _Optional[int] = ..., revision: _Optional[int] = ..., reached: _Optional[str] = ..., direction: _Optional[str] = ..., outcome: _Optional[str] = ..., stopped_by: _Optional[str] = ..., escalated: _Optional[bool] = ..., locks: _Optional[_Iterable[str]] = ..., inherited_locks: _Optional[_Iterable[str]] = ..., ends: _Optional[_Iterable[_Union[TopicEnds, _Mapping]]] = ..., groups_exact: _Optional[int] = ..., groups_inexact: _Optional[_Iterable[str]] = ..., groups_inexact_count: _Optional[int] = ..., fence_epoch: _Optional[int] = ..., cuts: _Optional[_Iterable[_Union[TopicCuts, _Mapping]]] = ..., topic_ids: _Optional[_Mapping[str, str]] = ..., confirmed: _Optional[str] = ..., decision: _Optional[str] = ..., is_copy: _Optional[bool] = ..., history: _Optional[_Iterable[_Union[SwitchStep, _Mapping]]] = ..., executor: _Optional[str] = ..., other_locks: _Optional[_Iterable[str]] = ..., target_cluster_id: _Optional[str] = ..., left_out: _Optional[_Iterable[_Union[SwitchLeftOut, _Mapping]]] = ..., replaces: _Optional[str] = ...) -> None: ...

class SwitchLeftOut(_message.Message):
    __slots__ = ("topic", "why")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    topic: str
    why: str
    def __init__(self, topic: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class LeftOutRecord(_message.Message):
    __slots__ = ("switches",)
    class Switch(_message.Message):
        __slots__ = ("id", "started_ms", "left_out")
        ID_FIELD_NUMBER: _ClassVar[int]
        STARTED_MS_FIELD_NUMBER: _ClassVar[int]
        LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
        id: str
        started_ms: int
        left_out: _containers.RepeatedCompositeFieldContainer[SwitchLeftOut]
        def __init__(self, id: _Optional[str] = ..., started_ms: _Optional[int] = ..., left_out: _Optional[_Iterable[_Union[SwitchLeftOut, _Mapping]]] = ...) -> None: ...
    SWITCHES_FIELD_NUMBER: _ClassVar[int]
    switches: _containers.RepeatedCompositeFieldContainer[LeftOutRecord.Switch]
    def __init__(self, switches: _Optional[_Iterable[_Union[LeftOutRecord.Switch, _Mapping]]] = ...) -> None: ...

class JournalRecord(_message.Message):
    __slots__ = ("current", "past")
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    PAST_FIELD_NUMBER: _ClassVar[int]
    current: SwitchRecord
    past: _containers.RepeatedCompositeFieldContainer[SwitchRecord]
    def __init__(self, current: _Optional[_Union[SwitchRecord, _Mapping]] = ..., past: _Optional[_Iterable[_Union[SwitchRecord, _Mapping]]] = ...) -> None: ...
