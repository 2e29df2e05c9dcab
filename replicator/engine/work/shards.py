"""The shards of one flow in one daemon: which of them it works on, and with what rights.

The lease proposes, the signs of life on the state topic decide (`core.work.shard_work`). Starting a shard means
announcing it there first, then attaching its partitions. Stopping is the reverse: partitions are drained, then the
claim is given back, then the sign is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.work.shard_work import ShardAction, ShardView, next_action
from replicator.core.work.shards import shard_of
from replicator.engine.work.claim import ClaimKeeper
from replicator.engine.work.scope import WorkScope
from replicator.errors import ReplicatorError
from replicator.model.status.snapshots import ShardStatus
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from replicator.engine.work.leases import LeaseKeeper
    from replicator.engine.work.presence import Presence
    from replicator.model.names import TopicPartition

_TICK_SECONDS = 0.5
_FREED_TICK_SECONDS = 0.05
_LAST_SHARE = 0.4
"""The share of the time to end that is kept for stopping shards that nobody took over."""
_LEAVE_SECONDS = 0.5

log = get_logger(__name__)


@dataclass(eq=False, slots=True)
class Shard:
    """One shard, with the rights of this daemon on it.

    Attributes:
        number: From 0.
        claim: The claim, kept while this daemon works on the shard.
        works: Whether this daemon works on it.
        stopping: Whether it is being drained.
        waits_for: Another daemon that works on it although the lease is ours.
        problem: Why the last look could not work on it; None if it could.
        moving: Held while the work on it starts or stops. Each has its own: one whose target has frozen must not keep
            the others from being drained.
        scope: What runs while the shard is worked.
    """

    number: int
    claim: ClaimKeeper
    works: bool = False
    stopping: bool = False
    waits_for: str | None = None
    problem: str | None = None
    moving: asyncio.Lock = field(default_factory=asyncio.Lock)
    scope: WorkScope = field(default_factory=WorkScope)


@dataclass(frozen=True, slots=True)
class OnShard:
    """The other daemons on one shard, for its guard."""

    presence: Presence
    shard: int

    def is_known(self) -> bool:
        """See `Presence.is_known`."""
        return self.presence.is_known(self.shard)

    async def is_alone(self) -> bool:
        """See `Presence.is_alone`."""
        return await self.presence.is_alone(self.shard)


class Shards:
    """All shards of one flow.

    Args:
        flow: The flow's name.
        me: This daemon.
        shards: Each of them, in order.
        presence: The signs of life.
        stops_on_loss: Whether work ends with the lease where no coordinator answers.
        catch_up: Reads the state topic to its end.
        drain: Ends the work on a shard's partitions; returns whether nothing is outstanding.
        on_change: Called when a shard started or stopped.
        during: Returns what has to run while this daemon works on a shard.
    """

    def __init__(
        self,
        flow: str,
        me: str,
        shards: list[Shard],
        presence: Presence,
        *,
        stops_on_loss: bool,
        catch_up: Callable[[], Awaitable[None]],
        drain: Callable[[Shard], Awaitable[bool]],
        on_change: Callable[[], None],
        during: Callable[[Shard], Iterable[Callable[[], Awaitable[None]]]] = lambda _: (),
    ) -> None:
        self.shards = shards
        self._flow = flow
        self._me = me
        self._presence = presence
        self._stops_on_loss = stops_on_loss
        self._catch_up = catch_up
        self._drain = drain
        self._on_change = on_change
        self._during = during
        self._kicked = asyncio.Event()
        self._stopped = asyncio.Event()
        self._leases: LeaseKeeper | None = None
        self._ending = False
        self._error: BaseException | None = None

    # -- what others ask ------------------------------------------------------------------------------------------

    def of(self, source: TopicPartition) -> Shard:
        """Return the shard of a source partition."""
        return self.shards[shard_of(source, len(self.shards))]

    def works_on(self, source: TopicPartition) -> bool:
        """Return whether this daemon works on a partition."""
        shard = self.of(source)
        return shard.works and not shard.stopping

    def holder(self, shard: Shard) -> str | None:
        """Return who works on a shard, as far as known."""
        if shard.works:
            return self._me
        signs = self._presence.signs(shard.number)
        return max(signs, key=lambda sign: sign.epoch).instance if signs else None

    def last_holder(self, shard: Shard) -> str | None:
        """Return who worked on a shard when other daemons were last heard."""
        return self._presence.last_heard(shard.number)

    def unheard_seconds(self) -> float | None:
        """Return for how long other daemons could not be heard; None while they can."""
        return self._presence.unheard_seconds()

    def status(self) -> tuple[ShardStatus, ...]:
        """Return the status of each shard."""
        leases = self._leases
        return tuple(
            ShardStatus(
                shard.number,
                self.holder(shard),
                shard.works,
                (leases.epoch(shard.number) or None) if leases is not None else None,
            )
            for shard in self.shards
        )

    def problems(self) -> list[str]:
        """Return what an operator should know: no coordinator, no rights on the state, a daemon without its lease."""
        found = []
        if self._leases is not None and self._leases.problem is not None:
            goes_on = any(shard.works for shard in self.shards)
            found.append(f"{self._leases.problem}{', copying continues' if goes_on else ''}")
        for shard in self.shards:
            found += [why for why in (shard.problem, shard.claim.problem) if why is not None]
        found = list(dict.fromkeys(found))  # most of them say the same
        return found + [
            f"shard {shard.number}: {shard.waits_for} works on it, although we hold the lease"
            for shard in self.shards
            if shard.waits_for is not None
        ]

    def floors(self) -> Mapping[int, int]:
        """Return, by shard, the newest claim number or lease epoch of others seen on the state topic."""
        return {shard.number: self._floor(shard) for shard in self.shards}

    def _floor(self, shard: Shard) -> int:
        claimed = 0 if shard.claim.holder == self._me else shard.claim.seen_number
        return max(claimed, self._presence.newest_epoch(shard.number))

    def busy(self) -> tuple[int, ...]:
        """Return the shards that another daemon works on with no intent to stop."""
        return tuple(
            shard.number
            for shard in self.shards
            if any(not sign.yields for sign in self._presence.signs(shard.number)) and not shard.works
        )

    def kick(self) -> None:
        """Look at once: something may have changed."""
        self._kicked.set()

    # -- working --------------------------------------------------------------------------------------------------

    async def run(self, leases: LeaseKeeper) -> None:
        """Start and stop shards as leases and signs require, until cancelled.

        Raises:
            BaseException: What the work in a shard's scope raised: it belongs to the flow, which begins again.
        """
        self._leases = leases
        try:
            while True:
                self._kicked.clear()
                if self._error is not None:
                    raise self._error
                await self.tick(leases)
                waiting = any(shard.waits_for for shard in self.shards)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_FREED_TICK_SECONDS if waiting else _TICK_SECONDS):
                        await self._kicked.wait()
        finally:
            for shard in self.shards:
                shard.scope.cancel()

    def _met(self, error: BaseException) -> None:
        self._error = self._error or error
        self._kicked.set()

    async def tick(self, leases: LeaseKeeper) -> None:
        """Do what is due for each shard."""
        for shard in self.shards:
            try:
                await self._advance(shard, leases)
            except ReplicatorError as error:
                problem = error.with_next_step()
                if shard.problem is None:  # looked at twice a second
                    log.warning(
                        "shard not worked", flow=self._flow, shard=shard.number, why=str(error), next=error.next_step
                    )
                shard.problem = problem
            else:
                shard.problem = None

    async def _advance(self, shard: Shard, leases: LeaseKeeper) -> None:
        self._fend_for(shard, leases)
        action = next_action(self._view(shard, leases))
        shard.waits_for = None
        if action is ShardAction.BEGIN and not self._ending:
            await self._begin(shard, leases.epoch(shard.number))
        elif action is ShardAction.WAIT:
            shard.waits_for = self.holder(shard) or shard.claim.holder
        elif action in {ShardAction.GO_ON, ShardAction.YIELD}:
            epoch = leases.epoch(shard.number)
            await self._presence.announce(shard.number, epoch, yields=action is ShardAction.YIELD)
            shard.claim.want(epoch)
        elif action is ShardAction.STOP:
            log.info("shard goes to another daemon", flow=self._flow, shard=shard.number, holder=self._successor(shard))
            await self.stop(shard)
            leases.forget(shard.number)
        else:
            leases.forget(shard.number)

    def _fend_for(self, shard: Shard, leases: LeaseKeeper) -> None:
        """Take a shard that nobody works on while no coordinator answers: a copy must not wait for one.

        If another daemon does the same at this moment, both see it on the state topic, and the claim decides.
        """
        floor = self._floor(shard)
        if shard.works or self._stops_on_loss or not leases.is_lost() or self._presence.signs(shard.number):
            return
        if leases.epoch(shard.number) <= floor or leases.is_expired(shard.number):
            log.warning("no coordinator answers, and nobody works on this shard", flow=self._flow, shard=shard.number)
            leases.take_alone(shard.number, max(floor, leases.epoch(shard.number)) + 1)

    def _view(self, shard: Shard, leases: LeaseKeeper) -> ShardView:
        return ShardView(
            me=self._me,
            works=shard.works,
            epoch=leases.epoch(shard.number),
            floor=self._floor(shard),
            taken_away=leases.is_taken_away(shard.number),
            expired=leases.is_expired(shard.number),
            stops_on_loss=self._stops_on_loss,
            others=self._presence.signs(shard.number),
            claim_number=shard.claim.seen_number,
            claim_holder=shard.claim.holder,
        )

    def _successor(self, shard: Shard) -> str | None:
        signs = self._presence.signs(shard.number)
        return max(signs, key=lambda sign: sign.epoch).instance if signs else None

    async def _begin(self, shard: Shard, epoch: int) -> None:
        async with shard.moving:
            if self._ending:
                return
            # Announced before anything is attached: others must see that a daemon with older positions is working.
            await self._presence.announce(shard.number, epoch)
            try:
                await self._catch_up()  # with what the previous holder recorded about its partitions
            except ReplicatorError:
                await self._presence.withdraw(shard.number, drained=True)
                raise
            shard.claim.want(epoch)
            shard.works = True
            shard.scope.open(self._during(shard), self._met)
        log.info("shard is ours", flow=self._flow, shard=shard.number, epoch=epoch)
        self._on_change()

    async def stop(self, shard: Shard) -> bool:
        """Stop working on a shard; return whether nothing is outstanding on it.

        Raises:
            ReplicatorError: The state topic cannot be written to; others wait out the silence.
        """
        async with shard.moving:
            if not shard.works:
                return True
            shard.stopping = True
            try:
                await shard.scope.close()
                drained = await self._drain(shard)
                shard.works = False
                try:
                    await shard.claim.give_back(drained=drained)
                except ReplicatorError:
                    await self._presence.withdraw(shard.number, drained=drained)
                    raise
                await self._presence.withdraw(shard.number, drained=drained)
            finally:
                # However it ended: a sign that is still being given would keep everybody else off the shard.
                self._presence.fall_silent(shard.number)
                shard.works = shard.stopping = False
                self._stopped.set()
        self._on_change()
        return drained

    async def end(self, seconds: float) -> bool:
        """Hand everything off to other daemons, if there are any, and stop the rest, all within the time.

        What has not stopped by then is left as it is: others wait out its claim and its signs of life.

        Returns:
            Whether nothing is outstanding.
        """
        leases = self._leases
        deadline = asyncio.get_running_loop().time() + seconds
        self._ending = True
        if leases is not None and any(shard.works for shard in self.shards):
            try:
                async with asyncio.timeout_at(deadline - seconds * _LAST_SHARE):
                    if await leases.hand_off():
                        await self._all_stopped()
            except (ReplicatorError, TimeoutError) as error:
                log.warning("not all shards were taken over", flow=self._flow, why=str(error) or "not in time")
        try:
            async with asyncio.timeout_at(deadline - _LEAVE_SECONDS):
                stopped = await asyncio.gather(*(self._stop_at_last(shard) for shard in self.shards))
        except TimeoutError:
            stopped = [False]
            log.warning("shards not given back", flow=self._flow, why="not in time")
        if leases is not None:
            try:
                async with asyncio.timeout_at(deadline):
                    await leases.leave()
            except (ReplicatorError, TimeoutError) as error:
                log.warning("leases not given back", flow=self._flow, why=str(error) or "not in time")
        return all(stopped)

    async def _all_stopped(self) -> None:
        while any(shard.works for shard in self.shards):
            self._stopped.clear()
            await self._stopped.wait()

    async def _stop_at_last(self, shard: Shard) -> bool:
        try:
            return await self.stop(shard)
        except ReplicatorError as error:
            log.warning("claim not given back", flow=self._flow, shard=shard.number, why=str(error))
            return False
