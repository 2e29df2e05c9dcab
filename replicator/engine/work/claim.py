"""Holds, renews, watches and gives back the claim on one shard (the decisions are `core.work.claim`)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from replicator.backoff import Backoff
from replicator.core.work.claim import ClaimAction, ObservedClaim, Timing, effective_from, next_action
from replicator.engine.state import records as state
from replicator.errors import DamagedRecord, ReplicatorError
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.engine.state.topic.log import Change, StateLog

_PAUSE_SECONDS_MAX = 5.0
_REPORT_EVERY_SECONDS = 60.0
_UNREAD_MAX = 64
"""Signs of life that were written and not read back: of more than these, only the newest are remembered."""

log = get_logger(__name__)


class ClaimKeeper:
    """The claim on one shard, as one daemon sees and keeps it.

    What was seen of it, what is ours of it and until when change together, in a callback of the state topic or between
    two awaits of a step: they stand side by side so that each step reads as one decision.

    Args:
        state_log: The state topic.
        flow_uid: The flow.
        shard: The shard.
        me: This daemon's name, new with every start.
        timing: TTL and margin.
        doubt_seconds: How long a write of an earlier holder may still arrive.
        known_dead: A daemon that is known to have ended.
        now: Monotonic time.

    Attributes:
        problem: Why it cannot be kept, with the next step; None while it can.
    """

    def __init__(
        self,
        state_log: StateLog,
        flow_uid: str,
        shard: int,
        me: str,
        timing: Timing,
        doubt_seconds: float,
        known_dead: str | None = None,
        *,
        now: Callable[[], float],
    ) -> None:
        self._log = state_log
        self._uid = flow_uid
        self._shard = shard
        self._me = me
        self._timing = timing
        self._doubt_seconds = doubt_seconds
        self._known_dead = known_dead
        self.problem: str | None = None
        self._reported_at = 0.0
        self._lease_epoch = 0
        self._kicked = asyncio.Event()
        self._working = asyncio.Lock()
        self._now = now
        self._seen: ObservedClaim | None = None
        self._damaged: DamagedRecord | None = None
        self._held = 0
        self._renewal = 0
        self._valid_until = 0.0
        self._effective_at = 0.0
        self._proven_at = 0.0
        self._unread: deque[tuple[int, float]] = deque(maxlen=_UNREAD_MAX)
        self._keys = {state.claim_key(flow_uid, shard), state.renewal_key(flow_uid, shard)}
        state_log.listen(self._on_record)
        self._check()

    # -- what others ask ------------------------------------------------------------------------------------------

    def effective_since(self) -> float | None:
        """Return the monotonic time since which this daemon alone may do unguarded work; None if it may not now."""
        now = self._now()
        return self._effective_at if self._held and self._effective_at <= now < self._valid_until else None

    @property
    def number(self) -> int:
        """The number of our claim, 0 for none."""
        return self._held

    @property
    def holder(self) -> str | None:
        """Who holds the claim, as last seen."""
        return self._seen.holder if self._seen is not None and not self._seen.released else None

    @property
    def seen_number(self) -> int:
        """The number of the claim as last seen, whoever holds it; 0 if there never was one."""
        return self._seen.number if self._seen is not None else 0

    # -- watching -------------------------------------------------------------------------------------------------

    def _on_record(self, record_key: bytes) -> None:
        if record_key in self._keys:
            self._check()

    def _check(self) -> None:
        try:
            claim = state.get_claim(self._log.records, self._uid, self._shard)
            renewal = state.get_renewal(self._log.records, self._uid, self._shard)
        except DamagedRecord as error:
            self._damaged = error
            self._held = 0  # who holds it now is unknown
            return
        self._damaged = None
        if claim is None:
            return
        sign = renewal.renewal if renewal is not None and renewal.number == claim.number else 0
        before = self._seen
        if before is not None and (before.number, before.renewal, before.released) == (
            claim.number,
            sign,
            claim.released,
        ):
            return
        self._seen = ObservedClaim(claim.number, claim.holder, sign, claim.released, self._now())
        if claim.number == self._held:
            self._read_back(sign)
        if self._held and claim.number > self._held:
            log.warning("claim lost", shard=self._shard, holder=claim.holder, always=True)
            self._held = 0

    def _read_back(self, sign: int) -> None:
        """Take that a sign of life of ours was read: whatever other claim there is, it was written after that sign."""
        while self._unread and self._unread[0][0] <= sign:
            _, self._proven_at = self._unread.popleft()

    # -- working --------------------------------------------------------------------------------------------------

    def first_claim(self, began: float) -> None:
        """Note that the claim was written as ours, number 1, together with the flow itself."""
        self._take(1, began, began)

    def _take(self, number: int, began: float, effective_at: float) -> None:
        self._held = number
        self._renewal = 0
        self._effective_at = effective_at
        self._valid_until = began + self._timing.ttl_seconds - self._timing.margin_seconds
        self._proven_at = began
        self._unread.clear()

    def want(self, lease_epoch: int) -> None:
        """Take the claim as soon as possible under a lease of that epoch, and keep it until it is given back."""
        if lease_epoch != self._lease_epoch:
            self._lease_epoch = lease_epoch
            self._kicked.set()

    async def run(self) -> None:
        """Keep the claim until cancelled."""
        every = self._timing.renew_every_seconds
        backoff = Backoff(every, _PAUSE_SECONDS_MAX)
        while True:
            self._kicked.clear()
            try:
                await self.step()
            except ReplicatorError as error:
                self._failed(error)
                # While the claim is valid every try counts; once it has ended, more tries would not regain it sooner.
                pause = every if self.effective_since() is not None else backoff.next_seconds()
            else:
                self._works()
                backoff.reset()
                pause = every
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._kicked.wait()

    def _failed(self, error: ReplicatorError) -> None:
        """Log the reason once, and a different one again; two that alternate are not logged at every try."""
        before, self.problem = self.problem, error.with_next_step()
        if before is None or (before != self.problem and self._now() - self._reported_at >= _REPORT_EVERY_SECONDS):
            self._reported_at = self._now()
            log.warning("claim not worked", shard=self._shard, why=str(error), next=error.next_step)

    def _works(self) -> None:
        if self.problem is not None:
            log.info("claim worked again", shard=self._shard)
        self.problem = None

    async def step(self) -> None:
        """Do the one thing that is due now."""
        async with self._working:
            if self._lease_epoch:
                await self._step()

    async def _step(self) -> None:
        if self._damaged is not None:
            raise self._damaged
        action = next_action(self._seen, self._me, self._now(), self._timing, self._known_dead)
        if action is ClaimAction.TAKE:
            await self._try_to_take()
        elif action is ClaimAction.RENEW:
            if not self._held and self._seen is not None:
                # Written as ours, but the answer to the commit was lost: our name is this process alone.
                now = self._now()
                self._take(self._seen.number, now, now + self._doubt_seconds)
            await self._renew()

    async def _try_to_take(self) -> None:
        began = self._now()
        judged = self._seen
        taken = 0

        def decide(records: Mapping[bytes, bytes]) -> list[Change]:
            nonlocal taken
            taken = 0
            claim = state.get_claim(records, self._uid, self._shard)
            self._check()
            # Decided again on the present records: the claim we judged may have been renewed or taken meanwhile.
            if self._seen != judged:
                return []
            # Numbers and lease epochs rise together, so either of them shows who came later.
            taken = max((claim.number if claim is not None else 0) + 1, self._lease_epoch)
            record = pb.ClaimRecord(shard=self._shard, number=taken, holder=self._me)
            return [state.put(state.claim_key(self._uid, self._shard), record)]

        await self._log.change(self._uid, decide)
        if taken:
            effective = effective_from(judged, self._now(), self._doubt_seconds)
            self._take(taken, began, effective)
            log.info("claim taken", shard=self._shard, number=taken, effective_in_seconds=round(effective - began, 1))

    async def _renew(self) -> None:
        """Give a sign of life, which is no compare-and-set: another daemon may have taken the claim before it.

        Nobody takes it within a TTL of our last sign, and whoever does waits out the doubt time before that claim is
        effective. So for that long after the last sign that was read back, a sign counts unread; then the state topic
        has to be read beyond it. A transaction that hangs there, of whatever flow, keeps everybody from reading on for
        longer than a claim lives.
        """
        timing = self._timing
        began = self._now()
        self._renewal += 1
        record = pb.RenewalRecord(number=self._held, renewal=self._renewal)
        self._unread.append((self._renewal, began))
        await self._log.append([state.put(state.renewal_key(self._uid, self._shard), record)])
        lives_seconds = timing.ttl_seconds - timing.margin_seconds
        if self._now() >= self._proven_at + self._doubt_seconds + lives_seconds:
            await self._log.read_to_end(timing.renew_every_seconds)  # no longer: the next one tries again
        if self._held:
            self._valid_until = min(began, self._proven_at + self._doubt_seconds) + lives_seconds

    async def give_back(self, *, drained: bool) -> None:
        """Give up the claim. If nothing is outstanding, the next holder has no doubt to wait out."""
        held, self._held, self._lease_epoch = self._held, 0, 0
        async with self._working:  # a take may be under way
            held, self._held = max(held, self._held), 0
            if held and drained:
                await self._release(held)

    async def _release(self, held: int) -> None:
        def decide(records: Mapping[bytes, bytes]) -> list[Change]:
            claim = state.get_claim(records, self._uid, self._shard)
            if claim is None or claim.number != held:
                return []
            claim.released = True
            return [state.put(state.claim_key(self._uid, self._shard), claim)]

        await self._log.change(self._uid, decide)
