"""One line of the audit log, as a value."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Phase(enum.StrEnum):
    """What kind of line it is.

    INTENT is written before a change, OUTCOME after it, REFUSED if it was not allowed, and TORN if the log found that
    its last line was only half written.
    """

    INTENT = "intent"
    OUTCOME = "outcome"
    REFUSED = "refused"
    TORN = "torn"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line, with an attribute for each of its keys.

    Attributes:
        seq: Its number, from 1, without gaps.
        at: When (RFC 3339, UTC), by this machine's clock.
        phase: What kind of line it is.
        call: Links an outcome to its intent: the seq of the intent; 0 on the intent itself.
        actor: Who made the call.
        actor_known_by: `certificate`, or `caller` if only the caller itself says so (loopback).
        peer: The address that the call came from.
        method: The call.
        flow: The flow; empty for none.
        topic: The source topic; empty for none.
        reason: Why, in the actor's words.
        before: The state before the change.
        after: The state that is wanted (intent), or that now holds (outcome).
        outcome: `ok` or `failed` on an outcome, else empty.
        error: What went wrong, or why it was refused.
        previous: SHA-256 of the bytes of the previous line, in hexadecimal; zeros on the first line.
    """

    seq: int
    at: str
    phase: Phase
    call: int = 0
    actor: str = ""
    actor_known_by: str = ""
    peer: str = ""
    method: str = ""
    flow: str = ""
    topic: str = ""
    reason: str = ""
    before: str = ""
    after: str = ""
    outcome: str = ""
    error: str = ""
    previous: str = ""
