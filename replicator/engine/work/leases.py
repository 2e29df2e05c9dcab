"""Keeps one daemon's leases on one flow: renews them, acquires what it is offered, and follows changes.

A lease ends a margin before the TTL, measured on this machine's monotonic clock from the *start* of the call: however
long an answer takes, the coordinator cannot have given the lease to anybody else by then.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.aio.tasks import lasting
from replicator.backoff import Backoff
from replicator.errors import ReplicatorError
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.core.work.claim import Timing
    from replicator.model.lease import LeaseAnswer, LeaseCaller, LeaseTable
    from replicator.rpc.client.lease_port import LeasePort

_PAUSE_SECONDS = 0.2
_PAUSE_SECONDS_MAX = 5.0

log = get_logger(__name__)


class LeaseKeeper:
    """The leases of one flow.

    Half of its attributes are what it was given to ask and to tell; the other half is one state, which each answer of
    a coordinator replaces as a whole.

    Args:
        port: The coordinator.
        caller: How we identify ourselves; `floors`, `held` and `busy` are filled in at each call.
        timing: TTL and margin, until the coordinator reports its own TTL.
        floors: Returns, by shard, the newest epoch or claim number seen on the state topic.
        busy: Returns the shards that others are working on.
        on_change: Called when leases may have changed.
        now: Monotonic time.

    Attributes:
        table: The leases of the flow as last seen; None before the first answer.
        problem: Why no coordinator answers; None while one does.
    """

    def __init__(
        self,
        port: LeasePort,
        caller: LeaseCaller,
        timing: Timing,
        floors: Callable[[], Mapping[int, int]],
        busy: Callable[[], tuple[int, ...]],
        on_change: Callable[[], None],
        *,
        now: Callable[[], float],
    ) -> None:
        self.table: LeaseTable | None = None
        self.problem: str | None = None
        self._port = port
        self._caller = caller
        self._timing = timing
        self._floors = floors
        self._busy = busy
        self._on_change = on_change
        self._now = now
        self._epochs: dict[int, int] = {}
        self._valid_until = 0.0
        self._answered_at = now()
        self._alone: set[int] = set()
        self._leaving = self._left = False
        self._kicked = asyncio.Event()
        self._calling = asyncio.Lock()

    # -- what others ask ------------------------------------------------------------------------------------------

    @property
    def answers(self) -> bool | None:
        """Whether a coordinator answers; None before the first call has ended."""
        return None if self.table is None and self.problem is None else self.problem is None

    def epoch(self, shard: int) -> int:
        """Return the epoch of our lease on a shard, 0 if we never had one or `forget` was called since."""
        return self._epochs.get(shard, 0)

    def is_taken_away(self, shard: int) -> bool:
        """Return whether a lease that was ours is, or is about to be, somebody else's."""
        if shard in self._alone:
            return False
        for lease in self.table.leases if self.table is not None else ():
            if lease.shard == shard:
                return lease.holder != self._caller.instance or bool(lease.successor)
        return False

    def is_expired(self, shard: int) -> bool:
        """Return whether our lease on a shard was not renewed in time."""
        return self._now() >= self._valid_until and shard not in self._alone

    def is_lost(self) -> bool:
        """Return whether no coordinator has answered for a TTL."""
        return self.problem is not None and self._now() - self._answered_at >= self._timing.ttl_seconds

    def take_alone(self, shard: int, epoch: int) -> None:
        """Take a lease that no coordinator can grant now; the next one that answers learns of it."""
        self._epochs[shard] = epoch
        self._alone.add(shard)

    def forget(self, shard: int) -> None:
        """Drop the lease on a shard that is no longer ours, now that we have stopped working on it."""
        if self.is_taken_away(shard):
            self._epochs.pop(shard, None)
            self._alone.discard(shard)

    # -- working --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Renew and acquire until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(lasting(self._renew))
            group.create_task(lasting(self._watch))

    async def _renew(self) -> None:
        backoff = Backoff(_PAUSE_SECONDS, _PAUSE_SECONDS_MAX)
        kicks = Backoff(_PAUSE_SECONDS, _PAUSE_SECONDS_MAX, free_failures=1)
        while True:
            self._kicked.clear()
            wait = self._timing.renew_every_seconds
            try:
                await self.step()
                backoff.reset()
            except ReplicatorError as error:
                self.lost(error)
                wait = min(wait, backoff.next_seconds())
            self._on_change()
            try:
                async with asyncio.timeout(wait):
                    await self._kicked.wait()
                    # Two coordinators on one store need not agree on who is dead. What one of them shows then differs
                    # from every answer of the other, and each of our calls makes it show that again.
                    await asyncio.sleep(kicks.next_seconds())
            except TimeoutError:
                kicks.reset()

    async def step(self) -> None:
        """Renew once, and acquire what is offered.

        Raises:
            ReplicatorError: No coordinator answers, or its store cannot be used.
        """
        async with self._calling:
            if self._left:
                return
            began = self._now()
            answer = await self._port.renew(self._present_caller())
            self._take(answer, began)
            if answer.offered and not self._leaving:
                began = self._now()
                self._take(await self._port.acquire(self._present_caller()), began)

    async def hand_off(self) -> bool:
        """Let others take over our leases; return whether there is anyone to do so.

        Raises:
            ReplicatorError: No coordinator answers, or its store cannot be used.
        """
        async with self._calling:
            self._leaving = True
            began = self._now()
            self._take(await self._port.hand_off(self._present_caller()), began)
        self._on_change()
        return self.table is not None and any(lease.successor for lease in self.table.held_by(self._caller.instance))

    async def leave(self) -> None:
        """Give back what is still ours.

        Raises:
            ReplicatorError: No coordinator answers; the leases end with their TTL.
        """
        async with self._calling:
            self._leaving = self._left = True
            await self._port.release(self._present_caller(), leaves=True)
            self._epochs.clear()
            self._valid_until = 0.0

    def _present_caller(self) -> LeaseCaller:
        caller = self._caller
        mine = {shard: epoch for shard, epoch in self._epochs.items() if not self._is_anothers(shard)}
        return replace(caller, floors=dict(self._floors()), held=mine, busy=self._busy())

    def _is_anothers(self, shard: int) -> bool:
        leases = self.table.leases if self.table is not None else ()
        return any(lease.shard == shard and lease.holder != self._caller.instance for lease in leases)

    def _take(self, answer: LeaseAnswer, began: float) -> None:
        if self.problem is not None:
            log.info("a coordinator answers again", flow=self._caller.flow)
        self.problem = None
        self._answered_at = self._now()
        self._alone.clear()
        self.table = answer.table
        # Our TTL bounds the coordinator's; in this order, since it may send NaN, which is not below anything.
        ttl_seconds = min(self._timing.ttl_seconds, answer.ttl_seconds)
        self._valid_until = began + ttl_seconds - self._timing.margin_seconds
        floors = self._floors()
        for lease in answer.table.held_by(self._caller.instance):
            # One that is older than what was seen on the state topic comes from an old copy of the coordinator's
            # store. It is not taken, so the next calls grant it again, under a higher epoch.
            if lease.epoch > floors.get(lease.shard, 0):
                self._epochs[lease.shard] = lease.epoch

    def lost(self, error: ReplicatorError) -> None:
        """Note that no coordinator answers."""
        if self.problem is None:
            log.warning("no coordinator answers", flow=self._caller.flow, why=str(error), next=error.next_step)
        self.problem = error.what

    async def _watch(self) -> None:
        """Call at once when somebody else's call changed the leases."""
        while True:
            try:
                async for table in self._port.watch(self._caller.flow_uid):
                    if self.table is None or table.leases != self.table.leases:
                        self._kicked.set()
            except ReplicatorError as error:
                log.debug("leases not watched", flow=self._caller.flow, why=str(error))
            await asyncio.sleep(_PAUSE_SECONDS_MAX)
