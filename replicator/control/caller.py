"""Who makes a call, as far as the face that took it knows."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field

from replicator.model.access_rules import Identity


class KnownBy(enum.StrEnum):
    """How a face identifies its callers: a property of its listener, whatever a caller presents."""

    CERTIFICATE = "certificate"
    """Mutual TLS: each caller has presented one, and the names in it count."""
    TOKEN = "token"  # noqa: S105 - a way, not a secret
    """Plain text on loopback: everyone may read, and orders carry the token of the state directory."""
    NOBODY = "nobody"
    """Callers cannot be told apart: they can only read."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes one call. Built once by the face that took it; `access.Access` decides what the caller may do.

    Attributes:
        known_by: How that face identifies its callers.
        peer: The address that the call came from, with its port.
        names: Those in the presented certificate; they count only with `KnownBy.CERTIFICATE`.
        token: What was presented as the token of the state directory; it counts only with `KnownBy.TOKEN`.
        claimed: Who the caller claims to be; this grants no right, and a name in a certificate takes precedence.
        until_seconds: When it stops waiting for an answer, in monotonic time; None: never.
    """

    known_by: KnownBy
    peer: str
    names: tuple[Identity, ...] = ()
    token: str | bytes = field(default="", repr=False)
    claimed: str = ""
    until_seconds: float | None = None

    def seconds_left(self) -> float | None:
        """Return how long it still waits for an answer, at least 0; None: as long as it takes."""
        return None if self.until_seconds is None else max(self.until_seconds - time.monotonic(), 0.0)
