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
    """Give a default the way a file would write it; it is parsed like any other value."""
    return Field(default=as_written)


class Shape(BaseModel):
    """Base of all mappings: unknown keys are mistakes, a key without a value counts as not written."""

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
    """Certificates of the daemon's gRPC server; re-read when they change."""

    cert_file: File
    """Certificate chain (PEM)."""
    key_file: File
    """Private key (PEM); readable by its owner alone."""
    ca_file: File | None = None
    """Authority that signs the clients' certificates (PEM); without it clients need none."""


class AccessShape(Shape):
    """What somebody with a client certificate may do."""

    identity: Text
    """Name in the certificate, with its kind: dns:, email:, uri:, ip: or cn: (common name); `*` stands for any text.
    Without a kind it is a DNS name, an e-mail address or an IP address."""
    roles: tuple[AccessRole, ...]
    """observe, replicate (daemons: leases, no orders), operate, failover; each of them includes to observe."""
    flows: tuple[Text, ...] = ("*",)
    """With which flows."""


class DaemonShape(Shape):
    """How one daemon runs."""

    site: Name | None = None
    """Runs only the flows whose `to` is this alias; without it, all flows of the file."""
    state_dir: File = _default("./state")
    """Directory of the local cache; losing it changes no result. Relative to this file."""
    http: Address = _default("127.0.0.1:8480")
    """Where /metrics, /healthz, /readyz and /status answer. Beyond loopback by TLS, to certificates that `access` gives
    the role observe; or see `http_public`."""
    http_public: Flag = False
    """Beyond loopback: /metrics, /healthz and /readyz for everybody, in plain text, and nothing else."""
    http_hosts: tuple[Text, ...] = ()
    """Names by which it is called without TLS, beside localhost and addresses."""
    rpc: Address = _default("127.0.0.1:7443")
    """Where the command line connects (gRPC); anything but loopback needs `tls`."""
    tls: TlsShape | None = None
    """Certificates of the gRPC server."""
    access: tuple[AccessShape, ...] = ()
    """Who may do what, by client certificates (`tls.ca_file`): nobody anything else. Read again on SIGHUP."""
    workers: Count = 1
    """Number of processes."""


class CoordinatorShape(Shape):
    """Who decides which daemon runs a flow."""

    store: Literal["sqlite", "etcd", "memory"] = "sqlite"
    """Where leases and desired states are kept: sqlite (embedded), etcd, or memory (lost at exit)."""
    endpoints: tuple[Address, ...] = ()
    """Other coordinators, or etcd endpoints."""
    lease_ttl: Duration = _default("10s")
    """How long a lease lasts without renewal."""
    lease_margin: Duration = _default("3s")
    """How long before the end of its lease a holder stops; must be below `lease_ttl`."""
    on_loss: Literal["continue", "stop"] = "continue"
    """What a daemon does while no coordinator answers."""


class SecurityShape(Shape):
    """Credentials and trust for one cluster. Files are read again at each new connection."""

    protocol: Protocol = Protocol.PLAINTEXT
    """Kafka's security.protocol."""
    mechanism: Mechanism | None = None
    """SASL mechanism."""
    username: Text | None = None
    """SASL user name."""
    password: Password | None = None
    """SASL password in place, better as "${VAR}"; excludes `password_file`."""
    password_file: File | None = None
    """File whose first line is the SASL password; readable by its owner alone."""
    token_file: File | None = None
    """File that holds the OAUTHBEARER token; readable by its owner alone."""
    token_command: Command | None = None
    """Command whose first line of output is the OAUTHBEARER token; run without a shell."""
    ca_file: File | None = None
    """Authorities that sign the brokers' certificates (PEM); without it, the system's."""
    cert_file: File | None = None
    """Our client certificate (PEM), for mutual TLS."""
    key_file: File | None = None
    """Private key of `cert_file` (PEM); readable by its owner alone."""
    check_hostname: Flag = True
    """Whether a broker's certificate must name the host we connected to."""
    allow_plaintext_password: Flag = False
    """Send SASL credentials without TLS to a host that is not loopback. Anyone on the way can read them."""


class ClientShape(Shape):
    """How we talk to one cluster."""

    connections_per_broker: Count = 1
    """Connections to each broker."""
    request_timeout: Duration = _default("30s")
    """How long an answer may take."""
    doubt_margin: Duration = _default("30s")
    """Added to `request_timeout`: how long a lost request may still take effect at the broker."""


class ClusterShape(Shape):
    """One Kafka cluster."""

    bootstrap: Bootstrap
    """First brokers to ask: host:port, separated by commas."""
    cluster_id: Text | None = None
    """The cluster's expected id; a cluster with another id is refused."""
    security: SecurityShape = Field(default_factory=SecurityShape)
    """Credentials and trust."""
    client: ClientShape = Field(default_factory=ClientShape)
    """How we talk to it."""


class PrefixShape(Shape):
    """Names that begin with a text."""

    prefix: Prefix
    """How the names begin."""


class RegexShape(Shape):
    """Names that a regular expression matches as a whole."""

    regex: Regex
    """Python regular expression; it must match the whole name."""


PatternShape = Annotated[
    Annotated[Glob, TextTag] | Annotated[PrefixShape, PrefixTag] | Annotated[RegexShape, RegexTag],
    BY_PATTERN_KIND,
]


class RenameShape(Shape):
    """How topics are called on the target: `prefix`, or `regex` with `to`; without any, the same name."""

    prefix: Prefix | None = None
    """Put before every name."""
    regex: Regex | None = None
    """Python regular expression that must match the whole name; other names stay the same."""
    to: Replacement | None = None
    """What `regex` is replaced with; \\1 stands for the first group."""


class TopicsShape(Shape):
    """Which topics a flow copies."""

    include: Annotated[tuple[PatternShape, ...], Field(min_length=1)]
    """Topics to copy. Plain text is a glob. Internal topics are never matched."""
    exclude: tuple[PatternShape, ...] = ()
    """Topics not to copy although included."""
    rename: RenameShape = Field(default_factory=RenameShape)
    """How topics are called on the target."""


class TopicConfigsShape(Shape):
    """Topic configs follow the source, with these exceptions."""

    exclude: tuple[Text, ...] = ()
    """Names of configs that are not copied."""
    override: dict[str, ConfigValue] = Field(default_factory=dict)
    """Configs that get a value of ours on the target."""


class GroupsShape(Shape):
    """Which consumer groups follow."""

    include: tuple[PatternShape, ...] = _default(("*",))
    """Groups to keep in step. Plain text is a glob. Never matched: `__*`, `replicator.*`, those of Kafka's console
    tools. An empty list: none follow."""
    exclude: tuple[PatternShape, ...] = ()
    """Groups to leave alone although included."""
    sync_every: Duration = _default("5s")
    """Time between two rounds."""


class AclsShape(Shape):
    """What happens to access rights."""

    mirror: Flag = False
    """Copy the source's ACLs of mirrored topics."""
    lock_target: Flag = False
    """Deny writes of others to mirrors on the target."""


class LimitsShape(Shape):
    """Bounds of one flow."""

    in_flight_bytes: Size = _default("64MiB")
    """Bytes read from the source and not yet acknowledged by the target."""
    bytes_per_second: Rate = _default("unlimited")
    """Upper bound of the copy rate."""


class ObjectivesShape(Shape):
    """What you want to be warned about."""

    rpo: Duration = _default("30s")
    """Seconds of data at risk."""
    lag_records: Count = 50_000
    """Records behind the source."""


class VerifyShape(Shape):
    """Whether a running flow compares source and target record by record."""

    continuous: Flag = False
    """Compare again and again what was copied since the last look, from the log start on."""
    bytes_per_second: Size = _default("8MiB")
    """Upper bound of what it reads, over both sides."""


# As many attributes as a flow has keys in the file: to group them here would group them there.
class FlowShape(Shape):
    """A directed copy between two clusters."""

    source: Name = Field(alias="from")
    """Alias of the cluster to read."""
    target: Name = Field(alias="to")
    """Alias of the cluster to write."""
    reverse_of: Name | None = None
    """The flow whose way back this is: it copies nothing until that one was switched over, or failed back."""
    topics: TopicsShape
    """Which topics."""
    start: Start = Start.EARLIEST
    """Where topics found at the first start begin; later ones always begin at their first record."""
    offsets: Offsets = Offsets.AUTO
    """What the target's offsets promise: auto (identical where possible), identical, or mapped."""
    fill_limit: Count = 5_000_000
    """Longest run of offsets without a record that is filled with markers."""
    isolation: Isolation = Isolation.READ_COMMITTED
    """Which records are copied."""
    strategy: Literal["sequence", "transaction"] = "sequence"
    """How exactly-once is reached: by producer sequence numbers, or by transactions on the target."""
    loop_guard: LoopGuard = LoopGuard.NONE
    """Whether records that another flow of ours wrote are left out (active/active under the same names)."""
    replication_factor: ReplicationFactor = _default("source")
    """Replicas of topics we create: source (as there), or a number."""
    topic_configs: TopicConfigsShape = Field(default_factory=TopicConfigsShape)
    """Which topic configs follow."""
    follow_log_start: Flag = False
    """Whether the target's logs begin where the source's do: DeleteRecords on the target, each time it has moved."""
    follow_log_start_limit: Count = 5_000_000
    """Most offsets of a partition that are deleted at once to follow."""
    groups: GroupsShape = Field(default_factory=GroupsShape)
    """Which consumer groups follow."""
    acls: AclsShape = Field(default_factory=AclsShape)
    """What happens to access rights."""
    shards: Count = 1
    """Number of parts that may run on different daemons."""
    limits: LimitsShape = Field(default_factory=LimitsShape)
    """Bounds."""
    objectives: ObjectivesShape = Field(default_factory=ObjectivesShape)
    """What you want to be warned about."""
    verify: VerifyShape = Field(default_factory=VerifyShape)
    """Whether the running flow is verified as it goes."""


class FileShape(Shape):
    """A replicator flow file."""

    version: Version
    """Version of this format."""
    include: tuple[Text, ...] = ()
    """More files with clusters and flows; globs, relative to this file."""
    daemon: DaemonShape = Field(default_factory=DaemonShape)
    """How one daemon runs."""
    coordinator: CoordinatorShape = Field(default_factory=CoordinatorShape)
    """Who decides which daemon runs a flow."""
    clusters: dict[Name, ClusterShape]
    """The clusters, by alias."""
    flows: dict[Name, FlowShape]
    """The flows, by name."""
