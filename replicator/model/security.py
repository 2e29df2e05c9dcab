"""How to reach one cluster: values that the YAML loader, the wire package and the admin package share."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path


class Protocol(enum.StrEnum):
    """Kafka's `security.protocol`."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def tls(self) -> bool:
        """Whether the connection is TLS."""
        return self in {Protocol.SSL, Protocol.SASL_SSL}

    @property
    def sasl(self) -> bool:
        """Whether the connection authenticates by SASL."""
        return self in {Protocol.SASL_PLAINTEXT, Protocol.SASL_SSL}


class Mechanism(enum.StrEnum):
    """Supported SASL mechanisms."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"


class Secret:
    """Text that never shows itself: not in repr, str, logs or tracebacks.

    It compares by value, and is read only through `reveal`.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; call it where it goes on the wire and nowhere else."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True)
class Security:
    """Credentials and trust for one cluster.

    Files are kept as paths and read at each new connection, so a rotated password or certificate is used
    without a restart. `password` and `password_file` exclude each other, as do `token_file` and
    `token_command` (a command line, run without a shell, whose first line of output is the token).
    """

    protocol: Protocol = Protocol.PLAINTEXT
    mechanism: Mechanism | None = None
    username: str | None = None
    password: Secret | None = None
    password_file: Path | None = None
    token_file: Path | None = None
    token_command: tuple[str, ...] | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    check_hostname: bool = True


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """One cluster of a flow file.

    `bootstrap` holds (host, port) pairs. Durations are seconds.
    """

    alias: str
    bootstrap: tuple[tuple[str, int], ...]
    cluster_id: str | None = None
    security: Security = field(default_factory=Security)
    connections_per_broker: int = 1
    request_timeout_seconds: float = 30.0
    doubt_margin_seconds: float = 30.0

    @property
    def doubt_seconds(self) -> float:
        """How long a request of ours may still take effect after its connection is closed (DESIGN: doubt time)."""
        return self.request_timeout_seconds + self.doubt_margin_seconds
