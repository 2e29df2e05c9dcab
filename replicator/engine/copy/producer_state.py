"""When this daemon may send from the place a partition stands at: with the target's guard, and without it.

The guard is the target broker's memory of our last sequence (`core.copy.machine`). Where it stands, nothing can be
doubled, whoever sends. Where it does not, or is about to go, only the claim's holder may send, and only from a place
that nobody can have moved since it was proven.
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

    from replicator.engine.copy.fill_route import FillRoute
    from replicator.engine.copy.partition import Slot

PROVEN_SECONDS_MAX = 5.0
"""Without the claim, a batch is sent only from a place proven within this time."""
_REPEATS_MAX = 5
"""Batches of one producer that a broker recognizes when they are sent again (`ProducerStateEntry`).

So often another daemon may take a repeat's acknowledgement for a proof of its place, while we have gone on.
"""
_READ_SECONDS_MAX = 1800.0
"""Unguarded work rests on a place that the log was read to end at within this time.

Another daemon's guarded append since then would still be remembered by the broker: its state lives at least an hour
(the margin between guard and expiry) longer than the append, so our stale sequence would be refused.
"""

log = get_logger(__name__)


class Claim(Protocol):
    """What is asked of the claim on a shard."""

    def effective_since(self) -> float | None:
        """Return the monotonic time since which this daemon alone may do unguarded work, None if it may not now."""

    @property
    def number(self) -> int:
        """The number of our claim, 0 for none."""

    @property
    def holder(self) -> str | None:
        """Who holds the claim, as last seen."""


class Others(Protocol):
    """What is asked about other daemons of the flow."""

    def is_known(self) -> bool:
        """Return whether others surely see this daemon as present now."""

    async def is_alone(self) -> bool:
        """Return whether no other daemon may have an effect; reads the state topic."""


class Standing(enum.Enum):
    """How a batch that the broker might not remember stands."""

    NO_CLAIM = enum.auto()
    """Not ours to send now: the claim, or a place proven since it became effective, is missing."""
    ASKING = enum.auto()
    """Whether another daemon is there is being found out; a moment."""
    CROWDED = enum.auto()
    """Another daemon is there: the guard must not go before its places are too old to be used."""


class Guard:
    """The policy of one pump.

    Args:
        claim: The claim on the shard.
        others: The other daemons of the flow.
        doubt_seconds: How long a request may still take effect after its connection was closed.
        now: Monotonic time.
        now_ms: Wall clock in ms, to compare with record times.
        on_known: Called when it was found out whether others are there.
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
        """Stop."""
        if self._asking is not None:
            self._asking.cancel()

    def proven_since(self) -> float:
        """Return since when a place must have been proven to send from it at all.

        Since its claim became effective, the holder is not overtaken by unguarded work. Any other daemon goes on from
        fresh places only, so that the holder can tell when all older ones are dead; and only while the holder can know
        of it. An old place does not come back to life with the claim: the holder before us may have let the guard end.
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
        """Return whether markers may be appended now: ours alone, at a place that was read since that is so.

        An acknowledgement is not enough. Order of events otherwise: we prove our place; the claim's holder goes on,
        fills a hole and gives the claim back; we take it; the broker acknowledges our batch as a repeat of the
        holder's. Then we would fill the same hole again, at the end of all that.
        """
        since = self.claim.effective_since()
        if since is None:
            return False
        read_at = slot.proof.read_at
        return read_at >= max(since, slot.attach.doubt_until) and self._now() - read_at < _READ_SECONDS_MAX

    def _may_end(self, slot: Slot, now: float) -> bool:
        """Return whether the guard may go: no other daemon can still send from a place it proved before the last move.

        Order of events otherwise: another daemon proves its place, we move on, our old batch ages the broker's state
        away, and the other's guarded batch is taken a second time.
        """
        return self._alone_at >= slot.proof.moved_at or now - slot.proof.moved_at >= self._silence_seconds

    def standing(self, slot: Slot) -> Standing:
        """Return why `may_work_unguarded` says no; asks about other daemons where that is what is missing."""
        if self.claim.effective_since() is None or not slot.copy.sending.guard_is_on(self._now_ms()):
            return Standing.NO_CLAIM
        if max(self._alone_at, self._crowded_at) < slot.proof.moved_at:
            if self._asking is None:
                self._asking = asyncio.get_running_loop().create_task(self._ask())
            return Standing.ASKING
        if self._alone_at < slot.proof.moved_at:
            slot.attach.rest_until = slot.proof.moved_at + self._silence_seconds
            return Standing.CROWDED
        return Standing.NO_CLAIM

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
        except Exception as bug:  # noqa: BLE001 - a task of its own: who waits for its answer would wait for ever
            bugs.note(bug)
            self._crowded_at = began
        finally:
            self._asking = None
        self._on_known()


@dataclass(frozen=True, slots=True)
class ShardProducer:
    """How this daemon writes to the partitions of one shard.

    Attributes:
        guard: When batches and markers may be sent.
        fill_route: How markers reach the target.
    """

    guard: Guard
    fill_route: FillRoute
