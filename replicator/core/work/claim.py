"""The claim on a shard: only its holder may fill offsets and do unguarded work. The state topic decides who that is.

Wall clocks of machines are never compared: a watcher measures, on its own monotonic clock, how long it has seen no
sign of life, and a holder measures how long ago its last successful renewal *began*.
The holder stops a margin before the TTL, the watcher starts after it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ObservedClaim:
    """A claim as last seen. `renewal` counts signs of life; `since` is when this pair was first seen (monotonic)."""

    number: int
    holder: str
    renewal: int
    released: bool
    since: float


class ClaimAction(enum.Enum):
    """What to do now."""

    TAKE = "take"
    RENEW = "renew"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class Timing:
    """TTL and margin in seconds."""

    ttl_seconds: float
    margin_seconds: float

    @property
    def renew_every_seconds(self) -> float:
        """Leaves room for three tries between a renewal and the end of the holder's right."""
        return (self.ttl_seconds - self.margin_seconds) / 4


def next_action(
    seen: ObservedClaim | None, me: str, now: float, timing: Timing, known_dead: str | None = None
) -> ClaimAction:
    """Return what this daemon does about the claim.

    Args:
        seen: The claim as last seen, None if there never was one.
        me: This daemon's name; it changes with every start.
        now: Monotonic time.
        timing: TTL and margin.
        known_dead: A daemon that is known to have ended; its writes may still arrive (`effective_from`).
    """
    if seen is None or seen.released or seen.holder == known_dead:
        return ClaimAction.TAKE
    if seen.holder == me:
        return ClaimAction.RENEW
    return ClaimAction.TAKE if now - seen.since >= timing.ttl_seconds else ClaimAction.WATCH


def effective_from(seen: ObservedClaim | None, taken_at: float, doubt_seconds: float) -> float:
    """Return when unguarded work may begin after taking over from `seen`.

    A claim that was given back had nothing outstanding. Otherwise a write of the earlier holder may still arrive
    until the doubt time has passed.
    """
    return taken_at if seen is None or seen.released else taken_at + doubt_seconds
