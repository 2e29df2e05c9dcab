"""Who may do what with a daemon, by the name in a client certificate."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class AccessRole(enum.StrEnum):
    """What somebody may do. Each includes to observe."""

    OBSERVE = "observe"
    REPLICATE = "replicate"
    """Take leases, and ask other daemons of a flow about the partitions they copy: daemons of a flow. No orders."""
    OPERATE = "operate"
    """Pause and resume, resolve faults, switch over and fail back."""
    FAILOVER = "failover"
    """Open a target whose source is lost, or a source whose target is."""


class IdentityKind(enum.StrEnum):
    """Which field of a certificate a name comes from: the same text means another party in each of them."""

    DNS = "dns"
    EMAIL = "email"
    URI = "uri"
    IP = "ip"
    COMMON_NAME = "cn"


@dataclass(frozen=True, slots=True)
class Identity:
    """A name in a client certificate, shown as `KIND:NAME`."""

    kind: IdentityKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Somebody's roles.

    Attributes:
        identity: `KIND:GLOB`, about names of one kind. A glob without a kind is about DNS names, e-mail addresses and
            IP addresses, never about URIs or common names.
        roles: What it may do.
        flows: With which flows; globs.
    """

    identity: str
    roles: tuple[AccessRole, ...]
    flows: tuple[str, ...] = ("*",)
