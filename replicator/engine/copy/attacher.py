"""The attach loop of one pump: every partition that is not copied is looked at, decided about, and set on its way.

It owns the set of partitions that are apart from the copying; a thousand that are copied cost it nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from replicator.aio.turns import Turns
from replicator.core.copy.attach import decide
from replicator.core.copy.attach_facts import Decision, Fault, Policy, Remap, Resume, SeedTo, Wait
from replicator.core.copy.doubt import DOUBTS_MAX, Sound
from replicator.core.copy.values import Phase
from replicator.engine.copy.displaced import what_displaced
from replicator.engine.copy.facts import Facts, read_facts
from replicator.engine.copy.waiting import Waiting, look_at_waiting, waits_for
from replicator.engine.logs.reading import look_again
from replicator.errors import (
    AnswerTooLarge,
    BugError,
    ConnectionFailed,
    CorruptRecords,
    ReplicatorError,
    StateLost,
    TooLargeToOpen,
    WrongCluster,
)
from replicator.model.spec import Offsets
from replicator.model.states import Reason
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.core.offsets.offset_map import Place
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.partition import Slot
    from replicator.engine.copy.ports import AttachSupervisor

_GROUP_MAX = 200
"""Partitions whose facts are read by the same requests."""
_SLOTS_A_TURN = 100
"""Partitions that are looked at between two looks at the clock."""
_REST_SHARE = 3.0
_REST_SECONDS_MAX = 0.5
"""The rest after a pass, in lengths of that pass: each of very many partitions may ask for the next one."""
_PAUSE_SECONDS = (0.02, 5.0)
_ATTEMPTS_MAX = 10
_TICK_SECONDS = 1.0
_PROVEN_SECONDS = 3600.0
_LOOKS_AT_ONCE = 4
"""Partitions of one cluster in which a place is looked at closely at a time: each look may read many megabytes."""
_ANOTHER_REPLICA = "let another replica of it lead if this one's disk is bad"

log = get_logger(__name__)


class AttachLoop:
    """Brings the partitions of one pump from ATTACHING to whatever comes next.

    Attributes:
        draining: Set when nothing may begin any more.
        waiting: What the partitions that are apart wait for, as it was found at most a second ago.
    """

    def __init__(self, context: CopyContext, supervisor: AttachSupervisor) -> None:
        self.draining = False
        self.waiting = Waiting()
        self._context = context
        self._supervisor = supervisor
        self._apart: set[Slot] = set()
        self._wake = asyncio.Event()
        self._room_on_source = asyncio.Semaphore(_LOOKS_AT_ONCE)
        self._room_on_target = asyncio.Semaphore(_LOOKS_AT_ONCE)

    def add(self, slot: Slot) -> None:
        """This partition is not copied now."""
        self._apart.add(slot)

    def discard(self, slot: Slot) -> None:
        """This partition is copied now, or is gone."""
        self._apart.discard(slot)

    def is_empty(self) -> bool:
        """Return whether every partition is copied."""
        return not self._apart

    def wake(self) -> None:
        """Look at once: something may have become due."""
        self._wake.set()

    def schedule(self, slot: Slot) -> None:
        """Attach again after a pause that doubles: two daemons that collide must not spin."""
        low, high = _PAUSE_SECONDS
        slot.attach.due = self._context.now() + (
            min(high, low * 2**slot.attach.attempts) if slot.attach.attempts else 0.0
        )
        slot.attach.attempts = min(slot.attach.attempts + 1, _ATTEMPTS_MAX)
        self.wake()

    def rest(self, slot: Slot) -> None:
        """Attach this partition at the slowest pace from now on: only an operator or another daemon can help it."""
        slot.attach.attempts = _ATTEMPTS_MAX
        slot.attach.due = self._context.now() + _PAUSE_SECONDS[1]

    async def run(self) -> None:
        """Attach what is due, until cancelled."""
        looked_at = 0.0
        while True:
            self._wake.clear()
            began = time.perf_counter()
            soonest = await self._attach_due()
            if self._context.now() - looked_at >= _TICK_SECONDS:
                looked_at = self._context.now()
                await self.note_waiting()
                self._supervisor.look_around(looked_at)
                self._prove_idle()
            self._supervisor.wake_readers()
            self._supervisor.wake_writers()
            await asyncio.sleep(min(_REST_SECONDS_MAX, _REST_SHARE * (time.perf_counter() - began)))
            await self._sleep(soonest)

    async def note_waiting(self) -> None:
        """Find out what the partitions that are apart wait for."""
        self.waiting = await look_at_waiting(self._apart, self._context.source.cluster, self._context.target.cluster)

    async def _sleep(self, soonest: float) -> None:
        try:
            async with asyncio.timeout(max(0.001, min(_TICK_SECONDS, soonest - self._context.now()))):
                await self._wake.wait()
        except TimeoutError:
            return

    def _bring_claimed_forward(self, slot: Slot) -> None:
        """Let a partition that waited for the claim prove its place again once it is ours."""
        if slot.copy.reason is not Reason.WAITING_FOR_CLAIM:
            return
        since = slot.shard.claim.effective_since()
        if since is not None:
            slot.attach.due = min(slot.attach.due, max(since, slot.attach.doubt_until, slot.attach.rest_until))

    def _prove_idle(self) -> None:
        """Where others write to the target, look again from time to time up to where nothing of ours stands.

        It is recorded, and what is recorded must not lie below the log's start: retention may take all of ours.
        """
        oldest = self._context.now() - _PROVEN_SECONDS
        for slot in self._context.slots.values():
            copy = slot.copy
            if copy.limits.others_write and copy.is_copying() and copy.sending.idle and slot.proof.verified_at < oldest:
                self._supervisor.ended(slot, slot.copy.settle("looking up to where others wrote since"))

    async def _attach_due(self) -> float:
        """Begin to attach what is due, some at a time; return when the next one is (monotonic; infinite for none)."""
        soonest = math.inf
        groups: dict[tuple[int, int], list[Slot]] = defaultdict(list)
        turns = Turns()
        for number, slot in enumerate(tuple(self._apart)):
            if number % _SLOTS_A_TURN == 0:
                await turns.give()
            if slot not in self._apart or self.draining:  # by now
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
            slot.attach.is_under_way = True  # nobody else begins with it while the rest is looked at
            group = groups[nodes]
            group.append(slot)
            if len(group) >= _GROUP_MAX:
                self._spawn(groups.pop(nodes))
        for group in groups.values():
            self._spawn(group)
        return soonest

    def _prepare(self, slot: Slot) -> tuple[int, int] | None:
        """Return who leads a partition that is due, on the source and on the target; None where that is not next."""
        if slot.attach.begins_again or slot.copy.phase is Phase.SETTLING:
            slot.attach.begins_again = False
            slot.copy.attach_again()
        if slot.copy.reading.trust.doubted is not None:
            slot.attach.is_under_way = True
            self._supervisor.start(self._look_at_doubted(slot, slot.copy.reading.trust.doubted.offset), slot)
            return None
        if slot.copy.displaced is not None:
            slot.attach.is_under_way = True
            self._supervisor.start(self._look_at_displaced(slot, slot.copy.displaced), slot)
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
            facts, stale = await self._look(group)
        except ReplicatorError as error:
            self._failed(group, error)
            return
        except Exception as error:  # noqa: BLE001 - whose it is, is found by halving the group
            self._failed(group, _as_bug(error))
            return
        for slot in group:
            if slot.copy.phase is Phase.ATTACHING and slot in facts and slot not in stale:
                slot.attached(facts[slot].target.end, began, self._context.now())
                try:
                    self._take_facts(slot, facts[slot], began)
                except Exception as error:  # noqa: BLE001 - it ends this partition, and nobody else's
                    self._supervisor.stop_over_bug(slot, error)
            elif slot.copy.phase is Phase.ATTACHING:
                self.schedule(slot)
        self._supervisor.wake_readers()

    async def _look(self, group: list[Slot]) -> tuple[Mapping[Slot, Facts], set[Slot]]:
        """Read both logs of each partition; return what was found, and the partitions whose map has changed since.

        However that ends, none of them is being attached any more.
        """
        try:
            return await self._read(group)
        finally:
            for slot in group:
                slot.attach.is_under_way = False

    async def _read(self, group: list[Slot]) -> tuple[Mapping[Slot, Facts], set[Slot]]:
        for slot in group:
            self._context.maps.refresh(slot)
        facts = await read_facts(
            self._context.source,
            self._context.target,
            self._context.writers.flow,
            group,
            committed=self._context.committed_only,
        )
        if self._context.offsets is Offsets.IDENTICAL and not any(slot.mapping.record for slot in group):
            return facts, set()
        # A difference is recorded before anything is copied behind it: what is read now covers all of the
        # target's log that was read before. Where it says something else, the logs were read with an old map.
        await self._context.maps.read_to_end()
        return facts, {slot for slot in group if self._context.maps.refresh(slot)}

    def _failed(self, group: list[Slot], error: ReplicatorError) -> None:
        """One refused topic must not hold up the others: halve the group until the culprit stands alone."""
        if len(group) > 1 and not isinstance(error, ConnectionFailed | StateLost | WrongCluster):
            middle = len(group) // 2
            for half in (group[:middle], group[middle:]):
                self._spawn(half)
            return
        for slot in group:
            self._met(slot, error)
        self._supervisor.leaders_stale()
        self._supervisor.topics_stale()

    def _met(self, slot: Slot, error: Exception, about: str = "") -> None:
        """Take an error of one partition that is being attached: what cannot heal by itself stops it, by name.

        Damage is believed once `DOUBTS_MAX` looks in a row have met it.

        Args:
            slot: The partition.
            error: What was met.
            about: What was looked at, where that is not clear from the error.
        """
        text = f"{about}{error.with_next_step() if isinstance(error, ReplicatorError) else error}"
        if isinstance(error, BugError) or not isinstance(error, ReplicatorError):
            self._supervisor.stop_over_bug(slot, error)
        elif slot.copy.phase is not Phase.ATTACHING:
            return  # it was paused meanwhile
        elif isinstance(error, TooLargeToOpen):
            slot.refused.too_large = None  # to leave it out would not help: it is needed to find the place
            self._supervisor.ended(slot, slot.copy.fault(Reason.BATCH_TOO_LARGE, text))
        elif isinstance(error, CorruptRecords | AnswerTooLarge) and slot.attach.damaged + 1 >= DOUBTS_MAX:
            slot.attach.damaged = 0
            slot.copy.reading.trust.doubted = None
            reason = Reason.CORRUPT_BATCH if isinstance(error, CorruptRecords) else Reason.BATCH_TOO_LARGE
            self._supervisor.ended(slot, slot.copy.fault(reason, text))
        else:
            # Not every field of an answer has a checksum: what one look met may have been spoiled on its way.
            slot.attach.damaged = slot.attach.damaged + 1 if isinstance(error, CorruptRecords | AnswerTooLarge) else 0
            slot.copy.wait(waits_for(error), text)
            self.schedule(slot)

    def _take_facts(self, slot: Slot, facts: Facts, began: float) -> None:
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
            self._supervisor.start(self._with_latest_map(slot, decision), slot)

    async def _with_latest_map(self, slot: Slot, decision: Fault | Remap) -> None:
        """Record a new difference, or stop; unless another daemon recorded one first: then look again."""
        copy = slot.copy
        try:
            changed = await self._context.maps.refresh_from_end(slot)
            if not changed and copy.phase is Phase.ATTACHING:
                if isinstance(decision, Fault):
                    copy.displaced = None
                    if copy.track is not None:
                        copy.track.forget_walk()
                    self._supervisor.ended(slot, slot.copy.fault(decision.reason, decision.detail))
                    return
                await self._context.maps.remap(slot, decision)
                changed = True
            if changed:
                copy.displaced = None  # only now: nothing else tells of it, should the state topic be out of reach
        except Exception as error:  # noqa: BLE001 - a task of its own: it would begin again at once, for ever
            if isinstance(error, BugError) or not isinstance(error, ReplicatorError):
                self._supervisor.stop_over_bug(slot, error)
                return
            log.warning("an offset map not recorded yet", partition=str(slot.source), why=str(error))
            copy.say(waits_for(error), f"the state topic cannot be used: {error.with_next_step()}")
        finally:
            slot.attach.is_under_way = False
        self.schedule(slot)

    async def _look_at_doubted(self, slot: Slot, offset: int) -> None:
        """Have another look at what an answer of the source claimed, before anything else is read of its log."""
        copy, trust = slot.copy, slot.copy.reading.trust
        try:
            async with self._room_on_source:
                verdict = await look_again(
                    self._context.source, slot.source, offset, trust.looks, slot.recorded.epochs_unproven
                )
        except Exception as error:  # noqa: BLE001 - a task of its own: it would begin again at once, for ever
            slot.attach.is_under_way = False
            self._met(slot, error, about=f"{trust.detail}; it cannot be looked at: ")
            self._supervisor.leaders_stale(target=False)
            self._supervisor.topics_stale()
            return
        slot.attach.is_under_way, slot.attach.damaged = False, 0
        if isinstance(verdict, Sound) and verdict.begins_below:
            log.info("the source cuts batches anew", partition=str(slot.source), offset=offset)
        elif isinstance(verdict, Sound):
            log.warning("an answer of the source was spoiled", partition=str(slot.source), why=trust.detail)
        # None: retention took it meanwhile, or the source lost it. The attach reads both logs and names it.
        fault = trust.looked(verdict)
        if fault is not None and copy.phase is Phase.ATTACHING:
            self._supervisor.ended(slot, slot.copy.fault(Reason.CORRUPT_BATCH, f"{fault}; {_ANOTHER_REPLICA}"))
            return
        self.schedule(slot)

    async def _look_at_displaced(self, slot: Slot, place: Place) -> None:
        """Find out what stands before a batch that landed further on than it had to."""
        try:
            async with self._room_on_target:
                decision = await what_displaced(self._context.target, self._context.writers.flow, slot, place)
        except Exception as error:  # noqa: BLE001 - a task of its own: it would begin again at once, for ever
            slot.attach.is_under_way = False
            self._met(slot, error)
            self._supervisor.leaders_stale(source=False)
            return
        if decision is not None:
            await self._with_latest_map(slot, decision)
            return
        slot.copy.displaced = None
        slot.attach.is_under_way = False
        self.schedule(slot)

    def _resume(self, slot: Slot, decision: Resume, source_epoch: int) -> None:
        copy = slot.copy
        guarded = (
            decision.state_time_ms is not None
            and decision.state_time_ms > self._context.now_ms() - copy.limits.guard_ms
        )
        if copy.doubtful and not guarded and self._context.now() < slot.attach.doubt_until:
            copy.wait(
                Reason.WAITING_FOR_DOUBT, "a write without an answer may still arrive, and nothing guards against it"
            )
            slot.attach.due = slot.attach.doubt_until
            return
        if not self._supervisor.begin_copying(slot, decision, source_epoch):
            self.schedule(slot)


def _as_bug(error: Exception) -> BugError:
    """Return what has no business to be raised as the mistake of ours that it is."""
    if isinstance(error, BugError):
        return error
    bug = BugError(f"unexpected {type(error).__name__}: {error}")
    bug.__cause__ = error
    return bug
