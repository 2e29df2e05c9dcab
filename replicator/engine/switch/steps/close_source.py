"""The part of a switch that can be undone: checks, closing the source, and draining it to the target."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.core.switch.machine.helps import command, status_command
from replicator.core.topics import selection
from replicator.engine.state import records as state
from replicator.engine.state.ownership.between import starting_over
from replicator.engine.state.ownership.shown_markers import Shown, not_shown, shown_after_one
from replicator.engine.switch.context import mirrors_in
from replicator.engine.switch.places import log_ends
from replicator.errors import (
    AuthorizationFailed,
    KafkaError,
    PreflightFailed,
    ReplicatorError,
    TimedOut,
    WrongCluster,
)
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.model.switch.journal import Journal, by_partition
from replicator.model.switch.terms import Cut, End, GroupsNote, LeftOutMirror, LeftOutReason, Scope, Verb, left_out_text
from replicator.wire.messages.rights_probe import Verdict, may_write_markers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from replicator.engine.switch.context import Copying, SwitchContext
    from replicator.engine.switch.steps.locks import SourceLocks
    from replicator.model.status.groups import GroupOutcome
    from replicator.state_pb import state_pb2 as pb

_QUIET_SECONDS = 2.0
"""How long ends must not move; an authorizer's rules take effect within a second (KAFKA_FACTS K12)."""
_GROUPS_SECONDS = 20.0
_NAMED_MAX = 3


class CloseSource:
    """The steps that close a flow's source.

    Args:
        context: What the switch works on.
        locks: How writers are kept off the source.
        preview: Returns where a switch would cut now.
    """

    def __init__(
        self, context: SwitchContext, locks: SourceLocks, preview: Callable[[Journal], Awaitable[tuple[Cut, ...]]]
    ) -> None:
        self._context = context
        self._locks = locks
        self._preview = preview

    # -- looking --------------------------------------------------------------------------------------------------

    async def problems(self, journal: Journal) -> list[str]:
        """Return what prevents a switch from beginning, each with what helps.

        Raises:
            KafkaError: The target cannot be asked.
        """
        context = self._context
        found: list[str] = []
        if context.flow.both_ways:
            return ["both its sides are open (`loop_guard: origin`): there is nothing to switch, move the clients"]
        if journal.topics:
            known = {one.source_topic for one in mirrors_in(context.log.records, context.uid, Scope(journal.topics))}
            every = f"replicator mirror list {context.flow.name}"
            found += [f"the flow mirrors no topic {name!r} (`{every}`)" for name in journal.topics if name not in known]
            found += [f"{one.topic} {left_out_text(one.why)}: leave it out" for one in journal.left_out]
        if journal.verb is not Verb.FAILBACK:
            found += await self._marker_problems()
        if journal.verb is Verb.FAILOVER:
            return found
        if not journal.topics and not self._mirrors(journal):
            found.append(
                f"the flow has no mirror left that could be switched (`replicator mirror list {context.flow.name}`)"
            )
        try:
            await context.reach_source()
        except WrongCluster as error:
            helps = starting_over(context.flow) if journal.verb is Verb.FAILBACK else error.next_step
            return [*found, f"{error}; nothing on it is read or changed; {helps}"]
        except KafkaError as error:
            failover = command(Verb.FAILOVER, context.flow.name, journal.topics)
            helps = f"`{failover}` does not need it" if journal.verb is Verb.SWITCHOVER else "wait for it"
            return [*found, f"the source cannot be reached ({error}): {helps}"]
        found += await self._locks.problems(journal)
        found += self._reverse_problems(journal)
        if journal.verb is Verb.SWITCHOVER:
            found += await self._copying_problems(journal) or await self._foreign_problems(journal)
        elif opened := await self.source_opened(journal):
            found.append(opened)
        return found

    async def _marker_problems(self) -> list[str]:
        """Return why a fence could not be verified on the target: after its first marker there is no way back.

        Raises:
            KafkaError: The target cannot be asked.
        """
        context = self._context
        try:
            shown = await shown_after_one(context.target, context.log.records, context.uid)
        except KafkaError as error:
            if not error.retryable:
                raise
            return []  # checked before the fence, and waited for
        if shown is not Shown.NO:
            return []
        pause = f"`replicator flow pause {context.flow.name}`"
        helps = f"stop the applications on the source, then {pause}, and start them on the target"
        return [f"{not_shown(context.flow.target)}: a fence could not be verified; {helps}"]

    async def source_opened(self, journal: Journal) -> str:
        """Return why the old source of a failback is no longer the passive side; empty if it still is.

        Raises:
            KafkaError: A cluster cannot be asked.
        """
        context = self._context
        # In this order: if a switch of the other flow ends in between, this flow already copies again.
        running = await context.reverse_switch()
        if running is not None:
            shown = status_command(running.flow)
            return f"{running.verb} {running.id} of flow {running.flow!r} is deciding which side is open (`{shown}`)"
        await context.log.read_to_end()
        writers = state.writers_of(context.log.records, context.uid)
        again = [name for name, one in self._mirrors(journal).items() if writers and writers.copies(one.target_topic)]
        return f"{again[0]} is copied again: its source is the open side" if again else ""

    async def _copying_problems(self, journal: Journal) -> list[str]:
        copying = self._context.copying()
        if copying is None:
            return [f"the flow is not up in this daemon: see `replicator flow status {self._context.flow.name}`"]
        if copying.paused():
            return [f"the flow is paused: `replicator flow resume {self._context.flow.name}`, so that it can drain"]
        every = await copying.stopped()
        stopped = {name: why for name, why in every.items() if name in journal.scope}
        return [
            f"{name} has stopped ({why}): `replicator mirror describe {self._context.flow.name} {name}` says what helps"
            for name, why in sorted(stopped.items())
        ]

    async def _foreign_problems(self, journal: Journal) -> list[str]:
        """Return where someone else has written to the target: a mirror that is not open must have only one writer."""
        name, target = self._context.flow.name, self._context.flow.target
        written = [cut for cut in await self._preview(journal) if cut.foreign]
        return [
            f"someone else wrote {cut.foreign:,} offsets to {cut.target_topic}-{cut.partition} on {target}, "
            f"from {cut.target} on: `replicator mirror describe {name} {cut.topic}` says what helps"
            for cut in written[:_NAMED_MAX]
        ]

    def _reverse_problems(self, journal: Journal) -> list[str]:
        wanted = journal.options.reverse_flow
        if not wanted:
            return []
        reverse = self._context.reverse
        if reverse is None or reverse.name != wanted:
            name = self._context.flow.name
            helps = f"give it `reverse_of: {name}`, and reload the daemon (SIGHUP)"
            return [f"flow {wanted!r} is not the reverse flow of {name!r} in the flow file: {helps}"]
        found = []
        for one in mirrors_in(self._context.log.records, self._context.uid, journal.scope):
            leads_to = selection.target_name(reverse.rename, one.target_topic)
            if leads_to != one.source_topic or not selection.matches(reverse.topics, one.target_topic):
                found.append(
                    f"flow {wanted!r} does not copy {one.target_topic} back to {one.source_topic}: fix its `topics`"
                )
        return found[:_NAMED_MAX]

    async def preflight(self, journal: Journal) -> got.Result:
        """See `do.Preflight`."""
        found = await self.problems(journal)
        return got.Refused("; ".join(found)) if found else got.Ok()

    async def offers_way_back(self) -> bool:
        """Return whether the source can hold the decision which side opens, and takes the marker that this needs."""
        try:
            await self._context.source_log()
            verdict = await may_write_markers(await self._context.source.any_connection())
        except AuthorizationFailed:
            return False
        return verdict is Verdict.ALLOWED

    async def left_out(self, verb: Verb, scope: Scope) -> tuple[LeftOutMirror, ...]:
        """Return the recorded mirrors that can no longer take part in a switch.

        A switchover needs the topic on the source; a failback needs it on the target, which is its source then. A
        failover asks the source nothing.

        Raises:
            KafkaError: A cluster cannot be asked.
        """
        context = self._context
        mirrors = {one.source_topic: one for one in mirrors_in(context.log.records, context.uid, scope)}
        unwanted = self._unwanted(mirrors)
        asked = {name: one for name, one in mirrors.items() if name not in unwanted}
        gone: list[str] = []
        if verb is Verb.SWITCHOVER:
            gone = await context.source.gone(asked)
        elif verb is Verb.FAILBACK:
            absent = await context.target.gone(one.target_topic for one in asked.values())
            gone = [name for name, one in asked.items() if one.target_topic in absent]
        return tuple(
            sorted(
                [LeftOutMirror(name, LeftOutReason.NOT_SELECTED) for name in unwanted]
                + [LeftOutMirror(name, LeftOutReason.SOURCE_GONE) for name in gone]
            )
        )

    # -- closing --------------------------------------------------------------------------------------------------

    async def prove_quiescence(self, journal: Journal) -> got.Result:
        """See `do.ProveQuiescence`: ends that do not move, everything readable, no transaction open."""
        mirrors = self._mirrors(journal)
        wanted = await self._source_partitions(journal, mirrors)
        if journal.verb is Verb.SWITCHOVER:
            unfit = await self._unfit(mirrors)
            if unfit is not None:
                return unfit
        before = await log_ends(self._context.source, wanted)
        await asyncio.sleep(_QUIET_SECONDS)
        after = await log_ends(self._context.source, wanted)
        moved = [where for where in wanted if before[where] != after[where]]
        if moved:
            where = moved[0]
            return got.NotYet(f"{where} is still written to: {before[where]}, then {after[where]}")
        opened = await self._open(after)
        if opened:
            where, stable = next(iter(opened.items()))
            return got.NotYet(f"a transaction is open on {where} at {stable}: it ends within its time-out")
        return got.Quiescent(tuple(_end(where, after[where], mirrors.get(where.topic)) for where in wanted))

    def _mirrors(self, journal: Journal) -> dict[str, pb.MirrorRecord]:
        return {
            one.source_topic: one for one in mirrors_in(self._context.log.records, self._context.uid, journal.scope)
        }

    async def _source_partitions(
        self, journal: Journal, mirrors: Mapping[str, pb.MirrorRecord]
    ) -> list[TopicPartition]:
        source, copying = self._context.source, self._context.copying()
        await source.refresh(None)
        if journal.verb is Verb.SWITCHOVER and copying is not None:
            # Also what is not a mirror yet: a topic created a moment ago must not be left behind.
            return sorted(one for one in copying.wanted() if one.topic in journal.scope)
        topics = await source.existing(mirrors)
        return sorted(TopicPartition(name, number) for name, topic in topics.items() for number in topic.leaders)

    async def _open(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return the partitions whose last stable offset is below their end."""
        stable = await log_ends(self._context.source, ends, isolation=Isolation.READ_COMMITTED)
        return {where: end for where, end in stable.items() if end < ends[where]}

    def _unwanted(self, mirrors: Iterable[str]) -> list[str]:
        """Return which recorded mirrors the flow, as its file now is, no longer copies."""
        copying = self._context.copying()
        left_out = copying.left_out() if copying is not None else frozenset()
        return [name for name in mirrors if name in left_out or not selection.matches(self._context.flow.topics, name)]

    async def _unfit(self, mirrors: Mapping[str, pb.MirrorRecord]) -> got.Result | None:
        """Return which of these mirrors drop out, or which cannot be judged yet; None if all can take part."""
        context = self._context
        unwanted = self._unwanted(mirrors)
        missing = [name for name in mirrors if name not in context.source.topics and name not in unwanted]
        gone = await context.source.gone(missing) if missing else []
        found = [LeftOutMirror(name, LeftOutReason.NOT_SELECTED) for name in unwanted]
        found += [LeftOutMirror(name, LeftOutReason.SOURCE_GONE) for name in gone]
        if found:
            return got.SourceMoved(f"{found[0].topic} {left_out_text(found[0].why)}: it is left out", tuple(found))
        unknown = sorted(set(missing) - set(gone))
        return got.NotYet(f"{context.flow.source} does not describe {unknown[0]} right now") if unknown else None

    # -- bringing the target to its end ---------------------------------------------------------------------------

    async def drain(self, step: do.Drain) -> got.Result:
        """See `do.Drain`."""
        copying = self._up()
        behind = copying.behind({TopicPartition(end.topic, end.partition): end.source for end in step.ends})
        if behind:
            where, why = next(iter(sorted(behind.items())))
            waits = got.NotYet(f"{len(behind)} partitions are not copied to their end, for example {where}: {why}")
            return await self._vanished(behind) or waits
        return await self._moved(step.ends) or got.Drained(step.ends)

    async def sync_groups(self, journal: Journal, step: do.SyncGroups) -> got.Result:
        """See `do.SyncGroups`."""
        ends = {TopicPartition(end.topic, end.partition): end.source for end in step.ends}
        try:
            outcomes = await self._up().final_group_sync(
                ends, self._mirrors(journal).keys(), timeout_seconds=_GROUPS_SECONDS
            )
        except TimedOut as error:
            return await self._vanished(ends) or got.NotYet(str(error))
        return await self._moved(step.ends) or got.GroupsSynced(noted(outcomes))

    async def _moved(self, ends: Iterable[End]) -> got.SourceMoved | None:
        """Return which partition of the source goes beyond what was proven, is new, or is gone; None if none does."""
        proven = {TopicPartition(end.topic, end.partition): end.source for end in ends}
        try:
            now = await log_ends(self._context.source, proven)
        except KafkaError:
            vanished = await self._vanished(proven)
            if vanished is None:
                raise
            return vanished
        beyond = [f"{where} ends at {end}, not {proven[where]}" for where, end in now.items() if end != proven[where]]
        return got.SourceMoved(f"someone wrote to the source after it was closed: {beyond[0]}") if beyond else None

    async def _vanished(self, partitions: Iterable[TopicPartition]) -> got.SourceMoved | None:
        """Return the topics that were deleted on the source since it was proven quiet; None if there are none."""
        gone = await self._context.source.gone(where.topic for where in partitions)
        if not gone:
            return None
        left_out = tuple(LeftOutMirror(name, LeftOutReason.SOURCE_GONE) for name in gone)
        return got.SourceMoved(f"{gone[0]} {left_out_text(LeftOutReason.SOURCE_GONE)}: it is left out", left_out)

    async def clamp_groups(self, journal: Journal) -> got.Result:
        """See `do.ClampGroups`. If the flow is not up here, earlier commits stay: they are never too far ahead."""
        copying = self._context.copying()
        if copying is None:
            why = "groups stay where they were last moved to: this daemon has not seen the source"
            return got.GroupsSynced(GroupsNote(inexact=(why,)))
        try:
            outcomes = await copying.final_group_sync(
                None, self._mirrors(journal).keys(), timeout_seconds=_GROUPS_SECONDS
            )
        except ReplicatorError as error:
            if isinstance(error, KafkaError) and error.retryable:
                raise
            return got.GroupsSynced(GroupsNote(inexact=(f"groups stay where they were last moved to: {error}",)))
        return got.GroupsSynced(noted(outcomes, journal.cuts))

    def _up(self) -> Copying:
        copying = self._context.copying()
        if copying is None:
            raise PreflightFailed(
                "the flow is not up in this daemon", next_step=f"replicator flow status {self._context.flow.name}"
            )
        return copying


def noted(outcomes: Iterable[GroupOutcome], cuts: Iterable[Cut] = ()) -> GroupsNote:
    """Return what a journal keeps about the groups.

    Args:
        outcomes: Their outcomes.
        cuts: Where logs end on the target, if the source could not be asked how far the groups have come since.
    """
    some, ends = list(outcomes), by_partition(cuts)
    inexact = [f"{one.group}: {_why_inexact(one, ends)}" for one in some if not one.exact]
    return GroupsNote(sum(one.exact for one in some), tuple(inexact), len(inexact))


def _why_inexact(outcome: GroupOutcome, ends: Mapping[tuple[str, int], Cut]) -> str:
    parts = [outcome.detail or outcome.state.replace("_", " ")]
    if ends:
        parts = [outcome.detail] if outcome.detail else []
        known = "" if outcome.reread_records is None else f"{outcome.reread_records:,} as far as is known, "
        parts.append(f"offsets read again: {known}{_reread_max(outcome, ends):,} at most")
    elif outcome.reread_records:
        parts.append(f"reads {outcome.reread_records:,} offsets again")
    if outcome.cut_records:
        parts.append(f"{outcome.cut_records:,} offsets that it had read were never copied")
    return ", ".join(parts)


def _reread_max(outcome: GroupOutcome, ends: Mapping[tuple[str, int], Cut]) -> int:
    """Return how many offsets the target has above a group's position: what it may have read since it was last seen.

    Without a commit, the group's own setting decides where it begins: at worst at the log's start.
    """
    found = ((ends.get((one.topic, one.partition)), one.target_offset or 0) for one in outcome.partitions)
    return sum(max(0, cut.target - stands) for cut, stands in found if cut is not None)


def _end(where: TopicPartition, end: int, mirror: pb.MirrorRecord | None) -> End:
    identical = True
    if mirror is not None and where.partition in mirror.maps:
        recorded = mirror.maps[where.partition]
        identical = not recorded.mapped and recorded.base.source_end == recorded.base.target_end
    return End(where.topic, where.partition, end, identical)
