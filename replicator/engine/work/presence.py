"""Which daemons work on which shards of a flow: each announces itself on the state topic.

It does so before it attaches anything, and repeats it, with the epoch of its lease. This has two uses. These signs of
life decide who starts and who stops working on a shard (`core.work.shard_work`). And a daemon without the claim may
send batches that the target guards: its position is safe while the guard holds, and a batch with old record times,
which only the claim's holder may send, ends the guard. So the holder sends such a batch only when it is alone, or when
every position that others may have proven is too old to be used (`engine.copy.partitions.producer_state`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from replicator.core.work.shard_work import Sign
from replicator.core.work.shards import SHARDS_MAX
from replicator.engine.state import records as state
from replicator.engine.state.topic.damage import read_record
from replicator.errors import DamagedRecord, ReplicatorError
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.core.work.claim import Timing
    from replicator.engine.state.topic.log import StateLog

_FORGET_SECONDS = 600.0
_UNHEARD_SECONDS = 6.0
"""With no read for longer than this the state topic is not being followed: a poll of it takes 5 s at most."""

log = get_logger(__name__)


class ShardMember(NamedTuple):
    """One daemon on one shard."""

    instance: str
    shard: int


@dataclass(frozen=True, slots=True)
class _OthersSign:
    epoch: int
    yields: bool
    shards: int
    address: str
    at: float


@dataclass(slots=True)
class _OwnSign:
    epoch: int
    yields: bool
    valid_until: float


class Presence:
    """One daemon's own announcements for a flow, and what it sees of others.

    Args:
        state_log: The state topic.
        flow_uid: The flow.
        me: This daemon's name, new with every start.
        address: Where it can be reached.
        shards: How many shards the flow has.
        timing: The times of claims, which serve here too.
        silence_seconds: How long after its last sign of life a daemon's writes may still arrive.
        known_dead: A daemon that is known to have ended; its writes may still arrive.
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
        self._others: dict[ShardMember, _OthersSign] = {}
        self._mine: dict[int, _OwnSign] = {}
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
            self._others.pop(ShardMember(*found), None)
            return
        try:
            record = read_record(pb.RenewalRecord, record_key, raw)
        except DamagedRecord:  # still a sign of life, of a daemon that may be on any shard
            record = pb.RenewalRecord(shards=SHARDS_MAX + 1)
        self._others[ShardMember(*found)] = _OthersSign(
            record.lease_epoch, record.yields, record.shards or 1, record.address, self._now()
        )

    # -- what others say ------------------------------------------------------------------------------------------

    def _on(self, shard: int) -> list[tuple[str, _OthersSign]]:
        """Return who may be working on a shard; a daemon with another number of shards may be on any of them."""
        return [
            (member.instance, seen)
            for member, seen in self._others.items()
            if member.shard == shard or seen.shards != self._shards
        ]

    def signs(self, shard: int) -> tuple[Sign, ...]:
        """Return the signs of life of other daemons on a shard, none older than a TTL."""
        now = self._now()
        return tuple(
            Sign(instance, seen.epoch, seen.yields)
            for instance, seen in self._on(shard)
            if now - seen.at < self._timing.ttl_seconds and instance != self._known_dead
        )

    def last_heard(self, shard: int) -> str | None:
        """Return who was working on a shard when the state topic was last read; None for nobody."""
        read_at = self._now() - self._log.unread_seconds()
        there = [
            (seen.epoch, instance)
            for instance, seen in self._on(shard)
            if read_at - seen.at < self._timing.ttl_seconds and instance != self._known_dead
        ]
        return max(there)[1] if there else None

    def unheard_seconds(self) -> float | None:
        """Return for how long the state topic was not read, None while it is read: it alone shows who is working."""
        unread = self._log.unread_seconds()
        return unread if unread >= _UNHEARD_SECONDS else None

    def address(self, instance: str) -> str:
        """Return the address of another daemon, empty if it has not announced one."""
        return next((seen.address for member, seen in self._others.items() if member.instance == instance), "")

    def newest_epoch(self, shard: int) -> int:
        """Return the highest lease epoch under which others were seen working."""
        return max((seen.epoch for _, seen in self._on(shard)), default=0)

    async def is_alone(self, shard: int) -> bool:
        """Return whether no write of another daemon that was working at the call can still arrive.

        Raises:
            KafkaError: The state topic cannot be read.
        """
        await self._log.read_to_end()
        now = self._now()
        return all(now - seen.at > self._silence_seconds for _, seen in self._on(shard))

    # -- what we say ----------------------------------------------------------------------------------------------

    def is_known(self, shard: int) -> bool:
        """Return whether others certainly see this daemon working on a shard now."""
        mine = self._mine.get(shard)
        return mine is not None and self._now() < mine.valid_until

    async def announce(self, shard: int, epoch: int, *, yields: bool = False) -> None:
        """Announce that this daemon works on a shard; nothing is written if that is known already.

        Raises:
            KafkaError: It could not be written.
        """
        mine = self._mine.get(shard)
        if mine is not None and (mine.epoch, mine.yields) == (epoch, yields):
            return
        self._mine[shard] = _OwnSign(epoch, yields, 0.0 if mine is None else mine.valid_until)
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
        """Repeat the announcements until cancelled; forget daemons that fell silent long ago."""
        while True:
            await asyncio.sleep(self._timing.renew_every_seconds)
            try:
                await self.say_again()
            except ReplicatorError as error:
                log.debug("presence not said", why=str(error))

    async def say_again(self) -> None:
        """Repeat the announcements once; forget daemons that fell silent long ago.

        Raises:
            KafkaError: It could not be written.
        """
        if self._mine:
            await self._say(list(self._mine))
        now = self._now()
        gone = [member for member, seen in self._others.items() if now - seen.at > _FORGET_SECONDS]
        if gone:
            await self._log.append([(state.presence_key(self._uid, *member), None) for member in gone])

    async def withdraw(self, shard: int, *, drained: bool) -> None:
        """Announce that this daemon has stopped working on a shard; if something is outstanding, just fall silent.

        Raises:
            KafkaError: It could not be written; others wait out the silence.
        """
        known = self.fall_silent(shard)
        async with self._saying:  # a renewal on its way must not come after this
            if known and drained:
                await self._log.append([(state.presence_key(self._uid, self._me, shard), None)])

    def fall_silent(self, shard: int) -> bool:
        """Stop the signs of life on a shard silently: others wait out the silence. Return whether there were any."""
        return self._mine.pop(shard, None) is not None
