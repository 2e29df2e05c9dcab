"""Looks where the source's log may end in a hole: nothing else would ever tell that there is nothing more to come.

A fetch session tells of an end that has not moved only once, and of a partition whose rest the cleaner took meanwhile
not at all. So a partition that stands below an end that was seen is asked for alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from replicator.engine.logs.reading import ends_in_hole, read_once
from replicator.errors import CorruptRecords, KafkaError
from replicator.obs.logs import get_logger
from replicator.wire.cluster import Purpose
from replicator.wire.messages import control

if TYPE_CHECKING:
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.partition import Slot
    from replicator.engine.copy.ports import LookSupervisor

_LOOKS_AT_ONCE = 8
_IN_VAIN_MAX = 8
"""Looks a second that may find records after all: of a partition that is only waiting for its turn."""
_STANDS_SECONDS = 1.0
_TURN_SECONDS = 30.0
"""For how long a partition may stand while its broker gives others' records, before it is looked at all the same."""
_REST_FACTOR = 10
"""A broker that throttles us is asked for one partition at a time, and then not for so many of its pauses."""

log = get_logger(__name__)


class _Stand(NamedTuple):
    """Where a partition stands, and since when, or when it was last looked at there."""

    episode: int
    offset: int
    since: float


class EndLooks:
    """The looks of one pump at the ends of its source's logs.

    Args:
        context: What the parts of the pump share.
        supervisor: The pump.
    """

    def __init__(self, context: CopyContext, supervisor: LookSupervisor) -> None:
        self._context = context
        self._supervisor = supervisor
        self._stands: dict[Slot, _Stand] = {}
        self._due: dict[Slot, None] = {}
        self._looking: set[Slot] = set()
        self._in_vain = 0
        self._rests_until: dict[int, float] = {}

    def answered_empty(self, slot: Slot) -> None:
        """An answer held nothing of a partition that should have more.

        Where the cleaner works that is likely its end. Elsewhere the answer was full, most often: then it is looked at
        once the partition has stood there for a while.
        """
        if slot.recorded.cleaning.certain:
            self._due[slot] = None
            self._begin()

    def look(self) -> None:
        """Look at those that stand below their end; to be called every second."""
        now, stands = self._context.now(), self._stands
        standing: dict[Slot, _Stand] = {}
        for slot in self._context.slots.values():
            copy, end = slot.copy, slot.lag.observed_end
            if end is None or end <= copy.reading.next_offset or not copy.is_copying() or not copy.sending.idle:
                continue
            stand = stands.get(slot)
            if stand is None or (stand.episode, stand.offset) != (copy.episode, copy.reading.next_offset):
                stand = _Stand(copy.episode, copy.reading.next_offset, now)
            standing[slot] = stand
        self._stands = standing
        due = [slot for slot, stand in standing.items() if self._is_due(slot, now - stand.since)]
        # Those that were not looked at for longest come first, and before all where holes are to be expected.
        due.sort(key=lambda slot: (not slot.recorded.cleaning.certain, standing[slot].since))
        self._due = dict.fromkeys(self.spared(due, now))
        self._in_vain = 0
        self._begin()

    def _is_due(self, slot: Slot, stands_seconds: float) -> bool:
        # A look at one that only waits for its turn reads a whole batch in vain, which may be of 64 MiB.
        waits = self._supervisor.waits_for_its_turn(slot)
        return stands_seconds >= (_TURN_SECONDS if waits else _STANDS_SECONDS)

    def spared(self, due: list[Slot], now: float) -> list[Slot]:
        """Return those that may be looked at where a quota may be what they wait for.

        A look is a fetch like any other: what it takes of the quota is not left for those that copy, and they stand
        until they get some.
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
        while self._due and len(self._looking) < _LOOKS_AT_ONCE and self._in_vain < _IN_VAIN_MAX:
            slot = next(iter(self._due))
            del self._due[slot]
            if slot not in self._looking and slot.copy.is_copying() and slot.copy.sending.idle:
                self._looking.add(slot)
                self._supervisor.start(self._look(slot, slot.copy.episode, slot.copy.reading.next_offset), slot)

    async def _look(self, slot: Slot, episode: int, position: int) -> None:
        self._stands[slot] = _Stand(episode, position, self._context.now())
        try:
            hole = await self._hole(slot, position)
        except (KafkaError, CorruptRecords) as error:  # what is damaged there the reader meets, too, and names
            hole = None
            log.debug("the end of a log not looked at", partition=str(slot.source), why=str(error))
        finally:
            self._looking.discard(slot)
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
        """Return up to where the log holds nothing from a position on, and its leader's epoch; None if it may."""
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
            committed=self._context.committed_only,
            leader_epoch=leader.epoch,
            read_bytes=1,  # one batch at least comes all the same, and that there is one is all that is asked
        )
        end = fetched.last_stable_offset if self._context.committed_only else fetched.high_watermark
        if fetched.start != fetched.end or end <= position:
            return None
        # Where no cleaner is known to work, a remote tier may be slow: the leader has to prove that it is none.
        if not slot.recorded.cleaning.certain and not await ends_in_hole(
            self._context.source, where, position, end, committed=self._context.committed_only
        ):
            return None
        # What a fetch claims of the log's end is all that tells of this hole: the same leader has to say it elsewhere.
        # Asked for last: ends only rise.
        told = await control.list_offsets(connection, [where], control.LATEST, committed=self._context.committed_only)
        listed = told.get(where)
        if listed is None or listed.error or listed.value < 0:
            return None
        if listed.value < end:
            log.warning(
                "the source contradicts itself about where a log ends: nothing is filled",
                partition=str(where),
                broker=leader.node,
                fetch=end,
                list_offsets=listed.value,
                next="look at that broker's log, and at what stands between it and this daemon",
            )
            return None
        return end, leader.epoch
