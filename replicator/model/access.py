"""Who may do what with a daemon, by the name in a client certificate."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class AccessRole(enum.StrEnum):
    """What somebody may do. Each includes to observe."""

    OBSERVE = "observe"
    REPLICATE = "replicate"
    """Take leases, and ask other daemons of a flow about the partitions they copy: daemons of a flow."""
    OPERATE = "operate"
    """Pause and resume, resolve faults, switch over and fail back."""
    FAILOVER = "failover"
    """Open a target whose source is lost, or a source whose target is."""


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Somebody's roles.

    Attributes:
        identity: A name in the certificate (a SAN, else the subject's common name); a glob.
        roles: What it may do.
        flows: With which flows; globs.
    """

    identity: str
    roles: tuple[AccessRole, ...]
    flows: tuple[str, ...] = ("*",)
