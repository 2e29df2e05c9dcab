"""Who may do what on a daemon, by the name in a client certificate."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class AccessRole(enum.StrEnum):
    """What somebody may do. Each role includes `observe`."""

    OBSERVE = "observe"
    REPLICATE = "replicate"
    """For daemons of a flow: take leases, and ask other daemons about the partitions that they copy. No orders."""
    OPERATE = "operate"
    """Pause and resume, resolve faults, switch over and fail back."""
    FAILOVER = "failover"
    """Open a target whose source is lost, or a source whose target is lost."""


class IdentityKind(enum.StrEnum):
    """Which field of a certificate a name comes from: the same text means a different party in each field."""

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
        identity: `KIND:GLOB`, which matches names of one kind. A glob without a kind matches DNS names, e-mail
            addresses and IP addresses, never URIs or common names.
        roles: What they may do.
        flows: On which flows; globs.
    """

    identity: str
    roles: tuple[AccessRole, ...]
    flows: tuple[str, ...] = ("*",)
