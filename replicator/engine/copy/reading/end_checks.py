"""Looks for holes at the end of the source's log: nothing else would ever show that no more records are coming.

A fetch session reports an end that does not move only once, and it never reports that the cleaner has meanwhile taken
the rest of a partition. So a partition that makes no progress below an end that was seen is fetched alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from replicator.engine.logs.reading import ends_in_hole, read_once
from replicator.errors import CorruptRecords, KafkaError
from replicator.model.spec import Isolation
from replicator.obs.logs import get_logger
from replicator.wire.cluster import Purpose
from replicator.wire.messages import control

if TYPE_CHECKING:
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.copy.ports import EndCheckSupervisor

_READS_AT_ONCE = 8
_IN_VAIN_MAX = 8
"""Looks per second that may turn out to find records, because the partition was only waiting for its turn."""
_STALLED_SECONDS = 1.0
_TURN_SECONDS = 30.0
"""How long a partition may make no progress while its broker returns others' records, before it is looked at anyway."""
_REST_FACTOR = 10
"""A broker that throttles us gets one look, and then none for this many times its throttle time."""

log = get_logger(__name__)


class _Stall(NamedTuple):
    """Where a partition has stopped making progress, and since when, or when it was last looked at there."""

    episode: int
    offset: int
    since: float


class EndChecks:
    """Checks the ends of the source's logs, for one pump.

    Args:
        context: What the parts of the pump share.
        supervisor: The pump.
    """

    def __init__(self, context: CopyContext, supervisor: EndCheckSupervisor) -> None:
        self._context = context
        self._supervisor = supervisor
        self._stalls: dict[Slot, _Stall] = {}
        self._due: dict[Slot, None] = {}
        self._checking: set[Slot] = set()
        self._in_vain = 0
        self._rests_until: dict[int, float] = {}

    def answered_empty(self, slot: Slot) -> None:
        """Note that a response held nothing of a partition that should have more.

        In a log that is cleaned, that is probably its end. In any other log the response was usually full: then the
        partition is looked at only once it has made no progress for a while.
        """
        if slot.recorded.cleaning.certain:
            self._due[slot] = None
            self._begin()

    def check(self) -> None:
        """Check partitions that make no progress below their end; call it every second."""
        now, stalls = self._context.now(), self._stalls
        stalled: dict[Slot, _Stall] = {}
        for slot in self._context.slots.values():
            copy, end = slot.copy, slot.lag.observed_end
            if end is None or end <= copy.reading.next_offset or not copy.is_copying() or not copy.sending.idle:
                continue
            stall = stalls.get(slot)
            if stall is None or (stall.episode, stall.offset) != (copy.episode, copy.reading.next_offset):
                stall = _Stall(copy.episode, copy.reading.next_offset, now)
            stalled[slot] = stall
        self._stalls = stalled
        due = [slot for slot, stall in stalled.items() if self._is_due(slot, now - stall.since)]
        # Partitions where holes are to be expected come first, then those that have waited longest for a look.
        due.sort(key=lambda slot: (not slot.recorded.cleaning.certain, stalled[slot].since))
        self._due = dict.fromkeys(self.spared(due, now))
        self._in_vain = 0
        self._begin()

    def _is_due(self, slot: Slot, stalled_seconds: float) -> bool:
        # A look at a partition that only waits for its turn reads a whole batch in vain, of up to 64 MiB.
        waits = self._supervisor.waits_for_its_turn(slot)
        return stalled_seconds >= (_TURN_SECONDS if waits else _STALLED_SECONDS)

    def spared(self, due: list[Slot], now: float) -> list[Slot]:
        """Return the partitions that may be looked at, given that they may only be waiting for a quota.

        A look is a fetch like any other: what it uses up of the quota is missing for those that copy, and they stand
        still until there is quota again.
        """
        cluster = self._context.source.cluster
        spared: list[Slot] = []
        for slot in due:
            leader = cluster.leader(slot.source)
            if leader is None:
                continue
            pause = cluster.seen.broker(leader.node).pause_seconds(now)
            if not pause:
                self._rests_until.pop(leader.node, None)
            elif now < self._rests_until.setdefault(leader.node, now + _REST_FACTOR * pause):
                continue
            else:
                self._rests_until[leader.node] = now + _REST_FACTOR * pause
            spared.append(slot)
        return spared

    def _begin(self) -> None:
        while self._due and len(self._checking) < _READS_AT_ONCE and self._in_vain < _IN_VAIN_MAX:
            slot = next(iter(self._due))
            del self._due[slot]
            if slot not in self._checking and slot.copy.is_copying() and slot.copy.sending.idle:
                self._checking.add(slot)
                self._supervisor.start(self._check(slot, slot.copy.episode, slot.copy.reading.next_offset), slot)

    async def _check(self, slot: Slot, episode: int, position: int) -> None:
        self._stalls[slot] = _Stall(episode, position, self._context.now())
        try:
            hole = await self._hole(slot, position)
        except (KafkaError, CorruptRecords) as error:  # the reader will meet the same damage, and report it
            hole = None
            log.debug("the end of a log not looked at", partition=str(slot.source), why=str(error))
        finally:
            self._checking.discard(slot)
        copy = slot.copy
        if hole is None:
            self._in_vain += 1
        elif (copy.episode, copy.reading.next_offset) == (episode, position):
            self._supervisor.ended(slot, copy.end_of_log(*hole))
            if copy.is_copying():
                self._supervisor.has_work(slot)
                self._supervisor.wake_writers()
        self._begin()

    async def _hole(self, slot: Slot, position: int) -> tuple[int, int] | None:
        """Return the end of the hole that starts at a position, and the leader epoch; None if there may be records."""
        where = slot.source
        leader = self._context.source.cluster.leader(where)
        if leader is None:
            return None
        connection = await self._context.source.cluster.connection(leader.node, Purpose.CONTROL)
        _, fetched = await read_once(
            self._context.source,
            connection,
            where,
            position,
            isolation=self._context.isolation,
            leader_epoch=leader.epoch,
            read_bytes=1,  # at least one batch is returned anyway, and we only want to know whether there is one
        )
        committed = self._context.isolation is Isolation.READ_COMMITTED
        end = fetched.last_stable_offset if committed else fetched.high_watermark
        if fetched.start != fetched.end or end <= position:
            return None
        # Where no cleaner is known to work, a slow remote tier may be the cause: the leader has to prove the hole.
        if not slot.recorded.cleaning.certain and not await ends_in_hole(
            self._context.source, where, position, end, isolation=self._context.isolation
        ):
            return None
        # So far only the log end in a fetch response speaks for this hole: the same leader has to confirm it in another
        # request. That request comes last, because ends only rise.
        ends = await control.list_offsets(connection, [where], control.LATEST, isolation=self._context.isolation)
        listed = ends.get(where)
        if listed is None or listed.error or listed.value < 0:
            return None
        if listed.value < end:
            log.warning(
                "the source contradicts itself about where a log ends: nothing is filled",
                partition=str(where),
                broker=leader.node,
                fetch=end,
                list_offsets=listed.value,
                next="look at that broker's log, and at what lies between the broker and this daemon",
            )
            return None
        return end, leader.epoch
