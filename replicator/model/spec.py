"""What a flow file means, once loaded: frozen values that every other package reads.

The YAML side (keys, positions, messages) is `replicator.config`; nothing else sees it.
Sizes are bytes, durations are seconds.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

from replicator.model.access_rules import AccessRule
from replicator.model.security import ClusterSpec

HTTP_ADDRESS = ("127.0.0.1", 8480)
RPC_ADDRESS = ("127.0.0.1", 7443)
"""Default addresses where a daemon answers, and where the command line looks for one."""


class Isolation(enum.StrEnum):
    """Which records of the source are copied."""

    READ_COMMITTED = "read_committed"
    READ_UNCOMMITTED = "read_uncommitted"

    @property
    def level(self) -> int:
        """The isolation level in a request, as in `org.apache.kafka.common.IsolationLevel`."""
        return int(self is Isolation.READ_COMMITTED)


class LoopGuard(enum.StrEnum):
    """Which records are left out because a flow of ours wrote them to the source (active/active, same names)."""

    NONE = "none"
    ORIGIN = "origin"


class Offsets(enum.StrEnum):
    """What the target's offsets promise."""

    AUTO = "auto"
    IDENTICAL = "identical"
    MAPPED = "mapped"


class Start(enum.StrEnum):
    """Where topics found at a flow's first start begin; later ones always begin at their first record."""

    EARLIEST = "earliest"
    LATEST = "latest"


class SideName(enum.StrEnum):
    """One side of a flow."""

    SOURCE = "source"
    TARGET = "target"

    @property
    def other(self) -> SideName:
        """The other side."""
        return SideName.TARGET if self is SideName.SOURCE else SideName.SOURCE


class PatternKind(enum.StrEnum):
    """How a pattern is read."""

    GLOB = "glob"
    PREFIX = "prefix"
    REGEX = "regex"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One entry of an include or exclude list. A regex must match the whole name."""

    kind: PatternKind
    text: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Which names are selected: at least one include matches and no exclude does."""

    include: tuple[Pattern, ...]
    exclude: tuple[Pattern, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False)
    """Cached: a selection is part of a lookup key for each name, and may have thousands of patterns."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.include, self.exclude)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Rename:
    """The name of a source topic on the target: by a prefix, or a regex with its replacement, or neither."""

    prefix: str | None = None
    regex: str | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True)
class TopicConfigs:
    """Which topic configs are not copied, and which get a value from the flow file."""

    exclude: tuple[str, ...] = ()
    override: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one flow. `bytes_per_second` None means unlimited."""

    in_flight_bytes: int = 64 << 20
    bytes_per_second: int | None = None


@dataclass(frozen=True, slots=True)
class Objectives:
    """Limits beyond which the operator wants a warning."""

    rpo_seconds: float = 30.0
    lag_records: int = 50_000


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a running flow is verified as it goes, and how fast; `bytes_per_second` counts both sides."""

    continuous: bool = False
    bytes_per_second: int = 8 << 20


@dataclass(frozen=True, slots=True)
class GroupSync:
    """Which consumer groups follow, and the time between rounds. Without an include, none does."""

    groups: Selection = field(default_factory=lambda: Selection((Pattern(PatternKind.GLOB, "*"),)))
    every_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class AclPolicy:
    """Whether rules of the source's authorizer follow, and whether writers other than us are kept off mirrors."""

    mirror: bool = False
    lock_target: bool = False


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """One flow: a directed copy between two clusters with its policy.

    It has an attribute for each key of a flow in the file. A flow that is the reverse of another stands by until the
    other one has been switched over.
    """

    name: str
    source: str
    target: str
    topics: Selection
    rename: Rename = field(default_factory=Rename)
    start: Start = Start.EARLIEST
    offsets: Offsets = Offsets.AUTO
    fill_limit: int = 5_000_000
    follow_log_start: bool = False
    follow_log_start_limit: int = 5_000_000
    isolation: Isolation = Isolation.READ_COMMITTED
    loop_guard: LoopGuard = LoopGuard.NONE
    replication_factor: int | None = None
    topic_configs: TopicConfigs = field(default_factory=TopicConfigs)
    shards: int = 1
    limits: Limits = field(default_factory=Limits)
    objectives: Objectives = field(default_factory=Objectives)
    verify: Verification = field(default_factory=Verification)
    reverse_of: str | None = None
    group_sync: GroupSync = field(default_factory=GroupSync)
    acls: AclPolicy = field(default_factory=AclPolicy)

    @property
    def both_ways(self) -> bool:
        """Whether others write to its target topics too: applications, and flows from other clusters."""
        return self.loop_guard is LoopGuard.ORIGIN


@dataclass(frozen=True, slots=True)
class TlsSpec:
    """Certificates of one server of ours."""

    cert_file: Path
    key_file: Path
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class DaemonSpec:
    """How one daemon runs."""

    state_dir: Path
    site: str | None = None
    http: tuple[str, int] = HTTP_ADDRESS
    http_public: bool = False
    http_hosts: tuple[str, ...] = ()
    rpc: tuple[str, int] = RPC_ADDRESS
    tls: TlsSpec | None = None
    access: tuple[AccessRule, ...] = ()


@dataclass(frozen=True, slots=True)
class CoordinatorSpec:
    """Who coordinates, and the timing of claims and leases.

    `store` is `sqlite` (in the state directory), `etcd`, or `memory` (lost at exit). `endpoints` are those of etcd if
    that is the store, else other coordinators, which are then used instead of an embedded one.
    """

    lease_ttl_seconds: float = 10.0
    lease_margin_seconds: float = 3.0
    store: str = "sqlite"
    endpoints: tuple[tuple[str, int], ...] = ()
    stops_on_loss: bool = False


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole flow file."""

    path: Path
    daemon: DaemonSpec
    coordinator: CoordinatorSpec
    clusters: tuple[ClusterSpec, ...]
    flows: tuple[FlowSpec, ...]

    def cluster(self, alias: str) -> ClusterSpec:
        """Return the cluster with that alias.

        Raises:
            KeyError: No such cluster; the loader has already refused such a file.
        """
        for cluster in self.clusters:
            if cluster.alias == alias:
                return cluster
        raise KeyError(alias)

    def flow(self, name: str) -> FlowSpec:
        """Return the flow with that name.

        Raises:
            KeyError: No such flow.
        """
        for flow in self.flows:
            if flow.name == name:
                return flow
        raise KeyError(name)
