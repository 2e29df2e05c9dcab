"""Which side of a pair of flows is open once a switch is done, and whether the other one follows.

The journal and the progress of the reverse flow are recorded on the other cluster: whoever carries out a switch reaches
both clusters, so there is no need to ask another daemon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.copy.attaching.facts import Role
from replicator.core.switch.plan import status_of
from replicator.core.switch.state import flow_state
from replicator.engine.state import records as state
from replicator.engine.state.journal import switches_of
from replicator.engine.switch.context import mirrors_in
from replicator.engine.switch.places import ObservedSource, log_ends
from replicator.engine.work.fence import role_text
from replicator.errors import UsageError
from replicator.model.names import TopicPartition
from replicator.model.switch.status import BothSides
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.engine.state.topic.log import StateLog
    from replicator.engine.switch.context import Copying, SwitchContext
    from replicator.model.switch.journal import Journal, Switches

_ASKED_MAX = 16
"""Switches whose ends are remembered: those that someone waits for, at most a few at a time."""
_MANY = "partitions are not copied up to their ends"


class Sides:
    """Looks at both sides of one flow's switches.

    Args:
        context: What they work on.
    """

    def __init__(self, context: SwitchContext) -> None:
        self._context = context
        self._ends: dict[tuple[str, str], dict[TopicPartition, int]] = {}

    async def read(self, switches: Switches, switch_id: str, other: Copying | None) -> BothSides:
        """Return how a switch left both sides; later calls compare the other side with the ends of the first call.

        Args:
            switches: The flow's switches.
            switch_id: The switch.
            other: The copying of the reverse flow if this daemon runs it, too: it knows more than the records say.

        Raises:
            UsageError: The flow has no such switch.
            KafkaError: A cluster cannot be asked.
        """
        context = self._context
        journal = next((one for one in switches.all if one.id == switch_id), None)
        if journal is None:
            raise UsageError(
                f"flow {context.flow.name!r} has no switch {switch_id}",
                next_step=f"replicator switch history {context.flow.name}",
            )
        await context.log.read_to_end()
        records, uid = await context.reverse_records()
        theirs = switches_of(records, uid) if uid is not None else None
        names = (context.flow.target, context.flow.source)
        states = [(context.flow.name, _state(context.log.records, context.uid, switches))]
        if context.reverse is not None and uid is not None and theirs is not None:
            states.append((context.reverse.name, _state(records, uid, theirs)))
        side, waits_for = await self._follows(journal, records, uid, other)
        return BothSides(
            tuple(status_of(one, names=names) for one in theirs.all) if theirs is not None else (),
            tuple(states),
            side,
            waits_for,
        )

    async def _follows(
        self, journal: Journal, records: Mapping[bytes, bytes], reverse: str | None, other: Copying | None
    ) -> tuple[str, str]:
        """Return the open side, empty while there is none, and what keeps the other one from following."""
        context, ours = self._context, self._context.log.records
        writers = state.writers_of(ours, context.uid)
        mirrors = mirrors_in(ours, context.uid, journal.scope)
        roles = {writers.of(one.target_topic).role for one in mirrors} if writers is not None else set()
        if roles == {Role.COPYING}:
            waits = _paused(ours, context.uid, context.flow.name)
            topics = [one.source_topic for one in mirrors]
            waits = waits or await self._behind(
                journal, context.flow.source, topics, context.log, context.uid, context.copying()
            )
            return context.flow.source, waits
        if roles != {Role.PROMOTED}:
            shown = ", ".join(sorted(roles)) or "it has no topics"
            return "", f"flow {context.flow.name!r} is between its sides: {shown}"
        return context.flow.target, await self._goes_back(journal, mirrors, records, reverse, other)

    async def _goes_back(
        self,
        journal: Journal,
        mirrors: list[pb.MirrorRecord],
        records: Mapping[bytes, bytes],
        reverse: str | None,
        other: Copying | None,
    ) -> str:
        """Return what keeps the old source from following the open target."""
        context = self._context
        back = state.writers_of(records, reverse) if reverse is not None else None
        if context.reverse is None or reverse is None or back is None:
            return f"no flow copies back to {context.flow.source}"
        name = context.reverse.name
        shut = [one.source_topic for one in mirrors if not back.copies(one.source_topic)]
        if shut:
            return f"flow {name!r} does not copy to {min(shut)}: {role_text(back.of(min(shut)).role)}"
        topics = [one.target_topic for one in mirrors]
        waits = _paused(records, reverse, name)
        return waits or await self._behind(
            journal, context.flow.target, topics, await context.source_log(), reverse, other
        )

    async def _behind(
        self,
        journal: Journal,
        side: str,
        topics: list[str],
        log: StateLog,
        uid: str,
        copying: Copying | None,
    ) -> str:
        """Return what is not yet copied of what the open side held at the first call; empty if nothing."""
        context = self._context
        cluster = context.source if side == context.flow.source else context.target
        asked = (journal.id, side)
        ends = self._ends.pop(asked, None)
        if ends is None:
            await cluster.refresh(sorted(topics))
            there = [topic for topic in topics if topic in cluster.topics]
            wanted = [TopicPartition(topic, number) for topic in there for number in cluster.topics[topic].leaders]
            ends = await log_ends(cluster, wanted)
        # A question about another switch in between must not cause these ends to be read again: they would move.
        self._ends[asked] = ends
        while len(self._ends) > _ASKED_MAX:
            del self._ends[next(iter(self._ends))]
        behind = copying.behind(ends) if copying is not None else _recorded_behind(ObservedSource(log, uid), ends)
        if not behind:
            return ""
        where, why = min(behind.items())
        return f"{len(behind)} {_MANY} on {side}, for example {where}: {why}"


def _state(records: Mapping[bytes, bytes], uid: str, switches: Switches) -> str:
    role = state.standing_role(records, uid)
    paused = state.get_flow(records, uid).desired == pb.DESIRED_PAUSED
    return flow_state(switches, role or Role.COPYING, paused=paused)


def _paused(records: Mapping[bytes, bytes], uid: str, name: str) -> str:
    if state.get_flow(records, uid).desired != pb.DESIRED_PAUSED:
        return ""
    return f"flow {name!r} is paused: `replicator flow resume {name}`"


def _recorded_behind(observed: ObservedSource, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
    copied = {where: observed.copied(where) for where in ends}
    return {
        where: "not copied yet" if at is None else f"copied up to {at} of {ends[where]}"
        for where, at in copied.items()
        if (at or 0) < ends[where]
    }
