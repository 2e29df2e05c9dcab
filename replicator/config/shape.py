"""The flow file's shape: one class per mapping, one attribute per key.

The texts under the attributes are the documentation: they become the JSON Schema's descriptions.
Defaults are written as in a file. Rules that join several keys are in `lint`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from replicator.config.shape_types import (
    BY_PATTERN_KIND,
    Address,
    Bootstrap,
    Command,
    ConfigValue,
    Count,
    Duration,
    File,
    Flag,
    Glob,
    Name,
    Password,
    Prefix,
    PrefixTag,
    Rate,
    Regex,
    RegexTag,
    Replacement,
    ReplicationFactor,
    Size,
    Text,
    TextTag,
    Version,
)
from replicator.model.access_rules import AccessRole
from replicator.model.security import Mechanism, Protocol
from replicator.model.spec import Isolation, LoopGuard, Offsets, Start


def _default(as_written: object) -> Any:
    """Return a default as a file would write it; it is parsed like any other value."""
    return Field(default=as_written)


class Shape(BaseModel):
    """Base of all mappings: unknown keys are mistakes, a key without a value counts as absent."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = cls.keys()
        return {key: value for key, value in data.items() if value is not None or key not in known}

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Return every key as written in a file."""
        return tuple(info.alias or name for name, info in cls.model_fields.items())


class TlsShape(Shape):
    """Certificates of the daemon's servers; read again when they change."""

    cert_file: File
    """Certificate chain (PEM)."""
    key_file: File
    """Private key (PEM); readable by its owner alone."""
    ca_file: File | None = None
    """Authority that signs client certificates (PEM). Without it, clients need no certificate."""


class AccessShape(Shape):
    """What somebody with a client certificate may do."""

    identity: Text
    """Name in the certificate, with its kind: dns:, email:, uri:, ip: or cn: (common name); `*` matches any text.
    Without a kind it matches DNS names, e-mail addresses and IP addresses."""
    roles: tuple[AccessRole, ...]
    """Any of observe, replicate (for daemons: leases, no orders), operate and failover. Each includes observe."""
    flows: tuple[Text, ...] = ("*",)
    """Flows to which the rule applies; globs."""


class DaemonShape(Shape):
    """How one daemon runs."""

    site: Name | None = None
    """Run only the flows whose `to` is this alias; without it, all flows of the file."""
    state_dir: File = _default("./state")
    """Directory of the local cache, the order token and the audit log. Deleting it changes no result of the copy.
    Relative to this file."""
    http: Address = _default("127.0.0.1:8480")
    """Where /metrics, /healthz, /readyz and /status are served. Beyond loopback this takes `tls` with a `ca_file`, and
    callers need the role observe; or see `http_public`."""
    http_public: Flag = False
    """Beyond loopback: serve /metrics, /healthz and /readyz to everybody in plain text, and nothing else."""
    http_hosts: tuple[Text, ...] = ()
    """Host names under which it may be called without TLS, besides localhost and IP addresses."""
    rpc: Address = _default("127.0.0.1:7443")
    """Where the command line connects (gRPC). Anything but loopback needs `tls`."""
    tls: TlsShape | None = None
    """Certificates of the gRPC and HTTP servers."""
    access: tuple[AccessShape, ...] = ()
    """Who may do what, by client certificate (`tls.ca_file`); what no rule grants is refused. Read again on SIGHUP."""
    workers: Count = 1
    """Number of processes."""


class CoordinatorShape(Shape):
    """Who decides which daemon works on which shard."""

    store: Literal["sqlite", "etcd", "memory"] = "sqlite"
    """Where leases are kept: sqlite (in `state_dir`), etcd, or memory (lost at exit)."""
    endpoints: tuple[Address, ...] = ()
    """Coordinators to ask instead of an embedded one; with `store: etcd`, the members of etcd."""
    lease_ttl: Duration = _default("10s")
    """How long a lease lasts without renewal."""
    lease_margin: Duration = _default("3s")
    """How long before its lease ends a holder stops relying on it; must be below `lease_ttl`."""
    on_loss: Literal["continue", "stop"] = "continue"
    """What a daemon does while no coordinator answers: continue, or stop when its lease ends."""


class SecurityShape(Shape):
    """Credentials and trust for one cluster. Files are read again at each new connection."""

    protocol: Protocol = Protocol.PLAINTEXT
    """Kafka's security.protocol."""
    mechanism: Mechanism | None = None
    """SASL mechanism."""
    username: Text | None = None
    """SASL user name."""
    password: Password | None = None
    """SASL password in the file itself, better as "${VAR}"; excludes `password_file`."""
    password_file: File | None = None
    """File whose first line is the SASL password; readable by its owner alone."""
    token_file: File | None = None
    """File with the OAUTHBEARER token; readable by its owner alone."""
    token_command: Command | None = None
    """Command whose first line of output is the OAUTHBEARER token; run without a shell."""
    ca_file: File | None = None
    """Authorities that sign the brokers' certificates (PEM); without it, the system's."""
    cert_file: File | None = None
    """Our client certificate (PEM), for mutual TLS."""
    key_file: File | None = None
    """Private key of `cert_file` (PEM); readable by its owner alone."""
    check_hostname: Flag = True
    """Whether a broker's certificate must name the host that was connected to."""
    allow_plaintext_password: Flag = False
    """Allow SASL credentials without TLS to a host other than loopback. Anyone on the path can read them."""


class ClientShape(Shape):
    """How the daemon talks to one cluster."""

    connections_per_broker: Count = 1
    """Connections to each broker."""
    request_timeout: Duration = _default("30s")
    """How long a response may take."""
    doubt_margin: Duration = _default("30s")
    """How long after `request_timeout` a request without a response may still take effect on the broker."""


class ClusterShape(Shape):
    """One Kafka cluster."""

    bootstrap: Bootstrap
    """Brokers to ask first: host:port, separated by commas."""
    cluster_id: Text | None = None
    """The cluster's expected id; a cluster with another id is refused. Recommended: see the runbook."""
    security: SecurityShape = Field(default_factory=SecurityShape)
    """Credentials and trust."""
    client: ClientShape = Field(default_factory=ClientShape)
    """How the daemon talks to it."""


class PrefixShape(Shape):
    """Names with a given prefix."""

    prefix: Prefix
    """The prefix."""


class RegexShape(Shape):
    """Names that match a regular expression as a whole."""

    regex: Regex
    """Regular expression (RE2 syntax); it must match the whole name."""


PatternShape = Annotated[
    Annotated[Glob, TextTag] | Annotated[PrefixShape, PrefixTag] | Annotated[RegexShape, RegexTag],
    BY_PATTERN_KIND,
]


class RenameShape(Shape):
    """Names of topics on the target: `prefix`, or `regex` with `to`; without either, the same name."""

    prefix: Prefix | None = None
    """Put before every name."""
    regex: Regex | None = None
    """Regular expression (RE2 syntax) that must match the whole name; other names stay the same."""
    to: Replacement | None = None
    """Replacement for what `regex` matches; \\1 is the first group."""


class TopicsShape(Shape):
    """Which topics a flow copies."""

    include: Annotated[tuple[PatternShape, ...], Field(min_length=1)]
    """Topics to copy. Plain text is a glob. Topics named `__*` or `replicator.*` never match."""
    exclude: tuple[PatternShape, ...] = ()
    """Exceptions to `include`."""
    rename: RenameShape = Field(default_factory=RenameShape)
    """Names of topics on the target."""


class TopicConfigsShape(Shape):
    """Topic configs follow the source, with these exceptions."""

    exclude: tuple[Text, ...] = ()
    """Names of configs that are not copied."""
    override: dict[str, ConfigValue] = Field(default_factory=dict)
    """Configs that get another value on the target."""


class GroupsShape(Shape):
    """Which consumer groups follow."""

    include: tuple[PatternShape, ...] = _default(("*",))
    """Groups whose commits follow. Plain text is a glob. `__*` and `replicator.*` never match, and groups of Kafka's
    console tools match only by full name. An empty list: no group follows."""
    exclude: tuple[PatternShape, ...] = ()
    """Exceptions to `include`."""
    sync_every: Duration = _default("5s")
    """Time between two rounds."""


class AclsShape(Shape):
    """What happens to access rules (ACLs)."""

    mirror: Flag = False
    """Copy the source's ACLs for mirrored topics, groups that follow and transactional ids. WRITE is granted only when
    the target is opened."""
    lock_target: Flag = False
    """Keep everybody but the replicator from writing to mirrors, until the target is opened."""


class LimitsShape(Shape):
    """Bounds of one flow."""

    in_flight_bytes: Size = _default("64MiB")
    """Bytes read from the source and not yet acknowledged by the target. One opened batch may take half of it."""
    bytes_per_second: Rate = _default("unlimited")
    """Upper bound of the copy rate."""


class ObjectivesShape(Shape):
    """What `failover --rehearse` holds the flow against."""

    rpo: Duration = _default("30s")
    """Seconds of data at risk."""
    lag_records: Count = 50_000
    """Records behind the source."""


class VerifyShape(Shape):
    """Whether a running flow compares source and target record by record."""

    continuous: Flag = False
    """Keep comparing newly copied records, beginning at the log start after each start of the daemon."""
    bytes_per_second: Size = _default("8MiB")
    """Upper bound of what it reads per second, from both sides together."""


# One attribute per key that a flow has in the file: grouping them here would group the keys as well.
class FlowShape(Shape):
    """A directed copy between two clusters."""

    source: Name = Field(alias="from")
    """Alias of the cluster to read."""
    target: Name = Field(alias="to")
    """Alias of the cluster to write."""
    reverse_of: Name | None = None
    """The flow whose way back this is. It copies nothing until a switch of that flow turns both round."""
    topics: TopicsShape
    """Which topics are copied."""
    start: Start = Start.EARLIEST
    """Where to begin with topics found at the flow's first start. Later topics always begin at their first record."""
    offsets: Offsets = Offsets.AUTO
    """auto (identical offsets, mapped where that is impossible), identical, or mapped."""
    fill_limit: Count = 5_000_000
    """Longest run of offsets without a record that is filled with markers on the target."""
    isolation: Isolation = Isolation.READ_COMMITTED
    """read_committed, or read_uncommitted: aborted records are copied as well."""
    strategy: Literal["sequence", "transaction"] = "sequence"
    """How exactly-once is achieved: by producer sequence numbers, or by transactions on the target."""
    loop_guard: LoopGuard = LoopGuard.NONE
    """none, or origin: applications write to both sides under the same names, and records that a flow wrote are not
    copied again."""
    replication_factor: ReplicationFactor = _default("source")
    """Replication factor of topics created on the target: a number, or source for the same as there."""
    topic_configs: TopicConfigsShape = Field(default_factory=TopicConfigsShape)
    """Which topic configs follow."""
    follow_log_start: Flag = False
    """Whether the target's log starts follow the source's, by DeleteRecords on the target."""
    follow_log_start_limit: Count = 5_000_000
    """Most offsets of one partition that are deleted in one step; a longer move is reported, not made."""
    groups: GroupsShape = Field(default_factory=GroupsShape)
    """Which consumer groups follow."""
    acls: AclsShape = Field(default_factory=AclsShape)
    """What happens to access rules (ACLs)."""
    shards: Count = 1
    """Number of parts that can run on different daemons. Change it only while all daemons of the flow are stopped."""
    limits: LimitsShape = Field(default_factory=LimitsShape)
    """Bounds."""
    objectives: ObjectivesShape = Field(default_factory=ObjectivesShape)
    """What `failover --rehearse` holds the flow against."""
    verify: VerifyShape = Field(default_factory=VerifyShape)
    """Whether a running flow is verified."""


class FileShape(Shape):
    """A replicator flow file."""

    version: Version
    """Version of the file format: 1."""
    include: tuple[Text, ...] = ()
    """More files with clusters and flows; globs, relative to this file."""
    daemon: DaemonShape = Field(default_factory=DaemonShape)
    """How one daemon runs."""
    coordinator: CoordinatorShape = Field(default_factory=CoordinatorShape)
    """Who decides which daemon works on which shard."""
    clusters: dict[Name, ClusterShape]
    """The clusters, by alias."""
    flows: dict[Name, FlowShape]
    """The flows, by name."""
