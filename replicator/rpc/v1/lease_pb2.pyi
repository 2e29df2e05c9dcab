from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LeaseMember(_message.Message):
    __slots__ = ("instance", "address", "beat", "leaving")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    instance: str
    address: str
    beat: int
    leaving: bool
    def __init__(self, instance: _Optional[str] = ..., address: _Optional[str] = ..., beat: _Optional[int] = ..., leaving: _Optional[bool] = ...) -> None: ...

class ShardLease(_message.Message):
    __slots__ = ("shard", "epoch", "holder", "successor")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_FIELD_NUMBER: _ClassVar[int]
    shard: int
    epoch: int
    holder: str
    successor: str
    def __init__(self, shard: _Optional[int] = ..., epoch: _Optional[int] = ..., holder: _Optional[str] = ..., successor: _Optional[str] = ...) -> None: ...

class LeaseTable(_message.Message):
    __slots__ = ("flow_uid", "flow", "members", "leases")
    FLOW_UID_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    flow_uid: str
    flow: str
    members: _containers.RepeatedCompositeFieldContainer[LeaseMember]
    leases: _containers.RepeatedCompositeFieldContainer[ShardLease]
    def __init__(self, flow_uid: _Optional[str] = ..., flow: _Optional[str] = ..., members: _Optional[_Iterable[_Union[LeaseMember, _Mapping]]] = ..., leases: _Optional[_Iterable[_Union[ShardLease, _Mapping]]] = ...) -> None: ...

class LeaseRequest(_message.Message):
    __slots__ = ("flow_uid", "flow", "instance", "address", "shards", "floors", "held", "busy", "source_cluster_id", "target_cluster_id", "lineage_epoch")
    class FloorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    class HeldEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    FLOW_UID_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    FLOORS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    flow_uid: str
    flow: str
    instance: str
    address: str
    shards: int
    floors: _containers.ScalarMap[int, int]
    held: _containers.ScalarMap[int, int]
    busy: _containers.RepeatedScalarFieldContainer[int]
    source_cluster_id: str
    target_cluster_id: str
    lineage_epoch: int
    def __init__(self, flow_uid: _Optional[str] = ..., flow: _Optional[str] = ..., instance: _Optional[str] = ..., address: _Optional[str] = ..., shards: _Optional[int] = ..., floors: _Optional[_Mapping[int, int]] = ..., held: _Optional[_Mapping[int, int]] = ..., busy: _Optional[_Iterable[int]] = ..., source_cluster_id: _Optional[str] = ..., target_cluster_id: _Optional[str] = ..., lineage_epoch: _Optional[int] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("caller", "leaves")
    CALLER_FIELD_NUMBER: _ClassVar[int]
    LEAVES_FIELD_NUMBER: _ClassVar[int]
    caller: LeaseRequest
    leaves: bool
    def __init__(self, caller: _Optional[_Union[LeaseRequest, _Mapping]] = ..., leaves: _Optional[bool] = ...) -> None: ...

class LeaseAnswer(_message.Message):
    __slots__ = ("table", "ttl_seconds", "offered")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    OFFERED_FIELD_NUMBER: _ClassVar[int]
    table: LeaseTable
    ttl_seconds: float
    offered: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, table: _Optional[_Union[LeaseTable, _Mapping]] = ..., ttl_seconds: _Optional[float] = ..., offered: _Optional[_Iterable[int]] = ...) -> None: ...

class ListLeasesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListLeasesResponse(_message.Message):
    __slots__ = ("tables",)
    TABLES_FIELD_NUMBER: _ClassVar[int]
    tables: _containers.RepeatedCompositeFieldContainer[LeaseTable]
    def __init__(self, tables: _Optional[_Iterable[_Union[LeaseTable, _Mapping]]] = ...) -> None: ...

class WatchLeasesRequest(_message.Message):
    __slots__ = ("flow_uid",)
    FLOW_UID_FIELD_NUMBER: _ClassVar[int]
    flow_uid: str
    def __init__(self, flow_uid: _Optional[str] = ...) -> None: ...
