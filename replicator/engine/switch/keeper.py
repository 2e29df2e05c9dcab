"""Keeps the switches of one flow going in one daemon, and takes the operator's orders for them.

A daemon works on a running switch if it took the order, if it works on the flow's first shard, or if nobody has
advanced the switch for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from replicator.backoff import Backoff
from replicator.core.copy.attaching.facts import Role
from replicator.core.switch.machine.helps import status_command
from replicator.core.switch.plan import plan_of, status_of
from replicator.core.switch.running import aborted, confirmed
from replicator.core.switch.state import flow_state
from replicator.engine.state import records as state
from replicator.engine.state.journal import journal_key
from replicator.engine.state.ownership.between import starting_over
from replicator.engine.switch.changes import change_switches
from replicator.engine.switch.executor import Executor
from replicator.engine.switch.orders import Orders
from replicator.engine.switch.sides import Sides
from replicator.engine.switch.steps.reverse import with_locks
from replicator.errors import BugError, Conflict, ReplicatorError, UsageError
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Outcome, SwitchOrder, Verb
from replicator.obs import bugs
from replicator.obs.logs import get_logger
from replicator.wire.messages.data.transactions import patiently

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.engine.switch.context import Copying, SwitchContext
    from replicator.model.status.states import FlowState
    from replicator.model.switch.status import BothSides, SwitchPlan, SwitchStatus
    from replicator.model.switch.terms import Cut

_POLL_SECONDS = 1.0
_LATER_SECONDS = 15.0
"""How often a finished switch is checked: for a source that comes back, and for locks that were placed late."""
_PAUSE_SECONDS = 0.1
_PAUSE_SECONDS_MAX = 2.0
_STALLED_SECONDS = 6.0
_ORDER_SECONDS = 20.0
"""How long an order waits for a leader of the state topic."""

log = get_logger(__name__)


@dataclass(slots=True)
class _ObservedRevision:
    """The last revision of a switch that this daemon saw, and when (monotonic)."""

    id: str = ""
    revision: int = -1
    since: float = 0.0


class SwitchKeeper:
    """The switches of one flow.

    Attributes:
        problem: What the running switch waits for, None for nothing.
    """

    def __init__(self, context: SwitchContext) -> None:
        self.problem: str | None = None
        self._context = context
        self._executor = Executor(context)
        self._orders = Orders(context, self._executor)
        self._sides = Sides(context)
        self._kick = asyncio.Event()
        self._ordered: set[str] = set()
        self._seen = _ObservedRevision()
        self._now = asyncio.get_running_loop().time
        context.log.listen(self._on_record)

    def _on_record(self, key: bytes) -> None:
        if key == journal_key(self._context.uid):
            self._kick.set()

    def switches(self) -> Switches:
        """Return the switches of the flow as this daemon knows them."""
        return self._executor.switches()

    def statuses(self) -> tuple[SwitchStatus, ...]:
        """Return the status of all switches, newest last."""
        return tuple(self.status_of(one) for one in self.switches().all)

    @property
    def under_way(self) -> str | None:
        """The running switch in a few words, None if there is none."""
        running = self.switches().running
        if running is None:
            return None
        waits = f", waits for: {self.problem}" if self.problem else ""
        return f"{running.verb} {running.id} has reached {running.reached or 'nothing yet'}{waits}"

    async def both_sides(self, switch_id: str, other: Copying | None) -> BothSides:
        """Return how a switch left both sides (`Sides.read`)."""
        return await self._sides.read(self.switches(), switch_id, other)

    def _names(self) -> tuple[str, str]:
        return self._context.flow.source, self._context.flow.target

    def state(self, *, paused: bool) -> FlowState:
        """Return the state that the flow shows."""
        role = state.standing_role(self._context.log.records, self._context.uid)
        return flow_state(self.switches(), role or Role.COPYING, paused=paused)

    # -- the loop ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Advance switches until cancelled."""
        backoff = Backoff(_PAUSE_SECONDS, _PAUSE_SECONDS_MAX)
        while True:
            self._kick.clear()
            seconds = _POLL_SECONDS
            try:
                went_on = await self._turn()
                if went_on:
                    backoff.reset()
                    continue
                running = self.switches().running
                seconds = _POLL_SECONDS if running is not None else _LATER_SECONDS
                if self.problem is not None:
                    seconds = backoff.next_seconds()
            except Conflict as error:
                log.debug("switch was advanced by another daemon", why=str(error))
                seconds = _PAUSE_SECONDS
            except ReplicatorError as error:
                self._report_problem(error)
                seconds = backoff.next_seconds()
            except Exception as error:  # noqa: BLE001 - copying goes on meanwhile, and the step is retried
                self._report_problem(BugError(f"unexpected {type(error).__name__}: {error}"))
                bugs.note(error, "a step of a switch failed unexpectedly", flow=self._context.flow.name)
                seconds = _LATER_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._kick.wait()

    async def _turn(self) -> bool:
        """Do a step if it is ours to do; return whether the switch went on."""
        journal = self.switches().current
        if journal is None or not self._is_mine(journal):
            self.problem = None
            return False
        waits = await self._executor.advance()
        self.problem = waits or None
        return waits == ""

    def _is_mine(self, journal: Journal) -> bool:
        if (journal.id, journal.revision) != (self._seen.id, self._seen.revision):
            self._seen = _ObservedRevision(journal.id, journal.revision, self._now())
        if journal.id in self._ordered:
            return True
        copying = self._context.copying()
        if copying is not None and copying.works_first():
            return True
        return self._now() >= self._seen.since + _STALLED_SECONDS

    def _report_problem(self, error: ReplicatorError) -> None:
        text = f"{error}; {error.next_step}" if error.next_step else str(error)
        if text != self.problem:
            log.warning("switch waits", flow=self._context.flow.name, why=str(error), next=error.next_step)
        self.problem = text

    # -- orders -----------------------------------------------------------------------------------------------------

    async def plan(self, order: SwitchOrder) -> SwitchPlan:
        """Return what an order would do, and what prevents it; nothing is changed.

        Raises:
            Conflict: Another switch of this flow is running.
            PreflightFailed: The flow is not in a state from which this switch can begin.
            UsageError: The order contradicts itself.
            KafkaError: The target cannot be asked.
        """
        await patiently(self._context.log.read_to_end, "reading the state topic", _ORDER_SECONDS)
        order = await self._orders.completed(order, is_dry_run=True)
        begun = self._orders.begun(self.switches(), order, await self._orders.other_side(order, self.switches()))
        journal = begun.switches.current
        if journal is None:
            raise BugError("an order was taken, but there is no switch")
        if begun.already:
            return plan_of(journal, names=self._names(), already=True)
        problems = await self._executor.close_source.problems(journal)
        cuts: tuple[Cut, ...] = ()
        if journal.verb is Verb.FAILOVER:
            cuts = await patiently(partial(self._executor.fencing.preview, journal), "the look", _ORDER_SECONDS)
        topics, apart = self._orders.meant(journal)
        return plan_of(
            journal,
            names=self._names(),
            problems=tuple(problems),
            cuts=cuts,
            now_ms=_now_ms(),
            topics=topics,
            apart=apart,
        )

    async def foreign(self) -> tuple[tuple[str, int, int], ...]:
        """Return where someone else wrote to mirrors that are being copied to: source topic, partition, offsets.

        Raises:
            KafkaError: The target cannot be read.
        """
        context = self._context
        await context.log.read_to_end()
        writers = state.writers_of(context.log.records, context.uid)
        if context.flow.both_ways or writers is None or writers.flow.role is not Role.COPYING:
            return ()
        cuts = await self._executor.fencing.preview(Journal("", Verb.FAILOVER))
        return tuple((cut.topic, cut.partition, cut.foreign) for cut in cuts if cut.foreign)

    async def start(self, order: SwitchOrder) -> tuple[Journal | None, bool]:
        """Take an order; return the switch, and whether it was already under way or done.

        Raises:
            Conflict: Another switch of this flow is running.
            PreflightFailed: The flow is not in a state from which this switch can begin.
            UsageError: The order contradicts itself.
            KafkaError: The target cannot be asked.
        """
        context = self._context
        order = await self._orders.completed(order)
        other = await self._orders.other_side(order, self.switches())
        closed = self._orders.left_closed()
        if order.verb is Verb.FAILOVER and closed:
            # The flow never copied: the locks on its target are the other flow's, and are removed as its own would be.
            await context.log.change(context.uid, lambda records: with_locks(records, context.uid, closed))
        already = False

        def change(before: Switches) -> Switches:
            nonlocal already
            begun = self._orders.begun(before, order, other)
            already = begun.already
            return begun.switches

        journal = (await self._recorded(change)).current
        if journal is not None and not already:
            self._ordered.add(journal.id)
            log.warning(
                "switch ordered",
                flow=context.flow.name,
                switch=journal.id,
                verb=journal.verb,
                actor=order.actor,
                reason=order.reason,
            )
        self._kick.set()
        return journal, already

    async def abort(self, why: str) -> Journal:
        """Undo the running switch.

        Raises:
            Conflict: It can no longer be undone.
            UsageError: None is running.
            KafkaError: A cluster refuses.
        """

        def change(switches: Switches) -> Switches:
            if switches.current is None:
                raise UsageError(
                    f"flow {self._context.flow.name!r} was never switched: there is nothing to undo",
                    next_step=f"replicator flow status {self._context.flow.name}",
                )
            return replace(switches, current=aborted(switches.current, why, _now_ms()))

        journal = await self._changed(change)
        self._ordered.add(journal.id)
        return journal

    async def _recorded(self, change: Callable[[Switches], Switches]) -> Switches:
        """Change the switches by compare-and-set; return them.

        A broker may have died this very moment, above all if a failover is ordered: we wait until another one leads.
        The same order again changes nothing, so it may be repeated.
        """
        context = self._context
        return await patiently(partial(change_switches, context.log, context.uid, change), "the order", _ORDER_SECONDS)

    async def _changed(self, change: Callable[[Switches], Switches]) -> Journal:
        """Change the current switch, and go on with it; return it."""
        journal = (await self._recorded(change)).current
        if journal is None:
            raise BugError("a switch disappeared while it was changed")
        self._kick.set()
        return journal

    def status_of(self, journal: Journal) -> SwitchStatus:
        """Return the status of a switch."""
        running = self.switches().running
        waits_for = self.problem if running is not None and running.id == journal.id else self._unmeasured(journal)
        return status_of(journal, names=self._names(), waits_for=waits_for)

    def _unmeasured(self, journal: Journal) -> str | None:
        """Return why the tail of a failover's old source cannot be measured even though its address answers."""
        another, current = self._context.source.another, self.switches().current
        waits = journal.outcome is Outcome.DONE and any(cut.tail_end is None for cut in journal.cuts)
        if another is None or journal.verb is not Verb.FAILOVER or not waits:
            return None
        if current is None or current.id != journal.id:
            return None
        return f"the old source, to measure its tail: {another}; {starting_over(self._context.flow)}"

    async def confirm(self, digest: str) -> Journal:
        """Agree to what a failback found.

        Raises:
            UsageError: Nothing waits for a confirmation.
            PreflightFailed: The operator agreed to something else.
            KafkaError: The target refuses.
        """

        def change(switches: Switches) -> Switches:
            if switches.current is None:
                raise UsageError(
                    f"no switch of flow {self._context.flow.name!r} waits for a confirmation",
                    next_step=status_command(self._context.flow.name),
                )
            return replace(switches, current=confirmed(switches.current, digest))

        return await self._changed(change)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
