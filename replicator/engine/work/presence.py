"""Which daemons work on which shards of a flow, as each says on the state topic.

It says so before it attaches anything, and goes on saying so, with the epoch of its lease.
Two things follow from it. Who begins or stops to work on a shard is decided by these signs (`core.work.shard_work`).
And a daemon without the claim may pass batches that the target guards: its place is safe while the guard stands, and a
batch with old record times, which only the claim's holder may send, ends the guard. So the holder sends such a batch
only when it is alone, or when every place that others may have proven is too old to be used
(`engine.copy.producer_state`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from replicator.core.work.shard_work import Sign
from replicator.core.work.shards import SHARDS_MAX
from replicator.engine.state import records as state
from replicator.engine.state.damage import read_record
from replicator.errors import DamagedRecord, ReplicatorError
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.core.work.claim import Timing
    from replicator.engine.state.log import StateLog

_FORGET_SECONDS = 600.0
_UNHEARD_SECONDS = 6.0
"""Without a read for longer than this the state topic is not followed: a poll of it ends after 5 s at the latest."""

log = get_logger(__name__)


class _Place(NamedTuple):
    """One daemon on one shard."""

    instance: str
    shard: int


@dataclass(frozen=True, slots=True)
class _Seen:
    epoch: int
    yields: bool
    shards: int
    address: str
    at: float


@dataclass(slots=True)
class _Mine:
    epoch: int
    yields: bool
    valid_until: float


class Presence:
    """One daemon's own announcements for a flow, and what it sees of others.

    Args:
        state_log: The state topic.
        flow_uid: The flow.
        me: This daemon's name, new with every start.
        address: Where it answers.
        shards: How many shards the flow has.
        timing: Of claims; the same times serve here.
        silence_seconds: How long after its last sign of life a daemon may still have an effect.
        known_dead: A daemon that is known to have ended; what it sent may still have an effect.
        now: Monotonic time.
    """

    def __init__(
        self,
        state_log: StateLog,
        flow_uid: str,
        me: str,
        address: str,
        shards: int,
        timing: Timing,
        silence_seconds: float,
        known_dead: str | None = None,
        *,
        now: Callable[[], float],
    ) -> None:
        self._log = state_log
        self._uid = flow_uid
        self._me = me
        self._address = address
        self._shards = shards
        self._timing = timing
        self._silence_seconds = silence_seconds
        self._known_dead = known_dead
        self._now = now
        self._others: dict[_Place, _Seen] = {}
        self._mine: dict[int, _Mine] = {}
        self._renewal = 0
        self._saying = asyncio.Lock()
        state_log.listen(self._on_record)
        for key in state_log.records:
            self._on_record(key)

    def _on_record(self, record_key: bytes) -> None:
        found = state.presence_of(record_key, self._uid)
        if found is None or found[0] == self._me:
            return
        raw = self._log.records.get(record_key)
        if raw is None:
            self._others.pop(_Place(*found), None)
            return
        try:
            record = read_record(pb.RenewalRecord, record_key, raw)
        except DamagedRecord:  # a sign of life all the same, of somebody who may be anywhere
            record = pb.RenewalRecord(shards=SHARDS_MAX + 1)
        self._others[_Place(*found)] = _Seen(
            record.lease_epoch, record.yields, record.shards or 1, record.address, self._now()
        )

    # -- what others say ------------------------------------------------------------------------------------------

    def _on(self, shard: int) -> list[tuple[str, _Seen]]:
        """Return who may be at work on a shard; one that counts other shards may be on any."""
        return [
            (place.instance, seen)
            for place, seen in self._others.items()
            if place.shard == shard or seen.shards != self._shards
        ]

    def signs(self, shard: int) -> tuple[Sign, ...]:
        """Return the signs of life of others on a shard, none older than a TTL."""
        now = self._now()
        return tuple(
            Sign(instance, seen.epoch, seen.yields)
            for instance, seen in self._on(shard)
            if now - seen.at < self._timing.ttl_seconds and instance != self._known_dead
        )

    def last_heard(self, shard: int) -> str | None:
        """Return who was at work on a shard when the state topic was last read; None for nobody."""
        read_at = self._now() - self._log.unread_seconds()
        there = [
            (seen.epoch, instance)
            for instance, seen in self._on(shard)
            if read_at - seen.at < self._timing.ttl_seconds and instance != self._known_dead
        ]
        return max(there)[1] if there else None

    def unheard_seconds(self) -> float | None:
        """Return for how long the state topic was not read, None while it is: who is at work now shows nowhere else."""
        unread = self._log.unread_seconds()
        return unread if unread >= _UNHEARD_SECONDS else None

    def address(self, instance: str) -> str:
        """Return where another daemon answers, empty where it has not told."""
        return next((seen.address for place, seen in self._others.items() if place.instance == instance), "")

    def newest_epoch(self, shard: int) -> int:
        """Return the highest lease epoch that others were seen to work under."""
        return max((seen.epoch for _, seen in self._on(shard)), default=0)

    async def is_alone(self, shard: int) -> bool:
        """Return whether no other daemon that was at work when this was called may still have an effect.

        Raises:
            KafkaError: The state topic cannot be read.
        """
        await self._log.read_to_end()
        now = self._now()
        return all(now - seen.at > self._silence_seconds for _, seen in self._on(shard))

    # -- what we say ----------------------------------------------------------------------------------------------

    def is_known(self, shard: int) -> bool:
        """Return whether others surely see this daemon at work on a shard now."""
        mine = self._mine.get(shard)
        return mine is not None and self._now() < mine.valid_until

    async def announce(self, shard: int, epoch: int, *, yields: bool = False) -> None:
        """Say that this daemon works on a shard; nothing is written where that is known already.

        Raises:
            KafkaError: It could not be said.
        """
        mine = self._mine.get(shard)
        if mine is not None and (mine.epoch, mine.yields) == (epoch, yields):
            return
        self._mine[shard] = _Mine(epoch, yields, 0.0 if mine is None else mine.valid_until)
        try:
            await self._say([shard])
        except ReplicatorError:
            if mine is None:
                del self._mine[shard]
            else:
                self._mine[shard] = mine
            raise

    async def _say(self, shards: list[int]) -> None:
        async with self._saying:
            await self._say_in_turn([shard for shard in shards if shard in self._mine])

    async def _say_in_turn(self, shards: list[int]) -> None:
        began = self._now()
        self._renewal += 1
        changes = [
            state.put(
                state.presence_key(self._uid, self._me, shard),
                pb.RenewalRecord(
                    renewal=self._renewal,
                    lease_epoch=self._mine[shard].epoch,
                    yields=self._mine[shard].yields,
                    shards=self._shards,
                    address=self._address,
                ),
            )
            for shard in shards
        ]
        if not changes:
            return
        await self._log.append(changes)
        for shard in shards:
            if shard in self._mine:
                self._mine[shard].valid_until = began + self._timing.ttl_seconds - self._timing.margin_seconds

    async def run(self) -> None:
        """Go on saying so, until cancelled; forget those that fell silent long ago."""
        while True:
            await asyncio.sleep(self._timing.renew_every_seconds)
            try:
                await self.say_again()
            except ReplicatorError as error:
                log.debug("presence not said", why=str(error))

    async def say_again(self) -> None:
        """Say once more what is said already; forget others that fell silent long ago.

        Raises:
            KafkaError: It could not be said.
        """
        if self._mine:
            await self._say(list(self._mine))
        now = self._now()
        gone = [place for place, seen in self._others.items() if now - seen.at > _FORGET_SECONDS]
        if gone:
            await self._log.append([(state.presence_key(self._uid, *place), None) for place in gone])

    async def withdraw(self, shard: int, *, drained: bool) -> None:
        """Say that this daemon has ended its work on a shard, unless something is outstanding: then fall silent.

        Raises:
            KafkaError: It could not be said; others wait out the silence.
        """
        known = self.fall_silent(shard)
        async with self._saying:  # a renewal on its way must not come after this
            if known and drained:
                await self._log.append([(state.presence_key(self._uid, self._me, shard), None)])

    def fall_silent(self, shard: int) -> bool:
        """Give no more signs on a shard, without a word: others wait out the silence. Return whether there were any."""
        return self._mine.pop(shard, None) is not None
