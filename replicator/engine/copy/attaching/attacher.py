"""The attach loop of one pump: it examines every partition that is not copied, decides, and gets it going.

It owns the set of partitions that are not copied; a thousand that are copied cost it nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from replicator.aio.turns import Turns
from replicator.core.copy.attaching.attach import decide
from replicator.core.copy.attaching.facts import Decision, Policy, Resume, SeedTo, Wait
from replicator.core.copy.values import Phase
from replicator.engine.copy.attaching.examiner import Examiner
from replicator.engine.copy.attaching.facts import AttachFacts, read_facts
from replicator.engine.copy.partitions.waiting import WaitingPartitions, find_waiting
from replicator.errors import (
    BugError,
    ConnectionFailed,
    ReplicatorError,
    StateLost,
    WrongCluster,
)
from replicator.model.spec import Offsets
from replicator.model.status.states import Reason
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.copy.ports import AttachSupervisor

_GROUP_MAX = 200
"""Partitions whose facts are read by the same requests."""
_SLOTS_A_TURN = 100
"""How many partitions are examined before other tasks get a turn."""
_REST_SHARE = 3.0
_REST_SECONDS_MAX = 0.5
"""The rest after a pass: this many times its duration, at most so long. Any of very many partitions may ask for the
next pass."""
_PAUSE_SECONDS = (0.02, 5.0)
_ATTEMPTS_MAX = 10
_TICK_SECONDS = 1.0
_PROVEN_SECONDS = 3600.0

log = get_logger(__name__)


class AttachLoop:
    """Brings the partitions of one pump from ATTACHING to whatever comes next.

    Attributes:
        draining: Set when no attach may start any more.
        waiting: What the partitions that are not copied wait for, as found at most a second ago.
    """

    def __init__(self, context: CopyContext, supervisor: AttachSupervisor) -> None:
        self.draining = False
        self.waiting = WaitingPartitions()
        self._context = context
        self._supervisor = supervisor
        self._not_copied: set[Slot] = set()
        self._wake = asyncio.Event()
        self._examiner = Examiner(context, supervisor, self.schedule)

    def add(self, slot: Slot) -> None:
        """Take charge of a partition that is not copied now."""
        self._not_copied.add(slot)

    def discard(self, slot: Slot) -> None:
        """Forget a partition that is copied now, or has been removed."""
        self._not_copied.discard(slot)

    def is_empty(self) -> bool:
        """Return whether every partition is copied."""
        return not self._not_copied

    def wake(self) -> None:
        """Look at once: something may have become due."""
        self._wake.set()

    def schedule(self, slot: Slot) -> None:
        """Attach again with exponential back-off: two daemons that collide must not spin."""
        low, high = _PAUSE_SECONDS
        slot.attach.due = self._context.now() + (
            min(high, low * 2**slot.attach.attempts) if slot.attach.attempts else 0.0
        )
        slot.attach.attempts = min(slot.attach.attempts + 1, _ATTEMPTS_MAX)
        self.wake()

    def rest(self, slot: Slot) -> None:
        """Retry this partition at the slowest pace from now on: only an operator or another daemon can help it."""
        slot.attach.attempts = _ATTEMPTS_MAX
        slot.attach.due = self._context.now() + _PAUSE_SECONDS[1]

    async def run(self) -> None:
        """Attach what is due, until cancelled."""
        ticked_at = 0.0
        while True:
            self._wake.clear()
            began = time.perf_counter()
            soonest = await self._attach_due()
            if self._context.now() - ticked_at >= _TICK_SECONDS:
                ticked_at = self._context.now()
                await self.note_waiting()
                self._supervisor.tick(ticked_at)
                self._prove_idle()
            self._supervisor.wake_readers()
            self._supervisor.wake_writers()
            await asyncio.sleep(min(_REST_SECONDS_MAX, _REST_SHARE * (time.perf_counter() - began)))
            await self._sleep(soonest)

    async def note_waiting(self) -> None:
        """Find out what the partitions that are not copied wait for."""
        source, target = self._context.source.cluster, self._context.target.cluster
        self.waiting = await find_waiting(self._not_copied, source, target)

    async def _sleep(self, soonest: float) -> None:
        try:
            async with asyncio.timeout(max(0.001, min(_TICK_SECONDS, soonest - self._context.now()))):
                await self._wake.wait()
        except TimeoutError:
            return

    def _bring_claimed_forward(self, slot: Slot) -> None:
        """Let a partition that waited for the claim prove its place again as soon as the claim is ours."""
        if slot.copy.reason is not Reason.WAITING_FOR_CLAIM:
            return
        since = slot.shard.claim.effective_since()
        if since is not None:
            slot.attach.due = min(slot.attach.due, max(since, slot.attach.doubt_until, slot.attach.rest_until))

    def _prove_idle(self) -> None:
        """Where others write to the target, check from time to time up to which offset nothing more of ours follows.

        That offset is recorded, and what is recorded must not fall below the log start: retention may delete everything
        we wrote.
        """
        oldest = self._context.now() - _PROVEN_SECONDS
        for slot in self._context.slots.values():
            copy = slot.copy
            if copy.limits.others_write and copy.is_copying() and copy.sending.idle and slot.proof.verified_at < oldest:
                self._supervisor.ended(slot, slot.copy.settle("checking how far others have written since"))

    async def _attach_due(self) -> float:
        """Start to attach what is due, in groups; return when the next one is due (monotonic; infinite if none is)."""
        soonest = math.inf
        groups: dict[tuple[int, int], list[Slot]] = defaultdict(list)
        turns = Turns()
        for number, slot in enumerate(tuple(self._not_copied)):
            if number % _SLOTS_A_TURN == 0:
                await turns.give()
            if slot not in self._not_copied or self.draining:  # by now
                continue
            self._bring_claimed_forward(slot)
            if not slot.wants_attach:
                continue
            if slot.attach.due > self._context.now():
                soonest = min(soonest, slot.attach.due)
                continue
            nodes = self._prepare(slot)
            if nodes is None:
                continue
            slot.attach.is_under_way = True  # nobody else may start with it while the rest is examined
            group = groups[nodes]
            group.append(slot)
            if len(group) >= _GROUP_MAX:
                self._spawn(groups.pop(nodes))
        for group in groups.values():
            self._spawn(group)
        return soonest

    def _prepare(self, slot: Slot) -> tuple[int, int] | None:
        """Return the leaders of a due partition, (source, target); None if something else has to be done first."""
        if slot.attach.begins_again or slot.copy.phase is Phase.SETTLING:
            slot.attach.begins_again = False
            slot.copy.attach_again()
        if slot.copy.reading.trust.doubted is not None:
            slot.attach.is_under_way = True
            self._supervisor.start(self._examiner.at_doubted(slot, slot.copy.reading.trust.doubted.offset), slot)
            return None
        if slot.copy.displaced is not None:
            slot.attach.is_under_way = True
            self._supervisor.start(self._examiner.at_displaced(slot, slot.copy.displaced), slot)
            return None
        there, here = self._context.leaders_of(slot)
        if there is None or here is None:
            side, where = (self._context.source, slot.source) if there is None else (self._context.target, slot.target)
            slot.copy.wait(Reason.WAITING_FOR_LEADER, side.cluster.leaderless_because(where))
            self._supervisor.leaders_stale(source=there is None, target=here is None)
            self.schedule(slot)
            return None
        return there.node, here.node

    def _spawn(self, group: list[Slot]) -> None:
        for slot in group:
            slot.attach.is_under_way = True
        self._supervisor.start(self._attach(group), *group)

    async def _attach(self, group: list[Slot]) -> None:
        began = self._context.now()
        try:
            facts, stale = await self._read_facts(group)
        except ReplicatorError as error:
            self._failed(group, error)
            return
        except Exception as error:  # noqa: BLE001 - halving the group shows which partition raised it
            self._failed(group, _as_bug(error))
            return
        for slot in group:
            if slot.copy.phase is Phase.ATTACHING and slot in facts and slot not in stale:
                slot.attached(facts[slot].target.end, began, self._context.now())
                try:
                    self._take_facts(slot, facts[slot], began)
                except Exception as error:  # noqa: BLE001 - it stops this partition, and no other
                    self._supervisor.stop_over_bug(slot, error)
            elif slot.copy.phase is Phase.ATTACHING:
                self.schedule(slot)
        self._supervisor.wake_readers()

    async def _read_facts(self, group: list[Slot]) -> tuple[Mapping[Slot, AttachFacts], set[Slot]]:
        """Read both logs of each partition; return the facts, and the partitions whose map has changed meanwhile.

        However this ends, none of them counts as being attached any more.
        """
        try:
            return await self._read(group)
        finally:
            for slot in group:
                slot.attach.is_under_way = False

    async def _read(self, group: list[Slot]) -> tuple[Mapping[Slot, AttachFacts], set[Slot]]:
        for slot in group:
            self._context.maps.refresh(slot)
        facts = await read_facts(
            self._context.source,
            self._context.target,
            self._context.writers.flow,
            group,
            isolation=self._context.isolation,
        )
        if self._context.offsets is Offsets.IDENTICAL and not any(slot.mapping.record for slot in group):
            return facts, set()
        # A difference is recorded before anything is copied above it, so the record that is read now covers everything
        # that was read of the target's log before. If it differs, the logs were read with an old map.
        await self._context.maps.read_to_end()
        return facts, {slot for slot in group if self._context.maps.refresh(slot)}

    def _failed(self, group: list[Slot], error: ReplicatorError) -> None:
        """Halve a failed group until the culprit is alone: one refused topic must not hold up the others."""
        if len(group) > 1 and not isinstance(error, ConnectionFailed | StateLost | WrongCluster):
            middle = len(group) // 2
            for half in (group[:middle], group[middle:]):
                self._spawn(half)
            return
        for slot in group:
            self._examiner.met(slot, error)
        self._supervisor.leaders_stale()
        self._supervisor.topics_stale()

    def _take_facts(self, slot: Slot, facts: AttachFacts, began: float) -> None:
        slot.attach.damaged = 0
        slot.seen.source_start, slot.seen.target_start = facts.source.start, facts.target.start
        slot.lag.observe(facts.source.end, began)
        copy = slot.copy
        decision = decide(
            self._context.writers.of(slot.target.topic),
            facts.target,
            facts.source,
            ours=slot.recorded.active,
            begin_at=facts.source.end if slot.recorded.begin_at_end else facts.source.start,
            seeded_to=slot.recorded.seeded_to,
            mapping=facts.mapping,
            policy=Policy(
                mapped=self._context.offsets is Offsets.MAPPED and not slot.recorded.cleaning.possible,
                may_be_mapped=copy.limits.may_be_mapped,
                surplus_allowed=self._context.offsets is not Offsets.IDENTICAL,
                wants_mapping=copy.wants_mapping or copy.limits.others_write,
                given_up=copy.reading.missing.given_up,
                others_write=copy.limits.others_write,
            ),
        )
        self._carry_out(slot, decision, facts.source.epoch)

    def _carry_out(self, slot: Slot, decision: Decision, source_epoch: int) -> None:
        if isinstance(decision, Resume):
            self._resume(slot, decision, source_epoch)
        elif isinstance(decision, Wait):
            slot.copy.wait(decision.reason, decision.detail)
            self.schedule(slot)
        elif isinstance(decision, SeedTo):
            self._supervisor.seed(slot, decision.offset)
        else:
            slot.attach.is_under_way = True
            self._supervisor.start(self._examiner.record(slot, decision), slot)

    def _resume(self, slot: Slot, decision: Resume, source_epoch: int) -> None:
        copy = slot.copy
        guarded = (
            decision.state_time_ms is not None
            and decision.state_time_ms > self._context.now_ms() - copy.limits.guard_ms
        )
        if copy.doubtful and not guarded and self._context.now() < slot.attach.doubt_until:
            copy.wait(
                Reason.WAITING_FOR_DOUBT, "an unanswered write may still take effect, and nothing guards against it"
            )
            slot.attach.due = slot.attach.doubt_until
            return
        if not self._supervisor.begin_copying(slot, decision, source_epoch):
            self.schedule(slot)


def _as_bug(error: Exception) -> BugError:
    """Return an exception that should never be raised as a bug of ours."""
    if isinstance(error, BugError):
        return error
    bug = BugError(f"unexpected {type(error).__name__}: {error}")
    bug.__cause__ = error
    return bug
