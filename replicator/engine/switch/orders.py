"""Completes an order to switch with what only this side knows; `core.switch.orders` then decides."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicator.core.switch.orders import OrderResult, begin, not_selected_then, promoted
from replicator.engine.state import records as state
from replicator.engine.state.cuts import cuts_of
from replicator.engine.state.journal import copies_to, switches_of
from replicator.engine.switch.context import mirrors_in, switched_alone, target_topics
from replicator.errors import Conflict, ReplicatorError, UsageError
from replicator.model.acl import parse
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Close, Decision, LeftOutMirror, LeftOutReason, Scope, SwitchOrder, Verb

if TYPE_CHECKING:
    from replicator.engine.switch.context import SwitchContext
    from replicator.engine.switch.executor import Executor
    from replicator.model.acl import Rule


@dataclass(frozen=True, slots=True)
class OtherSide:
    """What a failback has to know about the reverse flow.

    Attributes:
        running: Its running switch.
        opened: Whether it took over from the last switch of this flow, and was opened since.
    """

    running: Journal | None = None
    opened: bool = False


class Orders:
    """Orders for the switches of one flow.

    Args:
        context: What they work on.
        executor: Who would carry them out.
    """

    def __init__(self, context: SwitchContext, executor: Executor) -> None:
        self._context = context
        self._executor = executor

    async def completed(self, order: SwitchOrder, *, is_dry_run: bool = False) -> SwitchOrder:
        """Return an order completed with what only this side knows; with `is_dry_run` no state topic is created.

        Raises:
            UsageError: It makes no sense.
            KafkaError: A failback depends on whether the reverse flow copies, and that cannot be found out now.
        """
        context, options = self._context, order.options
        order = replace(order, flow=context.flow.name)
        if order.verb is Verb.FAILOVER:
            # The source is asked nothing, and nothing is left there.
            options = replace(options, close=Close.STATED, reverse_flow="", way_back=False)
            return replace(order, options=options, left_out=await self._left_out(order))
        if options.reverse_flow or order.verb is Verb.FAILBACK:
            if context.reverse is None:
                raise UsageError(
                    f"flow {context.flow.name!r} has no reverse flow in the flow file",
                    next_step=f"add a flow with `reverse_of: {context.flow.name}`, and reload the daemon (SIGHUP)",
                )
            options = replace(options, reverse_flow=context.reverse.name)
        try:
            await context.reach_source()
        except ReplicatorError:  # the preflight says why the source cannot be asked
            return replace(order, options=options)
        if order.verb is Verb.FAILBACK and (not is_dry_run or await context.has_source_log()):
            # Unknown is not "no": a mirror that is being copied to would pass for an old source that came back.
            options = replace(options, restored=await self._executor.reverse.reverse_copies(order.topics))
        with contextlib.suppress(ReplicatorError):
            order = replace(order, left_out=await self._left_out(order))
            if options.way_back and (not is_dry_run or await context.has_source_log()):
                options = replace(options, way_back=await self._executor.close_source.offers_way_back())
        return replace(order, options=options)

    async def _left_out(self, order: SwitchOrder) -> tuple[LeftOutMirror, ...]:
        """Return the mirrors that cannot take part in a switch of this flow, and those that the order leaves out."""
        found = {one.topic: one for one in (*self._stayed(order), *order.left_out)}
        scope = Scope(order.topics, tuple(found.values()))
        found |= {one.topic: one for one in await self._executor.close_source.left_out(order.verb, scope)}
        return tuple(sorted(found.values()))

    def _stayed(self, order: SwitchOrder) -> tuple[LeftOutMirror, ...]:
        """Return the mirrors that a failback leaves out because the switch it comes back from left them out.

        They were not cut, even if the flow selects them again by now: it is unknown from where they would come back.
        """
        if order.verb is not Verb.FAILBACK:
            return ()
        records, uid = self._context.log.records, self._context.uid
        away = not_selected_then(switches_of(records, uid), order.topics)
        there = target_topics(records, uid, [one.topic for one in away])
        apart = switched_alone(records, uid)
        return tuple(one for one in away if one.topic in there and there[one.topic] not in apart)

    async def other_side(self, order: SwitchOrder, switches: Switches) -> OtherSide:
        """Return what a failback has to know about the other flow; asked after everything that depends on its role."""
        if order.verb is Verb.FAILBACK:
            with contextlib.suppress(ReplicatorError):  # the preflight says why the source cannot be asked
                await self._context.reach_source()
                running = await self._context.reverse_switch()
                return OtherSide(running, opened=await self._context.reverse_opened(switches, order.topics))
        return OtherSide()

    def begun(self, before: Switches, order: SwitchOrder, other: OtherSide) -> OrderResult:
        """Return the record once an order is taken; a running switch needs no check whether there is one to begin."""
        records, uid = self._context.log.records, self._context.uid
        if before.running is None and state.get_flow(records, uid).HasField("repoint"):
            raise Conflict(
                f"flow {self._context.flow.name!r} is being moved to another source",
                next_step=f"replicator flow status {self._context.flow.name}, and repeat the command once it has moved",
            )
        writers = state.writers_of(records, uid)
        is_open = False
        if before.running is None and writers is not None:
            mirrors = {one.source_topic: writers.of(one.target_topic).role for one in state.mirrors_of(records, uid)}
            is_open = promoted(order, writers.flow.role, mirrors)
        meant = {one.target_topic for one in mirrors_in(records, uid, Scope(order.topics, order.left_out))}
        return begin(
            before,
            order,
            promoted=is_open,
            now_ms=time.time_ns() // 1_000_000,
            reverse=other.running,
            was_cut=bool(cuts_of(records, uid, meant)[0]),
            reverse_opened=other.opened,
            target_closed=bool(self.left_closed()),
            apart=() if order.topics else self._apart(),
            other=self._context.reverse.name if self._context.reverse is not None else "",
        )

    def _apart(self) -> tuple[str, ...]:
        """Return the source topics of the mirrors that were switched alone."""
        records, uid = self._context.log.records, self._context.uid
        alone = switched_alone(records, uid)
        return tuple(sorted(one.source_topic for one in state.mirrors_of(records, uid) if one.target_topic in alone))

    def left_closed(self) -> tuple[Rule, ...]:
        """Return the rules that keep the target of a flow closed that was never started; none for any other flow.

        A switchover of the reverse flow placed them, and its journal was lost with the side that it opened. The copy
        that it left here names them.
        """
        context, records = self._context, self._context.log.records
        if context.reverse is None or any(True for _ in state.mirrors_of(records, context.uid)):
            return ()
        lost = state.get_flow(records, context.uid).source_cluster_id
        copies = [
            copy for _, copy in copies_to(records, context.reverse.name, lost) if copy.decision is Decision.FORWARD
        ]
        last = max(copies, key=lambda one: one.started_ms, default=None)
        return () if last is None else tuple(parse(text) for text in (*last.locks, *last.inherited_locks))

    def meant(self, journal: Journal) -> tuple[tuple[str, ...], tuple[LeftOutMirror, ...]]:
        """Return the topics of a switch, and those that it leaves out because they were switched alone before."""
        records, uid = self._context.log.records, self._context.uid
        topics = tuple(sorted(one.source_topic for one in mirrors_in(records, uid, journal.scope)))
        if journal.topics:
            return topics, ()
        return topics, tuple(LeftOutMirror(topic, LeftOutReason.SWITCHED_ALONE) for topic in self._apart())
