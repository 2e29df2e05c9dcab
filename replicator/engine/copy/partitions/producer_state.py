"""When this daemon may send from the place a partition has reached: with the target's guard, and without it.

The guard is the target broker's memory of our last sequence (`core.copy.machine`). While it is on, nothing can be
doubled, whoever sends. While it is off, or about to end, only the claim's holder may send, and only from a place that
nobody can have moved since it was proven.
"""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from replicator.errors import ReplicatorError
from replicator.obs import bugs
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.engine.copy.partitions.fill_route import FillRoute
    from replicator.engine.copy.partitions.partition import Slot

PROVEN_SECONDS_MAX = 5.0
"""Without the claim, a batch is sent only from a place proven within this time."""
_REPEATS_MAX = 5
"""Batches of one producer that a broker recognizes when they are sent again (`ProducerStateEntry`).

This often, another daemon may take the acknowledgement of a repeat for a proof of its place, while we have moved on.
"""
_READ_SECONDS_MAX = 1800.0
"""Unguarded work must start from a place at which the log was read to end within this time.

If another daemon has made a guarded append since then, the broker still remembers it: producer state outlives the
append by at least an hour (the margin between guard and expiry), so our stale sequence would be refused.
"""

log = get_logger(__name__)


class Claim(Protocol):
    """What the guard asks about the claim on a shard."""

    def effective_since(self) -> float | None:
        """Return the monotonic time since which only this daemon may do unguarded work; None if it may not now."""

    @property
    def number(self) -> int:
        """The number of our claim, 0 for none."""

    @property
    def holder(self) -> str | None:
        """Who holds the claim, as last seen."""


class Others(Protocol):
    """What the guard asks about other daemons of the flow."""

    def is_known(self) -> bool:
        """Return whether others certainly see this daemon as present now."""

    async def is_alone(self) -> bool:
        """Return whether no other daemon can still write; reads the state topic."""


class Withheld(enum.Enum):
    """Why a batch that the broker might not remember cannot be sent now."""

    NO_CLAIM = enum.auto()
    """It is not ours to send: the claim, or a place proven since the claim became effective, is missing."""
    ASKING = enum.auto()
    """We are finding out whether another daemon is there, which takes a moment."""
    CROWDED = enum.auto()
    """Another daemon is there: the guard must not end until the places it has proven are too old to be used."""


class Guard:
    """Decides when one pump may send, fill, and end the target's guard.

    Args:
        claim: The claim on the shard.
        others: The other daemons of the flow.
        doubt_seconds: How long a request may still take effect after its connection was closed.
        now: Monotonic time.
        now_ms: Wall clock in ms, to compare with record times.
        on_known: Called once it is known whether other daemons are there.
    """

    def __init__(
        self,
        claim: Claim,
        others: Others,
        doubt_seconds: float,
        now: Callable[[], float],
        now_ms: Callable[[], int],
        on_known: Callable[[], None],
    ) -> None:
        self.claim = claim
        self._others = others
        self._silence_seconds = PROVEN_SECONDS_MAX * _REPEATS_MAX + doubt_seconds
        self._now = now
        self._now_ms = now_ms
        self._on_known = on_known
        self._alone_at = 0.0
        self._crowded_at = 0.0
        self._asking: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Stop asking about other daemons."""
        if self._asking is not None:
            self._asking.cancel()

    def proven_since(self) -> float:
        """Return the time since which a place must have been proven before anything may be sent from it.

        Once its claim is effective, nobody else's unguarded work can overtake the holder. Any other daemon continues
        from fresh places only, so that the holder knows when all older places are dead; and only while the holder can
        know about that daemon. An old place does not come back to life with the claim: the previous holder may have let
        the guard end.
        """
        fresh = self._now() - PROVEN_SECONDS_MAX
        since = self.claim.effective_since()
        if since is not None:
            return min(since, fresh)
        return fresh if self._others.is_known() else float("inf")

    def may_work_unguarded(self, slot: Slot) -> bool:
        """Return whether a batch that the broker might not remember may be sent for this partition now."""
        if not self.may_fill(slot):
            return False
        return not slot.copy.sending.guard_is_on(self._now_ms()) or self._may_end(slot, self._now())

    def may_fill(self, slot: Slot) -> bool:
        """Return whether markers may be appended now: the claim is ours, and the log end was read since it is.

        An acknowledgement is not enough. Otherwise: we prove our place; the claim's holder moves on, fills a hole and
        gives the claim back; we take it; the broker acknowledges our batch as a repeat of the holder's. Then we would
        fill the same hole again, at the end of the log.
        """
        since = self.claim.effective_since()
        if since is None:
            return False
        read_at = slot.proof.read_at
        return read_at >= max(since, slot.attach.doubt_until) and self._now() - read_at < _READ_SECONDS_MAX

    def _may_end(self, slot: Slot, now: float) -> bool:
        """Return whether the guard may end: no other daemon can still send from a place proven before the last move.

        Otherwise: another daemon proves its place, we move on, our old record times make the broker's producer state
        expire, and the broker accepts the other daemon's guarded batch a second time.
        """
        return self._alone_at >= slot.proof.moved_at or now - slot.proof.moved_at >= self._silence_seconds

    def why_withheld(self, slot: Slot) -> Withheld:
        """Return why `may_work_unguarded` is False; asks about other daemons if only that answer is missing."""
        if self.claim.effective_since() is None or not slot.copy.sending.guard_is_on(self._now_ms()):
            return Withheld.NO_CLAIM
        if max(self._alone_at, self._crowded_at) < slot.proof.moved_at:
            if self._asking is None:
                self._asking = asyncio.get_running_loop().create_task(self._ask())
            return Withheld.ASKING
        if self._alone_at < slot.proof.moved_at:
            slot.attach.rest_until = slot.proof.moved_at + self._silence_seconds
            return Withheld.CROWDED
        return Withheld.NO_CLAIM

    async def _ask(self) -> None:
        began = self._now()
        try:
            if await self._others.is_alone():
                self._alone_at = began
            else:
                self._crowded_at = began
        except ReplicatorError as error:
            log.debug("others not known", why=str(error))
            self._crowded_at = began
        except Exception as bug:  # noqa: BLE001 - a separate task: whoever waits for its answer would wait for ever
            bugs.note(bug)
            self._crowded_at = began
        finally:
            self._asking = None
        self._on_known()


@dataclass(frozen=True, slots=True)
class ShardProducer:
    """How this daemon writes to the partitions of one shard.

    Attributes:
        guard: Decides when batches and markers may be sent.
        fill_route: How markers reach the target.
    """

    guard: Guard
    fill_route: FillRoute
