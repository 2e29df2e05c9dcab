"""One line of the audit log, as a value."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Phase(enum.StrEnum):
    """What a line is about.

    INTENT is written before a change is made, OUTCOME after it, REFUSED where it was not allowed, TORN where the log
    found that its last line was written by half.
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
        phase: What it is about.
        call: What binds an outcome to its intent: the seq of the intent; 0 on the intent itself.
        actor: Who asked.
        actor_known_by: `certificate`, or `caller` where nothing but the caller's word says so (loopback).
        peer: The address the call came from.
        method: The call.
        flow: Of which flow; empty for none.
        topic: Of which source topic; empty for none.
        reason: Why, in the actor's words.
        before: What was so before.
        after: What is wanted (intent), or is so now (outcome).
        outcome: `ok` or `failed` on an outcome, else empty.
        error: What went wrong, or why it was refused.
        previous: SHA-256 of the bytes of the line before, in hexadecimal; zeros on the first line.
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
