"""The end of a failback: the old source becomes a mirror, catches up, and takes over again."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.core.switch.orders import begin
from replicator.engine.switch.changes import change_switches
from replicator.engine.switch.context import mirrors_in, partitions_of, switched_alone, target_topics
from replicator.engine.switch.places import ObservedSource, log_ends
from replicator.model.names import TopicPartition
from replicator.model.switch.journal import Journal, by_topic
from replicator.model.switch.terms import Cut, LeftOutMirror, LeftOutReason, Options, Restore, SwitchOrder, Verb

if TYPE_CHECKING:
    from replicator.engine.switch.context import SwitchContext
    from replicator.engine.switch.steps.reverse import Reverse


class Failback:
    """The steps that bring the old source back.

    Args:
        context: What the switch works on.
        reverse: Who starts the reverse flow.
    """

    def __init__(self, context: SwitchContext, reverse: Reverse) -> None:
        self._context = context
        self._reverse = reverse
        self._wanted: dict[str, dict[TopicPartition, int]] = {}

    async def restore(self, journal: Journal, step: do.RestoreTopics) -> got.Result:
        """See `do.RestoreTopics`."""
        await self._reverse.prepare_reverse()
        cuts = by_topic(journal.cuts)
        doomed: dict[str, bytes] = {}
        taken: list[Cut] = []
        for one in step.topics:
            if one.how is Restore.RECREATE:
                doomed[one.topic] = uuid.UUID(one.topic_id).bytes if one.topic_id else bytes(16)
            taken += [_goes_on_at(cut, one.how) for cut in cuts[one.topic]]
        await self._reverse.take_over(journal, taken, step.locks, doomed)
        return got.Ok()

    async def catch_up(self, journal: Journal) -> got.Result:
        """See `do.CatchUp`: it has to copy what the new primary held when this was first asked."""
        context = self._context
        log = await context.source_log()
        uid = context.reverse_uid(log)
        if journal.id not in self._wanted:
            scope = await partitions_of(context.target, mirrors_in(context.log.records, context.uid, journal.scope))
            self._wanted[journal.id] = await log_ends(context.target, scope)
        copied = ObservedSource(log, uid)
        wanted = self._wanted[journal.id]
        behind = {where: copied.copied(where) or 0 for where in wanted}
        behind = {where: at for where, at in behind.items() if at < wanted[where]}
        if not behind:
            return got.Ok()
        where = min(behind)
        return got.NotYet(
            f"flow {context.reversed().name!r} has not caught up in {len(behind)} partitions: {where} is copied up to "
            f"{behind[where]} of {wanted[where]}; to see why: replicator mirror list {context.reversed().name}"
        )

    async def switch_back(self, journal: Journal, step: do.SwitchBack) -> got.Result:
        """See `do.SwitchBack`."""
        context = self._context
        log = await context.source_log()
        uid = context.reverse_uid(log)
        options = journal.options
        named = target_topics(context.log.records, context.uid, journal.topics)
        order = SwitchOrder(
            step.order_id,
            Verb.SWITCHOVER,
            flow=step.flow,
            topics=tuple(named[topic] for topic in journal.topics if topic in journal.scope),
            left_out=() if journal.topics else self._stays(journal),
            options=Options(
                close=options.close,
                reverse_flow=context.flow.name,
                way_back=options.way_back,
                groups_exact=options.groups_exact,
                timeout_ms=options.timeout_ms,
            ),
            actor=journal.actor,
            reason=journal.reason or f"failback {journal.id} of {context.flow.name}",
        )

        await change_switches(
            log,
            uid,
            lambda before: (
                begin(before, order, promoted=False, now_ms=time.time_ns() // 1_000_000, as_it_runs=True).switches
            ),
        )
        self._wanted.pop(journal.id, None)
        return got.Ok()

    def _stays(self, journal: Journal) -> tuple[LeftOutMirror, ...]:
        """Return what the failback leaves out: the reverse flow goes on with it as before.

        Topics that were switched alone are still written to on the side that the rest comes back from. The reverse
        flow may select such a topic without having a mirror of it: the switch would wait for it as for a new one.
        """
        records, own = self._context.log.records, self._context.uid
        apart = switched_alone(records, own)
        apart |= set(target_topics(records, own, [one.topic for one in journal.left_out]).values())
        return tuple(LeftOutMirror(topic, LeftOutReason.SWITCHED_ALONE) for topic in sorted(apart))


def _goes_on_at(cut: Cut, how: Restore) -> Cut:
    """Return where the mirror of an old source continues: the same moment in both logs, at the end of its own."""
    end = cut.source if cut.tail_end is None else cut.tail_end
    short = max(0, cut.source - end)
    if short and how is not Restore.RECREATE:
        # It lost records from before the cut, for example in an unclean election: they are copied back.
        return replace(cut, source=end, target=cut.target - short, mapped=how is Restore.APPEND)
    return replace(cut, source=end, mapped=True) if how is Restore.APPEND else cut
