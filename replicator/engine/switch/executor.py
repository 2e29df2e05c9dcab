"""Carries out the steps of a switch one by one, and records each by compare-and-set.

Any daemon of the flow may do so, even several at once: if two do the same step, one records it and the other reads
again. So nothing here needs a lease, a coordinator, or exclusive access.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.core.switch.machine.machine import UNKNOWN_HELP, SwitchFacts, next_step, unknown_text
from replicator.core.switch.machine.recording import applied
from replicator.engine.state.held_back import put_held_back
from replicator.engine.state.journal import journal_key, lost_left_out, put_switches, switches_of
from replicator.engine.state.ownership.between import starting_over
from replicator.engine.switch.context import SOURCE_SECONDS_MAX
from replicator.engine.switch.repairs.high_cuts import lower_high_cuts
from replicator.engine.switch.steps.close_source import CloseSource
from replicator.engine.switch.steps.divergent import Divergent
from replicator.engine.switch.steps.failback import Failback
from replicator.engine.switch.steps.fencing import Fencing
from replicator.engine.switch.steps.locks import SourceLocks
from replicator.engine.switch.steps.reverse import Reverse
from replicator.engine.switch.steps.settings import Opening
from replicator.errors import BugError, Conflict, KafkaError, WrongCluster
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Decision, Direction, StepName, Verb
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.engine.state.topic.log import Change
    from replicator.engine.switch.context import SwitchContext

T = TypeVar("T")
_Doer = Callable[[Journal, Any], Awaitable[got.Result]]

log = get_logger(__name__)


class Executor:
    """Advances the switches of one flow.

    Args:
        context: What they work on.
    """

    def __init__(self, context: SwitchContext) -> None:
        self.locks = SourceLocks(context)
        self.fencing = Fencing(context)
        self.close_source = CloseSource(context, self.locks, self.fencing.preview)
        self.reverse = Reverse(context)
        self._opening = Opening(context)
        self._divergent = Divergent(context)
        self._failback = Failback(context, self.reverse)
        self._context = context
        self._doers = self._steps()
        self._key = journal_key(context.uid)
        self._parsed: tuple[bytes | None, Switches] = (None, Switches())

    def switches(self) -> Switches:
        """Return the switches of the flow as this daemon knows them; parsed once, since every status needs them."""
        raw = self._context.log.records.get(self._key)
        if raw is not self._parsed[0]:
            self._parsed = raw, switches_of(self._context.log.records, self._context.uid)
            self._warn_of_lost()
        return self._parsed[1]

    def _warn_of_lost(self) -> None:
        lost = lost_left_out(self._context.log.records, self._context.uid)
        if lost:
            log.warning(
                "an older daemon is carrying out the switch, too",
                flow=self._context.flow.name,
                why=f"it included {len(lost)} topics that are left out, for example {lost[0].topic}",
                next="stop or upgrade that daemon: the list of what is left out is kept apart from the journal",
            )

    async def advance(self) -> str | None:
        """Do the next step and record it; return what it waits for, "" if it went on, None if there is nothing to do.

        Raises:
            Conflict: Someone else was faster: read again.
            PreflightFailed: The result of the step does not allow it to go on.
            KafkaError: A cluster refuses, or cannot be reached.
            ReplicatorError: The step failed otherwise.
        """
        journal = self.switches().current
        if journal is None:
            return None
        if journal.unknown_words:
            return None if journal.finished else f"{unknown_text(journal)}; {UNKNOWN_HELP}"
        facts = await self._facts(journal)
        step = next_step(journal, facts)
        if isinstance(step, do.Nothing):
            return None
        try:
            result = await self._do(journal, step)
        except WrongCluster as error:
            if error is not self._context.source.another:
                raise
            facts = replace(facts, another_source=f"{error}; {starting_over(self._context.flow)}")
            step = next_step(journal, facts)
            if not isinstance(step, do.Abort):
                raise
            result = got.Ok()
        after = await self._record(journal, step, result, facts)
        if isinstance(result, got.NotYet):
            return result.why
        log.info(
            "switch goes on",
            flow=self._context.flow.name,
            switch=journal.id,
            verb=journal.verb,
            step=do.NAMES[type(step)],
            outcome=after.outcome,
        )
        return ""

    # -- facts ------------------------------------------------------------------------------------------------------

    async def _facts(self, journal: Journal) -> SwitchFacts:
        """Return the facts outside the journal, asking the source no more than the journal requires."""
        decision = None
        standing: frozenset[str] = frozenset()
        seen = False
        if self._asks_decision(journal):
            decision = await self._from_source(self.reverse.decision(journal))
        if journal.finished:
            measures = journal.verb is Verb.FAILOVER and any(cut.tail_end is None for cut in journal.cuts)
            offered = journal.escalated and journal.decision in {None, Decision.UNDECIDED}
            if measures or offered:
                seen = await self._from_source(self._seen()) or False
            ours = frozenset(journal.locks) | frozenset(journal.inherited_locks)
            if ours:
                standing = await self._from_source(self.locks.standing(ours)) or frozenset()
        return SwitchFacts(time.time_ns() // 1_000_000, decision, standing, seen)

    def _asks_decision(self, journal: Journal) -> bool:
        """Return whether the source may have decided in the meantime to open again."""
        offered = journal.did(StepName.OFFER_WAY_BACK) and journal.direction is Direction.FORWARD
        return offered and not journal.finished and journal.decision is not Decision.FORWARD and not journal.escalated

    async def _seen(self) -> bool:
        await self._context.reach_source()
        return True

    async def _from_source(self, asked: Awaitable[T]) -> T | None:
        """Return the answer of a source that may be gone, or None."""
        try:
            async with asyncio.timeout(SOURCE_SECONDS_MAX):
                return await asked
        except (KafkaError, TimeoutError) as error:
            log.debug("source not asked", flow=self._context.flow.name, why=str(error))
            return None

    # -- recording --------------------------------------------------------------------------------------------------

    async def _record(self, journal: Journal, step: do.Step, result: got.Result, facts: SwitchFacts) -> Journal:
        """Record the result of a step, together with its effect if that is on the state topic; return the journal."""
        context = self._context
        least = await self.fencing.least_epoch() if isinstance(step, do.BeginFence) else None

        def change(records: Mapping[bytes, bytes]) -> list[Change]:
            switches = switches_of(records, context.uid)
            current = switches.current
            if current is None or current.id != journal.id:
                raise Conflict(f"switch {journal.id} was replaced by another")
            final, effects = self._effect(records, current, step, result, least)
            after = applied(current, step, final, revision=journal.revision, facts=facts, executor=context.me)
            if after == current:
                return []
            return [*effects, *put_switches(context.uid, replace(switches, current=after))]

        after = switches_of(await context.log.change(context.uid, change), context.uid).current
        if after is None:
            raise BugError(f"switch {journal.id} is gone")
        return after

    def _effect(
        self, records: Mapping[bytes, bytes], journal: Journal, step: do.Step, result: got.Result, least: int | None
    ) -> tuple[got.Result, list[Change]]:
        match step:
            case do.BeginFence():
                return self.fencing.begin(records, step, least)
            case do.Promote():
                return self.fencing.promote(records, step)
            case do.RecordCut():
                return self.fencing.record_cut(journal, step)
            case do.ResumeCopying():
                return self.fencing.resume(records, step)
            case do.OpenTarget():
                # By now, the rules that kept others off are gone.
                return result, [put_held_back(self._context.uid, self.locks.opened(records, step.scope))]
        return result, []

    # -- doing ------------------------------------------------------------------------------------------------------

    async def _do(self, journal: Journal, step: do.Step) -> got.Result:
        if do.NAMES[type(step)] in do.ON_STATE:
            return got.Ok()  # done by the change that records it
        return await self._doers[type(step)](journal, step)

    async def _start_reverse(self, journal: Journal, step: do.StartReverse) -> got.Result:
        # An older executor may have recorded the cuts: the reverse flow has to begin at the true ones.
        if await lower_high_cuts(self._context) is not None:
            raise Conflict(f"cuts of switch {journal.id} were too high")
        return await self.reverse.start_reverse(journal, step.locks)

    async def _open_target(self, journal: Journal, step: do.OpenTarget) -> got.Result:
        await self.fencing.forget_groups(step.scope)
        # After a failover the source may be gone, or anything else: what was recorded of it counts.
        await self._opening.release(step.scope, ask_source=journal.verb is Verb.SWITCHOVER)
        return await self.locks.open_target(step.scope)

    async def _confirm(self, journal: Journal, step: do.Confirm) -> got.Result:
        if journal.confirmed != step.digest:
            agree = f"`replicator failback {self._context.flow.name} --confirm {step.digest}`"
            return got.NotYet(
                f"an operator has to agree to what happens to topics that hold more than was copied: {agree}"
            )
        opened = await self.close_source.source_opened(journal)
        return got.NotYet(f"{opened}: `replicator switch abort {self._context.flow.name}`") if opened else got.Ok()

    def _steps(self) -> dict[type[do.Step], _Doer]:
        """Return who does each step, except for those done on the state topic alone."""
        close, fencing, reverse, locks = self.close_source, self.fencing, self.reverse, self.locks
        divergent, failback = self._divergent, self._failback
        return {
            do.Preflight: lambda journal, _: close.preflight(journal),
            do.PlanLocks: lambda _, step: locks.plan(step),
            do.PlaceLocks: locks.place,
            do.ProveQuiescence: lambda journal, _: close.prove_quiescence(journal),
            do.Drain: lambda _, step: close.drain(step),
            do.SyncGroups: close.sync_groups,
            do.ClampGroups: lambda journal, _: close.clamp_groups(journal),
            do.OfferWayBack: lambda journal, _: reverse.decide(journal, Decision.UNDECIDED),
            do.GiveUpWayBack: lambda journal, _: reverse.decide(journal, Decision.FORWARD),
            do.WithdrawWayBack: lambda journal, _: reverse.decide(journal, Decision.WITHDRAWN),
            do.Fence: lambda _, step: fencing.fence(step),
            do.VerifyFence: fencing.verify,
            do.OpenTarget: self._open_target,
            do.PrepareReverse: lambda *_: reverse.prepare_reverse(),
            do.StartReverse: self._start_reverse,
            do.ReopenSource: locks.remove,
            do.FindTails: divergent.find,
            do.MeasureTails: lambda _, step: divergent.measure(step),
            do.ExportTails: divergent.export,
            do.Confirm: self._confirm,
            do.RestoreTopics: failback.restore,
            do.CatchUp: lambda journal, _: failback.catch_up(journal),
            do.SwitchBack: failback.switch_back,
        }
