"""The settings of a cluster: frozen values, and the ports that follow from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from replicator.devkit.runtime.distribution import KAFKA_VERSION
from replicator.errors import DevkitError
from replicator.model.security import Mechanism, Protocol

HOST = "127.0.0.1"
PORTS_PER_BROKER = 10
"""Distance between the base ports of two brokers; all listeners of a broker are within it."""

_PORT_MAX = 65535
_USER_TEXT = re.compile(r"[A-Za-z0-9._-]+")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")

FAST_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""For short runs on few cores: they were measured to cut the CPU time of a start by 40 %. Not for benchmarks."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files of one server: its key (PKCS#8, not encrypted), its chain, and the CA it trusts for clients."""

    key_file: Path
    cert_file: Path
    ca_file: Path


@dataclass(frozen=True, slots=True)
class ListenerSecurity:
    """The SECURE listener of every broker.

    Attributes:
        protocol: SSL, SASL_SSL or SASL_PLAINTEXT.
        mechanisms: SASL mechanisms offered. OAUTHBEARER accepts unsecured tokens (see `unsecured_token`).
        users: Name to password, for PLAIN and SCRAM alike: letters, digits and dashes, nothing that Java would quote.
        certificate: Needed when the protocol is TLS.
        client_certificates: Whether clients must present one (mTLS).
    """

    protocol: Protocol
    mechanisms: tuple[Mechanism, ...] = ()
    users: Mapping[str, str] = field(default_factory=dict)
    certificate: Certificate | None = None
    client_certificates: bool = False

    def __post_init__(self) -> None:
        if self.protocol is Protocol.PLAINTEXT:
            raise DevkitError("a SECURE listener cannot be PLAINTEXT", next_step="use the DIRECT listener")
        if self.protocol.tls and self.certificate is None:
            raise DevkitError(f"a {self.protocol} listener needs a certificate")
        if self.protocol.sasl and not self.mechanisms:
            raise DevkitError(f"a {self.protocol} listener needs at least one mechanism")
        for text in (*self.users, *self.users.values()):
            if not _USER_TEXT.fullmatch(text):
                raise DevkitError("user names and passwords of local clusters may have only letters, digits and dashes")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where one broker listens, always on 127.0.0.1.

    Attributes:
        direct: DIRECT: plain text, for the harness and between brokers. Always there.
        controller: CONTROLLER: the KRaft quorum. Always there.
        repl: REPL: where a fault proxy connects to; clients see `ClusterConfig.repl_advertised`.
        secure: SECURE: with TLS and/or SASL.
    """

    direct: int
    controller: int
    repl: int
    secure: int


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """One local cluster of combined broker and controller nodes, numbered from 1.

    Attributes:
        name: Its alias: letters, digits, dashes.
        directory: Holds everything of this cluster, and nothing else: `wipe` removes it.
        base_port: First port; broker *n* uses ``base_port + 10 * (n - 1)`` and the three above it.
        brokers: How many nodes; they form one quorum.
        kafka_version: The version of Kafka.
        heap_mb: Heap of each broker, in MiB.
        overrides: Broker properties that replace ours, or are added.
        jvm_flags: Extra flags of the JVM.
        repl_advertised: Node id to the port that clients of its REPL listener are sent to. Only the brokers named
            here have that listener.
        security: Adds a SECURE listener to every broker.
        authorizer: Whether StandardAuthorizer decides. The DIRECT listener then acts as a super user.
        super_users: Principals such as ``User:admin`` that may do everything, besides the DIRECT listener.
    """

    name: str
    directory: Path
    base_port: int
    brokers: int = 1
    kafka_version: str = KAFKA_VERSION
    heap_mb: int = 384
    overrides: Mapping[str, str] = field(default_factory=dict)
    jvm_flags: tuple[str, ...] = FAST_JVM
    repl_advertised: Mapping[int, int] = field(default_factory=dict)
    security: ListenerSecurity | None = None
    authorizer: bool = False
    super_users: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise DevkitError(
                f"{self.name!r} cannot name a cluster",
                next_step="use lowercase letters, digits and dashes, at most 31",
            )
        if self.brokers < 1:
            raise DevkitError(f"cluster {self.name} needs at least one broker, not {self.brokers}")
        last = self.base_port + PORTS_PER_BROKER * self.brokers
        if self.base_port < 1 or last > _PORT_MAX:
            raise DevkitError(f"cluster {self.name} has no room for ports {self.base_port} to {last}")

    @property
    def node_ids(self) -> tuple[int, ...]:
        """Numbers of the nodes, from 1."""
        return tuple(range(1, self.brokers + 1))

    @property
    def bootstrap(self) -> str:
        """``host:port,...`` of the DIRECT listeners."""
        return ",".join(f"{HOST}:{self.ports(node).direct}" for node in self.node_ids)

    @property
    def secure_bootstrap(self) -> str:
        """``host:port,...`` of the SECURE listeners.

        Raises:
            DevkitError: The cluster has none.
        """
        if self.security is None:
            raise DevkitError(f"cluster {self.name} has no SECURE listener")
        return ",".join(f"{HOST}:{self.ports(node).secure}" for node in self.node_ids)

    @property
    def repl_bootstrap(self) -> str:
        """``host:port,...`` that the REPL listeners advertise.

        Raises:
            DevkitError: The cluster has none.
        """
        if not self.repl_advertised:
            raise DevkitError(f"cluster {self.name} has no REPL listener")
        return ",".join(f"{HOST}:{port}" for port in self.repl_advertised.values())

    def ports(self, node_id: int) -> Ports:
        """Return where a node listens.

        Raises:
            DevkitError: There is no such node.
        """
        if node_id not in self.node_ids:
            raise DevkitError(f"cluster {self.name} has no node {node_id}", why=f"its nodes: {self.node_ids}")
        first = self.base_port + PORTS_PER_BROKER * (node_id - 1)
        return Ports(direct=first, controller=first + 1, repl=first + 2, secure=first + 3)
