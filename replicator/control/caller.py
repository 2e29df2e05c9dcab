"""Who makes a call, as the face that took it can tell."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field

from replicator.model.access_rules import Identity


class KnownBy(enum.StrEnum):
    """How a face tells its callers apart: a property of its listener, whatever a caller shows."""

    CERTIFICATE = "certificate"
    """Mutual TLS: each has shown one, and the names in it count."""
    TOKEN = "token"  # noqa: S105 - a way, no secret
    """Plain text on loopback: everybody may look, and orders carry the token of the state directory."""
    NOBODY = "nobody"
    """Nobody can be told from anybody else: reading is all there is."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes one call. Made once by the face that took it; what he may do is decided elsewhere (`access.Access`).

    Attributes:
        known_by: How that face tells its callers apart.
        peer: The address that the call came from, with its port.
        names: Those in the certificate that was shown; they count with `KnownBy.CERTIFICATE` alone.
        token: What was shown as the token of the state directory; it counts with `KnownBy.TOKEN` alone.
        claimed: Who the caller says to be; that gives no right, and no name where a certificate has one.
        until_seconds: When it stops waiting for an answer, in monotonic time; None: it does not.
    """

    known_by: KnownBy
    peer: str
    names: tuple[Identity, ...] = ()
    token: str | bytes = field(default="", repr=False)
    claimed: str = ""
    until_seconds: float | None = None

    def seconds_left(self) -> float | None:
        """Return how long it still waits for an answer, not below 0; None: as long as it takes."""
        return None if self.until_seconds is None else max(self.until_seconds - time.monotonic(), 0.0)
